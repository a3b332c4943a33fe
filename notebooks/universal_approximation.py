# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What W-asymmetric networks can still approximate
#
# Pinning weights at random takes symmetries away. Does it take functions away too? If it did, better-behaved training could simply be the effect of a smaller
# class of functions. {cite:t}`lim2024` prove that it does not, for wide networks: for all but a small share of random masks and constants, weights for the free entries can be
# found afterwards that approximate any continuous function. The proof is a construction, and this page carries it out: an arbitrary matrix, then a whole network,
# inside masks that were drawn before. It also shows where the statement, as printed, needs one more input.

# %% [markdown]
# ## The statement
#
# ```{prf:theorem} Universal approximation, as printed (Lim et al., Theorems 2 and 4)
# :label: thm-universal
#
# Let $f$ be continuous on a compact subset of $\mathbb R^D$, and $\varepsilon, \delta > 0$. For every large enough $n$, with probability $1 - \delta$ over random masks and constants, some four-layer
# W-asymmetric MLP without biases, of hidden widths $24n$, $n$ and $24n$, approximates $f$ to $\varepsilon$.
# ```
#
# 1. **No polynomial.** The activation $\eta$ is not one.
# 2. **Identity in the odd part.** $\eta(x) - \eta(-x) = x$ for all $x$: ReLU, GELU, swish and softplus qualify, tanh does not.
# 3. **Few pinned entries.** Every row pins $n_\text{fix} = o(n^{1/4})$ entries, rows independently, before $f$ is known.
# 4. **Padding.** Inputs are padded with zeros to length $n$.
#
# Assumption 4 is not enough. With zeros only, ReLU, GELU and swish networks answer 0 to the input 0, and no target with another value there can be approximated.
# One input that is always 1 repairs it, or trainable biases in the layer of width $n$.
#
# ```{prf:theorem} Universal approximation, repaired
# :label: thm-universal-constant
#
# {prf:ref}`thm-universal` holds if one of the padded inputs is 1 instead of 0. It is then enough that $n_\text{fix} = o(n^{1/3})$.
# ```
#
# ```{prf:proof}
# A two-layer MLP $V \eta(U \tilde x)$ with $\tilde x = (1, x, 0, \dots, 0)$ has biases, and approximates $f$ by the classical theorem {cite:p}`leshno1993`. It remains to write a matrix $W$ as
# $A\, \eta(B\, \cdot)$ with random entries of $A$ and $B$ pinned; the four layers are that for $U$ and for $V$.
#
# Take the 24 rows of $B$ that belong to row $W_i$, and split them into two halves of 12 rows that pin no input twice. Make the first half three copies each of $\pm(W_i + c)$ and $\pm c$. A pinned entry asks
# one coordinate of $c$ for one value, $c_a = s\,(F_{ra} - t\,W_{ia})$ where the row is to be $t W_i + s c$, and no coordinate is asked twice. In the second half all rows are one vector $d$, made of its
# pinned entries. Assumption 2 gives $\eta((W_i + c)x) - \eta(-(W_i + c)x) - \eta(cx) + \eta(-cx) = W_i x$. In $A$ only the sum over three copies of a row matters, so one free entry among three is enough to
# repair what the others are pinned to; $A$ does not depend on $W$ at all. How often there is no split, or no free entry, is bounded below; $n$ times that goes to 0.
# ```

# %% [markdown]
# ## Parameters
#
# The defaults finish on a laptop. `make run NB=universal_approximation PROFILE=cpu` repeats everything more often and goes to larger widths.

# %% tags=["parameters"]
profile = "quick"  # quick | cpu | paper | custom
n_repeats = 2  # draws of all masks, targets and features, at least 2
largest_width = 256  # largest n of networks: 64 | 128 | 256 | 512
largest_masked = 4096  # largest n of masks alone: 1024 | 4096 | 16384 | 65536
base_seed = 0  # everything random is derived from it
workers = 1  # processes
out = ""  # folder for the record; empty keeps nothing

# %%
from symlib.studies.universal_approximation import UniversalApproximation

config = UniversalApproximation.from_cell(globals())

# %% tags=["nbval-ignore-output", "remove-output"]
from symlib import claims, records
from symlib.studies.universal_approximation import STUDY, run

live = run(config)

