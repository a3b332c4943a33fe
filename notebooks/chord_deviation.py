# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Why the straight line stays low
#
# Identifiable neurons bring two trained networks into one neighbourhood; that alone does not make the loss between them low. The missing step: in that neighbourhood a layer is almost linear in its weights.
#
# For the layer $H(W; x) = \eta(W x)$ and two settings of its weights, the *chord deviation* is
#
# $$
# \xi(\lambda; x) = H\bigl((1-\lambda) W_A + \lambda W_B; x\bigr) - (1-\lambda) H(W_A; x) - \lambda H(W_B; x).
# $$
#
# ```{prf:theorem} Chord deviation (after Bürgin et al.)
# :label: thm-chord
#
# Let both settings share the fixed part $F$, beside which their trainable parts are small by a factor $\beta$. For a ReLU layer
# $\sup_\lambda \lVert \xi(\lambda; \cdot) \rVert_{L^2} = O(\beta^{3/2})\, \lVert F \Sigma^{1/2} \rVert_F$ with $\Sigma = \mathbb E[x x^\top]$. If a loss is convex in the layer's output and Lipschitz with constant $c$, its barrier between the two
# settings is at most $c \sup_\lambda \lVert \xi(\lambda; \cdot) \rVert_{L^2}$.
# ```
#
# What is assumed:
#
# 1. the values $F x$ have a bounded density at 0: few inputs lie near the kink of a neuron;
# 2. the activation has a kink and no jump, like ReLU; a smooth one does better, and leaves its chord by the power 2;
# 3. for the barrier: the loss is convex and Lipschitz in the output.
#
# ```{prf:proof}
# A neuron leaves its chord only where its pre-activation changes sign between the ends. That needs $|f^\top x|$ to be of the order $\beta$, which happens with a probability of the order $\beta$, and there the deviation is
# of the order $\beta$. Squared and averaged this is $\beta \cdot \beta^2$; the root is $\beta^{3/2}$. A smooth activation has its second derivative everywhere: $\beta^2$ on all inputs.
# For the barrier, compare the loss at $H(W_\lambda)$ with the loss at the chord: they differ by at most $c \lVert \xi \rVert$, and along the chord a convex loss has no barrier.
# ```
#
# That the loss has to be convex in the layer's output is our reading; the statement as we know it asks for a Lipschitz loss only, and the last counterexample shows that this is not enough.

# %% [markdown]
# ## Parameters
#
# The defaults finish in seconds. `make run NB=chord_deviation PROFILE=cpu` repeats the draws more often.

# %% tags=["parameters"]
profile = "quick"  # quick | cpu | paper | custom
statements = ["chord"]  # files in symlib/studies/statements
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
# ## Three halves for ReLU, two for GELU
#
# Layers of 64 neurons and 64 inputs that fill 16 dimensions; $F$ and the two trainable parts are Gaussian, the latter times $\beta$. Powers are fitted for $\beta$ up to 0.2.

# %%
from symlib.plots import statements as plots
from symlib.studies.statements.chord import POWERS, REFERENCE, REFERENCE_SLOPE

lines = ["activation                       power   theory"]
for name, look in plots.ACTIVATIONS.items():
    ours, theory = (found[f"{what}/chord/{name}"].mean() for what in ("slope", "power"))
    lines.append(f"{look.label:<30}{ours:>8.2f}{theory:>9.1f}")
print("\n".join([*lines, f"ReLU, independent program: {REFERENCE_SLOPE:.2f}"]))

# %% mystnb={"figure": {"caption": "Largest deviation of a layer of 64 neurons from its chord on the line between two draws of its trainable part, relative to the fixed part.", "name": "fig-chord"}, "image": {"alt": "Double logarithmic plot. ReLU follows a dotted line of power 1.5 and the crosses of the independent program; GELU starts lower and follows power 2; ReLU with inputs that the fixed weights do not see lies higher and follows power 1, a step highest with power one half."}}
plots.chord_by_size(rows_of(kept, "chord"), POWERS, REFERENCE, title)

# %% [markdown]
# ## When an assumption is dropped
#
# *No bounded density.* Let $F$ read all directions but one, and nine of ten inputs extend in that one only. There $F x = 0$: these inputs sit at the kink of every neuron, and the deviation is of the order $\beta$ on all of
# them. The triangles show the power 1. Constants help on the inputs that they see.
#
# *The activation jumps.* A step instead of a kink: where a pre-activation changes sign the deviation is of the order 1, and the power is 1/2.
#
# *The loss is not convex.* The barrier of the mean absolute error of a read-out that fits its targets at both ends stays below its bound. A bounded error, $\tanh$ of the square, has a
# barrier even under a layer without activation, which never leaves its chord: the bound would be 0.

# %%
lines = [
    f"convex loss: barrier / bound, largest        {found['barrier/share'].max():.2f}",
    f"not convex, linear layer: barrier, mean      {found['barrier/not convex'].mean():.2f} (bound 0)",
]
print("\n".join(lines))

# %% [markdown]
# ## What the statement does not say
#
# It is about one layer. In a deep network deviations of early layers pass through later ones, and normalisation makes the path from weights to outputs more than one layer's map. Whether trained networks have low barriers is a matter
# of experiment: [identifiability and connectivity](identifiability_connectivity.ipynb).

# %% [markdown]
# ## Verdicts
#
# By the rules in `claims.toml`.

# %%
from symlib import claims

here = "notebooks/chord_deviation.ipynb"
verdicts = [v for v in claims.scoreboard() if v.claim.page == here]
print(claims.scoreboard_text(verdicts))

# %% [markdown]
# ## Where these numbers come from

# %% tags=["nbval-ignore-output"]
from symlib import records

print(records.origin({"shown": kept, "live": live}))
