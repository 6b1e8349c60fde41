"""Matches as a page to look at: scores, segments, heat maps and stills in one HTML file.

The page needs no network and no server. Up to `MAX_EMBEDDED` matches all pictures are in the file;
beyond, they are in a folder beside it, and a browser loads those that are scrolled to. Ids and
paths are text from outside: everything of them is escaped, and a content security policy lets no
script run but the page's own.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import IO

from ..errors import InputError
from .report_cards import (
    BELOW,
    COPY,
    Cards,
    NoVideoFiles,
    ReportEntry,
    Thresholds,
    VideoFiles,
    escaped,
)
from .report_pictures import EmbeddedPictures, PictureFolder
from .result_info import ResultInfo
from .target import behind_links, is_stream, opened_output

MAX_EMBEDDED = 400  # matches
_PAGE = Path(__file__).with_name("report_page")


def write_report(
    path: str | Path,
    entries: Sequence[ReportEntry],
    info: ResultInfo,
    files: VideoFiles | None = None,
    *,
    threshold: float | None = None,
    threshold_text: str = "",
    levels: Mapping[str, float] | None = None,
    embedded: bool | None = None,
) -> None:
    """Write the page.

    Args:
        path: of the page; with many matches its pictures go to the folder `NAME_files` beside it.
        entries: the matches, query by query.
        info: what the scores were made with.
        files: gives stills and paths.
        threshold: the score from which a match counts as a copy; None: the page gives no verdict.
        threshold_text: what the threshold stands for.
        levels: query id -> what the threshold is above, for some or all queries.
        embedded: keep all pictures in the page; None: where there are few matches.

    Raises:
        InputError: the page goes to a stream, and its pictures would go to a folder.
        PipelineError: it cannot be written.
    """
    if embedded is None:
        embedded = len(entries) <= MAX_EMBEDDED
    if not embedded and is_stream(path):
        raise InputError(
            f"{path}: the pictures of {len(entries)} matches go to a folder beside the page; give "
            "--report the name of a file"
        )
    store = EmbeddedPictures() if embedded else PictureFolder(behind_links(path))
    thresholds = Thresholds(threshold, levels or {})
    cards = Cards(files or NoVideoFiles(), store.source, thresholds)
    header, footer = _page(entries, info, thresholds, threshold_text, embedded)
    with opened_output(path) as file:
        file.write(header)
        _write_cards(file, cards, entries)
        file.write(footer)
    store.finish()


def _write_cards(file: IO[str], cards: Cards, entries: Sequence[ReportEntry]) -> None:
    for entry in entries:
        for text in cards.card(entry):
            file.write(text)


def _page(
    entries: Sequence[ReportEntry],
    info: ResultInfo,
    thresholds: Thresholds,
    threshold_text: str,
    embedded: bool,
) -> tuple[str, str]:
    """What comes before the matches, and what comes after them."""
    style, script = (_part(name).strip("\n") for name in ("style.css", "script.js"))
    pictures = "data:" if embedded else "'self' file:"
    policy = (
        f"default-src 'none'; img-src {pictures}; style-src '{_digest(style)}'; "
        f"script-src '{_digest(script)}'; base-uri 'none'; form-action 'none'"
    )
    queries = dict.fromkeys(entry.match.query_id for entry in entries)
    verdicts = Counter(thresholds.verdict(entry.match) for entry in entries)
    # Where all pairs were written, most of them are of unrelated videos.
    chosen = COPY if 0 < verdicts[COPY] < verdicts[BELOW] else ""
    count = f"{len(entries)} matches" if len(entries) != 1 else "1 match"
    summary = f"{count} of {len(queries)} {'query' if len(queries) == 1 else 'queries'}."
    if bounds := thresholds.bounds(queries):
        summary += f" A score of {bounds} or more counts as a copy"
        summary += f" ({threshold_text})." if threshold_text else "."
    text = Template(_part("page.html")).substitute(
        policy=html.escape(policy),
        title="Video matches",
        style=style,
        script=script,
        summary=escaped(summary),
        settings=_settings(info),
        queries=_options(queries),
        verdicts=_options([v for v in (COPY, BELOW) if verdicts[v]], chosen),
        count=count,
        matches=_MARK,
    )
    header, _, footer = text.rpartition(_MARK)
    return header, footer


_MARK = "<!-- matches -->"


def _part(name: str) -> str:
    return (_PAGE / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _options(values: Iterable[str], chosen: str = "") -> str:
    """Choices of a form's field; `chosen` is preselected."""
    options = []
    for value in values:
        selected = " selected" if value == chosen else ""
        options.append(f'<option value="{escaped(value)}"{selected}>{escaped(value)}</option>')
    return "".join(options)


def _settings(info: ResultInfo) -> str:
    """What the scores were made with, as a list of terms."""
    values = {
        "model": info.model,
        "model digest": info.model_digest,
        "matches of a query": "all" if info.top_k is None else f"{info.top_k} at most",
        "written from score": "any" if info.threshold is None else f"{info.threshold:.4f}",
    }
    if info.rate is not None:
        values["false positive rate asked for"] = f"{info.rate:g}"
    values |= {name: str(value) for name, value in info.settings.items()}
    return "".join(
        f"<dt>{escaped(name)}</dt><dd>{escaped(value)}</dd>" for name, value in values.items()
    )
