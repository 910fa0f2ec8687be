"""What is counted grows as it must, and nothing of it is really taken."""

from __future__ import annotations

import resource

import pytest
import torch

from neuropil.auto.memory import available_bytes, step_memory, tile_bytes
from neuropil.config import load_config

NM = (8.0, 8.0, 8.0)
WORDS = ("train.precision=fp32", "model.channels=[8,16,32]", "model.offsets=[[-1,0,0],[0,-1,0],[0,0,-1]]")


def kept(crop: int, batch: int = 1, *words: str) -> int:
    found = step_memory(
        load_config("em_neurons", [*WORDS, f"data.crop={[crop] * 3}", f"train.batch={batch}", *words]), NM
    )
    assert found is not None
    return found.kept


def test_twice_the_crops_or_eight_times_the_voxels_are_that_much_more() -> None:
    # standardised weights are kept too, however large the crop
    one = kept(32)
    assert kept(32, 2) == pytest.approx(2 * one, rel=0.05)
    assert kept(64) == pytest.approx(8 * one, rel=0.08)


def test_what_autograd_keeps_is_counted_and_half_of_it_in_bf16() -> None:
    # by hand: the image and its two finest maps alone
    voxels = 32**3
    assert kept(32) > voxels * 4 * (1 + 8)
    assert kept(32, 1, "train.precision=bf16") < kept(32)


def test_blocks_that_are_computed_twice_are_not_kept() -> None:
    words = (
        "model.name=unetr",
        "model.vit.dim=48",
        "model.vit.depth=4",
        "model.vit.heads=2",
        "model.vit.patch=[8,8,8]",
    )
    assert kept(32, 1, *words, "model.vit.checkpointing=true") < kept(32, 1, *words)


def test_counting_takes_no_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert kept(512) > 8 * 2**30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # KiB


def test_tiles_keep_less_than_crops() -> None:
    config = load_config("em_neurons", [*WORDS, "data.crop=[32,32,32]"])
    step, tile = step_memory(config, NM), tile_bytes(config, NM, (32, 32, 32), 1)
    assert step is not None
    assert tile is not None
    assert tile < step.total


class _Asks(torch.nn.Module):
    stride = (1, 1, 1)

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Conv3d(1, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x) if float(x.sum()) >= 0 else x


def build(config: object, voxel_size: object, outputs: int) -> torch.nn.Module:
    return _Asks()


def test_a_network_that_asks_for_values_cannot_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "asks", sys.modules[__name__])
    config = load_config("em_neurons", [*WORDS, "data.crop=[32,32,32]", "model.name=asks:build"])
    assert step_memory(config, NM) is None


def test_memory_is_some_and_not_more_than_there_is() -> None:
    import psutil

    assert 0 < available_bytes() <= psutil.virtual_memory().total
