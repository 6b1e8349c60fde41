"""Frame matrices and segments of single pairs, from stores of made-up features."""

import numpy as np
import pytest

from pipeline.alignment import Segment
from pipeline.config import SEGMENT_EVIDENCE, CompareConfig
from pipeline.errors import InputError, StoreError
from pipeline.output.selection import Selection
from pipeline.quantization import ENCODINGS, convert, dequantize, quantize
from pipeline.records import InsetRule, SourceInfo
from pipeline.search import pair_alignment, segments
from pipeline.search.pair_alignment import PairAligner, SegmentJudge
from pipeline.search.request import SearchRequest
from pipeline.search.run import find_matches
from pipeline.search.video_set import VideoSet
from pipeline.store import create_or_append, open_store
from tests import features, reference
from tests.messages import raises

MODEL = features.model(attention=False)


def frames(count, seed):
    """Frames of nine equal regions, so that unlike frames have similarities about 0."""
    return np.repeat(features.region_vectors(count, seed)[:, :1], features.REGIONS, axis=1)


FILM = frames(30, 102)
# Seconds 8 to 20 of the film, between frames of nothing else.
COPY = np.concatenate([frames(5, 1), FILM[8:20], frames(6, 2)])
DATABASE = {
    "other": frames(25, 3),
    "copy": COPY,
    "one": FILM[4:5],
    "three": frames(3, 4),
}
SPEC = features.spec(MODEL.features_digest)


def videos(folder, name, made, dtype="float32"):
    return VideoSet([open_store(features.fill(folder / name, SPEC, made, dtype))])


@pytest.fixture
def request_of(tmp_path):
    def make(queries=None, database=None, dtype="float32", config=None, model=MODEL, **more):
        sides = (
            videos(tmp_path, f"{side}-{dtype}.h5", made, dtype)
            for side, made in (("q", queries or {"film": FILM}), ("d", database or DATABASE))
        )
        return SearchRequest(*sides, model, config or CompareConfig(), **more)

    return make


def expected(query, target):
    layout = reference.RegionsAlone(features.REGIONS)
    return reference.frame_similarity(query, target, False, None, layout)


@pytest.mark.parametrize(
    ("dtype", "comparator"), [(dtype, False) for dtype in ENCODINGS] + [("float32", True)]
)
def test_matrices_equal_the_reference(request_of, dtype, comparator):
    request = request_of(dtype=dtype, model=features.model(comparator, attention=False))
    aligner = PairAligner(request)
    for number, vectors in enumerate(DATABASE.values()):
        found = aligner.matrix(0, number)
        stored = [
            dequantize(quantize(x, ENCODINGS[dtype]), features.DIMS).astype(np.float32)
            for x in (FILM, vectors)
        ]
        np.testing.assert_allclose(found.values, expected(*stored), atol=2e-3)
        assert found.query_seconds.tolist() == list(range(30))
        assert found.database_seconds.tolist() == list(range(len(vectors)))
        assert (found.step, found.mirrored, found.query_duration) == (1, False, None)


def test_blocks_and_parts_change_nothing(request_of):
    request = request_of()
    whole = [PairAligner(request).matrix(0, number).values for number in range(4)]
    aligner = PairAligner(request, block_frames=9, part_frames=4)
    for number, values in enumerate(whole):
        np.testing.assert_allclose(aligner.matrix(0, number).values, values, atol=1e-6)
    together = list(aligner.align_all(0, range(4)))
    assert together == [aligner.align(0, number) for number in range(4)]


def test_the_copy_alone_has_a_segment(request_of):
    found = list(PairAligner(request_of()).align_all(0, range(4)))
    (segment,) = found[1].segments
    ends = segment.query_start, segment.query_end, segment.database_start, segment.database_end
    assert ends == pytest.approx((8, 20, 5, 17), abs=0.6)
    assert segment.score == pytest.approx(1, abs=1e-3)
    assert [bool(each.segments) for each in found] == [False, True, False, False]


