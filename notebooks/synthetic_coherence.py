# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # When a mask alone identifies neurons
#
# **Claim.** Take away some weights of every neuron, at random but the same ones in every run, and no two neurons can be exchanged any more: the
# permutation symmetry of the architecture is gone. Whether neurons become *identifiable* by it is another question, and the answer lies in the data. What
# counts is the **coherence** of the subspace that the inputs fill: high if it runs along coordinate axes, low if every direction in it is spread over many
# coordinates. A mask takes whole coordinates away. With high coherence that decides what a neuron can do; with low coherence nearly every neuron can still do
# nearly everything, and the mask does not show {cite:p}`buergin2026`.
#
# The experiment is as small as it can be. Latents $z$ are points of the plane, the target is $\mathrm{relu}(z_1 + z_2)$, and a network sees
# $x = Uz$ in 20 coordinates. It is a sum of 128 neurons $\mathrm{relu}(w_i \cdot x + b_i)$, each with a random 15 % of its weights and without the others:
# nothing is pinned to a value other than zero. With $s$ *copies* $U$ fills $2s$ coordinates and its largest squared row norm, the coherence, is $1/s$. There are two families:
#
# - **exact copies**: both axes of the plane, $s$ times over, scaled by $1/\sqrt{s}$;
# - **random frames**: each of the $s$ pairs of coordinates holds the plane turned by a random angle, at random places.
#
# Two networks with the same mask are trained from different draws, on batches in different orders, and joined by a straight line. The **barrier** is the test error
# halfway minus the larger one of the two ends. Pairs and data are the same draws under every coherence.

# %% [markdown]
# ## Parameters
#
# The defaults train every pair of the protocol at five of the ten values of the coherence, on one core.
# `make run NB=synthetic_coherence PROFILE=cpu` runs all ten, on two.

# %% tags=["parameters"]
profile = "quick"  # quick | cpu | paper | custom
copies = [1, 2, 3, 5, 10]  # from 1 to 10, rising; the coherence is one over each
n_outer_seeds = 5  # draws of mask, data and frame; the protocol has 5
n_pairs = 10  # pairs of networks per draw; the protocol has 10
epochs = 100  # passes over the 1,024 training points, two steps each
n_points = 21  # points on the line, odd, so that 0.5 is one of them
workers = 1  # processes
out = ""  # folder for the record; empty keeps nothing

# %%
from symlib.studies.synthetic_coherence import SyntheticCoherence

config = SyntheticCoherence.from_cell(globals())

# %% tags=["nbval-ignore-output", "remove-output"]
from symlib import claims, records
from symlib.plots import coherence as plots
from symlib.studies.synthetic_coherence import FAMILIES, compared, quantities, reach, run

record = run(config)

# %% [markdown]
# ## What a mask lets through
#
# A neuron follows $z$ through $U^\top w_i$, and the mask decides which of these vectors it can have: none, those on a line, or all of the plane. At
# coherence 1 the mask hands out roles. Most neurons get none, some can only look along one line, very few can look anywhere, and the
# roles are the same in every run. At coherence 0.1 most neurons can look anywhere, and any of them can take the part of any other.

# %%
lines = ["share of neurons whose mask lets through   nothing   a line   the plane"]
for family in FAMILIES:
    for n in (1, 3, 10):
        shares = reach(family, n, outer_seed=0)
        row = "".join(f"{shares[rank]:>10.0%}" for rank in range(3))
        lines.append(f"{family:<16}{n:>2} copies, coherence {1 / n:4.2f}    {row}")
print("\n".join(lines))

# %% [markdown]
# ## The whole protocol
#
# The largest recorded run, or this page's own where none is larger. Hollow symbols are not ours: they are the means of an independent run of the same
# protocol, with random streams of its own. The paper's own numbers are not known.


# %%
def size(record):
    c = record.config
    return len(c["copies"]), c["n_outer_seeds"] * c["n_pairs"]


def label(record):
    c = record.config
    n = c["n_outer_seeds"] * c["n_pairs"]
    return f"{n} pairs for each family and coherence ({c['profile']})"


kept = claims.shown(record, records.find("synthetic_coherence"), size)

# %% mystnb={"figure": {"caption": "Left: barrier against the coherence of the inputs, mean over pairs with a band of one standard deviation. Right: test error along the line at the highest and lowest coherence, mean over pairs.", "name": "fig-synthetic-coherence"}, "image": {"alt": "Two panels. Left, the barrier rises from nearly 0 at coherence 1 to about a quarter at coherence 0.1, for both families and with hollow symbols close to the curves. Right, test error along the line is an arch at coherence 0.1 and flat near 0 at coherence 1."}}
plots.barrier_by_coherence(kept.table, compared(kept), label(kept))

# %% [markdown]
# The same in numbers. Both columns are mean and standard deviation over pairs. That deviation says little about the mean: all pairs of one outer seed share
# their mask, data and frame, and these are what moves it. The standard error below is therefore taken from the spread between outer seeds, and the
# independent run, with five draws of its own, is as uncertain as ours.

# %% tags=["nbval-ignore-output"]
plots.comparison_table(compared(kept))

# %% tags=["nbval-ignore-output"]
found, table = quantities(kept), compared(kept)
apart = table["difference"].abs()
in_errors = apart / (table["se"] * 2**0.5)
lines = [
    f"{(apart <= 0.03).sum()} of {len(apart)} means within 0.03 of the independent run's",
    f"largest difference {apart.max():.3f}",
    f"in standard errors: median {in_errors.median():.1f}, largest {in_errors.max():.1f}",
]
for family in FAMILIES:
    ends = [found[f"endpoint/{family}/{n}"].mean() for n in (1, 10)]
    lines.append(f"error at the ends, {family}, 1 and 10 copies: {ends[0]:.1e}, {ends[1]:.1e}")
print("\n".join(lines))

# %% [markdown]
# At coherence 1 the two families part. Between exact copies of the axes the teacher looks along the diagonal; neurons with a weight on one axis alone are of little use for that, and the few with a weight on both do
# the work. In a frame turned by some angle the teacher lies closer to one axis than to the other, so that neurons with one weight come near what is asked for without reaching it. How near is up to the angle that was
# drawn, and with it how well the networks fit and how much they differ.

# %% [markdown]
# ## This page's own run

# %%
live = quantities(record)
checks = {}
for family in FAMILIES:
    means = [live[f"midpoint/{family}/{n}"].mean() for n in config.copies]
    checks[f"{family}: lower coherence, larger barrier"] = means == sorted(means)
    checks[f"{family}: by more than a factor of three"] = means[-1] > 3 * means[0]
print("\n".join(f"{'yes' if holds else 'no':<4}{what}" for what, holds in checks.items()))

# %%
n_lines = config.n_outer_seeds * config.n_pairs * len(config.copies) * len(FAMILIES)
print(f"{2 * n_lines:,} networks, {n_lines:,} lines of {config.n_points} points")

# %% [markdown]
# ## Verdicts
#
# By the rules in `claims.toml`, which were written before the whole protocol was run.

# %%
verdicts = [v for v in claims.scoreboard() if v.claim.study == "synthetic_coherence"]
print(claims.scoreboard_text(verdicts))

# %% [markdown]
# ## Where these numbers come from

# %% tags=["nbval-ignore-output"]
print(records.origin({"shown": kept, "live": record}))
