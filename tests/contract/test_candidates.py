"""The candidate index: it follows its store, and only what it names is compared."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.candidates import (
    CandidateCount,
    CandidateIndex,
    builder,
    code_rule,
    engine,
    index_folder,
    search,
    update_index,
)
from pipeline.candidates.codes import QueryCodes, code_frames
from pipeline.errors import FingerprintMismatchError, InputError, StoreError
from pipeline.nets.model.descriptors import (
    DescriptorGroup,
    DescriptorLayout,
    QueryAugmentation,
    SimilarityTerm,
    standard_layout,
)
from pipeline.store import open_store, open_writer
from tests import features
from tests.messages import raises

LAYOUT = standard_layout(features.REGIONS)
RULE = code_rule(LAYOUT, features.DIMS)
DIGEST = "ab" * 32
ROOT = Path(__file__).parents[2]


def videos(count: int, frames: int = 6, first: int = 0) -> dict[str, np.ndarray]:
    return {
        f"v{n}": features.region_vectors(frames, n).astype("f4")
        for n in range(first, first + count)
    }


@pytest.fixture(params=["store.h5", "store.zarr"])
def store(request, tmp_path):
    return features.fill(tmp_path / request.param, features.spec(DIGEST), videos(40))


def update(path, **settings):
    with open_store(path) as opened:
        return update_index(opened, RULE, **settings)


def found(path, query: np.ndarray, count: int = 3) -> list[str]:
    """Ids of the candidates of a query."""
    with open_store(path) as opened:
        numbers, scores = CandidateIndex(opened, RULE).candidates(query, count)
        assert (np.diff(scores) <= 0).all()
        return [opened.ids[number] for number in numbers.tolist()]


def vectors(number: int) -> np.ndarray:
    return videos(1, first=number)[f"v{number}"]


def test_a_new_index_finds_each_video_by_itself(store):
    report = update(store)
    assert (report.videos, report.added, report.removed) == (40, 40, 0)
    assert report.codes == 40 * 3  # of 6 frames every second one
    assert not report.inverted
    for number in (0, 7, 39):
        assert found(store, vectors(number), 2)[0] == f"v{number}"
    assert len(found(store, vectors(3), 5)) == 5
    assert len(found(store, vectors(3), 1000)) == 40


def test_an_index_that_is_up_to_date_is_left_alone(store):
    folder = update(store).folder
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    report = update(store)
    assert (report.added, report.removed, report.rebuilt) == (0, 0, "")
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_longer_store_is_topped_up(store):
    update(store)
    features.fill(store, features.spec(DIGEST), videos(2, first=100))
    assert found(store, vectors(100))[0] == "v100"  # read from the store for this search
    report = update(store)
    assert (report.added, report.removed, report.rebuilt) == (2, 0, "")
    assert found(store, vectors(101))[0] == "v101"
    assert found(store, vectors(5))[0] == "v5"
    with open_store(store) as opened:
        assert CandidateIndex(opened, RULE).added == 0


def test_removed_and_replaced_videos_disappear(store):
    update(store)
    with open_writer(store) as writer:
        writer.remove("v5")
    features.fill(store, features.spec(DIGEST), {"v6": vectors(200)})
    for _ in range(2):  # before the index is brought up to date, and after that
        assert "v5" not in found(store, vectors(5), 1000)
        assert found(store, vectors(200))[0] == "v6"
        assert found(store, vectors(7))[0] == "v7"
        assert len(found(store, vectors(6), 1000)) == 39
        report = update(store)
    assert (report.added, report.removed) == (0, 0)


def test_most_videos_removed_leave_a_small_index(store):
    codes = update(store).codes
    with open_writer(store) as writer:
        for number in range(30):
            writer.remove(f"v{number}")
    report = update(store)
    assert report.removed == 30
    assert report.codes == codes // 4
    assert found(store, vectors(35))[0] == "v35"


def test_an_index_of_another_model_is_refused(store, tmp_path):
    folder = update(store).folder
    other = features.fill(tmp_path / f"other{store.suffix}", features.spec("cd" * 32), videos(3))
    folder.rename(index_folder(other))
    for use in (update, lambda path: found(path, vectors(0))):
        with raises(FingerprintMismatchError, index_folder(other), remedy="visil-index index"):
            use(other)


def test_a_store_without_an_index_names_the_command(store):
    with raises(StoreError, store, remedy=f"visil-index index {store}"):
        found(store, vectors(0))


@pytest.mark.parametrize("kind", ["header.json", "rows-*.bin", "codes-*.i8"])
@pytest.mark.parametrize("harm", ["cut", "changed", "gone"])
def test_a_damaged_index_is_made_anew(store, kind, harm):
    folder = update(store).folder
    path = next(folder.glob(kind))
    content = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        changed = bytes([content[0] ^ 1]) + content[1:]
        path.write_bytes(content[:-9] if harm == "cut" else changed)
    if not (kind == "codes-*.i8" and harm == "changed"):  # checked when the index is updated
        with raises(StoreError, folder if harm != "gone" else store, remedy="visil-index index"):
            found(store, vectors(0))
    report = update(store)
    assert bool(report.rebuilt) == (path.name != "header.json" or harm != "gone")
    assert found(store, vectors(9))[0] == "v9"


def test_a_damaged_video_is_reported_and_the_others_are_indexed(tmp_path):
    path = features.fill(tmp_path / "s.h5", features.spec(DIGEST), videos(5))
    import h5py

    with h5py.File(path, "r+") as file:
        for data in file["features"].values():
            if data.attrs["id"] == "v2":
                data[:] = np.inf
    report = update(path)
    assert len(report.damaged) == 1
    assert "v2" in report.damaged[0]
    assert set(found(path, vectors(1), 10)) == {"v0", "v1", "v3", "v4"}


def test_what_a_killed_writer_left_is_no_obstacle(store):
    folder = update(store).folder
    codes = next(folder.glob("codes-*.i8"))
    with open(codes, "ab") as file:  # codes behind the known end, and a file without a header
        file.write(b"torn")
    (folder / "rows-99.bin").write_bytes(b"torn")
    assert found(store, vectors(4))[0] == "v4"
    features.fill(store, features.spec(DIGEST), videos(1, first=300))
    update(store)
    assert found(store, vectors(300))[0] == "v300"
    assert found(store, vectors(4))[0] == "v4"
    assert not (folder / "rows-99.bin").exists()


@pytest.mark.slow
def test_a_killed_update_leaves_the_old_index(tmp_path):
    path = features.fill(tmp_path / "s.h5", features.spec(DIGEST), videos(300))
    update(path)
    features.fill(path, features.spec(DIGEST), videos(3000, first=1000))
    text = (
        "import sys\nfrom pathlib import Path\nfrom tests.contract import test_candidates as t\n"
        "print('ready', flush=True)\nt.update(Path(sys.argv[1]))\nprint('done', flush=True)"
    )
    for pause in (0.05, 0.15, 0.25, 0.35, 0.5):
        child = subprocess.Popen(
            [sys.executable, "-c", text, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout and child.stdout.readline() == "ready\n"
        time.sleep(pause)
        child.kill()
        child.communicate()
        assert found(path, vectors(7))[0] == "v7"
        assert found(path, vectors(1500))[0] == "v1500"
    assert update(path).videos == 3300
    with open_store(path) as opened:
        assert CandidateIndex(opened, RULE).added == 0


def test_codes_are_compared_as_a_plain_product_does(store):
    update(store)
    query = features.region_vectors(5, 77)
    numbers, scores = _open_candidates(store, query, 40)
    codes = RULE.query_codes(query).codes[:, 0]
    for number, score in zip(numbers.tolist(), scores.tolist(), strict=True):
        own = RULE.database_codes(vectors(number)[1::2])
        assert score == pytest.approx((codes @ own.T).max(axis=1).mean(), abs=0.01)


def _open_candidates(path, query, count):
    with open_store(path) as opened:
        return CandidateIndex(opened, RULE).candidates(query, count)


@pytest.mark.slow
def test_a_large_index_has_inverted_lists(tmp_path):
    pytest.importorskip("faiss")
    path = features.fill(tmp_path / "s.h5", features.spec(DIGEST), videos(400))
    report = update(path, exact_codes=100)
    assert report.inverted
    right = sum(found(path, vectors(n), 3)[0] == f"v{n}" for n in range(0, 400, 20))
    assert right >= 19  # of 20: codes are quantised
    with open_writer(path) as writer:
        writer.remove("v20")
    features.fill(path, features.spec(DIGEST), videos(3, first=500))
    report = update(path, exact_codes=100)
    assert report.inverted
    assert (report.added, report.removed) == (3, 1)
    assert found(path, vectors(501), 3)[0] == "v501"
    assert "v20" not in found(path, vectors(20), 1000)


def test_a_large_index_is_alike_by_several_threads(tmp_path, monkeypatch):
    faiss = pytest.importorskip("faiss")
    path = features.fill(tmp_path / "s.h5", features.spec(DIGEST), videos(400))
    with h5py.File(path, "r+") as file:
        file["features/v30"][:] = np.nan
    codes = []
    for few, batch in ((1 << 30, 1000), (0, 7)):
        monkeypatch.setattr(engine, "_FEW_CODES", few)
        monkeypatch.setattr(builder, "_BATCH_VIDEOS", batch)
        done: list[int] = []
        folder = index_folder(path)
        shutil.rmtree(folder, ignore_errors=True)
        report = update(path, exact_codes=100, progress=lambda n, _, told=done: told.append(n))
        assert report.inverted and report.codes == 399 * 3
        assert len(report.damaged) == 1 and "v30" in report.damaged[0]
        assert done == sorted(done) and done[-1] == 400
        index = faiss.read_index(str(next(folder.glob("inverted-*"))))
        lists = faiss.extract_index_ivf(index)
        lists.make_direct_map()
        codes.append(np.stack([lists.reconstruct(n) for n in range(index.ntotal)]))
    assert np.isclose(*codes, atol=1e-3).mean() > 0.99  # sums of training are rounded differently


@pytest.mark.parametrize("values", [16, 256])  # shorter than what codes are reduced to, and longer
def test_codes_are_quantised_as_faiss_does(values):
    faiss = pytest.importorskip("faiss")
    codes = np.random.default_rng(3).standard_normal((3000, values)).astype("f4")
    codes /= np.linalg.norm(codes, axis=1)[:, None]
    index = engine._trained(faiss, codes, 300_000)
    encoder = engine._Encoder(faiss, index)
    ours, faiss_codes = encoder.encoded(codes[:500]), index.sa_encode(codes[:500])
    assert (ours == faiss_codes).all(axis=1).mean() > 0.99  # the rest lie between two lists
    assert encoder.encoded(codes[:0]).shape == (0, faiss_codes.shape[1])


def test_without_faiss_codes_are_compared_one_by_one(store, monkeypatch):
    monkeypatch.setattr(engine, "faiss_module", lambda: None)
    assert not update(store, exact_codes=10).inverted
    assert found(store, vectors(8))[0] == "v8"


@pytest.mark.slow
def test_an_index_made_with_faiss_needs_it(tmp_path, monkeypatch):
    pytest.importorskip("faiss")
    path = features.fill(tmp_path / "s.h5", features.spec(DIGEST), videos(400))
    assert update(path, exact_codes=100).inverted
    monkeypatch.setattr(engine, "faiss_module", lambda: None)
    with raises(InputError, index_folder(path), remedy="pip install"):
        found(path, vectors(0))


def test_two_updates_at_once_are_refused(store):
    from pipeline.errors import StoreLockedError
    from pipeline.store.locks import WriterLock

    folder = update(store).folder
    lock = WriterLock(folder)
    try:
        with raises(StoreLockedError, folder, remedy="wait"):
            update(store)
    finally:
        lock.release()


def test_every_inset_has_a_code():
    assert code_frames(7, (), 1.0).tolist() == [1, 3, 5]
    assert code_frames(1, (), 1.0).tolist() == [0]
    assert code_frames(9, (1, 3), 1.0).tolist() == [1, 3, 5, 7]
    assert code_frames(8, (), 4.0).tolist() == [4]


def test_codes_join_the_global_descriptors():
    layout = standard_layout(9, lowpass=True, thumbnail=True, flip=True)
    rule = code_rule(layout, 4)
    assert rule.span == (9, 11)
    frame = np.zeros((1, 12, 4), np.float32)
    frame[0, 9, 0] = frame[0, 10, 1] = frame[0, 11, 2] = 1
    database = rule.database_codes(frame[:, 9:11])
    views = rule.query_codes(frame).codes
    assert views.shape == (1, 2, 8)  # as it is, and mirrored
    assert float(views[0, 0] @ database[0]) == pytest.approx(1)
    assert float(views[0, 1] @ database[0]) == pytest.approx(1 / 1.5)  # the lowpass part alone
    assert rule.query_codes(frame[:, :11]).codes.shape == (1, 1, 8)  # stored without query views


def test_half_of_the_hubness_of_crops_is_taken_off():
    groups = [
        DescriptorGroup("regions", "regions", 9),
        DescriptorGroup("lowpass", "lowpass", 1),
        DescriptorGroup("thumbnail", "thumbnail", 1),
        DescriptorGroup("crops", "lowpass", 4, QueryAugmentation("crops", 0.5, 2)),
        DescriptorGroup("edges", "lowpass", 1, QueryAugmentation("edges", 2)),
    ]
    terms = [
        SimilarityTerm("regions", "regions", "mean"),
        SimilarityTerm("crops", "lowpass", "max", csls=0.8),
        SimilarityTerm("edges", "lowpass", "max", offset=-0.1),
    ]
    anchors = np.zeros((100, 4), np.float32)
    anchors[:, 3] = 1
    anchors[7] = [0, 0, 1, 0]  # one of a hundred is the nearest one that counts
    rule = code_rule(DescriptorLayout(groups, terms), 4, anchors)
    frame = np.zeros((1, 16, 4), np.float32)
    frame[0, :11, 0] = 1
    frame[0, 11:13, 1] = 1  # crops unlike all anchors
    frame[0, 13, 2] = frame[0, 14, 3] = 1  # crops like one anchor, and like almost all
    frame[0, 15, 3] = 1
    query = rule.query_codes(frame)
    taken_off = 0.5 * 0.8 / 1.5  # the lowpass descriptor has a weight of 1 of 1.5
    expected = [0, 0, 0, -taken_off, -taken_off, 0]
    np.testing.assert_allclose(query.offsets, [expected], atol=1e-6)
    database = rule.database_codes(frame[:, 9:11])
    quiet = QueryCodes(query.codes[:, 3:5], query.offsets[:, 3:5])
    other = np.zeros((1, 2, 4), np.float32)
    other[0, :, 2] = 1  # like the fourth view
    both = rule.stored(np.concatenate([database, rule.database_codes(other)]))
    found = engine.ExactCodes(both, np.arange(2)).scores(quiet, 2).scores
    np.testing.assert_allclose(found, [-taken_off, 1 / 1.5 - taken_off], atol=0.01)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A store of 400 videos whose index has inverted lists."""
    pytest.importorskip("faiss")
    path = tmp_path_factory.mktemp("large") / "s.h5"
    features.fill(path, features.spec(DIGEST), videos(400))
    assert update(path, exact_codes=100).inverted
    return path


