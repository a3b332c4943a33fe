# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What a neuron can express, and at what cost
#
# **Claim.** Removing symmetries from the wiring is not enough. What tells two neurons apart is the set of functions that each can compute on the inputs that
# really arrive, and the weight norm it takes: its *effective function class* {cite:p}`buergin2026`. The definitions stand in
# [the chapter](../book/neuron-identifiability.md). This page draws them from trained networks, the smallest that show them, and then checks by numbers, on
# random layers, what the definitions lead to at once. What is stated about them has pages of its own: {prf:ref}`thm-anisotropy`,
# {prf:ref}`thm-centre-dominated`, {prf:ref}`thm-spacing`, {prf:ref}`thm-input-permutations`, {prf:ref}`thm-chord` and {prf:ref}`prop-trade-off`.

# %% [markdown]
# ## Parameters
#
# The defaults finish on a laptop. `make run NB=effective_function_classes PROFILE=cpu` repeats the checks more often.

# %% tags=["parameters"]
profile = "quick"  # quick | cpu | paper | custom
statements = ["costs", "gap"]  # what is measured; the files in symlib/studies/statements
n_repeats = 10  # draws of all random layers, at least 2
base_seed = 0  # everything random is derived from it
workers = 1  # processes
out = ""  # folder for the record; empty keeps nothing

# %%
from symlib.studies.effective_theory import EffectiveTheory

config = EffectiveTheory.from_cell(globals())

# %% [markdown]
# ## Function classes of three neurons
#
# The task has two classes in four clouds of a plane, and the plane lies in six dimensions. So a hidden neuron is, up to its bias, two coefficients. Three of
# them are trained from two different draws, with strong weight decay, under three interventions. Each outline holds what one neuron can compute with trainable weights of norm 1,
# starting at its centre, which costs nothing; arrows lead from there to what training made of it.
#
# Left, all three classes are one disc, and which neuron does what is decided by the draw. In the middle every neuron misses three of six inputs: there
# are three different classes, but they share a centre and overlap, so each neuron can still stand in for the others. Right, the missing weights are constants
# instead. The centres part, every run starts from the same ones, and its arrows stay in their own neighbourhood.

# %%
from symlib.plots import effective as plots
from symlib.studies.function_classes import function_classes

draws = [function_classes(config.base_seed + draw) for draw in range(6)]

# %% mystnb={"figure": {"caption": "Effective function classes of three hidden neurons on a plane of inputs. Outlines: what a neuron can realise at cost 1. Arrows: what two trained networks realise, from the neuron's centre, numbered by neuron.", "name": "fig-function-classes"}, "image": {"alt": "Three panels. Standard: one disc around the origin, blue and green arrows in unrelated directions. W-asymmetric with zeros: three tilted ellipses around the origin, arrows unrelated. W-asymmetric with constants: three ellipses with separate centres, and the blue and green arrow of each neuron point the same way."}}
plots.function_class_panels(draws[0])

# %% [markdown]
# One picture proves little. So, over several draws of task, mask and networks: is it cheapest if every neuron of one run takes over the function of the neuron
# with its own number in the other run, and any other assignment dearer? With three neurons that happens by chance in one case of six. For standard networks
# all assignments cost the same, so it never does.

# %%
import pandas as pd

from symlib.plots.style import intervention_look

every = pd.concat(draws, keys=range(len(draws)), names=["draw"])
runs = every.groupby(["intervention", "draw", "run"], sort=False)["gap"].first()
lines = ["equal numbers match at the least cost"]
for name, gaps in runs.groupby("intervention", sort=False):
    label = intervention_look(name).label
    lines.append(f"{label:<24}{(gaps > 0).sum():>3} of {len(gaps)} runs")
print("\n".join(lines))

# %% [markdown]
# ## Closed forms
#
# The rest are random layers: 64 neurons, 512 inputs, 64 of them frozen for each neuron. Repeats are new draws of everything. By {prf:ref}`def-realization-cost` a cost is a least norm, which has a closed
# form; swap costs ({prf:ref}`def-swap-cost`) then have one for standard layers, where all vanish, and for syre.

