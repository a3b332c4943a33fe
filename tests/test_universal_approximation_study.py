import numpy as np
import pandas as pd
import pytest
import torch

from symlib import records
from symlib.plots import universal_approximation as plots
from symlib.studies import universal_approximation
from symlib.studies.universal_approximation import (
    REFERENCE,
    UniversalApproximation,
    bounds,
    checks,
    failures,
    quantities,
    refusals,
    rows_of,
    run,
)
from symlib.theory.approximated_targets import TARGETS, approximated, drawn_masks
from symlib.theory.construction_failure import construction_bound, no_split_bound, two_pairs_bound

SMALL = {
    "profile": "custom",
    "n_repeats": 2,
    "largest_width": 128,
    "largest_masked": 1024,
    "base_seed": 0,
    "workers": 1,
    "out": "",
}


@pytest.fixture(scope="module")
def record():
    # Narrower networks take longest, since most of their blocks are drawn many times.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(universal_approximation, "WIDTHS", (96, 128))
        patch.setattr(universal_approximation, "CONVERSIONS", {32: 1, 128: 2})
        return run(UniversalApproximation.checked(SMALL))


@pytest.fixture(scope="module")
def found(record):
    return quantities(record)


def test_matrices_are_met_by_activations_of_the_class_alone(found):
    for name in ("relu", "gelu", "swish", "softplus"):
        assert len(found[f"error/{name}"]) == 2 and found[f"error/{name}"].max() < 1e-12
    assert found["error/tanh"].min() > 1 and not found["moved constants"].any()


def test_numbers_are_those_of_the_independent_program(found):
    for condition in ("paper", "split"):
        for (n_fix, n), share in REFERENCE[condition].items():
            if n <= SMALL["largest_masked"]:
                assert found[f"success/{condition}/{n_fix}/{n}"].mean() == pytest.approx(share, abs=0.05)
    assert found["draws/32"].mean() == pytest.approx(REFERENCE["draws"][32], abs=1.5)
    assert found["draws/128"].mean() == pytest.approx(REFERENCE["draws"][128], abs=0.5)
    assert found["bias-free/line"] == pytest.approx(REFERENCE["line"], abs=5e-5)


def test_failures_are_counted_and_stay_under_their_bounds(record, found):
    rows = failures(record).set_index(["condition", "n_fix", "n"])
    assert len(rows) == 2 * (3 * 3 + 1) and not rows["exception"].any()
    cell = rows.loc["paper", 2, 256]
    raw = record.table[(record.table["variant"] == "paper 2") & (record.table["x"] == 256)]["value"]
    assert cell["blocks"] == 2 * 256 and cell["failed"] == raw.sum() * 256
    assert cell["bound"] == two_pairs_bound(256, 2) and rows.loc["split", 2, 256]["bound"] == no_split_bound(256, 2)
    assert rows.loc["split", 64, 512]["measured"] == 1
    assert (rows.loc["split"]["failed"] <= rows.loc["paper"]["failed"]).all()
    # Bounds below 1, of either condition: n = 256 and 1024 with one pinned entry, 1024 with two.
    assert found["exceptions/paper"].tolist() == found["exceptions/split"].tolist() == [0] * 3


def test_more_failures_than_chance_allows_under_the_bound_are_exceptions(record):
    table = record.table.copy()
    cell = (table["variant"] == "split 1") & (table["x"] == 1024)
    table.loc[cell, "value"] = 12 / 1024  # 24 of 2048 blocks where the bound expects 4
    worse = records.Record(table, record.about)
    cells = failures(worse).set_index(["condition", "n_fix", "n"])
    assert cells["exception"].sum() == 1 and cells.loc["split", 1, 1024]["exception"]
    assert quantities(worse)["exceptions/split"].sum() == 1


def test_errors_fall_with_a_constant_input_and_not_without(found):
    for name in ("sine", "cosine", "surface"):
        assert found[f"approximation/{name}/128"].mean() < found[f"approximation/{name}/96"].mean() < 0.3
        assert found[f"difference/{name}"].max() < 1e-10
    for width in (96, 128):
        assert found[f"approximation/sine, zeros/{width}"].min() > 0.88
        assert found[f"approximation/cosine, zeros/{width}"].min() > 1 - 1e-9
        assert found[f"approximation/sine, polynomial/{width}"].min() > 0.88


