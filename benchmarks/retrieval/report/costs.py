"""What a method costs: processor time of hashing some files, and wall time of comparing."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import av

from benchmarks.retrieval.baselines.hash_cache import HashFile, attempt
from pipeline import extract_features
from pipeline.config import ExtractConfig

Result = TypeVar("Result")


def evenly(paths: Sequence[str], number: int) -> list[str]:
    """At most so many of the paths, evenly over the list."""
    number = min(number, len(paths))
    return [paths[i * len(paths) // number] for i in range(number)]


def seconds_of(path: str) -> float:
    """Length of a video as its container states it."""
    with av.open(path) as container:
        return (container.duration or 0) / av.time_base


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """What it returns, and the wall time in seconds."""
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began


def hashing_seconds(hash_file: HashFile, paths: Sequence[str]) -> float:
    """Processor time of hashing the files one after another, with the programs that it runs.

    A process of its own, so that nothing else is in the figure. The first file is hashed once
    before, so that imports are not counted.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_measure, hash_file, paths).result()


def network_seconds(paths: Sequence[str], model_dir: Path, config: ExtractConfig) -> float:
    """Processor time of stage one for the files, decoding processes included.

    Every run loads the model and traces it, which takes longer than a few files do. So the list
    is run through once and then four times over, and the difference is what three times cost.
    """
    once = _extraction(paths, 1, model_dir, config)
    return (_extraction(paths, 4, model_dir, config) - once) / 3


def _extraction(paths: Sequence[str], times: int, model_dir: Path, config: ExtractConfig) -> float:
    videos = {f"{i}_{n}": path for n in range(times) for i, path in enumerate(paths)}
    with tempfile.TemporaryDirectory() as folder:
        before = _used()
        extract_features(videos, Path(folder) / "store.h5", model_dir, config)
        return _used() - before


def _measure(hash_file: HashFile, paths: Sequence[str]) -> float:
    attempt(hash_file, paths[0])
    before = _used()
    for path in paths:
        attempt(hash_file, path)
    return _used() - before


def _used() -> float:
    """Processor seconds of this process and those it has waited for, user and system."""
    return sum(os.times()[:4])