# %% [markdown]
# ## Any matrix within given masks
#
# Masks and Gaussian constants of standard deviation 1 first, then a Gaussian $n \times n$ matrix $W$, then weights $A$ and $B$ in double precision, then 200 Gaussian inputs, on which $A\,\eta(Bx)$ is
# compared with $Wx$. At these widths most masks have blocks without a split, and such blocks are drawn again, which knows nothing of $W$.

# %%
from symlib.studies.universal_approximation import (
    CONVERSIONS,
    REFERENCE,
    failures,
    quantities,
    rows_of,
)


def size(record):
    return record.config["n_repeats"]


kept = claims.shown(live, records.find(STUDY), size)
title = "{n_repeats} repeats ({profile})".format(**kept.config)
found, mine = quantities(kept), quantities(live)
made = rows_of(kept, "conversion")
exact = ["relu", "gelu", "swish", "softplus"]
lines = [
    "                     largest error              draws of a block",
    "   n   n_fix   relu gelu swish softplus   tanh   ours   independent program",
]
for n in made["gelu"]:
    worst = made[[(name, n) for name in exact]].max().max()
    said = "below 1e-12" if worst < 1e-12 else f"{worst:.0e}"
    tanh, draws = made["tanh", n].mean(), made["draws", n].mean()
    other = REFERENCE["draws"].get(int(n), "-")
    row = f"{n:>4.0f}{CONVERSIONS[n]:>7}{said:>25}{tanh:>7.0f}{draws:>7.1f}{other:>8}"
    lines.append(row)
moved = found["moved constants"].sum()
print("\n".join([*lines, f"pinned entries that are not their constant: {moved:.0f}"]))

# %% [markdown]
# Constants are met to the last bit, and errors are those of rounding. Timings, beside those of the independent program on its own machine:

# %% tags=["nbval-ignore-output"]
loops = REFERENCE["seconds"]
lines = ["   n   draw / s   construct / s   independent program, both / s"]
for n in made["gelu"]:
    draw, construct = made["draw s", n].median(), made["construct s", n].median()
    lines.append(f"{n:>4.0f}{draw:>11.3f}{construct:>16.3f}{loops.get(n, '-'):>12}")
print("\n".join(lines))

# %% [markdown]
# ## How often masks allow it
#
# Now masks are taken as they come. Two rows share a pinned input with probability $p = 1 - \binom{n - n_\text{fix}}{n_\text{fix}} / \binom{n}{n_\text{fix}} \le n_\text{fix}^2 / n$. The proof in the paper asks that at most one of the 276
# pairs of a block does. Two pairs are independent, even with a row in common, so
#
# $$
# P(\text{two or more pairs}) \le \binom{276}{2} p^2 \le 37950\, \frac{n_\text{fix}^4}{n^2},
# $$
#
# and $n$ blocks fail with a probability of order $n_\text{fix}^4 / n$: hence $o(n^{1/4})$. The construction needs less, a split into 12 and 12. Join rows that share an input. If there is no cycle of odd length, and a
# spanning forest has 8 edges or fewer, components can be balanced: their sides then differ by at most 7, and at least 8 rows are alone. So
#
# $$
# P(\text{no split}) \le \binom{276}{9} p^9 + \sum_{\ell = 3, 5, \dots, 23} \frac{24!}{(24 - \ell)!\, 2 \ell} \left[ \Big(\frac{n_\text{fix}^2}{n}\Big)^{\ell} + (n - 1) \Big(\frac{n_\text{fix} (n - n_\text{fix})}{n (n - 1)}\Big)^{\ell} \right],
# $$
#
# where the bracket is the expected number of ways to close a chain of $\ell$ rows by shared inputs: the trace of a power of the matrix of the chances that a row pins two given inputs. The leading
# term, three rows with one input, is $2024\, n_\text{fix}^3 / n^2$, and $n$ blocks fail with a probability of order $n_\text{fix}^3 / n$. In the outer map, rows pin all copies of a triple $8n^2\, n_\text{fix}^3 / (24 n)^3$ times on average.
# All of this holds for every $n$, with no limit taken.

# %%
from symlib.studies.universal_approximation import TRIPLES
from symlib.theory.construction_failure import pinned_triples

