import numpy as np
import pandas as pd
import pytest
import torch
from torch.func import functional_call

from symlib.asymmetry import Standard, Syre, WAsymmetry
from symlib.networks.mlp import gelu, relu
from symlib.plots import symmetries as plots
from symlib.records import Record
from symlib.seeds import generator
from symlib.studies import remaining_symmetries as study
from symlib.studies.checks import rows_of
from symlib.studies.remaining_symmetries import (
    INTERVENTIONS,
    SYMMETRIES,
    RemainingSymmetries,
    _network,
    drawn,
    inputs,
    network_spectrum,
    quantities,
    run,
    tanh,
    verdicts,
)
from symlib.theory.symmetries import (
    VERDICTS,
    Outcome,
    flipped,
    outcome,
    penalty,
    rescaled,
    scaled_before_norm,
    shifted_before_norm,
)

CONFIG = {"profile": "custom", "n_draws": 2, "base_seed": 0, "workers": 1, "out": ""}
KEPT, COSTS, MOVES, CHANGES = VERDICTS
# By thought alone, from what each intervention fixes.
EXPECTED = {
    "order of units": (KEPT, MOVES, MOVES, CHANGES, COSTS, MOVES),
    "scale of a unit (ReLU)": (COSTS, COSTS, MOVES, CHANGES, COSTS, MOVES),
    "sign of a unit (tanh)": (KEPT, KEPT, MOVES, CHANGES, COSTS, MOVES),
    "scale before LayerNorm": (COSTS, COSTS, MOVES, COSTS, COSTS, COSTS),
    "shift before LayerNorm": (COSTS, MOVES, MOVES, COSTS, COSTS, COSTS),
}


@pytest.fixture(scope="module")
def record():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "SCALES", (0.03, 0.3))
        return run(RemainingSymmetries.checked(CONFIG))


def standard(activation=relu, norm="none", draw=0):
    model = _network(activation, norm)
    fixed, weights = drawn(model, Standard(), draw)
    return model, fixed, weights, inputs(8, draw)


def said(model, fixed, weights, x, transformation):
    return outcome(model, fixed, weights, transformation(weights, generator("act")), x).verdict


def test_the_table_is_what_one_would_think(record):
    expected = pd.DataFrame(EXPECTED, index=list(INTERVENTIONS)).T
    pd.testing.assert_frame_equal(verdicts(record).astype(str), expected.astype(str), check_dtype=False)


def test_every_transformation_moves_weights_far(record):
    for name, (activation, norm, transformation) in SYMMETRIES.items():
        if transformation:
            _, _, weights, _ = standard(activation, norm)
            after = transformation(weights, generator("act"))
            assert (after["linears.0.weight"] - weights["linears.0.weight"]).abs().max() > 0.1, name
            assert torch.equal(after["linears.2.bias"], weights["linears.2.bias"])
    tried = rows_of(record, "transformations")
    assert (tried["order of units/w-asym 0", "pinned"] > 0.1).all()
    assert (tried["order of units/sigma-asym 1", "function"] > 0.1).all()


def test_scales_of_units_are_those_of_a_loop():
    model, _, weights, x = standard()
    factors = generator("act")
    after, slow = rescaled(weights, generator("act")), {n: w.clone() for n, w in weights.items()}
    for l in (0, 1):
        for unit, u in enumerate(torch.rand(10, generator=factors, dtype=torch.float64)):
            c = 4**u / 2
            slow[f"linears.{l}.weight"][unit] *= c
            slow[f"linears.{l}.bias"][unit] *= c
            slow[f"linears.{l + 1}.weight"][:, unit] /= c
    for name, w in slow.items():
        torch.testing.assert_close(after[name], w)
    torch.testing.assert_close(functional_call(model, after, (x,)), functional_call(model, weights, (x,)))


def test_signs_always_turn_the_first_unit():
    for draw in range(20):
        _, _, weights, _ = standard(tanh)
        after = flipped(weights, generator("signs", draw))
        ratio = (after["linears.0.bias"] / weights["linears.0.bias"]).round()
        assert ratio[0] == -1 and set(ratio.tolist()) <= {-1.0, 1.0}


@pytest.mark.parametrize(
    ("activation", "transformation", "verdict"),
    [(relu, rescaled, COSTS), (gelu, rescaled, CHANGES), (tanh, flipped, KEPT), (relu, flipped, CHANGES)],
)
def test_transformations_are_symmetries_of_the_activations_they_belong_to_alone(activation, transformation, verdict):
    assert said(*standard(activation), transformation) == verdict


@pytest.mark.parametrize("transformation", [scaled_before_norm, shifted_before_norm])
def test_what_layer_norm_removes_is_seen_without_it(transformation):
    assert said(*standard(gelu, "layer"), transformation) == COSTS
    assert said(*standard(gelu, "none"), transformation) == CHANGES


def test_the_scale_before_layer_norm_is_exact_without_its_epsilon_alone():
    model, fixed, weights, x = standard(gelu, "layer")
    for layer in model.norms:
        layer.eps = 1e-5
    found = outcome(model, fixed, weights, scaled_before_norm(weights, generator("act")), x)
    assert found.verdict == CHANGES and found.function < 1e-3
    assert said(model, fixed, weights, x, shifted_before_norm) == COSTS


