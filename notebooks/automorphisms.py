# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Masks leave no way to relabel neurons
#
# Relabel two hidden neurons, carry their weights along, and the network computes what it computed before. Such a relabelling is a symmetry of the *wiring*,
# and one can count how many a wiring has. For an ordinary network with three hidden layers of 512 that number fills a page, and each relabelling is another place in weight space
# to which training could just as well have gone. {cite:t}`lim2024` cut a few edges per neuron and prove that nothing is left to relabel. This page counts, exactly.
#
# ## The statement
#
# ```{prf:definition} Neural DAG automorphism
# :label: def-automorphism
#
# Draw a network as a directed graph: a node for each neuron or channel, an edge for each entry or kernel that may differ from zero. An *automorphism* is a
# bijection of the nodes that maps edges to edges of the same kind and leaves every input and every output where it is.
# ```
#
# ```{prf:lemma} Automorphisms keep the layers (Lim et al., Lemma 1)
# :label: lem-layers
#
# In a masked MLP without a row of zeros, an automorphism maps every layer to itself.
# ```
#
# ```{prf:theorem} Masked networks have no automorphisms (Lim et al., Theorem 1)
# :label: thm-automorphisms
#
# The only automorphism of a W-asymmetric MLP that satisfies the assumptions below is the identity.
# ```
#
# 1. **Zeros.** Pinned entries are zero, $\sigma_F = 0$: an edge is there or it is not.
# 2. **Distinct rows.** No two rows of one mask are equal: no two neurons of a layer read the same set of units.
# 3. **No empty rows.** No row of a mask is zero: every neuron reads something.
#
# ```{prf:proof}
# *Layers.* Inputs stay. A neuron that reads inputs goes to one that reads inputs, one that reads the first layer to one that reads the first layer, and so on; by 3
# this reaches every neuron. *Induction.* Suppose all units of one layer stay where they are. Then a neuron of the next layer can only go to one that reads
# exactly the same units, and by 2 that is itself.
# ```
#
# The printed proof of the lemma asks for masks with "no nonzero rows"; no zero rows are meant. Nothing in the argument needs an MLP: it works for any graph that can be coloured
# from its inputs on, and that is how it is programmed here, beside a count by [igraph](https://igraph.org) that knows nothing of it.

# %% [markdown]
# ## Parameters
#
# The defaults finish on a laptop. `make run NB=automorphisms PROFILE=cpu` adds the widest network and more masks.

# %% tags=["parameters"]
profile = "quick"  # quick | cpu | paper | custom
wide = False  # count the ResNet-20 of width 8 too, half a minute each time
n_draws = 2  # draws of all masks, at least 2
n_masks = 1000  # random masks per draw and layer size, searched for equal rows
base_seed = 0  # everything random is derived from it
workers = 1  # processes
out = ""  # folder for the record; empty keeps nothing

# %%
from symlib.studies.automorphisms import Automorphisms

config = Automorphisms.from_cell(globals())

# %% [markdown]
# ## Any network of yours
#
# The graph comes from the module itself: it is traced, and tensors that are added or concatenated share their nodes. For convolutions a node is a channel, and an edge
# carries its kernel as a label, with the mask inside it and the constants, if there are any. What cannot be traced is refused by name.

# %%
from textwrap import fill

import torch
from torch import nn

from symlib.asymmetry import Standard, WAsymmetry, constraint
from symlib.theory.automorphisms import as_text, count_automorphisms
from symlib.theory.computation_graph import computation_graph

network = nn.Sequential(
    nn.Conv2d(1, 12, 3),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(12 * 36, 20),
    nn.ReLU(),
    nn.Linear(20, 10),
)
images = torch.ones(2, 1, 8, 8)


class Running(nn.Sequential):
    """The same network with a sum that runs over its outputs."""

    def forward(self, x):
        return super().forward(x).cumsum(1)


lines = []
for asymmetry in (Standard(), WAsymmetry(n_fix=4, sigma_F=0.0)):
    fixed = constraint(network, asymmetry, mask_seed=0)
    graph = computation_graph(network, images, fixed)
    name = type(asymmetry).__name__
    lines.append(f"{name}: {as_text(count_automorphisms(graph))} automorphisms")
