"""The videos of a split as queries for a calibration: every clip, what is related to it, parents.

    python -m benchmarks.retrieval.studies.unrelated_pairs SET_DIR [--split validation]

Writes into SET_DIR/SPLIT/strangers, for `visil-index extract --as_queries` and `calibrate`:
`queries.txt` (all clips, distractors too), `related.tsv` (a clip, and a database video that is it,
a copy of it, or a copy that shows it as its host), `groups.tsv` (the parent of every clip and
copy). As in `truth.tsv`, two parts of one film are unrelated.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.retrieval.dataset.sources import SPLITS, read_sources
from benchmarks.retrieval.studies.evaluate import read_lists, to_stderr

FOLDER = "strangers"


@dataclass(frozen=True)
class Strangers:
    """All clips of a split against its database.

    Attributes:
        queries, database: id -> path.
        unrelated: bool [Q, D].
        parents: of every id on either side.
        asked: bool [Q], which of the clips are queries of the benchmark.
    """

    queries: dict[str, str]
    database: dict[str, str]
    unrelated: np.ndarray
    parents: dict[str, str]
    asked: np.ndarray


def read_strangers(split_dir: Path) -> Strangers:
    """From the lists and the plan that `build` left there.

    Raises:
        FileNotFoundError: the split was not built.
    """
    asked, database, kinds = read_lists(split_dir)
    hosts = {}
    for line in (split_dir / "copies" / "plan.tsv").read_text(encoding="utf-8").splitlines():
        copy, _, _, host = line.split("\t")
        hosts[copy] = host
    # The name of a copy begins with that of its clip; neither holds a hyphen itself.
    distractors = {name: path for name, path in database.items() if name not in hosts}
    queries = asked | distractors
    rows = {name: i for i, name in enumerate(queries)}
    parent_of = {source.name: source.parent for source in read_sources()}
    parents = {name: parent_of[name.rpartition("_")[0]] for name in queries}
    unrelated = np.ones((len(queries), len(database)), dtype=bool)
    for column, name in enumerate(database):
        clip = name.partition("-")[0]
        parents[name] = parents[clip]
        for shown in (clip, hosts.get(name, clip)):
            unrelated[rows[shown], column] = False
    missed = [
        (query, copy)
        for query, row in zip(asked, kinds, strict=True)
        for copy, kind in zip(database, row, strict=True)
        if kind and unrelated[rows[query], list(database).index(copy)]
    ]
    assert not missed, f"in truth.tsv, but not related: {missed[:3]}"
    return Strangers(
        queries, database, unrelated, parents, np.array([name in asked for name in queries])
    )


def write_strangers(strangers: Strangers, split_dir: Path) -> Path:
    """The three lists; their folder."""
    folder = split_dir / FOLDER
    folder.mkdir(exist_ok=True)
    names, columns = list(strangers.queries), list(strangers.database)
    pairs = [f"{names[i]}\t{columns[j]}" for i, j in np.argwhere(~strangers.unrelated)]
    for name, lines in (
        ("queries.txt", [f"{name}\t{path}" for name, path in strangers.queries.items()]),
        ("related.tsv", pairs),
        ("groups.tsv", [f"{name}\t{parent}" for name, parent in strangers.parents.items()]),
    ):
        text = "".join(f"{line}\n" for line in lines)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("set_dir", type=Path)
    parser.add_argument("--split", choices=SPLITS, default="validation")
    options = parser.parse_args()
    split_dir = options.set_dir / options.split
    try:
        strangers = read_strangers(split_dir)
    except FileNotFoundError as error:
        to_stderr(str(error))
        return 1
    folder = write_strangers(strangers, split_dir)
    print(
        f"{folder}: {len(strangers.queries)} queries, {strangers.unrelated.sum()} unrelated pairs"
        f" of {len(set(strangers.parents.values()))} parents"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
