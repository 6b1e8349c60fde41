"""Copies of kinds that the model was not made for, see `dataset.unseen_transforms`.

    python -m benchmarks.retrieval.studies.unseen_copies SET_DIR [--split validation] [--model_dir
        model]

As `wide`: every clip of the split asks, distractors too. Each kind has copies of every other clip,
made on the first run in SET_DIR/SPLIT/wild and searched for among all of the split's database.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.retrieval import command
from benchmarks.retrieval.dataset.plan import wild_copies
from benchmarks.retrieval.studies import all_clips

FOLDER = "wild"


def rows_of(options: argparse.Namespace) -> list[list[str]]:
    """Cells of the table."""
    return all_clips.rows_of(options, wild_copies, FOLDER)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    return command.run(__doc__, all_clips.HEADS, rows_of, arguments)


if __name__ == "__main__":
    sys.exit(main())
