"""Standard streams that are closed, full or gone."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO

import click

from ..text import json_text, visible


def ready() -> None:
    """Give closed standard streams (`2>&-`) something to be, and let results be any text.

    The next file to be opened would take their number, and what a C library prints would be
    written into that file: a store.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)
    sys.stdout = sys.stdout or nowhere()
    sys.stderr = sys.stderr or nowhere()
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # ids that a terminal cannot show


def show(text: str = "") -> None:
    """A line of a result to standard output; control characters in names are escaped."""
    click.echo(visible(text))


def show_json(value: Any) -> None:
    """A line of JSON in UTF-8 to standard output, whatever the terminal can show."""
    click.echo(json_text(value).encode())


def tell(text: str, begin: str = "", nl: bool = True) -> None:
    """Write to standard error; a log on a full disk does not end the work that it tells of.

    Args:
        text: control characters in it, as names may hold them, are escaped.
        begin: written before it as it is.

    Raises:
        BrokenPipeError: nobody reads any more; the command then ends as others in a pipe do.
    """
    try:
        click.echo(begin + visible(text), nl=nl, err=True)
    except BrokenPipeError:
        raise
    except OSError:
        sys.stderr = nowhere()  # what the old one still holds would fail again at the end


def nowhere() -> TextIO:
    """A stream that takes everything."""
    return open(os.devnull, "w", encoding="utf-8")
