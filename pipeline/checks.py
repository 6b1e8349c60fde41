"""Values out of files, of the kind that they should be. This module imports nothing of ours."""

from __future__ import annotations

import math
from typing import Any


def whole(what: str, value: Any, least: int, most: int) -> int:
    """The value, a whole number within both ends.

    Raises:
        ValueError: it is none; the message starts with `what`.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{what} is {shown(value)}, expected int from {least} to {most}")
    return value


def number(what: str, value: Any) -> float:
    """The value as a float.

    Raises:
        ValueError: no finite number; the message starts with `what`.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError(f"{what} is {shown(value)}, expected a number")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise ValueError(f"{what} is {shown(value)}, expected a finite number")
    return found


def text(what: str, value: Any) -> str:
    """The value, a text.

    Raises:
        ValueError: it is none; the message starts with `what`.
    """
    if not isinstance(value, str):
        raise ValueError(f"{what} is {shown(value)}, expected text")
    return value


def shown(value: Any) -> str:
    """The value for a message: `repr`, of 80 characters at most."""
    try:
        found = repr(value)
    except ValueError:  # of a whole number with thousands of digits
        return "a huge number"
    return found if len(found) <= 80 else f"{found[:80]}..."
