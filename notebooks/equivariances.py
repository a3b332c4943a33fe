# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What an activation commutes with
#
# A network has two sources of symmetry: its wiring, and what its activation commutes with. If a linear map can be pulled through the activation, it can be put into
# the weights before and taken out of the weights behind, and the function does not notice. ReLU lets orders and positive scales through, GELU orders alone. FiGLU,
# the activation of σ-asymmetric networks, was made to let nothing through {cite:p}`lim2024`. This page counts what each activation lets through, in three ways: by
# linear algebra, by trying everything, and by searching.

# %% [markdown]
# ## The statements
#
# ```{prf:definition} Linear equivariance (Lim et al., section 4.2)
# :label: def-equivariance
#
# Invertible matrices $A$, $B$ are a *linear equivariance* of $\sigma : \mathbb R^d \to \mathbb R^d$ if $\sigma(A x) = B \sigma(x)$ for all $x$. The activation has none if
# $A = B = I$ is the only one.
# ```
#
# ```{prf:proposition} The function determines the weights (Lim et al., Proposition 1)
# :label: prop-identifiable
#
# Let $f(x) = W_2\, \sigma(W_1 x)$ with square invertible $W_1$, $W_2$. If $\sigma$ has no linear equivariance, two networks of this kind compute the same function
# only if their weights are equal.
# ```
#
# It assumes: two layers and no biases; square weights; invertible weights; and an activation without linear equivariance.
#
# ```{prf:proof}
# Suppose $W_2 \sigma(W_1 x) = \tilde W_2 \sigma(\tilde W_1 x)$ for all $x$, and write $y = W_1 x$, which takes every value. Then
# $\sigma(\tilde W_1 W_1^{-1} y) = \tilde W_2^{-1} W_2\, \sigma(y)$ is a linear equivariance, so both products are the identity.
# ```
#
# ```{prf:proposition} FiGLU commutes with no reordering and no scaling (Lim et al., Proposition 2)
# :label: prop-figlu
#
# Let $\sigma(x) = \eta(F x) \odot x$ with the logistic function $\eta$ and a Gaussian matrix $F$. With probability 1, $P_2 \sigma(x) = \sigma(P_1 x)$ for permutations
# holds only for $P_1 = P_2 = I$, and $D_2 \sigma(x) = \sigma(D_1 x)$ for invertible diagonal matrices only for $D_1 = D_2 = I$.
# ```
#
# It assumes of $F$: for permutations, distinct entries; for diagonal matrices, no zero entry.
#
# ```{prf:proof}
# Near 0, where $\eta$ is $\tfrac12$, FiGLU is $x/2$, so the two matrices are equal: $P_1 = P_2 = P$, say. Comparing what stands inside $\eta$ gives $F P = P F$: the permutation
# maps $F$ to itself, which distinct entries exclude. For diagonal matrices in the same way $F D = F$, and a non-zero entry in each column makes $D = I$.
# ```
#
# The second half of this proof needs one non-zero entry in each *column* of $F$, neither all entries nor, as in the paper's proof, the diagonal. And it leaves a gap:
# {prf:ref}`prop-identifiable` asks about all of $GL(d)$, {prf:ref}`prop-figlu` answers for permutations and diagonal matrices. For Gaussian gates the gap can be closed.
#
# ```{prf:proposition} FiGLU has no linear equivariance (ours)
# :label: prop-figlu-linear
#
# Let no row of $F$ be zero and no two rows be equal up to sign. Then the linear equivariances of FiGLU are exactly the $A = B$ whose only non-zero entries are
# $A_{l\,\pi(l)} = a_l$, for a permutation $\pi$ and factors $a_l \ne 0$ with $F_{\pi(i)\pi(l)} = a_l F_{i l}$ for all $i$, $l$. For a Gaussian $F$ there is, with probability 1, none but the identity.
# ```
#
# ```{prf:proof}
# As before $A = B$. Subtract $x/2$: since $\eta(z) - \tfrac12 = \tfrac12 \tanh(z/2)$, the map $x \mapsto \tanh(Fx/2) \odot x$ commutes with $A$, and so does each of its
# homogeneous parts. All odd powers occur in tanh, so with $f_j$ and $h_i$ the rows of $F$ and $F A$,
#
# $$
# (h_i \cdot x)^k \, (A x)_i = \sum_j A_{ij} \, (f_j \cdot x)^k \, x_j \qquad \text{for } k = 1, 3, 5, \dots
# $$
#
# For almost every $x$ the $(f_j \cdot x)^2$ are distinct and not 0, and as functions of $k$ different powers are linearly independent. The left side is one power and not 0,
# hence so is the right: row $i$ of $A$ has a single non-zero entry, $a_i$ at $\pi(i)$, and $h_i = f_{\pi(i)}$. This is $F A = P F$ with the permutation $P$ of $\pi$; written
# entry by entry it is the condition above. For $\pi \ne \mathrm{id}$ it is an equation between entries of $F$ that a Gaussian matrix meets with probability 0; for $\pi = \mathrm{id}$ it says $a_l = 1$.
# ```
#
# So {prf:ref}`prop-identifiable` does apply to FiGLU. This says nothing about how *nearly* there are equivariances, and about more than two layers.

