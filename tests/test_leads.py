import numpy as np
import pytest

from symlib.studies.leads import judged

LEAD = np.array([1.0, 1.1, 0.9, 1.05, 0.95])


@pytest.mark.parametrize(("share", "verdict"), [(0.9, "most"), (0.1, "little"), (-0.5, "little"), (0.5, "undecided")])
def test_a_part_of_a_lead_is_most_little_or_undecided(share, verdict):
    found = judged(share * LEAD + np.array([0.02, -0.02, 0.0, 0.01, -0.01]), LEAD)
    assert (found["n"], found["verdict"]) == (5, verdict)
    assert found["share"] == pytest.approx(share)
    assert found["p_most"] + found["p_little"] == pytest.approx(1)


def test_few_or_scattered_values_decide_nothing():
    assert judged(np.array([0.0]), np.array([1.0]))["verdict"] == "no lead shown"
    assert judged(np.array([2.0, -1.0, 0.5, 0.1]), np.ones(4))["verdict"] == "undecided"


@pytest.mark.parametrize(("lead", "verdict"), [(LEAD - 1, "no lead shown"), (-LEAD, "reversed")])
def test_a_lead_that_is_not_there_or_lies_the_other_way_has_no_share(lead, verdict):
    found = judged(LEAD, lead)
    assert found["verdict"] == verdict and np.isnan(found["share"])


def test_what_diverged_on_either_side_is_left_out():
    part, lead = 0.9 * LEAD, LEAD.copy()
    part[0], lead[1] = np.nan, np.nan
    assert judged(part, lead)["n"] == 3
    assert judged(np.full(5, np.nan), LEAD)["verdict"] == "no lead shown"
