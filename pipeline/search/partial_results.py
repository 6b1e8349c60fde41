"""Files with the scores of one shard, which `merge-results` joins to a result."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import atomic_write
from ..errors import InputError, PipelineError
from ..output.result_info import ResultInfo
from ..output.selection import Selection
from ..output.sparse_scores import SCORE
from .shards import ShardScores

FORMAT = "visil-index partial result"
_VERSION = 1


@dataclass(frozen=True)
class PartialResult:
    """One shard with what a result needs besides scores.

    Attributes:
        scores: of the shard.
        number, count: which shard of how many.
        query_ids, database_ids: of the whole table.
        listed_queries: ids of all listed queries; None: those of `query_ids`.
        info: what the result was made with, selection included.
    """

    scores: ShardScores
    number: int
    count: int
    query_ids: Sequence[str]
    database_ids: Sequence[str]
    listed_queries: Sequence[str] | None
    info: ResultInfo

    @property
    def selection(self) -> Selection:
        """Which scores are matches."""
        return Selection(self.info.top_k, self.info.threshold, self.info.rate)

    def description(self) -> dict[str, Any]:
        """What all shards of one search have in common."""
        return {
            "count": self.count,
            "query_ids": list(self.query_ids),
            "database_ids": list(self.database_ids),
            "listed_queries": None if self.listed_queries is None else list(self.listed_queries),
            "info": self.info.as_dict(),
        }


def write_partial(path: str | Path, partial: PartialResult) -> None:
    """Write the scores of a shard, in place of an earlier file as a whole.

    Raises:
        PipelineError: the disk is full, or the folder cannot be written to.
    """
    scores = partial.scores
    head = {
        "format": FORMAT,
        "version": _VERSION,
        "number": partial.number,
        "first": scores.first,
        "last": scores.last,
        "bad": [[row, column, repr(score)] for row, (column, score) in scores.bad.items()],
        "damaged_queries": list(scores.damaged_queries.items()),
        "damaged_database": list(scores.damaged_database.items()),
        "waited": scores.waited,
        "rows": scores.rows,
        **partial.description(),
    }
    try:
        with atomic_write(Path(path)) as file:
            np.savez(
                file,
                head=np.frombuffer(json.dumps(head).encode(), np.uint8),
                entries=scores.entries,
                sound_queries=scores.sound_queries,
                sound_database=scores.sound_database,
            )
    except OSError as error:
        raise PipelineError(f"{path}: cannot be written: {error.strerror or error}") from error


def read_partial(path: str | Path) -> PartialResult:
    """Read the scores of a shard.

    Raises:
        InputError: the file is none of `write_partial`, or is damaged.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            head = json.loads(arrays["head"].tobytes())
            if (head["format"], head["version"]) != (FORMAT, _VERSION):
                raise ValueError("another format or version")
            entries = arrays["entries"]
            if entries.dtype != SCORE:
                raise ValueError("scores of another type")
            scores = ShardScores(
                head["first"],
                head["last"],
                entries,
                {row: (column, float(score)) for row, column, score in head["bad"]},
                arrays["sound_queries"],
                arrays["sound_database"],
                dict(head["damaged_queries"]),
                dict(head["damaged_database"]),
                head["waited"],
                None if head.get("rows") is None else (head["rows"][0], head["rows"][1]),
            )
        info = _info(head["info"])
        return PartialResult(
            scores,
            head["number"],
            head["count"],
            head["query_ids"],
            head["database_ids"],
            head["listed_queries"],
            info,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{path}: is no result of `compare --shard`, or is damaged ({reason}); run that shard "
            "again"
        ) from error


def require_one_search(partials: Sequence[tuple[str, PartialResult]]) -> None:
    """Refuse shards of different searches, and a shard that is missing or given twice.

    Args:
        partials: (file, its content) of each.

    Raises:
        InputError: naming the file.
    """
    first_path, first = partials[0]
    seen: dict[int, str] = {}
    for path, partial in partials:
        if partial.description() != first.description():
            raise InputError(
                f"{path}: is of another search than {first_path}: queries, database, model or "
                "settings differ; run its shard again with the same options"
            )
        if partial.number in seen:
            raise InputError(f"{path}: is shard {partial.number}, as is {seen[partial.number]}")
        seen[partial.number] = path
    if missing := sorted(set(range(1, first.count + 1)) - set(seen)):
        raise InputError(
            f"shards {', '.join(map(str, missing))} of {first.count} are missing; give all files "
            "of `compare --shard K/N`"
        )


def _info(value: Mapping[str, Any]) -> ResultInfo:
    return ResultInfo(
        value["model"],
        value["model_digest"],
        value["settings"],
        value["top_k"],
        value["threshold"],
        value["max_fpr"],
    )
