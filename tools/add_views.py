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
from pipeline.nets.model.descriptors import QueryAugmentation

# Augmentation, and the share of CSLS that is taken off its similarity.
AUGMENTATIONS = (
    (QueryAugmentation("rotate", 90.0), 1.0),  # a telephone held the other way, to either side
    (QueryAugmentation("rotate", 180.0), 1.0),
    (QueryAugmentation("pad_mean", 0.65), 0.0),  # a screen filmed by hand, in a lit room
)


def add_views(directory: Path) -> None:
    """Those that the model in a directory does not have yet; a calibration is dropped with that.

    Raises:
        ModelError: no model of our format there.
        ValueError: the model has no lowpass descriptor, which they are compared with.
    """
    model = native.read(directory)
    layout = model.layout
    present = [group.augmentation for group in layout.groups if group.space == "lowpass"]
    for augmentation, csls in AUGMENTATIONS:
        if augmentation not in present:
            layout = layout.with_augmentation(augmentation, csls=csls)
    if layout != model.layout:
        more = replace(model, layout=layout, calibrations=())
        native.write(more, directory, backbone_dtype(model))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("model_dir", type=Path)
    add_views(parser.parse_args().model_dir)


if __name__ == "__main__":
    main()
