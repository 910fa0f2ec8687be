"""Facts lead to the recipe that a reader would choose; where they do not, the error names what could be meant."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from neuropil.auto.choose import memory, microscope, pretext_for, recipe_for, sizes, without
from neuropil.auto.facts import ImageFacts, LabelFacts
from neuropil.auto.memory import StepMemory
from neuropil.errors import ConfigError

EM = ImageFacts(0.5, (8.0, 8.0, 8.0), ((250, 250, 250),), 250**3)
LM = replace(EM, level=0.02)
DENSE = LabelFacts("instances", 300, 0.95, 1.0, 0.8, 15_000_000, ((250, 250, 250),))
GIB = 2**30


def chosen(image: ImageFacts, labels: LabelFacts) -> dict[str, Any]:
    return {d.key: d.value for d in recipe_for(image, labels)}


# as measured on the developer volumes: FIB-25, ISBI-2012 (neurites, mitochondria, membranes), Lucchi's mitochondria
@pytest.mark.parametrize(
    ("labels", "recipe"),
    [
        (DENSE, "em_neurons"),
        (replace(DENSE, ids=133, labelled=0.77, crossing=0.61), "em_neurons"),
        (replace(DENSE, ids=7, labelled=0.047, crossing=0.15), "em_mitochondria"),
        (replace(DENSE, ids=19, labelled=0.057, crossing=0.51), "em_mitochondria"),
        (replace(DENSE, truth="mask", ids=1, labelled=0.23, crossing=1.0), "em_semantic"),
        (replace(DENSE, truth="trees", ids=1, labelled=0.0, crossing=1.0), "lm_neuron"),
    ],
)
def test_labels_of_an_electron_microscope(labels: LabelFacts, recipe: str) -> None:
    assert chosen(EM, labels) == {"recipe": recipe}


def test_few_neurons_among_many_leave_the_rest_unknown() -> None:
    assert chosen(EM, replace(DENSE, labelled=0.1, crossing=0.9)) == {
        "recipe": "em_neurons",
        "data.zero_label": "ignore",
    }


def test_what_is_not_annotated_does_not_thin_out_neurons() -> None:
    assert chosen(EM, replace(DENSE, labelled=0.3, annotated=0.4)) == {"recipe": "em_neurons"}


def test_a_mask_of_dyes_is_one_neuron_and_trees_need_no_microscope() -> None:
    assert chosen(LM, replace(DENSE, truth="mask", ids=1, labelled=0.01)) == {"recipe": "lm_neuron"}
    assert chosen(replace(EM, level=0.25), replace(DENSE, truth="trees")) == {"recipe": "lm_neuron"}


@pytest.mark.parametrize(
    ("image", "labels", "candidates"),
    [
        (replace(EM, level=0.25), DENSE, ("lm_neuron", "em_neurons")),
        (EM, replace(DENSE, truth="classes", ids=3), ("em_semantic", "em_mitochondria")),
        (EM, replace(DENSE, labelled=0.2, crossing=0.62), ("em_neurons", "em_mitochondria")),
        (LM, replace(DENSE, labelled=0.01), ("lm_neuron", "em_mitochondria")),
    ],
)
def test_what_could_be_two_things_is_asked(image: ImageFacts, labels: LabelFacts, candidates: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="cannot tell") as caught:
        recipe_for(image, labels)
    assert all(f"--recipe {name}" in caught.value.fix for name in candidates)


def changed(image: ImageFacts, labels: LabelFacts, multiple: tuple[int, int, int] = (8, 8, 8)) -> dict[str, Any]:
    return {d.key: d.value for d in sizes(image, labels, multiple, min_labelled=0.05)}


def test_many_labels_change_nothing() -> None:
    assert changed(EM, DENSE) == {}


def test_fewer_labels_mean_smaller_crops_that_keep_their_grid() -> None:
    sides = []
    for side in (250, 130, 90, 60):
        image = replace(EM, shapes=((side,) * 3,))
        crop = changed(image, replace(DENSE, regions=((side,) * 3,))).get("data.crop", [64, 64, 64])
        assert all(n % 8 == 0 and n <= side for n in crop)
        sides.append(crop[0])
    assert sides == sorted(sides, reverse=True)
    assert sides[0] == 64
    assert sides[-1] == 24


def test_crops_fit_into_the_smallest_image() -> None:
    thin = replace(EM, voxel_size=(50.0, 4.0, 4.0), shapes=((20, 1250, 1250), (12, 2048, 2048)))
    crop = changed(thin, replace(DENSE, regions=thin.shapes), (2, 8, 8)).get("data.crop")
    # 16 x 128 x 128 is what this voxel size has otherwise
    assert crop is None or crop[0] <= 12
    assert crop is not None


def test_a_thin_slab_is_widened_and_rare_labels_are_looked_for() -> None:
    found = changed(replace(EM, shapes=((60, 60, 60),)), replace(DENSE, labelled=0.01, regions=((60, 60, 60),)))
    assert found["data.validation"] == 0.2
    assert found["data.min_labelled"] == 0.002
    assert changed(EM, replace(DENSE, truth="trees", labelled=0.0001)) == {}


def settled(step: StepMemory | None, free: float, batch: int = 2) -> dict[str, Any]:
    return {d.key: d.value for d in memory(EM, DENSE, step, round(free * GIB), batch=batch)}


def test_batch_and_cache_follow_from_the_memory() -> None:
    step = StepMemory(weights=GIB // 10, kept=GIB // 2)  # 1.1 GiB for a crop
    assert settled(step, 64) == {}
    assert settled(step, 3) == {"train.batch": 1, "data.cache_gb": 0.9} or settled(step, 3) == {"train.batch": 1}
    with pytest.raises(ConfigError, match=r"one crop takes about 1\.1 GiB, and 0\.5 GiB are free"):
        settled(step, 0.5)
    assert "train.batch" not in settled(None, 1)


def test_large_volumes_are_cached_where_there_is_room() -> None:
    large = replace(EM, bytes=3 * GIB)
    labels = replace(DENSE, regions=((16, 64, 64),))
    assert {d.key: d.value for d in memory(large, labels, None, 64 * GIB, batch=1)} == {"data.cache_gb": 4.0}
    assert memory(large, labels, None, 8 * GIB, batch=1) == []


def test_pretraining_prepares_the_network_that_will_be_trained() -> None:
    from neuropil.config import load_config

    assert [d.value for d in pretext_for(EM)] == ["multiscale"]
    for image, recipe in ((EM, "em_neurons"), (LM, "lm_neuron")):
        values = {d.key: d.value for d in pretext_for(image)}
        words = [f"{k}={v}" for k, v in values.items() if k != "recipe"]
        assert load_config(values["recipe"], words).model == load_config(recipe).model


def test_the_user_comes_first_and_every_decision_has_a_reason() -> None:
    decisions = [*recipe_for(EM, DENSE), *sizes(EM, replace(DENSE, regions=((60,) * 3,)), (8, 8, 8), min_labelled=0.05)]
    assert all(len(d.reason) > 10 for d in decisions)
    assert "data.crop" not in {d.key for d in without(decisions, ["data.crop=[8,8,8]"])}
    assert without(decisions, []) == decisions
    assert microscope(EM) == "em"
