"""Makes the pictures under docs/pictures: `python -m tests.browser.pictures` in the root of the repository."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import imagecodecs
import numpy as np
from tests.browser.driven import Page
from tests.browser.scenes import seen_volumes
from tests.browser.test_compare_page import compared
from tests.browser.test_report_page import NAMES
from tests.browser.test_view_page import LOADED

from neuropil.config.view import ViewConfig
from neuropil.report import write_report
from neuropil.view import layers_of, serve

OUT = Path(__file__).parents[2] / "docs" / "pictures"
#: Largest picture in bytes.
_MOST = 200_000


def main() -> None:
    """Make them all."""
    browser = next(path for name in NAMES if (path := shutil.which(name)))
    OUT.mkdir(exist_ok=True)
    viewing = serve(layers_of(seen_volumes((96, 160, 160)), ViewConfig()), title="view", host="127.0.0.1", port=0)
    _taken(browser, viewing.url, "view.jpg", (1400, 900), f"document.title && {LOADED}")
    viewing.close()
    with tempfile.TemporaryDirectory() as folder:
        page = write_report(compared(), Path(folder) / "report.html").as_uri()
        _taken(browser, page, "compare.jpg", (1300, 1500), "document.readyState === 'complete'")
        _taken(browser, page, "compare_phone.jpg", (390, 1500), "document.readyState === 'complete'")


def _taken(browser: str, url: str, name: str, size: tuple[int, int], ready: str) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, Page(browser, Path(folder), size) as page:
        page.open(url)
        page.wait(ready, 300)
        time.sleep(2)
        pixels = np.asarray(imagecodecs.png_decode(page.picture()))[..., :3]
    content = next(c for level in (90, 80, 70, 60, 50) if len(c := imagecodecs.jpeg_encode(pixels, level)) < _MOST)
    (OUT / name).write_bytes(content)


if __name__ == "__main__":
    main()
