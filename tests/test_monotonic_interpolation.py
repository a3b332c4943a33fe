import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch.func import functional_call

from symlib.asymmetry import Standard, constraint
from symlib.networks.resnet import ResNet
from symlib.plots import metanetworks as plots
from symlib.population import initialise
from symlib.seeds import generator
from symlib.studies import monotonic_interpolation as study
from symlib.studies.classifier_population import ClassifierPopulation, images, load_networks, small
from symlib.studies.monotonic_interpolation import (
    MonotonicInterpolation,
    compared,
    led,
    measures,
    quantities,
    run,
    smoothed_loss,
    summed_up,
)

SMALL = {
    "profile": "custom",
    "networks": "",
    "kinds": ["standard", "w-asym"],
    "n_networks": 4,
    "n_points": 5,
    "n_images": 50,
    "chunk": 3,
    "workers": 1,
    "device": "cpu",
    "out": "",
}
AT = np.linspace(0, 1, 25)
STEP = np.arange(25.0)  # whole numbers, whose second differences do not round


def checked(**changes):
    return MonotonicInterpolation.checked(SMALL | changes)


@pytest.mark.parametrize(
    ("curve", "delta", "local", "chord"),
    [
        ((24 - STEP) ** 2, -1, 1, 1),
        (24**2 - STEP**2, -1, 0, 0),
        (np.minimum(24 - STEP, 12), 0, 22 / 23, 0),  # a plateau, then down
        (np.maximum(12 - STEP, 0), 0, 1, 1),  # down, then a plateau
    ],
)
def test_measures_of_curves_that_are_known(curve, delta, local, chord):
    found = measures(curve[None]).iloc[0]
    assert found["monotonic"]
    assert [found[name] for name in ("delta", "local", "global")] == pytest.approx([delta, local, chord])


def test_a_bump_is_a_rise_of_its_height():
    curve = (1 - AT) ** 2
    curve[10] += 0.3
    found = measures(curve[None]).iloc[0]
    assert not found["monotonic"] and found["delta"] == pytest.approx(curve[10] - curve[9])
    assert found["local"] == pytest.approx(22 / 23)  # the point of the bump alone curves down


def test_a_curve_that_ends_above_its_start_has_no_relative_delta():
    assert np.isnan(measures(STEP[None])["relative delta"][0])


def test_relative_delta_does_not_know_the_unit():
    curve = (1 - AT) ** 2 + 0.05 * np.sin(20 * AT)
    found = measures(np.stack([curve, 7 * curve + 3]))
    np.testing.assert_allclose(found["relative delta"][0], found["relative delta"][1])
    assert found["delta"][1] == pytest.approx(7 * found["delta"][0])


def test_released_chord_lets_nearly_everything_pass():
    """A concave curve lies above the chord of its ends, and below the line that leaves it at its first two points."""
    found = measures((1 - AT**2)[None]).iloc[0]
    assert found["global"] == 0 and found["global released"] == 1