def test_a_shift_survives_in_a_column_without_pinned_entries():
    model = _network(gelu, "layer")
    draws = (drawn(model, WAsymmetry(2, 1.0), draw) for draw in range(20))
    fixed, weights = next(draw for draw in draws if draw[0].D["linears.1.weight"].all(dim=0).any())
    free = fixed.D["linears.1.weight"].all(dim=0)
    for columns, verdict in ((free, COSTS), (~free, MOVES)):
        after = weights | {"linears.1.weight": weights["linears.1.weight"] + columns.double()}
        assert outcome(model, fixed, weights, after, inputs(8, 0)).verdict == verdict


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [
        ((0.0, 1e-12, 0.0), KEPT),
        ((0.0, 1e-12, -0.2), COSTS),
        ((0.3, 1e-12, 0.0), MOVES),
        ((0.3, 0.5, 0.0), MOVES),
        ((0.0, 1e-3, 0.0), CHANGES),
    ],
)
def test_verdicts_by_their_rule(numbers, verdict):
    assert Outcome(*numbers).verdict == verdict


def test_penalty_is_the_squared_distance_from_the_fixed_side():
    model = _network(relu, "none")
    fixed, weights = drawn(model, Syre(1.0), 0)
    slow = sum(float((weights[n] - fixed.F[n] if n in fixed.F else weights[n]).square().sum()) for n in weights)
    assert float(penalty(fixed, weights)) == pytest.approx(slow)
    assert len(fixed.F) == 3 and slow < 0.2 * float(penalty(standard()[1], weights))


def test_order_and_signs_are_free_in_standard_networks_and_cost_decay_under_syre(record):
    tried, found = rows_of(record, "transformations"), quantities(record)
    for symmetry in ("order of units", "sign of a unit (tanh)"):
        assert tried[f"{symmetry}/standard", "decay"].abs().max() < 1e-12
        assert tried[f"{symmetry}/syre 1", "decay"].min() > 0.1
    assert min(found["slope/standard"].min(), found["slope/syre 1"].min()) > 0.01  # decay sees scalings of either


def test_the_slope_of_decay_is_that_along_scalings_of_units(record):
    widths, activation, layer_norm, asymmetry = study.NETWORKS["standard"]
    draw = study.seed(0, study.STUDY, 0)
    _, weights = drawn(study.mlp_without_biases(widths, activation, layer_norm), asymmetry, draw)
    names, directions = list(weights), []
    for l in (0, 1):
        for unit in range(10):
            move = {n: torch.zeros_like(w) for n, w in weights.items()}
            move[names[l]][unit] = weights[names[l]][unit]
            move[names[l + 1]][:, unit] = -weights[names[l + 1]][:, unit]
            directions.append(torch.cat([m.flatten() for m in move.values()]))
    basis = torch.linalg.qr(torch.stack(directions).T).Q
    gradient = 2 * torch.cat([w.flatten() for w in weights.values()])
    expected = float((basis.T @ gradient).norm() / gradient.norm())
    assert quantities(record)["slope/standard"][0] == pytest.approx(expected)


def test_quantities_are_those_of_the_table(record):
    found = quantities(record)
    assert found["nullity/standard"].tolist() == [20, 20] and found["nullity/w-asym 1"].tolist() == [0, 0]
    assert found["excess/layer norm, w-asym 1"].tolist() == found["excess/w-asym 0"].tolist() == [0, 0]
    assert (found["smallest/w-asym/0.03"] < found["smallest/w-asym/0.3"]).all()
    for symmetry, row in EXPECTED.items():
        for intervention, verdict in zip(INTERVENTIONS, row, strict=True):
            assert found[f"kept/{symmetry}/{intervention}"].tolist() == [{KEPT: 2, COSTS: 1}.get(verdict, 0)] * 2


def test_draws_that_disagree_are_an_error(record):
    table = record.table.copy()
    cell = (table["variant"] == "order of units/standard") & (table["what"] == "function") & (table["draw"] == 1)
    table.loc[cell, "value"] = 0.5
    with pytest.raises(ValueError, match="draws disagree about order of units under standard"):
        verdicts(Record(table, record.about))


def test_draws_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "CHECKS", {"decay": study.decay})
    record = run(RemainingSymmetries.checked(CONFIG | {"out": str(tmp_path)}))
    assert (tmp_path / "shards/draw-001/record.json").exists() and (tmp_path / "record/table.csv").exists()
    assert record.table["value"].nunique() == 4


@pytest.mark.parametrize(("change", "message"), [({"n_draws": 1}, "n_draws"), ({"draws": 3}, "did you mean 'n_draws'")])
def test_bad_parameters_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        RemainingSymmetries.checked(CONFIG | change)


def test_figures_draw_what_was_found(record):
    table = verdicts(record)
    axes = plots.table_of_verdicts(table, VERDICTS, "").axes[0]
    words = [text.get_text().replace("\n", " ") for text in axes.texts]
    assert words == table.to_numpy().flatten().tolist()
    shades = axes.images[0].get_array()
    assert shades[0].tolist() == [VERDICTS.index(v) for v in EXPECTED["order of units"]]
    values = {name: network_spectrum(name, 0)[0].numpy() for name in ("standard", "w-asym 1")}
    lines = plots.spectra(values, "").axes[0].lines
    np.testing.assert_array_equal(lines[1].get_ydata(), values["w-asym 1"][-40:])
    assert lines[0].get_xdata()[-1] == 1
    drawn_lines = plots.smallest_by_scale(rows_of(record, "brokenness"), "").axes[0].lines
    swept = rows_of(record, "brokenness")["w-asym"][["0.03", "0.3"]]
    np.testing.assert_allclose(drawn_lines[0].get_ydata(), np.exp(np.log(swept).mean()))
