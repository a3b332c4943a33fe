# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Neurons that can be told apart learn less
#
# Large fixed weights give every neuron a place of its own, so that networks trained apart can be averaged as they are. The same weights outweigh what training adds. A network that is sure to keep
# its neurons in place is one that keeps them close to the random functions they were drawn with. {cite:t}`buergin2026` name the trade; this page asks what is exact about it and measures the rest.
#
# ```{prf:proposition} Trade-off (Bürgin et al., as a tendency; the inequalities are ours)
# :label: prop-trade-off
#
# Let $s = \min_{i \ne j} \lVert v_i - v_j \rVert$ be the distance of the two closest centres of a layer, $S_i = \mu I$ for all its neurons, and let training take no neuron further from its centre than $r < s / 2$.
#
# 1. *Neurons are identified.* The gap ({prf:ref}`def-gap`) is at least $2 s (s - 2 r) / \mu$. The same holds for the functions of another network with the same constants and the same $r$: the two match by number.
# 2. *Little is learnt.* On an input $z$ of the subspace no pre-activation differs from $v_i^\top z$, that of the fixed random features, by more than $r \lVert z \rVert$.
#
# In trained networks the tendency is: as $\sigma_F$ rises, neurons of equal number match, features stay near those of the untrained network, and accuracy falls.
# ```
#
# What is assumed, for the inequalities:
#
# 1. neurons stay within half the distance of the two closest centres: $2 r < s$;
# 2. masks cannot be seen on the inputs, $S_i = \mu I$ ({prf:ref}`thm-anisotropy` says when that is nearly so);
# 3. networks that are compared share their constants.
#
# The tendency is not a theorem. Beyond $r < s / 2$ nothing above says that neurons *cannot* be identified, and nothing says how much accuracy random features lack. It is measured here.
#
# For the match by number alone, less will do: that each neuron stays inside its own *room*, half the distance from its centre to the nearest other one. Its function is then nearer to that centre than to any other. The bound on the gap needs the
# smallest room for all. The share of neurons "inside their room" below is about the former.
#
# ```{prf:proof}
# A neuron that takes over the function of another has to come from its own centre: the function is at most $r$ from its owner's centre, so at least $s - r$ from any other. That costs at least $(s - r)^2 / \mu$, where its owner
# paid at most $r^2 / \mu$. Any reordering but the identity hands over two functions or more, which makes $2 [(s - r)^2 - r^2] / \mu = 2 s (s - 2r) / \mu$. Only the centres and the functions entered, so the functions may be another network's.
# The second part is the Cauchy-Schwarz inequality.
# ```

# %% [markdown]
# ## Parameters
#
# The defaults finish on a laptop. `make run NB=trade_off PROFILE=cpu` looks at the MNIST networks that other pages trained.

# %% tags=["parameters"]
profile = "quick"  # quick | cpu | paper | custom
dataset = "digits"  # digits | mnist
network = "mlp"  # mlp
width = 64.0  # units of each hidden layer; paper 512
norm = "layer"  # layer; BatchNorm has no statistics before training
n_networks = 4  # at each point, paired off; paper 16
epochs = 12  # passes over the training set; paper 100
n_images = 1437  # training images
batch_size = 64  # images per step
lr = 3e-3  # of AdamW; paper 1e-3
weight_decay = 0.01  # decoupled; pulls trainable entries to 0, effective ones to F
sigma_F = 5.0  # scale of the constants where only few entries are pinned
sigma_sweep = [0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]  # scales of the sweep
share_sweep = [0.02, 0.05]  # of every row, where only few entries are pinned
redrawn_sweep = [1.0, 5.0]  # scales at which networks also get constants of their own
warmup = 0  # epochs over which the rate rises a hundredfold
init = "reference"  # reference | matched, of standard networks, not on this page
mask_seed = 0  # which entries are pinned, and to what
base_seed = 0  # initialisation and batch order are derived from it
n_seen = 360  # images of each split that networks are compared and tested on
n_per_class = 5  # images of each class that tangent kernels are computed on
explained = 0.9  # share of the variance that the subspace of a layer's inputs carries
networks = ""  # folder of trained networks that studies share; empty trains them here
workers = 1  # processes
device = "cpu"  # cpu | cuda
out = ""  # folder for the record; empty keeps nothing

