"""Checks what a Python user gives to an index: a wrong type is answered with what is expected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .. import api
from ..errors import InputError
from ..records import VideoRef

_STORE = "the path of a store, several, or {prefix: path}"
_VIDEO = "a path, a VideoRef, several of these, or {id: path}"


def store_pairs(stores: Iterable[Any]) -> list[tuple[str, str | Path]]:
    """(prefix, path) of each store.

    Args:
        stores: of each a path, several, or `{prefix: path}`.

    Raises:
        InputError: no store, or something else.
    """
    pairs: list[tuple[str, str | Path]] = []
    for store in stores:
        check(store, "store", (str, Path, Mapping, list, tuple), _STORE)
        for prefix in store if isinstance(store, Mapping) else ():
            check(prefix, "prefix of a store", (str,), "a text")
        for prefix, path in api._stores(store):
            check(path, "store", (str, Path), _STORE)
            pairs.append((prefix, path))
    if not pairs:
        raise InputError(f"no store given, expected {_STORE}")
    return pairs


def listed_paths(videos: Any) -> list[str | Path | VideoRef]:
    """Videos that are given as one or as several.

    Raises:
        InputError: something else is among them.
    """
    items = videos if _iterable(videos) else [videos]
    paths = list(items)
    for path in paths:
        check(path, "a video to search for", (str, Path, VideoRef), _VIDEO)
    return paths


def listed_ids(ids: Any) -> list[str]:
    """Ids of stored videos, given as one or as several, each once.

    Raises:
        InputError: none, or something that is no text.
    """
    chosen = list(ids if _iterable(ids) else [ids])
    for video_id in chosen:
        check(video_id, "id of a stored video", (str,), "a text, or several")
    if not chosen:
        raise InputError("ids is empty, expected the id of a stored video, or several")
    return list(dict.fromkeys(chosen))


def check(value: Any, name: str, kinds: tuple[type, ...], expected: str) -> None:
    """Refuse a value of another type.

    Args:
        name: of the value, and what is expected, for the message.

    Raises:
        InputError: naming the value and what is expected.
    """
    if not isinstance(value, kinds):
        raise InputError(f"{name} is {value!r}, expected {expected}")


def _iterable(value: Any) -> bool:
    """Several things, and not one that happens to consist of letters."""
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes, Path))
