"""Training as a whole, on a phantom that takes seconds."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from neuropil import open_volume, train
from neuropil.config import parse_config
from neuropil.errors import ConfigError, GeometryError, InputError, RunError
from neuropil.tasks.base import task_named
from neuropil.training.checkpoint import CHECKPOINT, Run, read_tensors
from neuropil.training.fit import _built
from neuropil.volume import Volume


def _weights(run: Path) -> dict[str, torch.Tensor]:
    return read_tensors(run / CHECKPOINT)[0]


def _train(h5: Path, out: Path, tiny: tuple[str, ...], steps: int = 8, **changes: object) -> Run:
    extra = tuple(changes.pop("set", ()))  # type: ignore[arg-type]
    return train([f"{h5}:raw"], [f"{h5}:labels"], out, steps=steps, set=(*tiny, *extra), **changes)  # type: ignore[arg-type]


def test_a_run_directory_says_all(tiny_run: Path) -> None:
    run = Run.open(tiny_run)
    assert run.card["status"] == "complete"
    assert {p.name for p in tiny_run.iterdir()} == {
        "run.json", "config.yaml", "model.safetensors", "checkpoint.safetensors", "metrics.jsonl", "README.md"
    }  # fmt: skip
    assert run.voxel_size == (8, 8, 8)
    assert len(run.offsets) == 9
    assert run.config.data.crop == (16, 24, 24)
    assert 0 < run.calibration["threshold"] < 1
    assert {"python", "torch", "neuropil"} <= set(run.card["versions"])
    assert run.card["sources"][0]["held_back"]["start"][1] > 0
    rows = run.rows("validation")
    assert [r["step"] for r in rows] == [4, 8]
    assert all(np.isfinite([r["voi_split"], r["voi_merge"], r["arand"]]).all() for r in rows)
    assert len(rows[0]["sweep"]) > 20
    assert "Held-back score" in (tiny_run / "README.md").read_text()


def test_same_seed_same_weights_and_other_seed_others(phantom_h5: Path, tiny: tuple[str, ...], tmp_path: Path) -> None:
    a = _train(phantom_h5, tmp_path / "a", tiny, 4)
    b = _train(phantom_h5, tmp_path / "b", tiny, 4)
    c = _train(phantom_h5, tmp_path / "c", tiny, 4, set=["train.seed=1"])
    wa, wb, wc = (_weights(r.path) for r in (a, b, c))
    assert all(torch.equal(wa[k], wb[k]) for k in wa)
    assert not torch.equal(wa["model.head.weight"], wc["model.head.weight"])


@pytest.mark.parametrize("more", [[], ["train.descriptors=1", "train.layer_decay=0.9"]], ids=["alone", "with a hint"])
def test_stopped_and_resumed_equals_never_stopped(
    phantom_h5: Path, tiny: tuple[str, ...], more: list[str], tmp_path: Path
) -> None:
    whole = _train(phantom_h5, tmp_path / "whole", tiny, 12, set=more)
    stopper = threading.Thread(target=_stop_after_steps, args=(tmp_path / "parts", 3))
    stopper.start()
    with pytest.raises(KeyboardInterrupt):
        _train(phantom_h5, tmp_path / "parts", tiny, 12, set=more)
    stopper.join()
    assert Run.open(tmp_path / "parts").card["status"] == "interrupted"
    done = read_tensors(tmp_path / "parts" / CHECKPOINT)[1]["schedule"]["step"]
    assert 0 < done < 12
    resumed = train([f"{phantom_h5}:raw"], [f"{phantom_h5}:labels"], tmp_path / "parts", resume=True)
    wa, wb = _weights(whole.path), _weights(resumed.path)
    assert set(wa) == set(wb)
    assert all(torch.equal(wa[k], wb[k]) for k in wa)
    kept = ("step", "loss", "voi_sum", "threshold")
    trace = [[{k: r.get(k) for k in kept} for r in run.rows() if r["kind"] != "event"] for run in (whole, resumed)]
    assert trace[0] == trace[1]


def test_a_hint_is_learned_and_not_kept(
    phantom_h5: Path, tiny_run: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    run = _train(phantom_h5, tmp_path / "r", tiny, set=["train.descriptors=1"])
    plain, hinted = _weights(tiny_run), _weights(run.path)
    beside = {name for name in hinted if name.startswith("objective.")}
    assert beside == {"objective.beside.weight", "objective.beside.bias"}
    assert hinted["objective.beside.weight"].std() > 0
    assert not torch.equal(hinted["model.head.weight"], plain["model.head.weight"])
    assert not torch.equal(hinted["model.stem.0.weight"], plain["model.stem.0.weight"])
    kept, other = (read_tensors(path / "model.safetensors")[0] for path in (run.path, tiny_run))
    assert {k: v.shape for k, v in kept.items()} == {k: v.shape for k, v in other.items()}
    assert run.rows("train")[-1]["loss"] > Run.open(tiny_run).rows("train")[-1]["loss"] + 0.2


def _stop_after_steps(run: Path, rows: int) -> None:
    """Send Ctrl-C once the run has logged a few rows."""
    for _ in range(600):
        if (run / "metrics.jsonl").is_file() and len((run / "metrics.jsonl").read_text().splitlines()) >= rows:
            break
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)


def test_a_budget_is_kept_and_planned(phantom_h5: Path, tiny: tuple[str, ...], tmp_path: Path) -> None:
    run = train([f"{phantom_h5}:raw"], [f"{phantom_h5}:labels"], tmp_path / "r", budget=6.0, set=tiny)
    plans = [row for row in run.rows("event") if row["event"] == "plan"]
    last = run.rows("train")[-1]["step"]
    assert plans
    assert plans[-1]["total"] - last < run.config.train.log_every
    assert len(run.rows("validation")) >= 1


def test_first_weights_come_whole_from_another_run(
    phantom_h5: Path, tiny_run: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    run = _train(phantom_h5, tmp_path / "r", tiny, 1, init=tiny_run, set=["train.lr=1e-12", "train.validations=1"])
    source, _ = read_tensors(tiny_run / "model.safetensors")
    ours = _weights(run.path)
    assert all(torch.allclose(ours[f"model.{k}"], v, atol=1e-6) for k, v in source.items())
    # whatever the slab says, few fragments keep the decoding that came with the weights
    few = ["train.validations=1", "segment.keep_first=100000"]
    kept = _train(phantom_h5, tmp_path / "k", tiny, 1, init=tiny_run, set=few)
    assert kept.calibration == Run.open(tiny_run).calibration
    assert kept.card["best"]["decoding"] == "kept from the first weights"
    assert "kept from the first weights" in (kept.path / "README.md").read_text()
    # what lies beside a run is not its weights; other scores make another threshold
    copy = Path(shutil.copytree(tiny_run, tmp_path / "copy"))
    beside = (copy / "model.safetensors").rename(copy / "beside.safetensors")
    assert _train(phantom_h5, tmp_path / "b", tiny, 1, init=beside, set=few).card["init"]["decoding"] == {}
    scored = [*few, "segment.score=quantile"]
    assert _train(phantom_h5, tmp_path / "q", tiny, 1, init=tiny_run, set=scored).card["init"]["decoding"] == {}
    encoder = _train(phantom_h5, tmp_path / "e", tiny, 1, init=tiny_run, set=[*few, "train.transfer=encoder"])
    assert "kept" not in encoder.card["best"]["decoding"]
    with pytest.raises(RunError, match="do not fit the network") as refused:
        _train(phantom_h5, tmp_path / "s", tiny, 1, init=tiny_run, set=["model.channels=[12,12,16]"])
    # it says what would fit
    fitting = refused.value.fix.removeprefix("--set ")
    assert fitting.startswith("model.channels=[")
    _train(phantom_h5, tmp_path / "f", tiny, 1, init=tiny_run, set=["model.channels=[12,12,16]", fitting])
    coarse = {"voxel_size": (40.0, 4.0, 4.0), "set": ["data.crop=[8,32,32]"]}
    with pytest.raises(RunError, match=r"voxels of 8 × 8 × 8 nm .* here are 40 × 4 × 4"):
        _train(phantom_h5, tmp_path / "s", tiny, 1, init=tiny_run, **coarse)


def test_two_processes_train_together(phantom_h5: Path, tiny: tuple[str, ...], tmp_path: Path) -> None:
    run = _train(phantom_h5, tmp_path / "r", tiny, 4, set=["train.devices=2", "train.validations=1"])
    assert run.card["status"] == "complete"
    assert [r["step"] for r in run.rows("train")] == [2, 4]
    assert len(run.rows("validation")) == 1


def test_impossible_requests_leave_nothing_behind(phantom_h5: Path, tiny: tuple[str, ...], tmp_path: Path) -> None:
    raw, labels = f"{phantom_h5}:raw", f"{phantom_h5}:labels"
    out = tmp_path / "r"
    with pytest.raises(InputError, match="as many --labels as --image"):
        train([raw, raw], [labels], out)
    with pytest.raises(InputError, match="no training volumes"):
        train([], [], out)
    with pytest.raises(ConfigError, match="one of them"):
        train([raw], [labels], out, budget=3, steps=3)
    with pytest.raises(InputError, match="labels"):
        train([labels], [raw], out, set=tiny)
    with pytest.raises(InputError, match="at least as large as the crop"):
        train([raw], [labels], out, set=(*tiny, "data.crop=[96,96,96]"))
    with pytest.raises(ConfigError, match="multiples of"):
        train([raw], [labels], out, set=(*tiny, "data.crop=[15,24,24]"))
    with pytest.raises(ConfigError, match=r"data\.validation"):
        train([raw], [labels], out, set=(*tiny, "data.validation=0"))
    short = Volume(open_volume(labels).numpy()[:-1], (8, 8, 8), kind="labels")
    with pytest.raises(GeometryError, match="same shape and place"):
        train([raw], [short], out, set=tiny)
    other = Volume(open_volume(labels).numpy(), (40, 8, 8), kind="labels")
    with pytest.raises(GeometryError, match="voxel sizes"):
        train([raw], [other], out, set=tiny)
    empty = Volume(np.zeros((48, 64, 64), np.uint64), (8, 8, 8), kind="labels")
    with pytest.raises(InputError, match="hold no object"):
        train([raw], [empty], out, set=tiny)
    nan = np.full((48, 64, 64), np.nan, np.float32)
    with pytest.raises(ConfigError, match="unknown segmenter"):
        train(raw, labels, out, set=(*tiny, "segment.method=nope"))
    with pytest.raises(InputError, match="tile"):
        train(raw, labels, out, set=(*tiny, "predict.tile=[7,7,7]"))
    with pytest.raises(RunError, match="does not exist"):
        train(raw, labels, out, set=tiny, init=tmp_path / "none.safetensors")
    with pytest.raises(ConfigError, match=r"at most"):
        train(raw, labels, out, set=(*tiny, "train.devices=1000"))
    half = open_volume(labels).numpy()
    half[:, 40:] = 0
    with pytest.raises(InputError, match="held back"):
        train([raw], [Volume(half, (8, 8, 8), kind="labels")], out, set=(*tiny, "data.validation_axis=y"))
    with pytest.raises(InputError, match="NaN or infinite"):
        train([Volume(nan, (8, 8, 8), kind="image")], [labels], out, set=tiny)
    assert not out.exists()


def test_resuming_something_else_is_refused(
    phantom_h5: Path, tiny_run: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    raw, labels = f"{phantom_h5}:raw", f"{phantom_h5}:labels"
    with pytest.raises(RunError, match="already holds a run"):
        train([raw], [labels], tiny_run, set=tiny)
    with pytest.raises(RunError, match="same volumes"):
        train([raw, raw], [labels, labels], tiny_run, resume=True)
    with pytest.raises(RunError, match="settings of"):
        train([raw], [labels], tiny_run, resume=True, steps=99)
    with pytest.raises(RunError, match=r"there is no run"):
        train([raw], [labels], tmp_path / "none", resume=True)


def test_a_loss_that_is_not_finite_stops_the_run(phantom_h5: Path, tiny: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"lower train\.lr"):
        _train(phantom_h5, tmp_path / "r", tiny, 40, set=["train.lr=1e30", "train.clip=1e30", "train.validations=1"])


@pytest.mark.parametrize("task", ["neurons", "mitochondria", "semantic", "trees"])
@pytest.mark.parametrize("network", [{"channels": [4, 8]}, {"name": "unetr", "vit": {"dim": 24, "heads": 2}}])
def test_a_fresh_network_answers_what_its_task_expects(task: str, network: dict[str, object]) -> None:
    torch.manual_seed(0)
    config = parse_config({"task": task, "model": {"offsets": [[-1, 0, 0], [0, -1, 0], [0, 0, -1]], **network}})
    made = _built(config, (8.0, 8.0, 8.0)).eval()
    with torch.no_grad():
        answer = torch.sigmoid(made(torch.rand(1, 1, 16, 16, 16))).mean((0, 2, 3, 4))
    priors = [channel.prior for channel in task_named(task).channels(config)]
    assert answer.tolist() == pytest.approx(priors, rel=0.2)
