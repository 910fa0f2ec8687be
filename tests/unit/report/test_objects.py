"""Objects in a background, and masks: what was missed or is false is on the page, and nothing is called a neuron."""

from __future__ import annotations

import numpy as np
import pytest

from neuropil.errors import InputError
from neuropil.metrics.detection import CABLES, SIZES, detection_scores
from neuropil.metrics.matching import overlaps
from neuropil.metrics.overlap import contingency
from neuropil.report import ReportData, write_report
from neuropil.report.html import run_view
from neuropil.report.meanings import MEANING
from neuropil.report.mistakes import FALSE, IGNORED, MATCHED, MERGE, MISSED, SPLIT, error_classes
from neuropil.report.objects import Compared, classes_in_background, counted
from neuropil.report.panels import painter
from neuropil.report.scene import read_scene
from neuropil.report.wording import WORDINGS
from neuropil.report.words import compared, tiles

UNKNOWN = 2**64 - 1


@pytest.fixture
def volumes() -> tuple[np.ndarray, np.ndarray]:
    """10 is right, 20 missed, 30 split in two, 40 and 50 are merged, 60 is false, and 70 where the truth is unknown."""
    truth, pred = np.zeros((8, 40, 80), np.uint64), np.zeros((8, 40, 80), np.uint64)
    truth[:, 2:10, 2:10], pred[:, 2:10, 2:11] = 10, 1
    truth[:, 2:14, 20:34] = 20
    truth[:, 20:28, 2:18] = 30
    pred[:, 20:28, 2:12], pred[:, 20:28, 12:18] = 3, 33
    truth[:, 20:28, 30:40], truth[:, 20:28, 40:48] = 40, 50
    pred[:, 20:28, 30:48] = 4
    pred[:, 20:30, 60:70] = 6
    truth[:, :10, 60:], pred[:, 2:8, 62:68] = UNKNOWN, 7
    truth[:, 9, 60:] = UNKNOWN - 1
    return truth, pred


@pytest.fixture
def data(volumes) -> ReportData:
    return ReportData("o", truth=volumes[0], segmentation=volumes[1], voxel_size=(20.0, 8.0, 8.0), task="mitochondria")


def test_background_of_the_truth_is_real_and_reserved_ids_are_not_judged(data, small_look, volumes):
    truth, pred = volumes
    classes = painter(read_scene(data, small_look)).errors_ZYX
    assert (classes[pred == 6] == FALSE).all()
    assert (classes[:, 2:10, 10] == FALSE).all()
    assert (classes[truth == 20] == MISSED).all()
    assert (classes[pred == 33] == SPLIT).all()
    assert (classes[truth == 50] == MERGE).all()
    assert (classes[:, 2:10, 2:10] == MATCHED).all()
    assert (classes[(truth == 0) & (pred == 0)] == IGNORED).all()
    assert (classes[truth >= UNKNOWN - 1] == IGNORED).all()


def test_neurons_are_judged_as_before(data, small_look):
    scene = read_scene(data, small_look)
    found = painter(scene).found
    both = scene.truth.index_ZYX, scene.segmentation.index_ZYX
    assert FALSE not in error_classes(*both, found)
    assert FALSE in classes_in_background(*both, found, None)


def test_mistakes_are_listed_by_their_wrong_voxels(data, small_look, volumes):
    truth, pred = volumes
    view = run_view(data, "r0", small_look.__class__(**{**small_look.__dict__, "worst": 9}))
    assert [(p.kind, p.object_id, p.wrong, p.voxels) for p in view.places] == [
        ("missed", 20, 8 * 12 * 14, 8 * 12 * 14),
        ("false", 6, 8 * 100, 8 * 100),
        ("merge", 4, 8 * 8 * 8, 8 * 8 * 18),
        ("split", 30, 8 * 8 * 6, 8 * 8 * 16),
    ]
    assert view.tally == "1 missed, 1 false, 1 split, 1 merged"
    missed, false, merge, split = view.places
    assert (truth[missed.z, missed.y, missed.x], pred[false.z, false.y, false.x]) == (20, 6)
    assert missed.wrong_um3 == pytest.approx(8 * 12 * 14 * 20 * 8 * 8 / 1e9)
    assert [p.part_text for p in view.places] == [
        "nothing of it is predicted",
        "nothing of it is true",
        "40 (56 %), 50 (44 %)",
        "3 (62 %), 33 (38 %)",
    ]
    assert merge.x in (39, 40)
    assert split.x in (11, 12)


