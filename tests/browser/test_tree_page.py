"""The page of missed and extra branches in a real browser: silent, every picture decodes, nothing sticks out."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from tests.browser.test_report_page import HOLDER, browser, run  # noqa: F401  (a fixture)
from tests.unit.metrics.trees import compared, random_tree

from neuropil.metrics.tree import tree_scores
from neuropil.report import ReportData, write_report
from neuropil.report.trees import COLOURS, TreeView
from neuropil.volume import Volume

pytestmark = pytest.mark.browser

#: Runs in the page: looks at every picture, enlarges one, follows the links.
PROBE = r"""
<script>
window.addEventListener("load", () => {
  const result = {};
  result.images = document.images.length;
  result.broken = [...document.images].filter((i) => !(i.complete && i.naturalWidth > 0)).length;
  result.rows = document.querySelectorAll("#r0-branches tbody tr").length;
  result.links = [...document.querySelectorAll("nav a")].map((a) => [a.textContent, !!document.querySelector(a.getAttribute("href"))]);
  document.querySelector("#r0-trees [data-zoom]").click();
  result.zoomed = document.getElementById("zoom").open && document.querySelector("#zoom img").naturalWidth > 0;
  document.querySelector("#zoom .close").click();
  result.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const out = JSON.stringify(result);
  if (window.parent !== window) window.parent.postMessage(out, "*");
  else document.documentElement.setAttribute("data-result", btoa(unescape(encodeURIComponent(out))));
});
</script></body>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(4)
    pair = compared(random_tree(rng, 160, step=6.0), random_tree(rng, 140, step=6.0))
    image = Volume(
        rng.integers(0, 60, (40, 50, 60), dtype=np.uint8), (1.0,) * 3, (-20.0,) * 3, "zyx", "image", name="noise"
    )
    data = ReportData("A trace", {"Traced": "a.swc"}, scores=tree_scores(pair), trees=TreeView(pair, "voxel", image))
    return write_report(data, tmp_path_factory.mktemp("trees") / "trees.html")


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_the_page_works(browser, page, tmp_path, phone):  # noqa: F811
    head, _, tail = page.read_text(encoding="utf-8").rpartition("</body>")
    (tmp_path / "page.html").write_text(head + PROBE + tail, encoding="utf-8")
    start = tmp_path / "page.html"
    if phone:
        start = tmp_path / "holder.html"
        start.write_text(HOLDER, encoding="utf-8")
    done = run(browser, tmp_path, "--window-size=1400,1000", "--virtual-time-budget=8000", "--dump-dom", start.as_uri())
    found = re.search(r'data-result="([^"]+)"', done.stdout)
    assert found, done.stderr[-2000:]
    result = json.loads(base64.b64decode(found[1]))
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert (result["images"], result["broken"], result["rows"]) == (12, 0, 4)  # four pictures of each projection
    assert result["links"] == [["Trees", True], ["Branches", True]]
    assert result["zoomed"]
    assert result["wide"] <= 0


def test_a_screenshot_shows_both_kinds_of_mistake(browser, page, tmp_path):  # noqa: F811
    shot = tmp_path / "shot.png"
    run(browser, tmp_path, "--window-size=1400,2400", f"--screenshot={shot}", page.as_uri())
    pixels = np.asarray(imagecodecs.png_decode(shot.read_bytes()))[..., :3].astype(int)
    for kind in ("missed", "extra"):
        near = np.abs(pixels - np.array(COLOURS[kind])).sum(axis=-1) < 100
        assert near.sum() > 500, kind
