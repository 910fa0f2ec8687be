"""The how-to on extending is true: its package is typed in as it stands there, installed, and its commands are run."""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from neuropil import registry
from neuropil.cli import main
from neuropil.errors import ConfigError
from neuropil.training.checkpoint import Run

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "extend.md"
TEXT = PAGE.read_text()
COMMANDS = [line for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
#: Makes the runs of the page as small as tests need.
SMALL = (
    *("model.channels=[8,8,16]", "data.crop=[16,24,24]", "data.validation=0.25", "train.batch=1", "train.log_every=2"),
    *("train.validations=1", "train.precision=fp32", "train.threads=1", "pretrain.crops=2"),
    *("predict.tile=[24,32,32]", "predict.overlap=[12,18,18]", "pretrain.multiscale.dim=16"),
    *("model.vit.dim=24", "model.vit.depth=2", "model.vit.heads=2", "model.vit.decoder=[8,8,16]", "data.workers=0"),
    *("pretrain.decoder_dim=24", "pretrain.decoder_heads=2", "model.vit.patch=[8,8,8]"),
)


def installed(folder: Path, entry_points: dict[str, str], name: str = "my-neuropil") -> None:
    """What pip leaves of a package with entry points."""
    info = folder / f"{name.replace('-', '_')}-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    lines = [f"{key} = {value}" for key, value in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[neuropil.plugins]", *lines, ""]))


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is on the path; what is installed there is found anew."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    registry.plugins.cache_clear()
    yield site
    registry.plugins.cache_clear()


@pytest.fixture
def package(plugged: Path) -> Path:
    """The package of the page."""
    for kind, name, body in re.findall(r"```(toml|python)\n# (\S+)\n(.*?)```", TEXT, re.DOTALL):
        if kind == "toml":
            installed(plugged, tomllib.loads(body)["project"]["entry-points"]["neuropil.plugins"])
            continue
        (plugged / name).parent.mkdir(exist_ok=True)
        (plugged / name).write_text(body)
    (plugged / "my_neuropil" / "__init__.py").touch()
    return plugged


def _typed(capsys: pytest.CaptureFixture[str], line: str) -> str:
    verb, *words = shlex.split(line)[1:]
    if verb in ("train", "pretrain"):
        words += [word for setting in SMALL for word in ("--set", setting)]
    with pytest.raises(SystemExit) as ended:
        main([verb, *words])
    captured = capsys.readouterr()
    assert ended.value.code in (0, None), f"{line}\n{captured.err}"
    return captured.out


def test_the_page_as_it_stands(
    capsys: pytest.CaptureFixture[str],
    package: Path,
    phantom_h5: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(phantom_h5, "em.h5")
    said = {line: _typed(capsys, line) for line in COMMANDS}
    assert type(Run.open("runs/dense").load_model()).__name__ == "DenseHead"
    after = Run.open("runs/after")
    assert after.card["init"]["account"]["share"] == 1
    assert "largest_share" in next(out for line, out in said.items() if " evaluate " in line)
    rows = Run.open("runs/told").rows("train")
    lines = Path("runs/told/loss.csv").read_text().splitlines()
    assert lines == [f"{row['step']},{row['loss']}" for row in rows]
    assert list(Path("runs/told/tensorboard").iterdir())
    doctor = said["neuropil doctor"]
    assert "pretext denoise (my-neuropil)" in " ".join(doctor.split())
    assert len(re.findall(r"\(my-neuropil\)", doctor)) == 5


def test_names_of_plugins_are_names_of_the_tables(plugged: Path) -> None:
    installed(plugged, {"segmenter.tau": "math:tau", "tree_metric.pi": "math:pi"})
    assert "tau" in registry.SEGMENTERS
    assert list(registry.SEGMENTERS)[: len(registry.SEGMENTERS.own)] == list(registry.SEGMENTERS.own)
    assert registry.SEGMENTERS.resolve("tau") == registry.SEGMENTERS.resolve("math:tau")
    assert registry.TREE_METRICS["pi"] == "math:pi"
    assert "tau" not in registry.METRICS
    with pytest.raises(ConfigError, match="did you mean 'tau'"):
        registry.SEGMENTERS.resolve("tao")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"segmenter.mutex": "math:tau"}, "that of neuropil"),
        ({"segmentr.tau": "math:tau"}, "for one of augmentation"),
        ({"segmenter": "math:tau"}, "an entry point such as"),
        ({"segmenter.tau": "math"}, "an entry point such as"),
    ],
)
def test_a_wrong_entry_point_is_named_with_its_package(plugged: Path, entries: dict[str, str], message: str) -> None:
    installed(plugged, entries)
    with pytest.raises(ConfigError, match=message) as caught:
        registry.plugins()
    assert "my-neuropil" in str(caught.value)


def test_two_packages_with_one_name(plugged: Path) -> None:
    installed(plugged, {"segmenter.tau": "math:tau"}, "one")
    installed(plugged, {"segmenter.tau": "math:pi"}, "two")
    with pytest.raises(ConfigError, match=r"that of (one|two)"):
        registry.plugins()


def test_a_plugin_that_cannot_be_imported_says_so(plugged: Path) -> None:
    installed(plugged, {"segmenter.broken": "no_such_module_anywhere:build"})
    with pytest.raises(ConfigError, match="'broken' cannot be imported"):
        registry.SEGMENTERS.resolve("broken")
    # and what is our own still works
    assert callable(registry.SEGMENTERS.resolve("mutex"))
