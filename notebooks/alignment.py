# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lining networks up, and repairing what averaging breaks
#
# Two things stand between a pair of trained networks and a good average of them. Their units are numbered differently, and that is what an
# *alignment* undoes. And averaging units that agree only in part shrinks their variance, layer after layer, so that even a well aligned pair
# meets in a network whose activations have faded {cite:p}`jordan2023`. Networks with BatchNorm show both at once, because they carry
# statistics that belong to neither parent.
#
# Nothing on this page is a claim of the two papers. It checks the tools that the other pages use, on residual networks, with every aligner against every way of
# mending. [How it works](../book/alignment.md) is explained in a chapter of its own.

# %% [markdown]
# ## Parameters
#
# The defaults finish on a laptop. `make run NB=alignment PROFILE=cpu` trains ResNet-20 on CIFAR-10 images.

# %% tags=["parameters"]
profile = "quick"  # quick | cpu | paper | custom
dataset = "digits"  # digits | cifar10
depth = 8  # of the ResNet: 8, 20, 32, 56, 110
width = 1.0  # multiplies its 16, 32 and 64 channels
norm = "batch"  # batch | layer
n_pairs = 3  # pairs of networks
epochs = 10  # passes over the training images
n_images = 1437  # training images used
batch_size = 64  # images per step
lr = 1e-2  # of Adam, after a warm-up over a fifth of the epochs
n_points = 5  # points on the line, odd, so that 0.5 is one of them
restarts = 3  # descents of weight matching
sinkhorn_steps = 50  # gradient steps of Sinkhorn matching
base_seed = 0  # initialisation, batch order and matching are derived from it
workers = 1  # processes
device = "cpu"  # cpu | cuda
out = ""  # folder for the record and checkpoints; empty keeps nothing

# %%
from symlib.studies.alignment import AlignmentStudy

config = AlignmentStudy.from_cell(globals())

# %% [markdown]
# ## Which units may be reordered?
#
# The *specification* says which axes of which tensors move together. It is derived by tracing the network, and handed out only after a random reordering has
# left the network's outputs as they were. For ResNet-20 it finds what {cite:t}`ainsworth2023` write by hand: three groups that run through a whole
# stage, because the residual stream adds their units up, and nine inside the blocks.

# %%
import torch

from symlib import records
from symlib.alignment.axes import occurrences
from symlib.alignment.tracing import specification
from symlib.networks.resnet import ResNet
from symlib.plots import mode_connectivity as plots
from symlib.studies.alignment import midpoints, run

spec = specification(ResNet(20), torch.zeros(2, 3, 32, 32))
for group, n_units in spec.sizes.items():
    every = [axis for axes in spec.axes.values() for axis in axes]
    n_axes = sum(group == found for axis in every for found, _ in occurrences(axis))
    print(f"{group:<18}{n_units:>4} units on {n_axes:>2} axes")

# %% [markdown]
# ## The largest recorded run
#
# Accuracy of the network halfway between two trained ones, on test images. *As mixed* interpolates BatchNorm's running statistics along with the weights;
# *re-estimated* takes them anew from training images; REPAIR rescales every unit to the interpolated mean and standard deviation, which for networks
# with BatchNorm comes to nearly the same and for others is the only way.


# %%
def report(record):
    c = record.config
    plain = record.table.query("method == 'none' and mended == 'as mixed'")
    ends = plain[plain["lambda"].isin([0.0, 1.0])]
    table = midpoints(record)
    text = table.mean().map("{:.1f}".format) + " ± " + table.std(ddof=1).map("{:.1f}".format)
    grid = text.unstack("mended", sort=False).rename_axis(None).rename_axis(None, axis=1)
    print(
        f"ResNet-{c['depth']}, width {c['width']:g}, {c['norm']} norm, {c['dataset']}: "
        f"{c['n_pairs']} pairs, {c['epochs']} epochs, {c['n_images']:,} images\n"
        f"the networks themselves: {100 * ends['test_accuracy'].mean():.1f} %\n{grid.to_string()}"
    )


def size(record):
    return record.config["profile"] == "paper", record.config["n_pairs"]


kept = max(records.find("alignment"), key=size)
report(kept)
about = {name: kept.about[name] for name in ("device", "date", "commit")}
print(f"profile {kept.config['profile']}, {about}")

# %% mystnb={"figure": {"caption": "Accuracy halfway between two ResNets with BatchNorm, recorded run. Every aligner as mixed, with BatchNorm re-estimated, and with REPAIR; small symbols are pairs.", "name": "fig-alignment-recorded"}, "image": {"alt": "Dot plot with four rows, from no alignment to Sinkhorn matching, each with three rows of dots for as mixed, BatchNorm re-estimated and REPAIR; the latter two lie together far right of the first wherever units were aligned."}}
label = "{dataset}, profile {profile}".format
plots.mended_midpoints(midpoints(kept), label(**kept.config))

# %% [markdown]
# ## Live, on small data

# %% tags=["nbval-ignore-output", "remove-output"]
live = run(config)

# %% tags=["nbval-ignore-output"]
report(live)

# %% mystnb={"figure": {"caption": "The same on this page's own small run.", "name": "fig-alignment-live"}, "image": {"alt": "Dot plot of accuracies at the midpoint with four rows for the aligners and three symbols for the ways of mending, for the quick run."}}
plots.mended_midpoints(midpoints(live), label(**live.config))

# %%
halfway = midpoints(live)
for method in dict.fromkeys(m for m, _ in halfway.columns):
    gain = halfway[method, "repaired"] - halfway[method, "as mixed"]
    print(f"{method:<21}REPAIR raises accuracy in {(gain > 0).sum()} of {len(gain)} pairs")
