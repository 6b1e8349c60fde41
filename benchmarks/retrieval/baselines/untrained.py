"""The model's backbone as it was found, with nothing fitted: what stage one was before any of this.

ViSiL_f (ViSiL, ICCV 2019, section 4.2) without whitening: regions of the middle of the picture,
Chamfer similarity of frames and of videos. How hard a set is can be told from how it fares there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.cli.common import backbone_dtype
from pipeline.nets.formats import native
from pipeline.nets.formats.loader import load_model
from pipeline.nets.model.model import Model
from pipeline.nets.model.whitening import Whitening


@contextmanager
def untrained_dir(model_dir: Path) -> Iterator[Path]:
    """Folder of the `untrained` model of another one, while it is needed."""
    with tempfile.TemporaryDirectory() as folder:
        plain = untrained(load_model(model_dir))
        native.write(plain, Path(folder), backbone_dtype(plain))
        yield Path(folder)


def untrained(model: Model) -> Model:
    """A model of the same backbone, taps and grid, and nothing else of it.

    The shorter side is resized to 8/7 of the input (256 for 224) and the middle cut out, as the
    backbone was tested.
    """
    size = len(model.whitening.mean)
    identity = Whitening(
        np.zeros(size, np.float32), np.eye(size, dtype=np.float32), np.ones(size, np.float32)
    )
    crop = model.input.crop
    return Model(
        name="untrained",
        origin=model.origin,
        backbone=model.backbone,
        arrays=model.arrays,
        input=replace(model.input, resize=crop * 8 // 7, method="bicubic"),
        taps=model.taps,
        grid=model.grid,
        whitening=identity,
        similarity_function="chamfer",
    )
