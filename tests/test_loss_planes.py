import numpy as np
import pandas as pd
import pytest
import torch

from symlib.data.images import digits
from symlib.interpolation import line, mixing_weights, plane
from symlib.plots import loss_planes as plots
from symlib.population import evaluate
from symlib.records import Record
from symlib.studies import loss_planes as study
from symlib.studies import mode_connectivity
from symlib.studies.loss_planes import (
    EDGES,
    LossPlanes,
    grid,
    lines_of,
    measure,
    positions,
    quantities,
    readings,
    run,
    triangle,
    weights_at,
)

SMALL = {
    "profile": "custom",
    "dataset": "digits",
    "width": 24,
    "epochs": 2,
    "batch_size": 64,
    "lr": 1e-3,
    "weight_decay": 0.03,
    "n_fix": [8, 4, 4, 12],
    "sigma_F": [1.0, 1.0, 0.5, 0.25],
    "gate_std": 1.0,
    "restarts": 1,
    "n_points": 7,
    "n_images": 360,
    "mask_seed": 0,
    "base_seed": 7,
    "workers": 1,
    "device": "cpu",
    "out": "",
}
CORNERS = torch.tensor([[0.0, 0.0], [4.0, 0.0], [1.0, 3.0]], dtype=torch.float64)
ALL = ["standard", "git-rebasin", "sigma-asym", "w-asym"]


def small(**changes):
    return LossPlanes.checked(SMALL | changes)


@pytest.fixture(scope="module")
def record():
    return run(small())


@pytest.fixture(scope="module")
def lopsided():
    """Return a record whose loss rises from 0 along x, and is 0.5 at the centroid, on a triangle of legs 4."""
    axis = np.linspace(-1, 5, 61)
    x, y = (values.ravel() for values in np.meshgrid(axis, axis))
    loss = {"a": 0.0, "b": 0.4, "c": 0.0, "ab": 0.2, "bc": 0.3, "ca": 0.0, "abc": 0.5}
    about = {"corners": [[0, 0], [4, 0], [0, 4]], "loss": loss}
    table = pd.DataFrame({"method": "w-asym", "x": x, "y": y, "test_loss": x / 4})
    return Record(table, {"planes": {"w-asym": about}})


def test_points_of_a_plane_are_mixed_by_hand_triple_by_triple(tiny):
    a, b, c = (tiny("w-asym", seeds) for seeds in ([0, 1], [2, 3], [4, 5]))
    weights = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.25, 0.25], [-0.5, 0.75, 0.75]])
    found = plane(a, b, c, weights)
    assert len(found) == 6
    for name, w in found.params.items():
        parts = [p.params[name][1] for p in (a, b, c)]
        torch.testing.assert_close(w[3 + 2], -0.5 * parts[0] + 0.75 * parts[1] + 0.75 * parts[2])
        torch.testing.assert_close(w[3], parts[0], rtol=0, atol=0)


def test_edges_of_a_plane_are_lines(tiny):
    a, b, c = (tiny("standard", [i]) for i in range(3))
    lambdas = mixing_weights(5)
    weights = torch.stack([1 - lambdas, torch.zeros(5), lambdas], dim=1)
    for name, w in plane(a, b, c, weights).params.items():
        torch.testing.assert_close(w, line(a, c, lambdas).params[name])


def test_every_point_of_a_plane_keeps_the_pinned_entries_to_the_bit(tiny):
    a, b, c = (tiny("w-asym", [i]) for i in range(3))
    weights = torch.tensor([[0.1, 0.2, 0.7], [7.3, -2.1, -4.2]])
    for name, mask in a.constraint.D.items():
        fixed = a.constraint.F[name][~mask].expand(2, -1)
        assert torch.equal(plane(a, b, c, weights).params[name][:, ~mask], fixed)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.5]]), "must sum to 1, got a sum of 1.5"),
        (torch.tensor([[float("nan"), 0.0, 0.0]]), "must sum to 1, got a sum of nan"),
        (torch.tensor([[0.5, 0.5]]), r"shape \(points, 3\), one for each network, got \(1, 2\)"),
        (torch.tensor([1.0, 0.0, 0.0]), r"got \(3,\)"),
    ],
)
def test_weights_that_leave_the_plane_are_refused(tiny, weights, message):
    a = tiny("standard")
    with pytest.raises(ValueError, match=message):
        plane(a, a, a, weights)


@pytest.mark.parametrize("at", [1, 2])
def test_networks_with_other_fixed_entries_span_no_plane(tiny, at):
    three = [tiny("w-asym"), tiny("w-asym"), tiny("w-asym")]
    three[at] = tiny("w-asym", mask_seed=1)
    with pytest.raises(ValueError, match="different fixed entries"):
        plane(*three, torch.tensor([[1.0, 0.0, 0.0]]))


