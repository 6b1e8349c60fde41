"""Pictures within pictures through both stages: stored once, searched on either side."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pipeline import compute_similarity, extract_features
from pipeline.config import SIMILARITY_FUNCTIONS, CompareConfig, ExtractConfig
from pipeline.decode import Frames, decode_videos
from pipeline.default_model import default_model_dir
from pipeline.errors import FingerprintMismatchError, InputError
from pipeline.nets.formats.loader import load_model
from pipeline.records import InsetRule, Preprocess, VideoRef
from pipeline.search.engine import SearchEngine, pair_scorer
from pipeline.search.request import SearchRequest
from pipeline.search.run import score_table
from pipeline.search.video_set import VideoSet
from pipeline.store import copy_store, create_or_append, open_store
from pipeline.video.pip.detector import SEGMENT_FRAMES, VERSIONS
from tests import clips
from tests.command import run
from tests.insets import texture, tilted, within
from tests.messages import assert_output, raises

pytestmark = pytest.mark.usefixtures("kept_networks")

FRAMES = 6
CONFIG = ExtractConfig(batch_size=16, workers=2)
# A quarter of the area, away from where regions lie; a split screen; nothing within it.
PICTURES = {
    "guest": lambda n: texture(1, n),
    "host": lambda n: texture(2, n),
    "small": lambda n: within(texture(2, n), texture(1, n)[:, ::2, ::2], 70, 40),
    "split": lambda n: np.concatenate([texture(3, n)[:, :, ::2], texture(1, n)[:, :, ::2]], axis=2),
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return written(tmp_path_factory.mktemp("insets"), FRAMES)


def written(folder, frames):
    how = {"rate": 1, "options": {"crf": "18", "g": "1"}}
    return {
        k: clips.write(folder / f"{k}.mp4", make(frames), **how) for k, make in PICTURES.items()
    }


@pytest.fixture(scope="module")
def stores(videos, tmp_path_factory):
    """Database with insets and without, queries with them and without."""
    folder = tmp_path_factory.mktemp("stores")
    made = {}
    for name, ids, config in (
        ("database", [*PICTURES], CONFIG),
        ("bare", [*PICTURES], replace(CONFIG, insets=0)),
        ("queries", ["guest", "host"], replace(CONFIG, as_queries=True)),
        ("asked", ["guest", "small"], replace(CONFIG, as_queries=True, insets=2)),
    ):
        made[name] = folder / f"{name}.{'zarr' if name == 'database' else 'h5'}"
        report = extract_features({i: videos[i] for i in ids}, made[name], config=config)
        assert report.complete
        insets = report.frames - FRAMES * len(ids)
        assert report.decode.insets == insets and report.decode.frames == FRAMES * len(ids)
        assert bool(insets) == (name in ("database", "asked"))
    return made


def test_the_store_has_them_behind_each_video(stores):
    with open_store(stores["database"]) as store, open_store(stores["bare"]) as bare:
        assert store.spec.insets == f"{VERSIONS[-1]} 2" and "insets" not in bare.spec.as_json()
        counts = {i: store.insets(i) for i in store.ids}
        assert counts["guest"] == counts["host"] == ()
        assert counts["small"][0] == FRAMES and counts["split"][:2] == (FRAMES, FRAMES)
        for video_id in store.ids:
            with_insets, without = store.read(video_id), bare.read(video_id)
            np.testing.assert_allclose(
                with_insets.vectors[:FRAMES], without.vectors, atol=2e-3
            )  # the video's own are as they were, up to the order in float16's rounding
            np.testing.assert_array_equal(with_insets.seconds[:FRAMES], without.seconds)
        np.testing.assert_array_equal(store.seconds("small")[FRAMES:][:FRAMES], np.arange(FRAMES))


def test_they_are_found_by_what_they_show(stores):
    found, bare = (compute_similarity(stores["queries"], stores[d]) for d in ("database", "bare"))
    assert found["guest"]["small"] > 0.9 and found["guest"]["split"] > 0.9
    assert found["guest"]["split"] > bare["guest"]["split"]
    assert found["guest"]["host"] < 0.75
    assert bare["guest"]["host"] == pytest.approx(found["guest"]["host"], abs=1e-6)
    assert found["host"]["small"] > 0.7  # the whole picture counts as before
    for query in found:
        assert all(found[query][v] >= bare[query][v] - 1e-6 for v in found[query])


def test_each_is_compared_as_a_video_of_its_own(stores):
    """Also where both directions count, which a longer database video would make smaller."""
    model = load_model(default_model_dir())
    for function in SIMILARITY_FUNCTIONS:
        config = CompareConfig(similarity_function=function, precision="float32")
        with open_store(stores["database"]) as d, open_store(stores["queries"]) as q:
            database, queries = VideoSet([d]), VideoSet([q])
            table, _ = score_table(SearchRequest(queries, database, model, config))
            parts, owner = database.split_insets()
            assert parts.ids == [database.ids[video] for video in owner]
            assert len(parts) == len(database) + sum(len(d.insets(i)) for i in d.ids)
            by_hand, network = np.full(table.shape, -1.0), None
            for part, video in enumerate(owner):
                request = SearchRequest(queries, _Only(parts, part), model, config)
                network = network or pair_scorer(request)  # compiled once
                engine = SearchEngine(request, scorer=network)
                score, _ = score_table(request, engine=engine)
                by_hand[:, video] = np.maximum(by_hand[:, video], score[:, 0])
            np.testing.assert_allclose(table, by_hand, atol=1e-5)


class _Only(VideoSet):
    """One sequence of a set whose insets were split off."""

    def __init__(self, parts, number):
        self.__dict__ |= parts.__dict__
        self.ids = parts.ids[number : number + 1]
        self._set_sequences(parts._sequences[number : number + 1])

    def split_insets(self, with_insets=True):
        return self, np.zeros(1, np.intp)


def test_what_a_query_shows_small_is_searched_when_asked(stores):
    asked = CompareConfig(query_insets=True)
    plain = compute_similarity(stores["asked"], stores["bare"])
    with_insets = compute_similarity(stores["asked"], stores["bare"], config=asked)
    assert plain["small"]["guest"] < with_insets["small"]["guest"] - 0.1
    assert with_insets["small"]["guest"] > 0.9
    assert with_insets["guest"] == pytest.approx(plain["guest"], abs=1e-6)
    with raises(InputError, stores["queries"], "insets", "--query_insets", remedy="--insets 2"):
        compute_similarity(stores["queries"], stores["bare"], config=asked)


def test_a_calibration_knows_what_was_searched_for(stores):
    from pipeline.search.calibrate import check_rate, threshold_for

    model = load_model(default_model_dir())
    made = next(c for c in model.calibrations if not c.adapted)
    model = replace(model, calibrations=(made,))
    old = replace(model, calibrations=(replace(made, insets=0),))
    fewer = replace(model, calibrations=(replace(made, insets=1),))
    plain, asked = CompareConfig(), CompareConfig(query_insets=True)
    remedy = "visil-index calibrate"
    with open_store(stores["database"]) as d, open_store(stores["asked"]) as q:
        sides = VideoSet([q]), VideoSet([d])
        assert threshold_for(0.01, SearchRequest(*sides, model, plain)) == made.threshold(0.01)
        with raises(InputError, "(insets: 0 calibrated", "2 here)", remedy=remedy):
            threshold_for(0.01, SearchRequest(*sides, old, plain))
        with raises(InputError, "(insets: 1 calibrated", "2 here)", remedy=remedy):
            threshold_for(0.01, SearchRequest(*sides, fewer, plain))
        with raises(InputError, "query_insets: 0 calibrated", "2 here", remedy=remedy):
            threshold_for(0.01, SearchRequest(*sides, model, asked))
        knows = replace(model, calibrations=(replace(made, query_insets=2),))
        for config in (plain, asked):
            assert threshold_for(0.01, SearchRequest(*sides, knows, config)) == made.threshold(0.01)
    with open_store(stores["bare"]) as d, open_store(stores["queries"]) as q:
        sides = VideoSet([q]), VideoSet([d])
        for calibrated in (model, old):
            assert threshold_for(0.01, SearchRequest(*sides, calibrated, plain)) > 0
    check_rate(0.01, model, plain, False)
    with raises(InputError, "query_insets: 0 calibrated", "1 here", remedy=remedy):
        check_rate(0.01, model, asked, False)


def test_a_store_goes_on_as_it_was_begun(stores, videos, tmp_path):
    path = tmp_path / "bare.h5"
    copy_store(stores["bare"], path)
    more = {"again": videos["small"]}
    assert extract_features(more, path, config=CONFIG).complete
    with open_store(path) as store:
        assert store.insets("again") == () and not store.spec.insets
    with raises(FingerprintMismatchError, path, "insets", remedy="write to another store"):
        extract_features(more, path, config=replace(CONFIG, insets=1), replace="all")
    other = tmp_path / "other.h5"
    extract_features({"other": videos["split"]}, other, config=CONFIG)
    both = compute_similarity(stores["queries"], [path, other])["guest"]
    alone = compute_similarity(stores["queries"], stores["database"])["guest"]
    assert both["other"] == pytest.approx(alone["split"], abs=2e-3)
    assert both["again"] < alone["small"]


def test_a_store_that_was_begun_by_an_older_rule_goes_on_by_it(videos, stores, tmp_path):
    path = tmp_path / "d.h5"
    with open_store(stores["bare"]) as bare:
        older = replace(bare.spec, insets=str(InsetRule("edges/1", 2)))
        with create_or_append(path, older, bare.encoding):
            pass
    extract_features({"small": videos["small"]}, path, config=CONFIG)
    filmed = clips.write(tmp_path / "filmed.mp4", tilted(texture(1, FRAMES)), rate=1)
    (tmp_path / "d.txt").write_text(f"filmed\t{filmed}\n")
    for options in ((), ("--insets", 2, "--replace", "all")):
        said = run("extract", "-v", tmp_path / "d.txt", "-o", path, *options)
        assert_output(said, "note", path, "fewer insets", remedy="make a new store")
        with open_store(path) as store:
            assert store.spec.insets == "edges/1 2" and store.insets("small") == (FRAMES,)
            assert store.insets("filmed") == ()
    new = tmp_path / "new.h5"
    assert "make a new store" not in run("extract", "-v", tmp_path / "d.txt", "-o", new)
    with open_store(new) as store:
        assert store.spec.insets == f"{VERSIONS[-1]} 2" and store.insets("filmed") == (FRAMES,)


def test_replaced_videos_and_failures_leave_no_insets(videos, tmp_path):
    path, changing = tmp_path / "d.h5", tmp_path / "v.mp4"
    changing.write_bytes(videos["split"].read_bytes())
    assert extract_features({"v": changing}, path, config=CONFIG).complete
    changing.write_bytes(videos["host"].read_bytes())
    extract_features({"v": changing}, path, config=CONFIG, replace="all")
    with open_store(path) as store:
        assert store.insets("v") == () and store.frames("v") == FRAMES and store.verify() == []
        assert store.format_version == 3
    clips.truncate(clips.write(changing, PICTURES["split"](FRAMES), rate=1, codec="mpeg4"), 0.6)
    strict = replace(CONFIG, min_frames=FRAMES)
    report = extract_features({"w": changing}, path, config=strict)
    assert set(report.failures) == {"w"}
    with open_store(path) as store:
        assert store.ids == ["v"]


def test_mirrored_queries_and_a_background_have_them_too(videos, stores, tmp_path):
    mirrored = tmp_path / "m.h5"
    config = replace(CONFIG, as_queries=True, mirrored=True, insets=2)
    extract_features({"small": videos["small"]}, mirrored, config=config)
    asked = CompareConfig(query_insets=True, background_top_k=1)
    plain = compute_similarity(stores["asked"], stores["bare"], config=asked)
    both = compute_similarity(
        stores["asked"], stores["bare"], config=asked, mirrored_queries=mirrored
    )
    for query in plain:
        assert all(both[query][v] >= plain[query][v] - 1e-6 for v in plain[query])
        assert query == "small" or both[query] == pytest.approx(plain[query], abs=1e-6)
    background = tmp_path / "b.h5"
    extract_features({"unknown": videos["split"]}, background, config=CONFIG)
    normal = compute_similarity(
        stores["asked"], stores["bare"], config=asked, background=background
    )
    among = compute_similarity(stores["asked"], background, config=asked)
    for query, scores in normal.items():
        less = 0.5 * among[query]["unknown"]
        assert scores["host"] == pytest.approx(plain[query]["host"] - less, abs=1e-5)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_processes_send_them(tmp_path, workers):
    frames = SEGMENT_FRAMES + 5
    refs = [VideoRef(k, str(path)) for k, path in written(tmp_path, frames).items()]
    size = Preprocess(224, 224, "stretch")
    found: dict[tuple[str, int], list[float]] = {}
    with decode_videos(refs, size, workers=workers, insets=InsetRule(limit=1)) as events:
        for event in events:
            if isinstance(event, Frames):
                assert event.images.shape == (len(event.seconds), 224, 224, 3)
                key = refs[event.index].id, event.inset
                found.setdefault(key, []).extend(event.seconds)
    assert {k for k, inset in found if inset} == {"small", "split"}
    assert all(seconds == list(range(frames)) for seconds in found.values())


def test_commands(videos, stores, tmp_path):
    for side, ids in (("q", ["small"]), ("d", ["guest", "host"])):
        lines = "".join(f"{i}\t{videos[i]}\n" for i in ids)
        (tmp_path / f"{side}.txt").write_text(lines)
    assert "insets:" in run("info", stores["database"])
    assert "insets:" not in run("info", stores["bare"])
    said = run("extract", "-v", tmp_path / "d.txt", "-o", tmp_path / "d.h5", "--insets", 9, code=2)
    assert "--insets" in said
    bare = ("extract", "-v", tmp_path / "d.txt", "-o", tmp_path / "d.h5")
    assert "make a new store" not in run(*bare, "--insets", 0)
    assert_output(run(*bare), "note", bare[-1], "without insets", remedy="make a new store")
    listed = ("compare", "-q", tmp_path / "q.txt", "--database_store", tmp_path / "d.h5")
    scores = []
    for options in ((), ("--query_insets",)):
        run(*listed, "-o", tmp_path / "r.json", *options)
        scores.append(json.loads((tmp_path / "r.json").read_text())["small"]["guest"])
    assert scores[1] > scores[0] + 0.1
    run("extract", "-v", tmp_path / "q.txt", "-o", tmp_path / "q.h5", "--as_queries", "--insets", 1)
    kept = ("--query_store", tmp_path / "q.h5", "--query_insets")  # as it was begun
    run(*listed, *kept, "-o", tmp_path / "r.json")
    again = json.loads((tmp_path / "r.json").read_text())["small"]["guest"]
    assert again == pytest.approx(scores[1], abs=1e-6)
    late = ("compare", "--query_store", stores["queries"], "-d", tmp_path / "missing-list.txt")
    (tmp_path / "missing-list.txt").write_text("x\tno-such-file.mp4\n")
    said = run(*late, "--query_insets", "-o", tmp_path / "r.json", code=2)
    assert_output(said, "error", stores["queries"], "--query_insets", remedy="--insets 2")
    assert "no-such-file" not in said
    said = run(*listed, *kept, "--max_fpr", 0.01, "-o", tmp_path / "r.json", code=2)
    named = "query_insets: 0 calibrated", "1 here"
    assert_output(said, "error", *named, remedy="visil-index calibrate")
