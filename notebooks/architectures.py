# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The networks of both papers
#
# **MLPs** with LayerNorm and GELU for MNIST, deeper ones with ReLU for the Bayesian study. **Residual networks** for CIFAR-10: ResNet-20 of width 1 and 8,
# ResNet-110, and for the populations of thousands a ResNet-8, all with the norm that both papers call LayerNorm: GroupNorm with a single group, over
# channels and positions together. A **graph network** of three blocks, each of which adds to a node's state the mean of its neighbours' before a linear map,
# BatchNorm and GELU.
#
# Where the released code and the text part, this book follows the text: a W-asymmetric graph network keeps GELU (the released one has FiGLU, nearly
# linear at its gate's scale), a σ-asymmetric ResNet has a gate in place of every ReLU (one of two released blocks drops a norm and adds a gate), and both kinds
# start from the same initial distribution (released W-asymmetric ResNets start 2.45 times smaller).
#
# A convolution is made W-asymmetric like a linear map, one row per output channel. Either single entries of the row are pinned or, in the
# ResNet-8, whole filters, that is all positions of some input channels ({cite:p}`lim2024`, section 4.3). FiGLU gates a convolutional network by a fixed 1 x 1 convolution.

# %% tags=["parameters"]
profile = "quick"  # counting has no other
out = ""  # folder for the record; empty keeps nothing

# %%
from symlib.studies.parameter_counts import ParameterCounts

config = ParameterCounts.from_cell(globals())

# %% [markdown]
# ## Trainable parameters
#
# Counted from the networks and compared with Table 5 of {cite:t}`lim2024`. A Bayesian network counts five times: it trains a mean and four low-rank
# factors of the covariance for every weight and bias of its linear maps.

# %%
from symlib import claims
from symlib.studies.parameter_counts import ROWS, quantities, run

counted = quantities(run(config))
table5 = [c for c in claims.load() if c.study == "parameter_counts"]
printed = {c.quantity: int(c.paper.mean) for c in table5}
lines = [f"{'':22}{'standard':>12}{'W-asymmetric':>15}   agrees with Table 5"]
for network in ROWS:
    ours = [int(counted[f"{kind}/{network}"][0]) for kind in ("standard", "w-asym")]
    theirs = [printed.get(f"{kind}/{network}") for kind in ("standard", "w-asym")]
    verdict = "-" if None in theirs else "yes" if ours == theirs else "no: {:,} and {:,}".format(*theirs)
    lines += [f"{network:22}{ours[0]:>12,}{ours[1]:>15,}   {verdict}"]
print("\n".join(lines))

# %% [markdown]
# A dash means that the table has no such row: the Bayesian MLPs for 3,072 inputs, and paper A's ResNet, of which 1,014,000 entries are pinned.
#
# ### Where the printed table is wrong
#
# - **ResNet-20, W-asymmetric.** The table's number is off by two. The masks of Table 11 pin 42,448 entries, and the table's own Bayesian row of the
#   same network agrees with that.
# - **MLP-8, Bayesian.** The two columns are swapped. Both numbers belong to an input of 784 pixels, that is to MNIST, although the table of results is about
#   CIFAR-10; the rows for 3,072 inputs are given here as well.
# - **ResNet-20 of width 2, Bayesian.** The standard network is counted with 10 classes, the W-asymmetric one with the 100 of CIFAR-100 that both have.
#
# Each shows as *not reproduced* on the [scoreboard](../book/scoreboard.md), because the rule compares with the number as printed.
#
# ## How much is pinned
#
# Both ResNets of width 8 take the numbers of Table 11 three times. For the stem that would be more entries than a filter has: in paper B all 27 are pinned,
# so the first convolution is not trained at all and its rows differ by their constants alone. Paper A starts from 4 instead of 12 and leaves more than half of the stem free.

# %%
from symlib.asymmetry import constraint, linear_maps
from symlib.networks.resnet import ResNet
from symlib.plots import mode_connectivity as plots
from symlib.presets import buergin_resnet, lim_resnet

shares, lines = {}, []
for label, width, asymmetry in [
    ("width 1, paper B", 1, lim_resnet()),
    ("width 8, paper B", 8, lim_resnet(multiple=3)),
    ("width 8, paper A", 8, buergin_resnet()),
]:
    resnet = ResNet(20, width)
    maps = list(linear_maps(resnet))
    D = constraint(resnet, asymmetry, mask_seed=0).D
    shares[label] = [1 - D[name].float().mean().item() for name in maps]
    stem, *others = shares[label]
    lines += [f"{label}: stem {100 * stem:.0f} %, elsewhere at most {100 * max(others):.0f} %"]
print("\n".join(lines))

# %% mystnb={"figure": {"caption": "Share of pinned entries of every linear map of ResNet-20. At width 8 the masks of both papers agree except in the stem, which paper B pins completely.", "name": "fig-pinned-shares"}, "image": {"alt": "Three lines over the 22 linear maps of ResNet-20. Width 1 varies between 44 per cent at the stem and 12 per cent; the two lines of width 8 lie together between 4 and 14 per cent except at the stem, where one is at 100 and the other at 44 per cent."}}
plots.pinned_shares(shares, [name.removesuffix(".weight") for name in maps])

# %% [markdown]
# ## One small pair each
#
# Two pairs of every architecture on data that needs no files: digits, and a random graph of 2,000 nodes in 10 classes. Toy scale, to see the machinery work on all
# three; the experiments at size have pages of their own. BatchNorm statistics of the GNN are re-estimated at every point.

# %% tags=["nbval-ignore-output"]
import pandas as pd
import torch

from symlib.interpolation import midpoint_barrier
from symlib.studies.architectures import TASKS, pairs

methods = ("standard", "w-asym")
table = pd.concat([pairs(name, method, n_pairs=2) for name in TASKS for method in methods])
lines = []
for (name, method), rows in table.groupby(["architecture", "method"], sort=False):
    wide = rows.pivot(index="pair", columns="lambda", values="test_loss")
    barrier = midpoint_barrier(torch.tensor(wide.to_numpy())).mean()
    lines += [f"{name:<20}{plots.METHODS[method].label:<14}barrier {barrier:5.2f} nats"]
print("\n".join(lines))

# %% mystnb={"figure": {"caption": "Test loss on the line between two networks for three architectures, two pairs each (thin lines) and their mean.", "name": "fig-architecture-pairs"}, "image": {"alt": "Three panels, for MLP, ResNet-8 and GNN. In each the standard networks' curve has a high hump in the middle; the W-asymmetric networks' curve is flat for MLP and ResNet and a low hump for the GNN."}}
plots.architecture_panels(table)