def test_distances_in_the_picture_are_distances_of_weights(tiny):
    """Of the corners, and of two points outside the triangle."""
    three = [tiny("w-asym", [i]) for i in range(3)]
    corners = positions(*three)
    points = torch.cat([corners, torch.tensor([[-3.0, 1.0], [5.0, -2.0]], dtype=torch.float64)])
    networks = plane(*three, weights_at(points, corners))
    flat = torch.cat([w.flatten(1) for w in networks.params.values()], dim=1)
    torch.testing.assert_close(torch.cdist(points, points), torch.cdist(flat, flat))
    assert corners[0].tolist() == [0, 0] and corners[1, 1] == 0 and corners[1, 0] > 0 and corners[2, 1] > 0


def test_networks_on_one_line_are_refused(tiny):
    a, b = tiny("standard", [0]), tiny("standard", [1])
    with pytest.raises(ValueError, match="lie on one line"):
        positions(a, b, line(a, b, torch.tensor([0.3])))


def test_weights_of_corners_and_of_the_centroid():
    points = torch.cat([CORNERS, CORNERS.mean(dim=0, keepdim=True)])
    expected = torch.cat([torch.eye(3), torch.full((1, 3), 1 / 3)]).double()
    torch.testing.assert_close(weights_at(points, CORNERS), expected)


def test_window_is_a_square_that_holds_the_triangle_with_its_margin():
    points = grid(CORNERS, 5)
    assert len(points) == 25 and points[0].tolist() == pytest.approx([-1, -1.5])  # a quarter of 4 left of the box
    assert points[-1].tolist() == pytest.approx([5, 4.5])
    assert points[1].tolist() == pytest.approx([0.5, -1.5])  # row by row


def test_study_evaluates_the_grid_of_every_method(record):
    assert len(record.table) == 4 * 49 and list(record.table["method"].unique()) == ALL
    for _, rows in record.table.groupby("method"):
        assert len(rows.drop_duplicates(["x", "y"])) == 49
    assert np.isfinite(record.table["test_loss"]).all() and record.table["test_accuracy"].between(0, 1).all()


def test_first_edge_is_the_line_of_the_first_pair_of_the_study_of_lines(record):
    """Same networks, same matching, trained by another study beside another network."""
    rows = mode_connectivity.run(lines_of(small()), ["standard", "w-asym"]).table.query("pair == 0")
    for method in ("standard", "git-rebasin", "w-asym"):
        losses = record.about["planes"][method]["loss"]
        expected = rows[rows["method"] == method].set_index("lambda")["test_loss"]
        assert [losses[k] for k in ("a", "ab", "b")] == pytest.approx(expected[[0.0, 0.5, 1.0]].tolist(), rel=1e-3)


def test_a_point_of_the_grid_scores_what_its_network_scores(record):
    config, data = small(n_images=100), digits()
    networks, _ = study._train(config, "w-asym", data, None, lambda: None)
    found = measure(config, "w-asym", None, lambda: None)
    corners = positions(networks[:1], networks[1:2], networks[2:])
    torch.testing.assert_close(torch.tensor(found.about["planes"]["w-asym"]["corners"]), corners.float())
    row = found.table.iloc[17]
    at = weights_at(torch.tensor([[row["x"], row["y"]]], dtype=torch.float64), corners)[0].tolist()
    mixed = {name: sum(u * w[i] for i, u in enumerate(at))[None] for name, w in networks.params.items()}
    score = evaluate(networks[:1].holding(mixed), data.test.x[:100], data.test.y[:100])
    assert row["test_loss"] == pytest.approx(float(score.loss), rel=1e-4)
    assert row["test_accuracy"] == pytest.approx(float(score.accuracy))


def test_matching_moves_two_networks_and_keeps_what_they_compute(record):
    planes = record.about["planes"]
    for corner in "abc":
        assert planes["git-rebasin"]["loss"][corner] == pytest.approx(planes["standard"]["loss"][corner], rel=1e-4)
    sides = triangle(record).set_index("method")["side"]
    assert sides["git-rebasin"] < sides["standard"]


def test_triangle_is_summed_up_by_hand(lopsided):
    row = triangle(lopsided).iloc[0]
    assert row["corners"] == pytest.approx(0.4 / 3)
    assert row[EDGES].tolist() == pytest.approx([0.2 - 0.4 / 3, 0.3 - 0.4 / 3, -0.4 / 3])
    assert row["centroid"] == pytest.approx(0.5 - 0.4 / 3)
    assert row["highest"] == pytest.approx(1.0)  # at the corner b, on the grid; outside there is more
    # Loss x / 4 is at most 0.4 + 0.1 left of x = 2, where three quarters of the triangle are.
    assert row["basin"] == pytest.approx(0.75, abs=0.03)
    assert row["side"] == pytest.approx((4 + 4 + 32**0.5) / 3)
    found = quantities(lopsided)
    assert found["centroid/w-asym"].tolist() == [row["centroid"]] and len(found["edges/w-asym"]) == 3