cells = failures(kept)
lines = ["blocks that fail           paper's condition         no split"]
lines += ["n_fix      n    blocks   measured      bound   measured      bound"]
for (n_fix, n), pair in cells.groupby(["n_fix", "n"]):
    row = pair.set_index("condition")
    line = f"{n_fix:>5}{n:>7}{row['blocks'].iloc[0]:>10}"
    for condition in ("paper", "split"):
        measured, bound = row.loc[condition, ["measured", "bound"]]
        said = f"{bound:.5f}" if bound < 1 else "-"
        line += f"{measured:>11.5f}{said:>11}"
    lines.append(line)
judged = cells[cells["bound"] < 1]
over = int(judged["exception"].sum())
lines.append("-: the bound is 1 and says nothing")
lines.append(f"{over} of the other {len(judged)} exceed their bound by more than chance")
seen = rows_of(kept, "masks")
for n, n_fix in TRIPLES:
    counted, expected = seen[f"triples {n_fix}", n].mean(), pinned_triples(n, n, n_fix)
    row = f"pinned triples, n = {n:>3}, n_fix = {n_fix}:"
    lines.append(f"{row} {counted:.2f}, expected {expected:.2f}")
print("\n".join(lines))

# %% mystnb={"figure": {"caption": "How often random masks forbid the construction. Points: measured. Dashed: bounds. Left, the condition of the paper's proof; right, what the construction needs. Below, a whole map of n blocks. The star is the setting of the paper's experiments.", "name": "fig-construction-failures"}, "image": {"alt": "Four double logarithmic panels over n from 64 to 4 million. In the upper row the share of failing blocks stays at 1 and then falls with the square of n, along the dashed bounds; larger n_fix moves the curves to the right, less so on the right. In the lower row whole maps fail until n is several thousands or more. The star lies at 1 in all panels."}}
from symlib.plots import universal_approximation as plots
from symlib.studies.universal_approximation import bounds

plots.failures_by_n(cells, bounds(), title)

# %% [markdown]
# The guarantee is about very wide networks. By these bounds, a four-layer network of masks that are taken as they come succeeds with 95 % from so many $n$ on, the next power of two; hidden layers
# are 24 times as wide. A power of two more in $n_\text{fix}$ costs a factor of 16 by the paper's condition, and 8 by the weaker one.

# %%
from symlib.theory.construction_failure import (
    needed_width,
    no_split_bound,
    two_pairs_bound,
)

lines = ["n_fix   paper's condition   12 and 12"]
for n_fix in (1, 2, 4, 8, 64):
    row = [needed_width(b, n_fix, 0.05) for b in (two_pairs_bound, no_split_bound)]
    lines.append(f"{n_fix:>5}{row[0]:>20.1e}{row[1]:>12.1e}")
print("\n".join(lines))

# %% [markdown]
# ## A whole network
#
# Two-layer GELU networks with $n$ random features, the second map fitted by least squares, become four-layer W-asymmetric networks of widths $24n$, $n$, $24n$. Masks, two pinned entries in every row, and
# constants are those of `constraint`, like in every other network of this book, apart from blocks drawn again. All targets of one repeat are met within one and the same constraint, drawn from the width alone.

# %%
from symlib.theory.approximated_targets import TARGETS, approximated, drawn_masks
from symlib.theory.universal_approximation import WEIGHTS

widths = [n for n in (64, 128, 256) if n <= config.largest_width]
draw = config.base_seed
masks = {n: drawn_masks(n, draw)[0] for n in widths}
shown = {n: approximated(TARGETS["surface"], n, masks[n], draw) for n in widths}
lines = ["   n   entries   pinned   of these as drawn   fingerprint"]
for n, fixed in masks.items():
    weights = shown[n].weights
    pinned = {name: fixed.pinned[name] for name in WEIGHTS}
    total = sum(w.numel() for w in weights.values())
    same = [weights[k].flatten()[i] == value for k, (i, value) in pinned.items()]
    drawn = sum(map(len, same))
    kept_as = int(sum(s.sum() for s in same))
    lines.append(f"{n:>4}{total:>10}{drawn:>9}{kept_as:>20}   {fixed.fingerprint}")
print("\n".join(lines))

