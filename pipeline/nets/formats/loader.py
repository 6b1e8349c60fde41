"""Model directory -> `Model`, whichever of the two formats it holds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ...calibration.curve import Calibration
from ...errors import ModelError
from ..model.model import Model
from ..model.student import Student
from . import native, student_files, torch_weights, visil_tf

EXPECTED = (
    "expected a published release (model.ckpt.index, model.ckpt.data-00000-of-00001, pca.npz) "
    "or our own format (model.json, weights.npz)"
)


def load_model(model_dir: str | Path, dims: int | None = None) -> Model:
    """Read a model directory.

    A published release wins over our own format beside it: after unpacking one into the folder
    of the shipped model, that release is what its user wants. `Model.origin` tells.

    Args:
        model_dir: directory with a published release, or with model.json and weights.npz.
        dims: keep only the first whitened values of each region vector; None keeps all.

    Raises:
        ModelError: no model there, part of one, a damaged one, or dims that it cannot give.
    """
    directory = Path(model_dir)
    try:
        if not directory.is_dir():
            raise ModelError(f"{directory}: no such model directory; {EXPECTED}")
        if visil_tf.is_published(directory):
            weights = visil_tf.read(directory)
        elif native.is_own(directory):
            weights = native.read(directory)
        else:
            raise ModelError(f"{directory}: no model in it; {EXPECTED}")
    except OSError as error:
        raise ModelError(f"{directory}: cannot be read: {error}; {EXPECTED}") from error
    except MemoryError as error:
        raise ModelError(
            f"{directory}: not enough memory to read this model; free some, or copy it again"
        ) from error
    return weights.with_dims(dims)


def convert(src_dir: str | Path, dst_dir: str | Path) -> Model:
    """Write a published release in our own format: same features, same digest.

    Args:
        src_dir: published release.
        dst_dir: folder for model.json and weights.npz; made if needed.

    Returns:
        the model as read back from `dst_dir`.

    Raises:
        ModelError: no release in `src_dir`, or `dst_dir` holds a model already.
    """
    source, target = Path(src_dir), Path(dst_dir)
    if not source.is_dir() or not visil_tf.is_published(source):
        raise ModelError(f"{source}: no published release in it; {visil_tf.REMEDY}")
    if visil_tf.is_published(target) or native.is_own(target):
        raise ModelError(f"{target}: holds a model already; choose an empty folder")
    native.write(visil_tf.read(source), target)
    return native.read(target)


def convert_files(
    sources: Sequence[str | Path], dst_dir: str | Path, name: str = ""
) -> Model | Student:
    """Write published PyTorch weights in our own format.

    Args:
        sources: weight files of the family, in any order, each told by its content: one head, and
            either backbone and PCA, or a folder of a converted model that has both, or neither for
            a head alone, which compares stored features.
        dst_dir: folder for model.json and weights.npz; made if needed.
        name: of the model; empty takes the name of the head's file.

    Returns:
        the model, or the student of DnS, as read back from `dst_dir`.

    Raises:
        ModelError: files that are no weights of the family or do not belong together, or `dst_dir`
            holds a model already.
    """
    paths, target = [Path(source) for source in sources], Path(dst_dir)
    if visil_tf.is_published(target) or native.is_own(target):
        raise ModelError(f"{target}: holds a model already; choose an empty folder")
    folders = [path for path in paths if path.is_dir()]
    if len(folders) > 1:
        raise ModelError(f"{folders[1]}: is a second folder; give one model at most")
    parts = torch_weights.read_parts([path for path in paths if not path.is_dir()])
    model = torch_weights.assembled(parts, load_model(folders[0]) if folders else None, name)
    if isinstance(model, Student):
        student_files.write(model, target)
        return student_files.read(target)
    native.write(model, target)
    return native.read(target)


def load_student(directory: str | Path) -> Student:
    """Read a coarse-grained student or a selector of DnS.

    Raises:
        ModelError: the folder holds none, or a damaged one.
    """
    return student_files.read(Path(directory))


def seal(model_dir: str | Path) -> None:
    """Accept a model's description as it is, after an edit by hand; see `native.seal`.

    Raises:
        ModelError: the folder holds no model in our own format, or one that cannot be used.
    """
    directory = Path(model_dir)
    if not native.is_own(directory):
        raise ModelError(f"{directory}: no model in our own format in it; expected model.json")
    native.seal(directory)


def calibrate(model_dir: str | Path, calibration: Calibration) -> None:
    """Keep a calibration in a model's description, in place of one for the same comparing.

    Raises:
        ModelError: the folder holds no model in our own format, or cannot be written.
    """
    check_calibratable(model_dir)
    native.write_calibration(calibration, Path(model_dir))


def check_calibratable(model_dir: str | Path) -> None:
    """Before a calibration is made: whether it could be kept. Raises what `calibrate` raises."""
    directory = Path(model_dir)
    if visil_tf.is_published(directory):
        raise ModelError(
            f"{directory}: a published release has no place for a calibration; convert it to our "
            "own format first (visil-index convert-model)"
        )
    if not native.is_own(directory):
        raise ModelError(f"{directory}: no model in it; {EXPECTED}")
    if not os.access(directory, os.W_OK):
        raise ModelError(
            f"{directory}: no permission to write into it; calibrate a copy of the model"
        )
