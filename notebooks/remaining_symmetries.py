# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What symmetry is left
#
# Each intervention was made against the order of hidden units. But networks have other symmetries: ReLU units can be scaled, tanh units turned around, and LayerNorm
# does not see the scale or a common shift of what it normalises. {prf:ref}`thm-automorphisms` is about the wiring and says nothing about them; the paper remarks, without a proof, that fixed weights other than
# zero should remove scalings as well {cite:p}`lim2024`. This page looks: first at all continuous symmetries together, by counting directions, then at each known
# transformation, by carrying it out.

# %% [markdown]
# ## The statement
#
# ```{prf:proposition} Zeros let every scaling survive (ours)
# :label: thm-leftover
#
# Let $f(x) = W_L\, \varphi(W_{L-1} \cdots \varphi(W_1 x))$ with $\varphi(c z) = c\, \varphi(z)$ for $c > 0$, entry by entry, and let some entries of the $W_l$ be pinned to zero. Then for all positive diagonal matrices $D_l$ of the
# hidden layers, and $D_0 = D_L = I$, the weights $D_l W_l D_{l-1}^{-1}$ meet the same constraint and compute the same function. If no hidden unit's row of weights is zero,
# these are as many independent continuous symmetries as there are hidden units.
# ```
#
# It assumes: what is pinned is zero; and the activation is positively homogeneous, like ReLU and leaky ReLU.
#
# ```{prf:proof}
# Scaling rows and columns leaves zeros zero. By homogeneity $\varphi(D_l W_l D_{l-1}^{-1} D_{l-1} h) = D_l\, \varphi(W_l h)$, so hidden answers are multiplied by $D_l$ layer by layer, and the last map takes the
# factors out. Independent they are, because a combination of their directions at $D = I$, with coefficient $c_i$ for unit $i$, moves weight $w_{ij}$ by $(c_i - c_j)\, w_{ij}$, with $c_j = 0$ for
# inputs; if nothing moves, all $c_i$ are 0, layer by layer from the inputs.
# ```
#
# It holds for every mask, also for those for which {prf:ref}`thm-automorphisms` proves that no order is left. Its converse, that constants other than zero leave nothing, is not
# proved here but measured.

# %% [markdown]
# ## Parameters
#
# The defaults finish on a laptop. `make run NB=remaining_symmetries PROFILE=cpu` repeats all with more draws.

# %% tags=["parameters"]
profile = "quick"  # quick | cpu | paper | custom
n_draws = 3  # draws of masks, constants, gates, weights and inputs, at least 2
base_seed = 0  # everything random is derived from it
workers = 1  # processes
out = ""  # folder for the record; empty keeps nothing

# %%
from symlib.studies.remaining_symmetries import RemainingSymmetries

config = RemainingSymmetries.from_cell(globals())

# %% tags=["nbval-ignore-output", "remove-output"]
from symlib import records
from symlib.studies.remaining_symmetries import run

live = run(config)

# %%
from symlib import claims
from symlib.studies.checks import counted, rows_of
from symlib.studies.remaining_symmetries import REFERENCE, quantities

kept = claims.shown(live, records.find("remaining_symmetries"))
title = "{n_draws} draws ({profile})".format(**kept.config)
found, mine = quantities(kept), quantities(live)
print(f"shown: {title}")

# %% [markdown]
# ## Continuous symmetries by counting
#
# In a direction of a continuous symmetry all answers stand still, so it is in the null space of the Jacobian of the answers with respect to the trainable entries. The networks have sizes 8-10-10-4 or, with a
# linear or gated activation, 6-7-7-3, no biases, two pinned entries in a row, and 200 inputs; the activation is leaky ReLU, because a ReLU unit that is silent on all inputs would count as symmetries.
# A relative singular value below $10^{-9}$ counts as zero.

# %%
from symlib.studies.remaining_symmetries import NETWORKS

lines = [f"{'':<22} trainable   nullity   (independent)   smallest other"]
for name in NETWORKS:
    entries = counted(found[f"trainable/{name}"])
    directions = counted(found[f"nullity/{name}"])
    other, least = str(REFERENCE.get(name, "-")), found[f"smallest/{name}"].mean()
    lines.append(f"{name:<22}{entries:>10}{directions:>10}{other:>16}{least:>17.1e}")
print("\n".join(lines))

# %% [markdown]
# - A standard network has one scaling for each of its 20 hidden units. Zeros keep all of them ({prf:ref}`thm-leftover`), constants remove them. Zeros may leave more: where
#   by chance all that leaves a unit is pinned to zero, no output sees the unit, and its whole row is free.
# - *syre* trains all entries, so as a function it has the symmetries of a standard network, all of them. What it changes is the price, see below.
# - GELU is not homogeneous: no continuous symmetry, whether or not anything is pinned.
# - A linear activation leaves a function space of 18 dimensions, and the rest of the parameters is symmetry. Masks do not help: each pinned entry takes one parameter and one symmetry away.
# - LayerNorm brings symmetries of its own. One common row can be added to all rows of a map before it: 8 and 10 directions. The nineteenth is not exact. The scales of the two maps and one more
#   mixture of unit scalings, which the second norm lets through, are symmetries but for the $\varepsilon$ in LayerNorm's denominator; two of them lie above the threshold and one below.
# - With constants and LayerNorm, a shift survives in a column where by chance nothing is pinned. At this size that happens; in a layer of the paper's MLP, of 512 rows, it does not.

