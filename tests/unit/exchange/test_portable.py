from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.zoo.made import SMALL, VIT, run_of

from neuropil.config import DataConfig
from neuropil.errors import ConfigError, RunError
from neuropil.exchange import exported as pt2
from neuropil.exchange.portable import Graph, answer_of, plan_of, save_script, traced
from neuropil.exchange.sample import grey, raw
from neuropil.models.resunet import ResUNet
from neuropil.training.checkpoint import Run
from neuropil.zoo.card import Said, facts

ROOT = Path(__file__).parents[3]
SAID = Said("CC0", None, None, (), None)


def graph_of(run: Run) -> Graph:
    return traced(run, lambda extent: grey(extent, run.config.data))


def answers(program: object, run: Run, *shape: int) -> None:
    """A graph answers as the run's network does, on noise that it has not seen."""
    x_BCZYX = torch.rand(shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        expected = run.load_model()(x_BCZYX).sigmoid()
        assert torch.allclose(program(x_BCZYX), expected, atol=1e-4)  # type: ignore[operator]
    assert expected.std() > 0.01


def names_no_folder(path: Path) -> bool:
    with zipfile.ZipFile(path) as packed:
        return not any(str(ROOT).encode() in packed.read(name) for name in packed.namelist())


def test_a_unet_is_traced_for_any_extent_and_batch_and_forgets_its_files(tmp_path: Path) -> None:
    run = run_of(tmp_path / "a")
    graph = graph_of(run)
    assert (graph.any_extent, graph.any_batch) == (True, True)
    torch.jit.save(graph.program, str(tmp_path / "whole.pt"))
    assert not names_no_folder(tmp_path / "whole.pt"), "torch keeps file names: this test can fail"
    save_script(graph.program, tmp_path / "n.pt")
    assert names_no_folder(tmp_path / "n.pt")
    program = torch.jit.load(str(tmp_path / "n.pt"))
    answers(program, run, 2, 1, 8, 16, 24)
    answers(program, run, *graph.example_BCZYX.shape)


def test_a_transformer_is_traced_for_its_tile_alone_and_that_is_known(tmp_path: Path) -> None:
    run = run_of(tmp_path / "a", *VIT)
    graph = graph_of(run)
    assert (graph.any_extent, graph.any_batch) == (False, False)
    assert tuple(graph.example_BCZYX.shape) == (1, 1, 16, 24, 24)
    answers(graph.program, run, 1, 1, 16, 24, 24)


def test_a_unet_is_exported_for_any_extent_and_batch(tmp_path: Path) -> None:
    run = run_of(tmp_path / "a")
    (tmp_path / "e").mkdir()
    card = facts(run, "e", SAID, seeds=[], speed=None)
    assert pt2.fill(tmp_path / "e", run, card) == {"extent": "any", "batch": "any"}
    assert names_no_folder(tmp_path / "e" / pt2.PROGRAM)
    program = torch.export.load(tmp_path / "e" / pt2.PROGRAM).module()
    answers(program, run, 1, 1, 16, 24, 24)
    answers(program, run, 3, 1, 8, 16, 8)


def test_a_transformer_is_exported_for_what_pytorch_can_and_that_is_said(tmp_path: Path) -> None:
    run = run_of(tmp_path / "a", *VIT)
    (tmp_path / "e").mkdir()
    told = pt2.fill(tmp_path / "e", run, facts(run, "e", SAID, seeds=[], speed=None))
    # PyTorch 2.6 finds a graph for any extent, later ones for the tile alone
    assert told in ({"extent": "16, 24, 24", "batch": "1"}, {"extent": "any", "batch": "any"})
    program = torch.export.load(tmp_path / "e" / pt2.PROGRAM).module()
    answers(program, run, 1, 1, 16, 24, 24)
    if told["extent"] == "any":
        answers(program, run, 2, 1, 24, 32, 40)
    assert f'"extent": "{told["extent"]}"' in (tmp_path / "e" / pt2.INTERFACE).read_text()


class Forked(ResUNet):
    """A network whose answer depends on a value, which no graph follows."""

    def forward(self, x_BCZYX: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = super().forward(x_BCZYX)
        return y if float(x_BCZYX.ravel()[0]) > float(x_BCZYX.ravel()[-1]) else -y


def build_forked(config: object, voxel_size: object, outputs: int) -> torch.nn.Module:
    return Forked(voxel_size, outputs, (8, 8), blocks=1, norm_kind="standardised")  # type: ignore[arg-type]


def test_a_network_that_no_graph_follows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(tmp_path / "a")
    forked = build_forked(None, run.voxel_size, 3)
    forked.load_state_dict(run.load_model().state_dict())
    monkeypatch.setattr(Run, "load_model", lambda *_: forked)
    with pytest.raises(RunError, match="answers otherwise than its network"):
        graph_of(run)
    with pytest.raises(RunError, match="cannot be exported"):
        pt2.exported(run, lambda extent: grey(extent, run.config.data))


def test_an_encoder_makes_no_graph(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="pretrained encoder"):
        answer_of(run_of(tmp_path / "a", kind="encoder"))


def test_the_least_extent_leaves_something_within_the_halo(tmp_path: Path) -> None:
    wide = [word for word in SMALL if "overlap" not in word]
    plan = plan_of(run_of(tmp_path / "a", *wide, "predict.overlap=[14,20,3]"))
    assert all(n % s == 0 for n, s in zip(plan.least, plan.stride, strict=True))
    assert all(n - o // 2 * 2 > 0 for n, o in zip(plan.least, plan.overlap, strict=True))


@pytest.mark.parametrize("kind", ["percentile", "zscore", "uint8"])
def test_the_sample_is_the_same_each_time_and_has_contrast(kind: str) -> None:
    assert np.array_equal(raw((8, 16, 16)), raw((8, 16, 16)))
    try:
        config = DataConfig(normalise=kind)  # type: ignore[arg-type]
    except ConfigError:  # pragma: no cover
        pytest.fail(kind)
    x_BCZYX = grey((8, 16, 16), config)
    assert (x_BCZYX.dtype, tuple(x_BCZYX.shape)) == (torch.float32, (1, 1, 8, 16, 16))
    assert x_BCZYX.std() > 0.05
