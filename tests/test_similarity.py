from dataclasses import replace

import pytest
import torch

from symlib.alignment.tracing import specification
from symlib.asymmetry import FixedBiases, constraint
from symlib.networks.mlp import MLP
from symlib.population import initialise, logits
from symlib.seeds import generator
from symlib.similarity import answer_agreement, distances, sign_agreement, trainable, update_cosines
from symlib.training import Recipe, train

KINDS = ("standard", "w-asym", "syre")


def moved(population, key, scale=0.1):
    """Return the population after a random step of every trainable entry."""
    source = generator("step", key)
    steps = {n: scale * torch.randn(w.shape, generator=source, dtype=w.dtype) for n, w in population.params.items()}
    D = population.constraint.D
    return replace(population, params={n: w + D.get(n, 1) * steps[n] for n, w in population.params.items()})


@pytest.mark.parametrize("kind", KINDS)
def test_update_cosines_equal_a_loop_over_trainable_entries(tiny, kind):
    before = tiny(kind, init_seeds=(0, 1, 2))
    after = moved(before, kind)
    found = update_cosines(before, after)
    for a in range(3):
        for b in range(3):
            dots = {}
            for name in before.params:
                step_a, step_b = ((after.params[name] - before.params[name])[i].flatten().tolist() for i in (a, b))
                mask = before.constraint.D.get(name, torch.ones(len(step_a), dtype=torch.bool)).flatten().tolist()
                kept = [(p, q) for p, q, m in zip(step_a, step_b, mask, strict=True) if m]
                dots[name] = torch.tensor([[p * q, p * p, q * q] for p, q in kept]).double().sum(0)
                assert found[name][a, b] == pytest.approx((dots[name][0] / (dots[name][1:].prod()).sqrt()).item())
            whole = sum(dots.values())
            assert found["all"][a, b] == pytest.approx((whole[0] / whole[1:].prod().sqrt()).item())


def test_pinned_entries_count_for_nothing_even_if_a_snapshot_holds_others(tiny):
    """What the raw weights of the released code do: entries that the network never uses shrink in every run."""
    before = tiny("w-asym", init_seeds=(0, 1))
    after = moved(before, "decay")
    D = before.constraint.D
    decayed = replace(
        after, params={n: torch.where(D[n], w, 0.4 * w) if n in D else w for n, w in after.params.items()}
    )
    honest, found = update_cosines(before, after), update_cosines(before, decayed)
    for name, cosines in honest.items():
        torch.testing.assert_close(found[name], cosines)
    raw = torch.cat([(decayed.params[n] - before.params[n]).flatten(1) for n in before.params], dim=1)
    assert torch.nn.functional.cosine_similarity(raw[0], raw[1], dim=0) > honest["all"][0, 1] + 0.2
    torch.testing.assert_close(distances(decayed), distances(after))


def test_tensors_that_are_pinned_as_wholes_have_no_update():
    model = MLP((8, 16, 4))
    start = initialise(model, constraint(model, FixedBiases(1.0), 0), [0, 1])
    assert set(update_cosines(start, start)) == start.params.keys() - {"norms.0.bias"} | {"all"}


def test_opposite_equal_and_missing_steps(tiny):
    start = tiny("standard", init_seeds=(0, 0, 0, 0))
    step = torch.tensor([1.0, 2.0, -0.5, 0.0]).double()
    after = replace(start, params={n: w + step.view(-1, *[1] * (w.dim() - 1)) for n, w in start.params.items()})
    expected = torch.tensor([[1, 1, -1, 0], [1, 1, -1, 0], [-1, -1, 1, 0], [0, 0, 0, 0]]).double()
    for cosines in update_cosines(start, after).values():
        torch.testing.assert_close(cosines, expected)


def test_distances_are_per_trainable_entry(tiny):
    population = tiny("w-asym", init_seeds=(0, 1))
    rows = [torch.cat([w[i] for w in trainable(population).values()]) for i in (0, 1)]
    n_pinned = (2 + 4) * 16 + 8 * 4
    assert len(rows[0]) == sum(w[0].numel() for w in population.params.values()) - n_pinned
    found = distances(population)
    assert found[0, 1] == found[1, 0] == pytest.approx((rows[0] - rows[1]).norm().item() / len(rows[0]) ** 0.5)
    assert found.diagonal().tolist() == [0, 0]


def test_answer_agreement_is_the_share_of_equal_answers(tiny, blobs):
    population = tiny("standard", init_seeds=range(4))
    answers = logits(population, blobs[0]).argmax(-1).tolist()
    found = answer_agreement(population, blobs[0])
    for a in range(4):
        for b in range(4):
            assert found[a, b] == pytest.approx(sum(p == q for p, q in zip(answers[a], answers[b], strict=True)) / 200)
    assert 0 < found[0, 1] < 1


def test_trained_networks_agree_more_than_untrained_ones(tiny, blobs):
    start = tiny("standard", init_seeds=(0, 1))
    end, _ = train(start, *blobs, Recipe(5, 20, 1e-2, 0.0), [0, 1])
    assert answer_agreement(end, blobs[0])[0, 1] > answer_agreement(start, blobs[0])[0, 1] + 0.3


def test_sign_agreement_equals_that_of_hand_written_activations(tiny, blobs):
    population, x = tiny("syre", init_seeds=(0, 1)), blobs[0]
    signs = []
    for p in population.members():
        hidden, positive = x, []
        for layer in (0, 1):
            z = hidden @ p[f"linears.{layer}.weight"].T + p[f"linears.{layer}.bias"]
            z = (z - z.mean(1, keepdim=True)) / (z.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
            hidden = torch.nn.functional.gelu(z)
            positive.append(z > 0)
        signs.append(torch.stack(positive))
    found = sign_agreement(population, specification(population.model, x[:2]), x)
    assert found[0, 1] == pytest.approx((signs[0] == signs[1]).double().mean().item())
    assert found.diagonal().tolist() == [1, 1]


def test_what_is_no_pair_of_snapshots_is_refused(tiny, blobs):
    population = tiny("w-asym", init_seeds=(0, 1))
    with pytest.raises(ValueError, match="got 2 before and 1 after"):
        update_cosines(population, population[:1])
    with pytest.raises(ValueError, match=r"share their fixed entries \(D, F\)"):
        update_cosines(population, tiny("w-asym", init_seeds=(0, 1), mask_seed=1))
    with pytest.raises(ValueError, match="have the same tensors"):
        update_cosines(tiny("standard"), tiny("standard", widths=(8, 12, 4)))
    with pytest.raises(ValueError, match="at least one"):
        answer_agreement(population, blobs[0][:0])
    with pytest.raises(ValueError, match="at least one"):
        sign_agreement(population, specification(population.model, blobs[0][:2]), blobs[0][:0])
