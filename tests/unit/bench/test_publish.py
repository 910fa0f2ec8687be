"""What the documentation shows of studies is made of the numbers that lie beside it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from neuropil.errors import RunError

sys.path.insert(0, str(Path(__file__).parents[3] / "bench"))
import publish

STORED = sorted(publish.STUDIES.glob("*.json"))


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_tables_and_plots_are_those_of_the_numbers(path: Path, tmp_path: Path) -> None:
    publish.written(path.stem, json.loads(path.read_text()), tmp_path)
    for suffix in (".md", ".svg"):
        kept = path.with_suffix(suffix).read_text()
        assert (tmp_path / f"{path.stem}{suffix}").read_text() == kept, "python bench/publish.py table"


def test_a_study_is_taken_over_as_its_file_says(tmp_path: Path) -> None:
    yaml_file = publish.ROOT / "bench/experiments/gala_transfer.yaml"
    stored = json.loads((publish.STUDIES / "gala_transfer.json").read_text())
    (tmp_path / "results").mkdir()
    with pytest.raises(RunError, match="holds no result"):
        publish.taken(yaml_file, tmp_path, "this")
    for row in stored["rows"]:
        name = f"{row['arm']}_{row['budget']:g}_s{row['seed']}.json"
        whole = {**row, "calibration": {**row["calibration"], "sweep": [1, 2, 3]}, "versions": stored["versions"]}
        (tmp_path / "results" / name).write_text(json.dumps(whole))
    found = publish.taken(yaml_file, tmp_path, stored["machine"])
    assert [row for row in found["rows"] if row not in stored["rows"]] == []
    assert len(found["rows"]) == len(stored["rows"])
    assert "$NEUROPIL_DATA" in found["design"]["train"][0]["image"]
