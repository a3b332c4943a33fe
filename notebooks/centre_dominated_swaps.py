# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Centres govern what exchanging neurons costs
#
# A neuron with fixed weights $f_i$ computes something before it has learnt anything: its centre $v_i = U^\top f_i$. If what is learnt is small beside the distances between centres, exchanging two neurons
# means carrying each function all the way from one centre to the other, and the price is known without training.
#
# ```{prf:theorem} Centre-dominated regime (after Bürgin et al.)
# :label: thm-centre-dominated
#
# If $\lVert a_i - v_i \rVert$ is small beside the spacing of the centres and $S_i \approx \mu I$ for all neurons, then reordering the neurons by $\pi$ costs
#
# $$
# \Delta_\pi \;\approx\; \mu^{-1} \lVert V - V \Pi \rVert_F^2 , \qquad\text{for an exchange}\qquad \Delta_{ij} \approx \frac{2}{\mu} \lVert v_i - v_j \rVert^2 .
# $$
#
# No reordering but the identity moves the centres by less than $\gamma = \sqrt 2 \min_{i \ne j} \lVert v_i - v_j \rVert$.
# ```
#
# What is assumed:
#
# 1. little is learnt: $a_i \approx v_i$;
# 2. masks cannot be seen on the inputs: $S_i \approx \mu I$, which {prf:ref}`thm-anisotropy` gives for small coherence;
# 3. there are constants: without them all centres are 0, and the approximation is 0 too.
#
# ```{prf:proof}
# With $S_i = \mu I$ and $a_i = v_i$ the costs ({prf:ref}`def-realization-cost`) are $c_{ij} = \lVert v_j - v_i \rVert^2 / \mu$ and $c_{ii} = 0$. Summed over $\pi$ they are the squared Frobenius norm. A reordering that is not the
# identity moves at least two neurons, each at least as far as the two closest centres are apart, hence $\sqrt 2$ times that distance at least.
# ```

# %% [markdown]
# ## Parameters
#
# The defaults finish in seconds. `make run NB=centre_dominated_swaps PROFILE=cpu` repeats the draws more often.

# %% tags=["parameters"]
profile = "quick"  # quick | cpu | paper | custom
statements = ["centre costs"]  # files in symlib/studies/statements
n_repeats = 10  # draws of all random layers, at least 2
base_seed = 0  # everything random is derived from it
workers = 1  # processes
out = ""  # folder for the record; empty keeps nothing

# %%
from symlib.studies.effective_theory import EffectiveTheory

config = EffectiveTheory.from_cell(globals())

# %% tags=["nbval-ignore-output", "remove-output"]
from symlib.studies.effective_theory import largest, quantities, run

live = run(config)

# %%
kept = largest(live)
found, mine = quantities(kept), quantities(live)
title = "{n_repeats} repeats ({profile})".format(**kept.config)
print("shown:", title)

# %% [markdown]
# ## As long as little is learnt
#
# Layers of 64 neurons with 512 inputs that fill 32 dimensions; 64 entries of each row are constants of standard deviation 1. The trainable entries are drawn too, with a standard deviation that is raised. The second assumption alone leaves
# a ratio slightly above 1, because $S_i$ is close to $\mu I$ but not equal to it.

# %%
from symlib.studies.statements.centre_costs import REFERENCE, TRAINED

lines = ["mean ± sd over repeats (independent program)"]
lines += ["trained part   correlation               ratio, exact to approximate"]
for trained in TRAINED:
    row = f"{trained:>12g}"
    for what in ("correlation", "ratio"):
        ours, theirs = found[f"{what}/{trained:g}"], REFERENCE[what][trained]
        row += f"{ours.mean():>11.3f} ± {ours.std(ddof=1):.3f} ({theirs:.3f})"
    lines.append(row)
print("\n".join(lines))

# %% mystnb={"figure": {"caption": "Exact swap costs of all pairs of 64 neurons against those computed from the centres, for trainable entries of growing standard deviation.", "name": "fig-centre-scatter"}, "image": {"alt": "Four scatter plots with a diagonal. The points lie on the diagonal for trained parts of 0 and 0.05, spread around it at 0.2, and form a wide cloud that reaches below zero at 1."}}
from symlib.plots import statements as plots
from symlib.seeds import generator
from symlib.studies.statements.centre_costs import DIMENSION, centre_pairs
from symlib.studies.statements.layers import random_subspace

plane = random_subspace(DIMENSION, generator(config.base_seed, "plane"))
scattered = {
    trained: centre_pairs(trained, plane, generator(config.base_seed, "scatter")).numpy()
    for trained in TRAINED
}  # fmt: skip
plots.centre_scatter(scattered, "one layer, its trainable part scaled")

# %% [markdown]
# ## When an assumption is dropped
#
# *Much is learnt*: that is the last row and the last panel above. Costs follow what neurons became, and some exchanges are cheaper than staying.
#
# *Masks can be seen.* Inputs that repeat 32 numbers $n$ times have coherence $1/n$. The fewer copies, the more a mask distorts $S_i$; with two copies a neuron has often lost all of a number,
# cannot take over other functions at all, and the exact cost is infinite where the approximation is finite.

# %%
from symlib.studies.statements.centre_costs import COPIES

lines = ["coherence   correlation of finite costs   exchanges that are out of reach"]
for n in COPIES:
    correlation = found[f"coherent/correlation/{1 / n:g}"].mean()
    infinite = found[f"coherent/infinite/{1 / n:g}"].mean()
    lines.append(f"{1 / n:>9.3f}{correlation:>30.3f}{infinite:>34.1%}")
below = found["no constants/below zero/0"].mean()
lines += ["", f"without constants, exchanges that cost less than nothing: {below:.0%}"]
print("\n".join(lines))

# %% [markdown]
# *No constants.* The approximation is 0 for every exchange. The exact costs of a layer at the start of training are not: many of them are negative, so exchanging the two neurons would make the layer cheaper.
# With zeros in place of constants nothing ties a function to its neuron.
#
# ## What the statement does not say
#
# How small "small" has to be: that depends on the closest centres, the [next statement](centre_spacing.ipynb). And how much training moves neurons from their centres: the exact costs of
# trained networks are on [their own page](swap_costs.ipynb).

# %% [markdown]
# ## Verdicts
#
# By the rules in `claims.toml`.

# %%
from symlib import claims

here = "notebooks/centre_dominated_swaps.ipynb"
verdicts = [v for v in claims.scoreboard() if v.claim.page == here]
print(claims.scoreboard_text(verdicts))

# %% [markdown]
# ## Where these numbers come from

# %% tags=["nbval-ignore-output"]
from symlib import records

print(records.origin({"shown": kept, "live": live}))
