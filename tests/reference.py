"""The similarity network in plain numpy, one pair at a time: what the batched engine must equal.

Written from the paper's formulas and the golden facts, sharing no code with `pipeline/`.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np


def frame_similarity(
    query: np.ndarray,
    target: np.ndarray,
    symmetric: bool,
    blank: Any,
    layout: Any,
    anchors: np.ndarray | None = None,
    adaptation: Any = None,
) -> np.ndarray:
    """[Tq, Q, C], [Tt, R, C] -> [Tq, Tt] float64: the maximum over the layout's terms, by formula.

    What is blank is seen by descriptors as they were before adapting.
    """
    n = layout.groups[0].count
    w, v = (content(x[:, :n], blank) for x in (query, target))
    query, target = (x.astype(np.float64) for x in (query, target))
    if adaptation is not None:
        query, target = (adapted(x, layout, adaptation) for x in (query, target))
        if "lowpass" in adaptation and anchors is not None:
            anchors = _whitened(anchors, adaptation["lowpass"])
    query[:, :n] *= w[..., None]
    target[:, :n] *= v[..., None]
    target[:, n:] *= frame_weights(v)[:, None, None]
    starts, start = {}, 0
    for group in layout.groups:
        starts[group.name] = start
        start += group.count
    counts = {group.name: group.count for group in layout.groups}
    matrix = np.full((len(query), len(target)), -np.inf)
    for term in layout.terms:
        first, count = starts[term.query], counts[term.query]
        q = query[:, first : first + count]
        first = starts[term.reference]
        t = target[:, first : first + counts[term.reference]]
        s = np.einsum("qic,tjc->qitj", q, t, optimize=True)
        best = s.max(axis=3)
        if term.csls:
            dots = -np.sort(-q @ anchors.T, axis=2)[..., : max(1, round(len(anchors) / 100))]
            best = best - term.csls * dots.mean(axis=2)[..., None]
        if term.reduce == "max":
            found = best.max(axis=1)
        elif term.reduce == "top_k":
            found = -np.sort(-best, axis=1)[:, : term.top_k].mean(axis=1)
        else:
            found = best.mean(axis=1)
            if term.query == layout.groups[0].name:
                found = found / frame_weights(w)[:, None]
            if symmetric:
                back = s.max(axis=1).mean(axis=2)
                if term.reference == layout.groups[0].name:
                    back = back / frame_weights(v)[None, :]
                found = (found + back) / 2
        matrix = np.maximum(matrix, found + term.offset)
    return np.minimum(matrix, 1)


class RegionsAlone:
    """The layout of a frame's regions, compared by Chamfer."""

    def __init__(self, count: int) -> None:
        self.groups = [SimpleNamespace(name="regions", space="regions", count=count)]
        term = {"query": "regions", "reference": "regions", "reduce": "mean"}
        self.terms = [SimpleNamespace(**term, top_k=0, offset=0.0, csls=0.0)]


def adapted(vectors: np.ndarray, layout: Any, adaptation: Any) -> np.ndarray:
    """[T, R, C], each descriptor whitened as its space is."""
    spaces = [group.space for group in layout.groups for _ in range(group.count)]
    parts = [_whitened(vectors[:, i], adaptation[spaces[i]]) for i in range(vectors.shape[1])]
    return np.stack(parts, axis=1)


def _whitened(x: np.ndarray, pca: Any) -> np.ndarray:
    x = (x.astype(np.float64) - pca.mean) @ pca.eigenvectors / np.sqrt(pca.eigenvalues)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def content(vectors: np.ndarray, blank: Any) -> np.ndarray:
    """[T, R, C] -> [T, R]: 1, or less for what lies in the space of blank regions."""
    if blank is None:
        return np.ones(vectors.shape[:2])
    k, c = blank.directions.shape
    share = np.square(vectors.astype(np.float64) @ blank.directions.T).sum(axis=2)
    t = np.clip(((share - k / c) / (1 - k / c) - blank.low) / (blank.high - blank.low), 0, 1)
    return 1 - 3 * t**2 + 2 * t**3


def frame_weights(regions: np.ndarray) -> np.ndarray:
    """[T, R] -> [T]."""
    return np.maximum(regions.mean(axis=1), 0.02)


