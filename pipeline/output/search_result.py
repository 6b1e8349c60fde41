"""What a search of an index gives: matches with verdicts, and what could not be searched for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from ..errors import PipelineError
from ..records import Failure
from .match import Match
from .result_info import ResultInfo


@dataclass(frozen=True)
class Verdict:
    """From which score on a pair counts as a match.

    Attributes:
        threshold: the score; None where none is known.
        rate: share of unrelated pairs that the model was calibrated to let through; None for a
            threshold that was given.
        reason: why there is no threshold; empty where there is one.
        normalized: the threshold is for scores normalised by the database.
        levels: query id -> what is taken off its scores before they are compared with the
            threshold; empty where the scores themselves are normalised, or the threshold is plain.
    """

    threshold: float | None = None
    rate: float | None = None
    reason: str = ""
    normalized: bool = False
    levels: Mapping[str, float] = field(default_factory=dict)

    @property
    def meaning(self) -> str:
        """What the threshold stands for, in words."""
        if self.rate is None:
            return "" if self.threshold is None else "as asked for"
        of_scores = ", for scores normalised by the database" if self.normalized else ""
        return f"as calibrated{of_scores}, at most {self.rate:g} of unrelated pairs reach it"

    def of(self, match: Match) -> bool | None:
        """Whether the score of a match reaches the threshold; None without one."""
        if self.threshold is None:
            return None
        return match.score - self.levels.get(match.query_id, 0.0) >= self.threshold


@dataclass(frozen=True, repr=False)
class SearchResult:
    """The best matches of one or more queries; iterating gives them query by query, best first.

    Attributes:
        query_ids: of all queries, those that could not be used included.
        matches: query by query, best first.
        verdict: from which score on a pair counts as a match.
        info: what the scores were made with.
        paths: database id -> file that the video was extracted from, for all matches.
        failures: query id -> why the video could not be used.
        damaged: a line for each stored video that was left out, naming its store and its id.
        notes: what a person should know besides.
    """

    query_ids: Sequence[str]
    matches: Sequence[Match]
    verdict: Verdict
    info: ResultInfo
    paths: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, Failure] = field(default_factory=dict)
    damaged: Sequence[str] = ()
    notes: Sequence[str] = ()

    def __iter__(self) -> Iterator[Match]:
        return iter(self.matches)

    def __len__(self) -> int:
        return len(self.matches)

    def __repr__(self) -> str:
        parts = [f"{len(self.query_ids)} queries", f"{len(self.matches)} matches"]
        if self.verdict.threshold is not None:
            reached = sum(self.verdict.of(match) is True for match in self.matches)
            above = " above the level" if self.verdict.levels else ""
            parts.append(f"{reached} reach {self.verdict.threshold:.4f}{above}")
        if self.matches:
            best = max(self.matches, key=lambda match: match.score)
            parts.append(f"best {best.score:.4f} {best.database_id!r}")
        if self.failures:
            parts.append(f"{len(self.failures)} queries failed")
        return f"<SearchResult: {', '.join(parts)}>"

    def of(self, query_id: str) -> list[Match]:
        """The matches of one query, best first; none if it could not be used."""
        return [match for match in self.matches if match.query_id == query_id]

    def to_dicts(self) -> list[dict[str, Any]]:
        """One dictionary a match.

        Returns:
            What `Match.as_dict` gives, and: rank, from 1 on for each query; is_match, true or
            false, None without a verdict; path of the database video's file.
        """
        rows, rank, query_id = [], 0, None
        for match in self.matches:
            rank = rank + 1 if match.query_id == query_id else 1
            query_id = match.query_id
            values = match.as_dict()
            rows.append(
                {
                    "query_id": values.pop("query_id"),
                    "rank": rank,
                    "database_id": values.pop("database_id"),
                    "score": values.pop("score"),
                    "is_match": self.verdict.of(match),
                    "path": self.paths.get(match.database_id, ""),
                    **values,
                }
            )
        return rows

    def to_pandas(self) -> Any:
        """A pandas `DataFrame`, one row a match.

        Returns:
            The columns of `to_dicts`; in place of `segments`, where these were looked for, their
            number and the times, score and `query_decidable` of the most certain one, as
            `segment_score` for the score. They are missing values where no segment was found.

        Raises:
            PipelineError: pandas is not installed.
        """
        try:
            pandas = import_module("pandas")
        except ImportError as error:
            raise PipelineError(
                f"to_pandas needs pandas ({error}): install it (pip install pandas), or use "
                "to_dicts, which gives the same without it"
            ) from error
        return pandas.DataFrame([_flat(row) for row in self.to_dicts()], columns=self._columns())

    def _columns(self) -> list[str]:
        columns = ["query_id", "rank", "database_id", "score", "is_match", "path"]
        if any(match.segments is not None for match in self.matches):
            columns += ["mirrored", "segments", *_SEGMENT_COLUMNS]
        return columns


_SEGMENT_COLUMNS = (
    "query_start",
    "query_end",
    "database_start",
    "database_end",
    "segment_score",
    "query_decidable",
)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its first segment in columns of their own."""
    if "segments" not in row:
        return row
    segments = row["segments"]
    first = dict(segments[0]) if segments else {}
    if first:
        first["segment_score"] = first.pop("score")
    return {**row, "segments": len(segments), **first}
