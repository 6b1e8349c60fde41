"""Published feature files: read as a store, imported, exported; hostile ones cost a message."""

from __future__ import annotations

import random

import h5py
import numpy as np
import pytest

from pipeline.errors import InputError, StoreError
from pipeline.records import PUBLISHED_FEATURES, published_digest
from pipeline.store import create_or_append, open_store
from pipeline.store.feature_files import export_features, import_features
from pipeline.store.published_layout import published_spec
from pipeline.video.sampling import SAMPLING
from tests.command import run
from tests.features import region_vectors
from tests.messages import assert_output, raises
from tests.store_helpers import source_of

pytestmark = pytest.mark.slow  # the HDF5 library has a process of its own
IDS = ["1/1_1_Y", "1/1_2_Y", "2/2_1_Y", "-m4jjFPu0", "--1OMs2mxPE", "ünïcode id.mp4"]


def vectors(frames, seed):
    return region_vectors(frames, seed, 512)


def write(path, videos):
    """As the published files are: gzip, no attributes, ids with a slash in nested groups."""
    with h5py.File(path, "w") as file:
        for video_id, values in videos.items():
            file.create_dataset(
                video_id, data=values, dtype="f", compression="gzip", compression_opts=9
            )
    return path


@pytest.fixture(scope="module")
def videos():
    return {video_id: vectors(2 + seed, seed) for seed, video_id in enumerate(IDS)}


@pytest.fixture(scope="module")
def published(videos, tmp_path_factory):
    return write(tmp_path_factory.mktemp("published") / "features.hdf5", videos)


def test_the_names_stand_for_what_extraction_would_give():
    spec = published_spec("dns")
    assert spec.sampling == SAMPLING
    assert spec.digest == published_digest("dns")
    assert (spec.descriptors, spec.dims, spec.fps) == (9, 512, 1.0)
    assert PUBLISHED_FEATURES == ("dns",)
    with raises(InputError, "vgg", remedy="dns"):
        published_spec("vgg")


def test_a_published_file_is_a_store(published, videos):
    with open_store(published, published="dns") as store:
        assert set(store.ids) == set(IDS)
        for video_id, values in videos.items():
            features = store.read(video_id)
            assert np.array_equal(features.vectors, values)
            assert features.seconds.tolist() == list(range(len(values)))
            assert np.array_equal(store.read_vectors(video_id, 1, 2), values[1:2])
        assert store.lengths.sum() == sum(map(len, videos.values()))
        assert store.verify() == []
        assert store.spec == published_spec("dns")


def test_without_a_name_it_is_refused(published):
    with raises(StoreError, published, remedy="--as"):
        open_store(published)


def test_a_store_of_this_program_stays_one(tmp_path):
    path = tmp_path / "own.hdf5"
    with create_or_append(path, published_spec("dns")) as writer:
        video = writer.begin("a", source_of(0))
        video.append(vectors(2, 0), np.arange(2))
        video.finish()
    with open_store(path, published="dns") as store:
        assert store.checksum("a")
    path.write_bytes(path.read_bytes()[:-64])
    with raises(StoreError, path):
        open_store(path, published="dns")


