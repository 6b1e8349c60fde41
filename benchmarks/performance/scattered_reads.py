"""Reads the features of candidates that lie scattered in a large store, cold and warm.

    python -m benchmarks.performance.scattered_reads make FOLDER STORE [--videos 100000]
    python -m benchmarks.performance.scattered_reads read FOLDER [--repeats 5]

`make` writes an `.h5` and a `.zarr` store of so many videos of a minute, each video with a place of
its own. Only the videos that `read` asks for are written, `GROUPS` times 100 at random; the places
of the others are a hole in the file, or files that are not there. So the distances in the file are
true ones, and the disk is not filled; where the file system puts what is written is its own
affair. `read` reads each group by the read plan of a search, without the network: cold, after the
system was told to forget the files (`POSIX_FADV_DONTNEED`; folders stay known to it), then warm.
`plain` reads one video after the other, `plan` tells the system beforehand what a block needs.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.performance.candidates import GROUP, SECONDS, append_to_manifest
from pipeline.records import SourceInfo, VideoRecord
from pipeline.search.limits import Limits
from pipeline.search.read_plan import COMPARATOR, plan_reads
from pipeline.search.reader import BlockReader
from pipeline.search.video_set import VideoSet
from pipeline.store import create_or_append, disk, open_store
from pipeline.store.manifest import close_group, put_line
from pipeline.store.seal import Seal, whole_file

GROUPS, CANDIDATES = 6, 100
_BLOCK_MB = 32


def wanted_videos(videos: int) -> np.ndarray:
    """Numbers of the videos that are read, [GROUPS, CANDIDATES], those of a group ascending."""
    rng = np.random.default_rng(0)
    chosen = rng.choice(videos, (GROUPS, CANDIDATES), replace=False)
    return np.sort(chosen, axis=1)


def make(folder: Path, source: Path, videos: int) -> None:
    """Write both stores."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = np.sort(wanted_videos(videos).reshape(-1))
    with open_store(source) as store:
        ids = [i for i in store.ids if store.record(i).own_frames >= SECONDS // 4]
        minutes = []
        for number in range(len(wanted)):
            parts = [
                store.read_vectors(ids[(number + n) % len(ids)], 0, SECONDS // 4) for n in range(4)
            ]
            minutes.append(np.concatenate(parts).astype(np.float16))
        _make_hdf5(folder / "scattered.h5", store.spec, videos, wanted, minutes)
        _make_zarr(folder / "scattered.zarr", store.spec, videos, wanted, minutes)


def _write(writer: Any, number: int, vectors: np.ndarray) -> None:
    video = writer.begin(f"video_{number:08d}", SourceInfo(f"/archive/{number}.mp4"))
    video.append(vectors, np.arange(SECONDS, dtype=np.float64))
    video.finish()


def _make_hdf5(
    path: Path, spec: Any, videos: int, wanted: np.ndarray, minutes: list[np.ndarray]
) -> None:
    import h5py

    path.unlink(missing_ok=True)
    # Each wanted video is stored once, for its times and checksum; then a place for each video.
    with create_or_append(path, spec, "float16") as writer:
        for number, vectors in zip(wanted.tolist(), minutes, strict=True):
            _write(writer, number, vectors)
    with h5py.File(path, "r+") as file:
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        shape = (videos * SECONDS, *minutes[0].shape[1:])
        space = h5py.h5s.create_simple(shape)
        kind = h5py.h5t.py_create(np.dtype("<f2"))
        places = h5py.h5d.create(file["features"].id, b"places", kind, space, settings)
        first = places.get_offset()
    size = minutes[0].nbytes
    fd = os.open(path, os.O_RDWR)
    for number, vectors in zip(wanted.tolist(), minutes, strict=True):
        os.pwrite(fd, vectors.tobytes(), first + number * size)
        os.fsync(fd)  # else the file system puts them side by side
    os.close(fd)
    with open_store(path) as store:
        entries = [store._entry(video_id) for video_id in store.ids]
    stored = dict(zip(wanted.tolist(), entries, strict=True))
    append_to_manifest(
        path,
        [
            put_line(
                VideoRecord(f"video_{n:08d}", SECONDS, SourceInfo(f"/archive/{n}.mp4", 1, 1)),
                f"v{n}",
                SECONDS,
                stored.get(n, entries[0]).crc32c,
                (first + n * size, stored.get(n, entries[0]).at[1]),
            )
            for n in range(videos)
        ],
    )


def _make_zarr(
    path: Path, spec: Any, videos: int, wanted: np.ndarray, minutes: list[np.ndarray]
) -> None:
    import shutil

    shutil.rmtree(path, ignore_errors=True)
    with create_or_append(path, spec, "float16") as writer:
        for number, vectors in zip(wanted.tolist(), minutes, strict=True):
            _write(writer, number, vectors)
    absent = np.setdiff1d(np.arange(videos), wanted).tolist()
    seal: Seal
    with open_store(path) as store:
        seal = store.seal
    log = bytearray()
    for start in range(0, len(absent), GROUP):
        lines = [
            put_line(
                VideoRecord(f"video_{n:08d}", SECONDS, SourceInfo(f"/archive/{n}.mp4", 1, 1)),
                f"v{n}",
                SECONDS,
                "00000000",
                (),
            )
            for n in absent[start : start + GROUP]
        ]
        log += close_group(lines)
        seal = seal.after(bytes(close_group(lines)))
    with open(path / "manifest" / "log.jsonl", "ab") as file:
        file.write(log)
    (path / "manifest" / "seal").write_bytes(whole_file(seal))


class _Counts:
    """Reads of the disk module, while `counted` holds."""

    def __init__(self) -> None:
        self.reads = self.bytes = self.told = 0


@contextmanager
def counted(plan: bool) -> Iterator[_Counts]:
    """Count reads, and what the system is told beforehand; without `plan` it is told nothing."""
    counts = _Counts()
    read, advise = disk._preadv, os.posix_fadvise

    def count_read(fd: int, view: memoryview, offset: int) -> int:
        done = read(fd, view, offset)
        counts.reads += 1
        counts.bytes += done
        return done

    def count_advice(fd: int, offset: int, size: int, advice: int) -> None:
        if plan:
            counts.told += 1
            advise(fd, offset, size, advice)

    disk._preadv, os.posix_fadvise = count_read, count_advice
    try:
        yield counts
    finally:
        disk._preadv, os.posix_fadvise = read, advise


def forget(path: Path) -> None:
    """Tell the system to drop what it holds of a store's features."""
    files = [path] if path.is_file() else list((path / "features").glob("*/c.*"))
    for file in files:
        fd = os.open(file, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def read(folder: Path, repeats: int) -> None:
    """Read groups of candidates, and tell reads, bytes and seconds."""
    for name in ("scattered.h5", "scattered.zarr"):
        with open_store(folder / name) as store:
            videos = VideoSet([store])
            number_of = {video_id: number for number, video_id in enumerate(videos.ids)}
            groups = wanted_videos(len(videos))
            for way in ("plain", "plan"):
                for state in ("cold", "warm"):
                    seconds = []
                    for group in groups[:repeats]:
                        numbers = sorted(number_of[f"video_{n:08d}"] for n in group.tolist())
                        if state == "cold":
                            forget(folder / name)
                        taken, counts = _read_group(videos, numbers, way == "plan")
                        seconds.append(taken)
                    print(
                        f"{name} {way} {state}: {counts.reads} reads, {counts.told} told before, "
                        f"{counts.bytes / 1e6:.1f} MB, {np.median(seconds):.3f} s "
                        f"({min(seconds):.3f} to {max(seconds):.3f})",
                        flush=True,
                    )


def _read_group(videos: VideoSet, numbers: list[int], plan: bool) -> tuple[float, _Counts]:
    chosen = videos.take(numbers)
    limits = Limits()
    frames = limits.database_block_frames(_BLOCK_MB, chosen.stores[0].frame_bytes)
    reads = plan_reads(chosen.lengths.tolist(), COMPARATOR, limits.piece_frames, frames)
    reader = BlockReader(chosen, reads, checksums=False)
    with counted(plan) as counts:
        begin = time.perf_counter()
        for _ in reader.read_all():
            pass
        taken = time.perf_counter() - begin
    if not chosen.sound.all():
        raise SystemExit(f"damaged: {chosen.damaged}")
    return taken, counts


def main(arguments: list[str] | None = None) -> None:
    """Make the stores, or read from them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("make", "read"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("store", type=Path, nargs="?")
    parser.add_argument("--videos", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args(arguments)
    if given.part == "make":
        make(given.folder, given.store, given.videos)
    else:
        read(given.folder, min(GROUPS, given.repeats))


if __name__ == "__main__":
    main()
