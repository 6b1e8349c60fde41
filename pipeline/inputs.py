"""Reads the videos to process from a list file or a folder; refuses duplicate ids.

A list is UTF-8 text (a byte order mark and Windows line ends are allowed) with one video per line,
`id<TAB>path`. Only the first tab separates, so paths may contain spaces; `#` is no comment.
Relative paths start at the current directory, as in the original code, not at the list.
"""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from .errors import InputError
from .folders import walk
from .records import VideoRef

# fmt: off
VIDEO_EXTENSIONS = frozenset({
    "264", "265", "3g2", "3gp", "amv", "asf", "avi", "divx", "dv", "f4v", "flv", "gif", "h264",
    "h265", "hevc", "ivf", "m1v", "m2p", "m2ts", "m2v", "m4v", "mjpeg", "mjpg", "mkv", "mov",
    "mp4", "mpe", "mpeg", "mpg", "mts", "mxf", "nut", "ogm", "ogv", "qt", "rm", "rmvb", "ts",
    "vob", "webm", "wmv", "y4m",
})
# fmt: on
# How containers begin. Text may begin with some of these, but has no NUL soon after.
_BINARY_MAGIC = (b"\x1aE\xdf\xa3", b"\x30\x26\xb2\x75")  # Matroska and WebM; ASF
_MAGIC = (b"RIFF", b"OggS", b"FLV\x01", b"\0\0\x01\xba")  # AVI; Ogg; Flash; MPEG program stream
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # MP4, QuickTime: after a length
_SHOWN_KINDS = 8  # extensions named in a message
_SHOWN_LINE = 200  # characters of a line shown in a message


@dataclass(frozen=True, repr=False)
class Listing(Sequence[VideoRef]):
    """The videos of a folder, and the files in it that were skipped.

    Attributes:
        videos: sorted by id.
        unsure: ids of files with an unknown extension; decoding shows whether they are videos.
        left_out: extension (lower case, without dot) -> number of skipped files.
        links: links to folders that were not followed.
        unreadable: path -> why, for folders and files that cannot be read.
    """

    videos: Sequence[VideoRef]
    unsure: Collection[str] = frozenset()
    left_out: Counter[str] = field(default_factory=Counter)
    links: Sequence[str] = ()
    unreadable: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.videos)

    @overload
    def __getitem__(self, index: int) -> VideoRef: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[VideoRef]: ...
    def __getitem__(self, index: int | slice) -> VideoRef | Sequence[VideoRef]:
        return self.videos[index]

    def __iter__(self) -> Iterator[VideoRef]:
        return iter(self.videos)

    def __repr__(self) -> str:
        return (
            f"Listing({len(self.videos)} videos, {self.left_out.total()} files left out, "
            f"{len(self.links)} links not followed, {len(self.unreadable)} unreadable)"
        )


def read_list(path: str | Path, id_prefix: str = "") -> list[VideoRef]:
    """Read the videos of a list file, in its order.

    Args:
        path: the list file.
        id_prefix: text put before every id.

    Raises:
        InputError: the file is missing, not UTF-8 or lists nothing; a line has no tab, an empty
            id or path, or a NUL; an id occurs twice. The message names file and line.
    """
    check_prefix(id_prefix)
    _refuse_video(path)
    with no_garbage_collection():
        refs = [_parse(line, number, path, id_prefix) for number, line in _lines(path)]
        if not refs:
            raise InputError(f"{path}: lists no videos, expected lines of `id<TAB>path`")
        return refuse_duplicates(refs, path)


def read_related(path: str | Path, columns: str = "query<TAB>database") -> set[tuple[str, str]]:
    """Read pairs of (query id, database id) from a list; further columns are ignored.

    Args:
        path: the list file.
        columns: format of a line, for error messages.

    Raises:
        InputError: the file is missing or not UTF-8, or a line has no two ids. The message names
            file and line.
    """
    pairs = set()
    for number, line in _lines(path):
        query, _, rest = line.partition("\t")
        database = rest.partition("\t")[0]
        if not query or not database:
            raise InputError(f"{path}, line {number}: expected `{columns}`, found {line[:80]!r}")
        pairs.add((query, database))
    return pairs


