"""The verb that shows volumes, trees and runs in a browser, or in napari: view."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from neuropil.affinities import Affinities
from neuropil.config.view import ViewConfig
from neuropil.errors import ConfigError, InputError, RunError
from neuropil.geometry import Box, Float3
from neuropil.inputs import opened, opened_prediction, opened_run, training_pairs
from neuropil.tasks.base import task_named
from neuropil.volume import Volume, VolumeLike, require_kind

if TYPE_CHECKING:
    from neuropil.skeleton import Skeleton
    from neuropil.training.checkpoint import Run
    from neuropil.view import Shown, Viewing


def view(
    what: VolumeLike | Run | None = None,
    *,
    affinities: VolumeLike | Affinities | None = None,
    labels: VolumeLike | None = None,
    truth: VolumeLike | None = None,
    skeletons: str | os.PathLike[str] | None = None,
    meshes: str | os.PathLike[str] | None = None,
    voxel_size: Float3 | None = None,
    units: str | None = None,
    host: str | None = None,
    port: int | None = None,
    export: str | os.PathLike[str] | None = None,
    browser: bool = True,
    napari: bool = False,
) -> Viewing | Path | None:
    """Show volumes and skeletons in Neuroglancer, each on its voxel size and in its place; nothing is read in advance.

    Parameters
    ----------
    what
        An image; a run, of which crops of the training volumes are shown with what it predicts there; or a folder that
        `export` wrote.
    affinities, labels, truth
        Volumes that belong to the image. With labels and a truth there is a layer of mistakes too.
    skeletons, meshes
        SWC file, folder of them, NPZ graph, or folder of precomputed skeletons; folder of precomputed meshes (those of
        labels and truth are made when they are looked at).
    voxel_size, units
        nm, z, y, x, and overrides what files of volumes say; "um", "nm" or "voxel" of SWC files that do not say.
    host, port
        Where to listen; see `neuropil.config.view.ViewConfig`.
    export
        Write everything to this new folder instead, which `view(folder)` serves, and anyone's web server can.
    browser, napari
        Whether to open the link; whether to show it in napari instead, and return when its window is closed.

    Returns
    -------
    Viewing, Path or None
        The running view (`.url`, `.wait()`, `.close()`); the exported folder; nothing after napari.
    """
    given: dict[str, Any] = {"affinities": affinities, "labels": labels, "truth": truth}
    given |= {"skeletons": skeletons, "meshes": meshes}
    words = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    if folder := _exported(what):
        _require_alone(what, "an exported view", {**given, "export": export, "napari": napari or None})
        return _opened(_served_folder(folder, words), browser=browser)
    settings = parsed(words)
    if _is_run(what):
        _require_alone(what, "a run", given)
        shown = list(_of_run(opened_run(what), settings))
    else:
        shown = [_of_volumes(cast("VolumeLike | None", what), given, voxel_size, units)]
    if napari:
        _require_alone(what, "napari", {"export": export, **words})
        _napari(shown)
        return None
    return _shown(shown, settings, _title(what, given), export=export, browser=browser)


def parsed(words: Mapping[str, Any]) -> ViewConfig:
    """The settings under what was said.

    Raises
    ------
    ConfigError
        If the port is none.
    """
    try:
        return ViewConfig(**words)
    except ValidationError as error:
        found = error.errors()[0]
        got = f"--{found['loc'][0]} {found['input']}: {found['msg']}"
        raise ConfigError(got, "a port from 0 to 65535", "leave it out: any that is free is taken") from None


def _napari(shown: list[Shown]) -> None:
    from neuropil.view.napari import show

    show(shown)


def _shown(
    shown: list[Shown], settings: ViewConfig, title: str, *, export: str | os.PathLike[str] | None, browser: bool
) -> Viewing | Path:
    """Serve or export what there is to show."""
    from neuropil.view import export as write
    from neuropil.view import layers_of, serve
    from neuropil.view.server import neuroglancer

    if export is None:
        neuroglancer()  # what is missing is said before anything is read
    layers = [layer for one in shown for layer in layers_of(one, settings)]
    if export is not None:
        port = settings.port or settings.export_port
        return write(layers, export, title=title, host=settings.host, port=port, meshes=settings.exported_meshes)
    return _opened(serve(layers, title=title, host=settings.host, port=settings.port), browser=browser)


def _exported(what: Any) -> Path | None:
    from neuropil.view.folder import MARK

    named = isinstance(what, str | os.PathLike)
    return Path(what) if named and (Path(what) / MARK).is_file() else None


def _served_folder(folder: Path, words: Mapping[str, Any]) -> Viewing:
    from neuropil.view import exported, serve_folder

    return serve_folder(folder, **{**exported(folder), **words})


def _opened(viewing: Viewing, *, browser: bool) -> Viewing:
    if browser:
        import webbrowser

        webbrowser.open(viewing.url)
    return viewing


def _is_run(what: Any) -> bool:
    from neuropil.training.checkpoint import CARD, Run

    return isinstance(what, Run) or (isinstance(what, str | os.PathLike) and (Path(what) / CARD).is_file())


def _require_alone(what: Any, called: str, others: Mapping[str, Any]) -> None:
    """Refuse what would be ignored."""
    said = [f"--{name.replace('_', '-')}" for name, value in others.items() if value is not None]
    if said:
        raise InputError(f"{' and '.join(said)} with {called}", f"{called} alone", f"leave out {' and '.join(said)}")


def _title(what: Any, given: Mapping[str, Any]) -> str:
    named = [what, *given.values()]
    first = next((v.name if isinstance(v, Volume) else v for v in named if v is not None), "")
    return f"{Path(str(getattr(first, 'path', first))).name or 'volumes'} · neuropil"


def _of_volumes(
    image: VolumeLike | None, given: Mapping[str, Any], voxel_size: Float3 | None, units: str | None
) -> Shown:
    """What the words of the command name, opened."""
    from neuropil.view import Shown

    pixels = None if image is None else require_kind(opened(image, voxel_size), "image")
    held, offsets = (None, ()) if given["affinities"] is None else opened_prediction(given["affinities"], voxel_size)
    pred, true = (None if v is None else _labelled(v, voxel_size) for v in (given["labels"], given["truth"]))
    first = next((v for v in (pixels, held, pred, true) if v is not None), None)
    size = voxel_size or (None if first is None else first.voxel_size)
    trees = None if given["skeletons"] is None else _skeletons(Path(given["skeletons"]), units, size)
    if units is not None and not isinstance(trees, dict):
        raise InputError(f"--units {units} without SWC files", "--skeletons with them", "leave it out")
    return Shown(pixels, held, offsets, pred, true, trees, None if given["meshes"] is None else Path(given["meshes"]))


def _labelled(source: VolumeLike, voxel_size: Float3 | None) -> Volume:
    volume = opened(source, voxel_size)
    return volume.with_kind("labels") if volume.kind == "mask" else require_kind(volume, "labels")


def _skeletons(path: Path, units: str | None, voxel_size: Float3 | None) -> dict[str, Skeleton] | Path:
    """Skeletons by their names, or the folder of precomputed ones."""
    from neuropil.io.skeletons import read_skeletons
    from neuropil.io.swc import SUFFIXES

    if (path / "info").is_file():
        return path
    found = read_skeletons(path, units=units, voxel_size=voxel_size)
    files = sorted(f.stem for f in path.iterdir() if f.suffix.lower() in SUFFIXES) if path.is_dir() else [path.stem]
    names = files if len(files) == len(found) else [f"{path.stem} {number}" for number in range(len(found))]
    return dict(zip(names, found, strict=True))


def _of_run(run: Run, settings: ViewConfig) -> Iterator[Shown]:
    """The first training volume whole, and two crops with predictions: held back, and learned from."""
    from neuropil.view import Shown

    if run.card.get("kind") == "encoder":
        raise RunError(
            f"'{run.path}' is an encoder, which segments nothing",
            "a run of `neuropil train`",
            f"neuropil report {run.path} shows what it learned",
        )
    image, truth = training_pairs((), (), None, resumed=run, config=run.config)[0]
    source, more = run.card["sources"][0], len(run.card["sources"]) - 1
    if more:
        print(f"note: '{run.path}' learned from {more + 1} volumes; the first is shown", file=sys.stderr)
    labelled = truth.with_kind("labels") if truth.kind in ("labels", "mask") and truth.axes == "zyx" else None
    yield Shown(image=image, truth=labelled)
    start, stop = (tuple(source["held_back"][end]) for end in ("start", "stop"))
    slab = Box(start, stop, image.voxel_size)
    for name, place in (("held back", slab), ("learned from", beside(truth.box, slab))):
        box = _crop(place, settings.crop_voxels)
        if box.size:
            yield _predicted(run, image.crop(box), None if labelled is None else labelled.crop(box), f" {name}")


def _predicted(run: Run, image: Volume, truth: Volume | None, suffix: str) -> Shown:
    """What a run makes of a crop."""
    from neuropil.api.segmenting import predict, segment
    from neuropil.view import Shown

    made = predict(run, image)
    held, offsets = (made.volume, made.offsets) if isinstance(made, Affinities) else (made, ())
    found = segment(made) if task_named(run.task).kind == "affinities" else segment(held)
    labels = found.with_kind("labels") if found.axes == "zyx" else None
    return Shown(affinities=held, offsets=offsets, labels=labels, truth=truth, suffix=suffix)


def beside(whole: Box, slab: Box) -> Box:
    """The larger part of a box that lies on one side of a slab of it; empty where the slab is all.

    Examples
    --------
    >>> beside(Box((0, 0, 0), (10, 8, 8), (1, 1, 1)), Box((7, 0, 0), (10, 8, 8), (1, 1, 1))).stop
    (7, 8, 8)
    """
    slab, best = whole.intersected(slab), Box(whole.start, whole.start, whole.voxel_size)
    for axis in range(3):
        before, after = list(whole.stop), list(whole.start)
        before[axis], after[axis] = slab.start[axis], slab.stop[axis]
        for start, stop in ((whole.start, before), (after, whole.stop)):
            part = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]), whole.voxel_size)
            best = part if part.size > best.size else best
    return best


def _crop(box: Box, most: int) -> Box:
    """The middle of a box, of at most about so many voxels."""
    from neuropil.report.scene import central

    thin = min(box.shape[0], round(most ** (1 / 3)))
    side = max(1, round((most / max(1, thin)) ** 0.5))
    return central(box, (thin, side, side))
