"""Stage two's arithmetic: the batched engine against one pair at a time, in one run.

    python benchmarks/performance/similarity.py [--frames 60] [--dims 512] [--precision float32]
        [--tile 256 512] [--naive_dims 3840]

The naive loop is what one writes first: for each pair the full [Tq, 9, Tt, 9] product, its
maximum and mean, the comparator, the maximum and mean, as one compiled function of float32 with
the queries resident. Both sides use a comparator of the published size with random weights. Each
is timed in turn `--rounds` times; the medians and the ratio of each round are printed, with the
rate of the frame products and the ceiling: one large matrix product, measured in the same run.
With `--naive_dims` the naive loop compares vectors of that many values.

On a GPU: KERAS_BACKEND=jax, --precision bfloat16, --queries 40 --database 600, several --tile.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipeline.nets.model.descriptors import standard_layout
from pipeline.search.aggregation import PairScores
from pipeline.search.limits import Limits
from pipeline.search.read_plan import COMPARATOR, plan_pieces
from pipeline.search.score_sink import DenseScores

SHAPES = [(3, 3, 1, 32), (3, 3, 32, 64), (3, 3, 64, 128), (1, 1, 128, 1)]


def random_weights(dims: int) -> SimpleNamespace:
    """What `PairScorer` needs of a model: a comparator, no attention."""
    rng = np.random.default_rng(0)
    layers = tuple(
        (
            (rng.standard_normal(s) / np.sqrt(np.prod(s[:3]))).astype(np.float32),
            np.zeros(s[3], np.float32),
        )
        for s in SHAPES
    )
    return SimpleNamespace(
        layout=standard_layout(9),
        dims=dims,
        stored_dims=0,
        comparator=layers,
        comparator_padding="edge",
        residual_weight=0.0,
        attention=None,
        binarization=None,
        adaptation=None,
        blank=None,
        anchors=None,
    )


def vectors(frames: int, dims: int, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((frames, 9, dims)).astype(np.float32)
    return (x / np.linalg.norm(x, axis=2, keepdims=True)).astype(np.float16)


def naive(weights: SimpleNamespace, queries: np.ndarray, targets: np.ndarray) -> Callable[[], None]:
    """Pair by pair; arrays are [videos, T, 9, C]."""
    from pipeline.nets.backend import compiled, ops

    def similarity(query, target):  # type: ignore[no-untyped-def]
        x = ops.max(ops.tensordot(query, target, [[2], [2]]), axis=3)
        x = ops.mean(x, axis=1)[None, :, :, None]
        for i, (kernel, bias) in enumerate(weights.comparator[:3]):
            x = ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="symmetric")
            x = ops.relu(ops.conv(x, kernel, padding="valid") + bias)
            x = ops.max_pool(x, 2, 2, padding="valid") if i < 2 else x
        kernel, bias = weights.comparator[3]
        x = ops.clip(ops.conv(x, kernel, padding="valid") + bias, -1, 1)
        return ops.mean(ops.max(x[0, :, :, 0], axis=1))

    pair = compiled(similarity)
    resident = [ops.convert_to_tensor(q.astype(np.float32)) for q in queries]

    def run() -> None:
        for target in targets:
            placed = ops.convert_to_tensor(target.astype(np.float32))
            for query in resident:
                float(pair(query, placed))

    return run


def batched(
    weights: SimpleNamespace,
    queries: np.ndarray,
    targets: np.ndarray,
    precision: str,
    tile: tuple[int, int] | None,
) -> tuple[Callable[[], None], dict[str, float]]:
    """The engine as `compare` drives it; also the seconds of its three steps."""
    from pipeline.nets.backend import ops
    from pipeline.nets.similarity.pair_scorer import PairScorer

    scorer = PairScorer(weights, "chamfer", precision, tile)
    sides = [plan_pieces([len(v) for v in side], COMPARATOR, 256) for side in (queries, targets)]
    scores = PairScores(*sides, COMPARATOR, "chamfer")
    sink = DenseScores(np.full((len(queries), len(targets)), -np.inf, np.float32))
    resident = scorer.place_queries(queries.reshape(-1, *queries.shape[2:]))
    flat = targets.reshape(-1, *targets.shape[2:])
    spent = {"place": 0.0, "frames": 0.0, "comparator": 0.0}

    def run() -> None:
        times = [time.perf_counter()]
        placed = scorer.place_targets(flat)
        ops.convert_to_numpy(ops.cast(placed.tiles[-1]["regions"][0, 0], "float32"))
        times.append(time.perf_counter())
        matrix = scorer.frame_matrix(resident, placed)
        ops.convert_to_numpy(matrix[0, 0])
        times.append(time.perf_counter())
        weights = scorer.fetched_weights(resident), scorer.fetched_weights(placed)
        limits = 10**6, Limits().batch_cells
        for batch in scores.batches(*sides, *limits, few_shapes=scorer.few_shapes, weights=weights):
            found = scorer.maxima(matrix, batch.windows, batch.rows, batch.columns, weights)
            scores.add(batch, *scorer.fetched(found), sink)
        times.append(time.perf_counter())
        spent.update(zip(spent, np.diff(times).tolist(), strict=True))

    return run, spent


def product(size: int, precision: str) -> Callable[[], None]:
    """One square matrix product, the ceiling."""
    from pipeline.nets.backend import ops

    a = ops.cast(ops.ones((size, size)), precision)

    def run() -> None:
        ops.convert_to_numpy(ops.cast(ops.matmul(a, a)[0, 0], "float32"))

    return run


def seconds(run: Callable[[], None]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--dims", type=int, default=512)
    parser.add_argument("--queries", type=int, default=10)
    parser.add_argument("--database", type=int, default=60)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--tile", type=int, nargs=2)
    parser.add_argument("--naive_dims", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    o = parser.parse_args()
    weights = random_weights(o.dims)
    few = max(1, o.database // 6)
    sides, plain_sides = (
        [
            vectors(n * o.frames, dims, seed).reshape(n, o.frames, 9, dims)
            for seed, n in enumerate((o.queries, videos))
        ]
        for dims, videos in ((o.dims, o.database), (o.naive_dims or o.dims, few))
    )
    slow = naive(weights, *plain_sides)
    fast, spent = batched(weights, *sides, o.precision, o.tile and tuple(o.tile))
    top = product(4096, o.precision)
    for run in (slow, fast, top):
        run()
    few, pairs = o.queries * few, o.queries * o.database
    rows, steps = [], []
    for _ in range(o.rounds):
        rows.append((seconds(slow) / few, seconds(fast) / pairs, seconds(top)))
        steps.append([s / pairs for s in spent.values()])
    naive_ms, fast_ms, top_s = np.median(rows, 0) * (1e3, 1e3, 1)
    ratio = np.median([r[0] / r[1] for r in rows])
    step_ms = dict(zip(spent, np.median(steps, 0) * 1e3, strict=True))
    rate = 2 * 81 * o.frames**2 * o.dims / (step_ms["frames"] * 1e-3) / 1e9
    ceiling = 2 * 4096**3 / top_s / 1e9
    print(f"{o.frames}x{o.frames} frames, {o.dims} values, {o.precision}, {pairs} pairs")
    print(f"naive float32 loop  {naive_ms:8.3f} ms a pair, {o.naive_dims or o.dims} values")
    print(f"batched engine      {fast_ms:8.3f} ms a pair, ratio {ratio:.1f}")
    print("  " + ", ".join(f"{k} {v:.3f} ms" for k, v in step_ms.items()))
    print(f"  frame products {rate:.0f} GFLOP/s, {rate / ceiling:.0%} of the {ceiling:.0f} ceiling")


if __name__ == "__main__":
    main()