def comparator(
    matrix: np.ndarray,
    layers: list[tuple[np.ndarray, np.ndarray]],
    residual_weight: float = 0.0,
    symmetric: bool = False,
    rows: np.ndarray | None = None,
    columns: np.ndarray | None = None,
    padding: str = "edge",
) -> np.ndarray:
    """[Tq, Tt] -> [Tq // 4, Tt // 4], clipped; a share of it is the matrix in groups of 4 x 4.

    That share is `residual_weight`. In it rows and columns count by their weights, [Tq] and
    [Tt].
    """
    x = matrix[:, :, None]
    for i, (kernel, bias) in enumerate(layers[:3]):
        x = np.pad(
            x, [(1, 1), (1, 1), (0, 0)], mode="constant" if padding == "zero" else "symmetric"
        )
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(0, 1))
        x = np.maximum(np.einsum("hwcij,ijcf->hwf", windows, kernel, optimize=True) + bias, 0)
        if i < 2:
            h, w = x.shape[0] // 2, x.shape[1] // 2
            x = x[: 2 * h, : 2 * w].reshape(h, 2, w, 2, -1).max(axis=(1, 3))
    kernel, bias = layers[3]
    x = np.clip((x @ kernel[0, 0] + bias)[:, :, 0], -1, 1)
    h, w = x.shape
    groups = matrix[: 4 * h, : 4 * w].reshape(h, 4, w, 4)
    of_rows = (np.ones(4 * h) if rows is None else rows[: 4 * h]).reshape(h, 4, 1)
    past = (groups.max(axis=3) * of_rows).sum(axis=1) / of_rows.sum(axis=1)
    if symmetric:
        of_columns = (np.ones(4 * w) if columns is None else columns[: 4 * w]).reshape(1, w, 4)
        back = (groups.max(axis=1) * of_columns).sum(axis=2) / of_columns.sum(axis=2)
        past = (past + back) / 2
    return (1 - residual_weight) * x + residual_weight * past


def chamfer(
    matrix: np.ndarray,
    function: str = "chamfer",
    rows: np.ndarray | None = None,
    columns: np.ndarray | None = None,
) -> float:
    """[a, b] -> mean over a of the maximum over b, weighted; or of both ways mean or larger one."""
    there = np.average(matrix.max(axis=1), weights=rows)
    back = np.average(matrix.max(axis=0), weights=columns)
    found = {
        "chamfer": there,
        "symmetric_chamfer": (there + back) / 2,
        "max_chamfer": max(there, back),
    }
    return float(found[function])


def rest_score(
    matrix: np.ndarray, function: str, rows: np.ndarray, columns: np.ndarray, match: float
) -> float:
    """`chamfer` over the outputs that match nothing; -inf where they are less than a quarter."""
    means = []
    for maxima, weights in ((matrix.max(axis=1), rows), (matrix.max(axis=0), columns)):
        left = maxima <= match
        enough = weights[left].sum() >= weights.sum() / 4
        means.append(np.average(maxima[left], weights=weights[left]) if enough else -np.inf)
    if function == "chamfer":
        return float(means[0])
    if -np.inf in means:
        return -np.inf
    return float(max(means) if function == "max_chamfer" else np.mean(means))


def similarity(
    query: np.ndarray,
    target: np.ndarray,
    layers: list[tuple[np.ndarray, np.ndarray]] | None = None,
    function: str = "chamfer",
    blank: Any = None,
    layout: Any = None,
    residual_weight: float = 0.0,
    anchors: np.ndarray | None = None,
    adaptation: Any = None,
    match: float | None = None,
    padding: str = "edge",
) -> float:
    """Video-to-video similarity of whole videos, short ones repeated by doubling.

    Args:
        match: gives the rest score in its place.
    """
    query, target = (_repeat(v) for v in (query, target))
    symmetric = function == "symmetric_chamfer"
    layout = layout or RegionsAlone(query.shape[1])
    matrix = frame_similarity(query, target, symmetric, blank, layout, anchors, adaptation)
    n = layout.groups[0].count
    weights = [frame_weights(content(v[:, :n], blank)) for v in (query, target)]
    if layers is not None:
        matrix = comparator(matrix, layers, residual_weight, symmetric, *weights, padding=padding)
        weights = [w[: len(w) // 4 * 4].reshape(-1, 4).mean(axis=1) for w in weights]
    if match is not None:
        return rest_score(matrix, function, *weights, match)
    return chamfer(matrix, function, *weights)


def _repeat(video: np.ndarray) -> np.ndarray:
    while len(video) < 4:
        video = np.concatenate([video, video])
    return video
