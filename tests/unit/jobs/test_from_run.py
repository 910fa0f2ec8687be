"""Prediction is the first stage: blocks get the affinities, and so the labels, of the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from neuropil import api
from neuropil.errors import ConfigError
from neuropil.volume import open_volume

# an untrained network joins everything: the labels are told apart by what is decided, not by how well
SETTINGS = ("segment.threshold=0.51", "segment.fragments.radius_nm=40", "jobs.threads=1")


@pytest.fixture(autouse=True)
def one_thread():
    """What a network answers in fp32 may depend on the number of threads in the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("block", "workers"), [((10, 20, 64), 1), ((24, 36, 22), 2)])
def test_a_run_in_blocks_is_the_run_as_one(
    phantom_h5: Path, tiny_run: Path, tmp_path: Path, block: tuple[int, int, int], workers: int
) -> None:
    raw = f"{phantom_h5}:raw[0:24,0:36,0:40]"
    whole = api.predict(tiny_run, raw).volume.numpy()
    labels = api.segment(tiny_run, raw, set=SETTINGS)
    found = api.segment(tiny_run, raw, tmp_path / "x.zarr", set=SETTINGS, block=block, workers=workers)
    kept = open_volume(tmp_path / "x.blocks/affinities.zarr")
    np.testing.assert_array_equal(kept.numpy(), whole)
    np.testing.assert_array_equal(found.numpy(), labels.numpy())
    assert len(kept.attrs["offsets"]) == 9
    # what was predicted can be segmented again by itself
    again = api.segment(kept, out=tmp_path / "y.zarr")
    np.testing.assert_array_equal(again.numpy(), labels.numpy())


def test_a_run_of_organelles_in_blocks_is_the_run_as_one(
    phantom_h5: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    raw, settings = f"{phantom_h5}:raw[0:24,0:36,0:40]", (*tiny, "train.validations=1")
    pair = f"{phantom_h5}:raw", f"{phantom_h5}:labels"
    run = api.train(*pair, tmp_path / "run", recipe="em_mitochondria", steps=8, set=settings)
    # a network that has learned nothing: all is foreground, and seeds are where the distance is above its middle
    above = (float(np.median(api.predict(run, raw).numpy()[2])) + 0.5) / 255
    words = ["instances.foreground=0.01", "instances.seed_foreground=0.01", "instances.seed_contour=1"]
    words += [f"instances.seed_distance={2 * above - 1}", "instances.min_size_um3=0", "jobs.threads=1"]
    whole = api.segment(run, raw, set=words)
    assert whole.attrs["objects"] > 1
    found = api.segment(run, raw, tmp_path / "x.zarr", set=words, block=(10, 20, 64), report=tmp_path / "page.html")
    np.testing.assert_array_equal(found.numpy(), whole.numpy())
    kept = open_volume(tmp_path / "x.blocks/prediction.zarr")
    assert (kept.kind, kept.attrs["task"], kept.attrs["channels"][0]) == ("prediction", "mitochondria", "foreground")
    # what was predicted can be segmented again by itself
    np.testing.assert_array_equal(api.segment(kept, out=tmp_path / "y.zarr").numpy(), whole.numpy())
    assert "foreground" in (tmp_path / "page.html").read_text()


def test_other_weights_are_refused(phantom_h5: Path, tiny_run: Path, tmp_path: Path) -> None:
    import shutil

    run, raw = tmp_path / "run", f"{phantom_h5}:raw[0:24,0:36,0:40]"
    shutil.copytree(tiny_run, run)
    ask = {"set": SETTINGS, "block": (24, 36, 40)}
    api.segment(run, raw, tmp_path / "x.zarr", **ask)
    weights = run / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(bytes(damaged))
    with pytest.raises(ConfigError, match="weights"):
        api.segment(run, raw, tmp_path / "x.zarr", **ask)
