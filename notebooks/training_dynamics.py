# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How runs move, and how far apart neurons' functions are
#
# Neurons that are identified find the same role in every run. Does that show in *how* networks train? This page collects the small analyses in the code of {cite:t}`buergin2026`,
# with what was wrong in them put right:
#
# - **Do independent runs take the same steps?** The cosine between the updates of two runs. The released code compares raw weights; those that are frozen are never used, yet weight decay
#   shrinks them in all runs alike, which counts as agreement. Here only trainable entries count.
# - **Do they end as the same function?** The share of test images that two runs answer alike, and the share of (image, hidden neuron) on which activations have the same sign.
# - **Do features stay?** Pinned constants that outweigh what is learned bring a network close to random features {cite:p}`buergin2026`. Its neural tangent kernel should then
#   stay where it was, and the straight line of its first derivative should predict where it ends. In the released code this analysis ends without a result: an exception is swallowed. And what it
#   would call CKA is the square of it.
# - **How far apart are the function classes of two neurons?** A Hausdorff distance from before the release, whose script is gone and whose medians are archived.
#
# What to expect: with $\sigma_F = 1$ similar updates, a kernel that moves little, and classes far apart; for standard networks and pinned zeros the opposite.

# %% [markdown]
# ## Parameters
#
# The defaults finish on a laptop. `make run NB=training_dynamics PROFILE=cpu` looks at the paper's MNIST networks.

# %% tags=["parameters"]
profile = "quick"  # quick | cpu | paper | custom
dataset = "digits"  # digits | mnist
network = "mlp"  # mlp
width = 64.0  # units of each hidden layer; paper 512
norm = "layer"  # layer
n_networks = 4  # of each intervention, paired off; paper 16
epochs = 10  # passes over the training set; paper 100
n_images = 1437  # training images
batch_size = 64  # images per step
lr = 1e-3  # of AdamW
weight_decay = 0.01  # decoupled; pulls trainable entries to 0, effective ones to F
sigma_F = 1.0  # scale of fixed entries
warmup = 0  # epochs over which the rate rises a hundredfold
init = "reference"  # reference | matched, whether standard networks start from the same scale as the others
mask_seed = 0  # which entries are pinned, and to what
base_seed = 0  # initialisation, batch order and choice of samples are derived from it
n_tested = 360  # test images that answers, signs and linear predictions are compared on
n_per_class = 5  # training images of each class that the kernel is computed on; paper 10
n_neurons = 16  # of the first layer whose classes are compared, paired off; archive 64
n_draws = 10  # new draws of each neuron; archive 100
n_seen = 300  # training images that its functions are compared on
penalties = [
    5e-4,
    5e-3,
    5e-2,
    0.5,
]  # of squared weights; the first is that of the archive's weight decay, 1e-3
adam_lr = 1e-2  # learning rate of the archive's way; it is not known
adam_steps = [100, 300]  # when to stop it; archive 3000 at most
networks = ""  # folder of trained networks that studies share; empty trains them for this page alone
workers = 1  # processes
device = "cpu"  # cpu | cuda
out = ""  # folder for the record; empty keeps nothing

# %%
from symlib.studies.training_dynamics import TrainingDynamics

config = TrainingDynamics.from_cell(globals())

# %% [markdown]
# ## The largest recorded run

# %%
import pandas as pd

from symlib import claims, records
from symlib.plots import dynamics as plots
from symlib.studies.analysis import described, largest
from symlib.studies.training_dynamics import (
    ARCHIVED,
    class_values,
    last_values,
    run,
    values,
)

kept = largest(records.find("training_dynamics"))
print(described(kept))

# %% [markdown]
# ### Updates, answers, signs
#
# An update is the difference between two snapshots that follow one another. Nothing is aligned: neuron 17 is compared with neuron 17.


# %% mystnb={"figure": {"caption": "What two independent runs share over training, mean over pairs with a band of one standard deviation: direction of their updates, sign of hidden activations, answers on test images. Recorded run.", "name": "fig-dynamics-similarity"}, "image": {"alt": "Three panels over epochs. Cosines between updates start high for syre and W-asymmetric networks with constants and fall during training; they stay near zero for standard networks and pinned zeros. Signs of activations agree mostly for the first two and half of the time for the others; answers agree in most cases for all."}}
def over_epochs(record, measures):
    panels = {label: values(record, measure) for label, measure in measures.items()}
    return plots.over_epochs(panels, record.config["dataset"])


