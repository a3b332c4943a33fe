# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Merging without alignment
#
# If neurons are identified, different runs of one architecture speak one language, and they can be merged without a dictionary. This page averages 2, 4, 8 and more networks that were trained apart, in two ways:
#
# - the **weights**: one network with the mean of all weights, as {cite:t}`buergin2026` do for all their networks at once;
# - the **representations**: all networks look at an image, the answers of one hidden layer are averaged over the networks, and each network goes on from the average.
#
# Both are done with the networks as they are and after activation matching of each with the first. Merging standard networks works after alignment only; with constants alignment should have nothing to add. The groups of
# one size do not overlap.

# %% [markdown]
# ## Parameters
#
# The defaults finish on a laptop. `make run NB=merging PROFILE=cpu` merges the MNIST networks.

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
sizes = [2, 4]  # networks that are averaged at once
n_seen = 1437  # training images that units are compared on
warmup = 0  # epochs over which the rate rises a hundredfold; 20 for the ResNet
init = "reference"  # reference | matched, whether standard networks start from the same scale as the others
mask_seed = 0  # which entries are pinned, and to what
base_seed = 0  # initialisation and batch order are derived from it
networks = ""  # folder of trained networks that studies share; empty trains them for this page alone
workers = 1  # processes
device = "cpu"  # cpu | cuda
out = ""  # folder for the record; empty keeps nothing

# %%
from symlib.studies.merging import Merging

config = Merging.from_cell(globals())

# %% [markdown]
# ## The largest recorded run

# %%
from symlib import claims, records
from symlib.plots import identifiability as plots
from symlib.studies.analysis import described, largest
from symlib.studies.merging import run

kept = largest(records.find("merging"))
print(described(kept))

# %% mystnb={"figure": {"caption": "Test accuracy of merged networks against their number, recorded run. Left: averaged weights; right: averaged inputs of each later layer.", "name": "fig-merging"}, "image": {"alt": "Eight panels, unaligned above and aligned below, over the number of networks. Unaligned, standard networks and those with pinned zeros fall with every network that is added, those with constants stay; aligned, all stay high."}}
plots.merging_curves(kept.table, kept.config["dataset"])


# %%
def report(record):
    by = record.table.groupby(["method", "merged", "intervention", "size"], sort=False)["accuracy"]
    table = (100 * by.mean()).unstack("size").rename(index=lambda n: str(n).removesuffix(".weight"))
    return table.map(lambda v: "-" if v != v else f"{v:.1f}").rename_axis([None, None, None])


report(kept)

# %% [markdown]
# ## Live, on small data

# %% tags=["nbval-ignore-output", "remove-output"]
live = run(config)

# %% mystnb={"figure": {"caption": "The same in this page's own run: small MLPs on digits.", "name": "fig-merging-live"}, "image": {"alt": "Eight panels as in the recorded figure, for averages of two and four small networks on digits."}}
plots.merging_curves(live.table, live.config["dataset"])

# %% tags=["nbval-ignore-output"]
rows = live.table.query("merged == 'weights'")
table = 100 * rows.pivot_table(index="intervention", columns=["method", "size"], values="accuracy")
print(f"test accuracy of averaged weights, %\n{table.round(0).to_string()}")

# %% [markdown]
# ## Verdicts

# %%
verdicts = [v for v in claims.scoreboard() if v.claim.study == "merging"]
print(claims.scoreboard_text(verdicts))
