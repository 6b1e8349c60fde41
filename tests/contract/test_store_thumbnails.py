"""Pictures beside a store: they belong to the features that are stored, or are not shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import StoreError
from pipeline.records import SourceInfo
from pipeline.store import (
    Thumbnails,
    copy_store,
    create_or_append,
    open_store,
    open_writer,
    read_thumbnails,
    write_thumbnails,
)
from pipeline.store.thumbnails import thumbnail_folder
from tests import features
from tests.messages import raises

PICTURES = Thumbnails(np.array([0.0, 1.0, 2.5]), [b"\xff\xd8 one", b"", b"\xff\xd8\n three"])
IDS = ("a", "../b\udcff")


def fill(path: Path, ids=IDS, seed: int = 0) -> Path:
    with create_or_append(path, features.spec("ab" * 32), "float32") as writer:
        for number, video_id in enumerate(ids):
            video = writer.begin(video_id, SourceInfo("x.mp4"))
            video.append(features.region_vectors(3, [seed, number]), np.arange(3.0))
            video.finish()
            write_thumbnails(path, video_id, writer.checksum(video_id), PICTURES)
    return path


@pytest.fixture(params=["a.h5", "a.zarr"])
def store(request, tmp_path) -> Path:
    return fill(tmp_path / request.param)


def pictures_of(path: Path, video_id: str) -> list[bytes] | None:
    with open_store(path) as opened:
        if video_id not in opened:
            return None
        pack = read_thumbnails(path, video_id, opened.checksum(video_id))
    return None if pack is None else list(pack.pictures)


def test_they_are_read_as_they_were_written(store):
    for video_id in IDS:
        assert pictures_of(store, video_id) == PICTURES.pictures
    assert [PICTURES.at(second) for second in (-1, 0.6, 1.6, 1.8, 99)] == [
        PICTURES.pictures[i] for i in (0, 1, 1, 2, 2)
    ]
    assert thumbnail_folder(store).parent == store.parent
    with open_store(store) as opened:
        assert opened.verify() == []


def test_those_of_earlier_features_are_not_shown(store):
    """As after a process that was killed between the pictures and the features."""
    write_thumbnails(store, "a", "00000000", PICTURES)
    assert pictures_of(store, "a") is None
    assert pictures_of(store, IDS[1]) is not None


def test_a_copy_has_them_in_any_encoding(store, tmp_path):
    for name, dtype in (("b.zarr", None), ("c.h5", "int8")):
        copy_store(store, tmp_path / name, dtype=dtype)
        for video_id in IDS:
            assert pictures_of(tmp_path / name, video_id) == PICTURES.pictures


def test_what_is_removed_leaves_no_pictures(store):
    with open_writer(store) as writer:
        writer.remove("a")
        assert len(list(thumbnail_folder(store).iterdir())) == 2, "it is not committed yet"
    assert len(list(thumbnail_folder(store).iterdir())) == 1
    with open_writer(store) as writer:
        writer.remove(IDS[1])
    assert not thumbnail_folder(store).exists()


def test_one_removed_and_stored_again_keeps_its_new_pictures(store):
    with open_writer(store) as writer:
        writer.remove("a")
        video = writer.begin("a", SourceInfo("x.mp4"))
        video.append(features.region_vectors(3, 9), np.arange(3.0))
        video.finish()
        write_thumbnails(store, "a", writer.checksum("a"), PICTURES)
    assert pictures_of(store, "a") == PICTURES.pictures


@pytest.mark.parametrize("damage", [
    lambda b: b[:-1], lambda b: b[:20], lambda b: b"", lambda b: b + b"x", lambda b: b"[" * 99999,
    lambda b: b.replace(b'"bytes": [', b'"bytes": [-'), lambda b: b.replace(b"2.5", b'"x"'),
    lambda b: b.replace(b'"seconds": [0.0, ', b'"seconds": ['), lambda b: b"null\n",
])  # fmt: skip
def test_damaged_ones_are_none(store, damage):
    for path in thumbnail_folder(store).iterdir():
        path.write_bytes(damage(path.read_bytes()))
    assert pictures_of(store, "a") is None


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "a.h5.thumbnails").write_text("mine")
    with raises(StoreError, tmp_path / "a.h5.thumbnails", "cannot write"):
        write_thumbnails(tmp_path / "a.h5", "a", "00000000", PICTURES)
