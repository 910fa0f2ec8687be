"""The report in a real browser: nothing on the console, every picture decodes, controls work, no sideways scrolling."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from scipy import ndimage

from neuropil.affinities import NEAREST, affinities_from_labels
from neuropil.report import Look, ReportData, Timing, write_report

pytestmark = pytest.mark.browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
]
LOOK = Look(
    sections=5, worst=10, neurons=5, turns=3, solid_pixels=120, solid_side=64, plane_pixels=200, place_pixels=120
)

#: Runs in the page: looks at every picture, then uses the controls as a reader at the keyboard would.
PROBE = r"""
<script>
// film strips are backgrounds: as images of the page, the load event waits for them too
const strips = [...new Set([...document.querySelectorAll(".film i")].map((i) => getComputedStyle(i).backgroundImage.slice(5, -2)))].map((source) => {
  const image = document.createElement("img");
  image.src = source;
  image.style.cssText = "position:absolute;width:1px;height:1px";
  document.body.append(image);
  return image;
});
window.addEventListener("load", () => {
  const result = {};
  const images = [...document.images].filter((i) => !strips.includes(i));
  result.images = images.length;
  result.broken = images.filter((i) => !(i.complete && i.naturalWidth > 0)).length;
  result.strips = strips.length;
  result.brokenStrips = strips.filter((i) => !(i.complete && i.naturalWidth > 0)).length;
  strips.forEach((i) => i.remove());
  const stack = document.querySelector("[data-stack]");
  const slider = stack.querySelector("[data-slide]");
  slider.value = slider.max;
  slider.dispatchEvent(new Event("input"));
  result.last = [stack.querySelector("[data-out]").textContent, stack.style.getPropertyValue("--p"), slider.getAttribute("aria-valuetext")];
  slider.dispatchEvent(new KeyboardEvent("keydown", { key: "o", bubbles: true }));
  result.overlay = [getComputedStyle(document.querySelector(".film i.over")).opacity, stack.querySelector("[data-toggle]").textContent];
  stack.querySelector("[data-solo]").click();
  result.alone = [...stack.querySelectorAll(".pane")].filter((p) => p.offsetParent).length;
  stack.querySelector("[data-solo]").click();
  result.together = [...stack.querySelectorAll(".pane")].filter((p) => p.offsetParent).length;
  const link = document.querySelector("#r0-worst td a");
  link.click();
  result.target = document.querySelector(".place:target")?.id;
  document.querySelector("[data-goto]").click();
  result.went = [document.querySelector("[data-readout]").textContent, document.querySelector("[data-goto]").dataset.goto];
  const turn = document.querySelector("[data-turn] [data-slide]");
  turn.value = 1;
  turn.dispatchEvent(new Event("input"));
  result.turn = document.querySelector("[data-turn]").style.getPropertyValue("--p");
  document.querySelector("[data-zoom]").click();
  result.zoomed = document.getElementById("zoom").open && document.querySelector("#zoom img").naturalWidth > 0;
  document.querySelector("#zoom .close").click();
  result.closed = !document.getElementById("zoom").open;
  document.getElementById("theme").click(); document.getElementById("theme").click();
  result.dark = getComputedStyle(document.body).backgroundColor;
  const unnamed = [...document.querySelectorAll("button, a, input")].filter((e) => !(e.textContent.trim() || e.getAttribute("aria-label") || e.labels?.length));
  result.unnamed = unnamed.map((e) => e.outerHTML);
  result.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const out = JSON.stringify(result);
  if (window.parent !== window) window.parent.postMessage(out, "*");
  else document.documentElement.setAttribute("data-result", btoa(unescape(encodeURIComponent(out))));
});
</script></body>"""
HOLDER = """<!doctype html><body style="margin:0"><script>addEventListener("message", (e) => {
document.documentElement.setAttribute("data-result", btoa(unescape(encodeURIComponent(e.data)))); });</script>
<iframe src="page.html" style="border:0;width:390px;height:3000px"></iframe></body>"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        advice = "no Chromium found; install one, on Debian: apt-get update && apt-get install -y chromium"
        if os.environ.get("CI"):
            pytest.fail(advice)
        pytest.skip(advice)
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report about a made-up volume, with every part."""
    rng = np.random.default_rng(5)
    seeds = rng.integers(0, (32, 64, 72), (40, 3))
    marks = np.zeros((32, 64, 72), np.int32)
    marks[tuple(seeds.T)] = np.arange(1, 41)
    nearest = ndimage.distance_transform_edt(marks == 0, return_distances=False, return_indices=True)
    truth = marks[tuple(nearest)]
    pred = truth.astype(np.uint64) + 100
    pred[16:][truth[16:] % 5 == 0] += 1000
    pred[truth == 7] = 108
    image = ndimage.gaussian_filter(rng.normal(140, 60, truth.shape), 1).clip(0, 255)
    affinities = affinities_from_labels(truth, NEAREST)[0] * np.uint8(255)
    data = ReportData(
        "A made-up run",
        {"Recipe": "em_neurons", "Data": "made/up.h5:raw", "Seed": "5", "command": "neuropil report runs/a " * 6},
        [{"step": s, "loss": float(np.exp(-s / 300) + 0.1 + 0.05 * rng.random())} for s in range(0, 1000, 10)],
        [{"step": s, "voi_sum": 2 - s / 1000, "arand": 0.3 - s / 5000} for s in (250, 500, 1000)],
        [{"threshold": t / 10, "voi_sum": 1 + (t - 4) ** 2 / 20, "arand": 0.1} for t in range(1, 10)],
        0.4,
        {"voi_sum": 0.9, "voi_split": 0.6, "voi_merge": 0.3, "arand": 0.08},
        image,
        truth,
        pred,
        affinities,
        NEAREST,
        (16.0, 8.0, 8.0),
        {"train": Timing(600, 2**31), "predict": Timing(12, 2**30, truth.size)},
    )
    return write_report(data, tmp_path_factory.mktemp("report") / "report.html", look=LOOK)


def run(browser: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    profile = folder / "profile"
    try:
        return subprocess.run(
            [browser, *FLAGS, f"--user-data-dir={profile}", *arguments], capture_output=True, text=True, timeout=120
        )
    finally:
        shutil.rmtree(profile, ignore_errors=True)


def probed(browser: str, page: Path, folder: Path, *, phone: bool) -> tuple[dict, str]:
    """What the probe saw, and what the console said."""
    text = page.read_text(encoding="utf-8")
    head, _, tail = text.rpartition("</body>")
    (folder / "page.html").write_text(head + PROBE + tail, encoding="utf-8")
    start = folder / "page.html"
    if phone:
        start = folder / "holder.html"
        start.write_text(HOLDER, encoding="utf-8")
    done = run(browser, folder, "--window-size=1400,1000", "--virtual-time-budget=8000", "--dump-dom", start.as_uri())
    result = re.search(r'data-result="([^"]+)"', done.stdout)
    assert result, done.stderr[-2000:]
    return json.loads(base64.b64decode(result[1])), done.stderr


@pytest.fixture(scope="module", params=["desktop", "phone"])
def seen(request, browser, page, tmp_path_factory) -> tuple[dict, str]:
    return probed(browser, page, tmp_path_factory.mktemp(request.param), phone=request.param == "phone")


def test_console_is_silent(seen):
    assert [line for line in seen[1].splitlines() if "CONSOLE" in line] == []


def test_every_picture_decodes(seen):
    result = seen[0]
    assert result["images"] >= 15 + 4
    assert result["strips"] == 7  # raw and four layers of the stack, two turntables
    assert (result["broken"], result["brokenStrips"]) == (0, 0)


def test_section_slider_and_overlay_by_keyboard(seen):
    result = seen[0]
    assert result["last"] == ["z = 28", "100%", "z = 28"]
    assert result["overlay"] == ["0", "Overlay off"]


def test_one_layer_alone_and_back(seen):
    assert (seen[0]["alone"], seen[0]["together"]) == (1, 5)


def test_mistakes_lead_to_their_place(seen):
    result = seen[0]
    assert result["target"] == "r0-worst-1"
    readout, goal = ([int(v) for v in text.split(",")] for text in result["went"])
    assert readout[1:] == goal[1:]
    assert abs(readout[0] - goal[0]) <= 4  # the nearest section of the slider


def test_turntable_turns_and_pictures_enlarge(seen):
    assert seen[0]["turn"] == "50%"
    assert seen[0]["zoomed"]
    assert seen[0]["closed"]


def test_controls_have_names_and_dark_is_dark(seen):
    assert seen[0]["unnamed"] == []
    assert max(int(v) for v in re.findall(r"\d+", seen[0]["dark"])[:3]) < 60


def test_nothing_sticks_out_sideways(seen):
    assert seen[0]["wide"] <= 0


@pytest.mark.parametrize(("scheme", "value"), [("light", 1), ("dark", 0)])
def test_screenshot_is_a_picture(browser, page, tmp_path, scheme, value):
    shot = tmp_path / "shot.png"
    run(
        browser,
        tmp_path,
        f"--blink-settings=preferredColorScheme={value}",
        "--window-size=1400,2400",
        f"--screenshot={shot}",
        page.as_uri(),
    )
    pixels = np.asarray(imagecodecs.png_decode(shot.read_bytes()))[..., :3].astype(int)
    assert pixels.shape[:2] == (2400, 1400)
    ground = np.median(pixels.reshape(-1, 3), axis=0)
    assert (ground.min() > 220) if scheme == "light" else (ground.max() < 60)
    assert pixels.std() > 15
    assert len(np.unique(pixels.reshape(-1, 3) // 16, axis=0)) > 200
