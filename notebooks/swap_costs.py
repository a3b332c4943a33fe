# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Swap costs on data of known dimension
#
# What an exchange of two neurons costs should depend on two things: on how far apart their fixed weights are, and on how many directions of the data can tell. {cite:t}`buergin2026` show both in their Figure 5, with
# networks that classify Gaussian clusters in a random subspace of $k$ out of 512 dimensions. With $\sigma_F = 0$ half of all exchanges cost nothing or even save weight; with $\sigma_F = 1$ they cost
# something, more as $k$ grows, because the centres $v_i = U^\top f_i$ of two neurons are about $\sigma_F \sqrt{2 k s}$ apart if a share $s$ of the entries is pinned.
#
# Whether the figure's networks were trained is not known, nor by which of two estimates its costs were computed, nor how many classes and how far apart its data had. The ranges of its colours are those of hardly trained networks:
# in the row of constants they are what untrained networks have here, in the row of zeros what a few epochs give. Here both states stand side by side, and both estimates:
# on the *subspace* that carries 90 % of the variance, and by *ridge regression* in closed form (of pre-activations; the authors' script fits what comes after GELU, and cannot run).

# %% [markdown]
# ## Parameters
#
# The defaults have networks like those of the authors' code on fewer points and for fewer epochs. `make run NB=swap_costs PROFILE=cpu` trains six of each for 10 epochs on all points.

# %% tags=["parameters"]
profile = "quick"  # quick | cpu | paper | custom
dimensions = [2, 8, 32]  # intrinsic dimensions of the data
scales = [0.0, 1.0]  # of the pinned entries
separations = [0.3]  # of the class means; the first is shown, the figure's is not known
inputs = 512  # dimensions of the inputs
width = 64  # neurons of each of three hidden layers
n_networks = 2  # of each cell, paired off
epochs = 3  # passes over the training points, batches of 128
n_train = 4000  # training points; the authors' code has 45000
explained = 0.9  # share of the inputs' variance that their subspace has to carry
beta = 0.01  # ridge of the second estimate
mask_seed = 0  # which entries are pinned, and to what
base_seed = 0  # data, initialisation and batch order are derived from it
workers = 1  # processes
out = ""  # folder for the record; empty keeps nothing

# %%
from symlib.studies.swap_costs import SwapCosts

config = SwapCosts.from_cell(globals())

# %% [markdown]
# ## The largest recorded run

# %%
from symlib import claims, records
from symlib.plots import swap_costs as plots
from symlib.studies.analysis import largest
from symlib.studies.swap_costs import array_name, beside_independent, quantities, run

kept = largest(records.find("swap_costs"))


def matrices(record, state, estimate):
    c = record.config
    cells = [(scale, k) for scale in c["scales"] for k in c["dimensions"]]
    names = {cell: array_name({"sigma_F": cell[0], "k": cell[1]}, state, estimate) for cell in cells}
    return {cell: record.arrays[name] for cell, name in names.items()}


def grid(record, state, estimate):
    c = record.config
    title = f"{state} networks, {estimate} estimate, profile {c['profile']}"
    return plots.swap_grid(matrices(record, state, estimate), c["scales"], c["dimensions"], title)


# %% mystnb={"figure": {"caption": "Swap costs of 64 neurons in untrained networks. Rows have ranges of their own; white is zero.", "name": "fig-swaps-initial"}, "image": {"alt": "Six square images of neurons by neurons. In the upper row, pinned zeros, both signs mix around zero; in the lower row, constants, nearly all pairs are positive and the more so the larger k."}}
grid(kept, "initial", "subspace")

# %% mystnb={"figure": {"caption": "The same networks after training.", "name": "fig-swaps-trained"}, "image": {"alt": "Six square images as before: the upper row has larger values of both signs, the lower row is still mostly positive, with some negative pairs for small k."}}
grid(kept, "trained", "subspace")

# %% mystnb={"figure": {"caption": "The trained networks by ridge regression instead of a subspace.", "name": "fig-swaps-ridge"}, "image": {"alt": "Six square images that are hardly different from those of the subspace estimate."}}
grid(kept, "trained", "ridge")

# %% [markdown]
# Ours beside the numbers that an independent program found with networks, masks and data of its own: signed roots over all pairs of neurons, and the share of pairs below zero. Its trained networks had 10 epochs at $k = 32$ and 20 at
# smaller $k$, ours as many as the record says.

# %%
beside_independent(kept).map(lambda v: "-" if v != v else f"{v:.2f}")


# %% [markdown]
# The two estimates order the pairs alike; ridge regression sees the directions that the subspace leaves out, and costs a little more.


# %%
def both(record):
    first = record.table[record.table["separation"] == record.config["separations"][0]]
    chosen = first[first["what"].isin(["median", "ridge median", "rank", "dimension"])]
    wide = chosen.pivot_table(index=["state", "sigma_F", "k"], columns="what", values="value", sort=False)
    return wide.round(2).rename_axis(None, axis=1)


both(kept)

# %% [markdown]
# ### Lines between the trained networks
#
# Accuracy on training points at the ends and halfway between two networks, without alignment. On clusters this close together ($0.3$) the task itself changes with $k$; well separated ones ($3$) show the effect of $k$ alone.


# %%
def lines(record):
    chosen = record.table[record.table["what"].isin(["ends", "halfway"])]
    wide = chosen.pivot_table(
        index=["separation", "sigma_F", "k"], columns="what", values="value", aggfunc=["mean", "std"], sort=False
    )
    text = wide["mean"].map("{:.1f}".format) + " ± " + wide["std"].map("{:.1f}".format)
    return text.rename_axis(None, axis=1)


lines(kept)

# %% [markdown]
# ## Live

# %% tags=["nbval-ignore-output", "remove-output"]
live = run(config)

# %% mystnb={"figure": {"caption": "Swap costs in this page's own run, after a few epochs.", "name": "fig-swaps-live"}, "image": {"alt": "Six square images of neurons by neurons as in the recorded figure, for the quick run."}}
grid(live, "trained", "subspace")

# %% tags=["nbval-ignore-output"]
medians = {name: q.mean() for name, q in quantities(live).items() if name.startswith(("median/", "negative/"))}
print("\n".join(f"{name:<26}{round(value, 1) + 0.0:8.1f}" for name, value in medians.items()))

# %% [markdown]
# ## Verdicts

# %%
verdicts = [v for v in claims.scoreboard() if v.claim.study == "swap_costs"]
print(claims.scoreboard_text(verdicts))
