"""What a feature store costs: opening it, streaming it, writing it, and whether to compress it.

Every figure of speed stands beside the raw file's in the same run. Tables to standard output:

    python benchmarks/performance/store.py open FOLDER --videos 100000
    python benchmarks/performance/store.py stream FOLDER --videos 1000
    python benchmarks/performance/store.py compression

FOLDER gets the temporary stores; they are deleted afterwards.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipeline.records import FeatureSpec, SourceInfo
from pipeline.store import create_or_append, open_store

KINDS = ("h5", "zarr")
SOURCE = SourceInfo("/videos/a folder/name.mp4", 123456789, 10**18, "h264", 1920, 1080, 29.97, 60.0)


def spec(regions: int, dims: int) -> FeatureSpec:
    return FeatureSpec("bench", "0" * 64, regions, dims, 1.0, 256, 224, "bicubic", "timestamps-1")


def unit_vectors(frames: int, seed: int = 0) -> np.ndarray:
    """[frames, 9, 512] float16 in uniformly random directions, as whitening aims at."""
    vectors = np.random.default_rng(seed).standard_normal((frames, 9, 512)).astype(np.float32)
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float16)


def seconds_of(work: Callable[[], object], repeats: int = 1) -> float:
    """The shortest of some runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def fill(path: Path, videos: int, vectors: np.ndarray, every: int) -> None:
    times = np.arange(len(vectors), dtype=float)
    with create_or_append(path, spec(*vectors.shape[1:])) as writer:
        for number in range(videos):
            video = writer.begin(f"folder {number % 100}/video {number:07d}.mp4", SOURCE)
            video.append(vectors, times)
            video.finish()
            if number % every == every - 1:
                writer.commit()


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(p.stat().st_size for p in files if p.is_file())


def bench_open(folder: Path, kinds: list[str], videos: int) -> None:
    """Open, list and plan over many videos of one tiny frame."""
    for kind in kinds:
        path = folder / f"bench-open.{kind}"
        remove(path)
        write = seconds_of(lambda path=path: fill(path, videos, np.ones((1, 1, 4), "f2"), 500))

        def listing(path: Path = path) -> None:
            with open_store(path) as store:
                assert len(store.ids) == len(store.lengths) == videos and not store.failures

        read = seconds_of(listing, 3)
        append = seconds_of(lambda path=path: create_or_append(path, spec(1, 4)).close())
        print(
            f"{kind:5} {videos} videos: open and list {read:.2f} s, "
            f"open for writing {append:.2f} s, write {write / videos * 1e3:.2f} ms a video, "
            f"{size_of(path) / videos:.0f} bytes a video"
        )
        remove(path)


def bench_stream(folder: Path, kinds: list[str], videos: int, frames: int) -> None:
    """Write and read videos of `frames` frames, beside a raw file of the same bytes."""
    vectors = unit_vectors(frames)
    total = vectors.nbytes * videos
    raw = folder / "bench-raw"
    write = seconds_of(lambda: write_raw(raw, vectors, videos))
    read = seconds_of(lambda: read_raw(raw, vectors), 3)
    print(f"raw   write {total / write / 1e9:.2f} GB/s, read {total / read / 1e9:.2f} GB/s (warm)")
    raw.unlink()
    for kind in kinds:
        path = folder / f"bench-stream.{kind}"
        remove(path)
        write = seconds_of(lambda path=path: fill(path, videos, vectors, 20))
        with open_store(path) as store:
            out = np.empty_like(vectors)

            def stream(store=store, out=out) -> None:  # type: ignore[no-untyped-def]
                for video_id in store:
                    store.read_vectors(video_id, out=out)

            read = seconds_of(stream, 3)
            verify = seconds_of(store.verify)
        plain = seconds_of(lambda path=path, out=out: read_plain(path, out))
        print(
            f"{kind:5} write {total / write / 1e9:.2f} GB/s "
            f"({write / videos * 1e3:.1f} ms a video), read {total / read / 1e9:.2f} GB/s, "
            f"verify {total / verify / 1e9:.2f} GB/s, "
            f"plain library {total / plain / 1e9:.2f} GB/s"
        )
        remove(path)


def write_raw(path: Path, vectors: np.ndarray, videos: int) -> None:
    with path.open("wb") as file:
        for number in range(videos):
            file.write(vectors.data)
            if number % 20 == 19:
                file.flush()
                os.fsync(file.fileno())


def read_raw(path: Path, vectors: np.ndarray) -> None:
    out = memoryview(np.empty_like(vectors).data).cast("B")
    with path.open("rb", buffering=0) as file:
        while file.readinto(out):
            pass


def read_plain(path: Path, out: np.ndarray) -> None:
    if path.is_dir():
        import zarr

        for _, array in zarr.open_group(path, mode="r")["features"].arrays():
            array[...]
        return
    import h5py

    with h5py.File(path, "r") as file:
        for dataset in file["features"].values():
            dataset.read_direct(out)


def bench_compression() -> None:
    """Compressors on whitened, L2-normalised float16 vectors, and checksums."""
    from numcodecs import Blosc

    data = unit_vectors(480).tobytes()
    print(f"{len(data) / 1e6:.0f} MB of unit vectors in random directions, float16")
    codecs = {"gzip 4": (lambda: zlib.compress(data, 4), zlib.decompress)}
    for name in ("zstd", "lz4"):
        for shuffle, mode in (("byte", Blosc.SHUFFLE), ("bit", Blosc.BITSHUFFLE)):
            codec = Blosc(name, 5, mode)
            pair = (lambda codec=codec: codec.encode(data), codec.decode)
            codecs[f"blosc {name}, {shuffle} shuffle"] = pair
    for name, (encode, decode) in codecs.items():
        packed = encode()
        pack, unpack = seconds_of(encode), seconds_of(lambda d=decode, p=packed: d(p))
        print(
            f"{name:25} {len(data) / len(packed):.3f}x smaller, "
            f"compress {len(data) / pack / 1e6:.0f} MB/s, "
            f"decompress {len(data) / unpack / 1e6:.0f} MB/s"
        )
    for name, check in (("crc32c", google_crc32c.value), ("zlib.crc32", zlib.crc32)):
        speed = len(data) / seconds_of(lambda c=check: c(data), 3) / 1e9
        print(f"{name:25} {speed:.1f} GB/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["open", "stream", "compression"])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("."))
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--kind", choices=KINDS, action="append", help="default: both")
    parser.add_argument("--frames", type=int, default=60)
    options = parser.parse_args()
    kinds = options.kind or list(KINDS)
    if options.what == "open":
        bench_open(options.folder, kinds, options.videos)
    elif options.what == "stream":
        bench_stream(options.folder, kinds, options.videos, options.frames)
    else:
        bench_compression()


if __name__ == "__main__":
    main()
