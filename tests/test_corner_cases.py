"""Mistakes that would hide in the corners of tracing, repair, merging, training and matching."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from symlib.alignment.axes import Units
from symlib.alignment.merging import align_all
from symlib.alignment.permutation import permute_members
from symlib.alignment.recording import record
from symlib.alignment.repair import reestimate, repair
from symlib.alignment.sinkhorn_matching import sinkhorn_matching
from symlib.alignment.tracing import check_function_kept, specification
from symlib.alignment.unification import Node, cut, split
from symlib.alignment.weight_matching import weight_matching
from symlib.asymmetry import Standard, constraint
from symlib.interpolation import line, mixing_weights
from symlib.networks.mlp import MLP
from symlib.population import initialise
from symlib.seeds import generator
from symlib.training import _Batches
from tests.test_repair import X, networks, outputs_of
from tests.test_tracing import Through
from tests.test_training import AUGMENTED, normalised


def test_unit_that_nearly_vanishes_halfway_is_not_blown_up():
    both = networks(2, "layer")
    both.params["norms.0.weight"][1, 3] = 2e-7 - both.params["norms.0.weight"][0, 3]
    a, b = both[:1], both[1:]
    found = repair(a, b, mixing_weights(3), X)[[1]]
    assert found.params["norms.0.weight"][0, 3] == pytest.approx(1e-7)
    halfway, *ends = (outputs_of(a.model, nn.LayerNorm, next(p.members()), X)[1] for p in (found, a, b))
    torch.testing.assert_close(halfway.std(0), (ends[0].std(0) + ends[1].std(0)) / 2)


def test_repair_weighs_passes_by_their_inputs(monkeypatch):
    monkeypatch.setattr("symlib.population.INPUTS_PER_PASS", 200)  # 200 and 100
    both = networks(2, "layer")
    a, b = both[:1], both[1:]
    found = repair(a, b, mixing_weights(3), X)[[1]]
    halfway, *ends = (outputs_of(a.model, nn.LayerNorm, next(p.members()), X)[0] for p in (found, a, b))
    torch.testing.assert_close(halfway.mean(0), (ends[0].mean(0) + ends[1].mean(0)) / 2)


def test_layer_norms_of_sequences_are_repaired_along_their_last_axis():
    model = nn.Sequential(nn.Linear(2, 12), nn.LayerNorm(12), nn.ReLU(), nn.Flatten(1), nn.Linear(48, 3)).double()
    both = initialise(model, constraint(model, Standard(), 0), range(2))
    x = X.view(300, 4, 2)  # 4 positions, so that positions and units differ in number
    found = repair(both[:1], both[1:], mixing_weights(3), x)[[1]]
    halfway, *ends = (outputs_of(model, nn.LayerNorm, m, x)[0] for p in (found, both) for m in p.members())
    torch.testing.assert_close(halfway.std((0, 1)), (ends[0].std((0, 1)) + ends[1].std((0, 1))) / 2)


def test_objective_of_merging_is_the_inner_product_with_the_mean_of_the_others():
    nets = networks(3, "layer")
    spec = specification(nets.model, X[:2])
    found = align_all(nets, spec, generator("merge"))
    aligned = permute_members(spec, found, nets, X)
    for i, alignment in enumerate(found):
        others = [j for j in range(3) if j != i]
        expected = sum(float((w[others].mean(0) * w[i]).sum()) for w in aligned.params.values())
        assert alignment.objective == pytest.approx(expected, rel=1e-9)


def test_sinkhorn_halfway_networks_normalise_by_their_batch():
    both = networks(2, "batch")
    a, b = both.members()
    y = torch.randint(4, (300,), generator=generator("y"))
    both.model.eval()
    spec = specification(both.model, X[:2])
    found = sinkhorn_matching(both.model, a, b, spec, X, y, generator("s"), steps=1)
    moved = permute_members(spec, [found], both[1:], X)
    halfway = next(line(both[:1], moved, mixing_weights(3))[[1]].members())
    both.model.train()
    loss = F.cross_entropy(functional_call(both.model, halfway, (X,)), y)
    assert found.objective == pytest.approx(-loss.item(), rel=1e-9)


def test_sinkhorn_matching_follows_from_its_generator_alone():
    both = networks(2, "layer")
    y = torch.randint(4, (300,), generator=generator("y"))
    spec = specification(both.model, X[:2])
    before = torch.random.get_rng_state()
    sinkhorn_matching(both.model, *both.members(), spec, X, y, generator("s"), steps=2)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_network_that_lacks_a_tensor_is_refused_by_name():
    model = MLP((5, 8, 4))
    whole = {name: w.detach() for name, w in model.named_parameters()}
    spec = specification(model, torch.zeros(2, 5))
    for missing in ("linears.0.bias", "norms.0.weight"):
        part = {name: w for name, w in whole.items() if name != missing}
        for pair in ((part, whole), (whole, part), (part, part)):
            with pytest.raises(ValueError, match=f"cannot align across architectures: {missing}"):
                weight_matching(*pair, spec, generator(0))


@pytest.mark.parametrize("forgotten", ["norms.0.weight", "norms.0.bias", "norms.0.running_mean", "norms.0.running_var"])
def test_fresh_norms_hide_no_mistake(forgotten):
    model, x = MLP((5, 8, 4), norm="batch"), torch.randn(3, 5, generator=generator("x"))
    spec = specification(model, x)
    part = "stats" if "running" in forgotten else "axes"
    wrong = replace(spec, **{part: getattr(spec, part) | {forgotten: (Units(8),)}})
    with pytest.raises(ValueError, match="does not keep the function"):
        check_function_kept(wrong, model, x)


def test_input_that_several_maps_share_is_seen_once():
    class Fork(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.left, self.right = nn.Linear(5, 8), nn.Linear(8, 3), nn.Linear(8, 3)

        def forward(self, x):
            h = self.first(x).relu()
            return self.left(h) * self.right(h)

    model, x = Fork(), torch.randn(7, 5, generator=generator("x"))
    assert len(record(model, dict(model.named_parameters()), specification(model, x), x)["first",]) == 1


def test_models_are_traced_as_they_are_evaluated():
    class Training(MLP):
        def forward(self, x):
            return super().forward(x.cumsum(1) if self.training else x)

    assert specification(Training((5, 8, 4)), torch.randn(2, 5)).sizes == {"linears.0": 8}


# made readings of fused maps
def test_units_that_something_reads_are_not_seen_where_they_are_made_too():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.both, self.last = nn.Linear(5, 12), nn.Linear(6, 3)

        def forward(self, x):
            read, unread = self.both(x).chunk(2, dim=1)
            return self.last(read.relu()) + unread.square().sum(1, keepdim=True)

    model, x = Half(), torch.randn(7, 5, generator=generator("x"))
    seen = record(model, dict(model.named_parameters()), specification(model, x), x)
    (read,), (unread,) = seen["both:0",], seen["both:1",]
    torch.testing.assert_close(read, model.both(x)[:, :6].relu())
    torch.testing.assert_close(unread, model.both(x)[:, 6:])


@pytest.mark.parametrize("window", [(2, 2, 0), (3, 1, 1)])
def test_windows_over_units_keep_them_in_order(window):
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.pooled, self.free = nn.Linear(5, 12), nn.Linear(5, 7)
            self.first, self.second = nn.LazyLinear(3), nn.Linear(7, 3)

        def forward(self, x):
            units = F.max_pool1d(self.pooled(x)[:, None], *window)[:, 0]
            return self.first(units) + self.second(self.free(x).relu())

    model, x = Pooled(), torch.randn(2, 5)
    model(x)
    assert specification(model, x).sizes == {"free": 7}


def test_causal_attention_keeps_learned_tokens_in_order():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.value, self.out = nn.Parameter(torch.randn(1, 6, 8)), nn.Linear(8, 9), nn.Linear(9, 3)

        def forward(self, x):
            h = F.scaled_dot_product_attention(self.tokens, self.tokens, self.value(self.tokens), is_causal=True)
            return x.mean() + self.out(h.mean(1))

    axes = specification(Tokens(), torch.randn(2, 5)).axes
    assert axes["tokens"][1] == Units(6)


def test_every_other_unit_is_a_choice_by_place():
    with pytest.raises(ValueError, match="no unit of Through can be reordered"):
        specification(Through(lambda h: torch.cat([h[:, ::2], h[:, 1::2]], 1)), torch.randn(2, 5))


@pytest.mark.parametrize("unbiased", [True, False])
def test_spread_over_everything_leaves_units_free(unbiased):
    assert specification(Through(lambda h: h / h.var(unbiased=unbiased)), torch.randn(2, 5)).sizes == {"first": 8}


def test_rows_of_an_embedding_have_an_order():
    model = nn.Sequential(nn.Embedding(11, 8), nn.ReLU(), nn.Linear(8, 3))
    assert specification(model, torch.arange(4)).axes["0.weight"] == (Units(11), Units(8, "0"))


def test_learned_values_stay_in_the_order_of_the_keys():
    class Memory(nn.Module):
        def __init__(self):
            super().__init__()
            self.values, self.out = nn.Parameter(torch.randn(1, 6, 8)), nn.Linear(8, 3)

        def forward(self, x):
            return self.out(F.scaled_dot_product_attention(x, x, self.values.expand(len(x), -1, -1)).mean(1))

    assert specification(Memory(), torch.randn(2, 6, 4)).axes["values"] == (Units(1), Units(6), Units(8, "values"))


def test_module_that_runs_twice_is_not_repaired_wrongly():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.square, self.last = nn.Linear(8, 12), nn.Linear(12, 12), nn.Linear(12, 4)

        def forward(self, x):
            h = self.first(x).relu()
            return self.last(self.square(self.square(h).relu()).relu())

    model = Twice().double()
    both = initialise(model, constraint(model, Standard(), 0), range(2))
    with pytest.raises(ValueError, match="square runs more than once"):
        repair(both[:1], both[1:], mixing_weights(3), X)


def test_norm_that_never_runs_is_named():
    model = MLP((8, 12, 12, 4)).double()
    model.spare = nn.LayerNorm(12).double()
    both = initialise(model, constraint(model, Standard(), 0), range(2))
    with pytest.raises(ValueError, match="spare does not run"):
        repair(both[:1], both[1:], mixing_weights(3), X)


def test_last_pass_of_one_input_is_estimated_with_the_pass_before(monkeypatch):
    monkeypatch.setattr("symlib.population.INPUTS_PER_PASS", 299)  # 299 and 1
    population = networks(1)
    found = reestimate(population, X)
    assert population.model.norms[0].momentum == 0.1 and all(s.isfinite().all() for s in found.stats.values())


def test_momentum_survives_a_failure():
    population = networks(1)
    with pytest.raises(ValueError):
        reestimate(population, X[:, :3])
    assert population.model.norms[0].momentum == 0.1


def test_pins_hold_whatever_the_layout_in_memory():
    from symlib.asymmetry import WAsymmetry
    from symlib.training import Recipe, train

    model = MLP((8, 12, 12, 4)).double()
    fixed = constraint(model, WAsymmetry(2, 1.0), 0).to(X)
    start = initialise(model, fixed, range(2))
    start = start.holding({n: w.mT.contiguous().mT if w.dim() == 3 else w for n, w in start.tensors.items()})
    found, _ = train(start, X, torch.zeros(300, dtype=torch.int64), Recipe(1, 100, 1e-2, 0.1), [0, 1])
    for name, (index, value) in fixed.pinned.items():
        assert (found.params[name].flatten(1)[:, index] == value).all()


def test_checkpoint_of_a_start_with_other_statistics_is_refused(tmp_path):
    from symlib.training import Recipe, train

    start, y = networks(1), torch.zeros(300, dtype=torch.int64)
    train(start, X, y, Recipe(1, 100, 1e-3, 0.0), [0], tmp_path / "c")
    other = start.holding({n: w + 1 if n.endswith("running_mean") else w for n, w in start.tensors.items()})
    with pytest.raises(ValueError, match="run with other settings or seeds"):
        train(other, X, y, Recipe(1, 100, 1e-3, 0.0), [0], tmp_path / "c")


def test_randomness_inside_a_network_is_refused(monkeypatch):
    monkeypatch.setattr("symlib.training.batched_pays", lambda *_: False)
    from symlib.training import Recipe, train

    class Noisy(MLP):
        def forward(self, x):
            return super().forward(F.dropout(x, 0.5, self.training))

    model = Noisy((8, 12, 4)).double()
    start = initialise(model, constraint(model, Standard(), 0), [0])
    with pytest.raises((ValueError, RuntimeError)):
        train(start, X, torch.zeros(300, dtype=torch.int64), Recipe(1, 100, 1e-3, 0.0), [0])


def test_every_batch_is_moved_by_decisions_of_its_own():
    _, x, y, recipe = normalised("resnet8")
    batches = _Batches(x, y, replace(recipe, augmentation=AUGMENTED), [3], epoch=1, noise_size=0)
    order = torch.randperm(24, generator=generator(3, "order", 1))
    decisions = AUGMENTED.draw(24, (8, 8), generator(3, "augment", 1))
    seen = torch.cat([inputs for inputs, _ in batches.of(0)])
    torch.testing.assert_close(seen, AUGMENTED(x[order], decisions))


def test_parts_of_a_pinned_axis_are_pinned():
    for take_apart in (lambda node: split(node, 3), lambda node: cut(node, (5, 12))):
        node = Node(12)
        node.pin()
        assert all(part.pinned for part in take_apart(node))


def test_pieces_counted_from_the_end_are_the_right_ones():
    assert specification(Through(lambda h: torch.cat([h[:, -3:], h[:, :-3]], 1)), torch.randn(2, 5)).sizes == {
        "first:0": 5,
        "first:1": 3,
    }


def test_moving_a_population_leaves_the_model_of_the_original():
    start = networks(1)
    moved = start.to("meta")
    assert moved.model is not start.model and next(moved.model.parameters()).is_meta
    assert not next(start.model.parameters()).is_meta
