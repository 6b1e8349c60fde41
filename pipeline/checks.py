"""Checks of values that come from files. This module imports nothing of the package."""

from __future__ import annotations

import math
from typing import Any


def whole(what: str, value: Any, minimum: int, maximum: int) -> int:
    """Return the value, a whole number from `minimum` to `maximum`.

    Raises:
        ValueError: it is not; the message starts with `what`.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
        raise ValueError(f"{what} is {short_repr(value)}, expected int from {minimum} to {maximum}")
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


def short_repr(value: Any) -> str:
    """The value for a message: `repr`, of 80 characters at most."""
    try:
        text = repr(value)
    except ValueError:  # of a whole number with thousands of digits
        return "a huge number"
    return text if len(text) <= 80 else f"{text[:80]}..."
