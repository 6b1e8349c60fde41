"""Where a result is written: a file that is replaced as a whole, or a stream.

A regular file is written under a temporary name and renamed into place: whoever reads it sees the
old one or the whole new one. Anything else (standard output, a pipe, `/dev/fd/63` of a shell's
process substitution) is written to as it is; a file behind a redirect is never replaced.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from ..atomic import atomic_write
from ..errors import InputError, PipelineError

STANDARD_OUTPUT = "-"
# What is no text in UTF-8 (half of a surrogate pair) becomes `\udc80`, as JSON escapes it.
_TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace", "newline": "\n"}
_MAX_LINKS = 40  # as Linux follows
_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a block device"}


def check_output_file(
    path: str | Path, inputs: Iterable[str | Path] = (), *, option: str = "--output_file"
) -> None:
    """Fail before the work, not after it, if the result cannot be written.

    Args:
        path: of a file, of a pipe or character device, or `-` for standard output.
        inputs: stores, lists, videos and the model's folder that the result is made of, there
            already or still to be made; of a folder all that is in it.
        option: by which the path is given, for messages.

    Raises:
        InputError: the folder does not exist or is not writable, the path is a folder, a socket or
            a block device, or it is one of the inputs or in one, which the result would replace.
    """
    if not str(path):
        raise InputError(f"{option} is empty, expected a file name, or - for standard output")
    for other in inputs:
        if _same_file(path, other):
            raise InputError(
                f"{path}: is an input as well, the result would replace it; "
                f"give {option} another name"
            )
        if _lies_in(path, other):
            raise InputError(
                f"{path}: lies in {other}, which is an input; give {option} a place outside of it"
            )
    try:
        if (descriptor := _descriptor(path)) is not None:
            _check_descriptor(path, descriptor)
        elif is_stream(path):
            _check_stream(path, option)
        else:
            _check_folder(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written to: {error.strerror}") from error


def is_stream(path: str | Path) -> bool:
    """Whether the result is written to as it comes, and not renamed into place."""
    if str(path) == STANDARD_OUTPUT or _process_link(path):
        return True
    target = behind_links(path)
    return target.exists() and not target.is_file()


def scratch_folder(path: str | Path) -> str | None:
    """Where a result may keep what is too large for memory; None where there is no such place."""
    if not is_stream(path):
        return os.path.dirname(path) or os.curdir
    with suppress(FileNotFoundError):
        return tempfile.gettempdir()
    return None


@contextmanager
def opened_output(path: str | Path, *, binary: bool = False) -> Iterator[IO[Any]]:
    """The result as a file to write to; a regular file appears when the block has ended.

    Args:
        binary: bytes are written; else text.

    Raises:
        PipelineError: it cannot be written; a file that was there stays as it was.
        BrokenPipeError: nobody reads the pipe any more.
    """
    mode, options = ("wb", {}) if binary else ("w", _TEXT)
    try:
        if is_stream(path):
            with open(_open_stream(path), mode, **options) as file:
                yield file
        else:
            with atomic_write(behind_links(path), mode, **options) as file:
                yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        raise PipelineError(f"{path}: cannot write the result: {error}") from error


def behind_links(path: str | Path) -> Path:
    """Where the file is: renaming onto a link would replace the link."""
    return Path(os.path.realpath(path))


def _open_stream(path: str | Path) -> int:
    descriptor = _descriptor(path)
    if descriptor is None:
        return os.open(path, os.O_WRONLY | os.O_APPEND)
    if descriptor == 1:
        sys.stdout.flush()
    return os.dup(descriptor)  # opened by name, a file behind it would be written over


def _descriptor(path: str | Path) -> int | None:
    """The open file of this process that the path stands for: `-`, `/dev/stdout`, `/dev/fd/N`."""
    if str(path) == STANDARD_OUTPUT:
        return 1
    place = _process_link(path)
    own = place and re.match(rf"/(proc/{os.getpid()}(/task/\d+)?|dev)/", place)
    return int(os.path.basename(place)) if place and own else None


def _process_link(path: str | Path) -> str | None:
    """The link that stands for an open file of a process, if the path is one or leads to one."""
    place = os.path.abspath(path)
    for _ in range(_MAX_LINKS):
        parent, name = os.path.split(place)
        parent = os.path.realpath(parent)
        place = os.path.join(parent, name)
        if re.fullmatch(r"(/proc/\d+(/task/\d+)?|/dev)/fd/\d+", place):
            return place
        if not os.path.islink(place):
            break
        place = os.path.normpath(os.path.join(parent, os.readlink(place)))
    return None


def _check_descriptor(path: str | Path, descriptor: int) -> None:
    try:
        os.write(descriptor, b"")
    except OSError as error:
        raise InputError(f"{path}: is not open for writing ({error.strerror})") from error


def _check_stream(path: str | Path, option: str) -> None:
    kind = _KINDS.get(stat.S_IFMT(os.stat(path).st_mode))
    if kind:
        raise InputError(f"{path}: is no regular file, but {kind}; give {option} another name")
    if not os.access(path, os.W_OK):
        raise InputError(f"{path}: no permission to write to it")


def _check_folder(path: str | Path) -> None:
    target = behind_links(path)
    if not target.parent.is_dir():
        raise InputError(f"{target}: folder {target.parent} does not exist, make it first")
    if not os.access(target.parent, os.W_OK):
        raise InputError(f"{target}: no permission to write into {target.parent}")
    with suppress(FileNotFoundError):
        os.stat(target)  # a name that is too long


def check_extension(path: str | Path, extensions: tuple[str, ...], option: str) -> None:
    """Refuse a file of another kind, which was hardly meant to be replaced. A stream has any name.

    Raises:
        InputError: the name ends otherwise.
    """
    if not is_stream(path) and Path(path).suffix.lower() not in extensions:
        raise InputError(
            f"{path}: ends in none of {', '.join(extensions)}; give {option} a name that does"
        )


def _lies_in(path: str | Path, folder: str | Path) -> bool:
    if is_stream(path) or not os.path.isdir(folder):
        return False
    return behind_links(folder) in behind_links(path).parents


def _same_file(path: str | Path, other: str | Path) -> bool:
    try:
        places = (
            place if (descriptor := _descriptor(place)) is None else descriptor
            for place in (path, other)
        )
        return os.path.samestat(*(os.stat(place) for place in places))
    except OSError:  # one of them does not exist yet, or is closed
        return behind_links(path) == behind_links(other)
