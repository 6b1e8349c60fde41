"""How many of the exhaustive search's best matches are among the candidates, on the benchmark set.

    python -m benchmarks.retrieval.studies.candidates SET_DIR FOLDER
        [--splits validation test train] [--model_dir model] [--engines exact inverted]

The splits are searched together, so videos of the others are distractors. The stores of
`studies.evaluate` are linked or copied to FOLDER, where the indices and the scores of all pairs are
kept, so that a second run only chooses candidates. A row is an engine, and what chooses: codes of
the query's frames as they are, of all their views, or these and the check by all descriptors, which
is what a search does. A cell is the share of the exhaustive ten best among the candidates, the
share of all copies among them, and the mean average precision where other pairs count as not found,
with its fall. The first row is the best that any choice could do that knows the exhaustive scores.
Further tables have each split searched alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.retrieval.studies.evaluate import read_pairs
from pipeline import compute_similarity
from pipeline.candidates import CandidateCount, CodeRule, code_rule, update_index
from pipeline.candidates.engine import EXACT_CODES
from pipeline.default_model import default_model_dir
from pipeline.nets.formats.loader import load_model
from pipeline.nets.model.model import Model
from pipeline.search.candidate_check import named_videos
from pipeline.search.candidate_search import CandidateFinder, Candidates, check_candidates
from pipeline.search.engine import pair_scorer
from pipeline.search.request import SearchRequest
from pipeline.search.video_set import VideoSet
from pipeline.store import open_store

COUNTS = "1%", "50", "100"
TOP = 10
ENGINES = {"exact": EXACT_CODES, "inverted": 0}  # up to how many codes are compared one by one


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


class Choices:
    """The candidates of all queries, by several ways of choosing."""

    def __init__(self, queries: VideoSet, database: VideoSet, model: Model) -> None:
        self._queries, self._database, self._model = queries, database, model
        self._scorer = pair_scorer(SearchRequest(queries, database, model)).without_comparator()

    def by_codes(self, views: int, count: int) -> dict[str, np.ndarray]:
        """The first in the order of codes; of the query the first views are looked up."""
        finder = CandidateFinder(self._database, self._model)
        for index in finder._indices:
            assert isinstance(index.rule, CodeRule)
            index.rule = replace(index.rule, views=index.rule.views[:views])
        return {q: finder.ranked(own, count, quantised=True) for q, own in self._each()}

    def checked(self, ranked: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
        """What a search compares."""
        request = SearchRequest(self._queries, self._database, self._model)
        chosen = {query: Candidates(0, found, count) for query, found in ranked.items()}
        return {
            query: check_candidates(request, chosen[query], own, self._scorer)[0]
            for query, own in self._each()
        }

    def named(self, columns: dict[str, np.ndarray]) -> dict[str, list[str]]:
        """Ids in the place of numbers."""
        ids = self._database.ids
        return {query: [ids[n] for n in numbers.tolist()] for query, numbers in columns.items()}

    def _each(self) -> Iterator[tuple[str, VideoSet]]:
        for number, query in enumerate(self._queries.ids):
            yield query, self._queries.take([number]).split_insets(False)[0]


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


def study(
    set_dir: Path, folder: Path, splits: Sequence[str], model_dir: Path, engines: Sequence[str]
) -> None:
    """Print the tables."""
    pairs = [linked_stores(set_dir, folder, split) for split in splits]
    queries, databases = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    kept = folder / f"{'_'.join(splits)}.json"
    scores = exhaustive_scores(queries, databases, model_dir, kept)
    copies = truth(set_dir, splits)
    model = load_model(model_dir)
    for engine in engines:
        exact_codes = ENGINES[engine]
        for path in databases:
            with open_store(path) as store:
                rule = code_rule(model.layout, store.spec.dims)
                shutil.rmtree(f"{path}.candidates", ignore_errors=True)
                report = update_index(store, rule, exact_codes=exact_codes)
        print(f"{engine}: {report.codes / report.videos:.1f} codes a video in the last store")
        table(queries, databases, model, scores, copies)
        if exact_codes and len(splits) > 1:
            for query_path, path in zip(queries, databases, strict=True):
                table([query_path], [path], model, scores, copies)


def table(
    query_paths: Sequence[Path],
    database_paths: Sequence[Path],
    model: Model,
    all_scores: dict[str, dict[str, float]],
    copies: dict[str, set[str]],
) -> None:
    """Print the rows of some stores' queries in some stores."""
    with ExitStack() as stack:
        queries = VideoSet([stack.enter_context(open_store(path)) for path in query_paths])
        database = VideoSet([stack.enter_context(open_store(path)) for path in database_paths])
        ids = set(database.ids)
        scores = {
            query: {video: score for video, score in all_scores[query].items() if video in ids}
            for query in queries.ids
        }
        counts = [CandidateCount.parse(text).of(len(database)) for text in COUNTS]
        exhaustive = {query: sorted(row, key=lambda v: -row[v]) for query, row in scores.items()}
        _, _, whole = figures(scores, copies, exhaustive, len(database))
        names = " ".join(path.stem for path in database_paths)
        print(f"  {names}: {len(queries)} queries, {len(database)} videos, mAP {whole:.4f}")
        choices = Choices(queries, database, model)
        views = len(code_rule(model.layout, database.spec.dims).views)
        as_it_is = choices.by_codes(1, max(counts))
        ranked = choices.by_codes(views, named_videos(max(counts)))
        begin = time.process_time()
        checked = {count: choices.checked(ranked, count) for count in counts}
        seconds = (time.process_time() - begin) / len(counts) / len(queries)
        rows: dict[str, dict[int, dict[str, list[str]]]] = {
            "exhaustive": dict.fromkeys(counts, exhaustive),
            "codes, as it is": dict.fromkeys(counts, choices.named(as_it_is)),
            "codes, all views": dict.fromkeys(counts, choices.named(ranked)),
            "checked": {count: choices.named(found) for count, found in checked.items()},
        }
        for name, chosen in rows.items():
            print(_row(name, scores, copies, chosen, whole))
        print(f"    the check takes {seconds:.2f} s of processor time")


def _row(
    name: str,
    scores: dict[str, dict[str, float]],
    copies: dict[str, set[str]],
    chosen: dict[int, dict[str, list[str]]],
    whole: float,
) -> str:
    cells = []
    for count, ranked in chosen.items():
        best, found, mean = figures(scores, copies, ranked, count)
        cells.append(f"{count}: {best:.4f} {found:.4f} {mean:.4f} ({mean - whole:+.4f})")
    return f"    {name:16}  {'; '.join(cells)}"


def main(arguments: list[str] | None = None) -> None:
    """Print the table of all splits together and of each one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set_dir", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--splits", nargs="+", default=["validation", "test", "train"])
    parser.add_argument("--model_dir", type=Path, default=Path(default_model_dir()))
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    given = parser.parse_args(arguments)
    study(given.set_dir, given.folder, given.splits, given.model_dir, given.engines)


if __name__ == "__main__":
    main()
