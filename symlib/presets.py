"""The papers' asymmetries by network: how many entries are pinned per row, to how large constants, and the gates.

Numbers per layer stand in the order in which the networks of this package register their linear maps.
"""

from symlib.asymmetry import Sigma, WAsymmetry

# Lim et al. (2024), Table 10, and Bürgin et al. (2026): the same masks, another scale in the last two maps.
LIM_MNIST = WAsymmetry(n_fix=(64, 64, 64, 256), sigma_F=(1.0, 1.0, 0.5, 0.25))
BUERGIN_MNIST = WAsymmetry(n_fix=(64, 64, 64, 256), sigma_F=(1.0, 1.0, 1.0, 1.0))
LIM_BAYES_MLP = WAsymmetry(n_fix=8, sigma_F=0.5)  # Lim et al., appendix F.2
# Lim et al., appendix F.1.2. Their released W-asymmetric GNN also has FiGLU for GELU, which the paper does not say;
# here it keeps GELU unless it is built with the gates of SIGMA_GNN.
LIM_GNN = WAsymmetry(n_fix=6, sigma_F=0.5)
# Section 5.3 and the released configuration: eight of the input filters, and of the three of the stem all.
LIM_RESNET8 = WAsymmetry(n_fix=(3, 8, 8, 8, 8, 8, 8, 8, 8, 8), sigma_F=2.0, whole_filters=True)

SIGMA_MNIST = Sigma(gate_std=1.0)  # from the code; the paper prints no scale
# In place of every ReLU. One of the two released blocks also drops a norm and adds a third gate; it is not followed.
SIGMA_RESNET = Sigma(gate_std=1.0, by_width=True)
SIGMA_GNN = Sigma(gate_std=0.01, by_width=True)  # Lim et al., appendix F.1.2

# Pinned entries per row: convolutions of the three stages, shortcuts of the last two, read-out.
_STAGES, _SHORTCUTS, _READ_OUT = (36, 54, 72), (6, 8), 8


def lim_resnet(depth: int = 20, multiple: int = 1, sigma_F: float = 2.0, read_out: bool = True) -> WAsymmetry:
    """Return the W-asymmetry of a ResNet in paper B.

    Args:
        depth: Of the ResNet.
        multiple: 1 for Table 11, 3 for Table 12 (ResNet-20 of width 8), where it pins the whole stem (27 entries).
        sigma_F: 2 for mode connectivity (the code's default of 3 differs), 0.5 for the Bayesian networks.
        read_out: Pin entries of the read-out too; the Bayesian networks on CIFAR-100 do not.

    Source: Lim et al. (2024), Tables 11 and 12, appendix F.2.
    """
    return WAsymmetry(_resnet_counts(depth, multiple, min(12 * multiple, 27), read_out), sigma_F)


def buergin_resnet(sigma_F: float = 2.0) -> WAsymmetry:
    """Return the W-asymmetry of ResNet-20 of width 8 in paper A, whose stem keeps 15 of 27 entries trainable.

    Source: Bürgin et al. (2026), CIFAR-10 networks; sigma_F is 0 or 2.
    """
    return WAsymmetry(_resnet_counts(20, 3, 12, read_out=True), sigma_F)


def _resnet_counts(depth: int, multiple: int, stem: int, read_out: bool) -> tuple[int, ...]:
    convolutions = (depth - 2) // 3
    first, second, third = (multiple * n for n in _STAGES)
    to_second, to_third = (multiple * n for n in _SHORTCUTS)
    return (
        stem,
        *[first] * convolutions,
        *[second, second, to_second, *[second] * (convolutions - 2)],
        *[third, third, to_third, *[third] * (convolutions - 2)],
        multiple * _READ_OUT if read_out else 0,
    )
