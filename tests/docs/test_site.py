"""The site, built from the pages as they are: strict, with the code's own pages, and nothing fetched from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.typed import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    # not --quiet: warnings that are not said do not count
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_every_page_is_there(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    made = {path.relative_to(site) for path in site.rglob("*.html")}
    named = {page.with_name("index.html") if page.name == "README.html" else page for page in pages}
    assert named - made == set()


def test_verbs_and_rooms_have_pages_from_their_docstrings(site: Path) -> None:
    verbs = (site / "reference" / "python.html").read_text()
    assert 'id="neuropil.api.segment"' in verbs
    assert "tile by tile in bounded memory" in verbs
    assert 'id="neuropil.post.agglomerate' in (site / "reference" / "code" / "post.html").read_text()


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text()
        fetched = re.findall(r"<(?:script|img|iframe)[^>]+src=[\"']?([^\"'> ]+)", text)
        fetched += re.findall(r"<link[^>]+rel=[\"']?(?:stylesheet|preconnect|icon)[^>]+href=[\"']?([^\"'> ]+)", text)
        assert not [address for address in fetched if re.match(r"(https?:)?//", address)], page.name
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?https?://", style.read_text()), style.name
