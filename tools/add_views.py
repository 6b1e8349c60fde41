"""Adds the views of a query that the shipped model's comparator was trained without.

They came after the training, and are worth their place without another one (benchmarks/NOTES.md).
They are numbers in the model's description: its weights stay as they are, byte for byte, and so do
stores of databases. Stores of queries have to be made anew.

    python tools/add_views.py MODEL_DIR
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.cli.common import backbone_dtype
from pipeline.nets.formats import native
from pipeline.nets.model.descriptors import View

VIEWS = (
    View("turned", 90.0, hubness=1.0),  # a telephone held the other way, a quarter to either side
    View("turned", 180.0, hubness=1.0),
    View("matted", 0.65),  # a screen filmed by hand, in a lit room
)


def add_views(directory: Path) -> None:
    """Those that the model in a directory does not have yet; a calibration is dropped with that.

    Raises:
        ModelError: no model of our format there.
        ValueError: the model has no soft vector, which views are compared with.
    """
    weights = native.read(directory)
    fresh = tuple(view for view in VIEWS if view not in weights.views)
    if fresh:
        more = replace(weights, views=weights.views + fresh, calibrations=())
        native.write(more, directory, backbone_dtype(weights))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("model_dir", type=Path)
    add_views(parser.parse_args().model_dir)


if __name__ == "__main__":
    main()