# %%
from symlib.studies.trade_off import TradeOff

config = TradeOff.from_cell(globals())

# %% [markdown]
# ## The exact part
#
# A random layer, its 64 centres in 8 dimensions. Neurons are moved off their centres by a fraction of the distance $s$ of the two closest: all of them in random directions, or only those two, towards each other.

# %%
from symlib.effective.room import least_gap
from symlib.seeds import generator
from symlib.studies.statements.room import gaps_by_distance

fractions = (0.0, 0.1, 0.25, 0.4, 0.6, 0.75)
gaps = gaps_by_distance(fractions, 64, 8, generator(config.base_seed, "gaps"))
lines = [f"{'':7}gap / s²", "r / s  at least   scattered   towards each other"]
for _, row in gaps.iterrows():
    inside = row["fraction"] < 0.5
    bound = f"{least_gap(1.0, row['fraction']):.2f}" if inside else "-"
    values = f"{row['scattered']:>12.2f}{row['towards']:>21.2f}"
    lines.append(f"{row['fraction']:<7.2f}{bound:>8}{values}")
print("\n".join(lines))

# %% [markdown]
# The bound is sharp: two neurons that go towards each other attain it, and once they have passed half way they are exchanged. Neurons that go anywhere else are identified well beyond. So the condition is sufficient, and the more neurons a layer has
# the more cautious it is, for $s$ is the distance of the closest *two* ({prf:ref}`thm-spacing`).
#
# ## Trained networks
#
# Four things are measured at each scale $\sigma_F$, in all hidden layers.
#
# - *Identified*: the share of neurons that the best matching of activations across two networks leaves with their own number, before and after training; and the share that stay inside their room.
# - *Kept*: how much networks resemble what they were before training. Unit by unit, by correlation; layer by layer, by linear CKA of the hidden features, which does not care which unit carries what; and by CKA of the tangent kernels.
# - *Accuracy* of the network, and of the best linear read-out of its last hidden layer, for trained features and for untrained ones. The latter is what a network can do whose hidden layers stay as they were drawn. Read-outs are solved
#   by least squares, so that they say what features hold and not how far an optimiser came.
# - *Lost halfway*: by the average of two networks, without alignment.

# %% tags=["nbval-ignore-output", "remove-output"]
from symlib import claims, records
from symlib.studies.trade_off import by_network, parts, run

live = run(config)

# %%
from symlib.plots import trade_off as plots

kept = claims.shown(live, records.find("trade_off"))
title = "{dataset}, width {width:g}, {epochs} epochs ({profile})".format(**kept.config)
print("shown:", title)

# %% mystnb={"figure": {"caption": "What is identified, what is kept, and what it costs, against the scale of the pinned entries; largest recorded run. Lines: means over networks and hidden layers; small symbols: networks.", "name": "fig-trade-off-scales"}, "image": {"alt": "Four panels over sigma_F. Neurons matched by number and neurons inside their room rise from near 0 to near 100 per cent; correlation with the untrained network rises; test accuracy falls at the largest scales while the read-out of untrained features stays level below it; accuracy lost halfway falls to zero."}}
plots.by_scale(parts(kept)["scales"], title)


# %%
def table_of(rows):
    percent = ["stays_drawn", "stays", "inside", "train", "test"]
    percent += ["read_learnt", "read_drawn"]
    means = rows.groupby("intervention", sort=False).mean(numeric_only=True)
    found = (100 * means[percent]).round(1)
    found["unit_kept"] = means["unit_kept"].round(2)
    found["drop"] = means["drop"].round(1)
    return found.rename_axis(None).to_string()


print(table_of(parts(kept)["scales"]))

# %% [markdown]
# *stays_drawn, stays*: per cent matched by number before and after training; *inside*: per cent inside their room; accuracies in per cent; *unit_kept*: correlation of units with themselves before training; *drop*: points lost halfway.
#
# The larger $\sigma_F$, the less units move, and the less a read-out gains by the training of the layers below it. In between, training undoes what the constants gave: untrained networks match by number at scales where trained ones do not yet. Averages are
# easier to please, and begin to work where most neurons do not match.
#
# Learning less is not the same as failing to learn: look at the training accuracy. Where it stays at its ceiling, what is lost on test images is the price of features. Where it falls, the optimiser has not arrived either; such a network can
# be *worse* than the read-out of its own features, and only the distance between the two read-outs speaks about features.
#
# ## Live, on small data