# %% [markdown]
# ## Parameters
#
# The defaults finish on a laptop. `make run NB=equivariances PROFILE=cpu` repeats all with more draws and more starts of the search.

# %% tags=["parameters"]
profile = "quick"  # quick | cpu | paper | custom
n_draws = 3  # draws of gates, samples and weights, at least 2
units = 5  # of the activations, 3 to 6, since all reorderings are tried
n_starts = 200  # of every search, at least 9
base_seed = 0  # everything random is derived from it
workers = 1  # processes
out = ""  # folder for the record; empty keeps nothing

# %%
from symlib.studies.equivariances import Equivariances

config = Equivariances.from_cell(globals())

# %% tags=["nbval-ignore-output", "remove-output"]
from symlib import records
from symlib.studies.equivariances import run

live = run(config)

# %%
from symlib import claims
from symlib.studies.checks import counted, rows_of
from symlib.studies.equivariances import REFERENCE, quantities

kept = claims.shown(live, records.find("equivariances"))
units = kept.config["units"]
title = "{n_draws} draws of {units} units ({profile})".format(**kept.config)
found, mine = quantities(kept), quantities(live)
print(f"shown: {title}")

# %% [markdown]
# ## Continuous equivariances
#
# A family $\sigma(e^{tX} x) = e^{tY} \sigma(x)$ differentiates to $D\sigma(x)\, X x = Y \sigma(x)$: linear equations in the $2 d^2$ entries of $X$ and $Y$, at every $x$. How many
# independent solutions they have is how many continuous equivariances there are, and the smallest singular value, relative to the largest, says how near the equations come to another
# one. Beside ours stand the counts of an independent program with five units.
#
# The identity, and FiGLU with $F = 0$, commute with all of $GL(d)$. What is homogeneous commutes with a scale for each unit. The rest has no continuous equivariance: for GELU
# as for FiGLU the count is 0. What tells them apart is discrete.

# %%
from symlib.theory.nullity import RANK

lines = [f"{'':<18}generators  (independent)  diagonal   smallest  (independent)"]
by_activation = rows_of(kept, "generators")
for name in dict.fromkeys(by_activation.columns.get_level_values(0)):
    row = by_activation[name]
    count, diagonal = counted(row["generators"]), counted(row["diagonal"])
    least, other = row["smallest"].mean(), REFERENCE["smallest"].get(name, "-")
    lines.append(
        f"{name:<18}{count:>10}{REFERENCE['generators'].get(name, '-')!s:>15}"
        f"{diagonal:>10}{'0' if least < RANK else format(least, '.4f'):>11}{other:>15}"
    )
print("\n".join(lines))

# %% [markdown]
# ## Reorderings and signs
#
# Every permutation $P_1$ is tried; the $P_2$ that suits best is an assignment problem. The residual is the mean of $\lVert \sigma(P_1 x) - P_2 \sigma(x) \rVert^2$. With signs, both
# matrices may also turn units around, which tanh and the square let through: $2^d\, d!$ equivariances instead of $d!$. FiGLU is left with the identity in every case,
# also for the tiny gate of the paper's GNN. But there the residual of the next best of all reorderings is tiny, too.

