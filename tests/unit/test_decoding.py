from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neuropil.config import Config, load_config
from neuropil.decoding import (
    UNCALIBRATED,
    decoder,
    decoding,
    note_collapse,
    note_edge,
    note_padding,
    note_unlearned,
    prediction,
    stored_decoding,
)
from neuropil.errors import ConfigError, GeometryError, InputError
from neuropil.training.checkpoint import Run
from neuropil.volume import Volume

OFFSETS = [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]


def _affinities(**attrs: object) -> Volume:
    return Volume(np.zeros((3, 4, 4, 4), np.uint8), (8, 8, 8), axes="czyx", attrs={"offsets": OFFSETS, **attrs})


def test_calibration_fills_what_is_free_and_the_user_has_the_last_word() -> None:
    config = load_config("em_neurons")
    calibration = {"threshold": 0.3, "bias": [0.5, 0.5, 0.5]}
    found = decoding(config, calibration, []).segment
    assert (found.threshold, found.bias) == (0.3, (0.5, 0.5, 0.5))
    assert decoding(config, calibration, ["segment.threshold=0.6"]).segment.threshold == 0.6
    assert decoding(config, {"threshold": None, "bias": []}, []).segment == config.segment


@pytest.mark.parametrize("words", ["train.lr=1", "model.channels=[8,8]", "data.normalise=zscore"])
def test_what_was_learned_cannot_be_changed_afterwards(words: str) -> None:
    with pytest.raises(ConfigError, match=r"predict\. or segment\."):
        decoding(load_config("em_neurons"), {}, [words])


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("em_neurons", "instances.foreground=0.4"),
        ("em_neurons", "pretrain.method=multiscale"),
        ("em_neurons", "trace.gap=3"),
        ("em_mitochondria", "segment.threshold=0.4"),
    ],
)
def test_settings_that_would_change_nothing_are_refused(recipe: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words.partition(".")[0]):
        decoding(load_config(recipe), {}, [words])


@pytest.mark.parametrize(
    ("attrs", "words"),
    [
        ({}, "train.lr=3"),
        ({}, "predict.tta=flips"),
        ({}, "instances.foreground=0.4"),
        ({"task": "mitochondria"}, "segment.threshold=0.4"),
    ],
)
def test_a_stored_prediction_takes_what_decides_its_decoding(attrs: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words.partition(".")[0]):
        stored_decoding(_affinities(**attrs), [words])
    assert stored_decoding(_affinities(), ["predict.tta=flips"], predicted_now=True).task == "neurons"


def test_stored_affinities_are_decoded_as_their_run_says(capsys: pytest.CaptureFixture[str]) -> None:
    stored = Config().segment.model_copy(update={"threshold": 0.35, "min_size": 7}).model_dump(mode="json")
    # an earlier version stored a setting that there is no more
    found = stored_decoding(_affinities(segment={**stored, "enough": 1000}), [])
    assert (found.segment.threshold, found.segment.min_size) == (0.35, 7)
    assert capsys.readouterr().err == ""


def test_affinities_without_a_run_get_a_default_that_is_said_aloud(capsys: pytest.CaptureFixture[str]) -> None:
    assert stored_decoding(_affinities(), []).segment.threshold == UNCALIBRATED
    assert "without a calibrated threshold" in capsys.readouterr().err
    assert stored_decoding(_affinities(), ["segment.threshold=0.2"]).segment.threshold == 0.2
    assert stored_decoding(_affinities(), ["segment.method=mutex"]).segment.threshold is None
    assert capsys.readouterr().err == ""


def test_unknown_segmenters_are_named() -> None:
    with pytest.raises(ConfigError, match="agglomerate"):
        decoder(Config().segment.model_copy(update={"method": "aglomerate"}))


def test_a_volume_of_another_voxel_size_is_refused(tiny_run: object) -> None:
    run = Run.open(str(tiny_run))
    coarse = Volume(np.zeros((16, 16, 16), np.uint8), (40, 8, 8), kind="image")
    with pytest.raises(GeometryError, match="trained at"):
        prediction(run, coarse, [])
    with pytest.raises(InputError, match="one grey value"):
        prediction(run, Volume(np.zeros((16, 16, 16), np.uint8), (8, 8, 8), kind="image"), [])


def test_a_collapsed_segmentation_is_said_aloud(capsys: pytest.CaptureFixture[str]) -> None:
    config = Config().segment.model_copy(update={"threshold": 0.3})
    note_collapse(2, config)
    assert capsys.readouterr().err == ""
    note_collapse(1, config)
    assert "note: the segmentation at threshold 0.3 is one object" in capsys.readouterr().err
    note_collapse(0, config)
    said = capsys.readouterr().err
    assert "no object" in said
    assert "segment.threshold" not in said  # joining less does not bring objects out of background
    note_collapse(1, Config().segment)
    assert "threshold" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("threshold", "said"), [(0.05, True), (0.95, True), (0.075, False), (0.925, False), (None, False)]
)
def test_a_threshold_at_the_edge_is_said_aloud(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], threshold: float | None, said: bool
) -> None:
    note_edge(Run(tmp_path, Config(), {"best": {"threshold": threshold}}))
    assert ("at the edge" in capsys.readouterr().err) == said


@pytest.mark.parametrize(("best", "said"), [({"iou": 0.02}, True), ({"iou": 0.4}, False), ({"threshold": 0.3}, False)])
def test_a_foreground_that_is_not_found_is_said_aloud(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], best: dict[str, float], said: bool
) -> None:
    note_unlearned(Run(tmp_path, Config(), {"best": best}))
    assert ("next to nothing" in capsys.readouterr().err) == said


def test_padding_is_told_of_where_it_matters(capsys: pytest.CaptureFixture[str]) -> None:
    tissue = np.random.default_rng(0).integers(1, 255, (4, 32, 32), np.uint8)
    note_padding(Volume(tissue, (8, 8, 8)), "neurons")
    padded = Volume(np.pad(tissue, ((0, 0), (8, 0), (0, 0))), (8, 8, 8))
    note_padding(padded, "trees")
    assert capsys.readouterr().err == ""
    note_padding(padded, "neurons")
    assert "is padding" in capsys.readouterr().err
