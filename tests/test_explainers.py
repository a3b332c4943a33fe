import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from symlib.data.images import load
from symlib.interpolation import curves, line, mixing_weights
from symlib.plots import explainers as plots
from symlib.plots.interactive import AT_MOST, KINDS, embedded
from symlib.population import logits
from symlib.studies import explainers
from symlib.studies.explainers import Explainers, run

STATIC = Path(__file__).parents[1] / "book/_static"
SMALL = {
    "profile": "custom",
    "n_neurons": 6,
    "layer_epochs": 1,
    "width": 64,
    "epochs": 1,
    "n_points": 5,
    "n_digits": 2,
    "scales": [0.0, 0.5, 1.0],
    "mask_seed": 0,
    "base_seed": 0,
    "out": "",
}
CONFIG = Explainers.checked(SMALL)


@pytest.fixture(scope="module")
def record():
    return run(CONFIG)


def payload(html):
    return json.loads(re.fullmatch(r"<section [^>]*><script [^>]*>(.*)</script></section>", html)[1])


def test_shown_swap_costs_are_those_of_the_shown_costs(record):
    for network in record.about["swaps"]["networks"]:
        c, own = np.array(network["cost"]), np.diag(network["cost"])
        exchanged = c + c.T - own[:, None] - own
        roots = np.sign(exchanged) * np.sqrt(np.abs(exchanged))
        np.testing.assert_allclose(np.array(network["swap"]) ** 2, roots**2, atol=4e-3, rtol=4e-3)


def test_standard_neurons_exchange_for_nothing_and_constants_cost_most(record):
    standard, zeros, constants = (np.array(n["swap"]) for n in record.about["swaps"]["networks"])
    assert not standard.any()
    assert np.median(constants) > 2 * np.median(zeros)
    i, j = record.about["swaps"]["pair"]
    assert constants[i, j] == constants.max() > 0


def test_pinned_weights_are_the_constants_of_every_draw(record):
    other = explainers.swaps(Explainers.checked(SMALL | {"base_seed": 1}), load("digits"))
    for mine, theirs in zip(record.about["swaps"]["networks"], other["networks"], strict=True):
        assert mine["pinned"] == theirs["pinned"]
        for one, two, pinned in zip(mine["weights"], theirs["weights"], mine["pinned"], strict=True):
            same = np.equal(one, two)
            assert same[pinned].all() and not same.all()


def test_line_holds_what_the_mixed_networks_answer(record):
    data, lambdas = load("digits"), mixing_weights(5)
    for method, (a, b) in zip(record.about["line"]["methods"], explainers._pairs(CONFIG, data).values(), strict=True):
        scores = curves(a, b, lambdas, data.test.x, data.test.y)
        np.testing.assert_allclose(method["loss"], scores.loss[0], atol=1e-4)
        answers = logits(line(a, b, lambdas[3:4]), data.test.x[1:2])[0, 0].softmax(0)
        np.testing.assert_allclose(method["probability"][1][3], 100 * answers, atol=0.51)
    assert record.about["line"]["labels"] == data.test.y[:2].tolist()


def test_matched_units_keep_the_second_network(record):
    standard, matched, _ = record.about["line"]["methods"]
    assert standard["loss"][-1] == pytest.approx(matched["loss"][-1], abs=2e-4)
    assert standard["loss"][2] != matched["loss"][2]


def test_toy_costs_follow_from_what_the_picture_shows(record):
    toy = record.about["scale"]
    centre, (a, b, c), learnt = np.array(toy["centre"]), np.array(toy["S"]).T, np.array(toy["learnt"])
    inverse = np.linalg.inv(np.stack([np.stack([a, b], -1), np.stack([b, c], -1)], -2))
    for scale, shown in zip(toy["scales"], toy["swap"], strict=True):
        away = scale * centre + learnt[0] - scale * centre[:, None]
        cost = np.einsum("ija,iab,ijb->ij", away, inverse, away)
        exchanged = cost + cost.T - np.diag(cost)[:, None] - np.diag(cost)
        np.testing.assert_allclose(np.sign(shown) * np.square(shown), exchanged, atol=0.02, rtol=0.02)
    assert toy["matched"][-1] == len(centre) > toy["matched"][0]


def test_a_run_is_repeated_exactly(record):
    again = run(CONFIG)
    assert all(again.about[kind] == record.about[kind] for kind in KINDS)
    assert again.table.equals(record.table)


def test_page_holds_the_data_as_json_that_cannot_end_its_element(record):
    for kind in KINDS:
        html = embedded(kind, record.about[kind], "fig")
        assert len(html) < AT_MOST and html.count("<") == 4
        assert (
            payload(html).items()
            >= {k: v for k, v in record.about[kind].items() if k not in ("networks", "methods")}.items()
        )
    labels = [n["label"] for n in payload(embedded("swaps", record.about["swaps"], "fig"))["networks"]]
    assert labels == ["standard", "W-asymmetric, σ_F = 0", "W-asymmetric, σ_F = 1"]
    hostile = embedded("scale", {"centre": "</script>"}, "fig")
    assert hostile.count("<") == 4 and payload(hostile) == {"centre": "</script>"}


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("swap", {}, "unknown explainer 'swap': expected one of swaps, line, scale"),
        ("scale", {"S": [0.25] * 40_000}, "take 200007 characters, a page carries at most 150000"),
        ("scale", {"S": [float("inf")]}, "not JSON compliant"),
    ],
)
def test_what_a_page_cannot_hold_is_refused(kind, data, message):
    with pytest.raises(ValueError, match=message):
        embedded(kind, data, "fig")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_points": 4}, "n_points must be odd"),
        ({"scales": [0.5, 0.5]}, "must rise, got"),
        ({"scales": [1.0]}, "scales"),
        ({"n_neurons": 100}, "n_neurons: .* got 100"),
        ({"n_digits": 0}, "n_digits"),
    ],
)
def test_bad_parameters_are_refused_before_any_work(change, message):
    with pytest.raises(ValueError, match=message):
        Explainers.checked(SMALL | change)


def test_still_figures_draw_the_same_numbers(record):
    heat = plots.swap_panels(record.about["swaps"]).axes[2].images[0].get_array()
    np.testing.assert_array_equal(heat, record.about["swaps"]["networks"][2]["swap"])
    loss = plots.line_panels(record.about["line"]).axes[0].lines[0].get_ydata()
    np.testing.assert_array_equal(loss, record.about["line"]["methods"][0]["loss"])
    costs = plots.scale_panels(record.about["scale"]).axes[5].images[0].get_array()
    np.testing.assert_array_equal(costs, record.about["scale"]["swap"][2])


def test_outlines_cost_one(record):
    toy = record.about["scale"]
    for outline, centre, (a, b, c) in zip(plots._outlines(toy, 1.0), toy["centre"], toy["S"], strict=True):
        away = outline - np.array(centre)[:, None]
        np.testing.assert_allclose((away * np.linalg.solve([[a, b], [b, c]], away)).sum(0), 1)


def test_script_and_style_ask_for_nothing_outside():
    for name in ("explainers.js", "explainers.css"):
        text = (STATIC / name).read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|fetch\(|import |@import|url\(", text)
        assert len(text.splitlines()) < 500


def test_numbers_are_short_and_never_minus_zero():
    assert str(explainers.rounded(torch.tensor([-0.001, 1.2345]), 2)) == "[0.0, 1.23]"