def damage(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


def external(file):
    file.create_dataset("bad", (4, 9, 512), "f4", external=[("/etc/passwd", 0, 4 * 9 * 512 * 4)])


def virtual(file):
    layout = h5py.VirtualLayout((4, 9, 512), "f4")
    layout[:2] = h5py.VirtualSource("other.h5", "x", (2, 9, 512))
    file.create_virtual_dataset("bad", layout)


@pytest.mark.parametrize("change", [
    external,
    virtual,
    lambda file: file.create_dataset("bad", data=np.zeros((4, 9, 16), "f4")),
    lambda file: file.create_dataset("bad", data=np.zeros((4, 9, 512), "i4")),
    lambda file: file.create_dataset("bad", data=np.zeros((0, 9, 512), "f4")),
    lambda file: file.create_dataset("bad", data="text"),
], ids=["external", "virtual", "dims", "type", "empty", "scalar"])  # fmt: skip
def test_a_dataset_of_another_form_is_a_failed_video(tmp_path, change):
    path = write(tmp_path / "f.hdf5", {"good": vectors(2, 0)})
    damage(path, change)
    with open_store(path, published="dns") as store:
        assert store.ids == ["good"]
        assert list(store.failures) == ["bad"]
    report = import_features(path, tmp_path / "s.h5", "dns")
    assert (report.imported, [f.id for f in report.failures]) == (1, ["bad"])


def test_links_lead_nowhere(tmp_path, published):
    path = write(tmp_path / "f.hdf5", {"good": vectors(2, 0)})

    def link(file):
        file["soft"] = h5py.SoftLink("/good")
        file["other"] = h5py.ExternalLink(str(published), "-m4jjFPu0")
        file["loop"] = file["/"]

    damage(path, link)
    with open_store(path, published="dns") as store:
        assert store.ids == ["good"]


def test_a_video_that_cannot_be_unpacked_costs_that_video(tmp_path):
    path = write(tmp_path / "f.hdf5", {"a": vectors(3, 0), "b": vectors(3, 1), "c": vectors(3, 2)})
    with h5py.File(path) as file:
        chunk = file["b"].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset + 10 : chunk.byte_offset + 200] = bytes(190)
    path.write_bytes(data)
    report = import_features(path, tmp_path / "s.zarr", "dns")
    assert (report.imported, [f.id for f in report.failures]) == (2, ["b"])
    with open_store(tmp_path / "s.zarr") as store:
        assert store.ids == ["a", "c"]
        assert store.failures["b"].reason == "broken"


def test_values_that_are_no_numbers_cost_that_video(tmp_path):
    values = vectors(2, 0)
    values[1, 3, 7] = np.nan
    path = write(tmp_path / "f.hdf5", {"a": values, "b": vectors(2, 1)})
    report = import_features(path, tmp_path / "s.h5", "dns")
    assert (report.imported, [f.id for f in report.failures]) == (1, ["a"])


def test_damaged_files_end_in_a_message(tmp_path, published):
    """Whatever the HDF5 library does, this process gets values, or an error that names the file."""
    original, seen = published.read_bytes(), set()
    dice = random.Random(5)
    for number in range(25):
        data = bytearray(original)
        for _ in range(dice.choice([1, 3, 20])):
            at = dice.randrange(min(len(data), dice.choice([100, 4096, len(data)])))
            data[at : at + 8] = dice.choice([bytes(8), b"\xff" * 8, dice.randbytes(8)])
        path = tmp_path / f"{number}.hdf5"
        path.write_bytes(data[: len(original)])
        try:
            with open_store(path, published="dns") as store:
                for video_id in store.ids:
                    try:
                        store.read_stored(video_id)
                        seen.add("read")
                    except StoreError as error:
                        assert str(path) in str(error)
                        seen.add("video")
        except StoreError as error:
            assert str(path) in str(error)
            seen.add("file")
    assert seen == {"read", "video", "file"}


def test_import_goes_on_where_it_was_stopped(tmp_path, published, videos):
    target = tmp_path / "s.h5"
    few = write(tmp_path / "few.hdf5", {IDS[0]: videos[IDS[0]]})
    assert import_features(few, target, "dns", dtype="float32").imported == 1
    report = import_features(published, target, "dns")
    assert (report.imported, report.kept, report.failures) == (5, 1, [])
    with open_store(target) as store:
        assert store.spec == published_spec("dns")
        for video_id, values in videos.items():
            assert np.array_equal(store.read(video_id).vectors, values)
        assert store.verify() == []


def test_out_and_in_again_is_the_same(tmp_path, published, videos):
    store, again = tmp_path / "s.zarr", tmp_path / "again.hdf5"
    import_features(published, store, "dns", dtype="float32")
    assert export_features(store, again) == len(IDS)
    with h5py.File(again) as file:
        for video_id, values in videos.items():
            dataset = file[video_id]
            assert (dataset.dtype, dataset.compression, len(dataset.attrs)) == ("<f4", "gzip", 0)
            assert np.array_equal(dataset[:], values)
    with raises(InputError, again, remedy="remove"):
        export_features(store, again)