# %%
import math

lines = [f"{'':<18}reorderings  with signs   next best  (independent)"]
tried = rows_of(kept, "reorderings")
for name in dict.fromkeys(tried.columns.get_level_values(0)):
    row = tried[name]
    exact, signed = counted(row["exact"]), counted(row["signed"])
    second, other = row["next best"].mean(), REFERENCE["next best"].get(name, "-")
    nearest = "-" if math.isnan(second) else format(second, ".2g")
    lines.append(f"{name:<18}{exact:>11}{signed:>12}{nearest:>12}{other:>15}")
everything = f"{math.factorial(units)} reorderings, with signs"
print("\n".join([*lines, f"tried: {everything} {2**units * math.factorial(units)}"]))

# %% mystnb={"figure": {"caption": "Residuals of all reorderings but the identity, for one draw of gate and samples. Those of GELU are 0 up to rounding and drawn at the left edge.", "name": "fig-reorderings"}, "image": {"alt": "Histogram on logarithmic axes. GELU stands at the far left, at rounding. FiGLU with the small gate lies between one hundred-thousandth and one thousandth; with larger gates around a tenth to ten."}}
from symlib.plots import symmetries as plots
from symlib.seeds import generator
from symlib.studies.equivariances import residuals_by_activation

residuals = residuals_by_activation(units, generator(config.base_seed, "histogram"))
plots.residual_histogram(residuals, f"one draw of {units} units")

# %% [markdown]
# ## How much is broken?
#
# "None" is a statement about zeros. How far from an equivariance FiGLU is depends on the size of $F$. A small gate is nearly $x/2$ and commutes nearly with everything. A large gate is
# nearly a switch, $x$ where $F x > 0$ and 0 elsewhere, which does not change if $x$ is scaled as a whole: one continuous equivariance comes back. In between, around standard
# deviation 1, most is broken. The paper's GNN works at the far left, at 0.01 over the root of its width.

# %% mystnb={"figure": {"caption": "How much FiGLU breaks, by the standard deviation of F. Left: smallest relative singular value of the equations for generators. Right: smallest residual of a reordering other than the identity. Geometric mean and range over draws.", "name": "fig-gate-scale"}, "image": {"alt": "Two double logarithmic panels. Left, the curve rises in proportion to the standard deviation, peaks between 0.3 and 1, and falls again beyond. Right, it rises with the square and levels off above 1."}}
plots.brokenness_by_gate(rows_of(kept, "gate scale"), title)

# %% [markdown]
# ## All linear maps
#
# {prf:ref}`prop-figlu-linear` turns the question about all of $GL(d)$ into one about the matrix $F$. For a few units all permutations can be tried. For any width there is a certificate: divide
# each column of $F$ by its diagonal entry; if no two columns then hold the same values in any order, nothing but the identity is left. It succeeds for the gates of the paper's networks.

# %%
from symlib.studies.equivariances import PAPER_GATES

lines = ["no linear equivariance but the identity, by the certificate"]
for name, (width, std) in PAPER_GATES.items():
    proven = found[f"gates/{name}/rigid"]
    share = f"{int(proven.sum())} of {len(proven)} gates"
    lines.append(f"{name:<26}{width:>4} units, std {std:.2g}: {share}")
print("\n".join(lines))

# %% [markdown]
# Somebody who doubts the proof can search. For a given $A$ the best $B$ is a least-squares fit, so descents run over $A$ alone, with three units, from random rotations and reflections. The error
# is relative to the size of $\sigma(A x)$, and ends at rounding or far above. Found maps that differ by factors of their rows are one kind: 6 orders of ReLU and GELU, 48 signed ones of
# tanh. As a check that descents would find more than permutations, one gate is planted that has such an equivariance. A search proves nothing: it can miss, as it does
# for tanh if there are few starts.

