"""RESULTS of any tool: scores of pairs, segments, or both."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import number, text
from ..errors import InputError
from .files import SourceFile, unique_keys

Box = tuple[float, float, float, float]  # query start, query end, reference start, reference end
_LARGE = 64  # numbers of a JSON object that is kept as an array
_FORMS = "see docs/BENCHMARKS.md for the forms of results"
TIMES = ("query_start", "query_end", "ref_start", "ref_end")


@dataclass(frozen=True)
class FoundSegment:
    """One predicted segment.

    Attributes:
        box: query start, query end, reference start, reference end in seconds.
        score: of the segment; 0 where the file has none.
    """

    box: Box
    score: float


@dataclass(frozen=True, eq=False)
class Row:
    """The scores of one query: [N] numbers of videos (see `Results.names`), [N] float64."""

    videos: np.ndarray
    scores: np.ndarray


@dataclass(eq=False)
class Results:
    """What one file of results holds, in the order of the file.

    Attributes:
        rows: scores by query id.
        names: ids of the database videos; a `Row` has places in it.
        segments: predicted segments by (query id, reference id), empty where none was found; None
            if the file has no segments.
        by_pair: predicted boxes by VCSL's name of the pair, "QUERY-REFERENCE"; None if the file is
            not of that form.
        limits: `top_k` and `threshold` that the file says it was written with.
        notes: what a reader of the figures should know of the file.
    """

    rows: dict[str, Row] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    segments: dict[tuple[str, str], list[FoundSegment]] | None = None
    by_pair: dict[str, list[Box]] | None = None
    limits: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    def add(self, query: str, videos: Sequence[str], scores: Sequence[float] | np.ndarray) -> None:
        """Add the scores of one query."""
        places = np.empty(len(videos), np.int32)
        known = self._places
        for i, video in enumerate(videos):
            place = known.get(video)
            if place is None:
                place = known[video] = len(self.names)
                self.names.append(video)
            places[i] = place
        self.rows[query] = Row(places, np.asarray(scores, np.float64))

    def mask(self, videos: Iterable[str]) -> np.ndarray:
        """[V] bool: which of `names` are among these ids."""
        result = np.zeros(len(self.names), bool)
        result[[self._places[v] for v in videos if v in self._places]] = True
        return result


def read_results(source: SourceFile) -> Results:
    """Read a file of results: JSON, JSON Lines or CSV, as `compare` or another tool wrote it.

    Forms: `{query: {video: score}}`; `{"info": ..., "matches": {query: {video: {"score",
    "segments"}}}}`; JSON Lines with `query_id`, `database_id`, `score` and perhaps `segments`; CSV
    with `query_id`, `ref_id`, `score` and perhaps times; VCSL's `{"query-reference": [[query
    start, reference start, query end, reference end], ...]}`.

    Raises:
        InputError: the file has none of these forms, or a score that is no finite number.
    """
    if source.suffix in (".parquet", ".npz"):
        raise InputError(
            f"{source.path}: {source.suffix[1:]} is not read here; write JSON or CSV instead"
        )
    readers = {".csv": _from_rows, ".jsonl": _from_lines, ".ndjson": _from_lines}
    try:
        results = readers.get(source.suffix, _from_json)(source)
    except ValueError as error:
        raise InputError(f"{error}; correct the file") from None
    _read_limits(results, source.path)
    return results


def _from_json(source: SourceFile) -> Results:
    results = Results()
    members = source.parsed(lambda: json.loads(source.text(), object_pairs_hook=_compact))
    if isinstance(members, _Numbers):
        members = members.as_dict()
    if not isinstance(members, dict):
        raise InputError(f"{source.path}: is no JSON object; {_FORMS}")
    if set(members) == {"info", "matches"}:
        results.limits = _limits(members["info"])
        results.segments = {}
        members = members["matches"]
        if not isinstance(members, dict):
            raise InputError(f"{source.path}: 'matches' is no object; {_FORMS}")
    elif members and all(isinstance(value, list) for value in members.values()):
        results.by_pair = {
            key: [_vcsl_box(f"{source.path}: {key!r}", box) for box in boxes]
            for key, boxes in members.items()
        }
        return results
    for query, matches in members.items():
        where = f"{source.path}: {query!r}"
        if isinstance(matches, _Numbers):
            _check_finite(where, matches)
            results.add(query, matches.keys, matches.values)
        elif not isinstance(matches, dict):
            raise InputError(f"{where} has neither scores nor segments; {_FORMS}")
        else:
            scores = [_score_of(results, where, (query, v), m) for v, m in matches.items()]
            results.add(query, list(matches), scores)
    return results


@dataclass(frozen=True, eq=False)
class _Numbers:
    """A JSON object of numbers; as a dict the scores of FIVR-200K would fill the memory."""

    keys: list[str]
    values: np.ndarray

    def as_dict(self) -> dict[str, float]:
        return dict(zip(self.keys, self.values.tolist(), strict=True))


def _compact(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Numbers:
    """For `object_pairs_hook`."""
    result = unique_keys(pairs)
    if len(result) < _LARGE or any(type(v) not in (int, float) for v in result.values()):
        return result
    return _Numbers(list(result), np.array(list(result.values()), np.float64))


def _check_finite(where: str, matches: _Numbers) -> None:
    if not np.isfinite(matches.values).all():
        place = int(np.flatnonzero(~np.isfinite(matches.values))[0])
        number(f"{where}, {matches.keys[place]!r}: the score", float(matches.values[place]))


def _score_of(results: Results, where: str, pair: tuple[str, str], match: Any) -> float:
    """The score of one match, which is a number or an object; takes its segments, too."""
    what = f"{where}, {pair[1]!r}: the score"
    if not isinstance(match, dict):
        return number(what, match)
    if results.segments is None:
        results.segments = {}
    segments = match.get("segments") or []
    if not isinstance(segments, list):
        raise InputError(f"{where}, {pair[1]!r}: 'segments' is no list; {_FORMS}")
    results.segments[pair] = [_segment(f"{where}, {pair[1]!r}", s) for s in segments]
    return number(what, match.get("score"))


def _segment(where: str, values: Any) -> FoundSegment:
    """A segment with our names or with VSC2022's."""
    if not isinstance(values, Mapping):
        raise InputError(f"{where}: a segment is no object; {_FORMS}")
    box = tuple(
        number(f"{where}: {name}", values.get(name, values.get(name.replace("ref", "database"))))
        for name in TIMES
    )
    return FoundSegment(box, number(f"{where}: score", values.get("score", 0.0)))  # type: ignore[arg-type]


def _vcsl_box(where: str, box: Any) -> Box:
    """VCSL's order is query start, reference start, query end, reference end."""
    if not isinstance(box, list) or len(box) not in (4, 5):
        raise InputError(f"{where}: a box is no list of four numbers; {_FORMS}")
    start, ref_start, end, ref_end = (number(f"{where}: a time", t) for t in box[:4])
    return start, end, ref_start, ref_end


def _from_lines(source: SourceFile) -> Results:
    scores: dict[str, dict[str, float]] = {}
    results = Results()
    for count, line in enumerate(source.text().splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{source.path}, line {count}"
        match = source.parsed(lambda line=line: json.loads(line, object_pairs_hook=unique_keys))  # type: ignore[misc]
        if not isinstance(match, dict):
            raise InputError(f"{where}: is no object; {_FORMS}")
        query = text(f"{where}: query_id", match.get("query_id"))
        video = text(f"{where}: database_id", match.get("database_id", match.get("ref_id")))
        own = scores.setdefault(query, {})
        if video in own:
            raise InputError(f"{where}: the pair {query!r}, {video!r} is there twice; remove one")
        if "segments" in match:
            own[video] = _score_of(results, where, (query, video), match)
        else:
            own[video] = number(f"{where}: score", match.get("score"))
    for query, own in scores.items():
        results.add(query, list(own), list(own.values()))
    return results


def _from_rows(source: SourceFile) -> Results:
    """With times each row is a segment, and the score of a pair is its largest one."""
    scores: dict[str, dict[str, float]] = {}
    segments: dict[tuple[str, str], list[FoundSegment]] = {}
    timed = False
    for count, row in enumerate(source.rows("query_id", "ref_id", "score"), start=2):
        where = f"{source.path}, line {count}"
        pair = row["query_id"], row["ref_id"]
        score = as_number(f"{where}: score", row["score"])
        own = scores.setdefault(pair[0], {})
        times = [row.get(name, "") for name in TIMES]
        if all(times):
            timed = True
            box = tuple(as_number(f"{where}: a time", t) for t in times)
            segments.setdefault(pair, []).append(FoundSegment(box, score))  # type: ignore[arg-type]
        elif any(times):
            raise InputError(f"{where}: has some of the four times; write all or none")
        elif pair[1] in own:
            raise InputError(
                f"{where}: the pair {pair[0]!r}, {pair[1]!r} is there twice; remove one"
            )
        else:
            segments.setdefault(pair, [])
        own[pair[1]] = max(score, own.get(pair[1], -np.inf))
    results = Results(segments=segments if timed else None)
    for query, own in scores.items():
        results.add(query, list(own), list(own.values()))
    return results


def as_number(what: str, value: str) -> float:
    """A field of a table as a finite number.

    Raises:
        InputError: it is none.
    """
    try:
        return number(what, float(value))
    except ValueError:
        raise InputError(f"{what} is {value!r}, expected a finite number; correct it") from None


def _read_limits(results: Results, path: Path) -> None:
    """Take `top_k` and `threshold` from the info that lies beside our results."""
    beside = path.with_name(path.name + ".info.json")
    if not results.limits and beside.is_file():
        results.limits = _limits(SourceFile.read(beside).json())


def _limits(info: Any) -> dict[str, float]:
    if not isinstance(info, dict):
        return {}
    return {
        name: info[name]
        for name in ("top_k", "threshold")
        if isinstance(info.get(name), (int, float))
    }
