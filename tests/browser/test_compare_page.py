"""Runs side by side, model cards and a study in a real browser: what differs, one plot for all, on a phone, on paper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

pytest.importorskip("tornado")

from tests.browser.driven import Page
from tests.browser.test_report_page import browser  # noqa: F401  (a fixture)

from neuropil.report import Arm, LabelEfficiency, ReportData, write_report

pytestmark = pytest.mark.browser


def compared() -> list[ReportData]:
    """Two runs that differ in two settings, and a study."""
    runs = []
    for number, (name, rate) in enumerate((("scratch", 0.001), ("from a two-dimensional encoder", 0.0003))):
        steps = range(0, 2000, 20)
        runs.append(
            ReportData(
                name,
                {"Recipe": "em_neurons", "Seed": str(number)},
                [{"step": s, "loss": float(np.exp(-s / (500 - 200 * number)) + 0.1)} for s in steps],
                [{"step": s, "voi_sum": 2.0 - number / 2 - s / 2500} for s in (500, 1000, 1500, 2000)],
                settings={"train": {"lr": rate, "steps": 2000}, "model": {"name": "unetr", "channels": [8, 16]}}
                | (
                    {"init": "runs/encoder/with/a/very/long/path/that/has/no/spaces/model.safetensors"}
                    if number
                    else {}
                ),
                held_back={"voi_sum": 1.2 - number / 2, "arand": 0.2 - number / 20},
                card={
                    "Data": "made/up.h5:raw with made/up.h5:labels",
                    "Voxel size": "16 × 8 × 8 nm (z, y, x)",
                    "Held-back scores": "voi sum 1.2, arand 0.2",
                    "Speed of training": "1.2 steps/s of 4 crops",
                    "Versions": "neuropil 0.1.0, torch 2.8.0",
                },
            )
        )
    arms = [
        Arm(name, (0.05, 0.25, 1.0), (2.0 - k, 1.2 - k / 2, 0.9), (0.2, 0.1, float("nan")), (3, 3, 1))
        for k, name in enumerate(("scratch", "pretrained"))
    ]
    study = ReportData("a study", {"Arms": "scratch, pretrained"}, efficiency=[LabelEfficiency(("VOI", "lower"), arms)])
    return [*runs, study]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return write_report(compared(), tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module", params=[1300, 390], ids=["desktop", "phone"])
def page(request, browser, written, tmp_path_factory) -> Iterator[Page]:  # noqa: F811
    with Page(browser, tmp_path_factory.mktemp("page"), (request.param, 900)) as page:
        page.open(written.as_uri())
        page.wait("document.readyState === 'complete' && document.querySelector('#compare')")
        yield page


def test_settings_that_differ_are_a_table_and_others_are_not_in_it(page):
    rows = page.run(
        "[...document.querySelectorAll('.settings tbody tr')].map((r) => [...r.children].map((c) => c.textContent))"
    )
    assert [row[0] for row in rows] == ["train.lr", "init"]
    assert rows[0][1:] == ["0.001", "0.0003"]
    assert rows[1][1] == "–"


def test_the_better_run_is_marked(page):
    best = page.run("[...document.querySelectorAll('#compare td.best')].map((c) => c.firstChild.textContent)")
    assert best == ["0.700", "0.150"]


def test_curves_of_all_runs_are_in_one_plot(page):
    titles = page.run("[...document.querySelectorAll('#compare .chart h3')].map((h) => h.textContent)")
    assert titles == ["Training loss", "Validation"]
    legends = page.run(
        "[...document.querySelectorAll('#compare .chart')].map((c) => [...c.querySelectorAll('.legend li')].map((l) => l.textContent))"
    )
    assert legends == [["scratch", "from a two-dimensional encoder"]] * 2
    lines = page.run(
        "[...document.querySelectorAll('#compare .chart')].map((c) => c.querySelectorAll('polyline:not(.faint)').length)"
    )
    assert lines == [2, 2]


def test_the_study_is_a_plot_with_intervals_and_numbers(page):
    assert page.run("document.querySelectorAll('#r2-labels path.line').length") == 4
    assert page.run("document.querySelectorAll('#r2-labels circle').length") == 6
    page.run("document.querySelector('#r2-labels details').open = true")
    assert page.run("document.querySelectorAll('#r2-labels tbody tr').length") == 6
    assert "± 0.200" in page.run("document.querySelector('#r2-labels tbody').innerText")


def test_cards_say_what_one_must_know(page):
    words = page.run("document.querySelector('#r0-card').innerText")
    assert all(word in words for word in ("Data", "16 × 8 × 8 nm", "voi sum 1.2", "steps/s", "torch 2.8.0"))


def test_nothing_sticks_out_and_the_console_is_silent(page):
    assert page.run("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    wide = (
        "[...document.querySelectorAll('main *')].filter((e) => !e.closest('.scroll') && !e.closest('svg') && !e.classList.contains('sr')"
        " && e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 80))"
    )
    assert page.run(wide) == []
    assert page.said == []


def test_on_paper_it_is_dark_on_white_and_has_no_buttons(page):
    page.run("document.documentElement.dataset.theme = 'dark'")
    page.send("Emulation.setEmulatedMedia", media="print")
    try:
        assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.run("getComputedStyle(document.querySelector('.top')).display") == "none"
        assert page.run("[...document.querySelectorAll('button.quiet')].every((b) => !b.offsetParent)")
        picture = np.asarray(imagecodecs.png_decode(page.picture()))[..., :3]
        assert np.median(picture) == 255
    finally:
        page.send("Emulation.setEmulatedMedia", media="")
        page.run("delete document.documentElement.dataset.theme")
