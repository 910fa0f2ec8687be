"""Weights in a file of somebody else: opened as data, never executed."""

from __future__ import annotations

import argparse
import codecs
import json
import pickle
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from neuropil.errors import RunError

#: Where training files keep the weights, best first: a teacher is the average of its student.
_WRAPPERS = ("teacher", "model_ema", "state_dict_ema", "state_dict", "model_state_dict", "model")
_EXPECTED = "a file of weights of a 2-D vision transformer (.safetensors, .pth or .pt)"
_GATED = (
    "probably the server's answer instead of the file, as access needs a login or an accepted licence: accept it "
    "there, then get the file by a browser or with a token"
)
#: Letters of a message of others that are shown.
_WORDS = 160


@dataclass(frozen=True)
class WeightFile:
    """What a file holds.

    Attributes
    ----------
    tensors
        By the names of the file, under the entry `entry` ("" where there is none).
    others
        Entries of the file beside that one.
    config
        What the `config.json` beside it says; empty where there is none.
    """

    path: Path
    tensors: dict[str, Tensor]
    entry: str
    others: tuple[str, ...]
    config: dict[str, Any]


def open_weights(path: Path) -> WeightFile:
    """Read a local file, or the one in a folder as Hugging Face makes them.

    Raises
    ------
    RunError
        If it is missing, empty, cut short, a web page or other text, a pointer, wants to execute code, or holds no
        weights.
    """
    if path.is_dir():
        inside = [p for name in ("model.safetensors", "pytorch_model.bin") if (p := path / name).is_file()]
        if not inside:
            raise RunError(f"folder '{path}' holds no model.safetensors and no pytorch_model.bin", _EXPECTED)
        path = inside[0]
    if not path.is_file():
        raise RunError(f"'{path}' does not exist", _EXPECTED)
    with path.open("rb") as file:
        head = file.read(512)
    _check_head(head, path)
    if head[8:9] == b"{" and not head.startswith(b"PK"):
        loaded: Any = _safetensors(path)
    else:
        loaded = _torch(path, pickled=head.startswith((b"PK", b"\x80")))
    entry, tensors, others = _unwrapped(loaded, path)
    return WeightFile(path, tensors, entry, others, _config(path))


def _check_head(head: bytes, path: Path) -> None:
    if not head:
        raise RunError(f"'{path}' is empty", _EXPECTED, "get it again")
    text = _as_text(head)
    if text.lower().startswith("version https://git-lfs"):
        raise RunError(f"'{path}' is a pointer to a large file, not the file", _EXPECTED, "fetch it with git lfs pull")
    if text.startswith("<"):
        raise RunError(f"'{path}' is a web page, not weights", _EXPECTED, _GATED)
    if text:
        what = "JSON text" if text.startswith(("{", "[")) else "text"
        raise RunError(f"'{path}' is {what}, not weights: {_shortened(text)}", _EXPECTED, _GATED)


def _as_text(head: bytes) -> str:
    """The beginning of a file as text; empty if it is none."""
    try:
        # the last letter may be cut in two
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return ""
    return text.strip() if all(letter.isprintable() or letter.isspace() for letter in text) else ""


def _shortened(message: str) -> str:
    return textwrap.shorten(message, _WORDS, placeholder=" …")


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        found: dict[str, Tensor] = load_file(str(path))
    except SafetensorError as error:
        raise RunError(f"'{path}' is not a whole safetensors file ({error})", _EXPECTED, "get it again") from None
    return found


def _torch(path: Path, *, pickled: bool) -> Any:
    try:
        # training files keep their arguments in a Namespace, which holds values and does nothing
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if pickled and ("GLOBAL" in str(error) or "Unsupported" in str(error)):
            raise RunError(
                f"'{path}' wants to execute code when it is opened, and was not opened",
                "a file that holds weights only",
                "save its weights alone as .safetensors in an environment that you trust",
            ) from None
        raise _damaged(path, error) from None
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, OSError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> RunError:
    reason = _shortened((str(error).strip() or type(error).__name__).splitlines()[0])
    return RunError(f"'{path}' is cut short or no file of weights ({reason})", _EXPECTED, "get it again")


def _unwrapped(loaded: Any, path: Path) -> tuple[str, dict[str, Tensor], tuple[str, ...]]:
    entry = ""
    others: list[str] = []
    while isinstance(loaded, Mapping):
        tensors = {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}
        inner = next((w for w in _WRAPPERS if isinstance(loaded.get(w), Mapping)), None)
        if inner is None or len(tensors) > len(loaded) / 2:
            if tensors:
                return entry, tensors, (*others, *(str(n) for n in loaded if str(n) not in tensors))
            break
        others += [f"{entry}{name}" for name in loaded if name != inner]
        entry, loaded = f"{entry}{inner}.", loaded[inner]
    raise RunError(f"'{path}' holds no named weights", _EXPECTED)


def _config(path: Path) -> dict[str, Any]:
    beside = path.with_name("config.json")
    if not beside.is_file():
        return {}
    try:
        found = json.loads(beside.read_text())
    except ValueError:
        raise RunError(f"'{beside}' is not JSON", "the settings that belong to the weights", "get it again") from None
    return found if isinstance(found, dict) else {}
