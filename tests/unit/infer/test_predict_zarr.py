import numpy as np
import pytest
from tests.unit.infer.fakes import Identity, SmallNet, as_given, image_of, settings

from neuropil.affinities import NEAREST
from neuropil.errors import IncompleteError, InputError
from neuropil.infer.predict import predict_volume, volume_plan
from neuropil.io.zarr import create_zarr, finish
from neuropil.volume import open_volume

DATA = np.random.default_rng(0).integers(0, 256, (21, 40, 35), np.uint8)
COMMON = {"offsets": NEAREST, "normalise": as_given}


def predict_to_zarr(net, image, path, *, settings, shard=None, **more):
    out = create_zarr(
        path,
        (3, *image.shape),
        "uint8",
        image.voxel_size,
        offset=image.offset,
        axes="czyx",
        kind="affinities",
        attrs={"offsets": [list(offset) for offset in NEAREST]},
        **({"shard": shard} if shard else {}),
    )
    assert predict_volume(net, image, settings=settings, out=out, **more) is out
    finish(path)
    return open_volume(path)


@pytest.mark.parametrize(
    ("shard", "block"), [(None, None), ((4, 16, 16), None), ((4, 16, 16), (4, 16, 16)), ((4, 8, 8), (12, 40, 16))]
)
def test_affinities_are_stored_with_their_offsets_and_place(tmp_path, shard, block):
    image = image_of(DATA, start=(3, 5, -7))
    stored = predict_to_zarr(
        SmallNet(), image, tmp_path / "a.zarr", settings=settings(block=block), shard=shard, **COMMON
    )
    assert stored.box == image.box
    assert (stored.kind, stored.axes, stored.dtype) == ("affinities", "czyx", np.uint8)
    assert [tuple(offset) for offset in stored.attrs["offsets"]] == list(NEAREST)
    assert (stored.numpy() == predict_volume(SmallNet(), image, settings=settings(), **COMMON)).all()


def test_many_columns_write_the_same_file(tmp_path):
    image = image_of(DATA, start=(3, 5, -7))
    few = settings(block=None, memory_bytes=200_000)
    steps = []
    got = predict_to_zarr(
        SmallNet(),
        image,
        tmp_path / "a.zarr",
        settings=few,
        shard=(4, 8, 8),
        progress=lambda *s: steps.append(s),
        **COMMON,
    )
    assert steps[-1][0] == steps[-1][1] > len(volume_plan(image, few))
    assert (got.numpy() == predict_volume(SmallNet(), image, settings=settings(), **COMMON)).all()


def test_an_interrupted_prediction_is_refused_and_then_replaced(tmp_path):
    def interrupt(done, total):
        if done == total // 2:
            raise KeyboardInterrupt

    path, image = tmp_path / "a.zarr", image_of(DATA)
    with pytest.raises(KeyboardInterrupt):
        predict_to_zarr(SmallNet(), image, path, settings=settings(block=None), progress=interrupt, **COMMON)
    with pytest.raises(IncompleteError):
        open_volume(path)
    predict_to_zarr(SmallNet(), image, path, settings=settings(block=None), **COMMON)
    assert open_volume(path).numpy().any()


def test_blocks_that_cut_shards_are_refused_before_any_work(tmp_path):
    net = Identity()
    with pytest.raises(InputError, match="whole shards"):
        predict_to_zarr(net, image_of(DATA), tmp_path / "a.zarr", settings=settings(), shard=(8, 16, 16), **COMMON)
    assert net.calls == 0