# %%
kinds = {"relu": 6, "gelu": 6, "tanh": 48, "figlu 1": 1, "planted": 2}
lines = [f"{'':<10}kinds found, by draw{'':<8}there are   largest stray entry"]
for name, number in kinds.items():
    stray = found[f"searches/{name}/stray"].max()
    lines.append(
        f"{name:<10}{counted(found[f'searches/{name}/kinds']):<28}{number:>9}"
        f"{'below 1e-5' if stray < 1e-5 else format(stray, '.2g'):>22}"
    )
print("\n".join(lines))

# %% [markdown]
# Held at a distance from the identity, the best $A$ for ReLU is always a scaling and its error always 0. GELU and tanh have their exchanges of two units, and tanh its signs, at distance 2, and cycles of
# three units at $\sqrt 6$. FiGLU has nothing at any distance.

# %% mystnb={"figure": {"caption": "Least relative error of an invertible A at a distance from the identity, over all starts and draws; three units. At 2 lie exchanges of two units and single signs, at the root of 6 cycles of three units.", "name": "fig-search"}, "image": {"alt": "Logarithmic plot. ReLU runs at rounding, near ten to the minus sixteen, at all distances. GELU and tanh run near a twentieth with drops to rounding at distances 2 and 2.45. FiGLU stays between one hundredth and a tenth everywhere."}}
plots.least_error_by_distance(rows_of(kept, "searches"), f"{title}; search with 3")

# %% [markdown]
# ## The function determines the weights
#
# {prf:ref}`prop-identifiable` in action: $W_1$ becomes $A W_1$, for every $A$ of a kind, and $W_2$ whatever suits best then. For ReLU, GELU and tanh this finds other weights of the same
# function, just where they have equivariances. For FiGLU the closest of all attempts is a different function. Nor can its weights move a little: the nullity, the
# number of directions in which the function stands still, is 0. For ReLU it is the number of units.

# %%
lines = [f"{'':<18}W1 moves by   change of the function, the least of all tried"]
for name, what in rows_of(kept, "parameters"):
    if what == "function" and "input" not in name:
        change = found[f"parameters/{name}/function"].max()
        least = found[f"parameters/{name}/function"].min()
        lines.append(
            f"{name:<18}{found[f'parameters/{name}/weights'].min():>11.2f}   "
            + ("none, to rounding" if change < 1e-12 else f"{least:.2f} or more")
        )
for name in ("relu", "gelu", "figlu"):
    lines.append(f"nullity of {name}: {counted(found[f'parameters/{name}/nullity'])}")
print("\n".join(lines))

# %% [markdown]
# ## When an assumption is dropped
#
# **An activation with equivariances.** ReLU, GELU and tanh above.
#
# **Distinct entries of F, no zeros.** What these conditions exclude, and what they need not exclude:
#
# - A circulant matrix, each row the last one turned by a place, has as many reorderings as units. A matrix of equal entries has them all.
# - Two equal entries do no harm. Nor does a zero diagonal, nor a zero row, which makes one unit linear but still seen by the gates of others.
# - A zero *column* means that no gate sees the unit: it can be scaled at will. This is the diagonal equivariance that comes back.
# - Twins, two units with equal rows and equal columns, may be exchanged, and moreover mixed: two generators. Here the rows are not as {prf:ref}`prop-figlu-linear` needs them.
# - The planted gate $F = \begin{pmatrix} 1 & 6 \\ 3 & 2 \end{pmatrix}$ has distinct entries and no zero. {prf:ref}`prop-figlu` holds for it, and yet $x \mapsto (2 x_2, x_1 / 2)$ is a linear
#   equivariance: the conditions of {prf:ref}`prop-figlu` are not enough for {prf:ref}`prop-identifiable`. Scaling the columns of a circulant matrix makes such gates of any size.
#   A random gate is like that with probability 0.

# %%
special = rows_of(kept, "gates")
columns = ("reorderings", "diagonal", "generators", "linear")
lines = [f"{'':<20} reorderings    diagonal  generators  linear maps"]
for name in dict.fromkeys(v for v, what in special if what == "linear"):
    cells = [special[name, what] for what in columns]
    shown = ["-" if cell.isna().any() else counted(cell) for cell in cells]
    lines.append(f"{name:<20}{shown[0]:>12}{shown[1]:>12}{shown[2]:>12}{shown[3]:>13}")
