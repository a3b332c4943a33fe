import numpy as np
import pandas as pd
import pytest
from scipy import stats

from symlib import claims, records
from symlib.claims import CLAIMS, Below, Claim, Equal, Increasing, Near, Positive, judge, load, scoreboard_text

METHODS = ("standard", "git-rebasin", "activation-matching", "sigma-asym", "w-asym")


def claim(rule, quantity="barrier/w-asym", full="cpu"):
    return Claim(
        id="B:table1:test",
        statement="A statement.",
        page="notebooks/page.ipynb",
        paper={"mean": 0.5},
        study="mode_connectivity",
        needs={"dataset": "mnist"},
        quantity=quantity,
        full=full,
        rule=rule,
    )


def record(profile="cpu", dataset="mnist", n_pairs=5, **barrier):
    """Return a made-up record in which the midpoint losses are the given barriers, with a little spread."""
    rows = [
        {"method": m, "pair": p, "lambda": lam, "test_loss": (lam == 0.5) * (barrier.get(m, 0.0) + 0.001 * p),
         "test_accuracy": 1.0}
        for m in METHODS for p in range(n_pairs) for lam in (0.0, 0.5, 1.0)
    ]  # fmt: skip
    config = {"profile": profile, "dataset": dataset, "n_pairs": n_pairs, "n_points": 3}
    return records.make("mode_connectivity", config, pd.DataFrame(rows), {"networks": {}})


POSITIVE, BELOW = {"kind": "positive"}, {"kind": "below", "bound": 0.01}


@pytest.mark.parametrize(
    ("rule", "barrier", "word"),
    [
        (POSITIVE, 0.2, "reproduced"),
        (POSITIVE, -0.2, "not reproduced"),
        (POSITIVE, -0.002, "not reproduced"),  # pairs scatter around 0
        (BELOW, -0.2, "reproduced"),
        (BELOW, 0.2, "not reproduced"),
        (BELOW, 0.008, "not reproduced"),  # the mean equals the bound
    ],
)
def test_verdict_follows_the_rule_and_its_significance(rule, barrier, word):
    assert judge(claim(rule), [record(**{"w-asym": barrier})]).word == word


@pytest.mark.parametrize(("barrier", "word"), [(0.3, "reproduced"), (0.1, "not reproduced"), (0.198, "not reproduced")])
def test_above_is_below_turned_round(barrier, word):
    assert judge(claim({"kind": "above", "bound": 0.2}), [record(**{"w-asym": barrier})]).word == word


@pytest.mark.parametrize("other", ["barrier/standard", 0.2])
@pytest.mark.parametrize(
    ("barrier", "margin", "n_pairs", "word"),
    [
        (0.21, 0.05, 5, "reproduced"),
        (0.30, 0.05, 5, "not reproduced"),
        (0.10, 0.05, 5, "not reproduced"),
        (0.20, 0.001, 2, "not reproduced"),  # too few pairs to exclude a difference that is not there
    ],
)
def test_near_needs_evidence_on_both_sides(other, barrier, margin, n_pairs, word):
    near = {"kind": "near", "other": other, "margin": margin}
    found = record(n_pairs=n_pairs, **{"w-asym": barrier, "standard": 0.2})
    assert judge(claim(near), [found]).word == word


def test_record_that_lacks_the_other_quantity_is_passed_over():
    assert claim({"kind": "near", "other": "barrier/nobody", "margin": 0.1}).uses == {
        "barrier/w-asym",
        "barrier/nobody",
    }
    assert judge(claim({"kind": "near", "other": "barrier/nobody", "margin": 0.1}), [record()]).word == "not run"


def test_values_without_spread_are_compared_and_a_single_one_decides_nothing():
    one, two = np.ones(3), np.full(3, 2.0)
    assert claims.p_above(two, 1.0) == 0 and claims.p_above(one, 1.0) == 1
    assert claims.p_below(one, two) == 0 and claims.p_below(two, one) == 1 and claims.p_below(one, one) == 1
    assert np.isnan(claims.p_above(np.array([5.0]), 1.0))


