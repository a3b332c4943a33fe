# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Networks that look at networks
#
# **Claim.** A metanetwork takes the weights of a trained classifier and predicts its test accuracy. Every metanetwork of {cite:p}`lim2024` does this better for W-asymmetric ResNets than for standard ones, and the simplest, an MLP on the flattened weights, works for W-asymmetric ResNets *only* (section 5.3, Table 3). Standard ResNets with
# as few parameters do not close the gap (Table 6).
#
# The classifiers are those of [the populations](classifier_population.ipynb). Half of them are for training a metanetwork, a quarter for choosing its learning rate and its best epoch, a quarter for testing; then it is trained anew from several seeds. Inputs are raw trainable entries; pinned ones are not shown.
#
# | metanetwork | sees | knows the order of neurons does not matter |
# |---|---|---|
# | MLP | one vector of all entries | no |
# | DMC | the same, by convolutions along it | no |
# | DeepSets | the set of all entries, without their place | yes, and forgets where entries stand |
# | StatNN | seven statistics of every tensor | yes, and forgets where entries of a tensor stand |
# | channel graph | all entries; messages between channels along the maps | yes; not in the paper |
#
# ## What else could explain it
#
# $R^2$ compares errors with how widely accuracies are spread, and W-asymmetric networks are spread more widely. So beside the paper's rows there are four controls:
#
# - what can be said **without any weights**: the mean accuracy, and a quadratic regression on the four training hyper-parameters. A metanetwork that scores lower may have found nothing in the weights that hyper-parameters do not tell, and a kind of networks may be easier to predict because its accuracies follow them more closely;
# - **matched** populations: as many standard as W-asymmetric networks in every bin of accuracy two points wide. They are smaller, so beside them stand populations *thinned* at random to the same number;
# - standard networks that were **lined up**, each matched to the first by its weights. If the order of neurons is what confuses the MLP, lining up should help it;
# - W-asymmetric networks with an **open stem**, since the paper pins the whole first layer.

# %% [markdown]
# ## Parameters
#
# The defaults train a small population first and finish on a laptop. `networks` names the folder of a larger one.

# %% tags=["parameters"]
profile = "quick"  # quick | cpu | paper | custom
networks = ""  # folder of a population; empty trains a small one
cases = ["standard", "w-asym"]  # classifiers that are looked at
metanetworks = ["MLP", "StatNN", "channel graph"]  # see above
rates = [1e-2]  # learning rates to choose from; paper six
epochs = 12  # passes over the classifiers for training; paper 50
batch_size = 16  # classifiers per step; paper 128
weight_decay = 0.01  # of AdamW
n_runs = 2  # of every metanetwork at its best rate; paper 5
base_seed = 0  # split, initialisation and order are derived from it
workers = 1  # processes
device = "cpu"  # cpu | cuda
out = ""  # folder for the record; empty keeps nothing

# %%
from symlib.studies.metanetworks import Metanetworks

config = Metanetworks.from_cell(globals())

# %% tags=["nbval-ignore-output", "remove-output"]
from symlib.studies.metanetworks import run

live = run(config)

# %% [markdown]
# ## Table 3 and Table 6
#
# The largest recorded run. All runs of a metanetwork look at the same classifiers, split once; they differ in their initial weights and the order of batches. So standard deviations and p-values, of verdicts too, speak of training metanetworks, not of other populations of classifiers.

# %%
from symlib import claims, records
from symlib.plots import metanetworks as plots

kept = claims.shown(live, records.find("metanetworks"))
data = kept.about["population"]["config"]
title = "{dataset}, {side} x {side} pixels, ResNet-8, width {width:g}, ".format(**data)
title += f"{data['n_networks']} networks a kind ({kept.config['profile']})"
print(title)

# %% mystnb={"figure": {"caption": "How well accuracies are predicted: one symbol a run, on classifiers that nothing was trained or chosen on. Values below -0.1 stand at the left edge.", "name": "fig-metanetwork-scores"}, "image": {"alt": "Two dot plots side by side, the coefficient of determination and Kendall's rank correlation, one row for each metanetwork, symbols and colours for the kinds of classifiers."}}
shown = [c for c in ("standard", "smaller", "w-asym") if c in kept.config["cases"]]
plots.score_dots(kept.table, shown, title)