# %% mystnb={"figure": {"caption": "The 40 smallest relative singular values of one draw. The dashed line is the threshold of the count.", "name": "fig-spectra"}, "image": {"alt": "Semilogarithmic plot. Standard, zeros and syre fall from a hundredth to rounding at place 20. With LayerNorm two values stand near one millionth and one near ten to the minus ten before the fall. With constants of 1 or 0.03 there is no fall, only a slope."}}
from symlib.plots import symmetries as plots
from symlib.seeds import seed
from symlib.studies.remaining_symmetries import network_spectrum

draw = seed(config.base_seed, "spectra")
values = {name: network_spectrum(name, draw)[0].numpy() for name in plots.NETWORKS}
plots.spectra(values, "one draw, sizes 8-10-10-4")

# %%
zeros = counted(found["excess/w-asym 0"])
exact, counts = counted(found["exact/layer norm"]), counted(found["nullity/layer norm"])
columns = counted(found["expected/layer norm, w-asym 1"])
spare = counted(found["excess/layer norm, w-asym 1"])
print(
    f"zeros: nullity less scalings and unseen rows: {zeros}\n"
    f"LayerNorm alone: {exact} singular values at rounding, {counts} below 1e-9\n"
    f"LayerNorm and constants: {columns} columns without a pinned entry\n"
    f"    nullity less these: {spare}"
)

# %% [markdown]
# ## Constants need not be large for this
#
# Any scale of the constants makes the count 0. How nearly the scalings are still there is another question: the smallest singular value grows in proportion to $\sigma_F$ until
# the constants are as large as the trained weights. A FiGLU network with a small gate is near a linear one instead, and its smallest singular value falls still faster.

# %% mystnb={"figure": {"caption": "Smallest relative singular value of the Jacobian against the scale of what is fixed: constants of a W-asymmetric network, or the gate of a σ-asymmetric one. Geometric mean and range over draws; sizes 8-10-10-4.", "name": "fig-leftover-scale"}, "image": {"alt": "Double logarithmic plot of two rising curves. The one for constants grows in proportion up to a tenth and levels off; the one for gates starts almost two decades lower, rises more steeply, and meets it near 1."}}
plots.smallest_by_scale(rows_of(kept, "brokenness"), title)

# %% [markdown]
# ## Known transformations, carried out
#
# A random network that meets its constraint is transformed: its units are put in another order, scaled, or turned around, or what enters a LayerNorm is scaled or shifted. Then three questions are asked. Are
# pinned weights still what they were? Are the answers the same? And is the penalty of weight decay, $\lVert W - F \rVert^2$, the same? Networks have biases here, sizes 8-10-10-4, and an activation and norm
# that have the symmetry; the σ-asymmetric ones have FiGLU in its place. LayerNorm's $\varepsilon$ is 0, because the scale before it is an exact symmetry only then.

# %%
from symlib.studies.remaining_symmetries import verdicts

table = verdicts(kept)
lines = []
for symmetry, row in table.iterrows():
    lines += [symmetry, *(f"    {name:<16}{said}" for name, said in row.items())]
print("\n".join(lines))

# %% mystnb={"figure": {"caption": "What is left of each symmetry under each intervention, decided by carrying it out on random networks. 'Costs decay': the function is the same, the penalty of weight decay is not.", "name": "fig-leftover-table"}, "image": {"alt": "Table of five symmetries by six interventions. Constants break all five. Zeros keep the scale and sign of a unit and the scale before LayerNorm. The gate breaks order, scale and sign of units but neither symmetry of LayerNorm. Syre keeps everything at a cost. Fixed biases break what acts on single units and keep what LayerNorm removes."}}
from symlib.theory.symmetries import VERDICTS

plots.table_of_verdicts(table, VERDICTS, title)

# %% [markdown]
# - **Constants** remove everything that is tried here. The shift is removed where a column has a pinned entry.
# - **Zeros** remove the order of units, and the shift, but neither scales nor signs.
# - **The gate** removes what acts on single units. The symmetries of LayerNorm lie before it, and stay.
# - **Fixed biases** are those of the norm where there is one. They remove what acts on single units, and cannot see what happens before the norm.
# - **syre** removes none, as a function. Order and signs, which cost nothing in a standard network, cost decay.

