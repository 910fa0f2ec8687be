import numpy as np
import pytest
from tests.unit.infer.fakes import SmallNet, as_given, image_of, output_for, settings

from neuropil.affinities import NEAREST
from neuropil.errors import IncompleteError, InputError
from neuropil.infer.output import predict_to_zarr
from neuropil.infer.predict import predict_volume
from neuropil.io.zarr import create_zarr
from neuropil.volume import open_volume

DATA = np.random.default_rng(0).integers(0, 256, (21, 40, 35), np.uint8)
COMMON = {"offsets": NEAREST, "normalise": as_given}


@pytest.mark.parametrize("block", [None, (4, 16, 16), (8, 40, 35)])
def test_affinities_are_stored_with_their_offsets_and_place(tmp_path, block):
    image = image_of(DATA, start=(3, 5, -7))
    got = predict_to_zarr(SmallNet(), image, tmp_path / "a.zarr", settings=settings(block=block), **COMMON)
    stored = open_volume(tmp_path / "a.zarr")
    assert stored.box == image.box
    assert (stored.kind, stored.axes, stored.dtype) == ("affinities", "czyx", np.uint8)
    assert [tuple(offset) for offset in stored.attrs["offsets"]] == list(NEAREST) == list(got.offsets)
    want = predict_volume(SmallNet(), image, settings=settings(), **COMMON)
    assert (stored.numpy() == want).all()
    assert (got.volume.numpy() == want).all()
    if block:
        assert stored.layout["shard"][-3:] == block


def test_many_columns_write_the_same_file(tmp_path):
    image = image_of(DATA, start=(3, 5, -7))
    few = settings(block=(4, 8, 8), memory_bytes=200_000)
    steps = []
    got = predict_to_zarr(
        SmallNet(), image, tmp_path / "a.zarr", settings=few, progress=lambda *s: steps.append(s), **COMMON
    )
    assert steps[-1][0] == steps[-1][1]
    assert (got.volume.numpy() == predict_volume(SmallNet(), image, settings=settings(), **COMMON)).all()


def test_an_interrupted_prediction_is_refused_and_then_replaced(tmp_path):
    def interrupt(done, total):
        if done == total // 2:
            raise KeyboardInterrupt

    path, image = tmp_path / "a.zarr", image_of(DATA)
    with pytest.raises(KeyboardInterrupt):
        predict_to_zarr(SmallNet(), image, path, settings=settings(), progress=interrupt, **COMMON)
    with pytest.raises(IncompleteError):
        open_volume(path)
    predict_to_zarr(SmallNet(), image, path, settings=settings(), **COMMON)
    assert open_volume(path).numpy().any()


def test_what_cannot_be_predicted_leaves_no_output(tmp_path):
    with pytest.raises(InputError):
        predict_to_zarr(SmallNet(), output_for(image_of(DATA), 3), tmp_path / "a.zarr", settings=settings(), **COMMON)
    assert not (tmp_path / "a.zarr").exists()


def test_shards_are_the_blocks_if_none_are_named(tmp_path):
    image = image_of(DATA)
    out = create_zarr(
        tmp_path / "a.zarr",
        (3, *DATA.shape),
        "uint8",
        image.voxel_size,
        axes="czyx",
        kind="affinities",
        shard=(8, 16, 16),
    )
    predict_volume(SmallNet(), image, settings=settings(block=None), out=out, **COMMON)
    assert (out.numpy() == predict_volume(SmallNet(), image, settings=settings(block=None), **COMMON)).all()
