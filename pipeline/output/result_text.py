"""A search's result as a table for people, which fits in 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap

from ..alignment.segment import Segment
from .match import Match
from .search_result import SearchResult, Verdict

WIDTH = 80  # columns
_INDENT = " " * 6
_VERDICTS = {True: "match", False: "no match", None: ""}


def table_lines(result: SearchResult) -> Iterator[str]:
    """The matches of all queries, and what their verdicts mean.

    The first line of a match has rank, score, verdict, the most certain segment in the query and in
    the database video, and the id, which has a line of its own where it is too long. The next line
    has the path. Names are as they are: escape control characters when you print a line.
    """
    for query_id in result.query_ids:
        yield f"query {query_id}"
        if query_id in result.failures:
            failure = result.failures[query_id]
            yield f"{_INDENT}could not be used: {failure.reason}: {failure.detail}"
        else:
            yield from _query_lines(result, result.of(query_id))
        yield ""
    for note in _notes(result):
        yield from wrap(note, WIDTH)


def verdict_line(verdict: Verdict) -> str:
    """What `match` means in the table, or why there are no verdicts."""
    if verdict.threshold is None:
        return f"no verdicts: {verdict.reason}"
    levels = [f"{verdict.threshold + level:.4f}" for level in sorted(verdict.levels.values())]
    if levels:
        ends = levels[0] if levels[0] == levels[-1] else f"{levels[0]} to {levels[-1]}, by query,"
        text = f"match: score of {ends} or more"
    else:
        scores = "normalised" if verdict.normalized else "plain"
        text = f"match: {scores} score of {verdict.threshold:.4f} or more"
    if verdict.rate is None:
        return text
    return f"{text}; at most {verdict.rate:g} of unrelated pairs reach it"


def clock(seconds: float) -> str:
    """Seconds as mm:ss, beyond an hour as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def _query_lines(result: SearchResult, matches: Sequence[Match]) -> Iterator[str]:
    if not matches:
        yield f"{_INDENT}no stored video reaches the threshold"
        return
    rows = [_cells(rank, match, result.verdict) for rank, match in enumerate(matches, 1)]
    heading = ["rank", "score", "verdict", "in the query", "in the video"]
    widths = [max(len(row[i]) for row in (heading, *rows)) for i in range(len(heading))]
    right = len(heading) - 3  # rank and score are numbers
    used = [i for i in range(len(heading)) if i < right or any(row[i] for row in rows)]

    def line(row: Sequence[str]) -> str:
        cells = (row[i].rjust(widths[i]) if i < right else row[i].ljust(widths[i]) for i in used)
        return "  ".join(cells)

    yield f"{line(heading)}  id"
    for row, match in zip(rows, matches, strict=True):
        cells = line(row)
        if len(cells) + 2 + len(match.database_id) <= WIDTH:
            yield f"{cells}  {match.database_id}"
        else:
            yield cells.rstrip()
            yield f"{_INDENT}{match.database_id}"
        if path := result.paths.get(match.database_id):
            yield f"{_INDENT}{path}"


def _cells(rank: int, match: Match, verdict: Verdict) -> list[str]:
    times = ["", ""]
    if match.segments is not None:
        times = _times(match.segments[0]) if match.segments else ["-", "-"]
    return [str(rank), f"{match.score:.3f}", _VERDICTS[verdict.of(match)], *times]


def _times(segment: Segment) -> list[str]:
    query = f"{clock(segment.query_start)} to {clock(segment.query_end)}"
    if not segment.query_decidable:
        query = f"~{query}"
    return [query, f"{clock(segment.database_start)} to {clock(segment.database_end)}"]


def _notes(result: SearchResult) -> Iterator[str]:
    if result.matches:
        yield verdict_line(result.verdict)
    best = [match.segments[0] for match in result.matches if match.segments]
    if not all(segment.query_decidable for segment in best):
        yield "~: the query stands still or repeats itself; another part of it fits as well"
