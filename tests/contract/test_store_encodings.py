"""int8 and binary stores in both back ends: what is in the file, what readers get, conversion."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.errors import InputError, StoreError
from pipeline.quantization import ENCODINGS, as_float32, dequantize, quantize
from pipeline.records import Failure
from pipeline.store import copy_store, create_or_append, open_store
from pipeline.store.header import read_header
from pipeline.store.limits import Limits
from tests.contract.test_store import damage
from tests.messages import raises
from tests.store_helpers import SPEC, plain, plain_header, seconds_of, source_of, vectors_of

SMALL = ("int8", "binary")


@pytest.fixture(params=("h5", "zarr"))
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"store.{request.param}"


# Videos of more than a few frames are cut into chunks and copied in slabs.
SMALL_BUFFERS = Limits(buffer_bytes=40, chunk_bytes=40, slab_bytes=90)


def fill(path: Path, dtype: str, lengths: tuple[int, ...] = (5, 33)) -> None:
    """Videos "0", "1", ... appended in pieces."""
    with create_or_append(path, SPEC, dtype, limits=SMALL_BUFFERS) as writer:
        for seed, frames in enumerate(lengths):
            vectors, seconds = vectors_of(seed, frames, "float32"), seconds_of(frames)
            video = writer.begin(str(seed), source_of(seed))
            for start in range(0, frames, 4):
                video.append(vectors[start : start + 4], seconds[start : start + 4])
            video.finish(f"note {seed}")
        writer.fail(Failure("gone", "missing", "no such file", source_of(9)))


@pytest.mark.parametrize("dtype", SMALL)
def test_round_trip(path: Path, dtype: str) -> None:
    fill(path, dtype)
    kept = ENCODINGS[dtype]
    with open_store(path, SMALL_BUFFERS) as store:
        assert (store.encoding, store.dtype, store.format_version) == (dtype, kept, 2)
        assert (
            store.frame_bytes == SPEC.shared_descriptors * {"int8": SPEC.dims, "binary": 1}[dtype]
        )
        for seed, frames in enumerate((5, 33)):
            stored = quantize(vectors_of(seed, frames, "float32"), kept)
            back = dequantize(stored, SPEC.dims)
            np.testing.assert_array_equal(store.read_stored(str(seed)), stored)
            found = store.read(str(seed))
            np.testing.assert_array_equal(found.vectors, back)
            np.testing.assert_array_equal(found.seconds, seconds_of(frames))
            for cut in (slice(0, None), slice(3, 4), slice(1, 29), slice(-2, None)):
                found_part = store.read_vectors(str(seed), cut.start, cut.stop)
                np.testing.assert_array_equal(found_part, back[cut])
                np.testing.assert_array_equal(
                    store.read_stored(str(seed), cut.start, cut.stop), stored[cut]
                )
        out = np.empty((33, SPEC.shared_descriptors, SPEC.dims), np.float32)
        assert store.read_vectors("1", out=out) is out
        np.testing.assert_array_equal(out, back)
        raw = np.empty((33, *store.read_stored("1").shape[1:]), kept)
        assert store.read_stored("1", out=raw) is raw
        np.testing.assert_array_equal(raw, stored)
        for read, wrong in ((store.read_vectors, raw), (store.read_stored, out)):
            with pytest.raises(ValueError, match="expected C-contiguous"):
                read("1", out=wrong)
        assert store.verify() == []


@pytest.mark.parametrize("dtype", SMALL)
def test_plain_libraries_see_what_the_format_says(path: Path, dtype: str) -> None:
    """Decoded here by the words of docs/STORE.md, without this package."""
    fill(path, dtype)
    header = plain_header(path)
    assert (header["dtype"], header["format_version"]) == (dtype, 2)
    x = vectors_of(1, 33, "float32")
    stored, _ = plain(path)["1"]
    if dtype == "int8":
        assert stored.dtype == np.int8
        np.testing.assert_array_equal(
            stored, np.rint(127 * (x / np.abs(x).max(axis=2, keepdims=True)))
        )
    else:
        assert stored.dtype == np.uint8 and stored.shape == (33, 3, 1)
        bits = np.unpackbits(stored, axis=2, count=header["spec"]["dims"])
        np.testing.assert_array_equal(bits, x >= 0)


def test_stores_of_floats_are_as_they_were(path: Path) -> None:
    fill(path, "float16")
    assert (plain_header(path)["dtype"], plain_header(path)["format_version"]) == ("float16", 1)
    with open_store(path, SMALL_BUFFERS) as store:
        np.testing.assert_array_equal(store.read_vectors("0"), store.read_stored("0"))
        assert store.read("0").vectors.dtype == np.float16


def test_a_program_of_before_says_that_it_is_too_old(path: Path) -> None:
    fill(path, "int8")
    with raises(StoreError, path, "format version 2", "up to 1", remedy="upgrade"):
        read_header(plain_header(path), str(path), newest=1)


@pytest.mark.parametrize("dtype", SMALL)
def test_going_on_with_the_stores_own_dtype(path: Path, dtype: str) -> None:
    fill(path, dtype, (5,))
    with create_or_append(path, SPEC, None, limits=SMALL_BUFFERS) as writer:
        video = writer.begin("later", source_of(3))
        video.append(vectors_of(3, 2), seconds_of(2))
        with raises(StoreError, path, "not finite"):
            video.append(
                np.full((1, SPEC.shared_descriptors, SPEC.dims), np.nan), seconds_of(3)[2:]
            )
        with pytest.raises(StoreError, match="expected"):
            video.append_stored(np.zeros((1, SPEC.shared_descriptors, 99), writer.dtype), [9])
        with raises(StoreError, path, "float64", "expected"):
            video.append_stored(np.zeros((1, *writer.header.row_shape)), [9])
        video.finish()
    with open_store(path, SMALL_BUFFERS) as store:
        assert store.encoding == dtype and store.ids == ["0", "later"]
        assert store.verify() == []
    with raises(StoreError, path, dtype, "float16"):
        create_or_append(path, SPEC, "float16")


@pytest.mark.parametrize("dtype", SMALL)
def test_a_flipped_bit_is_found(path: Path, dtype: str) -> None:
    fill(path, dtype)
    damage(path, quantize(vectors_of(1, 33, "float32"), ENCODINGS[dtype]).tobytes()[:30])
    with open_store(path, SMALL_BUFFERS) as store:
        assert store.verify() == ["1: the checksum does not fit"]
        with raises(StoreError, path, "checksum"):
            store.read("1")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["h5", "zarr"])
@pytest.mark.parametrize(
    "before, after",
    [("float32", "int8"), ("float16", "int8"), ("float16", "binary"), ("int8", "binary"),
     ("float32", "float16"), ("int8", None), ("binary", None)],
)  # fmt: skip
def test_conversion(path: Path, kind: str, before: str, after: str | None, tmp_path: Path) -> None:
    fill(path, before)
    target = tmp_path / f"converted.{kind}"
    assert copy_store(path, target, dtype=after, limits=SMALL_BUFFERS) == 2
    assert copy_store(path, target, dtype=after, limits=SMALL_BUFFERS) == 0
    with open_store(path, SMALL_BUFFERS) as old, open_store(target) as new:
        assert new.encoding == (after or before)
        for video_id in old:
            want = old.read_stored(video_id)
            if after:
                want = quantize(old.read_vectors(video_id), ENCODINGS[after])
            np.testing.assert_array_equal(new.read_stored(video_id), want)
            np.testing.assert_array_equal(new.seconds(video_id), old.seconds(video_id))
            assert new.record(video_id) == old.record(video_id)
        assert new.failures == old.failures and new.verify() == []


def test_conversion_goes_on_and_refuses(path: Path, tmp_path: Path) -> None:
    fill(path, "float16")
    target = tmp_path / f"small{path.suffix}"
    fill(target, "int8", (6,))  # another video "0"
    with raises(StoreError, target, "another video '0'"):
        copy_store(path, target, dtype="int8", limits=SMALL_BUFFERS)
    with raises(StoreError, target, "holds int8", "float16", remedy="dtype int8"):
        copy_store(path, target)
    for finer in ("float16", "float32"):
        with raises(InputError, target, "int8", finer):
            copy_store(target, tmp_path / "finer.h5", dtype=finer)
    assert not (tmp_path / "finer.h5").exists()
    with raises(StoreError, "int4"):
        copy_store(path, tmp_path / "finer.h5", dtype="int4")


def test_a_damaged_video_is_not_converted(path: Path, tmp_path: Path) -> None:
    fill(path, "float16")
    damage(path, vectors_of(1, 33, "float32").astype(np.float16)[0].tobytes())
    target = tmp_path / "small.zarr"
    with raises(StoreError, path, "video '1'", "damaged"):
        copy_store(path, target, dtype="binary")
    with open_store(target) as store:
        assert store.ids == ["0"]


def test_the_commands(path: Path, tmp_path: Path) -> None:
    fill(path, "float16")
    target = tmp_path / f"small{path.suffix}"

    def run(*arguments: object, code: int = 0) -> str:
        result = CliRunner().invoke(main, [str(a) for a in arguments])
        assert result.exit_code == code, result.output
        return result.output

    assert "2 videos copied" in run("copy", path, target, "--dtype", "binary")
    said = run("info", target)
    assert f"3 a frame, {SPEC.dims} values each, binary" in said and "format:       2" in said
    assert json.loads(run("info", "--json", target).splitlines()[0])["spec"]["dims"] == SPEC.dims
    assert "2 videos checked, 0 problems" in run("verify", target)
    assert "error: " in run("copy", target, tmp_path / "b.h5", "--dtype", "int8", code=2)


def test_every_half_float_becomes_the_same_single_float() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = every[np.isfinite(every)].reshape(2, -1)[:, ::2]  # not contiguous
    singles = as_float32(halves)
    assert singles.dtype == np.float32
    np.testing.assert_array_equal(singles.view(np.uint32), halves.astype("f4").view(np.uint32))
