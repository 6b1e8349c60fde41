"""The similarity network in plain numpy, one pair at a time: what the batched engine must equal.

Written from the paper's formulas and the golden facts, sharing no code with `pipeline/`.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def f2f(
    query: np.ndarray,
    target: np.ndarray,
    symmetric: bool = False,
    blank: Any = None,
    seen: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """[Tq, R, C], [Tt, R, C] -> [Tq, Tt] float64; `seen` are both as they were before adapting."""
    s = np.einsum("qic,tjc->qitj", query.astype(np.float64), target.astype(np.float64))
    w, v = (content(x, blank) for x in seen or (query, target))
    s = s * w[:, :, None, None] * v[None, None]
    there = s.max(axis=3).mean(axis=1) / frame_weights(w)[:, None]
    back = s.max(axis=1).mean(axis=2) / frame_weights(v)[None, :]
    return (there + back) / 2 if symmetric else there


def best_of_views(
    query: np.ndarray,
    target: np.ndarray,
    symmetric: bool,
    blank: Any,
    layout: Any,
    hubs: np.ndarray | None = None,
    adaptation: Any = None,
) -> np.ndarray:
    """[Tq, Q, C], [Tt, R, C] -> [Tq, Tt]: the best of what all looks say."""
    n = layout.regions
    seen = query[:, :n], target[:, :n]
    if adaptation is not None:
        query, target = (adapted(x, layout, adaptation) for x in (query, target))
        hubs = _whitened(hubs, adaptation["soft"]) if layout.soft else hubs
    matrix = f2f(query[:, :n], target[:, :n], symmetric, blank, seen)
    q, t = query.astype(np.float64), target.astype(np.float64)
    w, v = (content(x, blank) for x in seen)
    if layout.partial:
        s = np.einsum("qic,tjc->qitj", q[:, :n], t[:, :n])
        s = (s * w[:, :, None, None] * v[None, None]).max(axis=3)
        highest = -np.sort(-s, axis=1)[:, : layout.partial]
        matrix = np.maximum(matrix, highest.mean(axis=1) + layout.partial_offset)
    if layout.soft:
        matrix = np.maximum(matrix, (q[:, n] @ t[:, n].T) * frame_weights(v)[None])
    if layout.pixels:
        p = n + layout.soft
        for asked in [q[:, p], *([q[:, -1]] if layout.mirrored else [])]:
            cosines = (asked @ t[:, p].T) * frame_weights(v)[None]
            matrix = np.maximum(matrix, cosines + layout.pixels_offset)
    shared = n + layout.soft + layout.pixels
    place = shared + layout.small
    for view in layout.views:
        for _ in range(_vectors(view)):
            cosines = (q[:, place] @ t[:, n].T) * frame_weights(v)[None]
            if view.hubness:
                near = -np.sort(-q[:, place] @ hubs.T, axis=1)[:, : max(1, round(len(hubs) / 100))]
                cosines = cosines - view.hubness * near.mean(axis=1)[:, None]
            matrix = np.maximum(matrix, cosines + view.offset)
            place += 1
    assert place + layout.mirrored in (q.shape[1], shared + layout.small)
    weighted = (t[:, :n] * v[..., None]).reshape(-1, t.shape[2])
    offsets = layout.small_offsets or (0,) * layout.small
    for i, offset in enumerate(offsets, shared):
        cosines = (q[:, i] @ weighted.T).reshape(len(q), len(t), n)
        matrix = np.maximum(matrix, cosines.max(axis=2) + offset)
    return np.minimum(matrix, 1)


def adapted(vectors: np.ndarray, layout: Any, adaptation: Any) -> np.ndarray:
    """[T, R, C], each vector whitened as its kind is."""
    views = sum(_vectors(view) for view in layout.views)
    kinds = ["regions"] * layout.regions + ["soft"] * layout.soft + ["pixels"] * layout.pixels
    kinds += ["regions"] * layout.small + ["soft"] * views + ["pixels"] * layout.mirrored
    parts = [_whitened(vectors[:, i], adaptation[kinds[i]]) for i in range(vectors.shape[1])]
    return np.stack(parts, axis=1)


def _vectors(view: Any) -> int:
    both_ways = 1 if view.amount == 180 else 2
    return {"zoomed": view.parts**2, "turned": both_ways}.get(view.kind, 1)


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
    skip: float = 0.0,
    symmetric: bool = False,
    rows: np.ndarray | None = None,
    columns: np.ndarray | None = None,
) -> np.ndarray:
    """[Tq, Tt] -> [Tq // 4, Tt // 4], clipped; `skip` of it is the matrix in groups of 4 x 4.

    In that part rows and columns count by their weights, [Tq] and [Tt].
    """
    x = matrix[:, :, None]
    for i, (kernel, bias) in enumerate(layers[:3]):
        x = np.pad(x, [(1, 1), (1, 1), (0, 0)], mode="symmetric")
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
    return (1 - skip) * x + skip * past


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


def similarity(
    query: np.ndarray,
    target: np.ndarray,
    layers: list[tuple[np.ndarray, np.ndarray]] | None = None,
    function: str = "chamfer",
    blank: Any = None,
    layout: Any = None,
    skip: float = 0.0,
    hubs: np.ndarray | None = None,
    adaptation: Any = None,
) -> float:
    """Video-to-video similarity of whole videos, short ones repeated by doubling."""
    query, target = (_repeat(v) for v in (query, target))
    symmetric = function == "symmetric_chamfer"
    if layout is None:
        matrix, n = f2f(query, target, symmetric, blank), query.shape[1]
    else:
        matrix = best_of_views(query, target, symmetric, blank, layout, hubs, adaptation)
        n = layout.regions
    weights = [frame_weights(content(v[:, :n], blank)) for v in (query, target)]
    if layers is not None:
        matrix = comparator(matrix, layers, skip, symmetric, *weights)
        weights = [w[: len(w) // 4 * 4].reshape(-1, 4).mean(axis=1) for w in weights]
    return chamfer(matrix, function, *weights)


def _repeat(video: np.ndarray) -> np.ndarray:
    while len(video) < 4:
        video = np.concatenate([video, video])
    return video
