from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuropil.errors import RunError, VolumeError
from neuropil.exchange.described import described

Change = Callable[[dict[str, Any]], object]


def axes(size: object) -> list[dict[str, Any]]:
    names = ["affinity"] if size == {} else ["grey"]
    space = [
        {"type": "space", "id": a, **({"size": size} if size else {"size": {"tensor_id": "i", "axis_id": a}})}
        for a in "zyx"
    ]
    return [{"type": "batch"}, {"type": "channel", "channel_names": names}, *space]


def model(folder: Path, change: Change = lambda _: None) -> Path:
    """A minimal model of specification 0.5, changed."""
    values: dict[str, Any] = {
        "format_version": "0.5.4",
        "type": "model",
        "name": "foreign",
        "inputs": [{"id": "i", "axes": axes({"min": 8, "step": 4})}],
        "outputs": [{"id": "o", "axes": axes({})}],
        "weights": {"torchscript": {"source": "w.pt"}},
    }
    change(values)
    folder.mkdir()
    (folder / "w.pt").write_bytes(b"graph")
    (folder / "rdf.yaml").write_text(yaml.safe_dump(values))
    return folder


def test_a_minimal_model_is_understood(tmp_path: Path) -> None:
    found = described(model(tmp_path / "m"))
    assert (found.least, found.growth, found.halo) == ((8, 8, 8), (4, 4, 4), (0, 0, 0))
    assert found.voxel_size is None
    assert (found.normalise, found.steps) == ("uint8", (("scale", 255.0, 0.0),))
    assert not found.logits


def test_axes_may_stand_in_any_order_and_have_sizes(tmp_path: Path) -> None:
    def change(values: dict[str, Any]) -> None:
        batch, channel, z, y, x = values["inputs"][0]["axes"]
        z |= {"unit": "micrometer", "scale": 0.04}
        y |= {"unit": "nanometer", "scale": 4}
        x |= {"unit": "nanometer", "scale": 4, "size": 64}
        values["inputs"][0]["axes"] = [batch, z, x, y, channel]
        values["outputs"][0]["axes"][2]["halo"] = 3

    found = described(model(tmp_path / "m", change))
    assert found.order_in == (0, 4, 1, 3, 2)
    assert found.voxel_size == pytest.approx((40, 4, 4))
    assert (found.least[2], found.growth[2], found.halo) == (64, 0, (3, 0, 0))


@pytest.mark.parametrize(
    ("entries", "kind", "percentiles", "steps"),
    [
        ([("scale_range", {"min_percentile": 1, "max_percentile": 98})], "percentile", (1, 98), ()),
        (
            [("ensure_dtype", {"dtype": "float32"}), ("zero_mean_unit_variance", {})],
            "zscore",
            None,
            (("scale", 5, -2.5),),
        ),
        (
            [("fixed_zero_mean_unit_variance", {"mean": 100, "std": 50}), ("clip", {"min": -1, "max": 2})],
            "uint8",
            None,
            (("scale", 255, 0), ("scale", 0.02, -2), ("clip", -1, 2)),
        ),
    ],
)
def test_grey_values_in_our_terms(
    tmp_path: Path,
    entries: list[tuple[str, dict[str, Any]]],
    kind: str,
    percentiles: tuple[float, float] | None,
    steps: tuple[Any, ...],
) -> None:
    said = [{"id": name, "kwargs": kwargs} for name, kwargs in entries]
    found = described(model(tmp_path / "m", lambda v: v["inputs"][0].update(preprocessing=said)))
    assert (found.normalise, found.steps) == (kind, steps)
    if percentiles is not None:
        assert found.percentiles == percentiles


def _preprocess(*entries: dict[str, Any]) -> Change:
    return lambda v: v["inputs"][0].update(preprocessing=list(entries))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(format_version="0.4.10"), "update-format"),
        (lambda v: v.update(type="dataset"), "specification 0.5"),
        (lambda v: v["inputs"].append(v["inputs"][0]), "2 inputs"),
        (lambda v: v["outputs"].append(v["outputs"][0]), "2 outputs"),
        (lambda v: v["inputs"][0]["axes"].pop(2), "a network of volumes"),
        (lambda v: v["inputs"][0]["axes"][1].update(channel_names=["r", "g"]), "takes 2 channels"),
        (lambda v: v["inputs"][0]["axes"][2].update(size={"tensor_id": "i", "axis_id": "x"}), "another axis"),
        (_preprocess({"id": "custom", "kwargs": {}}), "prepares its image by custom"),
        (_preprocess({"id": "scale_linear", "kwargs": {"gain": [1, 2]}}), "prepares its image by scale_linear"),
        (_preprocess({"id": "clip", "kwargs": {"min_percentile": 1}}), "prepares its image by clip"),
        (lambda v: v["outputs"][0].update(postprocessing=[{"id": "binarize"}]), "changes its output by binarize"),
        (lambda v: v.update(weights={"pytorch_state_dict": {"source": "w.pt"}}), "runs code of its maker"),
        (lambda v: v.update(weights={"onnx": {"source": "w.pt"}}), "onnx only"),
        (lambda v: v["weights"]["torchscript"].update(source="../w.pt"), "the whole package"),
        (lambda v: v["weights"]["torchscript"].update(source="/etc/passwd"), "the whole package"),
        (lambda v: v["weights"]["torchscript"].update(source="https://a.org/w.pt"), "the whole package"),
        (lambda v: v["weights"]["torchscript"].update(sha256="0" * 64), "not the file"),
        (lambda v: v.update(config={"neuropil": {"format": 9}}), "format 9"),
        (lambda v: v.update(config={"neuropil": {"format": 1, "task": "os:system"}}), "names code"),
        (lambda v: v.pop("inputs"), "a valid model"),
        (lambda v: v["inputs"][0]["axes"][0].pop("type"), "a valid model"),
    ],
)
def test_what_cannot_be_done_as_it_says_is_one_clear_error(tmp_path: Path, change: Change, message: str) -> None:
    with pytest.raises(RunError, match=message):
        described(model(tmp_path / "m", change))


def test_a_folder_without_a_description_or_with_half_of_one(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no rdf\.yaml"):
        described(tmp_path)
    (tmp_path / "rdf.yaml").write_text("a: [")
    with pytest.raises((RunError, VolumeError), match="YAML"):
        described(tmp_path)
