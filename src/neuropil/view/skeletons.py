"""Skeletons as Neuroglancer reads them: one binary file each, with radii, and their names in a list."""

from __future__ import annotations

import json
from collections.abc import Mapping

from neuropil.io.precomputed_skeletons import INFO, encoded_skeleton
from neuropil.skeleton import Skeleton


def skeleton_files(skeletons: Mapping[str, Skeleton]) -> dict[str, bytes]:
    """The files of a precomputed skeleton folder; skeletons are numbered from 1 in their order.

    Parameters
    ----------
    skeletons
        By their names, which the list beside the picture shows.
    """
    info = INFO | {"segment_properties": "names"}
    numbers = [str(number) for number in range(1, len(skeletons) + 1)]
    files = {"info": json.dumps(info).encode(), "names/info": names_info(dict(zip(numbers, skeletons, strict=True)))}
    return files | {number: encoded_skeleton(one) for number, one in zip(numbers, skeletons.values(), strict=True)}


def names_info(names: Mapping[str, str]) -> bytes:
    """The `info` of a list of names of objects by their ids."""
    label = {"id": "label", "type": "label", "values": list(names.values())}
    inline = {"ids": list(names), "properties": [label]}
    return json.dumps({"@type": "neuroglancer_segment_properties", "inline": inline}).encode()
