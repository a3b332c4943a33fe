# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What the comparison does not separate
#
# **Question.** W-asymmetric networks are joined by lines of low loss, ordinary ones are not, and W-asymmetric networks have no permutation symmetry. Is the missing symmetry the *reason*? The two kinds differ
# in more than that. Their pinned constants are much larger than usual initial weights, and **both networks of a pair have the same ones**. So two W-asymmetric networks agree
# in a large part of their weights from the start, by construction.
#
# {cite:t}`lim2024` say themselves (appendix C) that large fixed weights may matter on their own. None of their experiments takes the two apart. The ones on this page do, by changing one thing at a
# time. They are ours, and no claim of the paper's is judged here: that W-asymmetric networks are connected, and standard ones are not, is as true as [before](mode_connectivity_mlp.ipynb).
#
# ## The variants
#
# | | both networks share pattern and constants | each has its own |
# |---|---|---|
# | pattern is **pinned** | W-asymmetric | own constants |
# | pattern is only where they **start**; every entry is trained | anchor | own anchor |
#
# - **Anchor.** The first two networks of a pair start from W-asymmetric draws, but nothing is pinned. Every permutation symmetry of an ordinary network is there. What remains is
#   the common start in the entries of the pattern.
# - **Own constants.** Each network is W-asymmetric for itself, with its own masks and constants; the line between them interpolates everything.
# - **Own anchor.** All is trained and nothing is shared. Only the scale of the initial weights is that of W-asymmetric networks.
# - **Scale 0.** Zeros for constants: no permutation symmetry (by {prf:ref}`thm-automorphisms`), but nothing large that is shared. Other scales and smaller shares of pinned entries lie in between.
#
# ## The rule
#
# It was written down before any of these networks was trained. With the barrier of standard pairs as 0 and that of W-asymmetric pairs as 1, each variant *removes* a share of the barrier. If missing
# permutation symmetry is what counts, the anchor, which has the symmetry, must remove less than half, and zeros, which do not have it, more than half. One-sided t-tests over pairs at the 5 % level
# decide: the variant **supports** that reading, **undermines** it, or leaves it **undecided**. The other variants decide nothing by themselves.

# %% [markdown]
# ## Parameters
#
# The defaults finish on a laptop. `make run NB=controls PROFILE=cpu` runs the paper's networks on MNIST.

# %% tags=["parameters"]
profile = "quick"  # quick | cpu | paper | custom
dataset = "digits"  # digits | mnist
width = 64  # units of each of the three hidden layers; paper 512
n_pairs = 3  # pairs of networks per variant
epochs = 25  # passes over the training set; paper 25, of a set 38 times as large
batch_size = 64  # images per step
lr = 1e-3  # of AdamW, constant
weight_decay = 0.03  # decoupled, on every tensor
n_fix = [8, 8, 8, 32]  # pinned entries per row of each map; paper 64, 64, 64, 256
sigma_F = [1.0, 1.0, 0.5, 0.25]  # standard deviation of each map's constants
scale_sweep = [0.0, 0.25]  # factors on sigma_F; 0 pins zeros
share_sweep = []  # factors on n_fix
n_points = 13  # points on the line, odd, so that 0.5 is one of them
mask_seed = 0  # draws the shared pattern and constants, and those of the networks that have their own
base_seed = 0  # initialisation and batch order are derived from it
workers = 1  # processes
device = "cpu"  # cpu | cuda
out = ""  # folder for the record and checkpoints; empty keeps nothing

# %%
from symlib.studies.controls import Controls

config = Controls.from_cell(globals())

# %% tags=["nbval-ignore-output", "remove-output"]
from symlib.studies.controls import run

live = run(config)

# %% [markdown]
# ## What was found
#
# The largest recorded run.

# %%
from symlib import records
from symlib.plots import controls as plots
from symlib.studies.controls import pairs, verdicts


def size(record):
    return record.config["dataset"] == "mnist", record.config["n_pairs"]


kept = max([live, *records.find("controls")], key=size)
title = "{dataset}, width {width}, {n_pairs} pairs, {epochs} epochs ({profile})".format
print(title(**kept.config))

# %% tags=["nbval-ignore-output"]
plots.factor_table(verdicts(kept))

# %% mystnb={"figure": {"caption": "Midpoint barriers of all variants. Green: W-asymmetric networks and those with other scales or shares of constants. Blue: the same start, but every entry trained.", "name": "fig-control-barriers"}, "image": {"alt": "Dot plot of the barrier of every pair, one row for each variant; the rows of the W-asymmetric networks and of the trainable ones with a shared start lie close to zero, those with their own constants or starts far to the right."}}
plots.barrier_rows(pairs(kept), title(**kept.config))

# %% [markdown]
# ## What goes with a low barrier
#
# If not the symmetry, what? The figure sets the share of the barrier that a variant removes against how much the two trained networks have in common: the cosine between the weights of all their linear maps.

# %% mystnb={"figure": {"caption": "Share of the barrier that is removed against the cosine between the weights of the two trained networks, one symbol a pair.", "name": "fig-control-likeness"}, "image": {"alt": "Scatter plot. Pairs with a cosine near zero, with or without symmetry, remove nothing or add to the barrier; the share removed rises with the cosine towards one, for pinned and trainable networks alike."}}
plots.removed_by_likeness(pairs(kept), title(**kept.config))

# %% [markdown]
# ## The small run of this page
#
# The same variants on digits, computed when the page was built.

# %%
judged = verdicts(live).set_index("variant")
lines = [f"{'variant':<15}pairs  removes most of the barrier?  verdict"]
for variant, row in judged.iterrows():
    most = "yes" if row["p_more"] < 0.05 else "no" if row["p_less"] < 0.05 else "undecided"
    lines.append(f"{variant:<15}{row['n']:>5}  {most:<30}  {row['verdict']}")
print("\n".join(lines))

# %% [markdown]
# ## How far this goes
#
# - It is about *these* constants. Paper A shows the other half of the picture: where constants are small beside what is learnt, neurons are not identifiable, and where they are
#   large, they are, because exchanging them costs ([identifiability and connectivity](identifiability_connectivity.ipynb)). An anchor that is only a starting point makes exchanging costly as well, as long as training does not leave it.
# - Networks that are trained much longer, or with decay strong enough to dissolve the common start, could tell pinned and trainable apart. Twenty-five epochs do not.
# - Other architectures need controls of their own. The graph networks differ in their activation too.
# - A shared start is no flaw. It is a way to make networks that can be averaged; the question here is only what it is that makes it work.

# %% [markdown]
# ## Where these numbers come from

# %% tags=["nbval-ignore-output"]
print(records.origin({"shown": kept, "live": live}))
