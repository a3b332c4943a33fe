# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # More asymmetry, slower training
#
# **Claim.** Asymmetry has a price. In {cite:p}`lim2024`, appendix A and Figure 6, ResNet-20s are trained on CIFAR-10 until they answer 70 % of the training images, for five numbers of pinned entries and five sizes of the constants. Standard networks need 11 epochs. The more entries are pinned, and the larger the constants, the longer it takes: 72 epochs at
# the far corner of the grid. Entries pinned to *zero* cost nothing, however many.
#
# Each network here is drawn for one cell of the same grid: a share of the counts of Table 11, cut to whole numbers, and a standard deviation $\sigma_F$ of the constants. Networks of one number have the same initial draw and the same batches in all cells, nested patterns, and constants that differ by their scale alone, so that
# rows and columns differ in one thing; each number has a draw and a pattern of its own. Standard networks have no constants: they are trained once and stand in every row.
#
# Five things the reader should know:
#
# - The paper does not say how it measures training accuracy, and the program behind its figure is not public; its other programs count correct answers *during* an epoch, on augmented images. Here the whole training set is answered *after* each epoch, without augmentation, which should come to the threshold a little earlier.
# - A network that has not come there when training ends is marked `>` and counts with the last epoch, so its cell is a lower bound. So does one that diverges.
# - In the paper's code, networks with pinned entries start from weights 2.45 times smaller than standard ones. Here all start from the same draw (`init = "matched"`); `"released"` brings the difference back, and a section below says what it changes.
# - The learning rate rises by a constant factor over the first epochs, 20 in the paper, so its standard networks are done while the steps are still small. Ratios of epochs therefore mix how fast networks learn with how fast the rate rises.
# - At the smallest share one entry per row would be pinned in the first shortcut, which leaves 16 patterns for 32 rows. Two are, so that no two rows are alike.

# %% [markdown]
# ## Parameters
#
# The defaults finish on a laptop, with narrow ResNet-8s on digits and nine cells. `make run NB=training_speed PROFILE=cpu` has the paper's 25 cells and `cpu-released` the same from the released start; `paper` and `paper-released` train ResNet-20s on CIFAR-10 and need a GPU.

# %% tags=["parameters"]
profile = "quick"  # quick | cpu | paper | custom
dataset = "digits"  # digits | cifar10
depth = 8  # 8 | 20 | 32 | ...; paper 20
width = 0.5  # multiple of 16, 32 and 64 channels; paper 1
shares = [0.0, 0.5, 1.0]  # of the pinned entries of Table 11, from 0; paper in quarters
sigmas = [0.0, 1.5, 3.0]  # standard deviations of constants; paper in steps of 0.75
n_networks = 2  # networks per cell; the paper does not say
threshold = 0.95  # training accuracy at which a network is done; paper 0.7
max_epochs = 25  # after which one that is not done is given up; paper at least 72
warmup = 7  # epochs over which the rate rises a hundredfold; paper 20
n_images = 1437  # training images; paper 45000
batch_size = 64  # images per step; paper 128
lr = 1e-2  # of Adam, after warm-up
init = "matched"  # matched | released (smaller weights where entries are pinned)
mask_seed = 0  # draws pinned entries and constants, anew for every network number
base_seed = 0  # initialisation and batch order are derived from it
workers = 1  # processes
device = "cpu"  # cpu | cuda
out = ""  # folder for the record; empty keeps nothing

# %%
from symlib.studies.training_speed import TrainingSpeed

config = TrainingSpeed.from_cell(globals())

# %% tags=["nbval-ignore-output", "remove-output"]
from symlib.studies.training_speed import run

live = run(config)

# %% [markdown]
# ## Figure 6
#
# The largest recorded run.

# %%
from symlib import claims, records
from symlib.plots import training_speed as plots
from symlib.studies.training_speed import cells, epochs_table, quantities

