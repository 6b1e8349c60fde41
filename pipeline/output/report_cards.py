"""One match of a report as HTML: its scores, segments, heat map and stills.

Ids and paths are text from outside; all text goes through `escaped`.
"""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal, Protocol

from ..alignment.segment import Segment
from ..text import visible
from .heat_map import HeatMap
from .match import Match

Side = Literal["query", "database"]
SHOWN_SEGMENTS = 4  # of a match, with stills; the others are listed
COLOURS = 4
COPY, BELOW = "copy", "below threshold"  # verdicts
_EDGE_SECONDS = 0.5  # a still lies this far within its segment: ends are not exact
_SIDES: tuple[Side, Side] = ("query", "database")


class VideoFiles(Protocol):
    """What a report shows of the videos themselves."""

    def still(self, side: Side, video_id: str, seconds: float) -> bytes | None:
        """A picture of a video as a JPEG file; None: there is none."""

    def path(self, side: Side, video_id: str) -> str | None:
        """Where a video is; None: not known. The page links to it if it exists."""


class NoVideoFiles:
    """Nothing: a report of heat maps alone."""

    def still(self, side: Side, video_id: str, seconds: float) -> bytes | None:
        """No picture."""
        return None

    def path(self, side: Side, video_id: str) -> str | None:
        """No path."""
        return None


@dataclass(frozen=True)
class ReportEntry:
    """A match, and the picture of its frame similarities; None: the page shows none."""

    match: Match
    heat_map: HeatMap | None = None


def still_seconds(segment: Segment) -> tuple[list[float], list[float]]:
    """When the stills of a segment are taken: start, middle and end, of both sides."""
    length = segment.query_end - segment.query_start
    edge = min(0.15, _EDGE_SECONDS / length) if length > 0 else 0.0
    places = edge, 0.5, 1 - edge
    between = segment.database_end - segment.database_start
    return (
        [round(segment.query_start + place * length, 3) for place in places],
        [round(segment.database_start + place * between, 3) for place in places],
    )


def wanted_stills(matches: Sequence[Match]) -> dict[tuple[Side, str], list[float]]:
    """The seconds of all stills that a report of these matches asks for, ascending."""
    wanted: dict[tuple[Side, str], set[float]] = {}
    for match in matches:
        for segment in (match.segments or ())[:SHOWN_SEGMENTS]:
            query, database = still_seconds(segment)
            wanted.setdefault(("query", match.query_id), set()).update(query)
            wanted.setdefault(("database", match.database_id), set()).update(database)
    return {video: sorted(seconds) for video, seconds in wanted.items()}


def clock(seconds: float, decimals: int = 1) -> str:
    """Seconds as people read them: 1:02:03.4, or 2:03.4."""
    scale = 10**decimals
    whole, rest = divmod(round(max(0.0, seconds) * scale), scale)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    text = f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
    return f"{text}.{rest:0{decimals}}" if decimals else text


def escaped(text: str) -> str:
    """Text from outside for a page, in an attribute as well; what is no character is shown so."""
    return html.escape(visible(text).encode("utf-8", "backslashreplace").decode(), quote=True)


@dataclass(frozen=True)
class Thresholds:
    """From which score on a match counts as a copy.

    Attributes:
        threshold: the score; None where none is known.
        levels: query id -> what is added to it for this query.
    """

    threshold: float | None
    levels: Mapping[str, float] = field(default_factory=dict)

    def of(self, query_id: str) -> float | None:
        """The score for matches of a query."""
        if self.threshold is None:
            return None
        return self.threshold + self.levels.get(query_id, 0.0)

    def verdict(self, match: Match) -> str:
        """What a match's score means; empty where no threshold is known."""
        least = self.of(match.query_id)
        return "" if least is None else COPY if match.score >= least else BELOW

    def bounds(self, query_ids: Iterable[str]) -> str:
        """The score in words; two where queries differ; empty where no threshold is known."""
        known = [least for query_id in query_ids if (least := self.of(query_id)) is not None]
        ends = sorted({f"{least:.3f}" for least in known}, key=float)
        if len(ends) > 1:
            return f"{ends[0]} to {ends[-1]}, by query,"
        return ends[0] if ends else "" if self.threshold is None else f"{self.threshold:.3f}"


