"""First weights: all, the encoder's, or a refusal; never a silent part."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from neuropil.config import Config, TrainConfig, override
from neuropil.errors import ConfigError, RunError
from neuropil.training.checkpoint import Run
from neuropil.training.transfer import CALIBRATED, _decoded, adopted, transfer

NM = (8.0, 8.0, 8.0)


class Net(nn.Module):
    """An encoder of two layers and a head."""

    def __init__(self, outputs: int = 3, width: int = 4) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, width), nn.Linear(width, 4)
        self.head = nn.Linear(4, outputs)

    def encoder_names(self) -> set[str]:
        return {n for n in self.state_dict() if not n.startswith("head")}


def _weights(net: nn.Module) -> dict[str, torch.Tensor]:
    return {n: t.clone() for n, t in net.state_dict().items()}


@pytest.mark.parametrize("key", CALIBRATED)
def test_how_a_threshold_is_chosen_does_not_change_what_it_means(key: str) -> None:
    value = {"bias": "[1,1,1]", "threshold": "0.4", "caution": "0.2"}.get(key, "7")
    changed = override(Config(), [f"segment.{key}={value}"])
    assert changed.segment != Config().segment
    assert _decoded(changed) == _decoded(Config())
    assert _decoded(override(Config(), ["segment.contact=3"])) != _decoded(Config())


def test_all_is_taken_where_all_fits() -> None:
    source, net = _weights(Net()), Net()
    account = transfer(net, source, TrainConfig(), "x")
    assert all(torch.equal(net.state_dict()[n], source[n]) for n in source)
    assert (account.share, account.missing, account.unused) == (1.0, (), ())


def test_only_the_encoder_is_taken_where_heads_differ_and_the_account_says_so() -> None:
    source, net = _weights(Net(outputs=1)), Net()
    before = _weights(net)
    account = transfer(net, source, TrainConfig(), "x")
    assert torch.equal(net.first.weight, source["first.weight"])
    assert torch.equal(net.head.weight, before["head.weight"])
    assert set(account.missing) == {"head.weight", "head.bias"}
    assert set(account.unused) == {"head.weight", "head.bias"}
    assert any("2 fresh: head.weight, head.bias" in line for line in account.lines("x"))


def test_encoder_alone_can_be_asked_for_and_all_that_fits_too() -> None:
    source, net = _weights(Net()), Net()
    before = _weights(net)
    transfer(net, source, TrainConfig(transfer="encoder"), "x")
    assert torch.equal(net.head.weight, before["head.weight"])
    source["head.weight"] = torch.zeros(1, 4)
    account = transfer(net, source, TrainConfig(transfer="all"), "x")
    assert torch.equal(net.head.bias, source["head.bias"])
    assert account.reshaped == ("head.weight",)


def test_below_the_floor_nothing_changes_and_the_missing_are_named() -> None:
    source, net = _weights(Net(width=7)), Net()
    before = _weights(net)
    with pytest.raises(RunError, match=r"(?s)first.weight.*at least 95%"):
        transfer(net, source, TrainConfig(), "x")
    assert all(torch.equal(net.state_dict()[n], before[n]) for n in before)
    transfer(net, source, TrainConfig(transfer_floor=0.05), "x")
    assert torch.equal(net.second.bias, source["second.bias"])


def test_weights_of_something_else_are_refused_even_without_a_floor() -> None:
    with pytest.raises(RunError, match="do not fit"):
        transfer(Net(), {"other": torch.zeros(3)}, TrainConfig(transfer_floor=0), "x")


def _inflated(folder: Path, *words: str) -> Path:
    config = override(Config(), ["model.name=unetr", "model.encoder=vit_inflated", *words])
    return Run.create(folder, config, {"kind": "encoder"}).path


def test_an_inflated_run_brings_the_sizes_of_its_encoder_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ("model.vit.dim=24", "model.vit.depth=2", "model.vit.heads=2", "model.vit.eps=0.5")
    run = _inflated(tmp_path / "i", *sizes, "model.vit.taps=[2]", "model.vit.inflated.positions=table")
    mine = override(Config(), ["model.vit.decoder=[8,8]", "model.vit.drop_path=0.1", "train.lr=0.5"])
    found = adopted(mine, str(run), NM)
    vit = found.model.vit
    assert (found.model.name, found.model.encoder, vit.dim, vit.eps) == ("unetr", "vit_inflated", 24, 0.5)
    # what is of the network around it, and of training, stays the user's
    assert (vit.decoder, vit.drop_path, vit.taps, found.train) == ((8, 8), 0.1, None, mine.train)
    assert "taken over from" in capsys.readouterr().err
    assert adopted(found, str(run), NM) == found
    assert capsys.readouterr().err == ""


def test_other_first_weights_bring_no_settings(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "p", override(Config(), ["model.name=unetr", "model.vit.dim=24"]), {"kind": "encoder"})
    for init in (None, str(run.path), str(tmp_path / "none.safetensors")):
        assert adopted(Config(), init, NM) == Config()


def test_taps_that_do_not_fit_the_inflated_encoder_are_refused(tmp_path: Path) -> None:
    run = _inflated(tmp_path / "i", "model.vit.depth=2")
    with pytest.raises(ConfigError, match="taps"):
        adopted(override(Config(), ["model.vit.taps=[3,6]"]), str(run), NM)


@pytest.mark.parametrize(
    ("words", "differs"),
    [
        (("model.name=unetr", "model.vit.dim=24", "model.vit.heads=2"), "model.vit.heads=4"),
        (("model.name=unetr",), "model.vit.wavelengths_nm=[100,5000]"),
        (("model.name=resunet", "model.norm=group"), "model.norm=instance"),
    ],
)
def test_settings_that_no_shape_tells_must_agree(words: tuple[str, ...], differs: str, tmp_path: Path) -> None:
    theirs = override(Config(), words)
    run = Run.create(tmp_path / "encoder", theirs, {"kind": "encoder"}).path
    ours = override(theirs, [differs])
    name, _, value = differs.partition("=")
    for init in (run, run / "model.safetensors"):
        assert adopted(theirs, str(init), NM) == theirs
        with pytest.raises(ConfigError, match=name) as caught:
            adopted(ours, str(init), NM)
    assert override(ours, [caught.value.fix.removeprefix("--set ")]) == theirs
    assert value.strip("[").split(",")[0] in caught.value.got
    # an encoder of another kind is refused by its shapes
    other = override(ours, ["model.name=resunet" if "unetr" in words[0] else "model.name=unetr"])
    assert adopted(other, str(run), NM) == other


def test_the_weights_of_an_inflated_run_bring_its_settings_as_its_folder_does(tmp_path: Path) -> None:
    run = _inflated(tmp_path / "inflated", "model.vit.heads=3")
    taken = adopted(Config(), str(run), NM)
    assert taken.model.vit.heads == 3
    assert adopted(Config(), str(run / "model.safetensors"), NM) == taken


def test_a_network_brings_the_steps_of_its_affinities_to_voxels_of_about_its_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [[-1, 0, 0], [0, -1, 0], [0, 0, -1], [-3, 0, 0]]
    card = {"offsets": steps, "voxel_size": [8, 8, 8]}
    run = str(Run.create(tmp_path / "run", Config(), card).path)
    found = adopted(Config(), run, (10.0, 10.0, 10.0))
    assert found.model.offsets == tuple(tuple(step) for step in steps)
    assert "taken over" in capsys.readouterr().err
    # nothing is changed of what was asked for, but it is said
    asked = override(Config(), ["model.offsets=[[-1,0,0],[0,-1,0],[0,0,-1],[-2,0,0]]"])
    assert adopted(asked, run, NM) == asked
    assert "learned affinities of -1,0,0 0,-1,0 0,0,-1 -3,0,0; the same outputs will learn" in capsys.readouterr().err
    # nor for tissue at another scale, another network, another task
    assert adopted(Config(), run, (40.0, 4.0, 4.0)) == Config()
    for words in (["model.channels=[8,16]"], ["task=mitochondria", "train.transfer=all"]):
        other = override(Config(), words)
        assert adopted(other, run, NM) == other
    assert capsys.readouterr().err == ""
    # of a network around an inflated encoder too
    inflated = override(Config(), ["model.name=unetr", "model.encoder=vit_inflated", "model.vit.dim=24"])
    around = str(Run.create(tmp_path / "inflated", inflated, card).path)
    assert adopted(Config(), around, (10.0, 10.0, 10.0)).model.offsets == tuple(tuple(step) for step in steps)
    capsys.readouterr()
    # an encoder alone has no outputs
    alone = override(Config(), ["train.transfer=encoder"])
    assert adopted(alone, run, NM) == alone
    assert adopted(found, run, NM) == found
    assert capsys.readouterr().err == ""


def test_the_head_of_another_task_is_left_though_it_would_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = override(Config(), ["task=mitochondria"])
    run = str(Run.create(tmp_path / "m", theirs, {}).path)
    assert adopted(theirs, run, NM) == theirs
    assert adopted(Config(), run, NM) == override(Config(), ["train.transfer=encoder"])
    assert "trained for mitochondria, not neurons: its encoder is taken" in capsys.readouterr().err
    asked = override(Config(), ["train.transfer=all"])
    assert adopted(asked, run, NM) == asked
