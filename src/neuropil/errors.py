"""The errors a user can meet: each one says what was got, what was expected, and how to fix it.

::

    NeuropilError                    exit code 2: the user's input is wrong
    ├── InputError(ValueError)       a value, shape or label that cannot be used
    ├── ConfigError(ValueError)      an unknown or impossible setting
    ├── VolumeError(OSError)         a file that is missing, truncated or not what its name says
    ├── GeometryError(ValueError)    boxes, voxel sizes or axes that do not fit together
    ├── RunError(ValueError)         a run directory or checkpoint that cannot be used
    └── IncompleteError(RuntimeError)  exit code 3: work is left to do (blocks missing, interrupted output)
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "ConfigError",
    "GeometryError",
    "IncompleteError",
    "InputError",
    "NeuropilError",
    "NeuropilWarning",
    "RunError",
    "VolumeError",
    "listed",
]

#: How many of many names a message shows.
_SHOWN = 4


class NeuropilError(Exception):
    """Base of every error that neuropil raises on purpose.

    Parameters
    ----------
    got
        What was found, in one clause, with the path or key that it was found at.
    expected
        What would have been accepted.
    fix
        What the user can do now.
    """

    exit_code = 2

    def __init__(self, got: str, expected: str = "", fix: str = "") -> None:
        self.got, self.expected, self.fix = got, expected, fix
        parts = [got]
        if expected:
            parts.append(f"expected: {expected}")
        if fix:
            parts.append(f"fix: {fix}")
        super().__init__("\n  ".join(parts))

    def __str__(self) -> str:
        # OSError would otherwise print its arguments as a tuple
        return str(self.args[0]) if self.args else ""


class InputError(NeuropilError, ValueError):
    """A value, shape or label that cannot be used."""


class ConfigError(NeuropilError, ValueError):
    """An unknown or impossible setting."""


class VolumeError(NeuropilError, OSError):
    """A file that is missing, truncated or not what its name says."""


class GeometryError(NeuropilError, ValueError):
    """Boxes, voxel sizes or axes that do not fit together."""


class RunError(NeuropilError, ValueError):
    """A run directory or checkpoint that cannot be used."""


class IncompleteError(NeuropilError, RuntimeError):
    """Work is left to do: blocks are missing or an output was interrupted."""

    exit_code = 3


class NeuropilWarning(UserWarning):
    """Something was done in a way the user may not expect; never raised for what is harmless."""


def listed(names: Sequence[str], between: str = ", ") -> str:
    """The first few of many names, and how many more there are.

    Examples
    --------
    >>> listed("abcdef"), listed("ab", "; ")
    ('a, b, c, d and 2 more', 'a; b')
    """
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return between.join(names[:_SHOWN]) + more
