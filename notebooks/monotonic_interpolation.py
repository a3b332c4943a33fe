# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From initial to trained weights
#
# **Claim.** Walk in a straight line from where a network started to where training took it. Along this line the training loss of W-asymmetric ResNets falls all the way, and the curves are more convex; those of standard networks often rise first. σ-asymmetric networks lie in between
# {cite:p}`lim2024`, section 5.4, Table 4 and Figure 5.
#
# The networks are those of [the populations](classifier_population.ipynb), each with hyper-parameters of its own, and two kinds that the paper does not have: *syre* {cite:p}`ziyin2025`, and *anchors*, which start like W-asymmetric networks and may move every entry. The loss is
# that of training, smoothed labels included. It is taken on images without augmentation; the paper's code takes it on augmented ones drawn anew for every point, which puts noise on curves whose smallest rise is to be judged.
#
# Two things need care in reading such measures, and the table below has a column for each. A W-asymmetric network starts from a *higher* loss, so its chord is steeper and lies above more of the curve; scaling every curve from 1 to 0 takes the height out of $\Delta$. The same holds of a curve that falls throughout: its $\Delta$ is minus its smallest step, so where standard curves are monotonic already, only the scaled $\Delta$ and convexity can tell kinds apart. And the released code compares a curve
# not with the chord of its ends but with the line through its first two points, which nearly every curve stays below.

# %% [markdown]
# ## Parameters
#
# The defaults train a small population first and finish on a laptop. `networks` names the folder of a larger one.

# %% tags=["parameters"]
profile = "quick"  # quick | cpu | paper | custom
networks = ""  # folder of a population; empty trains a small one
kinds = ["standard", "sigma", "w-asym", "syre", "anchor"]  # of networks, standard among them
n_networks = 24  # of each kind, the first ones; paper 300
n_points = 25  # points on the line
n_images = 300  # training images that the loss is taken on; paper all
chunk = 12  # networks whose points are evaluated in one call
workers = 1  # processes
device = "cpu"  # cpu | cuda
out = ""  # folder for the record; empty keeps nothing

# %%
from symlib.studies.monotonic_interpolation import MonotonicInterpolation

config = MonotonicInterpolation.from_cell(globals())

# %% tags=["nbval-ignore-output", "remove-output"]
from symlib.studies.monotonic_interpolation import run

live = run(config)

# %% [markdown]
# ## Curves
#
# The largest recorded run; of every kind the twenty networks with the lowest loss after training.

# %%
from symlib import claims, records
from symlib.plots import metanetworks as plots
from symlib.studies.monotonic_interpolation import best_curves, compared, summed_up

kept = claims.shown(live, records.find("monotonic_interpolation"))
data = kept.about["population"]["config"]
title = "{dataset}, {side} x {side} pixels, ResNet-8, width {width:g}".format(**data)
title += ", {n_networks} networks a kind ({profile})".format(**kept.config)
print(title)

# %% mystnb={"figure": {"caption": "Training loss on the straight line from initial to trained weights, one line a network. Each panel has its own scale.", "name": "fig-monotonic-curves"}, "image": {"alt": "Panels of training loss in nats against the position between initial and trained weights, one panel for each kind of network, with twenty thin curves each."}}
plots.curve_panels(*best_curves(kept, 20), title)

# %% [markdown]
# ## Table 4
#
# $\Delta$ is the largest rise between neighbouring points: a curve is monotonic if it is not above 0. Local convexity is the share of interior points with a second difference of 0 or more, global convexity the share on or below the chord. p-values are two-sided and compare with standard networks: Welch's test, and
# Fisher's for the share of monotonic curves. Networks that diverged are left out, as in the paper, which has 300 of each kind.

# %% tags=["nbval-ignore-output"]
from symlib.studies.monotonic_interpolation import PRINTED

board = [v for v in claims.scoreboard() if v.claim.study == "monotonic_interpolation"]
paper = {measure: PRINTED[measure] | claims.printed(board, measure) for measure in PRINTED}
plots.interpolation_table(summed_up(kept), compared(summed_up(kept)), paper)

# %% tags=["nbval-ignore-output"]
judged = summed_up(kept).groupby("kind", sort=False).size()
lost = {kind: kept.config["n_networks"] - int(n) for kind, n in judged.items()}
print("diverged: " + ", ".join(f"{kind} {n}" for kind, n in lost.items()))

# %% [markdown]
# ## Does it take asymmetry?
#
# Anchors start from the same weights as W-asymmetric networks, so from the same loss, and have every symmetry. Networks of one number share their hyper-parameters, so kinds can be compared network by network: the lead of W-asymmetric over standard networks counts as 1, and the table says how much of it the others have. By a rule that was
# written before the runs, that is *most* of it if more than half, *little* if less (one-sided t-tests, p below .05). *Reversed* says that the lead lies the other way.

# %% tags=["nbval-ignore-output"]
from symlib.studies.monotonic_interpolation import led

plots.lead_table(led(summed_up(kept)), "measure", "kind")

# %% [markdown]
# ## The small run of this page

# %%
means = summed_up(live).groupby("kind")[["delta", "global"]].mean()
ours, usual = means.loc["w-asym"], means.loc["standard"]
checks = {
    "W-asymmetric curves rise less than standard ones": ours["delta"] < usual["delta"],
    "and more of them lies below the chord": ours["global"] >= usual["global"],
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