def test_inverted_lists_give_as_many_videos_as_are_asked_for(large, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "_NEIGHBOURS", (8, 8))
    monkeypatch.setattr(engine, "_PROBED_LISTS", 1)
    for count in (5, 60, 399, 1000):
        names = found(large, vectors(7), count)
        assert len(set(names)) == min(count, 400)
        assert names[0] == "v7"
    path = tmp_path / large.name
    shutil.copy(large, path)
    shutil.copytree(index_folder(large), index_folder(path))
    with open_writer(path) as writer:  # videos that are gone count for nothing
        for number in range(60):
            writer.remove(f"v{number}")
    assert len(found(path, vectors(77), 320)) == 320
    monkeypatch.setattr(engine, "_MOST_FOUND", 64)  # so few codes may be looked at
    assert 16 <= len(found(large, vectors(7), 399)) < 399


@pytest.mark.parametrize("inverted", [True, False])
def test_only_allowed_videos_are_named(large, inverted):
    with open_store(large) as opened:
        index = CandidateIndex(opened, RULE)
        if not inverted:  # codes of the store, compared one by one
            index._parts, index._rows = [], index._rows[:0]
            index._add(opened, np.arange(400))
        allowed = np.arange(400) % 8 == 3
        numbers, _ = index.candidates(vectors(11), 30, allowed=allowed)
    assert len(numbers) == 30
    assert numbers[0] == 11
    assert allowed[numbers].all()


