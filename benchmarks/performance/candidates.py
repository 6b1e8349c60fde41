"""A search among very many videos of a minute, with and without the candidate index.

    python -m benchmarks.performance.candidates make FOLDER STORE... [--videos 100000]
        [--minutes 1000]
    python -m benchmarks.performance.candidates index FOLDER [--noise 0.3]
    python -m benchmarks.performance.candidates rate FOLDER [--videos 20000]
    python -m benchmarks.performance.candidates search FOLDER [--candidates 100] [--queries 5]
    python -m benchmarks.performance.candidates duplicates FOLDER [--candidates 20] [--sample 0]
    python -m benchmarks.performance.candidates exhaustive FOLDER [--videos 2000]

`make` joins real videos of STOREs at random to `--minutes` different minutes, with all descriptors,
and lists each of them again and again under other ids until there are `--videos`: the descriptors
of a listed video are read as they would be from a store of that size, only from fewer places.
`index` makes the index; each listed video's codes are those of its minute with noise of its own
(`--noise`: its length beside a code of length 1, before scaling to length 1), so that no two videos
are the same. `rate` measures how fast codes are read from the store and added, without noise.
`search` takes 30 s of listed videos as queries: warm; one in a new process, twice, each time after
the system was told to forget store and index; and all in a new process.
`duplicates` needs a FOLDER that was made with as many `--videos` and `--minutes` (10,000), so that
few are alike; its index is made by `visil-index index`. With `--sample` only so many videos are
looked up and compared with their candidates.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np

from pipeline.candidates import CandidateCount, builder, code_rule, single_threads, update_index
from pipeline.candidates.file import index_folder
from pipeline.default_model import default_model_dir
from pipeline.nets.formats.loader import load_model
from pipeline.quantization import as_float32
from pipeline.records import SourceInfo, VideoRecord
from pipeline.store import FeatureStore, create_or_append, open_store
from pipeline.store.manifest import close_group, put_line
from pipeline.store.seal import Seal

SECONDS, QUERY_SECONDS = 60, 30
GROUP = 1000  # records in a commit
BANK = 1 << 14  # different noise vectors


def make(folder: Path, sources: Sequence[Path], videos: int, minutes: int) -> None:
    """Write the store, and one of queries."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "database.h5"
    path.unlink(missing_ok=True)
    rng = np.random.default_rng(0)
    opened = [open_store(source) for source in sources]
    spec = opened[0].spec
    clips = [(store, video_id) for store in opened for video_id in store.ids]
    with create_or_append(path, spec, "float16") as writer:
        for number in range(minutes):
            parts: list[np.ndarray] = []
            while sum(map(len, parts)) < SECONDS:
                store, video_id = clips[int(rng.integers(len(clips)))]
                own = store.record(video_id).own_frames
                parts.append(store.read_vectors(video_id, 0, own))
            video = writer.begin(f"minute_{number:06d}", SourceInfo(f"/{number}.mp4"))
            vectors = np.concatenate(parts)[:SECONDS]
            video.append(vectors, np.arange(SECONDS, dtype=np.float64))
            video.finish()
    _list_again(path, videos)
    print(f"{path}: {videos} videos listed, {path.stat().st_size / 1e9:.2f} GB")


def _list_again(path: Path, videos: int) -> None:
    """List the stored videos under more ids, until there are so many."""
    with open_store(path) as store:
        entries = [store._entry(video_id) for video_id in store.ids]
    lines = []
    for number in range(len(entries), videos):
        entry = entries[number % len(entries)]
        source = SourceInfo(f"/archive/part_{number % 97:02d}/video_{number:08d}.mp4", 1, 1)
        record = VideoRecord(f"part_{number % 97:02d}/video_{number:08d}.mp4", SECONDS, source)
        lines.append(put_line(record, f"k{number}", entry.rows, entry.crc32c, entry.at))
    append_to_manifest(path, lines)


def append_to_manifest(path: Path, lines: Sequence[str]) -> None:
    """Add records to an HDF5 store, as a writer would that had written their features."""
    with open_store(path) as store:
        seal = store.seal
    groups = []
    for start in range(0, len(lines), GROUP):
        groups.append(close_group(list(lines[start : start + GROUP])))
        seal = seal.after(groups[-1])
    added = np.frombuffer(b"".join(groups), np.uint8)
    with h5py.File(path, "r+") as file:
        manifest = file["manifest"]
        size = len(manifest)
        manifest.resize((size + len(added),))
        manifest[size:] = added
        manifest.attrs.modify("seal", np.array(astuple(Seal(*astuple(seal))), "<u8"))


class NoisyStore:
    """A store whose videos each have noise of their own on what codes are made of."""

    def __init__(self, store: FeatureStore, noise: float) -> None:
        self._store, self._noise = store, noise
        rng = np.random.default_rng(1)
        bank = rng.standard_normal((BANK, store.spec.dims)).astype(np.float32)
        self._bank = bank / np.linalg.norm(bank, axis=1, keepdims=True) * noise
        self._rng = np.random.default_rng(2)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def __len__(self) -> int:
        return len(self._store)

    def __iter__(self) -> Iterator[str]:
        return iter(self._store)

    def read_descriptors(self, *arguments: Any) -> np.ndarray:
        """As the store does, with noise: a code scales them to length 1 again."""
        vectors = as_float32(self._store.read_descriptors(*arguments))
        count = vectors.shape[0] * vectors.shape[1]
        first = int(self._rng.integers(BANK - count))
        vectors += self._bank[first : first + count].reshape(vectors.shape)
        return vectors