def read_groups(path: str | Path) -> dict[str, str]:
    """Read the group of each video id from a list of `id<TAB>group`.

    Raises:
        InputError: as `read_related`, or an id has two groups.
    """
    groups: dict[str, str] = {}
    for video, group in sorted(read_related(path, "id<TAB>group")):
        if groups.setdefault(video, group) != group:
            raise InputError(f"{path}: {video!r} has two groups, {groups[video]!r} and {group!r}")
    return groups


def scan_folder(
    path: str | Path,
    extensions: Collection[str] = (),
    all_files: bool = False,
    follow_links: bool = False,
    id_prefix: str = "",
) -> Listing:
    """List all videos below a folder, sorted by id; the id is the relative path, with `/`.

    A file counts if its extension is in `VIDEO_EXTENSIONS` (in any case). Hidden files and folders
    are skipped. If a name is not UTF-8, or has a tab or line break, the id has these bytes written
    as `\\xe9`; its path stays usable.

    Args:
        path: the folder.
        extensions: more extensions, without dot.
        all_files: take files of every extension; files of an unknown one are `unsure`.
        follow_links: also search linked folders, each once.
        id_prefix: text put before every id.

    Raises:
        InputError: the folder is missing, cannot be read, or has no videos.
    """
    check_prefix(id_prefix)
    if not Path(path).is_dir():
        raise InputError(f"{path}: no such folder")
    try:
        tree = walk(str(path), follow_links)
    except OSError as error:
        raise InputError(f"{path}: cannot read this folder: {error.strerror}") from error
    root = "" if Path(path) == Path() else Path(path)  # `./a.mp4` is `a.mp4`
    extensions_read = VIDEO_EXTENSIONS | {extension.lower() for extension in extensions}
    unsure, left_out = set(), Counter[str]()
    unreadable = {printable_path(os.path.join(path, k)): why for k, why in tree.unreadable.items()}
    refs: dict[str, VideoRef] = {}
    for name in sorted(tree.files):
        extension = os.path.splitext(name)[1].lower().removeprefix(".")
        if extension not in extensions_read and not all_files:
            left_out[printable_path(extension)] += 1
            continue
        ref = VideoRef(id_prefix + printable_path(name), os.path.join(root, *name.split("/")))
        if refs.setdefault(ref.id, ref) is not ref:
            why = (
                f"its id {ref.id!r} is also that of {printable_path(refs[ref.id].path)}; rename one"
            )
            unreadable[ascii(ref.path)] = why
        elif extension not in extensions_read:
            unsure.add(ref.id)
    if not refs:
        rest = Listing((), (), left_out, tree.links, unreadable)
        raise InputError(f"{path}: no videos in this folder{_why_empty(rest)}")
    videos = sorted(refs.values(), key=lambda ref: ref.id)
    return Listing(videos, unsure, left_out, tree.links, unreadable)


def split_extensions(text: str) -> list[str]:
    """Split a list of extensions: `"insv, .MOD"` -> `["insv", "mod"]`.

    Raises:
        InputError: one of them is empty or has a character that no extension has.
    """
    names = [part.strip().lower().removeprefix("*").removeprefix(".") for part in text.split(",")]
    if bad := [part for part in names if not part or any(c in part for c in "./\\*? ")]:
        raise InputError(f"extension {bad[0]!r}, expected some such as insv,m2t,mod")
    return names


def left_out_text(left_out: Counter[str], links: int) -> str:
    """Describe skipped files: `"12 .txt, 3 .insv, 1 without extension, 2 links to folders"`."""
    kinds = left_out.most_common(_SHOWN_KINDS)
    parts = [f"{n} {'.' + kind if kind else 'without extension'}" for kind, n in kinds]
    if rest_count := left_out.total() - sum(n for _, n in kinds):
        parts.append(f"{rest_count} with other extensions")
    if links:
        parts.append("1 link to a folder" if links == 1 else f"{links} links to folders")
    return ", ".join(parts)


def check_prefix(prefix: str) -> None:
    """Raise InputError if a prefix has a character that ids must not have."""
    if any(c in prefix for c in "\t\r\n\0"):
        raise InputError(f"id prefix {prefix!r} holds a tab, line break or NUL")


