from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tests.unit.exchange.test_described import Change, model
from tests.unit.zoo.made import VIT, VOXEL, run_of

from neuropil import predict
from neuropil.affinities import Affinities
from neuropil.errors import GeometryError, InputError, RunError
from neuropil.exchange.bioimageio_out import fill
from neuropil.exchange.foreign import opened_foreign
from neuropil.exchange.sample import raw
from neuropil.volume import Volume
from neuropil.zoo.card import Said, facts

OFFSETS = "foreign.offsets=[[-1,0,0]]"
TOGETHER = "foreign.boundaries=false"


class Theirs(torch.nn.Module):
    """A network of somebody else: it answers with its image, so what it was given is seen."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clamp(0.0, 1.0)


@pytest.fixture
def image() -> Volume:
    return Volume(raw((20, 24, 28)), VOXEL, kind="image", name="image")


def foreign(folder: Path, change: Change = lambda _: None, network: torch.nn.Module | None = None) -> str:
    """A model of somebody else, which wants grey values over 255."""

    def scaled(values: dict[str, Any]) -> None:
        values["inputs"][0]["preprocessing"] = [{"id": "scale_linear", "kwargs": {"gain": 1 / 255}}]
        change(values)

    model(folder, scaled)
    torch.jit.save(torch.jit.script(network or Theirs()), str(folder / "w.pt"))
    return f"bioimageio:{folder}"


@pytest.mark.parametrize("words", [(), VIT], ids=["unet", "transformer"])
def test_a_run_that_went_out_comes_back_with_the_same_affinities(
    tmp_path: Path, image: Volume, words: tuple[str, ...]
) -> None:
    run = run_of(tmp_path / "a", *words)
    (tmp_path / "m").mkdir()
    fill(tmp_path / "m", run, facts(run, "m", Said("CC0", None, None, (), None), seeds=[], speed=None))
    # a transformer came out as the graph of one tile: ours is given the same
    ours = predict(run, image, set=["predict.tile=[16,24,24]"] if not words else [])
    theirs = predict(f"bioimageio:{tmp_path / 'm'}", image)
    assert isinstance(ours, Affinities)
    assert isinstance(theirs, Affinities)
    assert theirs.offsets == ours.offsets
    assert theirs.volume.attrs["segment"]["threshold"] == 0.4
    if words:
        assert theirs.volume.shape == ours.volume.shape
    else:
        assert np.abs(theirs.volume.numpy().astype(int) - ours.volume.numpy()).max() <= 1


@pytest.mark.parametrize(("boundaries", "together"), [(False, True), (True, False)])
def test_a_model_of_others_gives_affinities_of_the_steps_that_are_said(
    tmp_path: Path, image: Volume, boundaries: bool, together: bool
) -> None:
    words = [OFFSETS, f"foreign.boundaries={str(boundaries).lower()}"]
    found = predict(foreign(tmp_path / "m"), image, set=words)
    assert isinstance(found, Affinities)
    assert found.offsets == ((-1, 0, 0),)
    expected = image.numpy().astype(int) if together else 255 - image.numpy().astype(int)
    assert np.abs(found.volume.numpy()[0].astype(int) - expected).max() <= 1


def test_axes_in_another_order_come_back_in_place(tmp_path: Path, image: Volume) -> None:
    def change(values: dict[str, Any]) -> None:
        for tensor in (values["inputs"][0], values["outputs"][0]):
            batch, channel, z, y, x = tensor["axes"]
            tensor["axes"] = [x, batch, z, channel, y]

    class Slanted(torch.nn.Module):
        """Grey values that grow along the first of its axes, which is x."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (torch.arange(x.shape[0]) / x.shape[0]).view(-1, 1, 1, 1, 1).expand(x.shape)

    found = predict(foreign(tmp_path / "m", change, Slanted()), image, set=[OFFSETS, TOGETHER])
    values_ZYX = found.volume.numpy()[0].astype(int)  # type: ignore[union-attr]
    assert (np.diff(values_ZYX, axis=2) > 0).all()
    assert (np.diff(values_ZYX, axis=1) == 0).all()


@pytest.mark.parametrize("names", [["a", "b"], ["a"]])
def test_steps_are_asked_for_and_counted(tmp_path: Path, image: Volume, names: list[str]) -> None:
    name = foreign(tmp_path / "m", lambda v: v["outputs"][0]["axes"][1].update(channel_names=names))
    with pytest.raises(InputError, match=r"--set foreign\.offsets"):
        predict(name, image)
    with pytest.raises(InputError, match=r"--set foreign\.boundaries" if len(names) == 1 else "2, one for each"):
        predict(name, image, set=[OFFSETS])


