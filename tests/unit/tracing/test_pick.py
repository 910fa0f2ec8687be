from __future__ import annotations

import numpy as np
from tests.unit.tracing.phantoms import CONFIG, agreement, line, tubes

from neuropil.skeleton import Skeleton
from neuropil.tracing.background import survey
from neuropil.tracing.foreground import neurite_voxels
from neuropil.tracing.pick import candidates, explained
from neuropil.tracing.trace import trace
from neuropil.tracing.voxels import from_places

PATHS = [(line((6, 30, 6), (6, 20, 60), (6, 40, 84)), 2.0), (line((6, 20, 60), (6, 4, 80)), 1.5)]


def test_all_tracers_find_the_neuron_and_the_better_score_is_taken() -> None:
    image = tubes((12, 56, 90), PATHS)
    truth = np.concatenate([p for p, _ in PATHS])
    both = CONFIG.model_copy(update={"tracer": "auto"})
    voxels = neurite_voxels(image, CONFIG, survey(image, CONFIG.enhance))
    found = candidates(voxels, both, None)
    assert sorted(name for _, name, _ in found) == ["geodesic", "middle", "thinning"]
    assert found[0][0] >= found[1][0] >= found[2][0]
    for _, _, tree in found:
        assert agreement(tree.skeleton, truth, 2.5)[1] > 0.9
    best = trace(image, both)
    assert (best.tracer, best.score) == (found[0][1], found[0][0])


def test_a_consensus_is_a_tree_of_the_neuron_and_says_how_many_have_it() -> None:
    image = tubes((12, 56, 90), PATHS)
    truth = np.concatenate([p for p, _ in PATHS])
    found = trace(image, CONFIG.model_copy(update={"tracer": "consensus"}))
    assert found.tracer == "consensus"
    assert (found.skeleton.parent < 0).sum() == 1
    assert min(agreement(found.skeleton, truth, 2.5)) > 0.9
    assert 0 < found.confidence.min() <= found.confidence.max() <= 1
    strict = trace(image, CONFIG.model_copy(update={"tracer": "consensus", "agree": 0.5}))
    assert strict.confidence.mean() < found.confidence.mean(), "what fewer tracers have is less sure"


def test_a_given_soma_is_the_root_whichever_tracer() -> None:
    image = tubes((12, 56, 90), PATHS)
    for tracer in ("geodesic", "thinning", "middle", "consensus"):
        found = trace(image, CONFIG.model_copy(update={"tracer": tracer}), (6.0, 40.0, 82.0))
        assert np.linalg.norm(found.skeleton.nodes_nm[0] - [6, 40, 82]) < 4, tracer
        assert found.soma_found


def test_half_a_tree_explains_less_and_stray_cable_is_less_sure() -> None:
    image = tubes((12, 56, 90), PATHS)
    voxels = neurite_voxels(image, CONFIG, survey(image, CONFIG.enhance))
    ((score, _, whole),) = candidates(voxels, CONFIG, None)
    half = tubes((12, 56, 90), PATHS[1:])
    part = trace(half, CONFIG)
    assert explained(voxels, part.skeleton, part.confidence, CONFIG) < 0.8 * score
    assert explained(voxels, whole.skeleton, 0.3 * whole.confidence, CONFIG) < 0.8 * score


def test_evidence_beside_the_surface_of_a_tree_is_explained() -> None:
    at = np.arange(3 * 40)
    sure, depth = np.full(len(at), 255, np.uint8), np.ones(len(at), np.float32)
    voxels = from_places(at, sure, depth, shape=(1, 3, 40), spacing_nm=(1, 1, 1))
    nodes = np.stack([np.full(21, 0.5), np.full(21, 1.5), np.arange(0.0, 41, 2)], axis=1)
    thin = Skeleton(nodes, np.full(21, 0.5), np.arange(21) - 1, np.zeros(21, int))
    assert explained(voxels, thin, np.ones(21), CONFIG) == 1
    aside = Skeleton(nodes + np.array([0, 4, 0]), thin.radius_nm, thin.parent, thin.kind)
    assert explained(voxels, aside, np.ones(21), CONFIG) == 0
