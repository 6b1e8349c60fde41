"""What tests ask of an error: its kind, what it names and the remedy. Sentences may be reworded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def raises(
    kind: type[Exception], *named: object, remedy: str = ""
) -> Iterator[pytest.ExceptionInfo[Exception]]:
    """The block raises an error of this kind, in one line that names all of these.

    Args:
        kind: class of the error.
        named: file, video, setting and value that the message must contain, in any order.
        remedy: what the message says to do: a few words, a command or an option.
    """
    with pytest.raises(kind) as caught:
        yield caught
    assert_names(str(caught.value), *named, remedy=remedy)


def assert_names(message: str, *named: object, remedy: str = "") -> None:
    """One line that contains all of these; upper and lower case are alike."""
    assert message and "\n" not in message, repr(message)
    absent = [str(word) for word in (*named, remedy) if str(word).lower() not in message.lower()]
    assert not absent, f"not named: {absent}, in: {message}"


def assert_output(output: str, *named: object, remedy: str = "") -> None:
    """Some line of what a command printed contains all of these; upper and lower case are alike.

    Args:
        output: what the command printed.
        named: file, video, option and value that the line must contain, in any order.
        remedy: what the line says to do: a few words, a command or an option.
    """
    words = [str(word).lower() for word in (*named, remedy)]
    found = any(all(word in line for word in words) for line in output.lower().splitlines())
    assert found, f"no line names all of {words}, in: {output}"
