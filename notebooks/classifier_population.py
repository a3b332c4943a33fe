# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Populations of small classifiers
#
# Sections 5.3 and 5.4 of {cite:p}`lim2024` look at networks by the thousand: ResNet-8s on CIFAR-10, each trained with hyper-parameters of its own. This page trains such populations. Two other pages look at them: [metanetworks](metanetworks.ipynb) predict their accuracy from their weights, and
# [interpolation](monotonic_interpolation.ipynb) follows the loss from where they started to where they ended.
#
# | hyper-parameter | drawn |
# |---|---|
# | learning rate of AdamW, at its peak | log-uniform in [0.005, 0.5] |
# | weight decay | log-uniform in [0.00001, 0.1] |
# | label smoothing | uniform in [0, 0.2] |
# | epochs | a whole number in [10, 40] |
#
# The rate rises from 0 to its peak at epoch 5 and falls to 0 at the last epoch, step by step. Images of CIFAR-10 are flipped, shifted and lose a square at random, in proportion to their side: by two pixels and a square of four at 32 pixels; not at all and one pixel at 8. Network $i$ has the same hyper-parameters, initial draw and batches in every kind; W-asymmetric networks share one pattern and one set of constants, as in the paper:
#
# | kind | what is fixed | in the paper |
# |---|---|---|
# | `standard` | nothing | yes |
# | `w-asym` | eight input filters per output, $\sigma_F = 2$; the whole stem | yes |
# | `smaller` | nothing; 7/8 of the channels, about as many parameters as `w-asym` trains | yes (Table 6) |
# | `sigma` | FiGLU for every ReLU | yes (Table 4) |
# | `w-asym open stem` | as `w-asym`, but the stem is trained | a control |
# | `anchor` | starts as `w-asym`, every entry is trained | a control |
# | `syre` | a Gaussian shift of every weight | no |
#
# A network that diverges is marked and left out by what looks at it; others of its shard are not disturbed. The paper does not name the optimiser: AdamW is that of the released configuration. Three things differ from the released code: its networks start from different scales (standard from He's normal weights, W-asymmetric from ones 2.45 times smaller), it trains in half precision, and
# on all 50,000 training images; here all start from He's weights, in single precision, and the 5,000 images that other studies hold out are held out here as well.

# %% [markdown]
# ## Parameters
#
# The defaults finish on a laptop. `make run NB=classifier_population PROFILE=cpu` trains the populations that the recorded results rest on; their weights stay in the folder of the run. [On a cluster](../book/cluster.md), the same shards run on any number of machines.

# %% tags=["parameters"]
profile = "quick"  # quick | cpu | paper | custom
dataset = "digits"  # digits | cifar10
side = 4  # pixels a side, images averaged down; paper 32
n_images = 300  # training images; paper 50,000
width = 0.5  # multiple of 16, 32 and 64 channels; paper 1
kinds = ["standard", "w-asym"]  # kinds of networks, see above
n_networks = 24  # of each kind; paper 10,000
per_shard = 12  # that one process trains together
lr = [0.005, 0.5]  # range
weight_decay = [0.00001, 0.1]  # range
label_smoothing = [0.0, 0.2]  # range
epochs = [4.0, 12.0]  # range; paper 10 to 40
peak = 2.0  # epoch at which the rate is largest; paper 5
batch_size = 64  # images per step; paper 512
sigma_F = 2.0  # standard deviation of constants
mask_seed = 0  # draws pinned entries and gates, shared by all networks of a kind
base_seed = 0  # hyper-parameters, initialisation and batch order are derived from it
workers = 1  # processes
scheduler = ""  # address of a dask scheduler that does the work instead
device = "cpu"  # cpu | cuda
out = ""  # folder for shards, weights and the record; empty keeps nothing

# %%
from symlib.studies.classifier_population import ClassifierPopulation

config = ClassifierPopulation.from_cell(globals())

# %% tags=["nbval-ignore-output", "remove-output"]
from symlib.studies.classifier_population import run

live = run(config)

# %% [markdown]
# ## How accurate they are
#
# The largest recorded population. What a metanetwork can score depends on this spread: a guess that is off by one point is poor where all accuracies are alike, and good where they range from chance to their best.

# %%
from symlib import claims, records
from symlib.plots import metanetworks as plots

kept = claims.shown(live, records.find("classifier_population"))
title = "{dataset}, {side} x {side} pixels, ResNet-8, width {width:g}, {n_images:,} images ({profile})"
title = title.format(**kept.config)
print(title)

# %% mystnb={"figure": {"caption": "Test accuracies of all networks that did not diverge.", "name": "fig-population-accuracies"}, "image": {"alt": "Histograms of test accuracy in per cent, one below the other on one axis, one for each kind of network."}}
plots.accuracy_histograms(kept.table, title)

# %% tags=["nbval-ignore-output"]
rows = []
for kind, table in kept.table.groupby("kind", sort=False):
    means = [100 * table[f"{what}_accuracy"].mean() for what in ("train", "test")]
    spread, lost = 100 * table["test_accuracy"].std(), table["test_accuracy"].isna().sum()
    rows.append(f"{kind:<18}{means[0]:>9.1f}{means[1]:>9.1f}{spread:>9.1f}{lost:>11}")
print("\n".join([f"{'accuracy (%)':<18}    train     test       sd   diverged", *rows]))

# %% [markdown]
# ## How far apart they are
#
# Appendix A of the paper again: two W-asymmetric networks of its population are half as far again from each other as two standard ones, .0051 against .0034 per trainable parameter. Here over disjoint pairs of one kind.

# %% tags=["nbval-ignore-output"]
from symlib.studies.classifier_population import quantities

found = quantities(kept)
for kind in kept.config["kinds"]:
    apart = found[f"distance/{kind}"]
    print(f"{kind:<18}{apart.mean():.5f} ± {apart.std(ddof=1):.5f}   {len(apart)} pairs")

# %% [markdown]
# ## What twenty thousand would cost
#
# The paper trained 20,000 networks in just under 400 hours of an RTX 2080 Ti. From the seconds that a network of the population above took on one core, this is what as many like it would take; [a cluster](../book/cluster.md) divides it by its workers.

# %% tags=["nbval-ignore-output"]
n_trained = kept.config["n_networks"] * len(kept.config["kinds"])
each = kept.about["compute_s"] / n_trained
lines = [f"{each:.2f} s a network, mean of {n_trained:,}, on {kept.about['device']}"]
for workers in (1, 2, 100, 400):
    lines.append(f"20,000 networks on {workers:>3} workers: {20_000 * each / workers / 3600:8.2f} h")
print("\n".join(lines))

# %% [markdown]
# ## The small run of this page

# %%
sound = live.table.dropna(subset=["test_accuracy"])
lowest, highest = sound["test_accuracy"].min(), sound["test_accuracy"].max()
checks = {
    "every kind has all its networks": set(live.table.groupby("kind").size()) == {config.n_networks},
    "nine of ten did not diverge": len(sound) >= 0.9 * len(live.table),
    "accuracies range from chance to far above": lowest < 0.2 and highest > 0.6,
}
print("\n".join(f"{'yes' if holds else 'no':<5}{what}" for what, holds in checks.items()))

# %% [markdown]
# ## Verdicts on the paper's claims
#
# By the rules in `claims.toml`.

# %%
board = [v for v in claims.scoreboard() if v.claim.study == "classifier_population"]
print(claims.scoreboard_text(board))

# %% [markdown]
# ## Where these numbers come from

# %% tags=["nbval-ignore-output"]
print(records.origin({"shown": kept, "live": live}))