try:
    computation_graph(Running(*network), images, constraint(network, Standard(), 0))
except ValueError as error:
    lines.append(fill(f"refused: {error}", 88))
print("\n".join(lines))

# %% [markdown]
# ## The count
#
# Each architecture without masks, and with masks drawn at random. Without masks the number should be the product of the factorials of its hidden widths, where a residual stream
# is one layer however many blocks add to it.

# %% tags=["nbval-ignore-output", "remove-output"]
from symlib import claims, records
from symlib.studies.automorphisms import run

live = run(config)


# %%
def size(record):
    return record.config["n_draws"]


kept = claims.shown(live, records.find("automorphisms"), size)

# %%
from symlib.studies.automorphisms import check_of, quantities

title = "{n_draws} draws of masks ({profile})".format(**kept.config)
found, mine = quantities(kept), quantities(live)
counted = check_of(kept, "count")
lines = [f"{'':<26}{'hidden':>8}{'without masks':>32}   formula"]
for row in counted[counted["intervention"] == "standard"].itertuples():
    number, digits = row.automorphisms, int(row.log10) + 1
    shown = number if digits < 20 else f"{number[:11]}.. ({digits} digits)"
    agrees = "equal" if number == row.expected else "DIFFERENT"
    lines.append(f"{row.case:<26}{row.hidden:>8.0f}{shown:>32}   {agrees}")
for sigma_F in ("0", "1"):
    trivial = found[f"trivial/w-asym {sigma_F}"]
    alone = f"{trivial.sum():.0f} of {len(trivial)} networks"
    lines.append(f"with masks, sigma_F {sigma_F}: the identity alone in {alone}")
print("\n".join(lines))

# %% mystnb={"figure": {"caption": "Number of automorphisms by architecture, without masks and with random masks. The scale is logarithmic twice: it shows how many digits the number has.", "name": "fig-automorphism-counts"}, "image": {"alt": "Dot plot over architectures. Without masks the logarithm of the count runs from about one for the smallest perceptron to thousands for the largest networks; with masks all points lie at zero, with and without constants."}}
from symlib.plots import automorphisms as plots

plots.automorphism_counts(counted, title)

# %% [markdown]
# Do automorphisms keep the layers, or did the graph say so? In the table every weight has a name, so nothing can leave its layer. The MLPs
# below are counted again on graphs whose hidden nodes all look alike, without masks and with them, as in {prf:ref}`lem-layers`: the numbers are the
# same, so that layers are found there and not assumed.
#
# The induction of the proof can also be run by itself, as a colouring that starts at the inputs. Where it gives every unit a colour of its own, no automorphism is left and none needs
# to be counted. It is sufficient, not necessary: the ResNet-8 with whole filters has no mask in its stem at $\sigma_F = 0$ (three input channels give too few different rows), so the induction stops
# at the first layer, and still the count is 1, because channels are told apart by what they feed.
# The stem of the ResNet-20 of width 8 is pinned as a whole too, so its masks are those of {cite:t}`lim2024` at $\sigma_F = 1$ only; at $\sigma_F = 0$
# they are those of {cite:t}`buergin2026`, which leave entries of the stem free.

# %%
nameless = counted[counted["intervention"] == "nameless"]
masked = counted[counted["intervention"] == "nameless w-asym 0"]
lines = ["hidden nodes all alike        without masks           with masks, sigma_F 0"]
for row in nameless.itertuples():
    agrees = "equal" if row.automorphisms == row.expected else "DIFFERENT"
    numbers = masked[masked["case"] == row.case]["automorphisms"]
    alone = f"the identity alone in {(numbers == '1').sum()} of {len(numbers)}"
    lines.append(f"  {row.case:<28}{agrees + ' to the formula':<24}{alone}")
lines.append("shown by the induction alone")
for name in ("standard", "w-asym 0", "w-asym 1"):
    shown = found[f"certified/{name}"]
    lines.append(f"  {name:<28}{shown.sum():.0f} of {len(shown)}")
undecided = counted[counted["intervention"].eq("w-asym 0") & counted["certified"].eq(0)]
lines.append("not decided at sigma_F 0: " + ", ".join(undecided["case"].unique()))
print("\n".join(lines))