def test_npz_out_and_in_again(tmp_path, published, videos):
    store, file, again = tmp_path / "s.h5", tmp_path / "f.npz", tmp_path / "again.h5"
    import_features(published, store, "dns", dtype="float32")
    export_features(store, file)
    with np.load(file) as arrays:
        assert sorted(arrays) == ["features", "timestamps", "video_ids"]
        assert arrays["features"].shape == (sum(map(len, videos.values())), 9 * 512)
        assert np.allclose(np.linalg.norm(arrays["features"], axis=1), 1, atol=1e-5)
    assert import_features(file, again, "dns", dtype="float32").imported == len(IDS)
    with open_store(again) as opened:
        for video_id, values in videos.items():
            features = opened.read(video_id)
            assert np.allclose(features.vectors, values, atol=1e-6)
            assert features.seconds.tolist() == list(range(len(values)))


@pytest.mark.parametrize("arrays", [
    {"video_ids": np.array(["a"]), "features": np.zeros((1, 4608), "f4")},
    {"video_ids": np.array(["a", "b"]), "features": np.zeros((1, 4608), "f4"),
     "timestamps": np.zeros(1)},
    {"video_ids": np.array([{}]), "features": np.zeros((1, 4608), "f4"), "timestamps": np.zeros(1)},
])  # fmt: skip
def test_another_npz_is_refused(tmp_path, arrays):
    path = tmp_path / "f.npz"
    np.savez(path, **arrays)
    with raises(InputError, path):
        import_features(path, tmp_path / "s.h5", "dns")


def test_ids_that_hdf5_has_no_names_for_are_refused(tmp_path):
    path = tmp_path / "s.h5"
    with create_or_append(path, published_spec("dns")) as writer:
        for video_id in ("a", "a/b"):
            video = writer.begin(video_id, source_of(0))
            video.append(vectors(1, 0), np.zeros(1))
            video.finish()
    with raises(InputError, path, "'a'", remedy="npz"):
        export_features(path, tmp_path / "f.hdf5")
    assert not (tmp_path / "f.hdf5").exists()


def test_the_commands(tmp_path, published):
    store = tmp_path / "s.h5"
    output = run("import-features", published, store, "--as", "dns")
    assert_output(output, store, "6 videos imported")
    assert_output(run("import-features", published, store, "--as", "dns"), "6 were there already")
    assert_output(run("export-features", store, tmp_path / "f.npz"), "f.npz", "6 videos")
    assert_output(run("import-features", published, store, "--as", "x", code=2), "dns")
    bad = tmp_path / "bad.hdf5"
    bad.write_bytes(b"no HDF5")
    assert_output(run("import-features", bad, store, "--as", "dns", code=1), bad)


def test_ten_thousand_ids(tmp_path):
    """Short videos, so that the file stays small; ids of all kinds."""
    kinds = ("{0}/{0}_{1}_Y", "-{1:010d}", "{1:019d}.mp4")
    ids = [kinds[n % 3].format(n % 24, n) for n in range(10_000)]
    rows = np.zeros((8, 1, 9, 512), np.float32)
    rows[np.arange(8), 0, :, np.arange(8)] = 1
    path = write(tmp_path / "f.hdf5", {i: rows[n % 8] for n, i in enumerate(ids)})
    with open_store(path, published="dns") as store:
        assert set(store.ids) == set(ids)
        for number in range(0, 10_000, 997):
            assert np.array_equal(store.read(ids[number]).vectors, rows[number % 8])
    # What an import does for a video takes most of the time; a tenth has ids of all kinds, too.
    some = ids[:1000]
    path = write(tmp_path / "some.hdf5", {i: rows[n % 8] for n, i in enumerate(some)})
    report = import_features(path, tmp_path / "s.h5", "dns")
    assert (report.imported, report.failures) == (1000, [])
    with open_store(tmp_path / "s.h5") as store:
        assert set(store.ids) == set(some)
        assert np.array_equal(store.read(some[424]).vectors, rows[424 % 8])
