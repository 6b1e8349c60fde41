"""Figures as Markdown: of methods alone, and with what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.retrieval.report.metrics_by_kind import figures_by_kind
from pipeline.metrics import Figures


@dataclass(frozen=True)
class Row:
    """What one method does and costs.

    Attributes:
        figures: kind of copy -> figures.
        bytes: of the features or hashes of one hour of video.
        processor: seconds of extraction for one hour of video; NaN if not timed.
        query: seconds of wall time for one query against the database.
        yes: parts of the copies and of the unrelated pairs that reach the tool's own threshold.
    """

    figures: dict[str, Figures]
    bytes: float
    processor: float
    query: float
    yes: tuple[float, float] | None = None


def row_of(
    scores: np.ndarray,
    kinds: np.ndarray,
    size: float,
    processor: float,
    wall: float,
    bar: float | None = None,
) -> Row:
    """A row from a table of scores.

    Args:
        scores: [Q, D]; kinds: str [Q, D], the kind of copy or "" for unrelated pairs.
        size, processor: bytes, and seconds, for one hour of video.
        wall: seconds for all queries.
        bar: the score from which the tool itself says yes.
    """
    yes = None
    if bar is not None:
        copies = kinds != ""
        yes = float((scores[copies] >= bar).mean()), float((scores[~copies] >= bar).mean())
    return Row(figures_by_kind(scores, kinds), size, processor, wall / len(scores), yes)


def tables_of(rows: Mapping[str, Row]) -> str:
    """Markdown: figures and costs of each method, then mAP of each kind of copy."""
    heads = ["mAP", "uAP", "recall at 0.1 %", "hard mAP", "at its own threshold"]
    heads += ["bytes an hour", "s an hour", "s a query"]
    lines = [markdown_row("", *heads), markdown_row("---", *("---:" for _ in heads))]
    for name, row in rows.items():
        cells = overall(row.figures)
        cells.append(f"{row.yes[0]:.3f}, {row.yes[1]:.3%}" if row.yes else "")
        seconds = [f"{row.processor:.0f}", f"{row.query:.2g}"]
        lines.append(markdown_row(name, *cells, f"{row.bytes:,.0f}", *seconds))
    first = next(iter(rows.values()))
    lines += ["", markdown_row("mAP", *rows, "copies")]
    lines.append(markdown_row("---", *("---:" for _ in [*rows, ""])))
    for kind, one in first.figures.items():
        precisions = (f"{row.figures[kind].mean_ap:.2f}" for row in rows.values())
        lines.append(markdown_row(kind, *precisions, str(one.pairs)))
    return "\n".join(lines)


def table_of(columns: Mapping[str, dict[str, Figures]]) -> str:
    """Markdown: overall figures of each method, then mAP and recall at 0.1 % of each kind."""
    heads = list(columns)
    lines = [markdown_row("", *heads), markdown_row("---", *("---:" for _ in heads))]
    whole = {
        "mAP": ("all", "mean_ap"),
        "uAP": ("all", "micro_ap"),
        "recall at 1 %": ("all", "recall_1"),
        "recall at 0.1 %": ("all", "recall_01"),
        "hard mAP": ("hard", "mean_ap"),
        "hard uAP": ("hard", "micro_ap"),
        "hard recall at 0.1 %": ("hard", "recall_01"),
    }
    for name, (part, field) in whole.items():
        cells = (f"{getattr(columns[head][part], field):.3f}" for head in heads)
        lines.append(markdown_row(name, *cells))
    lines += ["", markdown_row("mAP / uAP / recall at 0.1 %", *heads, "copies")]
    lines.append(markdown_row("---", *("---:" for _ in [*heads, ""])))
    for kind, first in columns[heads[0]].items():
        parts = [columns[head][kind] for head in heads]
        cells = (f"{p.mean_ap:.2f} / {p.micro_ap:.2f} / {p.recall_01:.2f}" for p in parts)
        lines.append(markdown_row(kind, *cells, str(first.pairs)))
    return "\n".join(lines)


def overall(found: Mapping[str, Figures]) -> list[str]:
    """Cells of one method: mAP, uAP and recall at 0.1 % of all kinds, mAP of the hard ones."""
    whole = found["all"]
    values = whole.mean_ap, whole.micro_ap, whole.recall_01, found["hard"].mean_ap
    return [f"{value:.3f}" for value in values]


def markdown_row(*cells: str) -> str:
    """A line of a table."""
    return "| " + " | ".join(cells) + " |"
