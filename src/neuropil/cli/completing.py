"""What a shell is offered for words that are names: recipes, settings, verbs."""

from __future__ import annotations

#: Chosen from the data.
_AUTO = "auto"


def recipe_names(incomplete: str) -> list[str]:
    """Shipped recipes, and auto, that begin so."""
    from neuropil.api import names

    return [name for name in (*names.recipe_names(), _AUTO) if name.startswith(incomplete)]


def setting_names(incomplete: str) -> list[str]:
    """Settings that begin so, as "a.b="; values are for the user to say."""
    from neuropil.api import names

    return [f"{name}=" for name in names.setting_names() if name.startswith(incomplete)]


def verbs_to_plan(incomplete: str) -> list[str]:
    """Verbs that can be planned."""
    return [verb for verb in ("train", "pretrain", "predict", "segment") if verb.startswith(incomplete)]
