"""Pictures within pictures through both stages: stored once, searched on either side."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pipeline import compute_similarity, extract_features
from pipeline.collection import Collection
from pipeline.compare import score_table
from pipeline.config import CompareConfig, ExtractConfig
from pipeline.decode import Frames, decode_videos
from pipeline.errors import FingerprintMismatchError, InputError
from pipeline.nets.model_dir import load_model
from pipeline.records import Preprocess, VideoRef
from pipeline.shipped import default_model_dir
from pipeline.store import copy_store, open_store
from pipeline.video.insets import RULE, STRETCH
from tests import clips
from tests.command import run
from tests.insets import texture, within

FRAMES = STRETCH + 5
CONFIG = ExtractConfig(batch_size=16, workers=2)
# A quarter of the area, away from where regions lie; a split screen; nothing within it.
PICTURES = {
    "guest": lambda: texture(1, FRAMES),
    "host": lambda: texture(2, FRAMES),
    "small": lambda: within(texture(2, FRAMES), texture(1, FRAMES)[:, ::2, ::2], 70, 40),
    "split": lambda: np.concatenate(
        [texture(3, FRAMES)[:, :, ::2], texture(1, FRAMES)[:, :, ::2]], axis=2
    ),
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("insets")
    how = {"rate": 1, "options": {"crf": "18", "g": "1"}}
    return {k: clips.write(folder / f"{k}.mp4", make(), **how) for k, make in PICTURES.items()}


@pytest.fixture(scope="module")
def stores(videos, tmp_path_factory):
    """Database with insets and without, queries with them and without."""
    folder = tmp_path_factory.mktemp("stores")
    made = {}
    for name, config in (
        ("database", CONFIG),
        ("bare", replace(CONFIG, insets=0)),
        ("queries", replace(CONFIG, as_queries=True)),
        ("asked", replace(CONFIG, as_queries=True, insets=2)),
    ):
        made[name] = folder / f"{name}.{'zarr' if name == 'database' else 'h5'}"
        report = extract_features(videos, made[name], config=config)
        assert report.complete
        insets = report.frames - FRAMES * len(videos)
        assert report.decode.insets == insets and report.decode.frames == FRAMES * len(videos)
        assert bool(insets) == (name in ("database", "asked"))
    return made


def test_the_store_has_them_behind_each_video(stores):
    with open_store(stores["database"]) as store, open_store(stores["bare"]) as bare:
        assert store.spec.insets == f"{RULE} 2" and "insets" not in bare.spec.as_json()
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
    assert found["guest"]["host"] < 0.75 and bare["guest"]["host"] == found["guest"]["host"]
    assert found["host"]["small"] > 0.7  # the whole picture counts as before
    for query in found:
        assert all(found[query][v] >= bare[query][v] - 1e-6 for v in found[query])


def test_each_is_compared_as_a_video_of_its_own(stores):
    """Also by symmetric Chamfer, which a longer database video would make smaller."""
    model = load_model(default_model_dir())
    for function in ("chamfer", "symmetric_chamfer"):
        config = CompareConfig(similarity_function=function, precision="float32")
        with open_store(stores["database"]) as d, open_store(stores["queries"]) as q:
            database, queries = Collection([d]), Collection([q])
            table, _ = score_table(queries, database, model, config)
            parts, places = database.apart()
            assert parts.ids == [database.ids[place] for place in places]
            assert len(parts) == len(database) + sum(len(d.insets(i)) for i in d.ids)
            alone, _ = score_table(queries, Collection([d]), model, config)
            np.testing.assert_array_equal(alone, table)
            by_hand = np.full(table.shape, -1.0)
            for part, place in enumerate(places):
                one = _Only(parts, part)
                score, _ = score_table(queries, one, model, config)
                by_hand[:, place] = np.maximum(by_hand[:, place], score[:, 0])
            np.testing.assert_allclose(table, by_hand, atol=1e-5)


class _Only(Collection):
    """One part of a collection that was taken apart."""

    def __init__(self, parts, number):
        self.__dict__ |= parts.__dict__
        place = slice(number, number + 1)
        for name in ("ids", "_stores", "_frames", "_first", "lengths"):
            setattr(self, name, getattr(parts, name)[place])

    def apart(self, with_insets=True):
        return self, np.zeros(1, np.intp)


def test_what_a_query_shows_small_is_searched_when_asked(stores):
    asked = CompareConfig(query_insets=True)
    plain = compute_similarity(stores["asked"], stores["bare"])
    with_insets = compute_similarity(stores["asked"], stores["bare"], config=asked)
    assert plain["small"]["guest"] < with_insets["small"]["guest"] - 0.1
    assert with_insets["small"]["guest"] > 0.9 and with_insets["split"]["guest"] > 0.9
    assert with_insets["guest"] == plain["guest"]
    with pytest.raises(InputError, match=r"queries.h5: no insets .* --insets 2"):
        compute_similarity(stores["queries"], stores["bare"], config=asked)


def test_more_chances_for_strangers_raise_the_threshold(stores):
    from pipeline.calibrate import threshold_for

    model = load_model(default_model_dir())
    with open_store(stores["database"]) as d, open_store(stores["asked"]) as q:
        sides = Collection([q]), Collection([d])
        plain = threshold_for(0.01, *sides, model, CompareConfig())
        asked = threshold_for(0.01, *sides, model, CompareConfig(query_insets=True))
        assert asked == pytest.approx(model.calibration.threshold(0.01, 3)) and asked > plain
        old = replace(model, calibration=replace(model.calibration, insets=False))
        with pytest.raises(InputError, match="insets: False calibrated, True here"):
            threshold_for(0.01, *sides, old, CompareConfig())
    with open_store(stores["bare"]) as d, open_store(stores["queries"]) as q:
        sides = Collection([q]), Collection([d])
        for calibrated in (model, old):
            assert threshold_for(0.01, *sides, calibrated, CompareConfig()) == plain


def test_a_store_goes_on_as_it_was_begun(stores, videos, tmp_path):
    path = tmp_path / "bare.h5"
    copy_store(stores["bare"], path)
    more = {"again": videos["small"]}
    assert extract_features(more, path, config=CONFIG).complete
    with open_store(path) as store:
        assert store.insets("again") == () and not store.spec.insets
    with pytest.raises(FingerprintMismatchError, match="insets"):
        extract_features(more, path, config=replace(CONFIG, insets=1), replace="all")
    both = compute_similarity(stores["queries"], [path, _without(stores, tmp_path)])
    assert {"again", "other"} <= both["guest"].keys()


def _without(stores, folder):
    """The database with insets under other ids, to be searched beside one that has none."""
    from pipeline.store import create_or_append

    path = folder / "other.h5"
    with open_store(stores["database"]) as old, create_or_append(path, old.spec, None) as new:
        video = new.begin("other", old.record("guest").source)
        video.append(old.read("guest").vectors, old.seconds("guest"))
        video.finish()
    return path


@pytest.mark.parametrize("workers", [1, 2])
def test_the_processes_send_them(videos, workers):
    refs = [VideoRef(k, str(path)) for k, path in videos.items()]
    size = Preprocess(224, 224, "stretch")
    found: dict[tuple[str, int], list[float]] = {}
    with decode_videos(refs, size, workers=workers, insets=1) as events:
        for event in events:
            if isinstance(event, Frames):
                assert event.images.shape == (len(event.seconds), 224, 224, 3)
                key = refs[event.index].id, event.inset
                found.setdefault(key, []).extend(event.seconds)
    assert {k for k, inset in found if inset} == {"small", "split"}
    assert all(seconds == list(range(FRAMES)) for seconds in found.values())


def test_commands(videos, stores, tmp_path):
    for side, ids in (("q", ["small"]), ("d", ["guest", "host"])):
        lines = "".join(f"{i}\t{videos[i]}\n" for i in ids)
        (tmp_path / f"{side}.txt").write_text(lines)
    assert "insets:" in run("info", stores["database"])
    assert "insets:" not in run("info", stores["bare"])
    said = run("extract", "-v", tmp_path / "d.txt", "-o", tmp_path / "d.h5", "--insets", 9, code=2)
    assert "--insets" in said
    run("extract", "-v", tmp_path / "d.txt", "-o", tmp_path / "d.h5", "--insets", 0)
    listed = ("compare", "-q", tmp_path / "q.txt", "--database_store", tmp_path / "d.h5")
    scores = []
    for options in ((), ("--query_insets",)):
        run(*listed, "-o", tmp_path / "r.json", *options)
        scores.append(json.loads((tmp_path / "r.json").read_text())["small"]["guest"])
    assert scores[1] > scores[0] + 0.1
