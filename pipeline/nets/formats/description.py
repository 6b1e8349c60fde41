"""`model.json`: read strictly, and sealed by a digest over all that changes a score."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...checks import short_repr
from ...errors import ModelError
from ..model.aliases import ALIASES
from .archive import read_file
from .old_versions import OLD_DESCRIPTOR_KEYS, OLD_KEYS, upgrade

FORMAT_VERSION = 4
UNSEALED_VERSION = 1  # of earlier versions of this program, without a digest
OLD_VERSIONS = (UNSEALED_VERSION, 2)  # read through `old_versions`
LIST_VERSION = 3  # like 4, without `_LATER`; still written where it says all
SEAL = "values_sha256"
MAX_BYTES = 1 << 20
_MAX_NUMBER = 2**53  # beyond it whole numbers are not exact as floats
_TEXTS = ("licence", "origin", "description")  # for people; they may be edited
_REQUIRED: dict[str, type] = {
    "format_version": int,
    "name": str,
    "backbone": str,
    "input": dict,
    "taps": list,
    "grid": int,
    "whitening_dims": int,
    "attention": bool,
    "comparator": bool,
    "similarity_function": str,
    "weights_sha256": str,
}
_KINDS = {
    int: "a whole number",
    float: "a number with a decimal point",
    str: "text",
    bool: "true or false",
    list: "a list",
    dict: "an object of keys and values",
}
_LAYOUT: dict[str, type | tuple[type, ...]] = {"descriptors": list, "similarity_terms": list}
_OPTIONAL: dict[str, type | tuple[type, ...]] = {
    "licence": str,
    "origin": str,
    "description": str,
    "adaptation": bool,
    "residual_weight": float,
    "blank": dict,
    "insets": int,
    "calibration": (dict, list),  # earlier versions wrote the only one alone
    SEAL: str,
}
_LATER: dict[str, type | tuple[type, ...]] = {  # of format version 4
    "extractor": bool,
    "features": str,
    "windows": list,
    "head_dims": int,
    "attention_transform": bool,
    "binarization": bool,
    "comparator_padding": str,
}


def read_description(path: Path, sealed: bool = True) -> dict[str, Any]:
    """Keys and values of a model's description; keys and their types are checked.

    A description of versions 1 and 2 comes back as what version 3 says.

    Args:
        sealed: refuse values that do not fit their digest.

    Raises:
        ModelError: not readable, not of this format, or changed since it was written.
    """
    values = parsed(path)
    if "kind" in values:
        raise ModelError(
            f"{path}: describes a {short_repr(values['kind'])} student of DnS, which scores no "
            "pairs of frames; give the folder of a model, e.g. of dns_fg_att_student.pth"
        )
    version = values.get("format_version")
    versions = (*OLD_VERSIONS, LIST_VERSION, FORMAT_VERSION)
    if version not in versions or isinstance(version, (bool, float)):
        raise ModelError(
            f"{path}: format_version is {short_repr(version)}, this program reads "
            f"{versions[0]} to {versions[-1]}; use a release of the program that fits the model"
        )
    old = version in OLD_VERSIONS
    required = _REQUIRED if old else {**_REQUIRED, **_LAYOUT}
    optional = {**_OPTIONAL, **OLD_DESCRIPTOR_KEYS, **OLD_KEYS} if old else _OPTIONAL
    optional = {**optional, **_LATER} if version == FORMAT_VERSION else optional
    for key, kind in required.items():
        if key not in values:
            raise ModelError(f"{path}: key {key!r} is missing; see docs/MODELS.md")
        _check_kind(path, key, values[key], kind)
    for key in values.keys() - required.keys():
        if key not in optional or (old and key in ALIASES.values()):
            raise ModelError(f"{path}: unknown key {key[:80]!r}; see docs/MODELS.md")
        _check_kind(path, key, values[key], optional[key])
    if sealed:
        check_seal(path, values)
    try:
        return upgrade(values) if old else values
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: {error}; see docs/MODELS.md for the format") from error


def as_bytes(values: Mapping[str, Any]) -> bytes:
    """What `model.json` holds: the values, sealed. Every writer of the file goes through here."""
    content = {key: value for key, value in values.items() if key != SEAL}
    later = "kind" in content or any(key in content for key in _LATER)
    content["format_version"] = FORMAT_VERSION if later else LIST_VERSION
    return (json.dumps({**content, SEAL: _digest(content)}, indent=2) + "\n").encode()


def _digest(values: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over all values but the seal and texts for people."""
    counted = {k: v for k, v in values.items() if k != SEAL and k not in _TEXTS}
    text = json.dumps(counted, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def check_seal(path: Path, values: Mapping[str, Any]) -> None:
    """Refuse values that do not fit their digest.

    Raises:
        ModelError: the description is damaged or was edited.
    """
    seal = values.get(SEAL)
    if seal is None and values["format_version"] == UNSEALED_VERSION:
        return
    if seal != _digest(values):
        missing = "is missing" if seal is None else "does not fit the other values"
        raise ModelError(
            f"{path}: {SEAL} {missing}: the description is damaged or was edited; copy the model "
            f"again, or accept an edit of your own with `visil-index seal-model {path.parent}`"
        )


def parsed(path: Path) -> dict[str, Any]:
    """The object in a JSON file, read strictly; its keys are not checked.

    Raises:
        ModelError: not readable, or no such object.
    """
    try:
        values = json.loads(
            read_file(path, MAX_BYTES).decode("utf-8"),
            object_pairs_hook=_once,
            parse_constant=_number,
            parse_float=_number,
            parse_int=_whole,
        )
        json.dumps(values, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except RecursionError as error:
        raise ModelError(f"{path}: nested too deeply; copy the model again") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read: {error}; copy the model again") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path}: expected an object of keys and values; see docs/MODELS.md")
    return values


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice[:80]!r} is there twice")
    return values


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:80]} is no finite number")
    return number


def _whole(text: str) -> int:
    number = int(text)
    if abs(number) > _MAX_NUMBER:
        raise ValueError(f"the number {text[:20]}... is too large")
    return number


def _check_kind(path: Path, key: str, value: Any, kind: type | tuple[type, ...]) -> None:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        expected = " or ".join(_KINDS[k] for k in kinds)
        raise ModelError(
            f"{path}: {key} is {short_repr(value)}, expected {expected}; see docs/MODELS.md"
        )
