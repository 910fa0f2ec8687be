from dataclasses import replace

import pytest

from neuropil.errors import ConfigError
from neuropil.synth.lm_config import KNOBS, LMPhantomConfig


@pytest.mark.parametrize("look", ["confocal", "two_photon", "projection"])
def test_looks_take_changes(look):
    config = getattr(LMPhantomConfig, look)(seed=3, noise=0.7)
    assert (config.seed, config.noise) == (3, 0.7)
    assert config != getattr(LMPhantomConfig, look)(seed=4, noise=0.7)


def test_graded_turns_the_four_knobs_and_nothing_else():
    config = LMPhantomConfig.two_photon(seed=9)
    hard = config.graded(0.8)
    assert {getattr(hard, k) for k in KNOBS} == {0.8}
    assert replace(hard, **{k: getattr(config, k) for k in KNOBS}) == config


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shape": (4, 0, 9)}, "shape"),
        ({"voxel_size": (1.0, 1.0, float("nan"))}, "voxel size"),
        ({"seed": -1}, "seed"),
        ({"noise": 1.1}, "noise"),
        ({"gaps": -0.1}, "gaps"),
        ({"blur": float("nan")}, "blur"),
        ({"cable_um": 0.0}, "cable_um"),
        ({"stem_um": float("inf")}, "stem_um"),
        ({"neurons": 0}, "0 neurons"),
        ({"stems": 0}, "0 stems"),
        ({"twig_um": 2.0}, "twig_um <= stem_um"),
        ({"psf_nm": (1.0, -1.0, 1.0)}, "psf_nm"),
        ({"shape": (32, 32, 32)}, "field of 9.6 um"),
    ],
)
def test_impossible_values_are_refused(change, said):
    with pytest.raises(ConfigError, match=said):
        LMPhantomConfig(**change)
