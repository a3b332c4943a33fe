from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from symlib import claims, records
from symlib.claims import unbroken
from symlib.interpolation import mixing_weights
from symlib.plots import connectivity as plots
from symlib.studies.connectivity import (
    METHODS,
    ROWS,
    appendix_a,
    lines,
    orderings,
    printed,
    readings,
    settings,
    table_1,
)

ROW = {row.name: row for row in ROWS}
LAMBDAS = mixing_weights(3).numpy()


def tent(barriers, end=0.5, **names):
    """Return a table of lines with these midpoint barriers and the same loss at all ends."""
    parts = [
        pd.DataFrame({"pair": i, "lambda": LAMBDAS, "test_loss": end + b * np.array([0, 1, 0]), "test_accuracy": 0.9})
        for i, b in enumerate(barriers)
    ]
    return pd.concat(parts).assign(**names)


def keep(results, name, profile, table, networks, **more):
    config = dict(ROW[name].needs) | {"profile": profile, "n_pairs": 3, "n_points": 3} | more
    study = ROW[name].study
    records.write(results / study / profile, records.make(study, config, table, {"networks": networks}))


@pytest.fixture
def results(tmp_path):
    """Return a store with an MLP whose order is the paper's, apart from sigma, and a graph network without Re-Basin."""
    mlp = {"standard": [0.5, 0.6, 0.7], "git-rebasin": [0.1, 0.12, 0.08], "sigma-asym": [0.9, 0.8, 1.0]}
    mlp |= {"w-asym": [-0.1, -0.11, -0.12]}
    keep(tmp_path, "MLP", "cpu", pd.concat([tent(b, method=m) for m, b in mlp.items()]), {})
    keep(tmp_path, "MLP", "quick", tent([9.0, 9.1, 9.2], method="standard"), {})
    told = {"distance": [2.0, 4.0], "n_trainable": [4, 4], "train_accuracy": [0.9, 0.8], "test_accuracy": [0.7, 0.7]}
    graph = [
        tent([1.0, 1.1, np.nan], variant="standard", method="unaligned", statistics="re-estimated"),
        tent([8.0, 8.0, 8.0], variant="standard", method="unaligned", statistics="as mixed"),
        tent([0.2, 0.3, 0.25], variant="w-asym sigma", method="unaligned", statistics="re-estimated"),
        tent([0.3, 0.3, 0.35], variant="w-asym", method="unaligned", statistics="re-estimated"),
    ]
    none = {"standard": told | {f"best_{s}_accuracy": [0.9, 0.8] for s in ("train", "valid")}, "w-asym": {}}
    keep(tmp_path, "graph network", "cpu", pd.concat(graph), none)
    return tmp_path


def test_table_1_is_the_largest_record_of_each_row_without_pairs_that_diverged(results):
    found = table_1(results).set_index(["architecture", "method"])
    assert found.loc[("MLP", "standard"), "mean"] == pytest.approx(0.6)
    assert found.loc[("MLP", "standard"), "sd"] == pytest.approx(0.1)
    graph = found.loc[("graph network", "standard")]
    assert (graph["n"], graph["mean"]) == (2, pytest.approx(1.05))
    assert found.loc[("graph network", "w-asym"), "mean"] == pytest.approx(0.25)
    assert found.loc[("graph network, GELU", "w-asym"), "mean"] == pytest.approx(0.95 / 3)
    assert "ResNet-20" not in found.index.get_level_values(0)


def test_orderings_are_welch_tests_of_neighbours_that_were_both_run(results):
    found = orderings(results).set_index(["architecture", "lower", "higher"])
    assert len(found.loc["MLP"]) == 4 and list(found.loc["graph network"].index) == [("w-asym", "standard")]
    chain = (found.loc["MLP"]["p"] < claims.ALPHA).to_dict()
    assert chain.pop(("sigma-asym", "standard")) is False and all(chain.values())
    assert set(found.loc["graph network, GELU"].index) <= {("w-asym", "git-rebasin"), ("w-asym", "standard")}
    low, high = [0.9, 0.8, 1.0], [0.5, 0.6, 0.7]
    p = stats.ttest_ind(low, high, equal_var=False, alternative="less").pvalue
    assert found.loc[("MLP", "sigma-asym", "standard"), "p"] == pytest.approx(p)
    assert found.loc[("MLP", "w-asym", "git-rebasin"), "difference"] == pytest.approx(0.21)