# %% [markdown]
# ### A count is a statement about functions
#
# An automorphism acts on the trained entries and leaves pinned ones in place. Applied to random weights it must not change what the network computes; any other exchange of two
# neurons must, or else there was a symmetry that the graph does not know.

# %%
names = {
    "standard": "no masks, every generating automorphism",
    "equal rows and columns": "equal rows and columns, the exchange",
    "equal rows only": "equal rows but different columns, the exchange",
    "distinct rows": "distinct rows, the exchange that changes least",
}
lines = ["largest change of an output, relative to the largest output"]
for case, meaning in names.items():
    changes = found[f"function/{case}"]
    least = f"{changes.min():.2f} or more"
    said = "none (below 1e-12)" if changes.max() < 1e-12 else least
    lines.append(f"  {meaning:<50}{said}")
print("\n".join(lines))

# %% [markdown]
# ## When an assumption is dropped
#
# ### Two equal rows
#
# Two neurons that read the same units may be exchanged if, and only if, they also feed the same units. Left, they do. In the middle one edge less is trained, and although two rows are equal as before, the identity is all that
# remains: distinct rows are sufficient, not necessary.
#
# ### Empty rows
#
# Neurons *a* and *b* on the right read nothing and feed nothing. They can be exchanged across layers, and {prf:ref}`lem-layers` is false. A certificate for such masks is refused.

# %% mystnb={"figure": {"caption": "Three masked networks, inputs on the left, squares are fixed. Orange: the units to be exchanged and their edges. Left: equal rows and equal columns. Middle: equal rows, one outgoing edge less. Right: two units without edges, in different layers.", "name": "fig-masked-graphs"}, "image": {"alt": "Three small graphs with four layers. In the left one two orange units have the same edges on both sides; in the middle one an edge to the next layer is missing; in the right one two orange units a and b of different layers have no edges."}}
from symlib.theory.masked_networks import (
    EQUAL_ROWS,
    EQUAL_ROWS_ONLY,
    ISOLATED,
    masked_mlp,
)

twins = [(1, 0), (1, 1)]
drawn = {
    "equal rows and columns": (EQUAL_ROWS, twins, {}),
    "equal rows only": (EQUAL_ROWS_ONLY, twins, {}),
    "isolated units": (ISOLATED, [(1, 2), (2, 2)], {(1, 2): "a", (2, 2): "b"}),
}
panels = {}
for case, graph in drawn.items():
    number = found[f"assumption/{case}"][0]
    panels[f"{case}:\nautomorphisms: {number:.0f}"] = graph
plots.masked_graphs(panels)

# %%
from symlib.theory.automorphisms import certified_trivial

model, fixed = masked_mlp(ISOLATED)
graph = computation_graph(model, torch.ones(2, 3), fixed, named_layers=False)
try:
    certified_trivial(graph, fixed)
except ValueError as error:
    print(fill(f"refused: {error}", 88))

# %% [markdown]
# ### Constants instead of zeros
#
# With $\sigma_F > 0$ the theorem says nothing, yet a graph can still be counted: constants become labels of edges. They can only help, since Gaussian
# constants are never equal, so that even equal rows no longer matter. Where a first layer is pinned as a whole, as in two of the paper's
# networks, all rows of its mask are zero and constants are all there is; without different values the layer keeps all its relabellings.

# %%
names = {
    "equal rows and columns": "equal rows and columns, zeros",
    "equal rows and columns, constants": "the same masks, Gaussian constants",
    "first layer 0": "first layer of 6 pinned to 0, the second free",
    "first layer 1": "first layer of 6 pinned to 1, the second free",
    "first layer Gaussian": "first layer of 6 pinned to Gaussian constants",
}
lines = ["automorphisms"]
for case, meaning in names.items():
    lines.append(f"{found[f'assumption/{case}'].max():>13.0f}   {meaning}")
print("\n".join(lines))

