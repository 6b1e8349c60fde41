"""Checks of a manifest: a store may be damaged, or made to do harm.

Numbers and names of all videos are checked in bulk when a store is opened, which takes a small part
of the time of reading them. The source of a video is checked when it is read.
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
MAX_NUMBER = 1 << 62
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


def check_whole(values: Collection[int], minimum: int, maximum: int = MAX_NUMBER) -> None:
    """Raises ValueError if one is no integer (True is none), or outside `minimum`..`maximum`."""
    if not values:
        return
    if set(map(type, values)) != {int} or min(values) < minimum or max(values) > maximum:
        raise ValueError(f"a number is no whole number from {minimum} to {maximum}")


def check_insets(insets: Iterable[tuple[int, ...]], frames: Iterable[int]) -> None:
    """Raises ValueError if insets are no frame counts, or leave none for the video itself."""
    present = [(i, f) for i, f in zip(insets, frames, strict=True) if i]
    check_whole(list(chain.from_iterable(i for i, _ in present)), 0, MAX_FRAMES)
    if any(sum(i) >= f for i, f in present):
        raise ValueError("a video has insets only")


def source_from(value: dict[str, Any]) -> SourceInfo:
    """Parse the source of a video from its JSON form; fields of later versions are ignored.

    Raises:
        ValueError, TypeError: a field is of another type, or one is missing.
    """
    types = {f.name: f.type for f in fields(SourceInfo)}
    present = {k: v for k, v in value.items() if k in types}
    for name, item in present.items():
        _check_field(item, str(types[name]))
    return SourceInfo(**present)


def text_from(value: Any) -> str:
    """`value`. Raises ValueError if it is no text."""
    if not isinstance(value, str):
        raise ValueError(f"{type(value).__name__} in place of text")
    return value


def _check_field(value: Any, kind: str) -> None:
    if kind == "str":
        text_from(value)
    elif kind == "int":
        check_whole([value], -MAX_NUMBER * 2, MAX_NUMBER * 2)
    elif type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{type(value).__name__} in place of a finite number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")