def test_numbers_that_are_not_the_papers_say_so():
    assert str(claims.Printed(mean=5.4, archived=True)) == "5.400 (archived)"
    assert str(claims.Printed(mean=0.1, sd=0.02, independent=True)) == "0.100 ± 0.02 (independent)"
    assert [str(claims.Printed(mean=0.1, sd=sd)) for sd in (0.026, 0.0)] == ["0.100 ± 0.026", "0.100 ± 0.00"]
    without = Claim(**{**claim(POSITIVE).model_dump(), "paper": None})
    assert without.printed == "-" and "-" in scoreboard_text([judge(without, [])]).splitlines()[1]
    assert claims.printed([judge(without, [])], "barrier") == {}


@pytest.mark.parametrize(("sigma", "word"), [(0.1, "reproduced"), (0.3, "not reproduced"), (-0.1, "not reproduced")])
def test_order_needs_every_neighbour(sigma, word):
    order = {"kind": "increasing", "order": ["barrier/w-asym", "barrier/sigma-asym", "barrier/standard"]}
    assert judge(claim(order), [record(**{"sigma-asym": sigma, "standard": 0.2})]).word == word


def test_equal_has_no_tolerance():
    for value, word in ((0.0, "reproduced"), (1e-12, "not reproduced")):  # all accuracies of the record are 1
        assert judge(claim({"kind": "equal", "value": value}, "drop/w-asym"), [record()]).word == word


def test_smaller_profile_counts_in_part_and_no_record_not_at_all():
    assert judge(claim(BELOW), [record("quick", **{"w-asym": -1.0})]).word == "reproduced at reduced scale"
    assert judge(claim(BELOW), [record(dataset="digits")]).word == "not run"
    assert judge(claim(BELOW), []).word == "not run"


def test_record_without_the_networks_a_claim_is_about_is_passed_over():
    without = record("paper")
    without = records.Record(without.table[without.table["method"] != "w-asym"], without.about)
    assert judge(claim(BELOW), [without]).word == "not run"
    assert judge(claim(BELOW), [without, record("cpu")]).profile == "cpu"


def test_highest_profile_decides_then_the_most_pairs():
    kept = [
        record("cpu", n_pairs=9),
        record("paper", n_pairs=3),
        record("paper", n_pairs=4),
        record("custom"),
    ]
    verdict = judge(claim(BELOW), kept)
    assert (verdict.profile, verdict.n) == ("paper", 4)


def test_committed_claims_are_well_formed_and_judged():
    found = claims.scoreboard()
    assert len(found) == len(load()) >= 8
    lines = scoreboard_text(found).splitlines()
    assert lines[0].split() == ["id", "verdict", "profile", "n", "ours", "paper", "p"]
    assert len(lines) == len(found) + 2
    assert sum(int(part.split()[0]) for part in lines[-1].split(", ")) == len(found)


def test_twin_claims_are_refused(tmp_path):
    text = CLAIMS.read_text()
    (tmp_path / "claims.toml").write_text(text + text[text.index("[[claim]]") :])
    with pytest.raises(ValueError, match="more than one claim with the id B:table1:mlp-standard"):
        load(tmp_path / "claims.toml")


def test_rules_agree_with_a_t_test_by_hand():
    """Mean 1, sd 1, n 4: t = 2, one-sided p = 0.0697 with 3 degrees of freedom."""
    values = np.array([1 - np.sqrt(1.5), 1.0, 1.0, 1 + np.sqrt(1.5)])
    assert values.std(ddof=1) == pytest.approx(1)
    assert not Positive(kind="positive").holds(values, {})
    assert Positive(kind="positive").holds(values + 0.2, {})  # t = 2.4, p = 0.048
    assert Below(kind="below", bound=2.2).holds(values, {})
    assert Equal(kind="equal", value=1).holds(np.array([1, 1]), {})
    assert not Increasing(kind="increasing", order=["a", "b"]).holds(values, {"a": values, "b": values + 0.2})


