"""One of several runs that share the work of one output: what ``--shard i/n`` means, in every verb that takes it."""

from __future__ import annotations

from dataclasses import dataclass

from neuropil.errors import ConfigError


@dataclass(frozen=True)
class Shard:
    """Number `index` of `count`, from 0, as batch systems count their array tasks."""

    index: int
    count: int

    @classmethod
    def parsed(cls, text: str) -> Shard:
        """Of its written form ``i/n``.

        Raises
        ------
        ConfigError
            If it is none.
        """
        first, _, second = text.partition("/")
        if not (first.isdecimal() and second.isdecimal() and int(first) < int(second)):
            raise ConfigError(
                f"--shard {text}", "i/n with 0 <= i < n, for example 0/8 to 7/8", "number the shards from 0"
            )
        return cls(int(first), int(second))

    @property
    def name(self) -> str:
        """Of its lock."""
        return f"shard-{self.index}-of-{self.count}"