# %% mystnb={"figure": {"caption": "A function on a square, and four-layer W-asymmetric networks that approximate it, by width.", "name": "fig-approximated-surface"}, "image": {"alt": "Four images of a checkered hilly function: the target, and networks of width 64, 128 and 256. The first network is visibly distorted, the other two look like the target, and the errors above them fall."}}
plots.surfaces(shown, "one draw")

# %% mystnb={"figure": {"caption": "Largest error of four-layer W-asymmetric networks against the width, geometric mean and extremes over repeats.", "name": "fig-error-by-width"}, "image": {"alt": "Double logarithmic plot. Three targets with a constant input fall by two or more orders of magnitude over the widths; two targets padded with zeros, and one with polynomial activation, stay level near 1."}}
plots.error_by_width(rows_of(kept, "approximation"), title)

# %%
fitted = rows_of(kept, "approximation")
heads = "".join(f"{f'n = {n:.0f}':>10}" for n in fitted["sine"])
lines = ["largest error            " + heads + "   four layers beside two"]
for name in TARGETS:
    values = "".join(f"{fitted[name, n].mean():>10.0e}" for n in fitted[name])
    apart = found[f"difference/{name}"].max()
    bound = next(b for b in (1e-11, 1e-8, 1) if apart < b)
    lines.append(f"{name:<25}{values}   equal to {bound:g}")
print("\n".join(lines))

# %% [markdown]
# The two-layer network and its conversion are equal to rounding. (For the cosine padded with zeros least squares needs large weights that cancel, and rounding is larger.)

# %% [markdown]
# ## When an assumption is dropped
#
# ### Zeros instead of a constant input
#
# From assumption 2, $\eta(z) = z/2 + \text{even}(z)$. A two-layer network without biases is therefore linear plus even, and its odd part is linear. For $\sin 3x$ that leaves a line, whatever the width, and the proof's
# appeal to the classical theorem fails. Four layers are not linear plus even in general, but a four-layer network of ReLU, GELU or swish without biases answers 0 to 0, so that
# $\cos 3x$ is missed by 1; and with ReLU $f(cx) = c f(x)$ for all $c > 0$. (Softplus is $\log 2$ at 0, and escapes this second obstruction.)

# %% mystnb={"figure": {"caption": "Four-layer W-asymmetric networks at n = 64, with one input that is always 1, and with zeros there.", "name": "fig-no-constant"}, "image": {"alt": "Two panels. For sin 3x the network with a constant lies on the target, the one with zeros is a straight line. For cos 3x the network with a constant lies on the target, the one with zeros wiggles around it and plunges to 0 at the origin."}}
names = ("sine", "sine, zeros", "cosine", "cosine, zeros")
pairs = {name: approximated(TARGETS[name], 64, masks[64], draw) for name in names}
plots.without_constant(pairs, "n = 64, one draw")

# %%
free = {name: values.mean() for (name, _), values in rows_of(kept, "bias-free").items()}
zeros, line, least = (free[name] for name in ("zeros", "line", "least"))
lines = [
    "sin 3x, 400 random GELU features, two layers, largest error",
    f"  padded with zeros      {zeros:.4f}   (independent program {REFERENCE['line']})",
    f"  the straight line      {line:.4f}",
    f"  no such network below  {least:.4f}",
    f"  with a constant input  {free['constant']:.0e}",
    "random four-layer W-asymmetric networks without biases",
    "  activation   |f(0)|   |f(3x) - 3 f(x)|, relative",
]
for name in exact:
    at_0, scaled = free[f"{name} at 0"], free[f"{name} scaled"]
    said = "below 1e-12" if scaled < 1e-12 else f"{scaled:.2f}"
    lines.append(f"  {name:<10}{at_0:>9.2f}   {said}")
print("\n".join(lines))

# %% [markdown]
# ### A polynomial for the activation
#
# $\eta(x) = x/2 + x^2$ satisfies assumption 2, and the conversion is as exact as ever. But two-layer networks are then polynomials of degree 2, and those fitted to $\sin 3x$ miss it by as much as a straight line:
# the level line in the figure above. More width does not help this construction.
#
# Four layers of any weights may do better than that. They are polynomials of degree 8 at most, at every width, and degree 8 is plenty for $\sin 3x$. It is not enough for every continuous function:
# $\sin 15x$ goes to and fro between $-1$ and $1$ and takes these values in turns at ten points, so that a polynomial with a smaller error than 1 would have nine roots.