def test_quantised_similarities_need_no_descriptors(large, monkeypatch):
    with open_store(large) as opened:
        index = CandidateIndex(opened, RULE)
        exact, _ = index.candidates(vectors(11), 5)
        monkeypatch.setattr(search, "read_codes", None)
        quantised, _ = index.candidates(vectors(11), 5, quantised=True)
    assert exact[0] == quantised[0] == 11


@pytest.mark.parametrize(
    ("given", "videos", "count"),
    [
        (100, 2875, 100),
        ("100", 50, 50),
        ("1%", 2875, 29),
        (0.5, 3, 2),
        ("0.1%", 10, 1),
        (1.0, 9, 9),
    ],
)
def test_a_number_or_a_share_of_candidates(given, videos, count):
    assert CandidateCount.parse(given).of(videos) == count


@pytest.mark.parametrize("given", [0, "0", -1, "many", "200%", 1.5, "", True, "nan", "0%"])
def test_other_numbers_of_candidates_are_refused(given):
    with raises(InputError, repr(given), remedy="100"):
        CandidateCount.parse(given)


def test_the_index_is_in_a_folder_of_its_own(store):
    assert update(store).folder == store.with_name(f"{store.name}.candidates")
    assert sorted(os.listdir(store.parent)) == [store.name, f"{store.name}.candidates"]
    with open_store(store) as opened:
        assert opened.verify() == []


def test_a_store_without_videos_has_an_empty_index(tmp_path):
    path = features.fill(tmp_path / "s.h5", features.spec(DIGEST), {})
    assert (update(path).videos, update(path).codes) == (0, 0)
    assert found(path, vectors(0)) == []
    features.fill(path, features.spec(DIGEST), videos(2))
    assert update(path).added == 2
    assert found(path, vectors(1))[0] == "v1"
