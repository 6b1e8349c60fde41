"""How long an `Index` takes for a search beside extracting the query: the first one and later ones.

    python -m benchmarks.performance.warm_search STORE QUERY... [--videos 1000] [--searches 5]
        [--folder FOLDER]

STORE is a store of real videos. Its videos are copied, every copy with other noise, until there are
`--videos` of them in a new store in FOLDER. Each QUERY is a video file, and the searches take turns
with them: give two or more, as a query that is searched for twice in a row is placed on the device
once. Prints of every search the seconds that it took without stage one, wall and processor time,
and what it found.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipeline import Index
from pipeline.extraction import run
from pipeline.store import create_or_append, open_store

NOISE = 0.05  # of each value of a copy; vectors have length 1 again


def enlarge(source: Path, target: Path, videos: int) -> Path:
    """A store of so many copies of another store's videos, each with noise of its own."""
    rng = np.random.default_rng(0)
    with open_store(source) as store, create_or_append(target, store.spec, "float16") as writer:
        for number in range(videos):
            video_id = store.ids[number % len(store)]
            record, features = store.record(video_id), store.read(video_id)
            shape = features.vectors.shape
            vectors = features.vectors + NOISE * rng.standard_normal(shape, np.float32)
            vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
            video = writer.begin(f"{number}/{video_id}", record.source)
            start = 0
            for inset, frames in enumerate((record.own_frames, *record.insets)):
                part = slice(start, start + frames)
                video.append(vectors[part], features.seconds[part], inset)
                start += frames
            video.finish()
    return target


class StageOne:
    """Stage one, and how long it took the last time, wall and processor time."""

    def __init__(self) -> None:
        self.seconds = self.processor = 0.0
        self._extract = run.extract_features

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        begin = time.perf_counter(), time.process_time()
        report = self._extract(*arguments, **named)
        self.seconds = time.perf_counter() - begin[0]
        self.processor = time.process_time() - begin[1]
        return report


def main(arguments: list[str] | None = None) -> None:
    """Make the store and search it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("queries", type=Path, nargs="+", metavar="query")
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--searches", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        store = enlarge(given.store, Path(folder) / "many.zarr", given.videos)
        stage_one = run.extract_features = StageOne()
        try:
            with Index.open(store) as index:
                for number in range(1, given.searches + 1):
                    begin = time.perf_counter(), time.process_time()
                    result = index.search(given.queries[number % len(given.queries)])
                    wall = time.perf_counter() - begin[0] - stage_one.seconds
                    processor = time.process_time() - begin[1] - stage_one.processor
                    print(f"search {number}: {wall:.3f} s, processor {processor:.3f} s; {result}")
        finally:
            run.extract_features = stage_one._extract


if __name__ == "__main__":
    main()
