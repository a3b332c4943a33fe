# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Centres crowd in few dimensions
#
# The identity of neurons is only as safe as the two centres that are closest. How close they are depends on the width of the layer and on the dimension of what it reads. This is why fixed *biases* do not
# break the symmetry in any way that training would notice: a bias is one input that never changes, a single dimension.
#
# ```{prf:theorem} Spacing of Gaussian centres (after Bürgin et al.)
# :label: thm-spacing
#
# Let the centres of $m$ neurons be independent Gaussian vectors of standard deviation $\sigma_F$ in $k$ dimensions. Then $\gamma = \sqrt 2 \min_{i \ne j} \lVert v_i - v_j \rVert$ is of the order
#
# $$
# \gamma = \Theta\bigl( \sigma_F \sqrt k\; m^{-2/k} \bigr).
# $$
# ```
#
# What is assumed: centres are independent, and their distribution has a density. A Gaussian $F$ on a subspace gives both.
#
# ```{prf:proof}
# A second centre falls within $r$ of a given one with a probability of the order $(r / \sigma_F \sqrt k)^k$, because the density is bounded. There are about $m^2$ pairs, so the closest pair is where $m^2 (r / \sigma_F \sqrt k)^k$ is of
# the order 1. Solving for $r$ gives the power $-2/k$.
# ```

# %% [markdown]
# ## Parameters
#
# The defaults finish in seconds. `make run NB=centre_spacing PROFILE=cpu` repeats the draws more often.

# %% tags=["parameters"]
profile = "quick"  # quick | cpu | paper | custom
statements = ["centre spacing"]  # files in symlib/studies/statements
n_repeats = 20  # draws of all random layers, at least 2
base_seed = 0  # everything random is derived from it
workers = 1  # processes
out = ""  # folder for the record; empty keeps nothing

# %%
from symlib.studies.effective_theory import EffectiveTheory

config = EffectiveTheory.from_cell(globals())

# %% tags=["nbval-ignore-output", "remove-output"]
from symlib.studies.effective_theory import largest, quantities, rows_of, run

live = run(config)

# %%
kept = largest(live)
found, mine = quantities(kept), quantities(live)
title = "{n_repeats} repeats ({profile})".format(**kept.config)
print("shown:", title)

# %% [markdown]
# ## The power of the width
#
# Widths from 16 to 1024. At $k = 32$ the power law is not reached at these widths: distances of points in many dimensions differ little, and the smallest falls faster than the law at first. Distances are
# differences in double precision; formed by products, those in one dimension would vanish.

# %%
from symlib.studies.statements.centre_spacing import DIMENSIONS, FAMILIES, REFERENCE

lines = ["dimension   power     theory   independent program"]
for k in DIMENSIONS:
    ours, theory = (found[f"{what}/spacing/{k}"].mean() for what in ("slope", "power"))
    other = f"{REFERENCE[k]:.2f}" if k in REFERENCE else "-"
    lines.append(f"{k:>9}{ours:>8.2f}{theory:>11.2f}{other:>12}")
print("\n".join(lines))

# %% mystnb={"figure": {"caption": "Spacing of the centres against the width of the layer, geometric mean over repeats, with lines of the slope that the theory gives.", "name": "fig-centre-spacing"}, "image": {"alt": "Double logarithmic plot of five series. The one for a single dimension falls steeply over three and a half decades; the more dimensions the flatter, and for 32 dimensions it is nearly level."}}
from symlib.plots import statements as plots

plots.spacing_by_width(rows_of(kept, "centre spacing"), title)

# %% [markdown]
# ## When an assumption is dropped
#
# Give the centres coordinates of 1 and −1 with equal probability: the same variance, no density. There are $2^k$ places for them, so as soon as the layer is wider than that two neurons share
# a centre, the spacing is 0 and no power law describes it. That is what constants of one size would do to inputs that lie along single coordinates. In 32 dimensions there are so many places that it makes no difference.
# Centres that are not independent need not be apart either: if the second half of the neurons repeats the constants of the first, a density does not help.

# %%
lines = ["layers with two equal centres, widths 16 to 1024"]
lines += ["dimension   Gaussian     signs   repeated"]
for k in DIMENSIONS:
    shares = [found[f"coincide/{family}/{k}"].mean() for family in FAMILIES]
    lines.append(f"{k:>9}" + "".join(f"{share:>10.0%} " for share in shares).rstrip())
print("\n".join(lines))

# %% [markdown]
# ## What the statement does not say
#
# It is about the closest pair among all, the worst case. [Swap costs](swap_costs.ipynb) of typical pairs grow with $k$, and their centres do not know how many other neurons there are.

# %% [markdown]
# ## Verdicts
#
# By the rules in `claims.toml`.

# %%
from symlib import claims

here = "notebooks/centre_spacing.ipynb"
verdicts = [v for v in claims.scoreboard() if v.claim.page == here]
print(claims.scoreboard_text(verdicts))

# %% [markdown]
# ## Where these numbers come from

# %% tags=["nbval-ignore-output"]
from symlib import records

print(records.origin({"shown": kept, "live": live}))
