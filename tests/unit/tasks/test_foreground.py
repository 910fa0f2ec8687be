"""What tasks of a foreground share."""

from __future__ import annotations

import numpy as np
import pytest

from neuropil.config import parse_config
from neuropil.errors import ConfigError
from neuropil.post.instances import components
from neuropil.tasks.base import task_named
from neuropil.tasks.foreground import THRESHOLDS, counted, reached

NM = (8.0, 8.0, 8.0)


@pytest.mark.parametrize("task", ["mitochondria", "semantic", "trees"])
def test_labels_without_background_are_refused(task: str) -> None:
    # otherwise "everything is foreground" would be a perfect answer
    config = parse_config({"task": task, "data": {"zero_label": "ignore"}})
    with pytest.raises(ConfigError, match=f"task {task}.*no background"):
        task_named(task).check(config, NM)
    task_named(task).check(parse_config({"task": task}), NM)


def test_a_threshold_is_reached_where_decoding_says_so() -> None:
    stored = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    everything = np.ones(stored.shape, np.bool_)
    counts = counted(stored, everything, everything)
    for threshold in THRESHOLDS:
        config = parse_config({"instances": {"foreground": threshold}}).instances
        assert reached(counts, threshold).tolist() == [0, int((components(stored[None], NM, config) > 0).sum())]
