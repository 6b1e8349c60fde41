"""Folders of DnS's coarse-grained student and selector: the files of our format, other values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...checks import short_repr, text
from ...errors import ModelError
from ..model.student import SHAPES, Student
from . import native
from .description import FORMAT_VERSION, check_seal, parsed

_TEXTS = ("kind", "name", "features_digest", "weights_sha256")
_KEYS = {"format_version", *_TEXTS, "origin", "licence", "values_sha256"}


def write(student: Student, directory: Path) -> None:
    """Write the student; the description comes last, as with a model.

    Args:
        directory: made if needed; files of our format in it are replaced.

    Raises:
        ModelError: the files cannot be written.
    """

    def describe(sha256: str) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "kind": student.kind,
            "name": student.name,
            "licence": student.licence,
            "origin": student.provenance,
            "features_digest": student.features_digest,
            "weights_sha256": sha256,
        }

    native.write_folder(directory, student.arrays, describe)


def read(directory: Path) -> Student:
    """The student in a folder.

    Raises:
        ModelError: none there, or one that is damaged or was edited.
    """
    path = directory / native.DESCRIPTION_FILE
    if not path.exists():
        raise ModelError(f"{directory}: no model.json in it; write one with convert-model")
    values = parsed(path)
    if "kind" not in values:
        raise ModelError(
            f"{path}: describes a model and no student; give the folder of a converted "
            "dns_cg_student.pth or selector"
        )
    try:
        if values.get("format_version") != FORMAT_VERSION:
            version = short_repr(values.get("format_version"))
            raise ValueError(f"format_version is {version}, a student has {FORMAT_VERSION}")
        for key in _TEXTS:
            text(key, values.get(key))
        if values.keys() - _KEYS or values["kind"] not in SHAPES:
            unknown = sorted(values.keys() - _KEYS) or [values["kind"]]
            raise ValueError(f"{short_repr(unknown[0])} is unknown")
        check_seal(path, values)
        shapes = SHAPES[values["kind"]]

        def check(name: str, shape: tuple[int, ...]) -> bool:
            if shapes.get(name) != shape:
                raise ValueError(f"array {name[:80]!r} is {shape}, expected {shapes.get(name)}")
            return True

        sha256 = values["weights_sha256"]
        arrays = native.read_weights(directory / native.WEIGHTS_FILE, sha256, check)
        return Student(
            kind=values["kind"],
            name=values["name"],
            arrays=arrays,
            features_digest=values["features_digest"],
            provenance=text("origin", values.get("origin", "")),
            licence=text("licence", values.get("licence", "")),
        )
    except ValueError as error:
        raise ModelError(f"{path}: {error}; convert the student again") from error
