"""Matches -> JSON: as the original writes it, and with segments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TextIO

from ..text import json_text
from .match import Match, rounded_score
from .match_tables import MatchList
from .result_info import ResultInfo

_PART = 4096


class JsonWriter:
    """Writes `{query_id: {database_id: similarity}}`; the same matches give the same bytes.

    Args:
        file: to write to, piece by piece.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._keys: dict[str, str] = {}  # most database videos come again with each query
        self._begun = False
        file.write("{")

    def write(self, query_id: str, matches: Sequence[Match]) -> None:
        """Write the matches of the next query; see `writers.ResultWriter`."""
        self._file.write(f"{',' if self._begun else ''}\n {json_text(query_id)}: {{")
        self._begun = True
        for lines in _lines(self._keys, matches):
            self._file.write(lines)
        self._file.write("\n }" if len(matches) else "}")

    def close(self) -> None:
        """Write the end."""
        self._file.write("\n}\n")


def _lines(keys: dict[str, str], matches: Sequence[Match]) -> Iterator[str]:
    for start in range(0, len(matches), _PART):
        lines = []
        for database_id, score in _pairs(matches, slice(start, start + _PART)):
            key = keys.get(database_id)
            if key is None:
                key = keys[database_id] = json_text(database_id)
            lines.append(f"\n  {key}: {rounded_score(score)!r}")
        yield ("," if start else "") + ",".join(lines)


def _pairs(matches: Sequence[Match], part: slice) -> Iterator[tuple[str, float]]:
    if isinstance(matches, MatchList):
        return matches.pairs(part)
    return ((match.database_id, match.score) for match in matches[part])


class SegmentJsonWriter:
    """Writes `{"info": ..., "matches": {query_id: {database_id: {score, mirrored, segments}}}}`.

    Args:
        file: to write to, piece by piece.
        info: of the result.
    """

    def __init__(self, file: TextIO, info: ResultInfo) -> None:
        self._file = file
        self._begun = False
        file.write(f'{{\n "info": {json_text(info.as_dict())},\n "matches": {{')

    def write(self, query_id: str, matches: Sequence[Match]) -> None:
        """Write the matches of the next query; see `writers.ResultWriter`."""
        self._file.write(f"{',' if self._begun else ''}\n  {json_text(query_id)}: {{")
        self._begun = True
        for number, match in enumerate(matches):
            values = match.as_dict()
            del values["query_id"], values["database_id"]
            comma = "," if number else ""
            self._file.write(f"{comma}\n   {json_text(match.database_id)}: {json_text(values)}")
        self._file.write("\n  }" if len(matches) else "}")

    def close(self) -> None:
        """Write the end."""
        self._file.write("\n }\n}\n")
