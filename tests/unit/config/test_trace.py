from __future__ import annotations

import pytest

from neuropil.config import Config, TraceConfig, load_config
from neuropil.errors import ConfigError


def test_defaults_are_one_set() -> None:
    assert Config().trace == TraceConfig()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("trace.weak=0.7", "not be above strong"),
        ("trace.enhance.radii=[2,1]", "each larger"),
        ("trace.enhance.radii=[]", "one or more"),
        ("trace.tracer=app2", "trace.tracer"),
        ("trace.step=0", "trace.step"),
        ("trace.agree=0", "trace.agree"),
        ("trace.labels.min_voxel=3", "did you mean 'min_voxels'"),
    ],
)
def test_impossible_settings_are_refused(word, message) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("em_neurons", [word])