def test_steps_that_others_wrote_are_read_but_what_one_means_is_asked(tmp_path: Path, image: Volume) -> None:
    name = foreign(tmp_path / "m", lambda v: v.update(config={"mws": {"offsets": [[0, 0, -2]]}}))
    with pytest.raises(InputError, match="true where it means apart"):
        predict(name, image)
    assert predict(name, image, set=[TOGETHER]).offsets == ((0, 0, -2),)  # type: ignore[union-attr]


def test_a_voxel_size_is_compared_where_there_is_one_and_said_where_there_is_none(
    tmp_path: Path, image: Volume, capsys: pytest.CaptureFixture[str]
) -> None:
    def sized(values: dict[str, Any]) -> None:
        for axis in values["inputs"][0]["axes"][2:]:
            axis |= {"unit": "nanometer", "scale": 30}

    with pytest.raises(GeometryError, match="trained at"):
        predict(foreign(tmp_path / "m", sized), image, set=[OFFSETS, TOGETHER])
    predict(foreign(tmp_path / "n"), image, set=[OFFSETS, TOGETHER])
    assert "does not say its voxel size" in capsys.readouterr().err


def test_extents_halo_and_batch_are_those_that_it_takes(tmp_path: Path, image: Volume) -> None:
    def change(values: dict[str, Any]) -> None:
        for axis, size in zip(
            values["inputs"][0]["axes"][2:], (16, {"min": 10, "step": 4}, {"min": 8, "step": 8}), strict=True
        ):
            axis["size"] = size
        values["outputs"][0]["axes"][2]["halo"] = 7
        values["inputs"][0]["axes"][0]["size"] = 1

    class Seen(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.shape[0] == 1
            assert x.shape[2] == 16
            assert (x.shape[3] - 10) % 4 == 0
            assert x.shape[4] % 8 == 0
            return x.clamp(0.0, 1.0)

    name = foreign(tmp_path / "m", change, Seen())
    run, rest = opened_foreign(name, image, [OFFSETS, TOGETHER, "predict.batch=2"])
    assert rest == ["predict.batch=2"]
    assert run.config.predict.overlap is not None
    assert run.config.predict.overlap[0] == 14
    found = predict(name, image, set=[OFFSETS, TOGETHER, "predict.batch=2"])
    assert np.abs(found.volume.numpy()[0].astype(int) - image.numpy()).max() <= 1  # type: ignore[union-attr]


def test_logits_are_taken_as_such(tmp_path: Path, image: Volume) -> None:
    name = foreign(tmp_path / "m", lambda v: v["outputs"][0].update(postprocessing=[{"id": "sigmoid"}]))
    found = predict(name, image, set=[OFFSETS, TOGETHER]).volume.numpy()[0]  # type: ignore[union-attr]
    expected = 255 / (1 + np.exp(image.numpy() / -255.0))
    assert np.abs(found - expected).max() <= 1


def test_a_graph_that_fails_says_so_without_a_traceback(tmp_path: Path, image: Volume) -> None:
    class Picky(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.zeros(7)

    with pytest.raises(InputError, match="cannot take tiles"):
        predict(foreign(tmp_path / "m", network=Picky()), image, set=[OFFSETS, TOGETHER])


def test_files_that_are_no_graph_are_refused(tmp_path: Path, image: Volume) -> None:
    name = foreign(tmp_path / "m")
    torch.save({"a": torch.ones(1)}, tmp_path / "m" / "w.pt")
    with pytest.raises(RunError, match="no TorchScript"):
        predict(name, image, set=[OFFSETS, TOGETHER])
    with pytest.raises(RunError, match="does not exist"):
        predict("bioimageio:none", image)


def test_what_neuropil_wrote_can_be_said_otherwise(tmp_path: Path, image: Volume) -> None:
    run = run_of(tmp_path / "a")
    (tmp_path / "m").mkdir()
    fill(tmp_path / "m", run, facts(run, "m", Said("CC0", None, None, (), None), seeds=[], speed=None))
    said = ["foreign.offsets=[[-2,0,0],[0,-2,0],[0,0,-2]]"]
    assert opened_foreign(f"bioimageio:{tmp_path / 'm'}", image, said)[0].offsets == (
        (-2, 0, 0),
        (0, -2, 0),
        (0, 0, -2),
    )
    assert yaml.safe_load((tmp_path / "m" / "rdf.yaml").read_text())["config"]["neuropil"]["format"] == 1
