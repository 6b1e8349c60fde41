"""The page with matches: what is in it, and that names from outside stay text."""

from __future__ import annotations

import base64
import os
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.alignment.segment import Segment
from pipeline.errors import InputError, PipelineError
from pipeline.image.png import encode_png
from pipeline.output.heat_map import HIGHEST, LEVELS, LOWEST, HeatMap, heat_map, palette
from pipeline.output.html_report import MAX_EMBEDDED, write_report
from pipeline.output.match import Match
from pipeline.output.report_cards import (
    NoVideoFiles,
    ReportEntry,
    clock,
    file_address,
    still_seconds,
    wanted_stills,
)
from pipeline.output.result_info import ResultInfo
from tests.messages import raises

INFO = ResultInfo("small", "ab" * 32, {"similarity_function": "chamfer"}, top_k=3, rate=0.001)
SEGMENT = Segment(1.0, 5.0, 11.0, 13.0, 0.75)
JPEG = b"\xff\xd8 not really \xff\xd9"
HOSTILE = [
    "<script>window.hacked = 1</script>",
    "\"><img src=x onerror='window.hacked = 1'>",
    "' onmouseover='window.hacked = 1",
    "</article></main><script>window.hacked = 1</script>",
    "javascript:window.hacked=1",
    "bad \udcff bytes \u202e reversed",
    "&lt;b&gt; $policy ${title} <!-- matches -->",
]


def picture(rows: int = 6, columns: int = 9) -> HeatMap:
    return HeatMap(
        np.arange(rows * columns).reshape(rows, columns).astype(np.uint8) % LEVELS, 8, 20
    )


class Files(NoVideoFiles):
    """Stills for all seconds; the path of each video is its id."""

    def still(self, side, video_id, seconds):
        return JPEG + video_id.encode("utf-8", "surrogateescape") + str(seconds).encode()

    def path(self, side, video_id):
        return video_id


class Elements(HTMLParser):
    """All start tags of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(path: Path, entries, **how) -> Elements:
    write_report(path, entries, INFO, how.pop("files", None), **how)
    return Elements(path.read_text(encoding="utf-8"))


def decoded_png(content: bytes, colours: int = LEVELS) -> np.ndarray:
    """The indices of a picture, read chunk by chunk."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        kind, data = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + data) == int.from_bytes(content[at + 8 + length :][:4], "big")
        chunks[kind] = data
        at += 12 + length
    width, height = (int.from_bytes(chunks[b"IHDR"][i : i + 4], "big") for i in (0, 4))
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any() and len(chunks[b"PLTE"]) == 3 * colours
    return rows[:, 1:]


def test_a_png_holds_the_picture_that_was_given():
    indices = np.random.default_rng(0).integers(0, LEVELS, (7, 5)).astype(np.uint8)
    assert np.array_equal(decoded_png(encode_png(indices, palette())), indices)


def test_the_palette_rises_in_lightness():
    lightness = palette() @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(lightness) > 0).all()


def matrix_of(values, query_seconds, database_seconds, durations=(None, None)):
    return SimpleNamespace(
        values=np.asarray(values, np.float32),
        query_seconds=np.asarray(query_seconds, float),
        database_seconds=np.asarray(database_seconds, float),
        query_duration=durations[0],
        database_duration=durations[1],
    )


