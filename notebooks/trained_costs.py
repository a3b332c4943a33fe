# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What an exchange costs in trained networks
#
# A neuron that is to compute what another one computes has to find weights for it, and some neurons can do so cheaper than others. On the subspace that a layer's inputs span, the
# **realization cost** $c_{ij}$ is the smallest squared norm of trainable weights with which neuron $i$ computes the function of neuron $j$, and the **swap cost**
# $\Delta_{ij} = c_{ij} + c_{ji} - c_{ii} - c_{jj}$ is what it costs more if the two exchange their functions ([definitions](../book/neuron-identifiability.md)). It may be negative: training does not minimise the norm alone.
#
# - In a *standard* layer all neurons pay alike, and every swap costs exactly nothing.
# - With *pinned zeros* neurons differ in what they can do, but hardly in what they pay.
# - With *constants* each neuron starts from a centre of its own, and an exchange has to carry both across the distance.
#
# From costs alone one can also predict how two runs match. Neuron $i$ of either run has the same fixed part; give it the functions of the *other* run, and solve the assignment problem.
# The **identifiability gap** asks the same within one run: how much dearer than leaving everything in place is the cheapest other assignment? Neither is in the authors' code; both need
# weights and one covariance, no comparison of activations.

# %% [markdown]
# ## Parameters
#
# The defaults finish on a laptop. `make run NB=trained_costs PROFILE=cpu` looks at the MNIST networks.

# %% tags=["parameters"]
profile = "quick"  # quick | cpu | paper | custom
dataset = "digits"  # digits | mnist | cifar10
network = "mlp"  # mlp | resnet
width = 64.0  # units of each hidden layer of the MLP, or multiple of a ResNet's channels; paper 512 and 8
norm = "layer"  # layer | batch
n_networks = 4  # of each intervention, paired off; paper 16
epochs = 10  # passes over the training set; paper 100
n_images = 1437  # training images
batch_size = 64  # images per step
lr = 1e-3  # of AdamW
weight_decay = 0.01  # decoupled; pulls trainable entries to 0, effective ones to F
sigma_F = 1.0  # scale of fixed entries; paper 1 for the MLP and 2 for the ResNet
sigma_sweep = [0.0, 0.2, 0.5, 1.0, 2.0, 5.0]  # scales of the sweep
sweep_networks = 2  # networks at each point of the sweep
explained = 0.9  # share of the inputs' variance that their subspace has to carry
beta = 0.01  # ridge of the second estimate
n_ridge = 16  # neurons of each layer that it is computed for; paper 64
n_seen = 1437  # training images that inputs are recorded on
warmup = 0  # epochs over which the rate rises a hundredfold; 20 for the ResNet
init = "reference"  # reference | matched, whether standard networks start from the same scale as the others
mask_seed = 0  # which entries are pinned, and to what
base_seed = 0  # initialisation and batch order are derived from it
networks = ""  # folder of trained networks that studies share; empty trains them for this page alone
workers = 1  # processes
device = "cpu"  # cpu | cuda
out = ""  # folder for the record; empty keeps nothing

# %%
from symlib.studies.trained_costs import TrainedCosts

config = TrainedCosts.from_cell(globals())

# %% [markdown]
# ## The largest recorded run

# %%
from symlib import claims, records
from symlib.plots import identifiability as plots
from symlib.studies.analysis import described, largest
from symlib.studies.trained_costs import run

kept = largest(records.find("trained_costs"))
print(described(kept))


# %%
def compared(record):
    c = record.config
    scale = f"{c['sigma_F']:g}"
    names = ["standard", "w-asym 0", f"w-asym {scale}", f"syre {scale}"]
    return record.table[record.table["intervention"].isin(names)]


def first_layer(record):
    rows = record.table[record.table["layer"] == "linears.0.weight"]
    return rows[rows["kind"] == "w-asym"]


# %% mystnb={"figure": {"caption": "Swap costs of all pairs of neurons, layer by layer, recorded run: median, middle half, middle 90 % and range, averaged over networks. The axis is linear around 0.", "name": "fig-trained-swaps"}, "image": {"alt": "Four panels, one a layer, with one vertical box an intervention. Standard networks lie exactly on zero, pinned zeros slightly above with a tail below, constants and syre far above in every layer."}}
plots.swap_boxes(compared(kept), kept.config["dataset"])