def test_smoothed_loss_equals_that_of_torch_network_by_network():
    model = ResNet(8, 0.25, in_channels=1)
    population = initialise(model, constraint(model, Standard(), 0), range(3))
    x, y = torch.randn(40, 1, 8, 8, generator=generator("x")), torch.arange(40) % 10
    smoothing = torch.tensor([0.0, 0.1, 0.2], dtype=torch.float64)
    expected = [
        F.cross_entropy(functional_call(model, member, (x,)), y, label_smoothing=float(s)).double()
        for member, s in zip(population.members(), smoothing, strict=True)
    ]
    torch.testing.assert_close(smoothed_loss(population, x, y, smoothing), torch.stack(expected), rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    """Return a small population that is trained for its first networks only."""
    folder = tmp_path_factory.mktemp("population")
    config = small(str(folder), SMALL["kinds"], 4).model_dump() | {"per_shard": 4, "epochs": [3.0, 3.0]}
    config = ClassifierPopulation.checked(config)
    study.train_classifiers(config)
    return config


def test_curves_run_from_the_initial_to_the_trained_loss(population):
    record = run(checked(networks=population.out))
    data, table = images(population).train, record.table.set_index(["kind", "network", "lambda"])["loss"]
    for when, at in (("initial", 0.0), ("final", 1.0)):
        smoothing = study.records.read(study.Path(population.out) / "record").table
        smooth = torch.tensor(smoothing[smoothing["kind"] == "w-asym"]["label_smoothing"].tolist())
        found = smoothed_loss(load_networks(population, "w-asym", when), data.x[:50], data.y[:50], smooth)
        np.testing.assert_allclose(table.xs(at, level="lambda").loc["w-asym"], found, rtol=1e-4)
    other = run(checked(networks=population.out, chunk=4))
    pd.testing.assert_frame_equal(record.table, other.table)
    assert len(quantities(record)["local/w-asym"]) == 4


def test_networks_that_diverged_are_left_out(population):
    record = run(checked(networks=population.out))
    record.table.loc[(record.table["kind"] == "w-asym") & (record.table["network"] == 2), "loss"] = np.nan
    assert summed_up(record).groupby("kind").size().to_dict() == {"standard": 4, "w-asym": 3}
    assert len(quantities(record)["delta/w-asym"]) == len(quantities(record)["monotonic/w-asym"]) == 3
    record.table.loc[(record.table["kind"] == "w-asym") & (record.table["network"] < 2), "loss"] = np.nan
    assert len(quantities(record)["delta/w-asym"]) == 0  # most diverged
    assert len(quantities(record)["delta/standard"]) == 4


def test_comparison_is_welchs_test_and_fishers_for_shares():
    rising = [0.2, 0.1, -0.1, 0.3]
    found = pd.DataFrame(
        {
            "kind": ["standard"] * 4 + ["w-asym"] * 4,
            "delta": [*rising, -0.2, -0.1, -0.3, -0.15],
            "network": [*range(4)] * 2,
        }
    )
    found["monotonic"] = found["delta"] <= 0
    for name in ("relative delta", "local", "global", "global released"):
        found[name] = found["delta"]
    told = compared(found).set_index("measure")
    p = stats.ttest_ind([-0.2, -0.1, -0.3, -0.15], rising, equal_var=False).pvalue
    assert told.loc["delta", "p"] == pytest.approx(p)
    assert told.loc["monotonic", "p"] == pytest.approx(stats.fisher_exact([[4, 0], [1, 3]]).pvalue)
    assert (told.loc["monotonic", "mean"], told.loc["monotonic", "standard"]) == (1, 0.25)


def test_measures_of_the_paper_stand_below_ours():
    curves = np.stack([24 - STEP, np.minimum(24 - STEP, 12 + STEP % 2)])  # straight down, and up and down
    kinds = (measures(curves).assign(kind=kind, network=range(2)) for kind in ("standard", "w-asym"))
    found = pd.concat(kinds, ignore_index=True)
    paper = {"monotonic": {"standard": (0.263, None)}, "delta": {"standard": (0.079, 0.109)}}
    table = plots.interpolation_table(found, compared(found), paper)
    assert table.index.tolist() == [("standard", "here"), ("standard", "paper"), ("W-asymmetric", "here")]
    assert table["monotonic (%)"].tolist()[:2] == ["50.0", "26.3"]
    assert table.loc[("standard", "paper"), "locally convex"] == "-"
    assert "(p = 1.0e+00)" in table.loc[("W-asymmetric", "here"), "monotonic (%)"]


def test_leads_are_those_of_networks_of_one_number_in_the_direction_of_the_claim():
    n = 6
    at = np.linspace(0, 0.1, n)
    measured = {"standard": 1.0 + at, "w-asym": 0.0 + at, "anchor": 0.05 + at, "syre": 0.98 + at}
    parts = []
    for kind, delta in measured.items():
        part = pd.DataFrame({"kind": kind, "network": range(n), "delta": delta, "relative delta": delta})
        parts.append(part.assign(monotonic=kind != "standard", local=-delta, **{"global": delta}))
    found = led(pd.concat(parts)).set_index(["measure", "kind"])
    assert found.loc[("delta", "anchor"), ["verdict", "n"]].tolist() == ["most", n]
    assert found.loc[("delta", "anchor"), "share"] == pytest.approx(0.95)
    assert found.loc[("local", "syre"), "verdict"] == "little"
    assert found.loc[("monotonic", "syre"), "share"] == 1
    assert set(found.loc["global", "verdict"]) == {"reversed"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kinds": ["w-asym"]}, "kinds must include 'standard'"),
        ({"n_points": 24}, "n_points must be odd"),
    ],
)
def test_bad_parameters_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        checked(**change)


def test_more_than_the_population_has_is_refused(population):
    with pytest.raises(ValueError, match="networks names nowhere, where no population was finished"):
        run(checked(networks="nowhere"))
    with pytest.raises(ValueError, match="has no networks of kind syre"):
        run(checked(networks=population.out, kinds=["standard", "syre"]))
    with pytest.raises(ValueError, match="has 4 networks a kind, not 5"):
        run(checked(networks=population.out, n_networks=5))
