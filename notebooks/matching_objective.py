# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Do neurons with one number do the same thing?
#
# Train two networks from different seeds and record what every hidden neuron answers to the same training images. If neuron 17 of one network correlates with neuron 17
# of the other, and so on down the line, the numbering means something: neurons are *identified*. If the best one-to-one matching of neurons correlates while the numbering
# does not, the same functions are there, dealt out at random.
#
# {cite:t}`buergin2026` compare three averages over the neurons of a layer: the correlation under the **identity**, under the **best matching** (a linear assignment problem), and under a
# **random matching**. The authors draw 100 random permutations; mean and standard deviation over all of them have a closed form, which is used here.
#
# - With pinned zeros (W-asymmetric, $\sigma_F = 0$) the architecture has no permutation symmetry left, and still the identity should do no better than chance.
# - As $\sigma_F$ grows, the identity should rise to meet the best matching; the authors' archive shows this between 0.1 and 1.

# %% [markdown]
# ## Parameters
#
# The defaults finish on a laptop. `make run NB=matching_objective PROFILE=cpu` trains the paper's MNIST networks.

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
sigma_F = 1.0  # scale of fixed entries in the comparison; paper 1 for the MLP and 2 for the ResNet
sigma_sweep = [0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]  # scales of the sweep
share_sweep = [0.02, 0.1, 0.5, 0.9]  # pinned shares of every row in the sweep; empty for none
sweep_networks = 2  # networks at each point of the sweeps
warmup = 0  # epochs over which the rate rises a hundredfold; 20 for the ResNet
init = "reference"  # reference | matched, whether standard networks start from the same scale as the others
mask_seed = 0  # which entries are pinned, and to what
base_seed = 0  # initialisation and batch order are derived from it
n_seen = 1437  # images that neurons are compared on, and of the test set that networks are tested on
networks = ""  # folder of trained networks that studies share; empty trains them for this page alone
workers = 1  # processes
device = "cpu"  # cpu | cuda
out = ""  # folder for the record; empty keeps nothing

# %%
from symlib.studies.matching_objective import MatchingObjective

config = MatchingObjective.from_cell(globals())

# %% [markdown]
# ## The largest recorded run

# %%
from symlib import claims, records
from symlib.plots import identifiability as plots
from symlib.studies.analysis import described, largest
from symlib.studies.matching_objective import ARCHIVED, ARCHIVED_EPOCHS, parts, run

kept = largest(records.find("matching_objective"), network="mlp")
print(described(kept))

# %% mystnb={"figure": {"caption": "Mean correlation of matched neurons against the scale of the pinned entries, W-asymmetric MLPs, recorded run. Small symbols: pairs of networks; crosses: the authors' archived numbers after 100 epochs; grey band: two standard deviations of a random matching.", "name": "fig-matching-sigma"}, "image": {"alt": "Two panels, first hidden layer and mean over layers. The best matching stays near one half up to sigma_F of 0.2 and then rises towards one; the identity starts at zero and meets it at sigma_F of about one; a random matching stays at zero."}}
scale = "scale of the pinned entries, σ_F"
found = parts(kept)
plots.matching_sweep(found["scales"], "sigma_F", scale, kept.config["dataset"], ARCHIVED)


# %%
def sweep_table(record):
    rows = parts(record)["scales"]
    first = rows[rows["layer"] == rows["layer"].iloc[0]]
    return first.groupby("sigma_F")[["optimal", "identity", "random", "random_sd", "stays"]].mean()


ours = sweep_table(kept)
for what, numbers in ARCHIVED.items():
    ours.insert(0, f"{what}, archive", [numbers.get(scale) for scale in ours.index])
print(f"first hidden layer\n{ours.round(3).to_string()}")

# %% mystnb={"figure": {"caption": "The same over training, all layers, recorded run.", "name": "fig-matching-epochs"}, "image": {"alt": "Grid of panels, layers by interventions. For standard networks and pinned zeros the best matching rises during training and the identity stays at zero; for sigma_F of one and syre both lie together from the start."}}
plots.matching_epochs(found["epochs"], kept.config["dataset"])

# %%
rows = found["epochs"].query("intervention == 'standard' and layer == 'linears.0'")
best = rows.groupby("epoch")["optimal"].mean()
lines = ["best matching, standard MLPs, first hidden layer", "epoch   ours   archive"]
lines += [f"{e:>5}{best[e]:>7.3f}{ARCHIVED_EPOCHS[e]:>10.3f}" for e in ARCHIVED_EPOCHS if e in best]
print("\n".join(lines))

# %% [markdown]
# The identity is high *before* training wherever the constants are: neurons inherit their roles from the shared part of their weights, and training keeps them. How much of that is
# identification and how much a head start is a question for networks that share other things than pinned weights.
#
# ### What it costs
#
# The closer neurons stay to their fixed part, the less they learn: at large $\sigma_F$ the network approaches random features with a trained read-out.

# %% mystnb={"figure": {"caption": "The trade-off, recorded run: identity matching, accuracy lost halfway between two networks without alignment, and accuracy of the networks themselves.", "name": "fig-trade-off"}, "image": {"alt": "Three panels over sigma_F: correlation of neurons with one number rises, accuracy lost halfway falls, and test accuracy of the networks falls at the largest scales."}}
plots.trade_off(found["scales"], kept.config["dataset"])

# %% [markdown]
# ### ResNets
#
# The same for residual networks on CIFAR-10, with the units of a stage seen wherever the next convolutions read them, every position of an image a sample.

# %%
resnets = largest(records.find("matching_objective"), network="resnet")
print(described(resnets))

# %% mystnb={"figure": {"caption": "Mean correlation of matched channels over training, ResNet-20 on CIFAR-10, recorded run: the stem with the first stage, a block in the middle, the last block.", "name": "fig-matching-resnet"}, "image": {"alt": "Grid of panels, three groups of channels by four interventions, correlations over epochs under the identity, the best and a random matching."}}
plots.matching_epochs(parts(resnets)["epochs"], "cifar10")

# %% [markdown]
# ### The share of pinned entries
#
# Live, on digits: with constants, pinning few entries per row is enough; with zeros, even pinning most of them is not.

# %% tags=["nbval-ignore-output", "remove-output"]
live = run(config)

# %% mystnb={"figure": {"caption": "Mean correlation in the first hidden layer against the share of pinned entries, this page's own run; left zeros, right constants of scale 1.", "name": "fig-matching-share"}, "image": {"alt": "Two panels over the pinned share. With zeros the identity stays near zero up to high shares; with constants it rises with the share and meets the best matching."}}
plots.matching_shares(parts(live)["shares"], "digits")

# %% [markdown]
# ## Live, on small data

# %% mystnb={"figure": {"caption": "Correlations against the scale of the pinned entries in this page's own run on digits.", "name": "fig-matching-live"}, "image": {"alt": "The two panels of the recorded figure for small networks on digits: the identity meets the best matching between sigma_F of one half and two."}}
plots.matching_sweep(parts(live)["scales"], "sigma_F", scale, "digits")

# %% tags=["nbval-ignore-output"]
print(f"first hidden layer, digits\n{sweep_table(live).round(2).to_string()}")

# %% [markdown]
# ## Verdicts

# %%
verdicts = [v for v in claims.scoreboard() if v.claim.study == "matching_objective"]
print(claims.scoreboard_text(verdicts))
