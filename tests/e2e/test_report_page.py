"""The report in a browser: it renders, sorts and filters, and no name from outside runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.alignment.segment import Segment
from pipeline.output.heat_map import LEVELS, HeatMap
from pipeline.output.html_report import write_report
from pipeline.output.match import Match
from pipeline.output.report_cards import NoVideoFiles, ReportEntry
from pipeline.output.result_info import ResultInfo
from pipeline.video.stills import encode_jpeg
from tests.browser import Browser, find_browser
from tests.unit.test_html_report import HOSTILE

JPEG = encode_jpeg(np.full((54, 96, 3), (30, 120, 90), np.uint8))
INFO = ResultInfo("small", "ab" * 32, {"similarity_function": "chamfer"})
# Reads how many pictures there are, how many were loaded, and how many of these are broken.
PICTURES = """(() => { const all = [...document.images], loaded = all.filter((i) => i.complete
  && i.currentSrc); return [all.length, loaded.length, all.filter((i) => i.complete
  && i.currentSrc && !i.naturalWidth).length]; })()"""
LOAD_ALL = """Promise.all([...document.images].map((image) => { image.loading = "eager";
  return image.decode(); })).then(() => true)"""
SHOWN = """[...document.querySelectorAll("article")].filter((a) => a.offsetHeight > 0)
  .map((a) => a.dataset.query + ">" + a.dataset.database)"""


class Files(NoVideoFiles):
    """The same still everywhere, in a file of its own each."""

    def __init__(self, path: str | None = None) -> None:
        self._path = path

    def still(self, side, video_id, seconds):
        # What comes after the end of a JPEG file is not read, but makes it another file.
        return JPEG + f"{side} {video_id} {seconds}".encode("utf-8", "surrogateescape")

    def path(self, side, video_id):
        return self._path


def heat(seed: int, size: int = 16) -> HeatMap:
    rng = np.random.default_rng(seed)
    return HeatMap(rng.integers(0, LEVELS, (size, size)).astype(np.uint8), 8.0, 30.0)


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    find_browser()
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def choose(browser: Browser, field: str, value: str) -> list[str]:
    """Fill in a field of the form; returns the matches that are then shown, in order."""
    browser.evaluate(
        f'(() => {{ const e = document.getElementById("{field}"); e.value = "{value}";'
        'e.dispatchEvent(new Event("input", {bubbles: true})); })()'
    )
    shown: list[str] = browser.evaluate(SHOWN)
    return shown


@pytest.fixture(scope="module")
def small_page(tmp_path_factory) -> Path:
    """Two queries with three matches each."""
    folder = tmp_path_factory.mktemp("page")
    film = folder / "it's a film.mp4"
    film.write_bytes(b"film")
    scores = {
        "a": [("x", 0.9, 2), ("y", 0.5, 6), ("z", 0.1, 0)],
        "b": [("y", 0.95, 4), ("x", 0.2, 1)],
    }
    entries = [
        ReportEntry(
            Match(query, video, score, (Segment(1, 1 + n, 3, 3 + n, 0.8),) if n else ()), heat(n)
        )
        for query, row in scores.items()
        for video, score, n in row
    ]
    path = folder / "report.html"
    write_report(path, entries, INFO, Files(str(film)), threshold=0.4)
    return path


@pytest.mark.parametrize("width", [1200, 390])
def test_it_renders_without_an_error(browser, small_page, width):
    browser.errors.clear()
    browser.open(small_page, width)
    assert browser.evaluate(LOAD_ALL) is True
    assert browser.evaluate(PICTURES) == [5 + 4 * 6, 5 + 4 * 6, 0]
    assert len(browser.evaluate(SHOWN)) == 5
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    # The drawn segments lie exactly over the picture.
    boxes = browser.evaluate(
        'JSON.stringify([...document.querySelectorAll(".map .picture")].map((p) => ["img", "svg"]'
        ".map((n) => p.querySelector(n).getBoundingClientRect()).map((r) => [r.width, r.height])))"
    )
    assert boxes.count("],[") > 0 and "[0," not in boxes
    for image, lines in json.loads(boxes):
        assert image == pytest.approx(lines, abs=1)
    assert browser.errors == []


def test_it_sorts_and_filters(browser, small_page):
    browser.errors.clear()
    browser.open(small_page)
    assert browser.evaluate(SHOWN) == ["a>x", "a>y", "a>z", "b>y", "b>x"]
    assert choose(browser, "sort", "score") == ["b>y", "a>x", "a>y", "b>x", "a>z"]
    assert choose(browser, "sort", "seconds") == ["a>y", "b>y", "a>x", "b>x", "a>z"]
    assert choose(browser, "sort", "database") == ["a>x", "b>x", "a>y", "b>y", "a>z"]
    assert choose(browser, "sort", "listed") == ["a>x", "a>y", "a>z", "b>y", "b>x"]
    assert choose(browser, "query", "b") == ["b>y", "b>x"]
    assert choose(browser, "verdict", "copy") == ["b>y"]
    assert choose(browser, "query", "") == ["a>x", "a>y", "b>y"]
    assert choose(browser, "least", "0.92") == ["b>y"]
    assert (
        browser.evaluate('document.getElementById("shown").textContent') == "1 of 5 matches shown"
    )
    assert choose(browser, "least", "") == ["a>x", "a>y", "b>y"]
    assert choose(browser, "text", "IT'S nothing") == []
    assert browser.evaluate('document.getElementById("none").hidden') is False
    assert choose(browser, "text", "IT'S film") == ["a>x", "a>y", "b>y"]
    assert browser.errors == []


def test_most_pairs_being_unrelated_the_copies_are_shown_first(browser, tmp_path):
    entries = [ReportEntry(Match("q", f"d{n}", n / 10)) for n in range(6)]
    write_report(tmp_path / "r.html", entries, INFO, threshold=0.4)
    browser.open(tmp_path / "r.html")
    assert browser.evaluate(SHOWN) == ["q>d4", "q>d5"]
    assert len(choose(browser, "verdict", "")) == 6


def test_hostile_names_are_shown_and_run_nothing(browser, tmp_path):
    entries = [ReportEntry(Match(name, name, 0.5, ()), heat(0)) for name in HOSTILE]
    write_report(tmp_path / "r.html", entries, INFO, Files("javascript:window.hacked=1"))
    browser.errors.clear()
    browser.open(tmp_path / "r.html")
    assert browser.evaluate("typeof window.hacked") == "undefined"
    shown = browser.evaluate('[...document.querySelectorAll("h2")].map((h) => h.textContent)')
    assert shown[:5] == [f"{name} in {name}" for name in HOSTILE[:5]]
    assert choose(browser, "text", "onerror") == [f"{HOSTILE[1]}>{HOSTILE[1]}"]
    assert browser.errors == []


def test_the_policy_stops_a_script_that_got_into_the_page(browser, small_page, tmp_path):
    text = small_page.read_text(encoding="utf-8")
    bad = '<script>window.hacked = 1</script><img src="x" onerror="window.hacked = 1">'
    (tmp_path / "r.html").write_text(text.replace("</main>", f"{bad}</main>"), encoding="utf-8")
    browser.open(tmp_path / "r.html")
    assert browser.evaluate("typeof window.hacked") == "undefined"
    assert any("Content Security Policy" in error for error in browser.errors)


@pytest.mark.slow
def test_pictures_of_a_thousand_matches_are_loaded_when_they_are_seen(browser, tmp_path):
    entries = [
        ReportEntry(Match(f"q{i // 20}", f"d{i}", 0.5, (Segment(0, 4, i, i + 4, 0.8),)), heat(i))
        for i in range(1000)
    ]
    path = tmp_path / "it's <many>.html"
    write_report(path, entries, INFO, Files())
    browser.errors.clear()
    browser.open(path, 390)
    number, loaded, broken = browser.evaluate(PICTURES)
    assert number == 7000 and 0 < loaded < 700 and not broken
    browser.evaluate('document.querySelector("article:last-child").scrollIntoView()')
    last = 'document.querySelector("article:last-child img").decode().then(() => true)'
    assert browser.evaluate(last) is True
    assert browser.evaluate(PICTURES)[1] < 1400
    assert choose(browser, "text", "d777") == ["q38>d777"]
    assert browser.errors == []
