"""Checks of values that come from files. This module imports nothing of the package."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

Record = TypeVar("Record")


def whole(what: str, value: Any, minimum: int, maximum: int) -> int:
    """Return the value, a whole number from `minimum` to `maximum`.

    Raises:
        ValueError: it is not; the message starts with `what`.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
        raise ValueError(
            f"{what} is {short_repr(value)}, expected a whole number from {minimum} to {maximum}"
        )
    return value


def number(what: str, value: Any) -> float:
    """Return the value as a float.

    Raises:
        ValueError: it is no finite number; the message starts with `what`.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError(f"{what} is {short_repr(value)}, expected a number")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise ValueError(f"{what} is {short_repr(value)}, expected a finite number")
    return result


def text(what: str, value: Any) -> str:
    """Return the value, a text.

    Raises:
        ValueError: it is no text; the message starts with `what`.
    """
    if not isinstance(value, str):
        raise ValueError(f"{what} is {short_repr(value)}, expected text")
    return value


def numbers(what: str, value: Any) -> tuple[float, ...]:
    """Return the value, a list of finite numbers.

    Raises:
        ValueError: it is none; the message starts with `what`.
    """
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{what} is {short_repr(value)}, expected a list of numbers")
    return tuple(number(what, item) for item in value)


def record(what: str, kind: type[Record], values: Mapping[str, Any], **known: Any) -> Record:
    """Make a dataclass of values from a file.

    Args:
        what: names the values in messages.
        known: fields that are not in the file.

    Raises:
        ValueError: a field is missing or unknown; the message starts with `what`.
    """
    names = {field.name: field for field in fields(kind) if field.name not in known}  # type: ignore[arg-type]
    for key in values:
        if key not in names:
            raise ValueError(
                f"{what}: unknown key {short_repr(key)}, expected one of {', '.join(names)}"
            )
    for name, field in names.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{what}: key {name!r} is missing")
    return kind(**known, **values)


def short_repr(value: Any) -> str:
    """The value for a message: `repr`, of 80 characters at most."""
    try:
        text = repr(value)
    except ValueError:  # of a whole number with thousands of digits
        return "a huge number"
    return text if len(text) <= 80 else f"{text[:80]}..."
