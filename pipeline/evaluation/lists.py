"""Lists of a benchmark's videos for `extract`: ids, and the files that belong to them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import InputError
from . import read_annotation_files
from .benchmarks import benchmark

_VSC = re.compile(r"[QR]\d{6}")


@dataclass(frozen=True)
class BenchmarkLists:
    """Ids and paths of both sides.

    Attributes:
        name: of the benchmark.
        queries, database: path by id, in the order of the annotation.
        missing: ids without a file.
    """

    name: str
    queries: Mapping[str, Path]
    database: Mapping[str, Path]
    missing: Sequence[str]


def benchmark_lists(
    name: str, annotation: Sequence[str | Path], videos: str | Path, pattern: str | None = None
) -> BenchmarkLists:
    """Find the files of a benchmark's videos.

    Args:
        annotation: files, as for `evaluate`.
        videos: folder, searched with all folders in it.
        pattern: where an id stands in a path below `videos`, such as `"*/{id}.mp4"`; `*` is any
            text without a slash. None: the id is the path or the name of a file, with its
            extension or without.

    Raises:
        InputError: the folder or a file of the annotation cannot be used, or the pattern has no
            `{id}`.
    """
    name, chosen = benchmark(name)
    queries, database = chosen.videos(chosen.read(read_annotation_files(annotation)))
    files = _files_by_id(Path(videos), pattern)
    if name == "VSC2022":  # its truth names only the videos that have a copy
        found = sorted(i for i in files if _VSC.fullmatch(i))
        queries = sorted({*queries, *(i for i in found if i[0] == "Q")})
        database = sorted({*database, *(i for i in found if i[0] == "R")})
    missing = dict.fromkeys(i for i in (*queries, *database) if i not in files)
    return BenchmarkLists(
        name,
        {i: files[i] for i in queries if i in files},
        {i: files[i] for i in database if i in files},
        list(missing),
    )


def _files_by_id(folder: Path, pattern: str | None) -> dict[str, Path]:
    """Of two files with the same id the first one counts, in the order of their paths."""
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder; give the one with the videos as --videos")
    files: dict[str, Path] = {}
    expression = None if pattern is None else _expression(pattern)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        below = path.relative_to(folder).as_posix()
        for video_id in _ids(below, expression):
            files.setdefault(video_id, path)
    return files


def _ids(below: str, expression: re.Pattern[str] | None) -> Iterable[str]:
    if expression is not None:
        match = expression.fullmatch(below)
        return [match["id"]] if match else []
    path = PurePosixPath(below)
    return [below, str(path.with_suffix("")), path.name, path.stem]


def _expression(pattern: str) -> re.Pattern[str]:
    if pattern.count("{id}") != 1:
        raise InputError(f'--pattern {pattern!r} must hold {{id}} once, such as "*/{{id}}.mp4"')
    parts = {"*": "[^/]*", "{id}": "(?P<id>.+)"}
    pieces = re.split(r"(\*|\{id\})", pattern)
    return re.compile("".join(parts.get(piece, re.escape(piece)) for piece in pieces))
