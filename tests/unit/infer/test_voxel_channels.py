"""Channels that speak of voxels, not of edges: blended and averaged as they are, also beside affinities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.unit.infer.fakes import Identity, TrueAffinities, as_given, image_of, settings
from torch import Tensor, nn

from neuropil.affinities import NEAREST, affinities_from_labels
from neuropil.errors import InputError
from neuropil.infer.predict import predict_volume
from neuropil.infer.tta import ViewAverage, views

VOXEL = (0, 0, 0)


def grey(shape: tuple[int, int, int] = (13, 30, 27)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape, np.uint8)


@pytest.mark.parametrize("tta", ["none", "flips", "full"])
def test_several_voxel_channels_are_predicted_whole(tta: str) -> None:
    image = grey()
    got = predict_volume(
        Identity(3), image_of(image), offsets=(VOXEL,) * 3, normalise=as_given, settings=settings(tta=tta)
    )
    assert isinstance(got, np.ndarray)
    assert (np.abs(got.astype(int) - image) <= 1).all()


class Uneven(nn.Module):
    """Two channels whose answer depends on the side that a voxel lies on."""

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        ramp = torch.linspace(-1, 1, x_BCZYX.shape[-1]).expand_as(x_BCZYX)
        return torch.cat([ramp, 2 * ramp], 1)


def test_mirrored_views_of_voxel_channels_are_averaged_in_place() -> None:
    chosen = [view for view in views("flips", (40, 4, 4)) if view.flips[:2] == (False, False)]
    x = torch.zeros(1, 1, 2, 3, 9)
    got = ViewAverage(Uneven(), (VOXEL, VOXEL), chosen)(x)
    plain = Uneven()(x)
    assert torch.allclose(got, (plain + plain.flip(-1)) / 2)


class Both(nn.Module):
    """Affinities of the labels in the image, between two channels that repeat it."""

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        repeated = Identity(1)(x_BCZYX)
        return torch.cat([repeated, TrueAffinities(NEAREST)(x_BCZYX), repeated], 1)


@pytest.mark.parametrize("tta", ["none", "flips"])
def test_voxel_channels_and_affinities_live_together(tta: str) -> None:
    labels = np.kron(np.random.default_rng(1).integers(0, 4, (5, 8, 8)), np.ones((3, 3, 3))).astype(np.uint8)
    got = predict_volume(
        Both(), image_of(labels), offsets=(VOXEL, *NEAREST, VOXEL), normalise=as_given, settings=settings(tta=tta)
    )
    assert isinstance(got, np.ndarray)
    truth, valid = affinities_from_labels(labels, NEAREST)
    assert (got[1:4][valid] == 255 * truth[valid]).all()
    assert (np.abs(got[[0, 4]].astype(int) - labels) <= 1).all()


def test_edges_must_still_be_edges() -> None:
    with pytest.raises(InputError, match="each step once"):
        predict_volume(
            Identity(3),
            image_of(grey()),
            offsets=(NEAREST[0], VOXEL, NEAREST[0]),
            normalise=as_given,
            settings=settings(),
        )