def test_two_layers_without_biases_do_no_better_than_a_line(found):
    assert found["bias-free/zeros"] == pytest.approx(found["bias-free/line"], abs=1e-4)
    assert (found["bias-free/least"] < found["bias-free/line"]).all() and (found["bias-free/constant"] < 1e-4).all()
    for name in ("relu", "gelu", "swish"):
        assert not found[f"bias-free/{name} at 0"].any()
        assert (found[f"bias-free/{name} scaled"] < 1e-12).all() == (name == "relu")
    assert found["bias-free/softplus at 0"].min() > 0


def test_reordering_moves_weights_and_not_the_function(found):
    assert found["reordering/difference"].max() < 1e-12
    assert found["reordering/weights that differ"].min() > 0.01


def test_everything_but_time_is_drawn_from_the_seed(monkeypatch):
    monkeypatch.setattr(universal_approximation, "CONVERSIONS", {32: 1})
    config = UniversalApproximation.checked(SMALL)
    for check in ("conversion", "masks", "bias-free"):
        one, again, other = (pd.DataFrame(checks(config)[check](draw)) for draw in (1, 1, 2))
        timed = one[0].str.endswith(" s")
        pd.testing.assert_frame_equal(one[~timed], again[~timed])
        assert not one[~timed].equals(other[~timed])


def test_finished_repeats_are_kept_when_more_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(universal_approximation, "checks", lambda config: {"masks": checks(config)["masks"]})
    config = SMALL | {"out": str(tmp_path)}
    run(UniversalApproximation.checked(config))
    written = (tmp_path / "shards/repeat-001/record.json").stat().st_mtime_ns
    more = run(UniversalApproximation.checked(config | {"n_repeats": 3}))
    assert (tmp_path / "shards/repeat-001/record.json").stat().st_mtime_ns == written
    assert sorted(more.table["repeat"].unique()) == [0, 1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_repeats": 1}, "n_repeats"),
        ({"largest_width": 100}, "largest_width"),
        ({"largest_masked": 1000}, "largest_masked"),
        ({"largest_masked": 256}, "largest_masked"),
        ({"largest_with": 64}, "did you mean 'largest_width'"),
    ],
)
def test_bad_parameters_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        UniversalApproximation.checked(SMALL | change)


def test_what_cannot_be_constructed_says_why():
    said = refusals(0)
    assert "outside the theorem's class" in said["another activation"]
    assert "cannot be split" in said["masks as they come"]
    assert "512 triples of copies are pinned" in said["copies pinned"]
    assert "n = 768 or more, got 512" in said["the experiments' masks"]


def test_figures_draw_what_was_found(record):
    rows = failures(record)
    blocks, maps = (panels for panels in np.array(plots.failures_by_n(rows, bounds(), "").axes).reshape(2, 2))
    cells = rows[(rows["condition"] == "split") & (rows["n_fix"] == 1)]
    bound, points, star = (blocks[1].lines[i] for i in (0, 3, -1))  # three curves, then the points of each n_fix
    np.testing.assert_allclose(points.get_ydata(), cells["measured"])
    assert bound.get_xdata()[-1] == 4**11 and bound.get_ydata()[-1] == no_split_bound(4**11, 1)
    assert star.get_xydata().tolist() == [[512, 1]]
    np.testing.assert_allclose(maps[1].lines[3].get_ydata(), 1 - (1 - cells["measured"]) ** cells["n"])
    assert maps[1].lines[0].get_ydata()[-1] == construction_bound(no_split_bound(4**11, 1), 4**11, 4**11, 1)
    errors = rows_of(record, "approximation")
    drawn = plots.error_by_width(errors, "").axes[0].containers
    np.testing.assert_allclose(drawn[0].lines[0].get_ydata(orig=False), np.exp(np.log(errors["surface"]).mean()))


def test_images_and_curves_are_those_of_the_networks():
    fixed, _ = drawn_masks(96, 0)
    names = ("surface", "sine", "sine, zeros", "cosine", "cosine, zeros")
    surface, *curves = (approximated(TARGETS[name], 96, fixed, 0) for name in names)
    images = [axes.images[0].get_array() for axes in plots.surfaces({96: surface}, "").axes[:2]]
    # Rows of an image are x_2, from below.
    at = int(torch.argmin((surface.x - torch.tensor([1.0, -1.0])).square().sum(1)))
    for image, values in zip(images, (surface.y, surface.four), strict=True):
        assert image[0, -1] == float(values[at])
    axes = plots.without_constant(dict(zip(names[1:], curves, strict=True)), "").axes[1]
    for line, values in zip(axes.lines, (curves[2].y, curves[3].four, curves[2].four), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), values)
