from __future__ import annotations

import numpy as np
from tests.unit.tracing.phantoms import CONFIG, agreement, line, tubes

from neuropil.tracing.background import survey
from neuropil.tracing.foreground import neurite_voxels
from neuropil.tracing.pick import candidates, explained
from neuropil.tracing.trace import trace

PATHS = [(line((6, 30, 6), (6, 20, 60), (6, 40, 84)), 2.0), (line((6, 20, 60), (6, 4, 80)), 1.5)]


def test_both_tracers_find_the_neuron_and_the_better_score_is_taken() -> None:
    image = tubes((12, 56, 90), PATHS)
    truth = np.concatenate([p for p, _ in PATHS])
    both = CONFIG.model_copy(update={"tracer": "auto"})
    voxels = neurite_voxels(image, CONFIG, survey(image, CONFIG.enhance))
    found = candidates(voxels, both, None)
    assert sorted(name for _, name, _ in found) == ["geodesic", "thinning"]
    assert found[0][0] >= found[1][0]
    for _, _, tree in found:
        assert agreement(tree.skeleton, truth, 2.5)[1] > 0.9
    best = trace(image, both)
    assert (best.tracer, best.score) == (found[0][1], found[0][0])


def test_half_a_tree_explains_less_and_stray_cable_is_less_sure() -> None:
    image = tubes((12, 56, 90), PATHS)
    voxels = neurite_voxels(image, CONFIG, survey(image, CONFIG.enhance))
    ((score, _, whole),) = candidates(voxels, CONFIG, None)
    half = tubes((12, 56, 90), PATHS[1:])
    part = trace(half, CONFIG)
    assert explained(voxels, part.skeleton, part.confidence, CONFIG) < 0.8 * score
    assert explained(voxels, whole.skeleton, 0.3 * whole.confidence, CONFIG) < 0.8 * score
