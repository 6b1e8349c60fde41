"""From stores to a report and to a plot: matrices, segments, stills of videos at hand."""

from __future__ import annotations

import base64
import re
import shutil
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.errors import InputError
from pipeline.match_report import ReportSummary, pair_matrix, report_matches, verdict_threshold
from pipeline.output.match import Match
from pipeline.output.selection import Selection
from pipeline.records import SourceInfo
from pipeline.search.request import SearchRequest
from pipeline.search.run import result_info
from pipeline.store import Thumbnails, create_or_append, open_store, write_thumbnails
from pipeline.store.thumbnails import remove_thumbnails
from pipeline.video import probe
from pipeline.workflow import open_video_set
from tests import clips, features
from tests.messages import raises
from tests.unit.test_html_report import Elements, decoded_png

DIGEST = "ab" * 32


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> Path:
    """`q.h5` with the query `film`; `d.h5` with `copy`, 12 s of it from its second 6 on."""
    folder = tmp_path_factory.mktemp("stores")
    clip = clips.clip(folder / "film.mp4", frames=400, width=160, height=96, rate=10)
    model = features.model(attention=False)
    film, other = features.region_vectors(40, 1), features.region_vectors(40, 2)
    copy = np.concatenate([other[:5], film[6:18], other[5:25]])
    spec = features.spec(model.features_digest)
    gone = SourceInfo(str(folder / "gone.mp4"), size=5)
    sides = {"q.h5": [("film", film, probe(str(clip)))], "d.h5": [
        ("copy", copy, probe(str(clip))), ("other", other, gone),
    ]}  # fmt: skip
    for name, videos in sides.items():
        with create_or_append(folder / name, spec, "float32") as writer:
            for video_id, vectors, source in videos:
                video = writer.begin(video_id, source)
                video.append(vectors, np.arange(len(vectors), dtype=np.float64))
                video.finish()
    return folder


@pytest.fixture
def request_of(stores):
    with ExitStack() as stack:
        sides = [open_video_set(stack, [("", stores / name)]) for name in ("q.h5", "d.h5")]

        def make(**how) -> SearchRequest:
            return SearchRequest(*sides, features.model(attention=False), **how)

        yield make


def test_a_pair_has_a_matrix_and_segments(request_of):
    matrix, match = pair_matrix(request_of(), "film", "copy")
    assert matrix.values.shape == (40, 37)
    assert np.diag(matrix.values[6:18, 5:17]) == pytest.approx(1, abs=1e-2)
    (segment,) = match.segments
    times = segment.query_start, segment.query_end, segment.database_start, segment.database_end
    assert times == pytest.approx((6, 18, 5, 17), abs=0.6)


@pytest.mark.parametrize(
    "query, video, side", [("x", "copy", "queries"), ("film", "x", "database")]
)
def test_an_unknown_video_is_named(request_of, query, video, side):
    with raises(InputError, "'x'", side):
        pair_matrix(request_of(), query, video)


def test_a_report_shows_stills_of_the_videos_at_hand(request_of, tmp_path):
    request = request_of(selection=Selection(threshold=0.25))
    matches = [Match("film", "other", 0.2, ()), Match("film", "copy", 0.5)]
    calls: list[tuple[int, int]] = []
    path = tmp_path / "r.html"
    summary = report_matches(
        path, request, matches, result_info(request), progress=lambda *c: calls.append(c)
    )
    page = Elements(path.read_text(encoding="utf-8"))
    stills = [e for e in page.named("img") if str(e["alt"]).startswith("at ")]
    cards = page.named("article")
    assert [card["data-verdict"] for card in cards] == ["copy", "below threshold"]
    assert float(str(cards[0]["data-seconds"])) == pytest.approx(12, abs=1)
    assert summary == ReportSummary(2, videos=2, without_stills=0) and len(stills) == 6
    assert calls == [(1, 2), (2, 2)]
    assert sum("#t=" in str(e["href"]) for e in page.named("a")) == 2 + 6


