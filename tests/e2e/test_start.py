"""The command before its modules are there: as a module, and interrupted at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

import neuropil.cli
from neuropil.__main__ import main


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "neuropil", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("neuropil ")


def test_an_interrupt_before_any_command_has_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(neuropil.cli, "main", interrupted)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 130
    assert "nothing was begun" in capsys.readouterr().err
