"""Standard streams that are closed, full or gone."""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO

import click


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


def tell(text: str, nl: bool = True) -> None:
    """Write to standard error; a log on a full disk does not end the work that it tells of.

    Raises:
        BrokenPipeError: nobody reads any more; the command then ends as others in a pipe do.
    """
    try:
        click.echo(text, nl=nl, err=True)
    except BrokenPipeError:
        raise
    except OSError:
        sys.stderr = nowhere()  # what the old one still holds would fail again at the end


def nowhere() -> TextIO:
    """A stream that takes everything."""
    return open(os.devnull, "w", encoding="utf-8")