# %%
import torch

from symlib.theory.approximated_targets import polynomial_error

cases = (("sin 3x", 3, 2), ("sin 3x", 3, 8), ("sin 15x", 15, 8))
lines = ["polynomials through Chebyshev points, largest error"]
for name, factor, degree in cases:
    error = polynomial_error(lambda x, factor=factor: torch.sin(factor * x), degree)
    lines.append(f"  {name:<8} degree {degree}   {error:.1e}")
print("\n".join(lines))

# %% [markdown]
# ### Another activation, other masks
#
# With tanh the constructed weights give something else than $Wx$; the first table shows by how much. Too many pinned entries leave masks without a split, or pin all three copies of a row: the construction
# then says so before any work, and draws nothing again behind one's back. With 64 pinned entries of 512, as in the experiments, there is no split at all, not only with small probability. That
# does not mean that those networks approximate nothing, only that this proof says nothing about them.

# %%
from textwrap import fill

from symlib.studies.universal_approximation import refusals

lines = []
for case, message in refusals(config.base_seed).items():
    lines.append(fill(f"{case}: {message}", 88, subsequent_indent="    "))
tried = cells[cells["n_fix"] == 64].set_index("condition")
failed, blocks = tried.loc["split", ["failed", "blocks"]]
lines.append(f"n = 512, n_fix = 64: {failed} of {blocks} random blocks have no split")
print("\n".join(lines))

# %% [markdown]
# ## What the statement does not say
#
# **That these networks have no symmetries.** Reorder the hidden units of the two-layer network, and the construction gives other weights within the same masks, and the same function. That does not contradict
# {prf:ref}`thm-automorphisms`, which is about reorderings that work for all weights at once.

# %%
names = ("reordering/weights that differ", "reordering/difference")
moved, apart = (found[name] for name in names)
said = "below 1e-12" if apart.max() < 1e-12 else f"{apart.max():.0e}"
print(f"weights that differ: {moved.mean():.0%}; functions differ: {said}")

# %% [markdown]
# **That training finds these weights,** that widths of practice are enough, or anything about σ-asymmetric networks; the paper leaves the latter open.
#
# **That mask rows are distinct,** as {prf:ref}`thm-automorphisms` wants them. With one pinned entry there are only $n$ masks for $24n$ rows, and they cannot be; from two pinned entries and $n \ge 49$ on they can.
#
# Slips in the appendix that a reader will stumble on: a block's halves are written as the rows from $24i$ to $24i + 11$ and from $24i + 11$ to $24i + 23$, with one row in both; a condition reads "no … has at most one" and
# means that every one has; copies pinned completely are counted for any three entries, where only aligned triples matter; and $c$ is defined through weights at pinned positions that it is to determine,
# where constants and target give it directly.

# %% [markdown]
# ## Did this page's own run agree?

# %%
errors = [mine[f"error/{name}"].max() for name in exact]
width = config.largest_width
last = {name: mine[f"approximation/{name}/{width}"] for name in TARGETS}
checks = {
    "errors below 1e-12 inside the class": max(errors) < 1e-12,
    "tanh is off by more than 1": mine["error/tanh"].min() > 1,
    "no constant has moved": (mine["moved constants"] == 0).all(),
    "failures within the paper's bound": (mine["exceptions/paper"] == 0).all(),
    "and within the bound of splits": (mine["exceptions/split"] == 0).all(),
    "four layers equal two": mine["difference/surface"].max() < 1e-10,
    "sin 3x within 1e-2": last["sine"].max() < 1e-2,
    "with zeros not within 0.6": last["sine, zeros"].min() > 0.6,
    "cos 3x with zeros missed by 1": last["cosine, zeros"].min() > 1 - 1e-9,
}
print("\n".join(f"{'yes' if ok else 'no':<5}{what}" for what, ok in checks.items()))

# %% [markdown]
# ## Verdicts
#
# By the rules in `claims.toml`.

# %%
verdicts = [v for v in claims.scoreboard() if v.claim.study == STUDY]
print(claims.scoreboard_text(verdicts))

# %% [markdown]
# ## Where these numbers come from

# %% tags=["nbval-ignore-output"]
print(records.origin({"shown": kept, "live": live}))
