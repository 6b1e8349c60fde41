"""Does the precision of the backbone change who is found first? Rankings against float32's.

    python tools/make_copies.py FOLDER
    python benchmarks/performance/ranking.py FOLDER [--model_dir DIR] [--precision bfloat16]

Queries and database are the lists in FOLDER, as `make_copies.py` or `retrieval/build.py` write
them. Without --model_dir a release with random weights of the published shapes takes part (needs
the tests folder). Prints the largest and mean change of a score, how many pairs of database videos
change places in a query's ranking, the largest difference in float32 of two that did, and whether
the best is the same.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipeline import compute_similarity, extract_features
from pipeline.config import ExtractConfig


def table(folder: Path, model_dir: str, precision: str) -> np.ndarray:
    """Scores [queries, database]; features in that precision, compared in float32."""
    config = ExtractConfig(precision=precision, dtype="float32")
    with tempfile.TemporaryDirectory() as work:
        for side in ("queries", "database"):
            report = extract_features(
                folder / f"{side}.txt", f"{work}/{side}.h5", model_dir, config
            )
            if not report.complete:
                raise SystemExit(f"{side}: {len(report.failures)} videos failed")
        scores = compute_similarity(f"{work}/queries.h5", f"{work}/database.h5", None, model_dir)
    assert scores is not None
    return np.array([list(row.values()) for row in scores.values()])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model_dir")
    parser.add_argument("--precision", default="bfloat16")
    o = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        if o.model_dir is None:
            from tests.golden import release

            o.model_dir = str(release.write(Path(work) / "release", "2020", release.pca()))
        exact, other = (table(o.folder, o.model_dir, p) for p in ("float32", o.precision))
    change = np.abs(exact - other)
    gaps = exact[:, :, None] - exact[:, None, :]
    swapped = (gaps > 0) & (other[:, :, None] < other[:, None, :])
    pairs, widest = (gaps > 0).sum(), gaps[swapped].max(initial=0)
    same = (exact.argmax(axis=1) == other.argmax(axis=1)).sum()
    print(f"{exact.shape[0]} queries, {exact.shape[1]} videos, {o.precision} against float32")
    print(f"scores differ by {change.max():.5f} at most, {change.mean():.5f} on average")
    print(f"scores spread from {exact.min():.3f} to {exact.max():.3f}")
    print(f"{swapped.sum()} of {pairs} pairs change places, at most {widest:.5f} apart in float32")
    print(f"the best is the same for {same} of {len(exact)} queries")


if __name__ == "__main__":
    main()