def test_p_value_of_a_row_is_the_largest_of_its_tests():
    """t = 2 with 3 degrees of freedom: p = 0.0697; a mean of 1 lies above 0 and, more clearly, below 4."""
    values = np.array([1 - np.sqrt(1.5), 1.0, 1.0, 1 + np.sqrt(1.5)])
    near = Near(kind="near", other=2, margin=2)
    tests = near.tests(values, {})
    assert [what.split(" ", 1)[1] for what in tests] == ["> 2 - 2", "< 2 + 2"]
    assert list(tests.values()) == pytest.approx([0.0697, stats.t.cdf(-6, 3)], abs=1e-4)
    other = Near(kind="near", other="b", margin=2).tests(values, {"b": values + 1})
    assert all("b (" in what for what in other) and max(other.values()) > max(tests.values())

    def said(**tests):
        return claims.Verdict(claim(BELOW), "not reproduced", "cpu", 4, "1", None, tests).p

    assert said(low=0.0697, high=0.0046) == ".070"
    assert (said(a=1e-9), said(a=1 - 1e-9), said(a=1.0)) == ("< .001", "> .999", "exact")
    assert claims.p_text(claims.p_above(np.linspace(-1.01, -1, 60), 0)) == "> .999"  # 1 in double precision
    assert said(a=0.3, b=float("nan")) == said() == "-"


@pytest.mark.parametrize("constant", [1.0, 0.1])
def test_one_sample_may_have_no_spread(constant):
    """Welch's test is then that of the other sample against a number."""
    values, same = constant - np.array([0.3, 0.1, 0.2, 0.0]), np.full(100, constant)
    p = stats.ttest_1samp(values, constant).pvalue
    assert claims.p_different(values, same) == pytest.approx(p)
    assert claims.p_below(values, same) == pytest.approx(p / 2)
    assert claims.p_below(same, values) == pytest.approx(1 - p / 2)


def test_order_is_judged_by_welchs_test():
    """Few scattered values against many exact ones: Student's test is fooled, Welch's is not."""
    found = {"a": np.array([-2.0, 0.0, 2.0]), "b": 1.5 + 1e-3 * np.arange(40)}
    assert stats.ttest_ind(found["a"], found["b"], alternative="less").pvalue < 0.05
    assert stats.ttest_ind(found["a"], found["b"], equal_var=False, alternative="less").pvalue > 0.05
    assert not Increasing(kind="increasing", order=["a", "b"]).holds(found["a"], found)


def test_ours_is_mean_and_sample_sd():
    """Barriers 0.200 to 0.204: sd 0.00158 with n - 1, 0.00141 with n."""
    assert judge(claim(POSITIVE), [record(**{"w-asym": 0.2})]).ours == "0.202 ± 0.002"
    spread = [record(n_pairs=2, **{"w-asym": 0.2})]
    spread[0].table.loc[spread[0].table["pair"] == 1, "test_loss"] *= 2
    midpoints = spread[0].table.query("method == 'w-asym' and `lambda` == 0.5")["test_loss"]
    assert judge(claim(POSITIVE), spread).ours == f"{midpoints.mean():.3f} ± {midpoints.std(ddof=1):.3f}"


@pytest.mark.parametrize(
    ("mean", "sd", "shown"),
    [(0.1234, 0.01, "0.123 ± 0.010"), (4e-16, 0.0, "4.0e-16 ± 0.000"), (-2e-4, None, "-2.0e-04"), (7.0, None, "7")],
)
def test_small_numbers_do_not_show_as_zero(mean, sd, shown):
    assert claims._number(mean, sd) == shown


def test_pages_show_the_readers_own_run_and_otherwise_the_largest():
    live, small, large = record("quick", n_pairs=99), record("cpu"), record("cpu", n_pairs=9)
    assert claims.shown(live, [small, large]) is large
    assert claims.shown(live, []) is live
    assert claims.shown(live, [small, large], lambda r: r.config["n_pairs"]) is live
    assert claims.shown(live, [small, large], fits=lambda r: r is small) is small
    assert claims.shown(large, [small], fits=lambda r: r is small) is small
    own = record("custom")
    assert claims.shown(own, [small, large], fits=lambda r: r is small) is own


@pytest.mark.parametrize(("lost", "left"), [(0, 4), (2, 2), (3, 0), (4, 0)])
def test_survivors_speak_for_a_kind_unless_most_diverged(lost, left):
    values = pd.Series([np.nan] * lost + [1.0] * (4 - lost))
    assert claims.survivors(values).tolist() == [1.0] * left
