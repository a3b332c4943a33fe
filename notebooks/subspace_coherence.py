# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Coherence in trained networks
#
# [The synthetic experiment](synthetic_coherence.ipynb) chooses the coherence of its inputs. Here it is measured, and then changed.
#
# **Measured.** The inputs of every layer of an MLP span, up to a share of their variance, a subspace of some dimension $k$, and its coherence $\nu$ is the largest squared row norm of an orthonormal basis
# ([definitions](../book/neuron-identifiability.md)). Coherence bounds how differently a random mask treats the directions of that subspace: the operator norm of $S_i - pI$, the *anisotropy* of neuron $i$, stays below
# $\tfrac23 b\,\nu L + \sigma_D \sqrt{2 \nu L}$ with high probability, where $p$ is the trainable share {cite:p}`buergin2026`. If it is small, the mask cannot be seen on the data.
#
# **Changed.** An orthogonal map of the inputs keeps all distances, and a dense layer can learn the same things behind it. But it changes the coherence: turned to their principal components, the images lie along coordinate axes ($\nu = 1$);
# a chain of Givens rotations spreads them until no axis is closer to the subspace than any other ($\nu = k/d$). Networks with pinned zeros are trained on both.
#
# What should one expect? A mask on coherent inputs decides *where* a neuron looks. It does not decide in which direction: the neuron may respond to the sum of two components or to their difference, and to either sign, and
# later layers can make up for each. The synthetic network has no later layers, and its neurons can only add to the output. So besides the correlation of neurons with one number in two networks, which the paper uses, their *squared*
# correlation is shown: it sees that two neurons look at the same components, whatever they make of them.

# %% [markdown]
# ## Parameters
#
# The defaults finish on a laptop. `make run NB=subspace_coherence PROFILE=cpu` measures the MNIST networks and trains on turned MNIST.

# %% tags=["parameters"]
profile = "quick"  # quick | cpu | paper | custom
dataset = "digits"  # digits | mnist
network = "mlp"  # mlp
width = 64.0  # units of each hidden layer; paper 512
norm = "layer"  # layer | batch
n_networks = 2  # of each intervention on images as they are; paper 16
epochs = 10  # passes over the training set; paper 100
n_images = 1437  # training images
batch_size = 64  # images per step
lr = 1e-3  # of AdamW
weight_decay = 0.01  # decoupled; pulls trainable entries to 0, effective ones to F
sigma_F = 1.0  # scale of fixed entries
explained = 0.9  # share of the inputs' variance that their subspace has to carry
n_measured = 2  # networks of each intervention whose layers are measured
coherences = [0.33, 1.0]  # that images are turned to; at least 0.3282, MNIST 0.1110
shares = [0.85]  # of pinned zeros per row on turned images, besides the paper's
n_turned = 4  # networks of each intervention on turned images, paired off
warmup = 0  # epochs over which the rate rises a hundredfold
init = "reference"  # reference | matched, whether standard networks start from the same scale as the others
mask_seed = 0  # which entries are pinned, and to what
base_seed = 0  # initialisation and batch order are derived from it
networks = ""  # folder of trained networks that studies share; empty trains them for this page alone
workers = 1  # processes
device = "cpu"  # cpu | cuda
out = ""  # folder for the record; empty keeps nothing

# %%
from symlib.studies.subspace_coherence import SubspaceCoherence

config = SubspaceCoherence.from_cell(globals())

# %% tags=["nbval-ignore-output", "remove-output"]
from symlib import claims, records
from symlib.plots import coherence as plots
from symlib.studies.analysis import described
from symlib.studies.subspace_coherence import layers, pairs, run

live = run(config)

# %% [markdown]
# ## The largest run
#
# Recorded earlier, or this page's own where none is larger.

# %% tags=["nbval-ignore-output"]
kept = claims.shown(live, records.find("subspace_coherence"))
print(described(kept))

# %% mystnb={"figure": {"caption": "Coherence of what goes into each layer (above) and mean anisotropy of the masks on it (below) over training. Lines: mean over networks; dotted: k/d, the least coherence that a subspace of this dimension can have. The first layer reads the images.", "name": "fig-coherence-epochs"}, "image": {"alt": "Eight panels, coherence above and anisotropy below for the inputs of four layers over the epochs, one curve an intervention; coherence lies far above its least value in all of them, and falls with training in the deeper layers of standard networks."}}
plots.coherence_by_epoch(layers(kept), kept.config["dataset"])