def test_a_damaged_video_costs_its_own_picture(stores, tmp_path):
    for name in ("q.h5", "d.h5"):
        shutil.copy(stores / name, tmp_path)
    features.spoil(tmp_path / "d.h5", np.nan)  # of `copy`
    path = tmp_path / "r.html"
    with ExitStack() as stack:
        sides = [open_video_set(stack, [("", tmp_path / name)]) for name in ("q.h5", "d.h5")]
        request = SearchRequest(*sides, features.model(attention=False))
        matches = [Match("film", "copy", 0.5), Match("film", "other", 0.2)]
        report_matches(path, request, matches, result_info(request), stills=False)
        assert list(request.database.damaged) == ["copy"]
    page = Elements(path.read_text(encoding="utf-8"))
    assert len(page.named("article")) == 2 and len(page.named("img")) == 1


def test_a_report_without_stills_has_heat_maps(request_of, tmp_path):
    request = request_of()
    matches = [Match("film", "copy", 0.5)]
    path = tmp_path / "r.html"
    report_matches(path, request, matches, result_info(request), stills=False)
    page = Elements(path.read_text(encoding="utf-8"))
    assert [e["alt"] for e in page.named("img")] == ["frame similarities"]


def test_thumbnails_of_the_store_stand_for_videos_that_are_gone(request_of, stores, tmp_path):
    request, matches = request_of(), [Match("film", "copy", 0.5)]
    pictures = [b"\xff\xd8 %d" % second for second in range(37)]
    with open_store(stores / "d.h5") as store:
        pack = Thumbnails(np.arange(37.0), pictures)
        write_thumbnails(stores / "d.h5", "copy", store.checksum("copy"), pack)
    path = tmp_path / "r.html"
    summary = report_matches(
        path, request, matches, result_info(request), locate=lambda path: "/gone.mp4"
    )
    assert (summary.videos, summary.without_stills) == (1, 1)
    page = Elements(path.read_text(encoding="utf-8"))
    stills = [str(e["src"]) for e in page.named("img") if str(e["alt"]).startswith("at ")]
    seconds = [int(base64.b64decode(still.split(",")[1]).split()[1]) for still in stills]
    assert seconds == pytest.approx([5.5, 11, 16.5], abs=1.1)
    remove_thumbnails(stores / "d.h5", "copy")


def test_stills_are_not_taken_from_another_file(request_of, stores, tmp_path):
    """A file of another size is not what the features were made of."""
    request, matches = request_of(), [Match("film", "copy", 0.5)]
    other = clips.clip(tmp_path / "film.mp4", frames=20)
    summary = report_matches(
        tmp_path / "r.html", request, matches, result_info(request), locate=lambda path: str(other)
    )
    assert summary.videos == 0 and summary.without_stills == 2


def test_the_verdict_is_by_the_threshold_asked_for_or_by_the_calibration(request_of):
    assert verdict_threshold(request_of(selection=Selection(threshold=0.7)))[0] == 0.7
    assert verdict_threshold(request_of()) == (None, "")  # the model is not calibrated


def test_the_plot_command_writes_a_picture_and_lists_segments(stores, tmp_path, monkeypatch):
    from pipeline import cli
    from pipeline.cli import common

    monkeypatch.setattr(common, "load_weights", lambda folder: features.model(attention=False))
    sides = ["--query_store", str(stores / "q.h5"), "--database_store", f"p/={stores / 'd.h5'}"]
    output = ["-o", str(tmp_path / "pair.png")]
    done = CliRunner().invoke(cli.main, ["plot", "film", "p/copy", *sides, *output])
    assert done.exit_code == 0, done.output
    assert re.search(r"query 0:0[56]\.\d to 0:1[78]\.\d   database 0:0[45]\.\d to", done.output)
    assert decoded_png((tmp_path / "pair.png").read_bytes(), colours=38).shape[1] > 900
    done = CliRunner().invoke(cli.main, ["plot", "film", "copy", *sides, *output])
    assert done.exit_code == 2 and "'copy' is not among the database" in done.output
    done = CliRunner().invoke(
        cli.main, ["plot", "film", "p/copy", *sides, "-o", str(stores / "d.h5")]
    )
    assert done.exit_code == 2 and "is an input as well" in done.output