# %%
def report(record):
    columns = {
        "dimension": "k",
        "coherence": "ν",
        "norm": "norm²",
        "paid": "cost",
        "swap_0.5": "median swap",
        "negative": "share < 0",
        "gap": "gap",
        "predicted": "by cost",
        "measured": "by activation",
        "agreement": "agree",
    }
    rows = compared(record).groupby(["intervention", "layer"], sort=False)[list(columns)].mean()
    digits = {"dimension": 0, "gap": 1}
    rows = rows.round({column: digits.get(column, 2) for column in columns})
    rows.index = rows.index.set_levels(rows.index.levels[1].str.removesuffix(".weight"), level=1)
    return rows.rename(columns=columns).rename_axis([None, None])


report(kept)

# %% [markdown]
# *k*: dimension of the subspace that carries the wanted share of the inputs' variance; *ν*: its coherence; *norm²*: mean squared norm of a neuron's trainable weights; *cost*: mean cost of its own function, which can only be smaller; *median swap*: on
# the scale of the signed root; *by cost, by activation*: share of neurons that are matched with themselves across two runs; *agree*: share on whose partner both say the same. The read-out's units are the classes, which need no matching.

# %% mystnb={"figure": {"caption": "The first layer against the scale of the pinned entries, recorded run: the identifiability gap, and who is matched with whom across two runs.", "name": "fig-gap-sweep"}, "image": {"alt": "Two panels over sigma_F. The gap is negative for small scales and turns positive; the share of neurons matched with themselves rises from zero to one, by costs at a smaller scale than by activations."}}
plots.gap_sweep(first_layer(kept), kept.config["dataset"])

# %% [markdown]
# Where the gap is positive the numbering is the cheapest assignment; where it is negative, norm pressure would rather deal out the functions anew. On MNIST few exchanges of *two* neurons save anything even with pinned zeros, unlike
# in the Gaussian data of [the previous page](swap_costs.ipynb); the gap is far below zero all the same, because it takes only a few cheap exchanges, in a row, to make a cheaper assignment.
#
# The prediction from weights turns to the identity at a smaller scale than the matching of activations: it asks what the other run's functions *would cost* in this numbering, and these already carry the shared
# constants along. In between, costs know the numbering that activations do not show yet.

# %% [markdown]
# ### A second estimate
#
# The subspace is cut at a share of the variance, which is a choice. Ridge regression needs none: neuron $i$ fits the pre-activation of neuron $j$ with a penalty on its weights, so directions that hardly
# vary are hardly paid for. The released script fits something else: what neuron $j$ computes *after* GELU, through a substitute for BatchNorm, by AdamW. It cannot run; here the normal equations of the pre-activation
# are solved in closed form.
#
# The authors' scripts of costs also use other networks, MLPs with BatchNorm, and their first 64 neurons. These are the MLPs with LayerNorm that the other pages share, and all neurons.


# %%
def estimates(record):
    columns = {
        "subspace_median": "median swap, subspace",
        "ridge_median": "median swap, ridge",
        "ridge_rank": "rank correlation",
    }
    rows = compared(record).groupby(["intervention", "layer"], sort=False)[list(columns)].mean()
    rows.index = rows.index.set_levels(rows.index.levels[1].str.removesuffix(".weight"), level=1)
    return rows.round(2).rename(columns=columns).rename_axis([None, None])


estimates(kept)

# %% [markdown]
# ## Live, on small data

# %% tags=["nbval-ignore-output", "remove-output"]
live = run(config)

# %% mystnb={"figure": {"caption": "Swap costs in this page's own run: small MLPs on digits.", "name": "fig-trained-swaps-live"}, "image": {"alt": "Four panels, one a layer, with one vertical box an intervention, for small networks on digits; the order is that of the recorded figure."}}
plots.swap_boxes(compared(live), live.config["dataset"])

# %% tags=["nbval-ignore-output"]
report(live).drop(columns=["norm²", "cost", "gap"]).round(1)

# %% [markdown]
# ## Verdicts

# %%
verdicts = [v for v in claims.scoreboard() if v.claim.study == "trained_costs"]
print(claims.scoreboard_text(verdicts))
