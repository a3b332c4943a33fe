# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Explore: swaps, lines and constants
#
# Three pictures to play with, of networks small enough to be trained while this page is built. Nothing is judged here; each picture names the pages that measure. Where scripts do not run, and on
# paper, still figures stand in their place.

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
profile = "quick"  # quick | custom
n_neurons = 16  # of the layer whose swap costs are shown
layer_epochs = 20  # passes over the digits of the networks with that layer
width = 128  # units of each hidden layer of the networks at the ends of lines
epochs = 40  # passes over the digits of these networks
n_points = 25  # points on a line, odd, so that 0.5 is one of them
n_digits = 6  # test digits shown, the first ones
scales = [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65,
          0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0]  # of the constants, stops of the slider  # fmt: skip
mask_seed = 0  # draws the pinned entries
base_seed = 0  # initialisation, batch order and the toy layer are derived from it
out = ""  # folder for the record; empty keeps nothing

# %%
from symlib.studies.explainers import Explainers

config = Explainers.from_cell(globals())

# %% tags=["nbval-ignore-output", "remove-output"]
from symlib import records
from symlib.plots import explainers as plots
from symlib.plots.interactive import embedded
from symlib.studies.explainers import run

record = run(config)

# %% [markdown]
# ## What does it cost to exchange two neurons?
#
# Each cell of the map is a pair of neurons in the first layer of a network that reads digits, 8 by 8 pixels. The four costs behind it are those of {prf:ref}`def-realization-cost`: what either neuron pays, in squared
# weight norm, for its own function and for the other's. Their balance is the swap cost ({prf:ref}`def-swap-cost`). In a standard network every neuron pays the same for a function, and all exchanges are free. Pinned zeros
# make some exchanges dearer and a few profitable. Pinned constants make all of them dear: a neuron would have to undo, with what it can train, what it was given.
#
# Measured at full size: [swap costs](swap_costs.ipynb) and [costs in trained networks](trained_costs.ipynb).

# %% mystnb={"figure": {"caption": "Signed roots of swap costs between the neurons of a first layer, and the incoming weights of two neurons; dots mark pinned weights. Every network has a range of colours of its own.", "name": "fig-explainer-swaps"}, "image": {"alt": "Three maps of swap costs, neurons by neurons. Standard: all zero. W-asymmetric with pinned zeros: mostly small and positive, a few below zero. With pinned constants: all positive and about ten times as large. Below, the weights of one pair as images."}}
plots.swap_panels(record.about["swaps"])

# %% [markdown]
# ## What happens on the way from one network to another?
#
# Two networks are trained from different seeds, and $\lambda$ mixes their weights. Standard networks forget digits halfway that both of them know; watch which. With the units of the second network reordered to match the first
# (Git Re-Basin), or with W-asymmetric networks as they are, the answers hardly move. These are the networks of the first pair in the small run of [the page on lines](mode_connectivity_mlp.ipynb), where the method is judged.

# %% mystnb={"figure": {"caption": "Test loss and accuracy on the line between two networks, and the class probabilities that the networks on it give to some test digits.", "name": "fig-explainer-line"}, "image": {"alt": "Loss and accuracy against lambda for three methods. Standard networks have a high barrier in the middle, Git Re-Basin and W-asymmetric networks next to none. Below, test digits with ten bars of class probabilities halfway: those of standard networks are spread or wrong for some."}}
plots.line_panels(record.about["line"])

# %% [markdown]
# ## How large must constants be to keep neurons apart?
#
# A toy layer: five neurons read six inputs that fill a plane, so a neuron's function is two coefficients. Each outline holds what a neuron can realise with trainable weights of norm 1, starting from its centre
# ({prf:ref}`def-function-class`), the image of its pinned weights. The trainable weights are two random draws, *runs*, that stay as they are while the constants grow. At $\sigma_F = 0$ all centres coincide, and neurons can do each other's work. As
# the centres part, exchanges become dearer, until the cheapest assignment of one run's functions to the neurons is that every neuron has its own.
#
# It takes more than the smallest constants, and two neurons with close centres can stay cheap to exchange. [Trained networks in the same picture](effective_function_classes.ipynb), and [how the spacing of centres grows](centre_spacing.ipynb).

# %% mystnb={"figure": {"caption": "What five neurons can realise at cost 1 on a plane of inputs (outlines), and what two runs realise (from the centre of each neuron), as the scale of their constants grows; with the signed roots of the first run's swap costs.", "name": "fig-explainer-scale"}, "image": {"alt": "Ellipses of five neurons with a common centre at scale 0 that move apart as the scale grows to 1, and five by five swap costs that grow with it."}}
plots.scale_panels(record.about["scale"])

# %% tags=["nbval-ignore-output", "remove-input", "explainer-data"]
from IPython.display import HTML

kinds = ("swaps", "line", "scale")
HTML("".join(embedded(k, record.about[k], f"fig-explainer-{k}") for k in kinds))

# %% [markdown]
# ## The same in numbers
#
# Signed roots of swap costs, barriers in nats and drops of accuracy in percentage points, and neurons that costs match with themselves across the two draws.

# %% tags=["nbval-ignore-output"]
rows = ["explainer", "case"]
wide = record.table.pivot_table("value", rows, "what", sort=False).round(1)
ends = wide.loc[["swaps", "line"]].dropna(axis=1, how="all")
toy = wide.loc["scale"].dropna(axis=1, how="all").iloc[::5]
print(f"{ends.to_string(na_rep='-')}\n\n{toy.to_string()}")

# %% [markdown]
# ## Where these numbers come from

# %% tags=["nbval-ignore-output"]
print(records.origin({"live": record}))