# %% [markdown]
# ## How likely are equal rows?
#
# The paper draws masks at random and does not check them. With $R$ rows and $N = \binom{d}{n}$ ways to pin $n$ of $d$ entries, all rows differ with probability $\prod_{i<R} (1 - i/N)$, and two are equal with a probability of
# at most $R(R-1)/(2N)$. Wide layers and a dozen pinned entries are safe beyond doubt. Narrow ones are not: one layer of each of two networks in the paper runs a risk of several percent.
# (Masks in this package are checked, and equal rows drawn again.)

# %%
from symlib.theory.mask_collisions import twin_probability

lines = ["shortcut into the second block    exact   bound   counted"]
for case in ("ResNet-20", "ResNet-8, whole filters"):
    kinds = ("exact", "union", "measured")
    exact, union, measured = (100 * found[f"{k}/{case}"].mean() for k in kinds)
    lines.append(f"{case:<32}{exact:>6.1f}%{union:>7.1f}%{measured:>9.1f}%")
for n_fix in (1, 17):
    try:
        twin_probability(rows=32, fan_in=16, n_fix=n_fix)
    except ValueError as error:
        lines.append(fill(f"refused: {error}", 88))
print("\n".join(lines))

# %% mystnb={"figure": {"caption": "Probability that a random mask of a square layer has two equal rows, by the number of pinned entries per row. Lines: formula; dotted: bound; points: share of random masks, where there was one.", "name": "fig-equal-rows"}, "image": {"alt": "Double logarithmic plot of four curves, for layers of 16, 32, 64 and 512 units. All start near 1 for one or two pinned entries and fall the faster the wider the layer; points lie on the curves. The two narrowest turn up again where more than half of the entries are pinned."}}
squares = check_of(kept, "collisions")
plots.twin_probabilities(squares[squares["case"].str.startswith("square")], title)

# %% [markdown]
# ## What the statement does not say
#
# - **Permutations only.** At $\sigma_F = 0$ the theorem holds, and with ReLU every neuron can still be scaled: {prf:ref}`thm-leftover` counts what is left.
# - **Zeros only.** The paper's experiments use constants of standard deviation 0.25 to 2, which the theorem does not cover. The counts above do.
# - **Two layers of the experiments break its assumptions.** The stem of the eightfold ResNet-20 and that of the ResNet-8 are pinned as a whole. Their rows differ by constants alone.
# - **Wiring, not weights.** A graph knows which entries are free, not what training made of them. Two neurons that happen to compute the same function may be exchanged whatever the graph says.
#   Whether neurons *on the inputs that arrive* could stand in for each other is the question of [the other paper](../book/neuron-identifiability.md).
# - **No gates.** FiGLU mixes all units of a layer by a fixed matrix. Then the specification finds nothing that may be reordered, and there is no graph to count on; what holds
#   for gates are the statements about [equivariances](equivariances.ipynb).
# - **Units that the tracing knows.** Where axes are tied, as in grouped convolutions, units move together; exchanging whole groups is not counted.
#
# ## Did this page's own run agree?

# %%
checks = {
    "without masks: the product of factorials": (mine["agreement/standard"] == 1).all(),
    "layers are kept": (mine["agreement/nameless"] == 1).all(),
    "and with masks": (mine["agreement/nameless w-asym 0"] == 1).all(),
    "with masks: the identity alone": (mine["trivial/w-asym 0"] == 1).all(),
    "with constants: the identity alone": (mine["trivial/w-asym 1"] == 1).all(),
    "equal rows, columns: two": (mine["assumption/equal rows and columns"] == 2).all(),
    "equal rows only: one": (mine["assumption/equal rows only"] == 1).all(),
    "isolated units: two": (mine["assumption/isolated units"] == 2).all(),
    "automorphisms keep functions": mine["function/standard"].max() < 1e-12,
    "other exchanges do not": mine["function/distinct rows"].min() > 1e-3,
}
print("\n".join(f"{'yes' if ok else 'no':<5}{what}" for what, ok in checks.items()))

# %% [markdown]
# ## Verdicts
#
# By the rules in `claims.toml`.

# %%
verdicts = [v for v in claims.scoreboard() if v.claim.study == "automorphisms"]
print(claims.scoreboard_text(verdicts))

# %% [markdown]
# ## Where these numbers come from

# %% tags=["nbval-ignore-output"]
print(records.origin({"shown": kept, "live": live}))
