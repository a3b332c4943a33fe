# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Asymmetric networks
#
# ## Which changes of the weights leave a network as it is?
#
# A *parameter symmetry* is a map of the weights that changes no output. Two kinds are easy to see ({cite:p}`lim2024`, section 2).
#
# **Reordered neurons.** Number the hidden units of an MLP differently and carry their incoming and outgoing weights along: with a permutation
# matrix $P$, the weights $(W_2, W_1)$ and $(W_2 P^\top, P W_1)$ give one function, because the activation acts on each unit by itself. Three hidden layers
# of 512 units have $(512!)^3 \approx 10^{3500}$ such twins.
#
# **What the activation lets through.** More generally, whenever an activation satisfies $\sigma(A x) = B\,\sigma(x)$ for invertible $A$ and $B$, the weights
# $(W_2 B^{-1}, A W_1)$ are a twin. Permutations are one case; for ReLU, positive scalings are another.
#
# Training picks one of these twins by chance, so two trained networks may compute similar functions and still be far apart as
# vectors of numbers. Each of the two constructions below takes
# away a part of this freedom, at one of its two sources.
#
# ## W-asymmetry: pin some weights
#
# Let a fixed pattern decide which entries of a weight matrix are trained,
#
# $$W_\text{eff} = F + D \odot W, \qquad D_{ij} \in \{0, 1\},\qquad F_{ij} = 0 \text{ where } D_{ij} = 1 ,$$
#
# and let the pinned entries hold constants drawn once from a Gaussian of standard deviation $\sigma_F$ (the paper's $\kappa$). Every row pins exactly
# $n_\text{fix}$ entries and no two rows share their pattern, so a neuron is recognised by *which* of its weights are pinned: with $\sigma_F = 0$ no reordering of
# units maps the family of networks to itself ({cite:p}`lim2024`, Theorem 1). In the experiments $\sigma_F$ is far from 0, and the pinned entries are
# much larger than usual initial weights; the theorem says nothing about that, and which of the two matters is a question of its own.
#
# `symlib.asymmetry` treats this, syre {cite:p}`ziyin2025` ($D = 1$, $F$ Gaussian everywhere) and the standard network ($D = 1$, $F = 0$) as one affine constraint on an ordinary module.

# %%
import torch

from symlib.alignment.permutation import permute, random_perms
from symlib.alignment.tracing import specification
from symlib.asymmetry import (
    Sigma,
    Standard,
    Syre,
    WAsymmetry,
    activation_for,
    constraint,
    n_trainable,
)
from symlib.figlu import FiGLU
from symlib.networks.mlp import MLP
from symlib.plots import mode_connectivity as plots
from symlib.population import Population, initialise, logits
from symlib.presets import LIM_MNIST
from symlib.seeds import generator

small = MLP((48, 24, 24, 10))
masks = WAsymmetry(n_fix=(8, 4, 6), sigma_F=(1.0, 1.0, 0.25))
fixed = constraint(small, masks, mask_seed=0)
D, F = fixed.D["linears.0.weight"], fixed.F["linears.0.weight"]
n_rows, n_different = len(D), len(D.unique(dim=0))
print(f"{n_rows} x {D.shape[1]} entries, {(~D).sum(dim=1).unique().tolist()} pinned per row")
print(f"{n_different} of {n_rows} rows differ in their pattern")

# %% mystnb={"figure": {"caption": "The fixed side of a W-asymmetric linear map as drawn: every neuron (row) pins eight of its 48 incoming weights, each in a pattern of its own.", "name": "fig-fixed-side"}, "image": {"alt": "A grid of 24 rows and 48 columns, mostly grey; in every row eight cells at different places are coloured from orange (negative) to purple (positive)."}}
plots.fixed_side(D.numpy(), F.numpy(), "first linear map, σ_F = 1")

# %% [markdown]
# ## σ-asymmetry: a gate that mixes units
#
# The second construction replaces the activation by FiGLU, $\sigma(x) = \operatorname{sigmoid}(F x) \odot x$ with a fixed Gaussian $F$. Because every gate looks at all units through its own row
# of $F$, no permutation and no diagonal scaling passes through (Proposition 2). What remains is an identity it shares with ReLU and GELU,
# $\sigma(x) - \sigma(-x) = x$, and for small $F$ the gate tends to one half: the network becomes nearly linear, an effect to keep in
# mind when reading results.

# %%
x = torch.randn(1000, 16, generator=generator("figlu"), dtype=torch.float64)
lines = ["std of F   FiGLU(x) - FiGLU(-x) = x   mean distance of the gate from 1/2"]
for std in (1.0, 0.25, 0.01):
    figlu = FiGLU(16, std, generator("gate")).double()
    holds = torch.allclose(figlu(x) - figlu(-x), x, rtol=0, atol=1e-12)
    distance = (torch.sigmoid(x @ figlu.gate.T) - 0.5).abs().mean().item()
    lines += [f"{std:<11}{holds!s:<27}{distance:.3f}"]
print("\n".join(lines))

# %% [markdown]
# ## The networks of the MNIST experiment
#
# Trainable entries of the 784-512-512-512-10 network, counted from the objects; Table 5 of the paper prints 935,434 and 834,570.

# %%
widths = (784, 512, 512, 512, 10)
kinds = {
    "standard": Standard(),
    "W-asymmetric": LIM_MNIST,
    "syre": Syre(1.0),
    "σ-asymmetric": Sigma(1.0),
}
lines = []
for label, asymmetry in kinds.items():
    model = MLP(widths, activation_for(asymmetry, mask_seed=0))
    fixed = constraint(model, asymmetry, mask_seed=0)
    n_pinned = sum(index.numel() for index, _ in fixed.pinned.values())
    lines += [f"{label:<13}{n_trainable(model, fixed):>9,} trainable,{n_pinned:>8,} pinned"]
print("\n".join(lines))

# %% [markdown]
# ## Seeing the symmetry break
#
# Draw a network, reorder its hidden units at random, and compare outputs. For the standard network nothing changes. For the W-asymmetric one
# only the trained entries can move, the pinned ones stay where the architecture has them, and the function is another one.

# %%
inputs = torch.randn(64, 48, generator=generator("inputs"), dtype=torch.float64)
for label, asymmetry in {"standard": Standard(), "W-asymmetric": masks}.items():
    model = MLP((48, 24, 24, 10)).double()
    fixed = constraint(model, asymmetry, mask_seed=0).to(inputs)
    network = initialise(model, fixed, init_seeds=[0])
    spec, weights = specification(model, inputs[:2]), next(network.members())
    moved = permute(spec, random_perms(spec.sizes, generator("perms")), weights)
    for name, mask in fixed.D.items():
        moved[name] = torch.where(mask, moved[name], fixed.F[name])
    again = Population(model, fixed, {name: w[None] for name, w in moved.items()})
    unchanged = torch.allclose(logits(again, inputs), logits(network, inputs), rtol=0, atol=1e-12)
    print(f"{label:<13}outputs after reordering: {'unchanged' if unchanged else 'changed'}")
