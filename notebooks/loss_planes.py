# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Planes through three networks
#
# **Question.** A straight line without a barrier says that two networks share a low valley. Do *three* share one? That does not follow: each pair could be joined by a valley of its own, and the average of all three could still
# lie on a hill. So this page looks at the loss on the whole plane through three networks that were trained apart, for the four methods of {cite:p}`lim2024`, Table 1. The paper prints lines only; the planes are an addition, and no
# claim of the paper is judged here.
#
# Git Re-Basin gets a test that lines of one pair cannot set. Networks 2 and 3 are each matched to network 1, and never to each other. If matching found *the* order of the units, the edge between 2 and 3 would be as good as the other two.
# W-asymmetric networks are not matched at all.

# %% [markdown]
# ## How a plane is drawn
#
# Every point of the plane is a network $u\,\theta_1 + v\,\theta_2 + w\,\theta_3$ with $u + v + w = 1$. An entry that is pinned to one value in all three networks keeps that value, whatever $u$, $v$ and $w$ are: so every point of the picture, outside the
# triangle too, is a network of the same asymmetric architecture.
#
# The picture has network 1 at its origin and network 2 to the right of it; the second axis is what remains of the direction to network 3 (Gram and Schmidt), as is customary {cite:p}`garipov2018`. Distances in the picture are then Euclidean distances between weights. Network 1 and network 2 are
# the first pair of [the page on lines](mode_connectivity_mlp.ipynb), trained and matched in the same way, so the lower edge of each triangle is one of the lines behind the means shown there, but for
# the number of test images.

# %% [markdown]
# ## Parameters
#
# The defaults finish on a laptop. `make run NB=loss_planes PROFILE=cpu` trains the paper's networks on MNIST.

# %% tags=["parameters"]
profile = "quick"  # quick | cpu | paper | custom
dataset = "digits"  # digits | mnist
width = 128  # units of each of the three hidden layers; paper 512
epochs = 40  # passes over the training set; paper 25, of a set 38 times as large
batch_size = 64  # images per step
lr = 1e-3  # of AdamW, constant
weight_decay = 0.03  # decoupled, on every tensor
n_fix = [8, 16, 16, 64]  # pinned entries per row of each map; paper 64, 64, 64, 256
sigma_F = [1.0, 1.0, 0.5, 0.25]  # standard deviation of each map's pinned entries
gate_std = 1.0  # standard deviation of the entries of the FiGLU gate
restarts = 3  # descents of weight matching
n_points = 17  # points along each side of the window
n_images = 360  # test images that the loss is taken on, the first ones
mask_seed = 0  # draws the pinned entries and the gates
base_seed = 0  # initialisation, batch order and matching are derived from it
workers = 1  # processes, at most one for each of three kinds of networks
device = "cpu"  # cpu | cuda
out = ""  # folder for the record and checkpoints; empty keeps nothing

# %%
from symlib.studies.loss_planes import LossPlanes

config = LossPlanes.from_cell(globals())

# %% tags=["nbval-ignore-output", "remove-output"]
from symlib.studies.loss_planes import run

live = run(config)

# %% [markdown]
# ## The planes
#
# Of the largest run that has been recorded.

# %%
from symlib import claims, records
from symlib.plots import loss_planes as plots
from symlib.studies.loss_planes import readings, triangle

kept = claims.shown(live, records.find("loss_planes"))
title = "{dataset}, width {width}, {epochs} epochs, {n_images} images ({profile})"
networks = kept.about["networks"]
lost = [kind for kind in networks if networks[kind]["diverged"]]
print(f"{title.format(**kept.config)}\ndiverged, so without a plane: {lost or 'none'}")

# %% mystnb={"figure": {"caption": "Test loss on the plane through three networks that were trained apart. Dark is low; one scale for all panels, its steps equal factors, and one colour for all that is worse than guessing. Circles: the three networks.", "name": "fig-loss-planes"}, "image": {"alt": "Four maps of test loss, each with a triangle of three numbered networks: standard, Git Re-Basin, sigma-asymmetric and W-asymmetric, dark where loss is low."}}
corners = {method: about["corners"] for method, about in kept.about["planes"].items()}
plots.plane_panels(kept.table, corners, title.format(**kept.config))

# %% [markdown]
# The same in numbers. Barriers are losses above the mean of the three networks, at the midpoints of the edges and at the centroid, computed there and not read off the grid. The *basin* is the share of the triangle whose loss is at most 0.1 nats above the
# worst of its three networks, about half of the barrier that the paper prints for standard MLPs.

# %% tags=["nbval-ignore-output"]
plots.triangle_table(triangle(kept))

# %% [markdown]
# What that says, by rules that stand in `symlib/studies/loss_planes.py` and were written down before a plane was evaluated on MNIST:

# %% tags=["nbval-ignore-output"]
said = readings(kept).items()
print("\n".join(f"{'yes' if holds else 'no':<5}{what}" for what, holds in said))

# %% [markdown]
# ## The small run of this page
#
# Small networks on digits, computed when the page was built.

# %% mystnb={"figure": {"caption": "The same planes in the live run.", "name": "fig-loss-planes-live"}, "image": {"alt": "Four maps of test loss for small networks on digits. Standard and sigma-asymmetric: three dark basins with a bright ridge between them. Git Re-Basin: three basins with a low saddle. W-asymmetric: dark all over."}}
corners = {method: about["corners"] for method, about in live.about["planes"].items()}
plots.plane_panels(live.table, corners, title.format(**live.config))

# %%
mine = triangle(live).set_index("method")
centre, basin = mine["centroid"], mine["basin"]
edges = mine.loc["standard", ["ab", "bc", "ca"]]
checks = {
    "standard: the centroid is above every edge": centre["standard"] > edges.max() > 0,
    "standard: not all one basin": basin["standard"] < 1,
    "Git Re-Basin: less than half": centre["git-rebasin"] < 0.5 * centre["standard"],
    "W-asymmetric: less than a fifth": centre["w-asym"] < 0.2 * centre["standard"],
    "W-asymmetric: all one basin": basin["w-asym"] == 1,
}
lines = [f"{'yes' if holds else 'no':<5}{what}" for what, holds in checks.items()]
print("\n".join(lines))

# %% [markdown]
# ## What this does not show
#
# - One triple of networks for each method is no statistics: the number of networks that a barrier is judged on stands on [the page on lines](mode_connectivity_mlp.ipynb).
# - A plane is two of several hundred thousand dimensions. A hill on it does not keep two networks from being joined by a curve around it, and a low plane says nothing of the space beside it.
# - Outside the triangle weights are extrapolated, which no method is meant for.
# - Lengths of edges must not be compared between methods that train different numbers of entries, or that start at different scales: pinned entries add nothing to a distance. Within one panel they may be, and so may the standard networks with the same
#   networks matched: reordering units brings networks nearer to each other and changes nothing else about them.
# - Losses are taken on a part of the test images in smaller profiles. The title says how many.

# %% [markdown]
# ## Where these numbers come from

# %% tags=["nbval-ignore-output"]
print(records.origin({"shown": kept, "live": live}))