def test_touching_or_hardly_met_objects_are_neither_split_nor_merged(small_look):
    truth, pred = np.zeros((1, 10, 40), np.uint64), np.zeros((1, 10, 40), np.uint64)
    truth[..., 0:10], truth[..., 10:20] = 1, 2
    pred[..., 0:11], pred[..., 11:20] = 1, 2  # a border drawn aside
    pred[:, 9, 19:36] = 3  # in the background but for one voxel
    scene = read_scene(
        ReportData("o", truth=truth, segmentation=pred, voxel_size=(8.0, 8.0, 8.0), task="mitochondria"), small_look
    )
    wrong = Compared.of(scene.truth, scene.segmentation, painter(scene).found, None).wrong()
    assert [(one.kind, one.voxels) for one in wrong] == [("false", 16)]
    assert counted(wrong, WORDINGS["mitochondria"].kinds) == "1 false"


def test_half_of_an_object_is_enough(small_look):
    truth, pred = np.zeros((1, 4, 40), np.uint64), np.zeros((1, 4, 40), np.uint64)
    truth[..., 0:10], truth[..., 20:30] = 1, 2
    pred[..., 0:5], pred[..., 20:24] = 1, 2
    data = ReportData("o", truth=truth, segmentation=pred, voxel_size=(8.0, 8.0, 8.0), task="mitochondria")
    (place,) = run_view(data, "r0", small_look).places
    assert (place.kind, place.object_id, place.part_text) == ("missed", 2, "40 % of it is predicted")


@pytest.mark.parametrize("task", ["mitochondria", "semantic"])
def test_the_page_speaks_of_the_task(data, small_look, tmp_path, task):
    kept = {**data.__dict__, "task": task, "scores": {"num_truth": 5, "dice": 0.5}}
    page = write_report(ReportData(**kept), tmp_path / "p.html", look=small_look).read_text()
    body = page.partition("<body>")[2].partition("<script>")[0]
    assert "euron" not in body
    assert "VOI" not in body
    assert ("<b>False</b>" in body, "<b>Missed</b>" in body) == (True, True)
    assert ("<b>Split</b>" in body, 'id="r0-worst"' in body) == (task == "mitochondria",) * 2
    assert ('href="#r0-worst-1"' in body) == (task == "mitochondria")


def test_nothing_predicted_is_everything_missed(data, small_look, tmp_path):
    empty = ReportData(**{**data.__dict__, "segmentation": np.zeros_like(data.segmentation)})
    assert run_view(empty, "r0", small_look).tally == "5 missed"


def test_unknown_tasks_are_refused(tmp_path):
    with pytest.raises(InputError, match="mitochondria"):
        write_report(ReportData("o", task="nuclei"), tmp_path / "p.html")


def test_a_mask_is_one_thing(data, small_look, volumes):
    truth, pred = volumes
    classes = painter(read_scene(ReportData(**{**data.__dict__, "task": "semantic"}), small_look)).errors_ZYX
    known, true = truth < UNKNOWN - 1, (truth > 0) & (truth < UNKNOWN - 1)
    assert ((classes == FALSE) == (known & ~true & (pred > 0))).all()
    assert ((classes == MISSED) == (true & (pred == 0))).all()
    assert set(np.unique(classes)) == {IGNORED, MATCHED, MISSED, FALSE}


def test_every_score_of_objects_is_explained(volumes):
    scores = detection_scores(overlaps(contingency(*volumes)))
    groups = {k.replace("small", g) for k in scores if k.endswith("_small") for g in SIZES + CABLES}
    groups -= {f"ap_75_{g}" for g in CABLES}
    assert len(groups) > 40
    assert (set(scores) | groups) - set(MEANING) == set()
    assert MEANING["f1_75_small"][0] == "F1 at IoU 0.75, small"


def test_objects_are_not_called_neurons_among_the_scores():
    made = {t.key: t for t in tiles({"num_truth": 3, "f1_50": 0.5, "f1_75_small": 0.5}, WORDINGS["mitochondria"])}
    assert made["num_truth"].title == "True objects"
    assert (made["f1_50"].main, made["f1_75_small"].main, made["f1_75_small"].group) == (True, False, True)
    assert tiles({"num_truth": 3})[0].title == "Neurons"
    assert compared([{"num_truth": 3}] * 2, WORDINGS["mitochondria"])[0].title == "True objects"
