"""The ranking of one query, or of all pairs, out of results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

import numpy as np

from .ranking import Hits
from .results import Results


def ranking(
    results: Results,
    query: str,
    relevant: Set[str],
    *,
    allowed: np.ndarray | None = None,
    left_out: Iterable[str] = (),
    total: int | None = None,
) -> Hits:
    """The ranking of one query.

    Args:
        relevant: ids; total: how many relevant videos there are, if not as many as ids.
        allowed: [V] bool over `results.names`: what the ranking may hold; None: all.
        left_out: ids that the ranking may not hold, such as the query itself.
    """
    scores, hits = scored(results, query, relevant, allowed=allowed, left_out=left_out)
    count = len(relevant) if total is None else total
    return Hits.of(scores, hits, count, query=query, has_results=query in results.rows)


def scored(
    results: Results,
    query: str,
    relevant: Set[str],
    *,
    allowed: np.ndarray | None = None,
    left_out: Iterable[str] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of a query in file order and which are relevant: [N] float64 and [N] bool."""
    row = results.rows.get(query)
    if row is None:
        return np.empty(0), np.empty(0, bool)
    keep = ~results.mask(left_out)
    if allowed is not None:
        keep &= allowed
    inside = keep[row.videos]
    return row.scores[inside], results.mask(relevant)[row.videos[inside]]


def pooled(
    results: Results,
    relevant: Mapping[str, Set[str]],
    *,
    allowed: np.ndarray | None = None,
    without_query: bool = True,
    total: int | None = None,
) -> Hits:
    """All pairs of all queries in one ranking, the queries in the order of the file.

    Args:
        relevant: ids by query; a query without an entry does not take part.
        without_query: a query is no pair with itself, unless it is relevant to itself.
        total: relevant pairs, if not as many as ids.
    """
    parts = [
        scored(
            results,
            query,
            relevant[query],
            allowed=allowed,
            left_out=[query] if without_query and query not in relevant[query] else [],
        )
        for query in results.rows
        if query in relevant
    ]
    scores = np.concatenate([s for s, _ in parts]) if parts else np.empty(0)
    hits = np.concatenate([h for _, h in parts]) if parts else np.empty(0, bool)
    count = sum(map(len, relevant.values())) if total is None else total
    return Hits.of(scores, hits, count)
