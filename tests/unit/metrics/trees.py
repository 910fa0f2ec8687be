"""Trees for tests, in voxels of 1 nm: steps and nm are the same."""

import numpy as np

from neuropil.config.trees import TreeScoreConfig
from neuropil.metrics.tree_pair import TreePair
from neuropil.skeleton import Skeleton


def tree(xyz, parent, kind=0):
    """A skeleton from (x, y, z) places."""
    nodes = np.asarray(xyz, float).reshape(-1, 3)[:, ::-1]
    return Skeleton(nodes, np.ones(len(nodes)), np.asarray(parent, int), np.full(len(nodes), kind))


def compared(truth, test, step_nm=1.0, **settings):
    return TreePair(truth, test, step_nm=step_nm, config=TreeScoreConfig(**settings))


def path(*xyz):
    return tree(xyz, np.arange(len(xyz)) - 1)


#: The test vector of the specification: a path with a side branch, and a trace beside it that lacks the branch.
GOLD = tree([(0, 0, 0), (10, 0, 0), (20, 0, 0), (10, 10, 0)], [-1, 0, 1, 1])
TRACE = path((0, 0.5, 0), (10, 0.5, 0), (20, 0.5, 0))


def random_tree(rng, count, roots=1, step=3.0):
    """A random forest: each node hangs on one of the five before it."""
    parent = np.array([-1 if i < roots else rng.integers(max(0, i - 5), i) for i in range(count)])
    nodes = np.zeros((count, 3))
    for i in range(count):
        nodes[i] = rng.normal(0, 10, 3) if parent[i] < 0 else nodes[parent[i]] + rng.normal(0, step, 3)
    return Skeleton(nodes, np.ones(count), parent, np.zeros(count, int))


def rerooted(skeleton, root):
    """The same tree with another root."""
    parent = skeleton.parent.copy()
    node, above = root, -1
    while node >= 0:
        parent[node], above, node = above, node, int(skeleton.parent[node])
    return Skeleton(skeleton.nodes_nm, skeleton.radius_nm, parent, skeleton.kind)


def shuffled(rng, skeleton):
    """The same tree with its nodes in another order."""
    order = rng.permutation(len(skeleton.parent))
    place = np.empty(len(order) + 1, int)
    place[order], place[-1] = np.arange(len(order)), -1
    return Skeleton(
        skeleton.nodes_nm[order], skeleton.radius_nm[order], place[skeleton.parent[order]], skeleton.kind[order]
    )
