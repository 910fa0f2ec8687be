"""Models that come with neuropil, on parts of real volumes that they were not trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from neuropil.cli import main
from neuropil.zoo.store import shipped

pytestmark = pytest.mark.real

#: Model → task, image, truth, voxel size to state, score, the least good that it may be. Chance is far from these: one
#: object for all has a VOI of 3.1 on this part, an empty mask an IoU of 0.
TRIED = {
    "em-neurons-fib25": (
        *("neurons", "fib25/devtest_250x190x300.h5:raw[60:156,40:136,100:196]"),
        *("fib25/devtest_250x190x300.h5:labels[60:156,40:136,100:196]", None, "voi_sum", 1.6),
    ),
    "em-mitochondria-epfl": (
        *("semantic", "epfl/dev_train14.h5:raw[11:14]", "epfl/dev_train14.h5:mitochondria[11:14]"),
        *("50,5,5", "iou", 0.6),
    ),
}


@pytest.mark.parametrize("name", [name for name in TRIED if (shipped() / name).is_dir()])
def test_a_model_finds_what_it_is_for(
    name: str, real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NEUROPIL_ZOO", raising=False)
    task, image, truth, size, score, bound = TRIED[name]
    said = () if size is None else ("--voxel-size", size)

    def told(*words: str) -> dict[str, float]:
        with pytest.raises(SystemExit) as ended:
            main([*words, *said, "--json"])
        found = capsys.readouterr()
        assert ended.value.code in (0, None), found.err
        answer: dict[str, float] = json.loads(found.out)
        return answer

    out = str(tmp_path / "seg.zarr")
    told("segment", f"zoo:{name}", f"{real_data}/{image}", "--out", out)
    scores = told("evaluate", out, f"{real_data}/{truth}", "--task", str(task))
    assert scores[score] < bound if task == "neurons" else scores[score] > bound, scores
