"""A list file or a folder -> the videos to work on; duplicate names are refused.

A list is UTF-8 text (a byte order mark and Windows line ends are fine) with one video a line,
`id<TAB>path`. Nothing but the first tab separates, so paths may hold spaces; `#` is no comment.
Relative paths are relative to the current directory, as in the original code, not to the list.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.errors import InputError
from pipeline.records import VideoRef

# fmt: off
VIDEO_EXTENSIONS = frozenset({
    "264", "265", "3g2", "3gp", "amv", "asf", "avi", "divx", "dv", "f4v", "flv", "gif", "h264",
    "h265", "hevc", "ivf", "m1v", "m2p", "m2ts", "m2v", "m4v", "mjpeg", "mjpg", "mkv", "mov",
    "mp4", "mpe", "mpeg", "mpg", "mts", "mxf", "nut", "ogm", "ogv", "qt", "rm", "rmvb", "ts",
    "vob", "webm", "wmv", "y4m",
})
# fmt: on


def read_list(path: str | Path) -> list[VideoRef]:
    """The videos of a list file, in its order.

    Raises:
        InputError: the file is missing, not UTF-8 or lists nothing; a line has no tab, an empty
            id or path, or a NUL; an id occurs twice. The message names file and line.
    """
    lines = _decode(_read(path), path).split("\n")
    refs = [
        _parse(line.removesuffix("\r"), number, path)
        for number, line in enumerate(lines, start=1)
        if line.strip(" \r")
    ]
    if not refs:
        raise InputError(f"{path}: lists no videos, expected lines of `id<TAB>path`")
    return refuse_duplicates(refs, path)


def read_related(path: str | Path, columns: str = "query<TAB>database") -> set[tuple[str, str]]:
    """Pairs of (query id, database id) of a list; what follows the second column is ignored.

    `columns` is what an error says that a line should hold.

    Raises:
        InputError: the file is missing or not UTF-8, or a line has no two ids. The message names
            file and line.
    """
    pairs = set()
    for number, line in enumerate(_decode(_read(path), path).split("\n"), start=1):
        if not line.strip(" \r"):
            continue
        query, _, rest = line.removesuffix("\r").partition("\t")
        database = rest.partition("\t")[0]
        if not query or not database:
            raise InputError(f"{path}, line {number}: expected `{columns}`, found {line[:80]!r}")
        pairs.add((query, database))
    return pairs


def read_groups(path: str | Path) -> dict[str, str]:
    """Video id -> group, from a list of `id<TAB>group`.

    Raises:
        InputError: as `read_related`, or an id has two groups.
    """
    groups: dict[str, str] = {}
    for video, group in sorted(read_related(path, "id<TAB>group")):
        if groups.setdefault(video, group) != group:
            raise InputError(f"{path}: {video!r} has two groups, {groups[video]!r} and {group!r}")
    return groups


def scan_folder(path: str | Path) -> list[VideoRef]:
    """All videos below a folder, sorted by id; the id is the relative path, with `/`.

    A file counts if its extension is in `VIDEO_EXTENSIONS` (in any case). Hidden files and folders
    are skipped, links to folders not followed. A name that is no text in UTF-8, or that holds
    a tab or line break, gets an id with these bytes written as `\\xe9`; its path stays usable.

    Raises:
        InputError: no such folder, a folder in it cannot be read, or it holds no videos.
    """
    if not Path(path).is_dir():
        raise InputError(f"{path}: no such folder")
    refs = [
        VideoRef(id=printable(name), path=os.path.join(path, *name.split("/")))
        for name in _walk(str(path))
    ]
    if not refs:
        raise InputError(f"{path}: no videos in this folder (known by extensions such as .mp4)")
    return refuse_duplicates(sorted(refs, key=lambda ref: ref.id), path)


def refuse_duplicates(refs: list[VideoRef], origin: str | Path) -> list[VideoRef]:
    """The same list.

    Raises:
        InputError: an id occurs twice; names both line numbers, or both paths without a list.
    """
    seen: dict[str, VideoRef] = {}
    for ref in refs:
        first = seen.setdefault(ref.id, ref)
        if first is not ref:
            where = (
                f"in lines {first.line} and {ref.line}"
                if ref.line
                else f"for {printable(first.path)} and {printable(ref.path)}"
            )
            raise InputError(f"{origin}: id {ref.id!r} is used twice, {where}; ids must be unique")
    return refs


def printable(path: str) -> str:
    """The path as text that every store and terminal takes: bytes that are not UTF-8, tabs and
    line breaks become escapes such as `\\xe9` and `\\x0a`."""
    try:
        raw = os.fsencode(path)
    except UnicodeEncodeError:  # in this locale no file can have this name; a list may hold it
        raw = path.encode("utf-8", "backslashreplace")
    text = raw.decode("utf-8", "backslashreplace")
    return "".join(f"\\x{ord(c):02x}" if c in "\t\r\n\0" else c for c in text)


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot read the list: {error.strerror or error}") from error


def _decode(raw: bytes, path: str | Path) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        utf16 = raw[:2] in (b"\xff\xfe", b"\xfe\xff")
        hint = "it looks like UTF-16; " if utf16 else ""
        raise InputError(f"{path}, line {line}: not UTF-8; {hint}save the list as UTF-8") from error


def _parse(line: str, number: int, path: str | Path) -> VideoRef:
    name, tab, video = line.partition("\t")
    where = f"{path}, line {number}"
    if "\0" in line:
        raise InputError(f"{where}: holds a NUL character; save the list as plain UTF-8 text")
    if not tab:
        raise InputError(f"{where}: no tab in {line!r}, expected `id<TAB>path`")
    if not name.strip() or not video.strip():
        raise InputError(f"{where}: empty id or path in {line!r}, expected `id<TAB>path`")
    try:
        return VideoRef(id=name, path=video, line=number)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def _walk(root: str) -> Iterator[str]:
    def fail(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot read this folder: {error.strerror}") from error

    for folder, subfolders, files in os.walk(root, onerror=fail):
        subfolders[:] = _visible(subfolders)
        for name in _visible(files):
            if os.path.splitext(name)[1].lower().removeprefix(".") in VIDEO_EXTENSIONS:
                yield Path(folder, name).relative_to(root).as_posix()


def _visible(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith(".")]
