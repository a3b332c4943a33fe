# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Reordered inputs are noticed too
#
# Neurons of one layer are the inputs of the next. If the layer below were reordered, would the layer above notice? Its constants stay where they are while its inputs change places, so every centre moves. How far, in the
# most favourable case, is what this statement says.
#
# ```{prf:theorem} Input permutations (after Bürgin et al.)
# :label: thm-input-permutations
#
# Reordering the inputs by $\tau$ turns the basis $U$ into $P_\tau U$ and moves the centres by $\delta_\tau = (U - P_\tau U)^\top F^\top$. For the exchange of inputs $a$ and $b$
#
# $$
# \lVert \delta_\tau \rVert_F = \lVert U_{a,:} - U_{b,:} \rVert \; \lVert F_{:,a} - F_{:,b} \rVert ,
# $$
#
# so that with Gaussian constants the least change is $\gamma_{\mathrm{in}} = \Theta(\sigma_F \sqrt m)\, \min_{a \ne b} \lVert U_{a,:} - U_{b,:} \rVert$.
# ```
#
# What is assumed:
#
# 1. for the closed form: exactly two inputs change places;
# 2. for a positive least change: no two rows of $U$ are equal, and no two columns of $F$.
#
# ```{prf:proof}
# An exchange makes $U - P_\tau U$ a matrix with two rows, $U_a - U_b$ and its negative. So $\delta_\tau$ is the outer product of $U_a - U_b$ with $F_a - F_b$, and the norm of an outer product is the product of the
# norms. The second factor is the length of a Gaussian vector with $m$ entries of variance $2 \sigma_F^2$, close to $\sigma_F \sqrt{2m}$.
# ```

# %% [markdown]
# ## Parameters
#
# The defaults finish in seconds. `make run NB=input_permutations PROFILE=cpu` repeats the draws more often.

# %% tags=["parameters"]
profile = "quick"  # quick | cpu | paper | custom
statements = ["input permutations"]  # files in symlib/studies/statements
n_repeats = 5  # draws of all random layers, at least 2
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
# ## The closed form is an equality
#
# Random subspaces of 8 dimensions in 512 inputs, constants of standard deviation 1 everywhere. For the exchange of two inputs both sides are computed and compared; the least change is the smallest over all 130,816 exchanges,
# in units of $\sqrt m$ times the smallest distance of two rows of $U$.

# %%
from symlib.studies.statements.input_permutations import WIDTHS

said = "yes, to 1e-12" if found["exchange"].max() < 1e-12 else "no"
lines = [f"closed form = change, for exchanges: {said}", ""]
lines += ["neurons   least change (in units)   closed form off for cycles of three"]
for m in WIDTHS:
    least, cycle = found[f"least/distinct/{m}"], found[f"closed form/cycle/{m}"]
    change = f"{least.mean():>15.2f} ± {least.std(ddof=1):.2f}"
    lines.append(f"{m:>7}{change}{cycle.mean():>34.0%}")
print("\n".join(lines))

# %% mystnb={"figure": {"caption": "The least that any exchange of two inputs moves the centres, in units of the theory, against the width of the layer. Mean and standard deviation over repeats.", "name": "fig-input-permutations"}, "image": {"alt": "Circles for a random subspace rise from about 1.2 towards the dotted line at the root of 2. Squares for inputs that come in copies, and triangles for two inputs with the same constants, lie at zero for every width."}}
from symlib.plots import statements as plots

plots.least_change_by_width(rows_of(kept, "input permutations"), title)

# %% [markdown]
# ## When an assumption is dropped
#
# *More than two inputs move.* Three inputs that change places in a circle do not move the centres by what two of the exchanges would give together; the right-hand column above says by how much that guess is off.
#
# *Two rows of $U$ are equal.* Inputs that carry the same numbers can change places, and nothing that the layer computes depends on it, whatever its constants are. *Two columns of $F$ are equal*: then the
# constants treat both inputs alike. In both cases the least change is exactly 0, the lower two series of the figure.

# %%
zero = {
    "inputs that come in copies": "copies",
    "two inputs with the same constants": "twin constants",
}
lines = ["least change over all exchanges, largest of all draws and widths"]
for meaning, name in zero.items():
    worst = max(found[f"least/{name}/{m}"].max() for m in WIDTHS)
    lines.append(f"{meaning:<36}{worst:.3g}")
print("\n".join(lines))

# %% [markdown]
# ## What the statement does not say
#
# Centres that move make reorderings visible; whether they make them *expensive* is again a question of how far the neurons are from their centres ({prf:ref}`thm-centre-dominated`). And copies of inputs are no corner case: a layer
# with two neurons that compute the same gives the next layer exactly that.

# %% [markdown]
# ## Verdicts
#
# By the rules in `claims.toml`.

# %%
from symlib import claims

here = "notebooks/input_permutations.ipynb"
verdicts = [v for v in claims.scoreboard() if v.claim.page == here]
print(claims.scoreboard_text(verdicts))

# %% [markdown]
# ## Where these numbers come from

# %% tags=["nbval-ignore-output"]
from symlib import records

print(records.origin({"shown": kept, "live": live}))
