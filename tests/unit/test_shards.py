"""A shard is numbered from 0, as the array tasks of batch systems are."""

import pytest

from neuropil.errors import ConfigError
from neuropil.shards import Shard


def test_shards_count_from_zero() -> None:
    assert Shard.parsed("0/3") == Shard(0, 3)
    assert Shard.parsed("2/3").name == "shard-2-of-3"


@pytest.mark.parametrize("text", ["3/3", "-1/3", "1", "1/0", "a/b", "1/3/4", ""])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="0 <= i < n"):
        Shard.parsed(text)
