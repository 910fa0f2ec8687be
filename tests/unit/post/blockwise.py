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
    volume, blocks = _cut_up(aff, voxel, shape, start)
    cut = cutting(offsets, voxel, config)
    parts = {}
    for i in order if order is not None else range(len(blocks)):
        given = _read(aff, cut, blocks[i], volume)
        parts[i] = block_part(given, cut, config, write=blocks[i].write, volume=volume)
    tables, fragments = _stitched([parts[i].pieces for i in range(len(blocks))], cut, blocks, volume)
    sizes = np.zeros(max(table.max() for table in tables) + 1, np.int64)
    for i, table in enumerate(tables):
        np.add.at(sizes, table, parts[i].near.sizes)
    near = added_up(renumbered(parts[i].near, tables[i]) for i in parts)
    far = added_up(renumbered(parts[i].far, tables[i]) for i in parts)
    graph = replace(with_far(near, far), sizes=sizes)
    labels = None
    if config.threshold is not None:
        tree = merge_tree(graph, Rule(config.score, config.quantile, config.contact))
        labels = join_small(tree.cut(config.threshold), graph, config.min_size)[fragments]
    return fragments, graph, labels


def decoded_in_blocks(decoder, stored, voxel, shape, order, start=(0, 0, 0)):
    """Fragments, graph and labels of any decoder, its blocks worked and added up in an order."""
    volume, blocks = _cut_up(stored, voxel, shape, start)
    found = {}
    for i in order:
        given = _read(stored, decoder.cut, blocks[i], volume)
        found[i] = decoder.part(given, write=blocks[i].write, volume=volume)
    tables, fragments = _stitched([found[i][0] for i in range(len(blocks))], decoder.cut, blocks, volume)
    count = int(max(table.max() for table in tables))
    graph = decoder.graph(lambda: iter([(found[i][1], tables[i]) for i in order]), count)
    return fragments, graph, decoder.objects(graph)[fragments]


def _cut_up(stored, voxel, shape, start):
    volume = Box(start, tuple(a + n for a, n in zip(start, stored.shape[1:], strict=True)), voxel)
    return volume, list(volume.blocks(shape))


def _read(stored, cut, block, volume):
    return stored[(list(cut.channels), *read_box(cut, block.write, volume).slices(volume.start))]


def _stitched(pieces, cut, blocks, volume):
    """The fragment of every piece of each block, and of every voxel."""
    base = np.cumsum([0] + [len(own.first) for own in pieces])
    pairs = [np.zeros((0, 2), np.int64)]
    for i, block in enumerate(blocks):
        margins = list(zip(margin_boxes(cut, block.write, volume), pieces[i].margins, strict=True))
        wide = block.write.grown(cut.margin)
        for j in (j for j in range(i) if wide.intersected(blocks[j].write).size):
            rims = list(zip(rim_boxes(cut, blocks[j].write), pieces[j].rims, strict=True))
            pairs.append(shared_pieces(margins, rims) + np.array([base[i], base[j]]))
    numbers = fragment_numbers(np.concatenate([own.first for own in pieces]), np.concatenate(pairs))
    tables = [np.concatenate([[0], numbers[base[i] + 1 : base[i + 1] + 1]]) for i in range(len(blocks))]
    fragments = np.zeros(volume.shape, np.int64)
    for i, block in enumerate(blocks):
        fragments[block.write.slices(volume.start)] = tables[i][pieces[i].labels_ZYX]
    return tables, fragments
