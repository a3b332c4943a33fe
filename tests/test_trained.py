import pytest
import torch

from symlib import checkpoints
from symlib.studies import trained as module
from symlib.studies.analysis import largest
from symlib.studies.trained import (
    Intervention,
    SweptNetworks,
    TrainedNetworks,
    snapshot,
    snapshot_epochs,
    train_losses,
    trained,
)
from symlib.training import Recipe, train

SMALL = {
    "profile": "custom",
    "dataset": "digits",
    "network": "mlp",
    "width": 16.0,
    "norm": "layer",
    "n_networks": 6,
    "epochs": 2,
    "n_images": 200,
    "batch_size": 50,
    "lr": 1e-3,
    "weight_decay": 0.01,
    "sigma_F": 1.0,
    "warmup": 0,
    "init": "reference",
    "mask_seed": 0,
    "base_seed": 0,
    "networks": "",
    "workers": 1,
    "device": "cpu",
    "out": "",
}
PINNED = Intervention("w-asym", 1.0)


def small(**change):
    return TrainedNetworks.checked(SMALL | change)


def test_snapshots_are_the_networks_that_plain_training_gives(tmp_path):
    config = small(networks=str(tmp_path))
    family = config.family(PINNED)
    with trained(config, [PINNED]) as folder:
        found = snapshot(folder, family, 6, 1, [1, 5])
    data = family.data()
    for row, member in enumerate((1, 5)):
        start = family.initial([member])
        seeds = [module.seed(0, "order", member)]
        alone, _ = train(start, data.train.x, data.train.y, Recipe(1, 50, 1e-3, 0.01), seeds)
        for name, w in alone.params.items():
            torch.testing.assert_close(found.params[name][row : row + 1], w, rtol=0, atol=1e-5)


def test_first_snapshot_is_the_initial_state_and_the_last_is_kept(tmp_path):
    config = small(networks=str(tmp_path), epochs=3)
    with trained(config, [PINNED]) as folder:
        start = snapshot(folder, config.family(PINNED), 6, 0)
        assert len(train_losses(folder, config.family(PINNED), 6, 3)) == 6
    initial = config.family(PINNED).initial(range(6))
    assert all(torch.equal(start.params[name], w) for name, w in initial.params.items())
    assert start.constraint.fingerprint == initial.constraint.fingerprint


def test_nothing_is_trained_twice_and_more_epochs_go_on(tmp_path, monkeypatch):
    config = small(networks=str(tmp_path))
    with trained(config, [PINNED]) as folder:
        once = snapshot(folder, config.family(PINNED), 6, 2)
    epochs = []
    run_epoch = module.train.__globals__["_run_epoch"]
    monkeypatch.setitem(module.train.__globals__, "_run_epoch", lambda *a: epochs.append(a[-2]) or run_epoch(*a))
    with trained(config, [PINNED]):
        assert epochs == []
    longer = small(networks=str(tmp_path), epochs=3)
    with trained(longer, [PINNED]) as folder:
        assert epochs == [2, 2]  # the third epoch of both blocks
        kept = snapshot(folder, longer.family(PINNED), 6, 2)
    assert all(torch.equal(kept.params[name], w) for name, w in once.params.items())
    with trained(config, [PINNED]):
        assert epochs == [2, 2]


def test_damaged_snapshot_is_refused(tmp_path):
    config = small(networks=str(tmp_path))
    with trained(config, [PINNED]) as folder:
        file = next(folder.glob("digits-*/*/epoch-002.safetensors"))
        whole = file.read_bytes()
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(ValueError, match="do not match its hash"):
            snapshot(folder, config.family(PINNED), 6, 2)


def test_snapshot_of_another_family_or_epoch_is_refused(tmp_path):
    config = small(networks=str(tmp_path))
    with trained(config, [PINNED]) as folder:
        file = next(folder.glob("digits-*/networks-000-003/epoch-002.safetensors"))
        with pytest.raises(ValueError, match="other settings"):
            checkpoints.read(file, "someone else")
        file.replace(file.with_name("epoch-001.safetensors"))
        with pytest.raises(ValueError, match="other settings"):
            snapshot(folder, config.family(PINNED), 6, 1)
        with pytest.raises(ValueError, match=r"no snapshot .*epoch-002.* after epochs \[0, 1, 2\]"):
            snapshot(folder, config.family(PINNED), 6, 2)


def test_only_standard_networks_start_smaller_as_in_the_reference():
    spread = {
        (init, kind): small(init=init, width=64.0).family(Intervention(kind, 0.0)).initial([0]).params
        for init in ("reference", "matched")
        for kind in ("standard", "syre")
    }
    std = {key: params["linears.1.weight"].std().item() * 8 for key, params in spread.items()}
    assert std["reference", "standard"] == pytest.approx(3**-0.5, rel=0.03)
    assert [std[key] for key in std if key != ("reference", "standard")] == pytest.approx([1, 1, 1], rel=0.03)


def test_pinned_shares_are_those_of_the_papers():
    wide = small(dataset="mnist", width=512.0).family(PINNED)
    model, fixed = wide.build()
    pinned = [int((~fixed.D[f"linears.{i}.weight"]).sum(1).unique()) for i in range(4)]
    assert pinned == [64, 64, 64, 256]
    narrow = Intervention("w-asym", 2.0).on(
        small(dataset="cifar10", network="resnet", width=1.0).family(PINNED).build()[0], "resnet"
    )
    assert narrow.n_fix[:2] == [12, 36]
    share = Intervention("w-asym", 1.0, 0.25).on(model, "mlp")
    assert share.n_fix == [196, 128, 128, 128]


def test_sweep_adds_scales_once():
    config = SweptNetworks.checked(SMALL | {"sigma_sweep": [0.0, 0.5, 1.0], "sweep_networks": 2})
    names = [i.name for i in config.interventions()]
    assert names == ["standard", "w-asym 0", "w-asym 1", "syre 1", "w-asym 0.5"]
    assert [config.members(i) for i in config.interventions()] == [6, 6, 6, 6, 2]


def test_epochs_that_are_kept():
    assert snapshot_epochs(3) == [0, 1, 2, 3] and snapshot_epochs(1) == [0, 1]
    assert snapshot_epochs(100)[-2:] == [95, 100]


def test_missing_record_is_one_clear_error():
    with pytest.raises(ValueError, match=r"no record is kept with \{'network': 'mlp'\}"):
        largest([], network="mlp")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_networks": 5}, "n_networks: .*multiple of 2"),
        ({"width": 0.3, "network": "resnet"}, "must be whole positive numbers"),
        ({"sigma_F": -1.0}, "sigma_F: "),
        ({"dataset": "mnits"}, "dataset: "),
    ],
)
def test_bad_parameters_are_refused_before_any_work(change, message):
    with pytest.raises(ValueError, match=message):
        small(**change)