# %% mystnb={"figure": {"caption": "The same in this page's own run: small MLPs on digits.", "name": "fig-trade-off-live"}, "image": {"alt": "The four panels for small networks on digits: matching rises between sigma_F of one half and two, units keep more of themselves, and test accuracy falls at the largest scales."}}
plots.by_scale(parts(live)["scales"], config.dataset)

# %% mystnb={"figure": {"caption": "Neurons matched by number against how far units moved in training, this page's own run. Numbers: scale of the constants, and the pinned share where it is not the paper's.", "name": "fig-trade-off-frontier"}, "image": {"alt": "One falling curve from upper left, large constants, to lower right, none. Triangles for few pinned entries lie on it. Crosses for constants that networks do not share lie at the bottom, as far left as the points of the same scale."}}
plots.frontier(parts(live), config.dataset)

# %% [markdown]
# ## When an assumption is dropped
#
# *Masks can be seen.* Two neurons whose masks differ much: the first went where its mask leaves it a hundredth of the squared stretch. Its function is close to its own centre and still dear; the other neuron has all its inputs and realises it for less. Both are within their room, and are exchanged.

# %%
from symlib.studies.statements.room import unevenly_masked_pair

moved, room, gap = unevenly_masked_pair()
lines = ["neuron   from its centre   room"]
for i, (far, limit) in enumerate(zip(moved, room, strict=True)):
    lines.append(f"{i + 1:>6}{far:>18.2f}{limit:>7.2f}")
print("\n".join([*lines, f"gap: {gap:.2f}"]))

# %% [markdown]
# The other assumptions are dropped in this page's own networks.

# %% tags=["nbval-ignore-output"]
print(table_of(by_network(live)))

# %% [markdown]
# *Neurons leave their room* (small $\sigma_F$). Centres are close together, all neurons go further than the inequality allows, and they find new roles: features change, accuracy is at its best, and equal numbers mean nothing.
#
# *Constants are not shared* (redrawn). The second network of each such pair has other masks, and other constants of the same scale. A network cannot know what another one shares with it, so each pays the same price in features and in accuracy. Nothing is
# bought with it: neurons do not match, and the average is worse than that of networks without constants. The price is one of the scale; identification is what sharing adds to it.
#
# *Only few entries are pinned* (share). With few large constants in a row there is less to tell neurons apart by, and more room to learn. The points lie on the curve of the sweep: another handle on the same trade.
#
# *The features are frozen* (stays_drawn). Untrained networks, and with them any whose hidden layers stay as they were drawn, match by number as soon as constants are large. Identification alone is no merit: it comes for free where nothing is learnt. Nor does
# little learning suffice: untrained networks without constants have not moved at all, and match as badly as chance.

# %%
from symlib.studies.trade_off import dropped

checks = {"half way passed: two neurons are exchanged": gaps["towards"].iloc[-1] < 0}
checks |= dropped(live)
answers = [f"{'yes' if holds else 'no':<5}{what}" for what, holds in checks.items()]
print("\n".join(answers))

# %% [markdown]
# ## What the statement does not say
#
# That the price is high. How much accuracy is lost depends on how good random features are for the task, on the width, and on how long is trained; between the ends there are scales that identify most neurons and cost little. It is about identification by *fixed weights*: networks that share more than constants, such as the
# first steps of their training {cite:p}`frankle2020`, may match without it. And features of a layer can turn as a whole, with every neuron far from where it started, which correlation unit by unit counts as learning and CKA does not; the two are drawn side by side for that reason. The tangent kernel need not follow: it also
# contains the scale of the weights above a layer, and on digits its CKA falls again at the largest scale.
#
# ## Verdicts
#
# That identifiability is bought with feature learning is the paper's; how it is measured here is ours. The rules were written before any of these quantities was computed on MNIST.

# %%
here = "notebooks/trade_off.ipynb"
verdicts = [v for v in claims.scoreboard() if v.claim.page == here]
print(claims.scoreboard_text(verdicts))

# %% [markdown]
# ## Where these numbers come from

# %% tags=["nbval-ignore-output"]
print(records.origin({"shown": kept, "live": live}))