class Cards:
    """Makes the HTML of matches."""

    def __init__(
        self, files: VideoFiles, source: Callable[[bytes, str], str], thresholds: Thresholds
    ) -> None:
        self._files, self._source, self._thresholds = files, source, thresholds

    def card(self, entry: ReportEntry) -> Iterator[str]:
        """The element of one match, piece by piece."""
        match = entry.match
        segments = match.segments or ()
        yield f'<article class="match" {self._data(match)}>\n'
        yield self._head(match)
        plain = "" if entry.heat_map else " plain"
        yield f'<div class="body{plain}">\n'
        if entry.heat_map:
            yield self._map(entry.heat_map, match)
        yield "<div>\n"
        yield from self._bars(entry)
        if match.segments is not None and not segments:
            yield '<p class="weak">No segment: no stretch of the two videos stands out.</p>\n'
        for number, segment in enumerate(segments):
            yield from self._segment(match, number, segment)
        yield "</div></div></article>\n"

    def _data(self, match: Match) -> str:
        """What the script sorts and filters by."""
        texts = [match.query_id, match.database_id]
        texts += [self._path(side, match) or "" for side in _SIDES]
        seconds = sum(s.query_end - s.query_start for s in match.segments or ())
        values = {
            "query": match.query_id,
            "database": match.database_id,
            "score": f"{match.score:.6f}",
            "seconds": f"{seconds:.3f}",
            "verdict": self._thresholds.verdict(match),
            "text": " ".join(texts),
        }
        return " ".join(f'data-{name}="{escaped(value)}"' for name, value in values.items())

    def _head(self, match: Match) -> str:
        name = self._thresholds.verdict(match)
        badge = f'<span class="verdict {name.split()[0]}">{name}</span>' if name else ""
        title = f"{escaped(match.query_id)} <span>in</span> {escaped(match.database_id)}"
        paths = [
            f"<b>{side}</b> {_link(path, None, escaped(path))}"
            for side in _SIDES
            if (path := self._path(side, match))
        ]
        return (
            f'<div class="head"><h2>{title}</h2><span class="score">{match.score:.3f}</span>'
            f'{badge}</div>\n<p class="paths">{"<br>".join(paths)}</p>\n'
        )

    def _map(self, picture: HeatMap, match: Match) -> str:
        height, width = picture.levels.shape
        lines = "".join(
            f'<line class="halo" {place}/><line class="line c{number % COLOURS}" {place}/>'
            for number, place in reversed(list(enumerate(_places(picture, match))))
        )
        query, database = clock(picture.query_seconds, 0), clock(picture.database_seconds, 0)
        source = self._source(picture.png(), "png")
        return (
            f'<figure class="map"><div class="up"><span>{query}</span><span>query</span>'
            f'<span>0:00</span></div><div class="picture"><img loading="lazy" src="{source}" '
            f'width="{width}" height="{height}" alt="frame similarities">'
            f'<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" aria-hidden="true">'
            f'{lines}</svg></div><div class="across"><span>0:00</span>'
            f"<span>database video</span><span>{database}</span></div></figure>\n"
        )

    def _bars(self, entry: ReportEntry) -> Iterator[str]:
        segments = entry.match.segments
        if not segments:
            return
        picture = entry.heat_map
        ends = {
            "query": [(s.query_start, s.query_end) for s in segments],
            "database": [(s.database_start, s.database_end) for s in segments],
        }
        yield '<div class="bars">'
        for side, stretches in ends.items():
            total = max(end for _, end in stretches)
            if picture:
                total = max(total, getattr(picture, f"{side}_seconds"))
            bars = "".join(
                f'<rect class="f{number % COLOURS}" x="{begin / total * 1000:.1f}" y="0" '
                f'width="{max(4.0, (end - begin) / total * 1000):.1f}" height="10"/>'
                for number, (begin, end) in reversed(list(enumerate(stretches)))
            )
            yield (
                f'<span>{side}</span><svg viewBox="0 0 1000 10" preserveAspectRatio="none" '
                f'role="img" aria-label="where the segments lie in the {side} video">{bars}</svg>'
                f"<span>{clock(total, 0)}</span>"
            )
        yield "</div>\n"

    def _segment(self, match: Match, number: int, segment: Segment) -> Iterator[str]:
        yield '<div class="segment"><p>'
        yield (
            f'<svg class="swatch" viewBox="0 0 10 10" aria-hidden="true"><rect '
            f'class="f{number % COLOURS}" width="10" height="10"/></svg> '
        )
        query = self._stretch("query", match, segment.query_start, segment.query_end)
        database = self._stretch("database", match, segment.database_start, segment.database_end)
        yield f"{query} ↔ {database}"
        yield f' <span class="weak">{"; ".join(_remarks(match, segment))}</span></p>\n'
        if number < SHOWN_SEGMENTS:
            yield from self._stills(match, segment)
        yield "</div>\n"

    def _stretch(self, side: Side, match: Match, begin: float, end: float) -> str:
        times = f'<span class="times">{clock(begin)} to {clock(end)}</span>'
        return f"{side} {_link(self._path(side, match), begin, times)}"

    def _stills(self, match: Match, segment: Segment) -> Iterator[str]:
        rows = []
        for side, seconds in zip(_SIDES, still_seconds(segment), strict=True):
            video = match.query_id if side == "query" else match.database_id
            pictures = [self._files.still(side, video, second) for second in seconds]
            if any(pictures):
                flip = side == "query" and match.mirrored
                path = self._path(side, match)
                cells = "".join(
                    self._still(picture, second, path, flip)
                    for picture, second in zip(pictures, seconds, strict=True)
                )
                rows.append(f'<span class="side">{side}</span>{cells}')
        if rows:
            yield f'<div class="stills">{"".join(rows)}</div>\n'

    def _still(self, picture: bytes | None, second: float, path: str | None, flip: bool) -> str:
        if picture is None:
            return "<span></span>"
        kind = ' class="mirrored"' if flip else ""
        image = (
            f'<img loading="lazy" src="{self._source(picture, "jpg")}"{kind} '
            f'alt="at {clock(second)}"><small>{clock(second)}</small>'
        )
        link = _link(path, second, image)
        return link if link != image else f"<span>{image}</span>"

    def _path(self, side: Side, match: Match) -> str | None:
        video = match.query_id if side == "query" else match.database_id
        return self._files.path(side, video)