def refuse_duplicates(refs: list[VideoRef], origin: str | Path) -> list[VideoRef]:
    """Return the list if its ids are unique.

    Raises:
        InputError: an id occurs twice; names both line numbers, or both paths without a list.
    """
    if len({ref.id for ref in refs}) == len(refs):  # takes much less memory than the search below
        return refs
    seen: dict[str, VideoRef] = {}
    for ref in refs:
        first = seen.setdefault(ref.id, ref)
        if first is not ref:
            where = (
                f"in lines {first.line} and {ref.line}"
                if ref.line
                else f"for {printable_path(first.path)} and {printable_path(ref.path)}"
            )
            raise InputError(f"{origin}: id {ref.id!r} is used twice, {where}; ids must be unique")
    return refs


def printable_path(path: str) -> str:
    """Convert a path to text for stores and terminals.

    Bytes that are not UTF-8, tabs and line breaks become escapes such as `\\xe9` and `\\x0a`.
    """
    try:
        raw = os.fsencode(path)
    except UnicodeEncodeError:  # no file can have this name in this locale, but a list may
        raw = path.encode("utf-8", "backslashreplace")
    text = raw.decode("utf-8", "backslashreplace")
    return "".join(f"\\x{ord(c):02x}" if c in "\t\r\n\0" else c for c in text)


def _refuse_video(path: str | Path) -> None:
    """A list cannot be a film; whoever gives one wants it to be searched.

    Raises:
        InputError: the file begins as video containers do.
    """
    if not os.path.isfile(path):  # what is read of a pipe is gone
        return
    try:
        with open(path, "rb") as file:
            head = file.read(64)
    except OSError:
        return  # whoever reads the list says what is wrong
    begins = head[4:8] in _BOXES or head.startswith(_MAGIC)
    if (begins and b"\0" in head) or head.startswith(_BINARY_MAGIC):
        name = printable_path(str(path))
        raise InputError(
            f"{name}: is a video, expected a list of videos: write a text file with the line "
            f"`{printable_path(Path(path).stem)}<TAB>{name}` and give that, or give the folder "
            "that the video is in"
        )


def _lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Yield (number, text) of lines that are not empty; reads the file line by line."""
    try:
        with open(path, "rb") as file:
            for number, raw in enumerate(file, start=1):
                line = _decode(raw, path, number).removesuffix("\n").removesuffix("\r")
                if line.strip(" \r"):
                    yield number, line
    except OSError as error:
        raise InputError(f"{path}: cannot read the list: {error.strerror or error}") from error


def _decode(raw: bytes, path: str | Path, number: int) -> str:
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        utf16 = number == 1 and raw[:2] in (b"\xff\xfe", b"\xfe\xff")
        hint = "it looks like UTF-16; " if utf16 else ""
        raise InputError(
            f"{path}, line {number}: not UTF-8; {hint}save the list as UTF-8"
        ) from error


def _parse(line: str, number: int, path: str | Path, id_prefix: str) -> VideoRef:
    name, tab, video = line.partition("\t")
    if tab and "\0" not in line and name.strip() and video.strip():
        try:
            return VideoRef(id_prefix + name, video, number)
        except ValueError as error:
            raise InputError(f"{path}, line {number}: {error}") from error
    raise InputError(f"{path}, line {number}: {_line_fault(line)}")


def _line_fault(line: str) -> str:
    if "\0" in line:
        return "holds a NUL character; save the list as plain UTF-8 text"
    shown = f"{line[:_SHOWN_LINE]!r}{'...' * (len(line) > _SHOWN_LINE)}, expected `id<TAB>path`"
    return f"empty id or path in {shown}" if "\t" in line else f"no tab in {shown}"


def _why_empty(rest: Listing) -> str:
    """Explain why a folder may have no videos, for the error message."""
    text = " (known by extensions such as .mp4)"
    if left := left_out_text(rest.left_out, len(rest.links)):
        text += f"; left out: {left}; --all_files, --extensions or --follow_links takes them"
    if rest.unreadable:
        path, why = next(iter(rest.unreadable.items()))
        text += f"; {len(rest.unreadable)} cannot be read, as {path}: {why}"
    return text


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Pause the garbage collector: it would walk many new records that have no cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
