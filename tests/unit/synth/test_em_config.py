import pytest

from neuropil.errors import ConfigError
from neuropil.synth.em_config import EMPhantomConfig


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shape": (10, 0, 10)}, "shape"),
        ({"shape": (10, 10)}, "shape"),
        ({"voxel_size": (8.0, 8.0, 0.0)}, "voxel size"),
        ({"voxel_size": (8.0, float("nan"), 8.0)}, "voxel size"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**62}, "seed"),
        ({"voxel_size": (90.0, 8.0, 8.0)}, "spacing_nm"),
        ({"missing": 1.5}, "missing"),
        ({"glia": -0.1}, "glia"),
        ({"missing": 0.5, "dark": 0.4, "blurred": 0.2}, "missing . dark"),
        ({"trunk_density": 0.01}, "trunk_density"),
        ({"gap_nm": 90.0}, "gap_nm"),
        ({"gap_label": -3}, "gap_label"),
    ],
)
def test_impossible_values_are_refused_by_name(changes, words):
    with pytest.raises(ConfigError, match=words):
        EMPhantomConfig(**changes)


def test_presets_take_changes_and_differ_in_kind():
    fib, sections = EMPhantomConfig.fib_sem(seed=4), EMPhantomConfig.sstem(shape=(5, 6, 7))
    assert fib.seed == 4
    assert fib.voxel_size == (8.0, 8.0, 8.0)
    assert fib.missing == fib.jitter_nm == 0
    assert sections.shape == (5, 6, 7)
    assert sections.voxel_size == (40.0, 4.0, 4.0)
    assert sections.missing > 0
    assert sections.dark > 0
    assert sections.blurred > 0
    assert sections.jitter_nm > 0
    assert EMPhantomConfig.sstem(voxel_size=(30.0, 6.0, 6.0)).voxel_size == (30.0, 6.0, 6.0)
