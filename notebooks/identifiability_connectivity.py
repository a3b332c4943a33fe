# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lines between networks, with and without alignment
#
# The experiment that started it: is accuracy kept on the straight line between two networks that were trained apart? {cite:t}`buergin2026` compare standard networks with three kinds that
# fix part of their weights:
#
# - **W-asymmetric, $\sigma_F = 0$**: a fixed sparsity pattern. No two neurons can be exchanged any more, yet nothing ties a function to a neuron: these should behave like standard networks.
# - **W-asymmetric, $\sigma_F > 0$**: the pinned entries hold shared random constants; lines should stay high as they are.
# - **syre**: shared random constants added to *every* weight; the same is expected.
#
# Every line is walked twice, between the networks as they are and after the second network's units were reordered by activation matching (Pearson correlation after the activation
# function, *maximised*). The released script of the authors maximises one minus the absolute correlation, which lines up the units that have least in common; and for
# ResNets it evaluates all but the first pair on ten fixed batches. Both are avoided here, and a planted permutation is recovered by the whole study in its tests.
#
# The accuracy drop on this page is that of the authors' code, from the better end to the worst point of the line, in percentage points; elsewhere in this book it is the mean of the ends minus the midpoint.
#
# On CIFAR-10 the authors pad images with black *before* they standardise them, augment the images on which they walk lines, and round the channels' constants otherwise; here images are padded after standardisation, so with
# the mean colour, and lines are walked on plain training images.

# %% [markdown]
# ## Parameters
#
# The defaults finish on a laptop. `make run NB=identifiability_connectivity PROFILE=cpu` walks between the MNIST networks, `PROFILE=resnet` between small ResNets on CIFAR-10.

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
n_points = 9  # points on the line, odd, so that 0.5 is one of them; paper 37
n_seen = 1437  # images of each split that lines are evaluated on and units compared on
warmup = 0  # epochs over which the rate rises a hundredfold; 20 for the ResNet
init = "reference"  # reference | matched, whether standard networks start from the same scale as the others
mask_seed = 0  # which entries are pinned, and to what
base_seed = 0  # initialisation and batch order are derived from it
networks = ""  # folder of trained networks that studies share; empty trains them for this page alone
workers = 1  # processes
device = "cpu"  # cpu | cuda
out = ""  # folder for the record; empty keeps nothing

# %%
from symlib.studies.identifiability_connectivity import IdentifiabilityConnectivity

config = IdentifiabilityConnectivity.from_cell(globals())

# %% [markdown]
# ## MLPs, the largest recorded run

# %%
from symlib import claims, records
from symlib.plots import identifiability as plots
from symlib.studies.analysis import described, largest
from symlib.studies.identifiability_connectivity import ARCHIVED, run, summaries

everything = records.find("identifiability_connectivity")
mlps = largest(everything, network="mlp")
print(described(mlps))

# %% mystnb={"figure": {"caption": "Training accuracy on the line between two MLPs, recorded run. Thick: mean over pairs; thin: pairs.", "name": "fig-lines-mlp"}, "image": {"alt": "Two panels, unaligned and aligned, with one curve an intervention. Unaligned, standard networks and those with pinned zeros sag in the middle, the other two stay at the top; aligned, all stay near the top."}}
plots.accuracy_lines(mlps.table, "train", mlps.config["dataset"])


# %%
def report(record, archived=()):
    rows = summaries(record).query("split == 'train'")
    columns = ["better_end", "midpoint", "worst", "drop", "barrier", "max_barrier"]
    by = rows.groupby(["method", "intervention"], sort=False)[columns]
    text = by.mean().map("{:.2f}".format) + " ± " + by.std(ddof=1).map("{:.2f}".format)
    text.insert(0, "pairs", by.size())
    for column in ("worst", "drop"):
        known = {("unaligned", name): f"{numbers[column]:.1f}" for name, numbers in dict(archived).items()}
        text[f"{column}, archive"] = [known.get(key, "-") for key in text.index]
    return text.rename_axis([None, None])


report(mlps, ARCHIVED["mlp"])

# %% [markdown]
# *better end, midpoint, worst*: training accuracy in per cent; *drop*: percentage points; barriers: nats. The archive holds the authors' stored curves: 8 pairs, 100 epochs,
# all 54,000 training images. It is a mean curve, and *drop* is that of the mean; ours is the mean over pairs of the drop of each, which can only be larger.
#
# ## ResNets, the largest recorded run

# %%
resnets = largest(everything, network="resnet")
print(described(resnets))

# %% mystnb={"figure": {"caption": "Training accuracy on the line between two ResNet-20s on CIFAR-10, recorded run.", "name": "fig-lines-resnet"}, "image": {"alt": "Two panels, unaligned and aligned, with one curve an intervention over the mixing weight, for residual networks."}}
plots.accuracy_lines(resnets.table, "train", resnets.config["dataset"])

# %%
report(resnets, ARCHIVED["resnet"])

# %% [markdown]
# These ResNets are narrow and stopped early: they have little accuracy to lose, far less than the archive's, and rules written for networks at the end of their training need not hold for them. What can be
# seen is where the curves sag. The paper's setting is one profile away (`PROFILE=resnet-paper`) and needs a GPU.
#
# ## Live, on small data

# %% tags=["nbval-ignore-output", "remove-output"]
live = run(config)

# %% mystnb={"figure": {"caption": "The same in this page's own run: small MLPs on digits.", "name": "fig-lines-live"}, "image": {"alt": "Two panels, unaligned and aligned, with one curve an intervention, for small MLPs on digits."}}
plots.accuracy_lines(live.table, "train", live.config["dataset"])

# %% tags=["nbval-ignore-output"]
drops = summaries(live).query("split == 'train'")
table = drops.groupby(["intervention", "method"], sort=False)["drop"].mean().unstack(sort=False)
print(f"accuracy drop on training images, points\n{table.round(0).to_string()}")

# %% [markdown]
# ## Verdicts

# %%
verdicts = [v for v in claims.scoreboard() if v.claim.study == "identifiability_connectivity"]
print(claims.scoreboard_text(verdicts))
