"""Tree scores on real traces: PyNeval's published cases, and the automatic traces of BigNeuron."""

from __future__ import annotations

import io
import json
import os
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tests.unit.metrics.trees import compared

from neuropil.config.trees import MorphologyConfig
from neuropil.io.swc import examine_swc
from neuropil.metrics.morphology import morphometrics, summary
from neuropil.metrics.tree import CONVENTIONS, tree_scores
from neuropil.metrics.tree_diadem import diadem
from neuropil.metrics.tree_topology import critical_nodes, matched_edges
from neuropil.skeleton import Skeleton

pytestmark = pytest.mark.real
FOLDER = "data/std_test_data"
GEOMETRY = [f"geo_fake_data{i}" for i in range(1, 7)]
TOPOLOGY = [f"topo_fake_data{i}" for i in range(1, 5)]


def archive(name: str) -> zipfile.ZipFile:
    root = os.environ.get("NEUROPIL_DATA")
    if not root:
        pytest.skip("real data: NEUROPIL_DATA is not set")
    if not (Path(root) / name).is_file():
        pytest.skip(f"real data: {name} is not in NEUROPIL_DATA")
    return zipfile.ZipFile(Path(root) / name)


def read(source: zipfile.ZipFile, name: str, tmp_path: Path) -> Skeleton:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return examine_swc(source.extract(name, tmp_path), units="voxel", voxel_size=(1.0, 1.0, 1.0))[0]


@pytest.fixture
def case(request, tmp_path):
    """Gold, test and a look-up of what PyNeval says of them."""
    source = archive("swc_corpora/pyneval_metric_cases.zip")
    folder = f"{FOLDER}/{request.param}"
    gold, test = (read(source, f"{folder}/{name}.swc", tmp_path) for name in ("gold", "test"))
    return gold, test, lambda metric: json.loads(source.read(f"{folder}/std_{metric}.json"))


@pytest.mark.parametrize("case", GEOMETRY + TOPOLOGY, indirect=True)
def test_ssd_is_pynevals(case):
    gold, test, said = case
    found, want = CONVENTIONS["pyneval"](compared(gold, test)), said("ssd")
    assert found.dsa == pytest.approx(want["avg_score"], abs=1e-9)
    assert 1 - found.truth_share == pytest.approx(want["recall"])
    assert 1 - found.test_share == pytest.approx(want["precision"])


@pytest.mark.parametrize("case", GEOMETRY + TOPOLOGY, indirect=True)
def test_critical_nodes_are_pynevals(case):
    gold, test, said = case
    found, want = critical_nodes(compared(gold, test)), said("critical_node")
    assert (found["critical_truth"], found["critical_test"]) == (want["gold_len"], want["test_len"])
    for key in ("precision", "recall"):
        assert found[f"critical_{key}"] == pytest.approx(want[key])
    assert found["critical_f1"] == pytest.approx(want["f1_score"])


@pytest.mark.parametrize("case", TOPOLOGY, indirect=True)
def test_matched_edges_are_pynevals_where_nodes_agree(case):
    """Not on geo_*: PyNeval also tries edges that are not the nearest, and counts traced cable under true edges."""
    gold, test, said = case
    found, want = matched_edges(compared(gold, test)), said("length")
    assert found["edge_recall"] == pytest.approx(want["recall"], abs=1e-6)
    assert found["edge_precision"] == pytest.approx(want["precision"], abs=1e-6)


@pytest.mark.parametrize("case", [*GEOMETRY, TOPOLOGY[0]], indirect=True)
def test_diadem_is_pynevals_on_binary_trees(case):
    gold, test, said = case
    found = diadem(compared(gold, test, tolerance=1.2, path_slack=0.0))
    assert found["diadem"] == pytest.approx(said("diadem")["final_score"])


@pytest.mark.parametrize("case", TOPOLOGY[1:], indirect=True)
def test_diadem_is_near_pynevals_elsewhere(case):
    """Its weights sum higher than ours where a point has three branches or more, so it must count such points again."""
    gold, test, said = case
    found = diadem(compared(gold, test, tolerance=1.2, path_slack=0.0))
    assert found["diadem"] == pytest.approx(said("diadem")["final_score"], abs=0.08)


def test_bigneuron_traces_in_their_order(tmp_path):
    """On neuron 14 one tracer gave up after thirteen nodes; the consensus of all beats it by every account."""
    source = archive("bigneuron/dev.zip")
    gold, good, bad = (read(source, f"14/{n}.swc", tmp_path) for n in ("gold", "consensus", "auto_MOST"))
    for convention in CONVENTIONS:
        better, worse = (tree_scores(compared(gold, t, convention=convention)) for t in (good, bad))
        assert better["esa"] < worse["esa"]
        assert better["f1"] > worse["f1"]
    itself = tree_scores(compared(gold, gold))
    assert (itself["esa"], itself["f1"], itself["diadem"], itself["edge_recall"]) == pytest.approx(
        (0, 1, 1, 1), abs=1e-9
    )


def test_neurom_agrees_with_the_cheap_counts(tmp_path):
    source = archive("swc_corpora/snt_mouselight.zip")
    names = [n for n in source.namelist() if n.endswith(".swc")]
    assert len(names) >= 9
    for name in names:
        tree = read(source, name, tmp_path)
        ours = summary(tree, unit_nm=1.0)
        table = morphometrics(tree, unit_nm=1.0, config=MorphologyConfig(sholl_step=100.0))
        assert table["total_length"] == pytest.approx(ours["length"], rel=1e-5), name
        assert abs(table["bifurcations"] - ours["branch_points"]) <= 1, name  # a root with three branches is none
        assert table["strahler_order"] >= 3


def test_every_aligned_gold_tree_is_perfect_on_itself_and_quick(tmp_path):
    source = archive("bigneuron/dev.zip")
    index = io.TextIOWrapper(source.open("index.csv")).read().splitlines()
    column = index[0].split(",").index("id")
    neurons = [line.split(",")[column] for line in index[1:]][:20]
    for neuron in neurons:
        gold = read(source, f"{neuron}/gold.swc", tmp_path)
        found = tree_scores(compared(gold, gold))
        assert (found["esa"], found["pds"], found["hd95"]) == pytest.approx((0, 0, 0), abs=1e-9), neuron
        assert (found["precision"], found["recall"], found["critical_f1"]) == pytest.approx((1, 1, 1)), neuron
        assert np.isclose(found["diadem"], 1.0), neuron
