from __future__ import annotations

import numpy as np
import pytest
from tests.unit.tracing.phantoms import CONFIG, line, tubes

from neuropil.geometry import Box
from neuropil.tracing.background import survey
from neuropil.volume import Volume

ENHANCE = CONFIG.enhance
PATH = line((8, 40, 6), (8, 40, 90))


@pytest.mark.parametrize("dark", [False, True])
def test_the_sign_of_neurites(dark) -> None:
    image = tubes((16, 80, 96), [(PATH, 2.0)], dark=dark)
    assert survey(image, ENHANCE).sign == (-1 if dark else 1)
    for name, sign in (("bright", 1), ("dark", -1)):
        assert survey(image, ENHANCE.model_copy(update={"polarity": name})).sign == sign


def test_a_sloping_background_is_followed() -> None:
    slope = np.linspace(10, 110, 96)
    image = tubes((16, 80, 96), [(PATH, 2.0)], noise=2.0).numpy() * 0.5 + slope
    volume = Volume(image.astype(np.float32), (1, 1, 1), (32, 0, 0), kind="image")
    found = survey(volume, ENHANCE)
    box = Box((32, 0, 16), (48, 20, 80), volume.voxel_size)
    level = found.background(box, volume.box.start)
    assert level.shape == box.shape
    assert np.abs(level - (slope[16:80] + 10)).max() < 4


def test_levels_rise_with_noise_and_with_contrast() -> None:
    def levels(noise, factor=1.0):
        image = tubes((16, 80, 96), [(PATH, 2.0)], noise=noise).numpy() * np.float32(factor)
        return np.array(survey(Volume(image, (1, 1, 1), kind="image"), ENHANCE).levels)

    assert (levels(12.0) > levels(4.0)).all()
    assert np.allclose(levels(4.0, 3.0), 3 * levels(4.0), rtol=1e-3)
