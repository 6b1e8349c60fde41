"""Hashes of many videos, computed in several processes and kept in files.

A run that was interrupted goes on with the part it was at; a file of another size or time of
change is hashed again.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import zipfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from pipeline.atomic import atomic_write

HashFile = Callable[[str], np.ndarray]
Log = Callable[[str], None]

PART = 64  # videos whose hashes are kept in one file


def folder_name(hash_file: HashFile, package: str = "") -> str:
    """Of the function, the package's version, and what the function tells it."""
    told = hashlib.sha256(inspect.getsource(hash_file).encode()).hexdigest()[:8]
    version = f"-{metadata.version(package)}" if package else ""
    return f"{hash_file.__name__.removesuffix('_of_file')}{version}-{told}"


def hashes_of(
    paths: Sequence[str],
    hash_file: HashFile,
    folder: Path,
    workers: int,
    log: Log,
) -> list[np.ndarray]:
    """One array [T, C] a video; [0, C] if the tool could not hash it.

    Args:
        paths: video files.
        hash_file: path -> [T, C], defined at the top of a module.
        folder: where the hashes are kept; made if it does not exist.
        workers: processes; 0 works in this one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hashes: list[np.ndarray] = []
    errors: list[str] = []
    with _pool(workers) as pool:
        for first in range(0, len(paths), PART):
            some = paths[first : first + PART]
            kept = folder / f"{first:06d}.npz"
            known = _read(kept, some)
            if known is None:
                run: Iterable = pool.map if pool else map
                results = list(run(partial(attempt, hash_file), some))  # type: ignore[operator]
                _write(kept, some, results)
                log(f"{folder.name}: {first + len(some)} of {len(paths)} videos")
                known = results
            hashes += [values for values, _ in known]
            errors += [error for _, error in known if error]
    if errors:
        log(f"{folder.name}: {len(errors)} of {len(paths)} videos not hashed: {errors[0]}")
    width = max((values.shape[1] for values in hashes), default=0)
    return [values if len(values) else np.empty((0, width), values.dtype) for values in hashes]


def attempt(hash_file: HashFile, path: str) -> tuple[np.ndarray, str]:
    """The hash, and why there is none."""
    try:
        return hash_file(path), ""
    except Exception as error:  # whatever other people's code raises on one video
        return np.empty((0, 0), np.uint8), f"{path}: {type(error).__name__}: {error}"


class _Here:
    """Stands in for a pool: no processes."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        pass


def _pool(workers: int) -> Executor | _Here:
    return ProcessPoolExecutor(workers, get_context("spawn")) if workers else _Here()


def _stamps(paths: Sequence[str]) -> list[str]:
    states = [os.stat(path) for path in paths]
    return [f"{p}\t{s.st_size}\t{s.st_mtime_ns}" for p, s in zip(paths, states, strict=True)]


def _write(file: Path, paths: Sequence[str], results: list[tuple[np.ndarray, str]]) -> None:
    lengths = [len(values) for values, _ in results]
    full = [values for values, _ in results if len(values)] or [np.empty((0, 0), np.uint8)]
    with atomic_write(file) as stream:
        np.savez(
            stream,
            stamps=np.array(_stamps(paths)),
            errors=np.array([error for _, error in results]),
            lengths=np.array(lengths),
            values=np.concatenate(full),
        )


def _read(file: Path, paths: Sequence[str]) -> list[tuple[np.ndarray, str]] | None:
    """What is kept of just these files; None if there is nothing, or something older."""
    try:
        with np.load(file) as data:
            if data["stamps"].tolist() != _stamps(paths):
                return None
            values = np.split(data["values"], np.cumsum(data["lengths"])[:-1])
            return list(zip(values, data["errors"].tolist(), strict=True))
    except (FileNotFoundError, ValueError, KeyError, zipfile.BadZipFile):
        return None
