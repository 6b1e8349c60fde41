"""Lists of a benchmark's videos for `extract`: ids, and the files that belong to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    wanted = {*queries, *database}
    whole_folder = name == "VSC2022"  # its truth names only the videos that have a copy
    files = _files_by_id(
        Path(videos),
        pattern,
        lambda i: i in wanted or (whole_folder and _VSC.fullmatch(i) is not None),
    )
    if whole_folder:
        queries = sorted({*queries, *(i for i in files if i[0] == "Q")})
        database = sorted({*database, *(i for i in files if i[0] == "R")})
    missing = dict.fromkeys(i for i in (*queries, *database) if i not in files)
    return BenchmarkLists(
        name,
        {i: files[i] for i in queries if i in files},
        {i: files[i] for i in database if i in files},
        list(missing),
    )


def _files_by_id(
    folder: Path, pattern: str | None, wanted: Callable[[str], bool]
) -> dict[str, Path]:
    """Of two files with the same id the first one counts, in the order of their paths."""
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder; give the one with the videos as --videos")
    files: dict[str, Path] = {}
    ids = _names if pattern is None else _Pattern.of(pattern).ids
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        for video_id in filter(wanted, ids(path.relative_to(folder).as_posix())):
            files.setdefault(video_id, path)
    return files


def _names(below: str) -> Iterable[str]:
    """A path and its name, with the extension and without."""
    path = PurePosixPath(below)
    return [below, str(path.with_suffix("")), path.name, path.stem]


@dataclass(frozen=True)
class _Pattern:
    """What stands before an id and behind it."""

    before: re.Pattern[str]
    behind: re.Pattern[str]

    @classmethod
    def of(cls, pattern: str) -> _Pattern:
        if pattern.count("{id}") != 1:
            raise InputError(f'--pattern {pattern!r} must hold {{id}} once, as in "*/{{id}}.mp4"')
        before, behind = ("[^/]*".join(map(re.escape, p.split("*"))) for p in pattern.split("{id}"))
        return cls(re.compile(before), re.compile(behind))

    def ids(self, below: str) -> Iterable[str]:
        """All texts that may be the id: an id, too, may hold what stands before one."""
        places = range(len(below) + 1)
        starts = [i for i in places if self.before.fullmatch(below, 0, i)]
        ends = [i for i in places if self.behind.fullmatch(below, i)]
        return [below[i:j] for i in starts for j in ends if i < j]