recorded = records.find("training_speed")
kept = claims.shown(live, recorded, fits=lambda r: r.config["init"] == init)
ours = "ResNet-{depth}, {dataset}".format(**kept.config)
ours += f", {100 * kept.config['threshold']:g} %"
title = "width {width:g}, {n_networks} networks a cell, {init} start ({profile})"
title = title.format(**kept.config)
print(f"{ours}, {title}")

# %% mystnb={"figure": {"caption": "Epochs until the threshold, mean over networks, and the paper's numbers at its own threshold. Each map has its own range of colours.", "name": "fig-training-speed"}, "image": {"alt": "Two heat maps side by side, ours and the paper's. Rows are five or fewer sizes of constants, from zero at the top, columns the number of pinned entries, and every cell has its number of epochs written in it. In the paper's the number grows from 11 in the top row and left column to 72 in the bottom right corner."}}
plots.heat_maps(cells(kept), ours, title)

# %% mystnb={"figure": {"caption": "Training accuracy at the largest number of pinned entries, one line a network. Lines end where the network is done, above the grey line.", "name": "fig-training-speed-curves"}, "image": {"alt": "Line plot of training accuracy in per cent against epochs: dashed lines for standard networks, and solid lines for networks with the most pinned entries, coloured by the size of constants."}}
plots.accuracy_curves(kept.table, kept.config["threshold"], f"{ours}, {title}")

# %% [markdown]
# ## What zeros cost, and what constants cost
#
# Means over networks with one standard deviation. Ratios are to the standard network of the same number, at the largest share of pinned entries.

# %% tags=["nbval-ignore-output"]
rows = {
    "zeros, epochs over those of standard networks": "ratio/zeros",
    "largest constants, the same": "ratio/most",
    "epochs more per unit of sigma_F, most entries pinned": "slope/sigma",
    "epochs more from none to most pinned, largest constants": "slope/share",
}
found = quantities(kept)
spread = [(w, found[q].mean(), found[q].std(ddof=1)) for w, q in rows.items()]
print("\n".join(f"{words:<57}{mean:6.2f} ± {sd:.2f}" for words, mean, sd in spread))

# %% [markdown]
# ## Figure 6 from the released start
#
# Networks with pinned entries start from smaller weights in the released code. Does the slowness come from there? The same grid from both starts, as far as it has been run at this size; standard networks are the same in both.

# %% tags=["nbval-ignore-output"]
alike = [r for r in (live, *recorded) if r.config["profile"] == kept.config["profile"]]
starts = {r.config["init"]: r for r in sorted(alike, key=claims.weight)}
print("\n\n".join(f"{name} start\n{epochs_table(r)}" for name, r in starts.items()))

# %% [markdown]
# ## The small run of this page
#
# Narrow ResNet-8s on digits, computed when the page was built.

# %%
means = cells(live).pivot(index="sigma_F", columns="share", values="at_least")
least, largest, most = config.sigmas[0], config.sigmas[-1], config.shares[-1]
standard = means.loc[least, 0.0]
checks = {
    "every network came to the threshold": not cells(live)["missed"].any(),
    "zeros cost less than a quarter": means.loc[least, most] < 1.25 * standard,
    "large constants cost half or more": means.loc[largest, most] >= 1.5 * standard,
    "and the more, the larger": means[most].is_monotonic_increasing,
    "and the more, the more there are": means.loc[largest].is_monotonic_increasing,
}
print("\n".join(f"{'yes' if holds else 'no':<5}{what}" for what, holds in checks.items()))

# %% [markdown]
# ## Verdicts on the paper's claims
#
# By the rules in `claims.toml`, which were written before any run of the larger profiles.

# %%
board = [v for v in claims.scoreboard() if v.claim.study == "training_speed"]
print(claims.scoreboard_text(board))

# %% [markdown]
# ## Where these numbers come from

# %% tags=["nbval-ignore-output"]
print(records.origin({"shown": kept, "live": live}))
