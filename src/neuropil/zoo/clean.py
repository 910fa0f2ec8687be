"""What a machine's paths leave of themselves in a shared model: the last name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: A path that begins at a root, a home or a drive, within other text.
_ROOTED = re.compile(r"(?<![\w.:/\\])(?:~\w*|[A-Za-z]:)?[/\\](?:[^\s'\"/\\]+[/\\])*([^\s'\"/\\]+)[/\\]?")
_URL = re.compile(r"(?:\w+://)*\w+://\S+")
_FOLDERS = re.compile(r"^(?:[A-Za-z]:(?=[\\/]))?[^:]*[/\\]")


def last_name(url: str) -> str:
    """The file and what is meant inside it, of a volume's name or a path; its folder and its server say who we are.

    Examples
    --------
    >>> last_name("/data/me/x.h5:volumes/raw[0:16]"), last_name("s3://bucket/em.zarr/s0")
    ('x.h5:volumes/raw[0:16]', 's0')
    """
    if _URL.match(url):
        return url.rpartition("://")[2].partition("?")[0].rstrip("/").rpartition("/")[2]
    return _FOLDERS.sub("", url.rstrip("/\\"))


def cleaned(value: Any) -> Any:
    """Plain values (JSON, YAML) without folders, homes and servers, in texts too."""
    if isinstance(value, Mapping):
        return {key: cleaned(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(inner) for inner in value]
    if not isinstance(value, str):
        return value
    return _ROOTED.sub(r"\1", _URL.sub(lambda found: last_name(found[0]), value))


def named_only(card: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A run's card and settings with names in place of paths: of volumes, first weights and recipes."""
    card, config = dict(card), dict(config)
    card["sources"] = [
        {key: last_name(v) if key in ("image", "labels", "path") and isinstance(v, str) else v for key, v in s.items()}
        for s in card.get("sources", [])
    ]
    if isinstance(card.get("init"), Mapping):
        card["init"] = {**card["init"], "path": last_name(str(card["init"].get("path", "")))}
    for holder in (card, config):
        if "recipe" in holder:
            holder["recipe"] = last_name(str(holder["recipe"]))
    return cleaned(card), cleaned(config)
