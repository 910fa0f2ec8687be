"""The real volumes open as what they are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from neuropil.errors import GeometryError, InputError
from neuropil.io import save_volume
from neuropil.io.describe import describe
from neuropil.volume import Volume, open_volume, require_kind, require_same_grid

pytestmark = pytest.mark.real


@pytest.fixture
def data() -> Path:
    folder = os.environ.get("NEUROPIL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("NEUROPIL_DATA does not name the folder of real data")
    return Path(folder)


PAIRS = [
    ("fib25/trvol_250_1.h5", "raw", "labels", (8, 8, 8), 548),
    ("fib25/devtest_250x190x300.h5", "raw", "labels", (8, 8, 8), 219),
    ("isbi2012/dev_z00_19.h5", "raw", "labels", (50, 4, 4), 133),
    ("gala/gala_train_50x100x200.h5", "raw", "labels", (10, 10, 10), None),
    ("vnc_sstem/dev_16x640x640.h5", "raw", "mitochondria", (50, 4.6, 4.6), None),
    ("epfl/dev_train14.h5", "raw", "mitochondria", (5, 5, 5), None),
]


@pytest.mark.parametrize(
    ("file", "raw", "labels", "voxel", "objects"), PAIRS, ids=[p[0].split("/")[0] + str(p[4]) for p in PAIRS]
)
def test_image_and_labels(data, file, raw, labels, voxel, objects) -> None:
    image = require_kind(open_volume(f"{data / file}:{raw}"), "image")
    truth = require_kind(open_volume(f"{data / file}:{labels}"), "labels")
    require_same_grid(image, truth)
    assert image.voxel_size == voxel
    if objects is not None:
        assert open_volume(f"{data / file}:{labels}").kind == "labels"
        assert describe(truth)["labels"]["objects"] == objects


REAL_KINDS = [
    ("fib25/trvol_250_1.h5:raw", "image", True),
    ("fib25/trvol_250_1.h5:labels", "labels", True),
    ("fib25/unlabelled_200x195x400.h5:raw", "image", True),
    ("fib25/trvol_250_1_ffn_baseline.h5:ffn_segmentation", "labels", True),
    ("fib25/trvol_250_1_neuroproof_oversegmentation.h5:supervoxels", "labels", True),
    ("isbi2012/dev_z00_19.h5:raw", "image", True),
    ("isbi2012/dev_z00_19.h5:labels", "labels", True),
    ("isbi2012/dev_z00_19.h5:neurites_raw_ids", "labels", True),
    ("isbi2012/dev_z00_19.h5:membrane_isbi", "mask", False),
    ("isbi2012/dev_z00_19.h5:membrane_isbi", "image", False),
    ("isbi2012/dev_z00_19.h5:mitochondria", "labels", True),
    ("vnc_sstem/dev_16x640x640.h5:raw", "image", True),
    ("vnc_sstem/dev_16x640x640.h5:membranes", "mask", False),
    ("epfl/dev_train14.h5:raw", "image", True),
    ("epfl/dev_train14.h5:vesicles", "mask", False),
    ("epfl/dev_train14.h5:axon", "labels", False),
    ("gala/gala_train_50x100x200.h5:raw", "image", True),
    ("gala/gala_test_50x100x200.h5:labels", "labels", True),
    ("snemi_mini/snemi_mini_32x160x160.h5:labels", "labels", True),
    ("snemi_mini/snemi_mini_32x160x160.h5:membrane_prob_u8", "image", True),
    ("cortex_labels/connectomics_crop_256.h5:labels", "labels", True),
    ("lucchi_mito_labels/lucchi_test_mito_instances.h5:labels", "labels", True),
    ("erl_axonem_mini/axonem_mini_100x205x205.h5:labels", "labels", False),
    ("erl_axonem_mini/axonem_mini_100x205x205.h5:prediction", "labels", False),
    ("fisbe_labels/R14A02-20180905_65_A6.h5:prediction", "labels", False),
    ("lm_small/fly_neuron_119x415x409.tif", "image", False),
    ("lm_small/SpotSpine_ImageStack_Test.tif", "image", False),
]


@pytest.mark.parametrize(
    ("place", "kind", "told"), REAL_KINDS, ids=[f"{p.split('/')[-1]}-{k}" for p, k, _ in REAL_KINDS]
)
def test_values_alone_tell_images_from_labels(data, place, kind, told) -> None:
    found = open_volume(f"{data}/{place}", voxel_size=(8, 8, 8))
    silent = Volume(found.array, (8, 8, 8), name="somewhere:data")
    assert require_kind(silent, kind).kind == kind
    if told:
        with pytest.raises(InputError, match="looks like"):
            require_kind(silent, "image" if kind == "labels" else "labels")


def test_imagej_stack_in_micrometres(data) -> None:
    volume = open_volume(data / "lm_small" / "SpotSpine_ImageStack_Test.tif")
    assert volume.voxel_size == pytest.approx((210, 60, 60), rel=1e-4)
    assert volume.shape == (41, 157, 116)


def test_stack_without_voxel_size(data) -> None:
    path = data / "lm_small" / "fly_neuron_119x415x409.tif"
    with pytest.raises(GeometryError, match="--voxel-size"):
        open_volume(path)
    assert open_volume(path, voxel_size=(1000, 500, 500)).numpy().shape == (119, 415, 409)


def test_channels_of_overlapping_instances(data) -> None:
    url = f"{data}/fisbe_labels/R14A02-20180905_65_A6.h5:gt_instances"
    assert open_volume(url, voxel_size=(440, 440, 440)).axes == "czyx"


def test_cube_becomes_ome_zarr(data, tmp_path) -> None:
    cube = open_volume(f"{data}/gala/gala_train_50x100x200.h5:labels")
    save_volume(cube, tmp_path / "labels.zarr")
    again = open_volume(tmp_path / "labels.zarr")
    np.testing.assert_array_equal(again.numpy(), cube.numpy())
    assert (again.kind, again.voxel_size) == ("labels", cube.voxel_size)
