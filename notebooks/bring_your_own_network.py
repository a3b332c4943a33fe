# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Bring your own network
#
# Everything in this book works on networks that were not written for it. This page takes a convolutional network in plain PyTorch, and then some from
# torchvision and from PyTorch itself, asks which of their units can be reordered, breaks that symmetry, aligns two trained copies, repairs and averages them. What is needed is a model
# that can be called and a few example inputs; nothing has to be registered or subclassed.

# %%
import torch
from torch import nn

from symlib.data.images import load

data = load("digits")
x, y = data.train.x, data.train.y


class Mine(nn.Module):
    """A network like many: convolutions, BatchNorm, a depthwise convolution, a skip, pooling, flatten, linear."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.pointwise = nn.Conv2d(16, 16, 1)
        self.norm = nn.BatchNorm2d(16)
        self.last = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, images):
        h = self.first(images)
        return self.last(torch.relu(h + self.norm(self.pointwise(self.depthwise(h)))))


model = Mine()

# %% [markdown]
# ## Which units can be reordered?
#
# The network is traced, and every axis of every tensor is followed from operator to operator. Axes with one name move together; `-` stays in order. The
# flattened input of the first linear layer is a product: 16 channels, each with its 16 positions. The answer has already been checked: the network was
# reordered at random and computed the same.

# %%
from symlib.alignment.tracing import specification

spec = specification(model, x[:2])
print(spec)

# %% [markdown]
# ## Break the symmetry
#
# One call draws the fixed side of a W-asymmetric version: so many entries of every row of each of the five linear maps are pinned to Gaussian constants. The
# module itself stays as it is. How many and how large were chosen here by trying a few: more, and larger, flattens the line and costs accuracy. Both kinds are
# then trained as populations of four, that is two pairs each.

# %%
from symlib.asymmetry import Standard, Syre, WAsymmetry, constraint, n_trainable
from symlib.population import evaluate, initialise
from symlib.training import Recipe, train

w_asymmetry = WAsymmetry(n_fix=[4, 4, 4, 64, 16], sigma_F=[1.0, 1.0, 1.0, 0.5, 0.5])
recipe = Recipe(epochs=12, batch_size=64, lr=3e-3, weight_decay=0.0)
trained = {}
for method, asymmetry in {"standard": Standard(), "w-asym": w_asymmetry}.items():
    fixed = constraint(model, asymmetry, mask_seed=0)
    start = initialise(model, fixed, init_seeds=range(4))
    trained[method], _ = train(start, x, y, recipe, order_seeds=range(4))
    accuracy = evaluate(trained[method], data.test.x, data.test.y).accuracy.mean().item()
    print(f"{method:<9}{n_trainable(model, fixed):>7,} trainable entries, test accuracy {100 * accuracy:.0f} %")

# %% [markdown]
# With a training loop of your own, `parametrize_with(model, fixed)` makes any optimiser keep the constraint, and `from_models` brings the trained
# networks back as a population.
#
# ## Align, repair, walk
#
# The same standard pairs three times: as they are, with the second network aligned, and W-asymmetric pairs as they are. BatchNorm statistics are
# re-estimated at every point for all of them.

# %% tags=["nbval-ignore-output"]
import pandas as pd

from symlib.alignment.permutation import permute_members
from symlib.alignment.repair import reestimate
from symlib.alignment.weight_matching import weight_matching
from symlib.interpolation import curves, line, midpoint_barrier, mixing_weights
from symlib.plots import mode_connectivity as plots
from symlib.seeds import generator

lambdas = mixing_weights(25)
first, second = trained["standard"][:2], trained["standard"][2:]
found = [
    weight_matching(a, b, spec, generator("match", i), restarts=5)
    for i, (a, b) in enumerate(zip(first.members(), second.members(), strict=True))
]
lines = {
    "standard": (first, second),
    "git-rebasin": (first, permute_members(spec, found, second, data.test.x)),
    "w-asym": (trained["w-asym"][:2], trained["w-asym"][2:]),
}


def mended(a, b, lambdas):
    return reestimate(line(a, b, lambdas), x)


tables = []
for method, (a, b) in lines.items():
    loss = curves(a, b, lambdas, data.test.x, data.test.y, mended).loss
    print(f"{method:<12}barriers at the midpoint: {[round(v, 2) for v in midpoint_barrier(loss).tolist()]} nats")
    for pair, losses in enumerate(loss.tolist()):
        columns = {"method": method, "pair": pair, "lambda": lambdas.tolist(), "test_loss": losses}
        tables.append(pd.DataFrame(columns))

# %% mystnb={"figure": {"caption": "A network that this book knows nothing about: standard pairs as they are, the same pairs aligned by weight matching, and W-asymmetric pairs.", "name": "fig-own-network"}, "image": {"alt": "Three curves of test loss along the line between two networks; the standard one has a high hump in the middle, the aligned and the W-asymmetric one low humps."}}
plots.loss_lines(pd.concat(tables), "plain PyTorch network, digits")

# %% [markdown]
# ## Networks that somebody else wrote
#
# Two torchvision ResNets and a transformer encoder layer, made W-asymmetric or syre in one call each. One number pins as many entries per row in every map;
# a list, as above, gives every map its own.

# %%
from symlib.data.torchvision_import import torchvision

networks = {
    "ResNet-18": (torchvision("models").resnet18(), torch.zeros(2, 3, 64, 64)),
    "ResNet-50": (torchvision("models").resnet50(), torch.zeros(2, 3, 64, 64)),
    "transformer layer": (nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), torch.zeros(2, 7, 32)),
}
for name, (network, example) in networks.items():
    w_asymmetric = constraint(network, WAsymmetry(n_fix=16, sigma_F=1.0), mask_seed=0)
    syre = constraint(network, Syre(sigma_F=0.1), mask_seed=0)
    sizes = specification(network, example).sizes
    n_pinned = sum(p.numel() for p in network.parameters()) - n_trainable(network, w_asymmetric)
    print(f"{name}: {len(sizes)} groups of {sum(sizes.values()):,} units can be reordered; ", end="")
    print(f"W-asymmetry pins {n_pinned:,} entries, syre shifts {len(syre.F)} maps")

# %% [markdown]
# In the transformer layer the residual stream stays in order, because the layer's input does; attention heads move as wholes, and so do the
# coordinates inside a head, in all heads alike.
#
# ## What it cannot follow, it names
#
# An operator without a rule ends in an error, not in a guess.


# %%
class Unusual(Mine):
    def forward(self, images):
        return super().forward(images.cumsum(-1))


try:
    specification(Unusual(), x[:2])
except ValueError as error:
    print(error)

# %% [markdown]
# A rule is one short function in `symlib/alignment/rules.py`. An operator that treats all units alike, or each by itself, needs one line.
#
# ## Merge more than two
#
# Four networks, each aligned with the mean of the others until none moves, the best of eight descents, and averaged.

# %% tags=["nbval-ignore-output"]
from symlib.alignment.merging import align_all, average

everyone = trained["standard"]
aligned = permute_members(spec, align_all(everyone, spec, generator("merge"), restarts=8), everyone, data.test.x)
for label, population in {"standard": everyone, "aligned": aligned, "w-asym": trained["w-asym"]}.items():
    merged = reestimate(average(population), x)
    accuracy = evaluate(merged, data.test.x, data.test.y).accuracy.item()
    print(f"average of {len(population)} {label + ' networks':<18}{100 * accuracy:3.0f} % test accuracy")