# %%
def last_epoch(record):
    columns = {
        "dimension": "k",
        "full_dimension": "d",
        "explained": "share of variance",
        "coherence": "ν",
        "anisotropy": "mean anisotropy",
        "bound": "bound",
        "above": "share above",
    }
    table = layers(record)
    rows = table[table["epoch"] == record.config["epochs"]]
    by = rows.groupby(["intervention", "layer"], sort=False)[list(columns)].mean()
    by.index = by.index.set_levels(by.index.levels[1].str.removesuffix(".weight"), level=1)
    whole = {"dimension": 0, "full_dimension": 0}
    text = by.round({name: whole.get(name, 2) for name in columns})
    return text.rename(columns=columns).rename_axis([None, None])


# %% tags=["nbval-ignore-output"]
last_epoch(kept)

# %% [markdown]
# After the last epoch, mean over networks. *k* of *d*: dimension of the subspace; *mean anisotropy*: over the neurons of the layer, nothing where there is no mask; *bound*: what one neuron's
# anisotropy stays below with probability 0.95; *share above*: neurons that exceed it. An anisotropy can never be larger than one. A bound above one says nothing, and at the coherence
# of real layers it mostly lies there; what it has right is the order. The deviation $b$ is $\max(p, 1 - p)$ here; the released code has $p$.

# %% [markdown]
# ## Images turned to another coherence
#
# Three kinds of networks on two turns of the same images. Standard networks are the control: no mask, so the turn should not matter to who resembles whom.

# %% mystnb={"figure": {"caption": "Pairs of networks trained on turned images, first hidden layer: squared correlation of neurons with one number, less that of any two neurons; their correlation; and test accuracy lost halfway between the networks. Small symbols: pairs; lines: means.", "name": "fig-coherence-turned"}, "image": {"alt": "Three panels over the coherence of the images. The squared correlation rises with coherence for networks with 85 per cent pinned zeros and is near zero for the others; the correlation stays small for all; the accuracy lost halfway does not fall with coherence."}}
first = pairs(kept).query("layer == 'linears.0'")
plots.turned_images(first, kept.config["dataset"])

# %% tags=["nbval-ignore-output"]
shown = {
    "coherence": "ν reached",
    "anisotropy": "mean anisotropy",
    "identity": "correlation",
    "optimal": "best matching",
    "squared": "squared",
    "chance": "of any two",
    "drop": "points lost",
    "test_accuracy": "accuracy",
}
table = first.groupby("intervention", sort=False)[list(shown)].mean().rename(columns=shown)
table.round({name: 1 if name == "points lost" else 3 for name in table}).rename_axis(None)

# %% [markdown]
# Names say what is fixed and which coherence the images were turned to; without a share, the paper's numbers of entries are pinned. A mask is seen once it leaves a neuron few of the coherent
# components: its squared correlation with the neuron of that number in the other network rises above chance. That does not identify it. The correlation itself stays far below that of the best matching, and
# the line between the networks is no better for it. High coherence is necessary for a mask of zeros to identify neurons, and in networks with further layers it is not sufficient.

# %% [markdown]
# ## This page's own run

# %%
first = pairs(live).query("layer == 'linears.0'")
first = first.assign(excess=first["squared"] - first["chance"])
bounded = layers(live).query("bound > 0")
checks = {
    "correlations of neurons with one number stay below 0.2": first["identity"].max() < 0.2,
    "no mean anisotropy exceeds its bound": (bounded["anisotropy"] < bounded["bound"]).all(),
}
for share in config.shares:
    excess = first[first["share"] == share].groupby("target")["excess"].mean()
    seen = excess[max(config.coherences)] > 1.5 * excess[min(config.coherences)]
    checks[f"{share:.0%} pinned: the mask is seen better at high coherence"] = seen
print("\n".join(f"{'yes' if holds else 'no':<4}{what}" for what, holds in checks.items()))

# %% [markdown]
# ## Verdicts

# %%
verdicts = [v for v in claims.scoreboard() if v.claim.study == "subspace_coherence"]
print(claims.scoreboard_text(verdicts))
