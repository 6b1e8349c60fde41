"""A benchmark of one's own: a table of relevant pairs, perhaps with segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from ..errors import InputError
from .files import SourceFile
from .report import Evaluation, Task, coverage, ranking_task, reasons
from .results import TIMES, Box, Results, as_number
from .segments import pair_figures, predicted_boxes, segment_task
from .selection import pooled, ranking
from .vsc import matching_task


@dataclass(frozen=True)
class Annotation:
    """Relevant pairs.

    Attributes:
        boxes: by (query id, reference id); empty where the table has no times.
        queries, database: ids that the benchmark has; those of the table without lists.
    """

    boxes: Mapping[tuple[str, str], Sequence[Box]]
    queries: Set[str]
    database: Set[str]

    @property
    def has_segments(self) -> bool:
        """Whether the table has times."""
        return any(self.boxes.values())


def read_annotation(files: Sequence[SourceFile]) -> Annotation:
    """Read a CSV table `query_id, ref_id`, perhaps with `query_start, query_end, ref_start,
    ref_end` in seconds; and lists of ids, one a line: `queries.txt` and `database.txt`.

    Raises:
        InputError: there is no table, or a file is not of these.
    """
    boxes: dict[tuple[str, str], list[Box]] = {}
    lists: dict[str, set[str]] = {}
    for file in files:
        if file.suffix == ".csv":
            for count, row in enumerate(file.rows("query_id", "ref_id"), start=2):
                own = boxes.setdefault((row["query_id"], row["ref_id"]), [])
                if any(times := [row.get(name, "") for name in TIMES]):
                    where = f"{file.path}, line {count}: a time"
                    own.append(tuple(as_number(where, t) for t in times))  # type: ignore[arg-type]
        elif file.path.stem in ("queries", "database"):
            lists[file.path.stem] = {s for s in file.text().splitlines() if s}
        else:
            raise InputError(
                f"{file.path}: give a table (.csv), and lists named queries.txt and database.txt"
            )
    if not boxes:
        raise InputError(f"{files[0].path}: no relevant pairs; give a table with query_id, ref_id")
    return Annotation(
        boxes,
        lists.get("queries", {q for q, _ in boxes}),
        lists.get("database", {r for _, r in boxes}),
    )


def evaluate(annotation: Annotation, results: Results) -> Evaluation:
    """mAP and micro-AP of the pairs; segments by the rules of VCSL and VSC2022.

    A query is no match of itself, unless the table says so. All queries of the results take part in
    the micro-AP.
    """
    relevant: dict[str, set[str]] = {query: set() for query in results.rows}
    for query, reference in annotation.boxes:
        relevant.setdefault(query, set()).add(reference)
    tasks: list[Task] = []
    if results.rows:
        own = [
            ranking(results, q, ids, left_out=() if q in ids else [q])
            for q, ids in relevant.items()
        ]
        tasks.append(ranking_task("pairs", own, pooled=pooled(results, relevant)))
    predicted = predicted_boxes(results)
    if annotation.has_segments and predicted is not None:
        labelled = {f"{q}-{r}": boxes for (q, r), boxes in annotation.boxes.items()}
        pairs = list(dict.fromkeys([*labelled, *predicted]))
        tasks.append(segment_task("segments (VCSL)", pair_figures(predicted, labelled, pairs)))
        if results.segments is not None:
            tasks.append(matching_task(results.segments, annotation.boxes))
    if not tasks:
        raise InputError("the results have segments alone, but the table has no times: add them")
    ids, names = list(results.rows), results.names
    if results.by_pair is not None:
        present = [(q, r) for q, r in annotation.boxes if f"{q}-{r}" in results.by_pair]
        ids, names = [q for q, _ in present], [r for _, r in present]
    queries, videos = coverage(annotation.queries, ids), coverage(annotation.database, names)
    return Evaluation(
        tasks,
        queries,
        videos,
        reasons("the table", queries, videos, results, set(results.names)),
        published=False,
    )
