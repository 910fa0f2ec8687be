"""What the pages say to type, and typing it: commands in this process, lines with a shell's signs in a shell."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from neuropil.cli import main

ROOT = Path(__file__).parents[2]
#: Makes a training as small as tests need. What the pages themselves set comes after it, and wins.
SMALL = (
    *("model.channels=[8,8,16]", "data.crop=[16,24,24]", "data.validation=0.25", "data.workers=0", "train.batch=2"),
    *("train.log_every=2", "train.validations=1", "train.precision=fp32", "train.threads=1"),
    *("predict.tile=[48,64,64]", "predict.overlap=[12,18,18]", "pretrain.crops=2", "pretrain.multiscale.dim=16"),
    *("model.vit.dim=24", "model.vit.depth=2", "model.vit.heads=2", "model.vit.decoder=[8,8,16]"),
    *("model.vit.patch=[8,8,8]", "pretrain.decoder_dim=24", "pretrain.decoder_heads=2"),
)
LEARNING = ("train", "pretrain")


def blocks(page: Path, *languages: str) -> list[tuple[str, str]]:
    """Fenced blocks of these languages, as (language, text without indentation), in order."""
    found = re.findall(r"(?m)^( *)```(\w+)\n(.*?)^\1```", page.read_text(), re.DOTALL | re.MULTILINE)
    return [(language, textwrap.dedent(text)) for _, language, text in found if language in languages]


def small(line: str) -> str:
    """The same command with six steps instead of a time, and small networks."""
    words = shlex.split(line, comments=True)
    if words[1] not in LEARNING or "--resume" in words:
        return shlex.join(words)
    if "--budget" in words:
        at = words.index("--budget")
        words[at : at + 2] = ["--steps", "6"]
    # a model that comes with neuropil needs the network that it is
    ours = any(word.startswith("zoo:em-") for word in words)
    less = [setting for setting in SMALL if not (ours and setting.startswith("model."))]
    return shlex.join([*words[:2], *(word for setting in less for word in ("--set", setting)), *words[2:]])


def type_in(text: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a block of commands in the folder that we are in; what they said on stdout."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if "wait" in lines:
        return _by_a_shell(lines)
    said = ""
    for line in lines:
        assert line.startswith("neuropil "), f"only commands of ours can be typed in: {line}"
        with pytest.raises(SystemExit) as ended:
            main(shlex.split(small(line))[1:])
        told = capsys.readouterr()
        assert ended.value.code in (0, None), f"{line}\n{told.out}\n{told.err}"
        said += told.out
    return said


def _by_a_shell(lines: list[str]) -> str:
    """Lines that end with & go on beside the next ones."""
    script = [small(line.rstrip("& ")) + " &" * line.endswith("&") if line != "wait" else line for line in lines]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-ec", "\n".join(script)],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout
