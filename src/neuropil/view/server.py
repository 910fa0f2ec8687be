"""The server: Neuroglancer's client as its Python package brings it, the layers, and the state they are seen in."""

from __future__ import annotations

import html
import importlib
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from neuropil.errors import ConfigError, InputError
from neuropil.view.layers import Layer
from neuropil.view.served import Files, Memory, Served
from neuropil.view.state import DATA, STATE, TOKEN, at, link_of, state_of

_ICON = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><circle cx="4" cy="4" r="3" fill="#0a6674"/></svg>'


@dataclass
class Viewing:
    """A view that is being served.

    Attributes
    ----------
    url
        The link to open.
    layers
        Names of the layers.
    """

    url: str
    layers: tuple[str, ...]
    viewer: Any = field(repr=False)
    server: Any = field(repr=False)

    def wait(self) -> None:
        """Serve until Ctrl-C."""
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            self.close()

    def close(self) -> None:
        """Stop serving; a view that was opened later goes on."""
        if neuroglancer().server.global_server is self.server:
            neuroglancer().server.stop()

    def _repr_html_(self) -> str:
        # an exported view comes from somebody else, and so do the names of its layers
        url, layers = html.escape(self.url), html.escape(", ".join(self.layers))
        return f'<a href="{url}" target="_blank">{url}</a>: {layers}'


def neuroglancer() -> Any:
    """The package.

    Raises
    ------
    ConfigError
        If it is not installed.
    """
    try:
        return importlib.import_module("neuroglancer")
    except ImportError as error:
        raise ConfigError(
            f"the package 'neuroglancer' cannot be imported ({error})",
            "an installed neuroglancer: its client and server are what shows volumes",
            "pip install 'neuropil[view]', or look with --napari",
        ) from None


def serve(layers: Sequence[Layer], *, title: str, host: str, port: int) -> Viewing:
    """Serve layers, and the state that shows them, from this process.

    Raises
    ------
    ConfigError
        If neuroglancer is not installed.
    InputError
        If the port is taken, or the host is none of this machine's.
    """
    viewer, base = _started(host, port, token=None)
    state = json.dumps(state_of(layers, f"{base}/{DATA}", title)).encode()
    served: dict[str, Served] = {layer.folder: layer.served for layer in layers}
    _hand_out(served, state, everyone=False)
    return _viewing(link_of(base, viewer.token), [layer.name for layer in layers], viewer)


def serve_folder(folder: Path, state: dict[str, Any], *, host: str, port: int) -> Viewing:
    """Serve an exported folder, to viewers on other servers too (CORS), under its state, put at this address.

    Raises
    ------
    ConfigError, InputError
        As `serve`.
    """
    viewer, base = _started(host, port, token=TOKEN)
    _hand_out({"": Files(folder)}, json.dumps(at(state, f"{base}/{DATA}")).encode(), everyone=True)
    return _viewing(link_of(base, TOKEN), [layer["name"] for layer in state["layers"]], viewer)


def _viewing(url: str, layers: Sequence[str], viewer: Any) -> Viewing:
    return Viewing(url, tuple(layers), viewer, neuroglancer().server.global_server)


def _started(host: str, port: int, *, token: str | None) -> tuple[Any, str]:
    """A viewer on a new server, and the server's address."""
    library = neuroglancer()
    library.server.stop()  # one view at a time: the package has one server in a process
    library.set_server_bind_address(host, port)
    try:
        viewer = library.UnsynchronizedViewer(token=token)
    except OSError as error:
        raise InputError(
            f"cannot listen at {host}:{port} ({error.strerror or error})",
            "an address of this machine and a free port",
            "choose another --port (0 takes any that is free), or another --host",
        ) from None
    return viewer, str(library.server.get_server_url())


def _hand_out(served: dict[str, Served], state: bytes, *, everyone: bool) -> None:
    """Add the files of a view to the running server."""
    from neuropil.view.handler import FileHandler  # deferred: it needs what neuroglancer brings

    files, server = {**served, STATE: Memory({"": state})}, neuroglancer().server.global_server
    words = {"found": partial(found, files), "executor": server.executor, "everyone": everyone}
    # browsers ask for an icon, and complain on their console where there is none
    icon = {**words, "found": {"": _ICON}.get}
    server.app.add_handlers(".*", [(rf"/{DATA}/(.*)", FileHandler, words), ("/favicon.ico()", FileHandler, icon)])


def found(files: dict[str, Served], path: str) -> bytes | None:
    """A file of the layer that the path begins with, or of the folder that holds all (named "")."""
    first, _, rest = path.partition("/")
    if first in files:
        return files[first].get(rest)
    return files[""].get(path) if "" in files else None
