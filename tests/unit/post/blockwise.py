"""The blockwise road in memory, as short as it can be: what tests compare with the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neuropil.config import SegmentConfig
from neuropil.geometry import Box
from neuropil.post.blocks import block_part, cutting, margin_boxes, read_box, rim_boxes
from neuropil.post.filters import join_small
from neuropil.post.merging import Rule, merge_tree
from neuropil.post.stitch import added_up, fragment_numbers, renumbered, shared_pieces, with_far


def in_blocks(aff, offsets, voxel, config: SegmentConfig, shape, order=None, start=(0, 0, 0)):
    """Fragments, graph and labels of a volume that is worked block by block."""
    volume = Box(start, tuple(a + n for a, n in zip(start, aff.shape[1:], strict=True)), voxel)
    cut = cutting(offsets, voxel, config)
    blocks = list(volume.blocks(shape))
    parts = {}
    for i in order if order is not None else range(len(blocks)):
        read = read_box(cut, blocks[i].write, volume)
        given = aff[(list(cut.channels), *read.slices(volume.start))]
        parts[i] = block_part(given, cut, config, write=blocks[i].write, volume=volume)
    base = np.cumsum([0] + [len(parts[i].first) for i in range(len(blocks))])
    pairs = [np.zeros((0, 2), np.int64)]
    for i, block in enumerate(blocks):
        margins = list(zip(margin_boxes(cut, block.write, volume), parts[i].margins, strict=True))
        wide = block.write.grown(cut.margin)
        for j in (j for j in range(i) if wide.intersected(blocks[j].write).size):
            rims = list(zip(rim_boxes(cut, blocks[j].write), parts[j].rims, strict=True))
            pairs.append(shared_pieces(margins, rims) + np.array([base[i], base[j]]))
    numbers = fragment_numbers(np.concatenate([parts[i].first for i in range(len(blocks))]), np.concatenate(pairs))
    tables = [np.concatenate([[0], numbers[base[i] + 1 : base[i + 1] + 1]]) for i in range(len(blocks))]
    sizes = np.zeros(numbers.max() + 1, np.int64)
    for i, table in enumerate(tables):
        np.add.at(sizes, table, parts[i].near.sizes)
    near = added_up(renumbered(parts[i].near, tables[i]) for i in parts)
    far = added_up(renumbered(parts[i].far, tables[i]) for i in parts)
    graph = replace(with_far(near, far), sizes=sizes)
    fragments = np.zeros(aff.shape[1:], np.int64)
    for i, block in enumerate(blocks):
        fragments[block.write.slices(volume.start)] = tables[i][parts[i].labels_ZYX]
    labels = None
    if config.threshold is not None:
        tree = merge_tree(graph, Rule(config.score, config.quantile, config.contact))
        labels = join_small(tree.cut(config.threshold), graph, config.min_size)[fragments]
    return fragments, graph, labels
