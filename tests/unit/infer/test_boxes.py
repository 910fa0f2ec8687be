"""Any box of a volume is predicted as in the whole."""

import numpy as np
import pytest
import torch
from tests.unit.infer.fakes import SmallNet, as_given, image_of
from tests.unit.infer.fakes import settings as predict_settings

from neuropil.affinities import NEAREST
from neuropil.geometry import Box
from neuropil.infer.boxes import predict_box
from neuropil.infer.predict import TilePredictor, predict_volume, volume_plan


@pytest.mark.parametrize("batch", [1, 3])
def test_boxes_are_those_of_the_whole(batch):
    torch.set_num_threads(1)
    image = image_of(np.random.default_rng(0).integers(0, 256, (17, 22, 25), np.uint8), start=(-3, 40, 7))
    chosen = predict_settings(tile=(6, 8, 8), overlap=(2, 3, 3), multiple_of=(2, 2, 2), batch=batch)
    net = SmallNet()
    whole = predict_volume(net, image, offsets=NEAREST, normalise=as_given, settings=chosen)
    predictor = TilePredictor(net.eval(), NEAREST, image.voxel_size, chosen)
    rng = np.random.default_rng(1)
    for _ in range(8):
        start = [int(rng.integers(a, b)) for a, b in zip(image.box.start, image.box.stop, strict=True)]
        stop = [int(rng.integers(a + 1, b + 1)) for a, b in zip(start, image.box.stop, strict=True)]
        box = Box(tuple(start), tuple(stop), image.voxel_size)
        part = predict_box(
            predictor, image, volume_plan(image, chosen), box, steps=NEAREST, normalise=as_given, batch=batch
        )
        np.testing.assert_array_equal(part, whole[(slice(None), *box.slices(image.box.start))])
