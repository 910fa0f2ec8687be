"""Mitochondria as a task: its loss has its minimum at the truth, and calibration finds what decodes best."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.unit.post.test_instances import NM, balls, perfect

from neuropil.affinities import NEAREST
from neuropil.config import Config
from neuropil.errors import ConfigError
from neuropil.tasks.base import Predicted, task_named
from neuropil.tasks.mitochondria import TASK, calibrate, channels, loss, targets
from neuropil.volume import Volume


def config(**changes: object) -> Config:
    return Config.model_validate({"task": "mitochondria", **changes})


def batch_of(settings: Config, seed: int = 0) -> dict[str, torch.Tensor]:
    labels = balls(NM, True)[:, 8:32, 8:60]
    made = targets(settings, NM)(labels, np.random.default_rng(seed).random(labels.shape) > 0.1)
    return {key: torch.from_numpy(value)[None] for key, value in made.items()}


def answer(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    p = batch["targets"].clone()
    p[:, 2] = (p[:, 2] + 1) / 2
    return torch.logit(p.clamp(1e-6, 1 - 1e-6))


def test_channels_and_their_options() -> None:
    assert [c.name for c in channels(config())] == ["foreground", "contour", "distance"]
    more = channels(config(organelles={"affinities": True}))
    assert tuple(c.step for c in more[3:]) == NEAREST
    assert all(c.step == (0, 0, 0) for c in more[:3])
    assert task_named("mitochondria") is TASK


@pytest.mark.parametrize("affinities", [False, True])
def test_the_truth_is_the_best_answer(affinities: bool) -> None:
    settings = config(organelles={"affinities": affinities, "sigma_nm": 16.0, "reach": 1.0})
    batch = batch_of(settings)
    best = loss(answer(batch), batch, settings)
    assert float(best) < 1e-2
    for c in range(batch["targets"].shape[1]):
        worse = answer(batch)
        worse[:, c] *= -1
        assert float(loss(worse, batch, settings)) > float(best) + 0.1, c


def test_what_is_not_known_teaches_nothing() -> None:
    settings = config(organelles={"sigma_nm": 16.0, "reach": 1.0})
    batch = batch_of(settings)
    logits = torch.zeros_like(batch["targets"], requires_grad=True)
    loss(logits, batch, settings).backward()
    assert logits.grad is not None
    unknown = batch["valid"] == 0
    assert 0.05 < unknown.float().mean() < 0.95
    assert not logits.grad[unknown].any()
    assert (logits.grad[~unknown] != 0).float().mean() > 0.99


def test_calibration_finds_thresholds_that_the_defaults_miss() -> None:
    truth = balls(NM, True)
    stored = perfect(truth)
    # a timid network: everything is said at six tenths of its strength
    stored[0] = (stored[0] * 0.6).astype(np.uint8)
    stored[2] = np.where(stored[2] > 127, 127 + (stored[2].astype(int) - 127) * 0.4, stored[2]).astype(np.uint8)
    slab = Predicted(stored, truth)
    fixed = calibrate([slab], NM, config(instances={"calibrate": False}))
    assert fixed["f1_50"] == 0
    assert fixed["calibration"] == {}
    found = calibrate([slab, slab], NM, config())
    assert found["f1_75"] == 1
    assert found["objects"] == 6
    assert found["score"] < fixed["score"]
    chosen = config(instances=found["calibration"])
    labels = TASK.decode(stored, (), NM, chosen)
    assert len(np.unique(labels)) == 4
    assert calibrate([slab, slab], NM, config()) == found


def test_calibration_drops_crumbs() -> None:
    truth = balls(NM, False)
    wrong = truth.copy()
    wrong[1:6, 1:6, 1:6] = 9
    stored = perfect(wrong)
    stored[2, 1:6, 1:6, 1:6] = 250
    stored[1, 2:5, 2:5, 2:5] = 0
    found = calibrate([Predicted(stored, truth)], NM, config())
    assert found["calibration"]["min_size_um3"] > 0 or found["calibration"]["seed_contour"] < 0.8
    assert found["f1_75"] == 1


def test_unannotated_voxels_do_not_judge() -> None:
    truth = balls(NM, False).astype(np.uint64)
    stored = perfect(truth.astype(np.uint32))
    stored[:, :, :, 50:] = 255  # nonsense where nothing was annotated
    truth[:, :, 50:] = 2**64 - 1
    found = calibrate([Predicted(stored, truth)], NM, config())
    assert found["iou"] > 0.95


def test_a_slab_without_an_object_counts_what_is_found_there() -> None:
    truth = balls(NM, True)
    full, bare = Predicted(perfect(truth), truth), Predicted(perfect(truth), np.zeros_like(truth))
    fixed = config(instances={"calibrate": False})
    alone, both = calibrate([full], NM, fixed), calibrate([full, bare], NM, fixed)
    assert alone["f1_50"] == 1.0
    assert (both["objects"], both["f1_50"]) == (alone["objects"], pytest.approx(2 / 3, abs=1e-4))
    assert both["iou"] < 0.6 < alone["iou"]


@pytest.mark.parametrize(
    ("organelles", "named"),
    [({"sigma_nm": 5000.0}, "sigma_nm"), ({"reach": 0.1}, "seed_distance"), ({"reach": 2.0}, None)],
)
def test_distances_that_cannot_be_learned_are_refused(organelles: dict[str, float], named: str | None) -> None:
    settings = config(organelles=organelles)
    if named is None:
        TASK.check(settings, NM)
    else:
        with pytest.raises(ConfigError, match=named):
            TASK.check(settings, NM)


def test_a_mask_is_told_to_be_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    mask = np.zeros((4, 16, 16), np.uint8)
    mask[:, 2:6, 2:6] = mask[:, 10:14, 10:14] = 255
    image = Volume(np.zeros(mask.shape, np.uint8), NM, kind="image")
    labels = Volume(mask, NM, kind="labels", name="mask")
    TASK.truth(labels, image, None, config())
    assert "organelles.components=true" in capsys.readouterr().err
    mask[:, 10:14, 10:14] = 7
    TASK.truth(labels, image, None, config())
    assert capsys.readouterr().err == ""
