from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.unit.zoo.made import SMALL, VIT, VOXEL, run_of

from neuropil import predict
from neuropil.exchange.bioimageio_out import LICENCE, RDF, fill
from neuropil.exchange.sample import raw
from neuropil.training.checkpoint import Run
from neuropil.volume import Volume
from neuropil.zoo.card import Said, facts

SAID = Said("CC BY 4.0", "where.org", None, ("A. Nother",), "Nother 2026, doi:10.1000/xyz123.")
TILE = (16, 24, 24)


def written(run: Run, folder: Path, said: Said = SAID) -> dict[str, Any]:
    """The description of a run that was written as a bioimage.io model."""
    folder.mkdir()
    fill(folder, run, facts(run, "model", said, seeds=[], speed=None))
    values: dict[str, Any] = yaml.safe_load((folder / RDF).read_text())
    return values


@pytest.mark.parametrize(
    "words",
    [SMALL, (*SMALL, "data.normalise=zscore"), (*SMALL, "data.normalise=uint8"), VIT],
    ids=["percentile", "zscore", "uint8", "transformer"],
)
def test_the_library_passes_the_model_and_predicts_what_we_do(tmp_path: Path, words: tuple[str, ...]) -> None:
    library = pytest.importorskip("bioimageio.core", reason="bioimageio.core is not installed: neuropil[exchange]")
    xr = pytest.importorskip("xarray")
    run = run_of(tmp_path / "a", *words)
    written(run, tmp_path / "m")
    summary = library.test_model(tmp_path / "m" / RDF, devices=["cpu"])
    assert summary.status == "passed", summary.display()
    # one tile and no halo: there is nothing to blend, to pad or to cut, and grey values are made of the same voxels
    described = yaml.safe_load((tmp_path / "m" / RDF).read_text())
    for axis in described["outputs"][0]["axes"]:
        axis.pop("halo", None)
    (tmp_path / "m" / RDF).write_text(yaml.safe_dump(described))
    values = raw(TILE)[:, ::-1].copy()
    ours = predict(run, Volume(values, VOXEL, kind="image", name="image"))
    model = library.load_model_description(tmp_path / "m" / RDF)
    sample = xr.DataArray(values[None, None].astype(np.float32), dims=("batch", "channel", "z", "y", "x"))
    theirs = library.predict(model=model, inputs={"raw": library.Tensor.from_xarray(sample)})
    found_CZYX = np.asarray(theirs.members["prediction"].data)[0]
    stored = np.asarray(ours.volume.numpy(), np.float64)  # type: ignore[union-attr]
    assert found_CZYX.std() > 0.01
    # what is stored is rounded to 1/255
    assert np.abs(255 * found_CZYX - stored).max() <= 0.5 + 255 * 1e-4


def test_what_the_specification_has_no_word_for_is_written(tmp_path: Path) -> None:
    run = run_of(tmp_path / "a")
    values = written(run, tmp_path / "m")
    ours = values["config"]["neuropil"]
    assert ours["offsets"] == [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]
    assert ours["decoding"] == {"segment": {"threshold": 0.4, "bias": []}}
    assert (ours["tile"], ours["overlap"], ours["boundaries"]) == ([16, 24, 24], [4, 8, 8], False)
    axes = {axis.get("id", axis["type"]): axis for axis in values["inputs"][0]["axes"]}
    assert [(axes[a]["scale"], axes[a]["unit"]) for a in "zyx"] == [(8.0, "nanometer")] * 3
    assert [axis.get("halo") for axis in values["outputs"][0]["axes"]] == [None, None, 2, 4, 4]
    assert values["cite"] == [{"text": SAID.cite, "doi": "10.1000/xyz123"}]
    assert "CC BY 4.0" in (tmp_path / "m" / LICENCE).read_text()
    for path in (tmp_path / "m").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), path.name


@pytest.mark.parametrize(
    ("licence", "cite", "word", "cited"),
    [
        ("CC BY 4.0", None, "CC-BY-4.0", None),
        ("MIT", "See https://lab.org/m.", "MIT", "https://lab.org/m"),
        ("ask us", "Nobody 1999", {"source": LICENCE}, None),
    ],
)
def test_licences_and_citations_in_words_of_the_specification(
    tmp_path: Path, licence: str, cite: str | None, word: object, cited: str | None
) -> None:
    values = written(run_of(tmp_path / "a"), tmp_path / "m", Said("CC0", None, licence, (), cite))
    assert values["license"] == word
    assert [entry["url"] for entry in values.get("cite", [])] == ([cited] if cited else [])
