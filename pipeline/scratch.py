"""Temporary files, and the error where there is no room for them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from .errors import PipelineError


def scratch_file() -> IO[bytes]:
    """Open a file without a name, which is deleted when it is closed.

    Raises:
        PipelineError: no temporary folder can be written to.
    """
    with _named_errors():
        return tempfile.TemporaryFile()


@contextmanager
def scratch_folder() -> Iterator[str]:
    """Make a folder that is removed with its content at the end of the block.

    Raises:
        PipelineError: no temporary folder can be written to.
    """
    with _named_errors():
        folder = tempfile.TemporaryDirectory(prefix="visil-index-")
    with folder as path:
        yield path


@contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PipelineError(
            f"cannot make a temporary file: {error.strerror or error}; set the environment "
            "variable TMPDIR to a folder that can be written to and has room"
        ) from error