def planted(**centroids):
    """Return a record with barriers at the centroids and half of them on the edges, a little more on the second."""
    planes = {
        method.replace("_", "-"): {
            "corners": CORNERS.tolist(),
            "loss": dict.fromkeys("abc", 0.1)
            | {"ab": 0.1 + 0.5 * value, "bc": 0.1 + 0.6 * value, "ca": 0.1 + 0.5 * value, "abc": 0.1 + value},
        }
        for method, value in centroids.items()
    }
    rows = [{"method": m, "x": 1.0, "y": 1.0, "test_loss": p["loss"]["abc"]} for m, p in planes.items()]
    return Record(pd.DataFrame(rows), {"planes": planes})


@pytest.mark.parametrize(
    ("centroids", "holds"),
    [
        ({"standard": 1.0, "git_rebasin": 0.09, "sigma_asym": 0.9, "w_asym": 0.01}, [True] * 9),
        ({"standard": 1.0, "git_rebasin": 0.11, "sigma_asym": 1.1, "w_asym": 0.3}, [1, 1, 1, 0, 0, 1, 0, 0, 0]),
        ({"standard": -0.2, "git_rebasin": 0.0, "sigma_asym": 0.0, "w_asym": 0.0}, [0, 0, 0, 0, 1, 0, 0, 0, 1]),
    ],
)
def test_readings_follow_the_rules(centroids, holds):
    assert list(readings(planted(**centroids)).values()) == holds


def test_diverged_networks_have_no_plane_and_are_counted(record, monkeypatch):
    def diverge(*args, **kwargs):
        raise FloatingPointError("training diverged")

    monkeypatch.setattr(study, "train", diverge)
    lost = run(small())
    assert [about["diverged"] for about in lost.about["networks"].values()] == [True] * 3
    assert lost.about["planes"] == {} and quantities(lost) == {} and not any(readings(lost).values())
    part = measure(small(), "w-asym", None, lambda: None)
    table = pd.concat([record.table[record.table["method"] != "w-asym"], part.table])
    planes = {method: about for method, about in record.about["planes"].items() if method != "w-asym"}
    mixed = Record(table, record.about | {"planes": planes})
    assert set(quantities(mixed)) == {f"{what}/{method}" for what in ("centroid", "edges") for method in planes}
    shown = plots.triangle_table(triangle(mixed))
    assert (shown.loc["W-asymmetric"] == "–").all()
    corners = {method: about["corners"] for method, about in planes.items()}
    assert sum(axes.get_visible() for axes in plots.plane_panels(table, corners, "").axes) == 3 + 1  # and the scale


def test_finished_kinds_are_not_trained_again(record, tmp_path, monkeypatch):
    once = run(small(out=str(tmp_path)))
    pd.testing.assert_frame_equal(once.table, record.table, rtol=1e-3)
    monkeypatch.setattr(study, "train", lambda *args: pytest.fail("trained twice"))
    pd.testing.assert_frame_equal(once.table, run(small(out=str(tmp_path))).table)


def test_every_parameter_of_the_networks_reaches_them():
    """Those that only one kind of network has; a parameter that is dropped would leave the fixed side as it is."""
    for kind, change in {"w-asym": {"n_fix": [9, 4, 4, 12]}, "sigma-asym": {"gate_std": 0.5}}.items():
        prints = [study.build(lines_of(config), kind)[1].fingerprint for config in (small(), small(**change))]
        assert prints[0] != prints[1]
    assert {"profile", "workers", "device", "out"} == set(SMALL) - set(small().science)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_images": 361}, "n_images is 361, but digits has 360 test images"),
        ({"n_points": 2}, "n_points: input should be greater than or equal to 3, got 2"),
        ({"n_fix": [65, 4, 4, 12]}, "64 entries of a row, got 65"),
        ({"sigma_F": [1.0]}, "one number for each of the 4 linear maps"),
        ({"epohcs": 3}, "did you mean 'epochs'"),
        ({"lr": 0.0}, "lr: input should be greater than 0"),
    ],
)
def test_bad_parameters_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        small(**change)


def test_panels_show_every_plane_with_its_networks_on_one_scale(record):
    corners = {method: about["corners"] for method, about in record.about["planes"].items()}
    figure = plots.plane_panels(record.table, corners, "")
    panels = figure.axes[:4]
    for axes, method in zip(panels, ALL, strict=True):
        np.testing.assert_allclose(axes.lines[1].get_xydata(), corners[method])
        assert [text.get_text() for text in axes.texts] == ["1", "2", "3"]
        assert axes.get_aspect() == 1
    scales = {tuple(axes.collections[0].levels) for axes in panels}
    lowest = record.table["test_loss"].min()
    assert len(scales) == 1 and min(scales.pop()) == pytest.approx(lowest)