def test_a_heat_map_of_few_frames_has_a_pixel_for_each():
    values = [[LOWEST, HIGHEST], [2.0, -1.0], [0.45, LOWEST]]
    made = heat_map(matrix_of(values, [0, 1, 2], [0, 1]))
    assert made.levels.tolist() == [[0, LEVELS - 1], [LEVELS - 1, 0], [LEVELS // 2, 0]]
    assert (made.query_seconds, made.database_seconds) == (3, 2)


def test_a_heat_map_of_many_frames_keeps_a_thin_diagonal():
    made = heat_map(matrix_of(0.8 * np.eye(1000), np.arange(1000), np.arange(1000)), 100)
    assert made.levels.shape == (100, 100)
    assert (np.diag(made.levels) > LEVELS // 2).all()
    assert np.count_nonzero(made.levels) == 100


def test_a_heat_map_spans_equal_times_where_samples_do_not():
    made = heat_map(matrix_of([[0.0, 0.9, 0.0]], [0], [0, 1, 9], (1, 10)))
    # Three columns of 3.3 s: the second frame is on screen from 1 to 9.
    assert (made.levels[0] > 0).tolist() == [True, True, True]
    assert made.database_seconds == 10


@pytest.mark.parametrize("duration, total", [(12.5, 12.5), (3.0, 11.0), (4000.0, 11.0)])
def test_a_duration_that_cannot_be_is_not_believed(duration, total):
    made = heat_map(matrix_of(np.zeros((1, 11)), [0], np.arange(11), (None, duration)))
    assert made.database_seconds == total


def test_stills_lie_within_their_segment():
    query, database = still_seconds(SEGMENT)
    assert query == [1.5, 3.0, 4.5]
    assert database == [11.25, 12.0, 12.75]
    short = Segment(1.0, 2.0, 3.0, 4.0, 0.5)
    assert still_seconds(short)[0] == [1.15, 1.5, 1.85]
    wanted = wanted_stills([Match("q", "a", 0.9, (SEGMENT, short)), Match("q", "b", 0.8)])
    assert wanted["query", "q"] == [1.15, 1.5, 1.85, 3.0, 4.5]
    assert set(wanted) == {("query", "q"), ("database", "a")}


def test_times_as_people_read_them():
    assert clock(0) == "0:00.0"
    assert clock(59.96) == "1:00.0"
    assert clock(3723.45) == "1:02:03.4"
    assert clock(61.6, 0) == "1:02"


def test_the_page_shows_scores_verdicts_segments_and_settings(tmp_path):
    entries = [
        ReportEntry(Match("q1", "copy", 0.91, (SEGMENT,), mirrored=True), picture()),
        ReportEntry(Match("q1", "far", 0.1, ()), picture()),
        ReportEntry(Match("q2", "other", 0.4)),
    ]
    path = tmp_path / "report.html"
    page = page_of(path, entries, files=Files(), threshold=0.4, threshold_text="as asked for")
    cards = page.named("article")
    assert [card["data-verdict"] for card in cards] == ["copy", "below threshold", "copy"]
    assert [card["data-seconds"] for card in cards] == ["4.000", "0.000", "0.000"]
    text = path.read_text(encoding="utf-8")
    assert "0:01.0 to 0:05.0" in text and "0:11.0 to 0:13.0" in text
    assert "2.00 times the speed" in text and "query mirrored" in text
    assert "No segment" in text and "A score of 0.400 or more counts as a copy" in text
    for value in ("small", "ab" * 32, "chamfer", "3 at most", "0.001"):
        assert value in text
    line = next(e for e in page.named("line") if e["class"] == "line c0")
    assert [line[name] for name in ("x1", "y1", "x2", "y2")] == ["550.0", "125.0", "650.0", "625.0"]
    assert [e["value"] for e in page.named("option")[:3]] == ["", "q1", "q2"]
    maps = [e for e in page.named("img") if e["alt"] == "frame similarities"]
    content = base64.b64decode(str(maps[0]["src"]).split(",")[1])
    assert np.array_equal(decoded_png(content), picture().levels)
    assert sum("mirrored" in str(e.get("class")) for e in page.named("img")) == 3


def test_a_page_without_threshold_and_pictures_gives_no_verdict(tmp_path):
    page = page_of(tmp_path / "r.html", [ReportEntry(Match("q", "d", 0.5))])
    assert page.named("article")[0]["data-verdict"] == ""
    assert not page.named("img")
    assert "counts as a copy" not in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_names_from_outside_stay_text(tmp_path):
    entries = [
        ReportEntry(Match(a, b, 0.5, (SEGMENT,)), picture()) for a in HOSTILE for b in HOSTILE
    ]
    page = page_of(tmp_path / "r.html", entries, files=Files())
    assert len(page.named("script")) == 1 and len(page.named("article")) == len(entries)
    assert {e["data-query"] for e in page.named("article")} >= set(HOSTILE[:5])
    assert not page.named("a")  # none of these paths is a file
    names = {name for _, attributes in page.tags for name in attributes}
    assert not [name for name in names if name.startswith("on")]
    assert {str(e["src"]).split(",")[0] for e in page.named("img")} == {
        "data:image/png;base64", "data:image/jpeg;base64",
    }  # fmt: skip
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "\u202e" not in text and "bad \\udcff bytes \\u202e" in text


def test_links_open_existing_files_at_the_second(tmp_path):
    name = os.fsdecode(b"a #1 \xff 'x'\".mp4")
    path = tmp_path / name
    path.write_bytes(b"film")
    match = Match(str(path), "javascript:alert(1)", 0.5, (SEGMENT,))
    page = page_of(tmp_path / "r.html", [ReportEntry(match)], files=Files())
    links = [str(e["href"]) for e in page.named("a")]
    address = f"{tmp_path.as_uri()}/a%20%231%20%FF%20%27x%27%22.mp4"
    assert set(links) == {address, *(f"{address}#t={t}" for t in ("1.0", "1.5", "3.0", "4.5"))}


@pytest.mark.parametrize("path", ["", "relative.mp4", "/no/such/file", "/\0", "/" + "x" * 5000])
def test_no_link_where_there_is_no_file(path):
    assert file_address(path) is None


def test_the_policy_allows_the_pages_own_script_and_style_alone(tmp_path):
    page = page_of(tmp_path / "r.html", [ReportEntry(Match("q", "d", 0.5))])
    policy = next(e for e in page.named("meta") if e.get("http-equiv"))["content"]
    parts = dict(part.split(" ", 1) for part in str(policy).split("; "))
    assert parts["default-src"] == "'none'" and parts["img-src"] == "data:"
    for name in ("script-src", "style-src"):
        assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", parts[name])


def test_pictures_of_many_matches_are_beside_the_page_each_once(tmp_path):
    entries = [
        ReportEntry(Match("q", f"d{i % 7}", 0.5, (SEGMENT,)), picture())
        for i in range(MAX_EMBEDDED + 1)
    ]
    path = tmp_path / "two words.html"
    folder = tmp_path / "two words_files"
    folder.mkdir()
    (folder / f"{'0' * 24}.png").write_bytes(b"of an earlier page")
    (folder / "mine.txt").write_text("not of a page")
    page = page_of(path, entries, files=Files())
    images = page.named("img")
    assert len(images) == 7 * len(entries) and {e["loading"] for e in images} == {"lazy"}
    names = {str(e["src"]) for e in images}
    assert len(names) == 1 + 3 + 3 * 7
    assert {p.name for p in folder.iterdir()} == {n.split("/")[1] for n in names} | {"mine.txt"}
    assert all(n.startswith("two%20words_files/") for n in names)
    assert path.stat().st_size < 4000 * len(entries)


def test_a_stream_cannot_have_a_folder_beside_it():
    entries = [ReportEntry(Match("q", "d", 0.5))]
    with raises(InputError, "report", remedy="give --report the name of a file"):
        write_report("-", entries, INFO, embedded=False)


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "r_files").write_text("mine")
    with raises(PipelineError, tmp_path / "r_files", "folder", remedy="move away"):
        write_report(tmp_path / "r.html", [], INFO, embedded=False)
    assert (tmp_path / "r_files").read_text() == "mine"