def _places(picture: HeatMap, match: Match) -> Iterator[str]:
    """Where the segments' lines lie on the picture, as attributes, in thousandths of its sides."""
    for s in match.segments or ():
        x1, x2 = (t / picture.database_seconds * 1000 for t in (s.database_start, s.database_end))
        y1, y2 = (t / picture.query_seconds * 1000 for t in (s.query_start, s.query_end))
        yield f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'


def _remarks(match: Match, segment: Segment) -> list[str]:
    """What else is to be said of a segment."""
    remarks = [f"similarity {segment.score:.2f}"]
    if match.mirrored:
        remarks.append("query mirrored")
    if segment.query_end > segment.query_start and abs(segment.slope - 1) > 0.04:
        remarks.append(f"{1 / segment.slope:.2f} times the speed" if segment.slope else "")
    if not segment.query_decidable:
        remarks.append("the query stands still or repeats itself, so its times are one of several")
    return [remark for remark in remarks if remark]


def _link(path: str | None, second: float | None, content: str) -> str:
    """A link to a file, at a second of it; the content alone where there is no such file."""
    address = file_address(path) if path else None
    if address is None:
        return content
    place = "" if second is None else f"#t={second:.1f}"
    return f'<a href="{html.escape(address)}{place}">{content}</a>'


@lru_cache(maxsize=4096)
def file_address(path: str) -> str | None:
    """The `file:` address of a path; None where it is not absolute or no file is there."""
    try:
        if os.path.isabs(path) and os.path.isfile(path):
            return Path(path).as_uri()
    except (OSError, ValueError):  # a name that no file can have
        pass
    return None