# %% [markdown]
# ## What decay sees
#
# Weight decay alone breaks continuous symmetries even of standard networks: a scaling that leaves the function changes $\lVert W \rVert^2$, unless the norms before and after a unit are balanced, and training goes there. What decay
# cannot see is whatever keeps norms: order and signs. That is what *syre* changes, since the distance from a random $F$ is not kept by anything. The first lines show the slope of the penalty along the 20 continuous
# symmetries, relative to its whole gradient; the others by how much the penalty changes under an order or signs.

# %%
lines = [f"{'':<36}{'standard':>10}{'syre':>10}"]
one, other = (found[f"slope/{name}"].mean() for name in ("standard", "syre 1"))
lines.append(f"{'slope of the penalty along scalings':<36}{one:>10.2f}{other:>10.2f}")
tried = rows_of(kept, "transformations")
for symmetry in ("order of units", "sign of a unit (tanh)"):
    shown = []
    for name in ("standard", "syre 1"):
        cost = tried[f"{symmetry}/{name}", "decay"]
        shown.append("0" if cost.abs().max() < 1e-9 else f"+{100 * cost.mean():.0f} %")
    lines.append(f"{'penalty, ' + symmetry:<36}{shown[0]:>10}{shown[1]:>10}")
print("\n".join(lines))

# %% [markdown]
# ## When an assumption is dropped
#
# **Zeros.** With constants of any scale the 20 scalings are gone: 0 in the lines "w-asym 1" and "w-asym 0.03" above.
#
# **Homogeneity.** With GELU there was no scaling to begin with: 0 in the lines "gelu" and "gelu, w-asym 0".
#
# The count itself has conditions, too. In single precision rounding fills the null space. With fewer answers than parameters there is always a null space. And silent units are symmetries of the sample: below, a ReLU network in which one
# unit is switched off by a bias-like input counts more than its scalings.

# %%
from textwrap import fill

from symlib.asymmetry import Standard
from symlib.networks.mlp import relu
from symlib.studies.remaining_symmetries import drawn, inputs, mlp_without_biases
from symlib.theory.nullity import nullity, spectrum

widths = (8, 10, 10, 4)
model = mlp_without_biases(widths, relu, False)
fixed, weights = drawn(model, Standard(), draw)
x = inputs(8, draw)
x[:, 7] = 1.0  # a constant input, so that a row can be negative on all others
values = spectrum(model, fixed, weights, x)
lines = [f"ReLU, 20 hidden units: nullity {nullity(values)}"]
silent = dict(weights)
silent["0.weight"] = weights["0.weight"].clone()
silent["0.weight"][0, 7] = -100.0
values = spectrum(model, fixed, silent, x)
lines.append(f"one of them silent: nullity {nullity(values)}")
for attempt in (
    lambda: spectrum(model, fixed, weights, x.float()),
    lambda: spectrum(model, fixed, weights, x[:20]),
    lambda: spectrum(model, fixed, {n: w.float() for n, w in weights.items()}, x),
):
    try:
        attempt()
    except ValueError as error:
        lines.append(fill(f"refused: {error}", 80, subsequent_indent="    "))
print("\n".join(lines))

# %% [markdown]
# ## What this does not say
#
# - A nullity is a statement about one point of parameter space, here a random one, and about continuous symmetries. It cannot see orders and signs, and it can be larger at special points.
# - The table holds known transformations. That nothing else is left is proved for orders ({prf:ref}`thm-automorphisms`) and for two layers of FiGLU
#   ({prf:ref}`prop-figlu-linear`), and otherwise not known.
# - "Broken" is not "far from": see the scales above. And a symmetry that costs decay is still one of the loss without decay.

# %% [markdown]
# ## Did this page's own run agree?

# %%
counts = [(mine[f"nullity/{name}"] == n).mean() for name, n in REFERENCE.items()]
excess = ("excess/w-asym 0", "excess/layer norm, w-asym 1")
unexpected = any(mine[name].any() for name in excess)
scale, order = "kept/scale of a unit (ReLU)", "kept/order of units"
checks = {
    "counts are those of the independent program": min(counts) > 0.9,
    "with zeros and constants, what is expected": not unexpected,
    "syre has what a standard network has": (mine["nullity/syre 1"] == 20).all(),
    "zeros keep the scale of a unit": (mine[f"{scale}/w-asym 0"] > 0).all(),
    "constants break it": (mine[f"{scale}/w-asym 1"] == 0).all(),
    "syre keeps the order at a cost": (mine[f"{order}/syre 1"] == 1).all(),
}
answers = [f"{'yes' if holds else 'no':<5}{what}" for what, holds in checks.items()]
print("\n".join(answers))

# %% [markdown]
# ## Verdicts
#
# By the rules in `claims.toml`.

# %%
board = [v for v in claims.scoreboard() if v.claim.study == "remaining_symmetries"]
print(claims.scoreboard_text(board))

# %% [markdown]
# ## Where these numbers come from

# %% tags=["nbval-ignore-output"]
print(records.origin({"shown": kept, "live": live}))
