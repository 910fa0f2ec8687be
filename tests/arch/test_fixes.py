"""An error says what to do: where users' words are checked always, elsewhere but for a list that may only shrink."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

from neuropil import errors

SRC = Path(__file__).parents[2] / "src" / "neuropil"
NAMES = {n for n, v in vars(errors).items() if isinstance(v, type) and issubclass(v, errors.NeuropilError)}
#: Errors without a fix. Most are about arrays in a call, where what was expected is all there is to say.
LEFT = {
    "affinities.py": 3,
    "api/segmenting.py": 1,
    "api/sharing.py": 1,
    "download/convert.py": 1,
    "download/fetch.py": 1,
    "download/prepare.py": 1,
    "exchange/foreign.py": 2,
    "geometry.py": 5,
    "infer/tiles.py": 1,
    "infer/tta.py": 1,
    "io/__init__.py": 1,
    "io/images.py": 1,
    "io/ome.py": 1,
    "io/skeletons.py": 2,
    "io/swc.py": 1,
    "io/zarr.py": 3,
    "io/zarr_array.py": 1,
    "jobs/begin.py": 4,
    "jobs/run.py": 1,
    "metrics/border.py": 1,
    "metrics/detection.py": 2,
    "metrics/masks.py": 1,
    "metrics/matching.py": 1,
    "metrics/morphology.py": 1,
    "metrics/overlap.py": 2,
    "metrics/skeletal.py": 6,
    "metrics/tree_pair.py": 1,
    "metrics/tree_search.py": 1,
    "models/checkpoints2d/files.py": 3,
    "models/checkpoints2d/names.py": 1,
    "models/checkpoints2d/read.py": 9,
    "models/inflate.py": 3,
    "models/vit2d.py": 1,
    "models/vit3d.py": 2,
    "outputs.py": 3,
    "post/graph.py": 1,
    "pretrain/masking.py": 2,
    "pretrain/targets.py": 2,
    "report/html.py": 2,
    "report/scene.py": 3,
    "skeleton.py": 8,
    "synth/em.py": 1,
    "synth/em_config.py": 4,
    "synth/lm.py": 1,
    "synth/lm_config.py": 4,
    "synth/phantom_config.py": 4,
    "tracing/background.py": 3,
    "treedoctor/image.py": 1,
    "view/layers.py": 1,
    "view/napari.py": 1,
    "volume.py": 5,
    "zoo/card.py": 1,
    "zoo/package.py": 1,
    "zoo/store.py": 2,
}
#: Rooms and files where users' words meet the program.
ALWAYS = (
    *("auto", "config", "data", "decoding", "inputs", "pages", "preview", "registry", "shards", "studies", "training"),
    *("urls", "infer/workers"),
)


def _without_fix(path: Path) -> int:
    calls = (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call))
    raised = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id in NAMES]
    # a starred argument or keyword may bring it
    brought = [
        c
        for c in raised
        if any(isinstance(a, ast.Starred) for a in c.args) or {k.arg for k in c.keywords} & {"fix", None}
    ]
    return sum(len(c.args) < 3 and c not in brought for c in raised)


def test_errors_say_what_to_do_but_for_those_that_are_listed() -> None:
    found = Counter({str(path.relative_to(SRC)): _without_fix(path) for path in SRC.rglob("*.py")})
    more = {name: count for name, count in found.items() if count > LEFT.get(name, 0)}
    assert more == {}, "give these errors a fix="


def test_where_users_words_are_checked_there_is_always_a_fix() -> None:
    assert [name for name in LEFT if name.removesuffix(".py").startswith(ALWAYS)] == []


def test_the_list_names_files_that_are_there() -> None:
    assert [name for name in LEFT if not (SRC / name).is_file()] == []