def index(folder: Path, noise: float) -> None:
    """Make the index with noise, and tell how large it is."""
    path = folder / "database.h5"
    begin = time.perf_counter(), time.process_time()
    with open_store(path) as store:
        print(f"opened after {time.perf_counter() - begin[0]:.1f} s", flush=True)
        rule = code_rule(load_model(default_model_dir()).layout, store.spec.dims)
        told = [time.monotonic()]

        def progress(done: int, total: int) -> None:
            if time.monotonic() - told[0] > 20:
                told[0] = time.monotonic()
                print(f"  {done} of {total} videos", flush=True)

        report = update_index(NoisyStore(store, noise), rule, progress=progress)  # type: ignore[arg-type]
    print(
        f"{report.videos} videos, {report.codes} codes, {report.bytes / 1e9:.2f} GB, inverted "
        f"{report.inverted}, {report.seconds:.0f} s, processor "
        f"{time.process_time() - begin[1]:.0f} s, memory "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB"
    )


def rate(folder: Path, videos: int) -> None:
    """How fast stored vectors become codes, and codes become an index, without noise."""
    from pipeline.candidates import engine

    with open_store(folder / "database.h5") as store, TemporaryDirectory(dir=folder) as temporary:
        rule = code_rule(load_model(default_model_dir()).layout, store.spec.dims)
        ids = store.ids[:videos]
        starts = range(0, len(ids), 128)
        begin = time.perf_counter(), time.process_time()
        codes = [len(builder.read_batch(store, rule, ids[at : at + 128])[0]) for at in starts]
        _rate("codes read by one thread", videos, sum(codes), begin)
        sample = np.concatenate(
            [builder.read_batch(store, rule, ids[at : at + 128])[0] for at in starts[:16]]
        )
        began: list[tuple[float, float]] = []

        def read(at: int) -> np.ndarray:
            began.append((time.perf_counter(), time.process_time()))
            return builder.read_batch(store, rule, ids[at : at + 128])[0]

        path, all_codes = Path(temporary) / "lists.faiss", 30 * 1_000_000
        batches = [partial(read, at) for at in starts]
        begin = time.perf_counter(), time.process_time()
        engine.build_inverted(sample, batches, all_codes, path, lambda _: None)
        _rate("codes read and added, training and writing included", videos, sum(codes), begin)
        _rate("codes read and added, training left out", videos, sum(codes), began[0])


def _rate(what: str, videos: int, codes: int, begin: tuple[float, float]) -> None:
    wall, processor = time.perf_counter() - begin[0], time.process_time() - begin[1]
    print(
        f"{what}: {videos / wall:.0f} videos a second ({codes / wall:.0f} codes), "
        f"{videos / processor:.0f} a second of processor time"
    )


def search(folder: Path, candidates: str, queries: int) -> None:
    """Search for the first half of listed videos: warm, then each in a process of its own."""
    from pipeline import Index

    path, query_path = folder / "database.h5", folder / "queries.h5"
    begin = time.perf_counter(), time.process_time()
    with Index.open(path) as opened:
        _took("opened", begin)
        numbers = np.linspace(0, len(opened) - 1, queries + 1).astype(int)[:-1]
        _write_queries(opened._database.stores[0], numbers, query_path)
        from pipeline.search.video_set import VideoSet
        from pipeline.workflow import VideoSource

        with open_store(query_path) as store:
            every = VideoSet([store])
            for video_id in every.ids:
                # What `Index.search` does once stage one is done.
                source = VideoSource(opened=every.subset([video_id]))
                opened._finder.listed = lambda _, chosen=source: chosen  # type: ignore[method-assign,misc]
                begin = time.perf_counter(), time.process_time()
                result = opened.search(video_id, candidates=candidates)
                best = [(m.database_id, round(m.score, 3)) for m in result.of(video_id)[:2]]
                _took(f"{video_id}: {best}", begin)
        one_path = folder / "query.h5"
        _write_queries(opened._database.stores[0], numbers[-1:], one_path)
    for asked in (one_path, one_path, query_path):
        if asked == one_path:
            _forget(path)
        begin = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "pipeline", "compare", "--query_store", str(asked)]
        command += ["--database_store", str(path), "--candidates", candidates, "--top_k", "10"]
        subprocess.run([*command, "-o", str(folder / "result.json")], check=True)
        used, before = resource.getrusage(resource.RUSAGE_CHILDREN), begin[1]
        processor = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
        gigabytes = (used.ru_inblock - before.ru_inblock) / 2e6  # a block has 512 bytes
        print(
            f"command, {len(json.loads((folder / 'result.json').read_text()))} queries: "
            f"{time.perf_counter() - begin[0]:.2f} s, processor {processor:.2f} s, memory "
            f"{used.ru_maxrss / 1e6:.2f} GB, read {gigabytes:.2f} GB"
        )