lines.append("linear maps: from F alone, discrete ones; - if its rows do not allow it")
print("\n".join(lines))

# %% [markdown]
# **Invertible weights.** With a silent hidden unit, a zero row of $W_1$, its column of $W_2$ does nothing. With $W_2 = 0$ all of $W_1$ is free.
#
# **Square weights.** With a single input, $f(t) = W_2\, \sigma(w t)$, only the numbers $F w$ matter, and their order does not: for every permutation $P$ the weights $F^{-1} P F w$, with factors
# moved to $W_2$, give the same function. All symmetries of order are back, although FiGLU has no equivariance. With one input the proposition fails; with two inputs or more,
# but fewer than units, this construction does not apply.
#
# **An activation the statements speak of.** What changes the number of units, or answers an input differently depending on its batch, is refused, and so are reorderings of more units than can be tried.

# %%
from textwrap import fill

import torch
from torch import nn

from symlib.theory.equivariances import residuals as try_all
from symlib.theory.generators import generator_spectrum

lines = []
for name in ("figlu, W1 singular", "figlu, W2 = 0"):
    lines.append(f"{name:<20}nullity {counted(found[f'parameters/{name}/nullity'])}")
change = found["parameters/figlu, one input/function"].max()
moved = found["parameters/figlu, one input/weights"].min()
said = "no change, to rounding" if change < 1e-12 else f"change {change:.2g}"
lines.append(f"{'figlu, one input':<20}W1 moves by {moved:.2f} or more; {said}")
x = torch.randn(40, 7, generator=generator(0), dtype=torch.float64)
for attempt in (
    lambda: try_all(torch.relu, x),
    lambda: generator_spectrum(nn.GLU(), x[:, :6]),
    lambda: generator_spectrum(nn.BatchNorm1d(7).double(), x),
    lambda: generator_spectrum(torch.relu, x.float()),
):
    try:
        attempt()
    except ValueError as error:
        lines.append(fill(f"refused: {error}", 80, subsequent_indent="    "))
print("\n".join(lines))

# %% [markdown]
# ## What the statements do not say
#
# - Nothing about depth. With three layers the weights between two activations are pulled at from both sides; the pages on
#   [what symmetry is left](remaining_symmetries.ipynb) test such networks directly.
# - Nothing about quantity. An equivariance that is missed by a hair is none, yet networks may behave as if it were there: a gate of size $0.01/\sqrt d$ is a linear activation in all but name.
# - Proposition 1 asks for weights that are square, which those of classifiers are not.
# - The symmetries of the wiring are another source; for FiGLU they are gone with the reorderings, since the gate ties every unit to its place.

# %% [markdown]
# ## Did this page's own run agree?

# %%
tiny = mine["reorderings/figlu .01/sqrt d/exact"]
checks = {
    "FiGLU commutes with no reordering": (mine["reorderings/figlu 1/exact"] == 1).all(),
    "with the tiny gate neither": (tiny == 1).all(),
    "and FiGLU has no generator": (mine["generators/figlu 1/generators"] == 0).all(),
    "a zero column frees a scaling": (mine["gates/zero column/diagonal"] == 1).all(),
    "searches find the planted map": (mine["searches/planted/kinds"] == 2).all(),
    "and nothing for FiGLU": (mine["searches/figlu 1/kinds"] <= 1).all(),
    "FiGLU's weights are determined": (mine["parameters/figlu/nullity"] == 0).all(),
}
answers = [f"{'yes' if holds else 'no':<5}{what}" for what, holds in checks.items()]
print("\n".join(answers))

# %% [markdown]
# ## Verdicts
#
# By the rules in `claims.toml`.

# %%
verdicts = [v for v in claims.scoreboard() if v.claim.study == "equivariances"]
print(claims.scoreboard_text(verdicts))

# %% [markdown]
# ## Where these numbers come from

# %% tags=["nbval-ignore-output"]
print(records.origin({"shown": kept, "live": live}))