similarity = {
    "cosine between updates": "update cosine",
    "same sign (share)": "signs alike",
    "same answer (share)": "answers alike",
}
over_epochs(kept, similarity)


# %%
def by_layer(record):
    cosines = record.table.query("measure == 'update cosine'")
    return plots.wide(cosines, "layer").round(2)


print(f"cosine between updates, mean over snapshots\n{by_layer(kept).to_string()}")

# %% [markdown]
# Similar steps do not make similar functions by themselves. Two networks that are both right on nearly all images answer alike on nearly all images, whatever their neurons do; runs that
# are less accurate have more room to differ. So the share of equal answers has to be read next to accuracy, in the table below.
#
# ### Kernel and linear prediction
#
# The kernel is $K = \sum_k J_k J_k^\top$ with the gradients $J_k$ of output $k$ with respect to trainable entries, on class-balanced training images. Centred kernel alignment (CKA) with the kernel
# before training is 1 if it has only been scaled. The linear prediction is $f_0 + J_0(\theta - \theta_0)$, with $\theta$ the weights at which training has arrived; its error is relative to
# $f - f_0$, since outputs of networks with constants are large before any training, and an error relative to $f$ would look small for that reason alone. An error above 1 says that predicting no change at
# all would have been closer: the tangent overshoots. The cosine forgives that and asks for the direction only.
#
# Standard networks start with smaller weights, as in the authors' code, and small weights alone make features move. The two W-asymmetric kinds start from one scale: between them only the constants differ. So the verdict on the linear prediction, which compares with
# standard networks, cannot tell constants from smaller weights: in the recorded run the error of W-asymmetric networks with pinned zeros is smaller than with constants.

# %% mystnb={"figure": {"caption": "CKA of the tangent kernel with that before training, and how the change of the outputs compares with its linear prediction: cosine between the two, and error relative to the change. Mean over networks with a band of one standard deviation, recorded run.", "name": "fig-dynamics-kernel"}, "image": {"alt": "Three panels over epochs. CKA and cosine are higher for networks with constants, syre first, than for standard networks and pinned zeros; errors of the linear prediction are largest for standard networks and smallest for syre."}}
kernel = {
    "CKA with the first kernel": "kernel CKA",
    "cosine of linear prediction": "linear cosine",
    "error of linear prediction": "linear error",
}
over_epochs(kept, kernel)

# %%
end = plots.wide(last_values(kept), "measure")
print(f"after the last epoch\n{end.round(3).to_string()}")

# %% [markdown]
# ### Function classes of neurons
#
# Neuron $i$ of the first layer computes $x \mapsto (f_i + d_i \odot w)^\top x + b$ before its activation. How far can a function of neuron $j$ be from what neuron $i$ can compute? We draw neuron $j$
# anew many times, let neuron $i$ come as close to each draw as it can, and keep the worst; the Hausdorff distance of a pair is the larger of both directions:
#
# $$\max_{g \in \text{draws of } j}\; \mathbb{E}_x \bigl(g(x) - (f_i + d_i \odot w^*)^\top x - b^*\bigr)^2, \qquad
# (w^*, b^*) = \arg\min_{w, b}\; \mathbb{E}_x \bigl(g(x) - (f_i + d_i \odot w)^\top x - b\bigr)^2 + \beta \lVert w \rVert^2 .$$
#
# The penalty $\beta$ is part of the definition and not a detail. With $\beta = 0$ every neuron of a standard or syre layer can compute every linear function, if need be with large weights, and all distances are 0;
# only pinned entries keep classes apart then. With a large $\beta$ neuron $i$ stays at its fixed part. Adam with a weight decay of $10^{-3}$, which the authors' script used, minimises this with
# $\beta = 5 \cdot 10^{-4}$.
#
# Before the activation the minimum is in closed form, for all pairs and draws at once. Through a GELU it is found by a descent that starts there. The third way is the script's: Adam from the initial weights
# of neuron $i$, stopped after some steps.


