"""The recipe that is chosen for real volumes is the one that they were made for."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuropil import open_volume
from neuropil.auto.choose import microscope
from neuropil.auto.facts import image_facts
from neuropil.auto.recipe import choose_recipe

pytestmark = pytest.mark.real


@pytest.mark.parametrize(
    ("file", "labels", "recipe"),
    [
        ("fib25/trvol_250_1.h5", "labels", "em_neurons"),
        ("isbi2012/dev_z00_19.h5", "labels", "em_neurons"),
        ("isbi2012/dev_z00_19.h5", "mitochondria", "em_mitochondria"),
        ("isbi2012/dev_z00_19.h5", "membrane_isbi", "em_semantic"),
        ("vnc_sstem/dev_16x640x640.h5", "mitochondria", "em_semantic"),
        ("gala/gala_train_50x100x200.h5", "labels", "em_neurons"),
    ],
)
def test_labels_of_electron_microscopes(real_data: Path, file: str, labels: str, recipe: str) -> None:
    choice = choose_recipe([open_volume(f"{real_data / file}:raw")], [f"{real_data / file}:{labels}"], [])
    assert choice.base == recipe


@pytest.mark.parametrize("file", ["fly_neuron_119x415x409.tif", "SpotSpine_ImageStack_Test.tif"])
def test_images_of_dyes(real_data: Path, file: str) -> None:
    image = open_volume(real_data / "lm_small" / file, voxel_size=(100, 100, 100))
    assert microscope(image_facts([image])) == "lm"
