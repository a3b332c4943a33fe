# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Coherence decides whether a mask can be seen
#
# Without fixed weights neurons differ only in which of their inputs they may use. Whether that makes them different *on the data* depends on how the inputs
# fill their space. A direction that is spread over hundreds of inputs hardly notices that a neuron lost an eighth of them; a direction that lives on one
# input is either there for a neuron or gone.
#
# With the symbols of [the chapter](../book/neuron-identifiability.md): all neurons have nearly one function class if every $S_i$ is close to the same
# multiple $\mu I$ of the identity. The coherence $\nu(\mathcal U) = \max_a \lVert U_{a,:} \rVert^2$ of the inputs' subspace bounds how far away a mask can push it.
#
# ```{prf:theorem} Coherence bounds anisotropy (after Bürgin et al.)
# :label: thm-anisotropy
#
# Let the squared entries of the mask $D$ of a layer be independent and identically distributed with mean $\mu$ and standard deviation $\sigma_D$, at most $b_D$ away from $\mu$. Then for each
# neuron, with probability at least $1 - \delta$ over its row of the mask,
#
# $$
# \lVert S_i - \mu I_k \rVert_2 \;\le\; \tfrac23\, b_D\, \nu L + \sigma_D \sqrt{2 \nu L}, \qquad L = \log \frac{2k}{\delta} .
# $$
# ```
#
# What is assumed:
#
# 1. entries of a row are drawn independently of each other;
# 2. they are drawn without looking at the inputs' subspace $\mathcal U$.
#
# ```{prf:proof}
# $S_i - \mu I$ is a sum over inputs of independent matrices $(d_{ia}^2 - \mu)\, U_a U_a^\top$ with mean zero. None is larger than $b_D \nu$, since $\lVert U_a \rVert^2 \le \nu$, and for the same reason their
# variances add up to at most $\sigma_D^2 \nu$. The matrix Bernstein inequality turns these two numbers into the bound.
# ```
#
# The constant needs $b_D = \max(p, 1 - p)$ for a mask with trainable share $p$. The released code takes $p$, which is too small for layers that pin more than they train.

# %% [markdown]
# ## Parameters
#
# The defaults finish in seconds. `make run NB=anisotropy PROFILE=cpu` repeats the draws more often.

# %% tags=["parameters"]
profile = "quick"  # quick | cpu | paper | custom
statements = ["anisotropy"]  # files in symlib/studies/statements
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
# ## The bound holds, and is loose
#
# Four hundred masks that leave seven of eight entries trainable, on subspaces of 16 dimensions in 512 inputs. Inputs that repeat 16 numbers $n$ times have coherence $1/n$ exactly, so
# coherence can be set. What the bound gets right is the scaling with the root of the coherence; for coherence 1 it says nothing, since no $S_i$ is further than $\mu$ from $\mu I$.

# %%
from symlib.studies.statements.anisotropy import REFERENCE

rows = rows_of(kept, "anisotropy")
power = found["slope/anisotropy"]
random = rows["random mean", 0.0]
lines = [
    f"share of masks beyond their bound         {found['exceptions'].max():.3f}",
    f"bound / mean anisotropy, random subspace  {found['looseness'].mean():.1f}",
    f"power of the coherence                    {power.mean():.2f} (theory 0.50)",
    f"mean anisotropy, random subspace          {random.mean():.3f}",
    f"    by an independent program             {REFERENCE['random']}",
]
print("\n".join(lines))

# %% mystnb={"figure": {"caption": "Distance of S from a multiple of the identity, mean over 400 masks, against the coherence of a subspace of 16 dimensions. Circles: masks drawn independently. Squares: masks that pin all copies of one number before any of another.", "name": "fig-anisotropy"}, "image": {"alt": "Double logarithmic plot. Circles for copies of the axes rise along a line of slope one half; a random subspace lies low at the left; the dashed bound runs parallel, several times higher. Squares for masks that look at the inputs form a level line at 0.875, above the bound for small coherence."}}
from symlib.plots import statements as plots

plots.anisotropy_by_coherence(rows, REFERENCE, title)

# %% [markdown]
# ## When an assumption is dropped
#
# *Entries of a row depend on each other.* Toss one coin for a whole row: a neuron has all of its inputs or none, each entry as often as before. Then $S_i$ is $I$ or 0, and more masks than the bound allows are beyond it, one in twenty.
#
# *The subspace is chosen by a mask.* Independent entries, but the two numbers that the inputs carry are spread over just those inputs that one neuron has pinned. Its $S_i$ is 0, however small the coherence.
#
# *Both.* A mask pins as many entries as before, and over the draw each entry as often, but within a row all copies of a number go before any copy of another one goes. Entries of a
# row depend on each other, in the way that the subspace makes most of. Low coherence then protects nothing: two of the 16 numbers are lost to each neuron, $S_i$ has the eigenvalue 0,
# and its distance from $\mu I$ is $\mu$ whatever the coherence. Where the coherence is lowest and the bound says most, every such mask is beyond it.

# %%
chosen, independent = rows["chosen mean"], rows["copies mean"]
lines = ["coherence   independent   masks that look   bound   beyond it"]
for nu in sorted(chosen):
    beyond = rows["chosen exceptions", nu].mean()
    bound = rows["copies bound", nu].mean()
    row = f"{nu:>9.3f}{independent[nu].mean():>14.3f}{chosen[nu].mean():>18.3f}"
    lines.append(row + f"{bound:>8.2f}{beyond:>12.0%}")
coin, looking = (found[f"exceptions/{name}"].mean() for name in ("coin", "looking"))
coherence = rows["looking coherence", 0.0].mean()
lines += [
    "",
    f"one coin a row: beyond the bound, lowest coherence    {coin:.0%}",
    f"a plane inside pinned inputs: beyond the bound        {looking:.0%}",
    f"    its coherence                                     {coherence:.3f}",
]
print("\n".join(lines))

# %% [markdown]
# This is more than a trick. It says how one could break symmetry with zeros alone on inputs that spread widely: choose *which directions* a neuron may not use, not which inputs.
#
# ## What the statement does not say
#
# It is an upper bound: a small coherence makes neurons alike, a large one merely allows them to differ. And masks in this book and in the papers' code pin an exact number of entries in each row,
# which is drawing without replacement; that varies less than independent entries do, so the bound holds all the more.
# What happens to trained networks on data of chosen coherence is on the pages about [sums of ReLUs](synthetic_coherence.ipynb) and [MNIST](subspace_coherence.ipynb).

# %% [markdown]
# ## Verdicts
#
# By the rules in `claims.toml`.

# %%
from symlib import claims

here = "notebooks/anisotropy.ipynb"
verdicts = [v for v in claims.scoreboard() if v.claim.page == here]
print(claims.scoreboard_text(verdicts))

# %% [markdown]
# ## Where these numbers come from

# %% tags=["nbval-ignore-output"]
from symlib import records

print(records.origin({"shown": kept, "live": live}))
