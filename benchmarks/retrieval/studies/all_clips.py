"""Every clip of a split asks for further hard copies of itself: more to choose by.

    python -m benchmarks.retrieval.studies.all_clips SET_DIR [--split validation] [--model_dir
        model]

The benchmark's queries are few, so that of some kinds a handful of copies of two clips makes the
figure. Here distractors ask as well, and of each clip there are more copies of the kinds in
`extraction.plan.FURTHER`, made on the first run in SET_DIR/SPLIT/further. They are searched for
among all of the split's database; what is related there in another way (other copies of the clip,
copies that show it as their host) is not counted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.retrieval import command
from benchmarks.retrieval.dataset.build import clips_of, write_copies
from benchmarks.retrieval.dataset.plan import Clip, Copy, further_copies
from benchmarks.retrieval.studies.evaluate import configs, model_scores, model_store, to_stderr
from benchmarks.retrieval.studies.unrelated_pairs import Strangers, read_strangers
from pipeline.config import CompareConfig, ExtractConfig
from pipeline.metrics import Figures, figures

FOLDER = "further"
HEADS = ["", "mAP", "uAP", "recall at 1 %", "recall at 0.1 %", "copies"]


def truth(strangers: Strangers, copies: Sequence[Copy]) -> tuple[np.ndarray, np.ndarray]:
    """Of every clip with the database and then the copies, both [clips, videos].

    Returns:
        str, the kind of a copy to be found, else ""; and bool, what else is counted.
    """
    clips = list(strangers.queries)
    kinds = [[copy.kind if copy.clip.name == clip else "" for copy in copies] for clip in clips]
    unrelated = [[clip not in (c.clip.name, c.host.name) for c in copies] for clip in clips]
    none = np.full(strangers.unrelated.shape, "", dtype="<U24")
    return (
        np.concatenate([none, np.array(kinds, dtype="<U24")], axis=1),
        np.concatenate([strangers.unrelated, np.array(unrelated)], axis=1),
    )


def figures_of(
    copies: Sequence[Copy],
    kept: str,
    split_dir: Path,
    model_dir: Path,
    extract: ExtractConfig,
    compare: CompareConfig,
) -> dict[str, Figures]:
    """Kind of copy -> figures, "all" first.

    Args:
        copies: made if they are not in the folder `kept` of the split yet.

    Raises:
        FileNotFoundError: the split was not built.
    """
    strangers = read_strangers(split_dir)
    write_copies(copies, split_dir, kept, os.cpu_count() or 1)
    further = {c.name: str((split_dir / kept / c.name).resolve()) + ".mp4" for c in copies}
    folder = split_dir / "stores"
    asked = model_store(
        strangers.queries, folder / "strangers", model_dir, replace(extract, insets=0), to_stderr,
        as_queries=True,
    )  # fmt: skip
    searched = [
        model_store(videos, folder / name, model_dir, extract, to_stderr, as_queries=False)
        for name, videos in (("database", strangers.database), (kept, further))
    ]
    kinds, unrelated = truth(strangers, copies)
    names = list(strangers.queries)
    columns = [*strangers.database, *further]
    scores = model_scores((asked, searched), (names, columns), model_dir, compare)
    found = {"all": figures(scores, kinds != "", (kinds != "") | unrelated)}
    for kind in dict.fromkeys(copy.kind for copy in copies):
        found[kind] = figures(scores, kinds == kind, (kinds == kind) | unrelated)
    return found


def rows_of(
    options: argparse.Namespace,
    planned: Callable[[Sequence[Clip]], list[Copy]] = further_copies,
    kept: str = FOLDER,
) -> list[list[str]]:
    """Cells of the table, for the copies of a split's clips in a folder of the split."""
    split_dir = options.set_dir / options.split
    copies = planned(clips_of(options.split, split_dir))
    found = figures_of(copies, kept, split_dir, options.model_dir, *configs(options))
    rows = []
    for kind, one in found.items():
        values = one.mean_ap, one.micro_ap, one.recall_1, one.recall_01
        rows.append([kind, *(f"{value:.3f}" for value in values), str(one.pairs)])
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    return command.run(__doc__, HEADS, rows_of, arguments)


if __name__ == "__main__":
    sys.exit(main())
