"""One self-contained page: `write_report`."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

import neuropil
from neuropil.errors import InputError, VolumeError
from neuropil.report import charts, curves, mistakes, objects, panels, solid, words
from neuropil.report.charts import Chart
from neuropil.report.colours import ERROR_COLOURS
from neuropil.report.images import data_uri, voxel_text
from neuropil.report.model import Look, ReportData
from neuropil.report.scene import Scene, read_scene
from neuropil.report.trees import TreePage, tree_page
from neuropil.report.wording import WORDINGS, Wording


@dataclass(frozen=True)
class Turntable:
    """A film strip of views from all sides."""

    title: str
    strip: str
    frames: int
    aspect: float


@dataclass(frozen=True)
class RunView:
    """One run, ready for the template."""

    key: str
    title: str
    summary: tuple[tuple[str, str], ...]
    command: str
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    tiles: tuple[words.Tile, ...]
    charts: tuple[Chart, ...]
    sweep: tuple[dict[str, str], ...]
    timings: tuple[words.TimingRow, ...]
    total_time: str
    extent: str
    stack: panels.Stack | None
    rows: tuple[panels.PlaneRow, ...]
    errors: tuple[tuple[str, str, str, str], ...]  # name, meaning, css colour, share
    places: tuple[panels.Place, ...]
    tally: str
    wording: Wording
    of_objects: bool
    turntables: tuple[Turntable, ...]
    frame_text: str
    evidence: str
    strips: tuple[panels.PlaneRow, ...]
    strips_lead: str
    trees: TreePage | None
    card: tuple[tuple[str, str], ...]
    efficiency: tuple[Chart, ...]
    budgets: tuple[dict[str, str], ...]


def write_report(reports: ReportData | Sequence[ReportData], out: str | Path, *, look: Look = Look()) -> Path:
    """Write one HTML page about one run, or about several side by side; it needs no other file and no network.

    Parameters
    ----------
    reports
        What there is to show; every part may be missing.
    out
        The page. It appears whole or not at all.
    look
        How much to show.

    Raises
    ------
    InputError
        If there is no report, one of an unknown task, `out` is a folder, or labels or affinities cannot be used.
    GeometryError
        If the volumes of a run do not lie on one grid in one place.
    VolumeError
        If the page cannot be written.
    """
    runs = [reports] if isinstance(reports, ReportData) else list(reports)
    path = Path(out)
    if not runs:
        raise InputError("no run to report", "at least one ReportData")
    if path.is_dir():
        raise InputError(f"'{path}' is a folder", "the name of a page", f"write to '{path / 'report.html'}'")
    for data in runs:
        if data.task not in WORDINGS:
            raise InputError(f"a report of task '{data.task}'", "one of " + ", ".join(WORDINGS), "choose one of these")
    views = [run_view(data, f"r{k}", look.shared(len(runs))) for k, data in enumerate(runs)]
    page = render(views, runs)
    _write(path, page)
    return path


def run_view(data: ReportData, key: str, look: Look) -> RunView:
    """Everything the template shows of one run; its volumes are read here and let go again."""
    scene = read_scene(data, look)
    paint = panels.painter(scene) if scene is not None else None
    wording = WORDINGS[data.task]
    worst, tally = _worst(paint, look, wording) if paint is not None else ([], "")
    summary = {k: str(v) for k, v in data.summary.items()}
    command = summary.pop("command", "")
    timings = words.timing_rows(data.timings)
    return RunView(
        key,
        data.title,
        tuple(summary.items()),
        command,
        tuple(data.notes),
        tuple(data.warnings),
        tuple(words.tiles(data.scores, wording)),
        tuple(curves.run_charts(data)),
        _sweep_rows(data),
        tuple(timings),
        words.duration(sum(t if isinstance(t, int | float) else t.seconds for t in data.timings.values())),
        _extent(scene),
        panels.stack(paint, look.sections) if paint else None,
        tuple(panels.plane_rows(paint, look.plane_pixels)) if paint else (),
        _error_legend(paint, wording),
        tuple(worst),
        tally,
        wording,
        data.task != "neurons",
        tuple(_turntables(paint, look)) if paint else (),
        " × ".join(f"{n * v / 1000:.3g}" for n, v in zip(scene.box.shape, scene.box.voxel_size, strict=True)) + " µm"
        if scene
        else "",
        "" if scene is None or scene.affinities_ZYXC is None else scene.evidence,
        tuple(panels.strip_row(strip, look.place_pixels) for strip in data.strips),
        data.strips_lead,
        None if data.trees is None else tree_page(data.trees, width=look.tree_pixels, most=look.worst),
        tuple(data.card.items()),
        tuple(curves.efficiency_charts(data)),
        _budget_rows(data),
    )


def _worst(paint: panels.Painter, look: Look, wording: Wording) -> tuple[list[panels.Place], str]:
    """The worst mistakes, and how many there are of each kind (of objects in a background)."""
    scene = paint.scene
    if paint.found is None or scene.truth is None or scene.segmentation is None or not wording.kinds:
        return [], ""
    if scene.task == "neurons":
        found = mistakes.worst(scene.truth, scene.segmentation, paint.found, look.worst)
        return panels.places(paint, found, look.place_pixels), ""
    compared = objects.Compared.of(scene.truth, scene.segmentation, paint.found, scene.unknown_ZYX)
    wrong = compared.wrong()
    found = [compared.described(one) for one in wrong[: look.worst]]
    return panels.places(paint, found, look.place_pixels), objects.counted(wrong, wording.kinds)


def render(views: Sequence[RunView], runs: Sequence[ReportData]) -> str:
    """The page as text."""
    several = len(runs) > 1
    return (
        _templates()
        .get_template("report.html.j2")
        .render(
            title=runs[0].title if not several else _counted(runs),
            runs=views,
            several=several,
            comparisons=_comparisons(runs) if several else [],
            differing=words.differing([data.settings for data in runs if data.settings]) if several else [],
            compared=[k for k, data in enumerate(runs) if data.settings],
            shared=curves.shared_charts(runs) if several else [],
            version=neuropil.__version__,
        )
    )


def _comparisons(runs: Sequence[ReportData]) -> list[tuple[str, list[int], list[words.Comparison]]]:
    """Tables of scores: what each is about, the runs that have a column, and the rows."""
    captions = ("Scores; the best of each row is marked ●", "On what each run held back; the best is marked ●")
    tables = []
    for caption, scores in zip(captions, ([r.scores for r in runs], [r.held_back for r in runs]), strict=True):
        columns = [k for k, one in enumerate(scores) if one]
        wording = WORDINGS[runs[columns[0]].task] if len({runs[k].task for k in columns}) == 1 else WORDINGS["neurons"]
        if rows := words.compared([scores[k] for k in columns], wording):
            tables.append((caption, columns, rows))
    return tables


def _counted(runs: Sequence[ReportData]) -> str:
    """What a page with several parts is called."""
    studies = sum(bool(data.efficiency) for data in runs)
    counts = [(len(runs) - studies, "run", "runs"), (studies, "study", "studies")]
    return " and ".join(f"{n} {one if n == 1 else many}" for n, one, many in counts if n) + " side by side"


def _budget_rows(data: ReportData) -> tuple[dict[str, str], ...]:
    """The numbers behind the plots of a study."""
    return tuple(
        {"score": found.score[0], "arm": arm.name, "share": f"{100 * share:.3g} %", "seeds": str(seeds)}
        | {"mean": words.number(mean), "half": "–" if math.isnan(half) else f"± {half:.3f}"}
        for found in data.efficiency
        for arm in found.arms
        for share, mean, half, seeds in zip(arm.budgets, arm.means, arm.halves, arm.seeds, strict=True)
    )


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("neuropil.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["markup"] = Markup
    return environment


def _extent(scene: Scene | None) -> str:
    if scene is None:
        return ""
    shown, whole = ("\u00a0×\u00a0".join(map(str, b.shape)) for b in (scene.box, scene.whole))
    where = f"z, y, x from {', '.join(map(str, scene.box.start))}"
    size = voxel_text(scene.box.voxel_size).replace(" ", "\u00a0")
    if scene.cropped:
        return f"Pictures and mistakes show the central {shown} of {whole} voxels ({where}; {size} each)."
    return f"Pictures and mistakes show the whole volume: {shown} voxels ({where}; {size} each)."


def _error_legend(paint: panels.Painter | None, wording: Wording) -> tuple[tuple[str, str, str, str], ...]:
    if paint is None or paint.errors_ZYX is None:
        return ()
    share = mistakes.shares(paint.errors_ZYX)
    return tuple(
        (name, meaning, f"rgb{ERROR_COLOURS[kind]}", f"{100 * share[kind]:.1f} %")
        for kind, (name, meaning) in wording.legend.items()
        if share[kind] > 0 or kind in wording.always
    )


#: Longest side of a WebP picture.
WEBP_SIDE = 16383


def _turntables(paint: panels.Painter, look: Look) -> list[Turntable]:
    """The same neurons in the truth and, with everything fused to them, in the segmentation."""
    scene, voxel = paint.scene, paint.scene.box.voxel_size
    names = list(paint.objects)
    if not names or min(scene.box.shape) < 4:
        return []
    first = paint.objects[names[0]]
    chosen = solid.selected(first.labels.index_ZYX, voxel, first.colours, look.neurons)
    if not len(chosen):
        return []
    wanted = {names[0]: chosen}
    if paint.found is not None:
        answering = np.flatnonzero(np.isin(paint.found.main_truth, chosen))
        both = np.union1d(answering, paint.found.main_pred[chosen])
        wanted["segmentation"] = both[both > 0]
    tables = []
    for name, indices in wanted.items():
        shown = paint.objects[name]
        body = solid.build(shown.labels.index_ZYX, indices, voxel, look.solid_side)
        views = solid.turntable(body, shown.colours, look.solid_pixels, look.turns)
        # the views lie in one strip, and WebP ends at 16383 pixels: elongated volumes are drawn more coarsely
        coarser = -(-len(views) * views[0].shape[0] // WEBP_SIDE)
        views = [np.ascontiguousarray(view[::coarser, ::coarser]) for view in views]
        tables.append(
            Turntable(
                panels.TITLES[name],
                data_uri(np.concatenate(views), 80),
                len(views),
                views[0].shape[1] / views[0].shape[0],
            )
        )
    return tables


def _sweep_rows(data: ReportData) -> tuple[dict[str, str], ...]:
    keys = ("threshold", *(key for key, _, _ in curves.SCORE_LINES))
    chosen = data.threshold if data.threshold is not None else curves.flagged_threshold(data.sweep)
    rows = []
    for row in data.sweep:
        if words.is_number(row.get("threshold")):
            texts = {k: charts.short(float(row[k])) if words.is_number(row.get(k)) else "–" for k in keys}
            texts["chosen"] = "yes" if chosen is not None and math.isclose(row["threshold"], chosen) else ""
            rows.append(texts)
    return tuple(rows)


def _write(path: Path, page: str) -> None:
    """Write beside the page and rename, so that nobody ever finds half of it."""
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", suffix=".part", delete=False
        ) as file:
            temporary = file.name
            file.write(page)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise VolumeError(
            f"report '{path}' could not be written: {error.strerror or error}",
            "a folder that can be written to and has room",
        ) from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