def test_methods_whose_pairs_all_diverged_are_shown_and_not_tested(tmp_path):
    table = [tent([0.5, 0.6, 0.7], method="standard"), tent([np.nan] * 3, method="w-asym")]
    keep(tmp_path, "MLP", "cpu", pd.concat(table), {})
    assert plots.barrier_table(table_1(tmp_path), printed()).loc[("MLP", "cpu, 3 pairs"), "W-asymmetric"] == "diverged"
    assert plots.ordering_table(orderings(tmp_path)).loc["MLP", "holds"] == "not tested"
    plots.barrier_panels(table_1(tmp_path), printed())
    board = {v.claim.id: v for v in claims.scoreboard(tmp_path)}
    lost = board["B:table1:mlp-w-asym"]
    assert (lost.word, lost.n, lost.ours) == ("not reproduced", 0, "diverged")


def test_lines_carry_the_methods_of_table_1_and_one_kind_of_statistics(results):
    found = lines(results)
    assert set(found["method"]) <= set(METHODS) and found["test_loss"].max() < 2
    graph = found[found["architecture"] == "graph network"]
    assert dict(graph.groupby("method")["pair"].nunique()) == {"standard": 2, "w-asym": 3}


def test_distances_and_gaps_are_there_for_methods_that_were_measured(results):
    found = appendix_a(results).set_index(["architecture", "method"])
    assert list(found.index) == [("graph network", "standard")]
    row = found.loc[("graph network", "standard")]
    assert (row["distance"], row["rms distance"]) == (pytest.approx(0.75), pytest.approx(1.5))


def test_readings_are_judged_in_every_architecture_that_has_controls():
    found = readings()
    assert set(found["reading"]) == {"needed", "enough"} and not found["verdict"].isin(["-"]).any()
    anchor = found.query("architecture == 'MLP' and variant == 'anchor'").iloc[0]
    controls = import_module("symlib.studies.controls")
    kept = max(records.find("controls"), key=claims.weight)
    expected = controls.verdicts(kept).set_index("variant").loc["anchor"]
    assert (anchor["n"], anchor["verdict"]) == (expected["n"], expected["verdict"])
    assert len(plots.reading_table(found)) == len(found)


def test_every_cell_that_the_paper_prints_in_table_1_is_there_once():
    found = printed()
    cells = {(row.name, m) for row in ROWS for m in METHODS[:4]}
    assert set(zip(found["architecture"], found["method"], strict=True)) == cells and len(found) == len(cells)
    wide = found.pivot(index="architecture", columns="method", values="mean")
    assert wide.loc["ResNet-20", ["standard", "git-rebasin", "sigma-asym", "w-asym"]].tolist() == [
        3.287,
        2.041,
        2.521,
        0.934,
    ]


def test_rows_name_lines_that_their_studies_have():
    names = {c.quantity for c in claims.load() if c.id.startswith("B:table1:")}
    for row in ROWS:
        assert {f"barrier/{row.lines[m]}" for m in METHODS[:4]} <= names


def test_tables_and_figures_show_what_was_run_and_what_was_not(results):
    table = plots.barrier_table(table_1(results), printed())
    assert table.loc[("MLP", "cpu, 3 pairs"), "standard"] == unbroken("0.600 ± 0.10")
    assert table.loc[("ResNet-20", "paper"), "Git Re-Basin"] == unbroken("2.041 ± 0.21")
    assert table.loc[("graph network", "cpu, 3 pairs"), "Git Re-Basin"] == "-"
    assert plots.ordering_table(orderings(results)).loc["graph network", "holds"] == "yes"
    assert len(plots.separation_table(appendix_a(results))) == 1
    assert table.loc[("graph network", "cpu, 3 pairs"), "standard"] == unbroken("1.050 ± 0.07") + " (2 of them)"
    assert settings(results)["MLP"] == "mnist, width 512, 3 pairs, profile cpu"
    for figure in (plots.barrier_panels(table_1(results), printed()), plots.line_panels(lines(results), printed())):
        assert [axes.get_title("left") for axes in figure.axes if axes.get_visible()] == [
            "MLP",
            "graph network",
            "graph network, GELU",
        ]
    assert plots.claim_table(claims.scoreboard(results)[:3])["verdict"].str.len().min() > 3
