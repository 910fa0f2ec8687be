"""Names that settings and options take, for whoever offers them."""

from __future__ import annotations

from neuropil.config import Config, recipes
from neuropil.config.base import Settings


def recipe_names() -> list[str]:
    """Shipped recipes."""
    return recipes()


def setting_names() -> list[str]:
    """Every setting, as "a.b"."""
    return _names(Config, "")


def _names(group: type[Settings], prefix: str) -> list[str]:
    found = []
    for name, field in group.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Settings):
            found += _names(inner, f"{prefix}{name}.")
        else:
            found.append(prefix + name)
    return found