def _forget(store: Path) -> None:
    """Tell the system to drop what it holds of a store and of its index."""
    for file in (store, *index_folder(store).iterdir()):
        fd = os.open(file, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def _write_queries(store: FeatureStore, numbers: np.ndarray, path: Path) -> None:
    path.unlink(missing_ok=True)
    with create_or_append(path, store.spec, "float16") as writer:
        for number in numbers:
            vectors = store.read_vectors(store.ids[number], 0, QUERY_SECONDS)
            video = writer.begin(f"half of {store.ids[number]}", SourceInfo("/query.mp4"))
            video.append(vectors, np.arange(len(vectors), dtype=np.float64))
            video.finish()


def _took(what: str, begin: tuple[float, float]) -> None:
    wall, processor = time.perf_counter() - begin[0], time.process_time() - begin[1]
    print(f"{what}: {wall:.2f} s, processor {processor:.2f} s", flush=True)


def exhaustive(folder: Path, videos: int) -> None:
    """Seconds of a search without candidates in the first so many videos, for one query."""
    from pipeline import Index

    with Index.open(folder / "database.h5") as opened:
        part = opened._database.take(np.arange(videos))
        query = opened._database.take([videos // 2])
        from pipeline.search.request import SearchRequest
        from pipeline.search.run import find_matches

        for _ in range(2):
            begin = time.perf_counter(), time.process_time()
            find_matches(SearchRequest(query, part, opened._model))
            _took(f"one query of a minute, {videos} videos", begin)


def duplicates(folder: Path, candidates: str, sample: int) -> None:
    """Pairs within a store by candidates; or, of a sample of its videos, lookups and scores."""
    from pipeline.config import CompareConfig
    from pipeline.output.selection import Selection
    from pipeline.search.candidate_search import CandidateFinder
    from pipeline.search.collection_candidates import candidate_pairs
    from pipeline.search.engine import pair_scorer
    from pipeline.search.request import SearchRequest
    from pipeline.search.video_set import VideoSet

    with open_store(folder / "database.h5") as store:
        collection = VideoSet([store])
        model = load_model(default_model_dir())
        config = CompareConfig(similarity_function="max_chamfer")
        count = CandidateCount.parse(candidates)
        chosen = Selection(threshold=0.5)
        request = SearchRequest(
            collection, collection, model, config, selection=chosen, candidates=count
        )
        begin = time.perf_counter(), time.process_time()
        finder, scorer = CandidateFinder(collection, model), pair_scorer(request)
        _took("opened", begin)
        if sample:
            _sampled_duplicates(request, finder, scorer, sample)
            return
        told = [time.monotonic()]

        def progress(done: int, total: int) -> None:
            if time.monotonic() - told[0] > 20:
                told[0] = time.monotonic()
                _took(f"  {done / total:.1%}", begin)

        found = candidate_pairs(request, scorer, finder, progress=progress)
        _took(f"{found.compared} pairs compared, {len(found.scores)} above 0.5", begin)
    print(f"memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def _sampled_duplicates(request: Any, finder: Any, scorer: Any, sample: int) -> None:
    """Seconds of lookups and of scores, of evenly spaced videos."""
    from pipeline.search.candidate_search import score_row

    collection, pairs = request.database, 0
    videos = np.linspace(0, len(collection) - 1, sample).round().astype(int).tolist()
    count = request.candidates.of(len(collection)) + 1
    for part in (videos[:5], videos[5:]):  # the first ones also wait for what is compiled
        asked = [collection.take([video]).split_insets()[0] for video in part]
        begin = time.perf_counter(), time.process_time()
        with single_threads(finder.threads) as pool:
            columns = list(pool.map(lambda sequences: finder.columns(sequences, count), asked))
        _took(f"{len(part)} lookups", begin)
        begin = time.perf_counter(), time.process_time()
        for sequences, chosen in zip(asked, columns, strict=True):
            score_row(request, sequences, chosen, scorer)
        pairs = sum(map(len, columns))
        _took(f"{pairs} pairs scored", begin)


def main(arguments: list[str] | None = None) -> None:
    """Run one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "part", choices=("make", "index", "rate", "search", "exhaustive", "duplicates")
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("stores", type=Path, nargs="*")
    parser.add_argument("--videos", type=int)
    parser.add_argument("--minutes", type=int, default=1000)
    parser.add_argument("--noise", type=float, default=0.3)
    parser.add_argument("--candidates", default="")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--queries", type=int, default=5)
    given = parser.parse_args(arguments)
    if given.part == "make":
        make(given.folder, given.stores, given.videos or 100_000, given.minutes)
    elif given.part == "index":
        index(given.folder, given.noise)
    elif given.part == "rate":
        rate(given.folder, given.videos or 20_000)
    elif given.part == "search":
        search(given.folder, given.candidates or "100", given.queries)
    elif given.part == "exhaustive":
        exhaustive(given.folder, given.videos or 2000)
    else:
        duplicates(given.folder, given.candidates or "20", given.sample)


if __name__ == "__main__":
    main()