# %% tags=["nbval-ignore-output", "remove-output"]
from symlib.studies.effective_theory import largest, quantities, rows_of, run

live = run(config)

# %%
kept = largest(live)
found, mine = quantities(kept), quantities(live)
title = "{n_repeats} repeats ({profile})".format(**kept.config)
names = {
    "least norm": "closed form of the cost = least norm of weights that reach the target",
    "frozen rows": "S = 1 minus what the frozen rows of U take away",
    "standard": "standard layers: swap costs = 0",
    "syre": "syre: swap costs = 2 (a_i - a_j)(v_i - v_j)",
}
lines = []
for name, meaning in names.items():
    worst = found[f"difference/{name}"].max()
    said = "exactly" if worst == 0 else "to 1e-12" if worst < 1e-12 else "no"
    lines.append(f"{said:<9}{meaning}")
print("\n".join(lines))

# %% [markdown]
# The closed form assumes that the target lies in what the neuron can reach. Drop that: inputs repeat eight numbers four times, and every second neuron has all copies of one number pinned. What
# other neurons compute is then out of its reach, and the definition says that it costs infinitely much. The formula with the pseudo-inverse, taken by itself as in the released code, returns the cost of
# the nearest function that is in reach: a finite number for something impossible.

# %%
share = {name: found[name].mean() for name in found if "reach" in name}
lines = [
    f"neurons with the pin: cost infinite          {share['out of reach/infinite']:.0%}",
    f"                      formula alone finite   {share['out of reach/finite by formula']:.0%}",
    f"neurons without:      cost infinite          {share['within reach/infinite']:.0%}",
]
print("\n".join(lines))

# %% [markdown]
# ## The gap: from which scale on are neurons identifiable?
#
# The gap is what the best assignment of functions to neurons, other than the present one, costs more. Trainable entries are as large as at the start of training.
# Without fixed weights, some other assignment of so many random neurons is cheaper. (Not so of few, nor of a standard layer, whose assignments all cost the same.) The scale from which on the identity wins is the smaller, the more dimensions the inputs have; on a
# plane no scale in the figure is enough for 64 neurons.
#
# The right panel asks the question that matters for merging, of two draws of the trainable part with the same constants: how many neurons does the cheapest
# assignment of one draw's functions to the other's neurons leave with themselves? The match needs no activations, only weights and the subspace;
# [trained networks](trained_costs.ipynb) are compared in this way with what their activations say.

# %% mystnb={"figure": {"caption": "Left: identifiability gap against the scale of the fixed weights for inputs of 2, 8 and 32 dimensions. Right: share of neurons that the cheapest assignment across two draws matches with themselves. Mean and standard deviation over repeats.", "name": "fig-gap"}, "image": {"alt": "Two panels over scales from 0 to 2. Left, the gap is negative at 0, dips, and turns positive at 0.1 for 32 dimensions, at 0.5 for 8, and stays below zero for 2. Right, the share rises from near 0 to 1, earliest for 32 dimensions and last for 2, where it ends below 1."}}
plots.gap_by_scale(rows_of(kept, "gap"), title)

# %% [markdown]
# ## Did this page's own run agree?

# %%
gaps = [mine[f"gap/{k}/1"].mean() for k in (2, 8, 32)]
checks = {
    "functions out of reach cost infinitely much": mine["out of reach/infinite"].min() == 1,
    "the gap is negative without fixed weights": mine["gap/32/0"].max() < 0,
    "and positive with large ones in 32 dimensions": mine["gap/32/1"].min() > 0,
    "more dimensions, larger gap": gaps == sorted(gaps),
}
print("\n".join(f"{'yes' if holds else 'no':<5}{what}" for what, holds in checks.items()))

# %% [markdown]
# ## Verdicts
#
# By the rules in `claims.toml`.

# %%
from symlib import claims

here = "notebooks/effective_function_classes.ipynb"
verdicts = [v for v in claims.scoreboard() if v.claim.page == here]
print(claims.scoreboard_text(verdicts))

# %% [markdown]
# ## Where these numbers come from

# %% tags=["nbval-ignore-output"]
from symlib import records

print(records.origin({"shown": kept, "live": live}))
