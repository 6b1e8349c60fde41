"""Segments -> the JSON that VCSL's evaluation reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from ..errors import PipelineError
from ..text import json_text
from .match import Match, rounded_seconds


class VcslWriter:
    """Writes `{"QUERY-REFERENCE": [box, ...]}`; a match without segments has an empty list.

    A box is [query start, reference start, query end, reference end] in seconds.

    Args:
        file: to write to, piece by piece.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._begun = False
        self._ambiguous: dict[str, str] = {}  # query id of each key that has a further hyphen
        file.write("{")

    def write(self, query_id: str, matches: Sequence[Match]) -> None:
        """Write the segments of a query's matches; see `writers.ResultWriter`.

        Raises:
            PipelineError: two pairs have the same name, as `a-b` and `c`, `a` and `b-c`.
        """
        for match in matches:
            boxes = [
                [
                    rounded_seconds(t)
                    for t in (s.query_start, s.database_start, s.query_end, s.database_end)
                ]
                for s in match.segments or ()
            ]
            comma = "," if self._begun else ""
            self._file.write(f"{comma}\n {json_text(self._key(match))}: {json_text(boxes)}")
            self._begun = True

    def close(self) -> None:
        """Write the end."""
        self._file.write("\n}\n")

    def _key(self, match: Match) -> str:
        key = f"{match.query_id}-{match.database_id}"
        if key.count("-") > 1:
            other = self._ambiguous.setdefault(key, match.query_id)
            if other != match.query_id:
                raise PipelineError(
                    f"queries {other!r} and {match.query_id!r} both have a pair that VCSL's format "
                    f"calls {key!r}: use ids without hyphens, or another format"
                )
        return key
