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
# [the chapter](../book/neuron-identifiability.md). This page draws them from trained networks, the smallest that show them, and then checks every statement
# of the theory by numbers, on random layers for which it should hold.

# %% [markdown]
# ## Parameters
#
# The defaults finish on a laptop. `make run NB=effective_function_classes PROFILE=cpu` repeats the checks more often.

# %% tags=["parameters"]
profile = "quick"  # quick | cpu | paper | custom
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
# ## The checks
#
# All of the rest are random layers: 64 neurons, 512 inputs, 64 of them frozen for each neuron, unless said otherwise. Repeats are new draws of everything. The
# numbers beside ours come from an independent program with random draws of its own.

# %% tags=["nbval-ignore-output", "remove-output"]
from symlib import records
from symlib.studies.effective_theory import run

live = run(config)

# %%
from symlib.studies.effective_theory import REFERENCE, quantities, rows_of


def size(record):
    return record.config["n_repeats"]


kept = max([live, *records.find("effective_theory")], key=size)
title = "{n_repeats} repeats ({profile})".format(**kept.config)
found, mine = quantities(kept), quantities(live)
names = {
    "least norm": "closed form of the cost = least norm of weights that reach the target",
    "frozen rows": "S = 1 minus what the frozen rows of U take away",
    "standard": "standard layers: swap costs = 0",
    "syre": "syre: swap costs = 2 (a_i - a_j)(v_i - v_j)",
    "exchanged inputs": "exchanged inputs move centres by |U_a - U_b| |F_a - F_b|",
}
lines = []
for name, meaning in names.items():
    worst = mine[f"difference/{name}"].max()
    said = "exactly" if worst == 0 else "to 1e-12" if worst < 1e-12 else "no"
    lines.append(f"{said:<9}{meaning}")
print("\n".join(lines))

# %% [markdown]
# ### Coherence decides whether a mask can be seen
#
# Without fixed weights neurons differ by $S_i$ alone, and where the subspace spreads over many inputs every $S_i$ comes close to the same multiple of the
# identity. The matrix Bernstein inequality bounds the distance; it is loose by a factor of four or more, vacuous for coherent subspaces, and never
# exceeded here. What it gets right is the scaling with the square root of the coherence. Its constant needs the larger one of $p$ and $1 - p$; the released
# code takes $p$, the trainable share, which is too small for sparse layers.

# %% mystnb={"figure": {"caption": "Distance of S from a multiple of the identity, mean over 400 masks, against the coherence of a subspace of 16 dimensions.", "name": "fig-anisotropy"}, "image": {"alt": "Double logarithmic plot. Points for copies of the axes rise along a line of slope one half; a random subspace lies low at the left; the dashed bound runs parallel, several times higher."}}
plots.anisotropy_by_coherence(rows_of(kept, "anisotropy"), REFERENCE["anisotropy"], title)

# %% [markdown]
# ### Centres govern what exchanging neurons costs, as long as little is learnt
#
# With fixed weights in play, swap costs approach $2 \lVert v_i - v_j \rVert^2 / \mu$. The more the trainable weights grow beside the constants, here of standard deviation
# 1, the less the centres say.

# %%
from symlib.seeds import generator
from symlib.studies.effective_theory import TRAINED, centre_pairs

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
scattered = {
    trained: centre_pairs(trained, generator(config.base_seed, "scatter")).numpy()
    for trained in TRAINED
}  # fmt: skip
plots.centre_scatter(scattered, "one layer, its trainable part scaled")

# %% [markdown]
# ### Centres crowd in few dimensions
#
# The closest two of $m$ Gaussian centres in $k$ dimensions are about $\sigma_F \sqrt k\, m^{-2/k}$ apart. For inputs of many dimensions that hardly falls with
# the width. In one dimension it falls with its square, which is why fixed biases, one extra input that never changes, break the symmetry on paper only. At $k = 32$
# the power law is not reached at these widths. Distances are differences in double precision: formed by products, those in one dimension vanish.

