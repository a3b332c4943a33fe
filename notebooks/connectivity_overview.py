# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # All architectures side by side
#
# **Claim.** Two networks that were trained apart are joined by a straight line of low loss if they are W-asymmetric. The paper ranks four methods by the barrier on that line, in four architectures: W-asymmetric lowest, then Git Re-Basin, then
# σ-asymmetric, then standard {cite:p}`lim2024`, Table 1 and Figure 3. Its appendices ask what else could explain it: distance in weight space (A), length of the warm-up (Table 8), and whether fixing biases would do (Table 9).
#
# This page trains nothing. It puts the largest recorded run of every architecture beside what the paper prints; the pages of the single rows, [MLPs](mode_connectivity_mlp.ipynb), [residual networks](resnet_connectivity.ipynb) and [graph networks](graph_connectivity.ipynb), say
# how they were made and let you run them again. Where a row has smaller networks, less data or fewer epochs than the paper, it says nothing about the size of the paper's numbers; what it can say is whether their *order* holds there too. Below is what
# each row was run with.

# %% [markdown]
# ## What was run

# %%
from symlib import claims, records
from symlib.plots import connectivity as plots
from symlib.studies.connectivity import lines, orderings, printed, settings, table_1

print("\n".join(f"{name:<20}{what}" for name, what in settings().items()))

# %% [markdown]
# ## Table 1

# %%
ours, paper = table_1(), printed()
plots.barrier_table(ours, paper)

# %% [markdown]
# Midpoint barriers in nats, mean and standard deviation over pairs. Two columns are not in the paper: REPAIR after Git Re-Basin {cite:p}`jordan2023`, and *syre*, a fixed random shift of every weight {cite:p}`ziyin2025`; weight decay pulls towards it on MNIST, and since the recipes of the other rows have no decay, it is no more than a common shift there.
# The paper's graph networks are aligned by their activations and have the gates of its released code where they are W-asymmetric; the last row keeps GELU in them. REPAIR has no cell for graph networks, because the statistics of every network on their lines are estimated anew
# as it is.

# %% mystnb={"figure": {"caption": "Table 1 as a picture: mean and standard deviation of the midpoint barrier over pairs, and the paper's numbers as crosses below.", "name": "fig-overview-barriers"}, "image": {"alt": "Panels of the midpoint barrier in nats, one for each architecture that was run, one row for each method, with error bars, and a cross with error bars for the number that the paper prints."}}
plots.barrier_panels(ours, paper)

# %% [markdown]
# Cell by cell, with the verdict by the rule that was written down before:

# %%
board = [v for v in claims.scoreboard() if v.claim.id.startswith("B:")]


def claims_of(*sources):
    """Return the paper's claims from some of its tables, figures or sections."""
    chosen = [v for v in board if v.claim.id.split(":")[1] in sources]
    return plots.claim_table(chosen)


claims_of("table1")

# %% [markdown]
# ## Does the order hold?
#
# Every neighbouring pair in the paper's order, and its two ends, tested in each architecture: Welch's one-sided test over pairs of networks that the first of two mean barriers is lower. *No* means that the test does not reject at 5 %, or that the order is the other way round (a negative difference). Git Re-Basin has the very networks of
# the standard pairs, which the test does not use, and p-values are not corrected for their number.

# %%
plots.ordering_table(orderings())

# %% [markdown]
# ## Figure 3

# %% mystnb={"figure": {"caption": "Test loss along the straight line between two networks, mean over pairs with a band of one standard deviation. Crosses: the paper's midpoint barriers, set above the mean of our ends.", "name": "fig-overview-lines"}, "image": {"alt": "Panels of test loss against the mixing weight from 0 to 1, one for each architecture that was run, one curve for each method, with crosses in the middle for the paper's numbers."}}
plots.line_panels(lines(), paper)

# %% [markdown]
# ## Tables 8 and 9: warm-up, and fixing only biases
#
# The 20-epoch cells of Table 8 are, for residual networks, those of Table 1. Shorter runs scale the warm-up with their length, and graph networks have the 25 steps of their recipe.

# %%
claims_of("table8", "table9")

# %% [markdown]
# ## Appendix A: three observations
#
# The paper reports that *distance* does not explain the barriers, since W-asymmetric networks of a pair are nearly as far apart as standard ones or farther; that asymmetric networks *overfit* less; and that they are *slower* to train, the more so the more
# entries are pinned to the larger constants (Figure 6, on [a page of its own](training_speed.ipynb)).

# %%
claims_of("appendixA", "figure6")

# %% [markdown]
# Where runs have both, the same for all architectures: distance of a pair divided by the number of trainable entries as in the paper, and by its root, which does not depend on the size of a network. Pinned entries and statistics of BatchNorm are left out; the paper's distances of graph
# networks include the latter. The gap is training less test accuracy, for graph networks best training less best validation accuracy as in the paper.

# %%
from symlib.studies.connectivity import appendix_a

plots.separation_table(appendix_a())

# %% [markdown]
# ## What none of this shows
#
# That the symmetry's *absence* is what lowers the barrier. W-asymmetric networks of a pair also share a large part of their weights. The [controls](controls.ipynb) keep one of the two and drop the other.

# %% [markdown]
# ## Where these numbers come from

# %%
from symlib.studies.connectivity import ROWS

kept = {row.name: row.record() for row in ROWS[:4]}
print(records.origin({name: record for name, record in kept.items() if record}))
