"""The study of inflation, whole, at a size that takes seconds: made-up photographs and neurons, two steps of each."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch

sys.path.insert(0, str(Path(__file__).parents[3] / "bench"))

import inflation
import inflation_data
import inflation_mae
import inflation_table
from inflation_scales import CPU, Scale
from neuropil.errors import RunError
from neuropil.io.swc import write_swc
from neuropil.models.checkpoints2d import read_vit2d
from neuropil.models.vit2d import Planar
from neuropil.synth.lm import LMPhantom
from neuropil.synth.lm_config import LMPhantomConfig
from neuropil.training.checkpoint import Run

TINY = inflation_mae.Masked(
    Planar(dim=32, depth=1, heads=2, hidden=32, patch=(8, 8), grid=(4, 4)), dim=32, depth=1, batch=4, steps=4, lr=1e-3
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with photographs and six neurons of two organisms."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    (folder / "natural_images").mkdir()
    with zipfile.ZipFile(folder / inflation_mae.ARCHIVE, "w") as archive:
        for n in range(inflation_mae.HELD + 4):
            picture = rng.integers(0, 255, (32 + n % 3, 40, 3), dtype=np.uint8)
            archive.writestr(f"{n:04}.jpg", imagecodecs.jpeg_encode(picture))
    (folder / "bigneuron").mkdir()
    with zipfile.ZipFile(folder / "bigneuron" / "dev.zip", "w") as archive:
        rows = ["id,organism,aligned"]
        for n in range(6):
            made = LMPhantom(LMPhantomConfig.projection(seed=n, shape=(1, 200, 180), cable_um=200.0))
            buffer = io.BytesIO()
            tifffile.imwrite(buffer, made.image(made.box)[0])
            archive.writestr(f"{n}/mip.tif", buffer.getvalue())
            write_swc(made.skeletons()[0], folder / "a.swc", units="voxel", voxel_size=made.config.voxel_size)
            lines = (folder / "a.swc").read_text().splitlines()
            # files of BigNeuron say nothing of their unit and origin
            archive.writestr(f"{n}/gold.swc", "\n".join(line for line in lines if not line.startswith("#")) + "\n")
            rows.append(f"{n},{'Mouse' if n == 5 else 'Fruitfly'},True")
        archive.writestr("index.csv", "\n".join(rows) + "\n")
    return folder


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, data: Path) -> Scale:
    """The study of one core, as small as it can be."""
    monkeypatch.setenv("NEUROPIL_DATA", str(data))
    flat, slab = CPU.tracks
    small = ("predict.tile=[1,64,64]", "train.batch=1", "data.workers=0")
    flat = replace(flat, labelled=(1,), steps=2, words=("data.crop=[1,32,32]", *small), window=64)
    small = ("data.crop=[5,32,32]", "predict.tile=[5,64,64]", "train.batch=1", "data.workers=0")
    shapes = ((10, 96, 80), (5, 64, 64))
    slab = replace(
        slab, arms=slab.arms[:3], labelled=(1,), steps=2, words=small, tested=2, shapes=shapes, cable_um=60.0
    )
    words = [w for w in CPU.words if "decoder" not in w]
    return Scale(TINY, (flat, slab), (*words, "model.vit.decoder=[4,8,8]", "train.precision=fp32"))


def typed(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> None:
    """The script, as it is typed."""
    where = ("--folder", str(folder / "study"), "--results", str(folder / "inflation"))
    monkeypatch.setattr(sys, "argv", ["inflation.py", *words, *where])
    inflation.main()


def test_the_study_from_photographs_to_its_table(tiny: Scale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(inflation.SCALES, "cpu", tiny)
    study = inflation.Study(tiny, tmp_path / "study")
    typed(monkeypatch, tmp_path, "pretrain")
    account = json.loads((study.folder / "pretrain" / "pretrain.json").read_text())
    assert (account["steps"], account["images"]) == (4, 4)
    typed(monkeypatch, tmp_path, "run", "--seeds", "0", "--arms", "scratch")
    first = {path: path.stat().st_mtime_ns for path in (study.folder / "results").iterdir()}
    assert len(first) == 2
    typed(monkeypatch, tmp_path, "run", "--seeds", "0")
    assert all(path.stat().st_mtime_ns == then for path, then in first.items())
    rows = {(row["track"], row["arm"]): row for row in study.rows()}
    assert set(rows) == {("flat", a) for a in ("scratch", "center", "random")} | {
        ("slab", a) for a in ("scratch", "center", "average")
    }
    runs = {key: Run.open(study.folder / "runs" / f"{key[0]}_{key[1]}_1_s0") for key in rows}
    for track in ("flat", "slab"):
        mine = [key for key in rows if key[0] == track]
        assert len({str(rows[key]["of"]) for key in mine}) == 1
        assert len({runs[key].config.model.model_dump_json() for key in mine}) == 1
    assert runs["flat", "scratch"].card["init"] is None
    assert all(run.card["init"]["account"]["share"] == 1 for key, run in runs.items() if key[1] != "scratch")
    assert set(rows["flat", "center"]["test"]) == {"neurons", "organisms"}
    for row in rows.values():
        for item in row["items"]:
            assert 0 <= item["f1"] <= item["best_f1"] <= 1
    typed(monkeypatch, tmp_path, "table")
    text = (tmp_path / "inflation.md").read_text()
    assert "Relative F1 on neurons, in percent (the goal: +8.71 over scratch at the smallest budget)" in text
    assert len(json.loads((tmp_path / "inflation.json").read_text())["cpu"]["runs"]) == 6


def test_another_split_or_other_settings_are_refused(tiny: Scale, tmp_path: Path) -> None:
    inflation.Study(tiny, tmp_path / "study").claim()
    inflation.Study(tiny, tmp_path / "study").claim()
    other = replace(tiny, words=(*tiny.words, "train.lr=0.1"))
    with pytest.raises(RunError, match="other settings or another split"):
        inflation.Study(other, tmp_path / "study").claim()


def test_nothing_is_inflated_that_was_not_pretrained(tiny: Scale, tmp_path: Path) -> None:
    study = inflation.Study(tiny, tmp_path / "study")
    with pytest.raises(RunError, match="no pretrained transformer"):
        study.inflated(tiny.tracks[0], "center", 0)


def test_organisms_and_neurons_are_held_out_whatever_the_order() -> None:
    rows = [{"id": str(n), "organism": "Fruitfly" if n % 3 else "Mouse"} for n in range(60)]
    parts = inflation_data.parts(rows)
    again = inflation_data.parts(rows[::-1])
    assert {k: sorted(v) for k, v in parts.items()} == {k: sorted(v) for k, v in again.items()}
    assert sorted(n for names in parts.values() for n in names) == sorted(row["id"] for row in rows)
    assert {int(n) % 3 for n in parts["organisms"]} == {0}
    assert len(parts["neurons"]) == 10


def test_trees_lie_on_their_projections(tiny: Scale, tmp_path: Path) -> None:
    """Cable is bright: a tree that is shifted or exchanged in its axes would lie in the dark."""
    items = inflation_data.projections(tmp_path, 64)
    for item in (*items.learned, *items.test):
        image = item.volume
        foreground, known = inflation.truth_of(item, image, inflation.Config())
        assert image.shape[0] == 1
        assert foreground.any()
        grey = image.numpy().astype(float)
        assert grey[foreground].mean() > 3 * grey[known & ~foreground].mean()
    assert all(max(item.volume.shape) == 64 for item in items.test)
    assert all(min(item.volume.shape[1:]) >= 160 for item in items.learned)


def test_a_killed_pretraining_goes_on_as_it_was(tiny: Scale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflation_mae, "KEEP_EVERY", 0.0)
    inflation_mae.pretrain(TINY, tmp_path / "whole", None, "cpu")
    step = inflation_mae._step

    def killed(*arguments: object) -> float:
        if arguments[2].step == 2:  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        return step(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(inflation_mae, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        inflation_mae.pretrain(TINY, tmp_path / "parts", None, "cpu")
    monkeypatch.setattr(inflation_mae, "_step", step)
    inflation_mae.pretrain(TINY, tmp_path / "parts", None, "cpu")
    whole, parts = (read_vit2d(tmp_path / name / "vit2d.safetensors", heads=2).tensors for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_threads_change_nothing(tiny: Scale) -> None:
    photographs = inflation_mae.pictures()
    alone, beside = (inflation_mae.batches(photographs, TINY, 3, workers=n) for n in (0, 2))
    for _ in range(6):
        assert all(torch.equal(a, b) for a, b in zip(next(alone), next(beside), strict=True))


def test_only_hidden_patches_are_judged_and_only_seen_ones_known() -> None:
    net = inflation_mae.fresh(TINY, 0).eval()
    order_BN = torch.randperm(16, generator=torch.Generator().manual_seed(0))[None]
    x_BCYX = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    loss = float(net(x_BCYX, order_BN, 4).detach())

    def changed(patches: list[int]) -> float:
        other = x_BCYX.clone()
        for y, x in (divmod(n, 4) for n in patches):
            other[:, :, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8].mul_(3).add_(1)
        return float(net(other, order_BN, 4).detach())

    # standardised pixels stay the same, so a hidden patch that is not seen changes nothing
    assert changed(order_BN[0, 4:].tolist()) == pytest.approx(loss, abs=1e-5)
    assert changed(order_BN[0, :4].tolist()) != pytest.approx(loss, abs=1e-5)
    net.answer.weight.data.zero_()
    net.answer.bias.data.zero_()
    # an answer of nothing is wrong by the variance of standardised pixels
    assert float(net(x_BCYX, order_BN, 4).detach()) == pytest.approx(191 / 192, abs=1e-3)


def test_differences_are_paired_by_seed() -> None:
    scores = {("scratch", 1): {0: 0.4, 1: 0.6, 2: 0.9}, ("center", 1): {0: 0.5, 1: 0.7}}
    mean, half, seeds = inflation_table.relative(scores, "center", 1)
    assert (mean, half, seeds) == (pytest.approx(20.0), pytest.approx(0.0, abs=1e-9), 2)
    assert np.isnan(inflation_table.relative({("scratch", 1): {0: 0.0}, ("center", 1): {0: 0.5}}, "center", 1)[0])
    assert inflation_table._cell(scores, "center", 1).endswith("(2) [+0.100 ± 0.000]")
    assert inflation_table._cell(scores, "average", 1) == "–"