# %%
lines = ["dimension   slope     theory   independent program"]
for k in (1, 2, 4, 8, 32):
    ours, theory = (found[f"{what}/spacing/{k}"].mean() for what in ("slope", "power"))
    other = f"{REFERENCE['spacing'][k]:.2f}" if k in REFERENCE["spacing"] else "-"
    lines.append(f"{k:>9}{ours:>8.2f}{theory:>11.2f}{other:>12}")
print("\n".join(lines))

# %% mystnb={"figure": {"caption": "Spacing of the centres against the width of the layer, geometric mean over repeats, with lines of the slope that the theory gives.", "name": "fig-centre-spacing"}, "image": {"alt": "Double logarithmic plot of five series. The one for a single dimension falls steeply over three and a half decades; the more dimensions the flatter, and for 32 dimensions it is nearly level."}}
plots.spacing_by_width(rows_of(kept, "spacing"), title)

# %% [markdown]
# ### Why the straight line stays low
#
# Between two settings of its weights a layer leaves its chord only where it is curved. A ReLU is curved where a pre-activation changes sign; if the trainable part is a small share
# $\beta$ of the whole, that happens for a share $\beta$ of the inputs, by about $\beta$. Squared and summed this makes $\beta^3$, hence a deviation of the order $\beta^{3/2}$,
# relative to $\lVert F \Sigma^{1/2} \rVert$. A smooth activation has curvature everywhere and a deviation of the order $\beta^2$, which is less for small $\beta$.

# %%
lines = ["activation   slope   theory"]
for name, look in plots.ACTIVATIONS.items():
    ours, theory = (found[f"{what}/chord/{name}"].mean() for what in ("slope", "power"))
    lines.append(f"{look.label:<10}{ours:>8.2f}{theory:>9.1f}")
print("\n".join([*lines, f"ReLU, independent program: {REFERENCE['slope']['relu']:.2f}"]))

# %% mystnb={"figure": {"caption": "Largest deviation of a layer of 64 neurons from its chord on the line between two draws of its trainable part, relative to the fixed part.", "name": "fig-chord"}, "image": {"alt": "Double logarithmic plot. ReLU follows a dotted line of power 1.5 and the crosses of the independent program; GELU starts lower, follows power 2, and meets ReLU where the trainable part is a fifth of the fixed part or more."}}
from symlib.studies.effective_theory import POWERS

plots.chord_by_size(rows_of(kept, "chord"), POWERS, REFERENCE["chord"], title)

# %% [markdown]
# ### The gap: from which scale on are neurons identifiable?
#
# The gap is what the best assignment of functions to neurons, other than the present one, costs more. Trainable entries are as large as at the start of training.
# Without fixed weights, some other assignment is always cheaper. The scale from which on the identity wins is the smaller, the more dimensions the inputs have; on a
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
powers = ("anisotropy", "chord/relu", "chord/gelu")
slopes = {name: mine[f"slope/{name}"].mean() for name in powers}
checks = {
    "no mask beyond its bound": (mine["exceptions"] == 0).all(),
    "anisotropy grows with the root of coherence": abs(slopes["anisotropy"] - 0.5) < 0.05,
    "ReLU's power is 3/2": abs(slopes["chord/relu"] - 1.5) < 0.1,
    "GELU's power is 2": abs(slopes["chord/gelu"] - 2) < 0.1,
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

verdicts = [v for v in claims.scoreboard() if v.claim.study == "effective_theory"]
print(claims.scoreboard_text(verdicts))

# %% [markdown]
# ## Where these numbers come from

# %% tags=["nbval-ignore-output"]
lines = []
for name, about in {"shown": kept.about, "live": live.about}.items():
    versions = ", ".join(" ".join(item) for item in about["versions"].items())
    lines += [
        f"{name}: commit {about['commit']}, {about['date']}",
        f"  {about['device']} ({about['machine']}), {about['compute_s']:.0f} s",
        f"  {versions}",
        f"  table {about['table_sha256'][:16]}",
    ]
print("\n".join(lines))