def test_the_matrix_of_very_long_videos_has_some_of_their_frames(request_of):
    request = request_of()
    full = PairAligner(request).matrix(0, 1)
    thinned = PairAligner(request, max_cells=30 * 23 // 4).matrix(0, 1)
    step = thinned.step
    assert step == 3
    np.testing.assert_allclose(thinned.values, full.values[::step, ::step], atol=1e-6)
    assert thinned.query_seconds.tolist() == list(range(0, 30, step))


@pytest.mark.parametrize("cells", [20 * 20, 16 * 16])
def test_very_long_videos_are_aligned_in_stretches(tmp_path, cells):
    """Stretches have 20 or 16 frames; the segment goes through several of them."""
    film = frames(60, 5)
    made = {"copy": np.concatenate([frames(7, 6), film[12:48], frames(10, 7)]), "x": frames(50, 8)}
    request = SearchRequest(
        videos(tmp_path, "q.h5", {"film": film}), videos(tmp_path, "d.h5", made), MODEL
    )
    (whole,) = PairAligner(request).align(0, 0).segments
    found, other = PairAligner(request, max_cells=cells).align_all(0, [0, 1])
    best = found.segments[0]
    ends = best.query_start, best.query_end, best.database_start, best.database_end
    expected_ends = whole.query_start, whole.query_end, whole.database_start, whole.database_end
    assert ends == pytest.approx(expected_ends, abs=0.6)
    assert ends == pytest.approx((12, 48, 7, 43), abs=1.1)
    assert other.segments == ()


def test_longer_videos_are_thinned_and_their_ends_found_in_all_frames(tmp_path):
    film = frames(120, 5)
    made = {"copy": np.concatenate([frames(20, 6), film[26:97], frames(30, 7)]), "x": frames(90, 8)}
    request = SearchRequest(
        videos(tmp_path, "q.h5", {"film": film}), videos(tmp_path, "d.h5", made), MODEL
    )
    descriptors = request.queries.row_shape[0] * request.database.spec.shared_descriptors
    aligner = PairAligner(request, max_cells=40 * 40, max_products=descriptors * 120 * 121 // 9)
    found, other = aligner.align_all(0, [0, 1])
    assert found.step == 3 and aligner.align(0, 1).step > 1
    best = found.segments[0]
    ends = best.query_start, best.query_end, best.database_start, best.database_end
    assert ends == pytest.approx((26, 97, 20, 91), abs=1.1)
    assert other.segments == ()


def test_only_what_continues_is_joined():
    parts = [Segment(0, 10, 5, 15, 0.9), Segment(10.5, 20, 15.5, 25, 0.7, False)]
    (one,) = pair_alignment.joined(parts)
    assert (one.query_start, one.query_end, one.database_start, one.database_end) == (0, 20, 5, 25)
    assert 0.7 < one.score < 0.9 and not one.query_decidable
    apart = [parts[0], Segment(10.5, 20, 25, 34.5, 0.7), Segment(10, 20, 15, 20, 0.7)]
    assert len(pair_alignment.joined(apart)) == 3
    assert pair_alignment.joined([parts[0], Segment(30, 31, 1, 2, 0.3)]) == [parts[0]]


def test_the_better_direction_of_a_mirrored_query_counts(request_of, tmp_path):
    plain = {"film": frames(30, 7), "again": FILM}
    spec = features.spec(MODEL.features_digest, mirrored=True)
    mirrored = VideoSet([open_store(features.fill(tmp_path / "m.h5", spec, {"film": FILM}))])
    aligner = PairAligner(request_of(plain, mirrored=mirrored))
    found = aligner.align(0, 1)
    assert found.mirrored and found.segments
    assert aligner.matrix(0, 1).mirrored
    assert not aligner.align(1, 1).mirrored
    assert aligner.align(1, 1).segments == found.segments


def test_insets_count_where_they_are_seen(tmp_path):
    rule = InsetRule(limit=1)
    spec = features.spec(MODEL.features_digest, insets=str(rule))
    host = frames(20, 11)
    with create_or_append(tmp_path / "d.h5", spec, "float32") as writer:
        video = writer.begin("host", SourceInfo("host.mp4"))
        video.append(host, np.arange(20.0))
        video.append(FILM[10:18], np.arange(5.0, 13.0), 1)
        video.finish()
    both = VideoSet([open_store(tmp_path / "d.h5")])
    film = videos(tmp_path, "q.h5", {"film": FILM})
    (segment,) = PairAligner(SearchRequest(film, both, MODEL)).align(0, 0).segments
    assert segment.query_start == pytest.approx(10, abs=0.6)
    assert segment.database_start == pytest.approx(5, abs=0.6)
    plain = VideoSet([open_store(features.fill(tmp_path / "p.h5", SPEC, {"film": FILM}))])
    for searched, shape in ((False, (20, 30)), (True, (20, 30))):
        config = CompareConfig(query_insets=searched)
        aligner = PairAligner(SearchRequest(both, plain, MODEL, config))
        assert aligner.matrix(0, 0).values.shape == shape
        assert bool(aligner.align(0, 0).segments) == searched


def test_a_damaged_video_is_left_out(request_of, tmp_path):
    database = {"copy": COPY, "sound": COPY}
    features.fill(tmp_path / "d-float32.h5", SPEC, database)
    features.spoil(tmp_path / "d-float32.h5", np.nan)
    damaged = VideoSet([open_store(tmp_path / "d-float32.h5")])
    film = videos(tmp_path, "film.h5", {"film": FILM})
    aligner = PairAligner(SearchRequest(film, damaged, MODEL))
    found = list(aligner.align_all(0, [0, 1]))
    assert found[0] is None and found[1].segments
    assert list(damaged.damaged) == ["copy"]
    with pytest.raises(StoreError, match="copy"):
        aligner.align(0, 0)


def test_little_evidence_is_no_segment():
    long, short = (Segment(0, n, 0, n, 0.6) for n in (6, 2))
    weak = Segment(0, 60, 0, 60, 0.25)
    judge = SegmentJudge.of(CompareConfig(), has_threshold=False)
    assert judge.min_evidence == SEGMENT_EVIDENCE
    assert judge.convincing([long, short, weak]) == [long, short]
    assert judge.convincing([short]) == []
    assert SegmentJudge.of(CompareConfig(), has_threshold=True).convincing([short]) == [short]
    asked = SegmentJudge.of(CompareConfig(segment_evidence=0.5), has_threshold=True)
    assert asked.convincing([short]) == [short]
    assert SegmentJudge.of(CompareConfig(segment_evidence=0.7), True).convincing([short]) == []


def test_the_score_of_a_pair_counts_within_limits():
    segment = Segment(0, 4, 0, 4, 0.6)  # 1.2 of evidence, just too little
    judge = SegmentJudge.of(CompareConfig(), has_threshold=False)
    assert judge.convincing([segment]) == judge.convincing([segment], 0.425) == []
    assert judge.convincing([segment], 0.43) == [segment]
    normalized = SegmentJudge.of(CompareConfig(), False, is_normalized=True)
    assert normalized.convincing([segment], 0.22) == []
    assert normalized.convincing([segment], 0.23) == [segment]
    strict = SegmentJudge.of(CompareConfig(segment_evidence=2.2), has_threshold=False)
    brief, lasting = Segment(0, 1, 0, 1, 0.35), Segment(0, 12, 0, 12, 0.6)
    assert strict.convincing([brief], 1.0) == []  # a high score is worth two, no more
    assert judge.convincing([lasting], -1.0) == [lasting]  # a low one as well


def test_matches_have_segments(request_of):
    config = CompareConfig(segment_evidence=3.0)  # made-up frames have high scores
    request = request_of(segments=True, selection=Selection(top_k=2), config=config)
    table, _ = find_matches(request)
    matches = table.matches("film")
    assert {match.database_id for match in matches} == {"copy", "other"}
    by_id = {match.database_id: match for match in matches}
    assert len(by_id["copy"].segments) == 1 and by_id["other"].segments == ()
    assert (table.report.pairs, table.report.marked, table.report.segments) == (2, 1, 1)
    plain, _ = find_matches(request_of(selection=Selection(top_k=2)))
    assert [m.segments for m in plain.matches("film")] == [None, None]
    assert [m.score for m in plain.matches("film")] == [m.score for m in matches]


@pytest.mark.slow
@pytest.mark.parametrize("top_k", [None, 2])
def test_a_query_that_resembles_most_of_the_database_has_no_segments(request_of, top_k):
    """Unless a threshold says that these pairs match."""
    alike = {f"a{i}": np.concatenate([frames(5, 20), FILM[8:20]]) for i in range(150)}
    for selection, is_marked in ((Selection(top_k), False), (Selection(top_k, 0.2), True)):
        request = request_of(database=alike, segments=True, selection=selection)
        table, _ = find_matches(request)
        matches = table.matches("film")
        assert len(matches) == (top_k or 150)
        assert 0.45 < matches[0].score < 0.6
        assert {bool(match.segments) for match in matches} == {is_marked}


def test_very_many_pairs_need_a_selection(request_of):
    segments.require_selection(100, 100, selects=False)
    segments.require_selection(10_000, 10_000, selects=True)
    with raises(InputError, "1,000,000 pairs", "167 minutes", remedy="give top_k"):
        segments.require_selection(1000, 1000, selects=False)
    films, copies = ({f"{side}{i}": FILM[:1] for i in range(101)} for side in "qd")
    with raises(InputError, "10,201 pairs", remedy="give top_k"):
        find_matches(request_of(films, copies, segments=True))


def test_convert_is_used_for_mixed_stores(tmp_path):
    """Stores of two encodings are read as floats."""
    parts = [
        features.fill(tmp_path / f"{dtype}.h5", SPEC, {dtype: COPY}, dtype)
        for dtype in ("int8", "float16")
    ]
    database = VideoSet([open_store(path) for path in parts])
    film = videos(tmp_path, "film.h5", {"film": FILM})
    aligner = PairAligner(SearchRequest(film, database, MODEL))
    kept = dequantize(convert(COPY, features.DIMS, np.dtype("i1")), features.DIMS)
    np.testing.assert_allclose(aligner.matrix(0, 0).values, expected(FILM, kept), atol=2e-3)
    assert all(found.segments for found in aligner.align_all(0, [0, 1]))
