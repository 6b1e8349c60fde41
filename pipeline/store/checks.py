"""What a manifest may say: a store may be damaged, or made by somebody who means harm.

Numbers and names of all videos are checked in bulk when a store is opened, which takes a small part
of the time that reading them takes; where a video came from, when somebody asks for it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable
from dataclasses import fields
from itertools import chain
from typing import Any

from ..records import SourceInfo
from .keys import are_keys

MAX_FRAMES = 10**9  # 31 years at one frame a second
_MAX_NUMBER = 1 << 62
_HEX = b"0123456789abcdef"


def strict_json(text: str) -> Any:
    """The value of JSON text.

    Raises:
        ValueError: no JSON, a name twice in one object, or NaN and its like.
        RecursionError: nested too deep.
    """
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)


def check_keys(keys: Collection[str]) -> None:
    """Raises ValueError if one is no name that `keys.KeyMaker` could have made."""
    if not are_keys(keys):
        raise ValueError("a key is not one that this program makes")


def check_ids(ids: Collection[str]) -> None:
    """Raises ValueError if one is empty or holds a tab, line break or NUL."""
    joined = "".join(ids)
    if "" in ids or any(c in joined for c in "\t\r\n\0"):
        raise ValueError("an id is empty or holds a tab, line break or NUL")


def check_checksums(sums: Collection[str]) -> None:
    """Raises ValueError if one is not of eight hexadecimal digits."""
    joined = "".join(sums).encode("ascii")
    if set(map(len, sums)) - {8} or joined.translate(None, _HEX):
        raise ValueError("a checksum is not of eight hexadecimal digits")


def check_whole(values: Collection[int], least: int, most: int = _MAX_NUMBER) -> None:
    """Raises ValueError if one is no integer (True is none), or outside `least`..`most`."""
    if values and (set(map(type, values)) != {int} or min(values) < least or max(values) > most):
        raise ValueError(f"a number is no whole number from {least} to {most}")


def check_insets(insets: Iterable[tuple[int, ...]], frames: Iterable[int]) -> None:
    """Raises ValueError if insets are no frame counts, or leave none for the video itself."""
    some = [(i, f) for i, f in zip(insets, frames, strict=True) if i]
    check_whole(list(chain.from_iterable(i for i, _ in some)), 0, MAX_FRAMES)
    if any(sum(i) >= f for i, f in some):
        raise ValueError("a video has insets only")


def source_from(value: dict[str, Any]) -> SourceInfo:
    """Where a video came from, out of its JSON form; fields of later versions are ignored.

    Raises:
        ValueError, TypeError: a field is of another type, or one is missing.
    """
    known = {f.name: f.type for f in fields(SourceInfo)}
    found = {k: v for k, v in value.items() if k in known}
    for name, item in found.items():
        _check_field(item, str(known[name]))
    return SourceInfo(**found)


def text_from(value: Any) -> str:
    """`value`. Raises ValueError if it is no text."""
    if not isinstance(value, str):
        raise ValueError(f"{type(value).__name__} in place of text")
    return value


def _check_field(value: Any, kind: str) -> None:
    if kind == "str":
        text_from(value)
    elif kind == "int":
        check_whole([value], -_MAX_NUMBER * 2, _MAX_NUMBER * 2)
    elif type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{type(value).__name__} in place of a finite number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")