# %% [markdown]
# $R^2$, mean and standard deviation over runs, and below it what the paper prints for its populations of 10,000:

# %% tags=["nbval-ignore-output"]
from symlib.studies.metanetworks import PRINTED

board = [v for v in claims.scoreboard() if v.claim.study == "metanetworks"]
rows = kept.table[kept.table["case"].isin(shown)]
plots.score_table(rows, "r2", PRINTED["r2"] | claims.printed(board, "r2"))

# %% [markdown]
# Kendall's $\tau$:

# %% tags=["nbval-ignore-output"]
plots.score_table(rows, "tau", PRINTED["tau"] | claims.printed(board, "tau"))

# %% [markdown]
# ## What explains it
#
# The lead of W-asymmetric over standard networks counts as 1; the tables say what is left of it once an explanation is taken away, by standard networks that were lined up, that are smaller, whose accuracies were matched, or with a stem that is not pinned. What is left with matched populations is a part of the lead that thinned ones have. By a rule that was written
# before the runs, an explanation accounts for the lead if *little* is left, less than half, and does not if *most* is left (one-sided t-tests over training runs, p below .05). The two tables have forty cells, each tested both ways, so about four would get a verdict by chance. Networks are lined up by matching weights, which finds a good order and not the best one: of the
# order of neurons only *little* is informative, and only of the MLP and DMC, since the others cannot see it.

# %% tags=["nbval-ignore-output"]
from symlib.studies.metanetworks import explained

found = explained(kept.table)
print("R²: what is left of the lead" if len(found) else "no controls in this run")
plots.lead_table(found[found["score"] == "r2"], "metanetwork", "explanation")

# %% tags=["nbval-ignore-output"]
print("Kendall's τ: what is left of the lead" if len(found) else "no controls in this run")
plots.lead_table(found[found["score"] == "tau"], "metanetwork", "explanation")

# %% [markdown]
# The scores behind them, $R^2$ and Kendall's $\tau$:

# %% tags=["nbval-ignore-output"]
controls = kept.table[~kept.table["case"].isin(shown)]
plots.score_table(controls, "r2", {}) if len(controls) else "no controls in this run"

# %% tags=["nbval-ignore-output"]
plots.score_table(controls, "tau", {}) if len(controls) else "no controls in this run"

# %% [markdown]
# Which rate was chosen, and at which epoch the runs were best (`n_networks` are all classifiers of the case). The paper's Table 14 has $10^{-4}$ for MLPs on either kind (the script for standard networks has $10^{-2}$), $10^{-3}$ and $5 \cdot 10^{-3}$ for DMC on standard and W-asymmetric networks, $10^{-2}$ and $5 \cdot 10^{-3}$ for DeepSets, and $10^{-3}$ and $10^{-2}$ for StatNN.

# %% tags=["nbval-ignore-output"]
chosen = kept.table.dropna(subset=["rate"]).groupby(["metanetwork", "case"], sort=False)
rates = chosen.agg({"rate": "first", "epoch": "mean", "n_networks": "first"})
rates.assign(rate=rates["rate"].map("{:g}".format), epoch=rates["epoch"].round(1))

# %% [markdown]
# ## The small run of this page

# %%
means = live.table.groupby(["metanetwork", "case"])[["r2", "tau"]].mean()
checks = {
    "a constant explains nothing": means.loc[("constant", "standard"), "r2"] < 0.2,
    "StatNN ranks standard networks": means.loc[("StatNN", "standard"), "tau"] > 0.3,
}
print("\n".join(f"{'yes' if holds else 'no':<5}{what}" for what, holds in checks.items()))

# %% [markdown]
# ## Verdicts on the paper's claims
#
# By the rules in `claims.toml`.

# %%
print(claims.scoreboard_text(board))

# %% [markdown]
# ## Where these numbers come from

# %% tags=["nbval-ignore-output"]
print(records.origin({"shown": kept, "live": live}))
