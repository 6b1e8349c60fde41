"""How many of the exhaustive search's best matches are among the candidates, on the benchmark set.

    python -m benchmarks.retrieval.studies.candidates SET_DIR FOLDER
        [--splits validation test train] [--model_dir model]

The splits are searched together, so videos of the others are distractors. The stores of
`studies.evaluate` are linked or copied to FOLDER, where the indices and the scores of all pairs are
kept, so that a second run only asks the indices. A row is an engine and the views of a query frame
that are looked up; a cell is the share of the exhaustive ten best among the candidates, the share
of all copies among them, and the mean average precision where other pairs count as not found.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.retrieval.studies.evaluate import read_pairs
from pipeline import compute_similarity
from pipeline.candidates import CandidateCount, CandidateIndex, CodeRule, code_rule, update_index
from pipeline.candidates.engine import EXACT_CODES
from pipeline.default_model import default_model_dir
from pipeline.nets.formats.loader import load_model
from pipeline.search.video_set import VideoSet
from pipeline.store import open_store

COUNTS = "1%", "50", "100"
TOP = 10


def linked_stores(set_dir: Path, folder: Path, split: str) -> tuple[Path, Path]:
    """The stores of a split's queries and database in a folder where an index may be written."""
    made = []
    for side in ("queries", "database"):
        source = next((set_dir / split / "stores").glob(f"{side}_*.h5"))
        target = folder / f"{split}_{side}.h5"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source, target)
            except OSError:
                shutil.copy(source, target)
        made.append(target)
    return made[0], made[1]


def exhaustive_scores(
    queries: Sequence[Path], databases: Sequence[Path], model_dir: Path, kept: Path
) -> dict[str, dict[str, float]]:
    """All scores, from a file or computed and kept there."""
    if not kept.exists():
        compute_similarity(list(queries), list(databases), kept, model_dir=model_dir)
    scores: dict[str, dict[str, float]] = json.loads(kept.read_text())
    return scores


def truth(set_dir: Path, splits: Sequence[str]) -> dict[str, set[str]]:
    """The copies of each query."""
    copies: dict[str, set[str]] = {}
    for split in splits:
        for query in read_pairs(set_dir / split / "queries.txt"):
            copies[query] = set()
        for line in (set_dir / split / "truth.tsv").read_text(encoding="utf-8").splitlines():
            query, copy, _ = line.split("\t")
            copies[query].add(copy)
    return copies


def ranked_candidates(
    queries: Sequence[Path], databases: Sequence[Path], rule: CodeRule
) -> Iterator[tuple[str, list[str], float]]:
    """Each query, its videos as the indices rank them, best first, and the seconds it took."""
    opened = [open_store(path) for path in databases]
    indices = [CandidateIndex(store, rule) for store in opened]
    for path in queries:
        with open_store(path) as store:
            videos = VideoSet([store])
            for number, query in enumerate(videos.ids):
                begin, found = time.perf_counter(), []
                vectors = videos.vectors(number)
                for index, database in zip(indices, opened, strict=True):
                    places, scores = index.candidates(vectors, len(database))
                    named = [database.ids[place] for place in places.tolist()]
                    found += list(zip(scores.tolist(), named, strict=True))
                ranked = [video for _, video in sorted(found, key=lambda pair: -pair[0])]
                yield query, ranked, time.perf_counter() - begin
    for store in opened:
        store.close()


def average_precision(ranked: Sequence[str], copies: set[str]) -> float:
    """Of a ranking that may be cut; copies that are not in it count as not found."""
    hits, total = 0, 0.0
    for place, video in enumerate(ranked, 1):
        if video in copies:
            hits += 1
            total += hits / place
    return total / len(copies)


def figures(
    scores: dict[str, dict[str, float]],
    copies: dict[str, set[str]],
    ranked: dict[str, list[str]],
    count: int,
) -> tuple[float, float, float]:
    """Share of the ten best, share of the copies, and mean average precision, at a count."""
    best_found = copies_found = copies_all = 0
    precisions = []
    for query, row in scores.items():
        chosen = set(ranked[query][:count])
        best = sorted(row, key=lambda video: -row[video])
        best_found += len(chosen & set(best[:TOP]))
        copies_found += len(chosen & copies[query])
        copies_all += len(copies[query])
        within = [video for video in best if video in chosen]
        precisions.append(average_precision(within, copies[query]))
    return best_found / (TOP * len(scores)), copies_found / copies_all, float(np.mean(precisions))


def study(set_dir: Path, folder: Path, splits: Sequence[str], model_dir: Path) -> None:
    """Print the table of some splits together."""
    pairs = [linked_stores(set_dir, folder, split) for split in splits]
    queries, databases = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    kept = folder / f"{'_'.join(splits)}.json"
    scores = exhaustive_scores(queries, databases, model_dir, kept)
    copies = truth(set_dir, splits)
    videos = len(next(iter(scores.values())))
    counts = [CandidateCount.parse(text).of(videos) for text in COUNTS]
    _, _, whole = figures(scores, copies, {q: list(row) for q, row in scores.items()}, videos)
    print(f"{' '.join(splits)}: {len(scores)} queries, {videos} videos, exhaustive mAP {whole:.4f}")
    layout = load_model(model_dir).layout
    for engine, exact_codes in (("inverted lists", 0), ("one by one", EXACT_CODES)):
        for path in databases:
            with open_store(path) as store:
                rule = code_rule(layout, store.spec.dims)
                shutil.rmtree(f"{path}.candidates", ignore_errors=True)
                report = update_index(store, rule, exact_codes=exact_codes)
        for views, name in ((len(rule.views), "all views"), (1, "as it is")):
            asked = list(
                ranked_candidates(queries, databases, replace(rule, views=rule.views[:views]))
            )
            ranked = {query: found for query, found, _ in asked}
            cells = (figures(scores, copies, ranked, count) for count in counts)
            texts = (
                f"{count}: {best:.4f} {found:.4f} {mean:.4f} ({mean - whole:+.4f})"
                for count, (best, found, mean) in zip(counts, cells, strict=True)
            )
            seconds = np.mean([seconds for _, _, seconds in asked])
            print(f"  {engine}, {name}: {'; '.join(texts)}; {1000 * seconds:.0f} ms a query")
        print(f"    {report.codes / report.videos:.1f} codes a video in the last store")


def main(arguments: list[str] | None = None) -> None:
    """Print the table of all splits together and of each one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set_dir", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--splits", nargs="+", default=["validation", "test", "train"])
    parser.add_argument("--model_dir", type=Path, default=Path(default_model_dir()))
    given = parser.parse_args(arguments)
    study(given.set_dir, given.folder, given.splits, given.model_dir)


if __name__ == "__main__":
    main()