# %% mystnb={"figure": {"caption": "Distance between the function classes of pairs of neurons in the first layer, recorded run: exact before the activation, converged through it, and by Adam stopped after the most steps that were recorded. Boxes: quartiles, whiskers: 5 to 95 per cent; crosses: medians of the authors' archive.", "name": "fig-class-distances"}, "image": {"alt": "Three panels of boxes on a logarithmic axis with four interventions each. Before and through the activation standard classes nearly coincide, those of pinned zeros and of syre are close, and W-asymmetric ones with constants are the furthest apart; by Adam all distances are larger, those of standard neurons by the most."}}
def boxes(record, reference=None):
    before, through, *adam = class_values(record).items()
    panels = dict([before, through, adam[-1]])
    return plots.distance_boxes(panels, record.config["dataset"], reference)


boxes(kept, ARCHIVED)

# %% mystnb={"figure": {"caption": "Median distance between function classes against the penalty on trainable weights, recorded run.", "name": "fig-class-path"}, "image": {"alt": "Two panels with logarithmic axes. Distances of standard and syre classes fall steeply towards zero as the penalty falls, those of W-asymmetric classes level off; syre lies below W-asymmetric networks with constants at small penalties and above them at large ones."}}
FIRST = "linears.0.weight"
path = {
    "before GELU": values(kept, "class distance", FIRST),
    "through GELU": values(kept, "class distance through GELU", FIRST),
}
plots.distance_path(path, kept.config["dataset"])


# %%
def medians(record):
    found = [rows.assign(way=way) for way, rows in class_values(record).items()]
    return plots.wide(pd.concat(found), "way", "median")


table = medians(kept)
table.loc["archive"] = ARCHIVED
print(f"median distance\n{table.map('{:.2g}'.format).to_string()}")

# %% [markdown]
# The archive's order, standard < pinned zeros < constants < syre, is that of large penalties, or of a descent that has not arrived. At the script's own penalty the classes of syre neurons are close: nothing
# is pinned in them, so weights can undo the constants, and do if they are given the time. The archive's value for standard neurons cannot be one of their classes, which are all equal: through a GELU, Adam
# may take some neurons to where they are never active, and leave them there. What rate and which inputs the script had is not known. The claim below is judged by the closed form; by few steps of Adam, the script's way,
# the table has the archive's order.
#
# So what sets syre neurons apart is not what they *can* compute but what it *costs* them. Realization costs, on [another page](trained_costs.ipynb), are the better measure of that.

# %% [markdown]
# ## Live, on small data

# %% tags=["nbval-ignore-output", "remove-output"]
live = run(config)

# %% mystnb={"figure": {"caption": "What two runs share over training, in this page's own run on digits.", "name": "fig-dynamics-similarity-live"}, "image": {"alt": "The three panels of the recorded figure for small networks on digits."}}
over_epochs(live, similarity)

# %% mystnb={"figure": {"caption": "Kernel and linear prediction in this page's own run.", "name": "fig-dynamics-kernel-live"}, "image": {"alt": "The three panels of the recorded figure for small networks on digits."}}
over_epochs(live, kernel)

# %% mystnb={"figure": {"caption": "Distances of function classes in this page's own run.", "name": "fig-class-distances-live"}, "image": {"alt": "Three panels of boxes on a logarithmic axis for small networks on digits, before and through the activation and by Adam."}}
boxes(live)

# %% tags=["nbval-ignore-output"]
end, apart = plots.wide(last_values(live), "measure"), medians(live)
print(end.round(2).to_string(), apart.map("{:.2g}".format).to_string(), sep="\n\n")

# %%
steps, cka = by_layer(live).loc["all"], end.loc["kernel CKA"]
cosine = end.loc["linear cosine"]
exact, through = apart.loc["exact, before GELU"], apart.loc["exact, through GELU"]
free, fixed = ["standard", "w-asym 0"], ["w-asym 1", "syre 1"]
found = {
    "constants make updates similar": steps[fixed].min() > 2 * steps[free].max(),
    "kernels with constants stay closer": cka[fixed].min() > cka[free].max(),
    "linear predictions of them point better": cosine[fixed].min() > cosine[free].max(),
    "only pinned entries keep classes apart": exact["w-asym 1"] > 10 * exact["syre 1"],
    "Adam in a hurry finds all of them further apart": (apart.iloc[2] > through).all(),
}
print("\n".join(f"{'yes' if holds else 'no':<4}{what}" for what, holds in found.items()))

# %% [markdown]
# ## Verdicts
#
# The analyses are those of the authors' code; the statements are ours, since what the paper says about them is not known. The rules were written down before any of it had run.

# %%
verdicts = [v for v in claims.scoreboard() if v.claim.study == "training_dynamics"]
print(claims.scoreboard_text(verdicts))
