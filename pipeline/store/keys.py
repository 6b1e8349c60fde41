"""Video ids as names of datasets and folders: any text in, a safe and legible name out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection

MAX_LENGTH = 150
_VERSION_DIGITS = 15
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
# Names that Windows or a Zarr hierarchy keeps for itself.
_RESERVED = re.compile(r"(zarr\.json|\.z\w+|(con|prn|aux|nul|com\d|lpt\d)(\..*)?)", re.IGNORECASE)
_IN_KEYS = bytes(_SAFE) + b"%~+\n"


def are_keys(keys: Collection[str]) -> bool:
    """Whether `KeyMaker` could have made all these names: none is a path or leads elsewhere.

    Raises:
        TypeError, ValueError: one is no text, or not ASCII.
    """
    lines = ("\n" + "\n".join(keys) + "\n").encode("ascii")
    return not keys or (
        not lines.translate(None, _IN_KEYS)
        and lines.count(b"\n") == len(keys) + 1
        and not any(bad in lines for bad in (b"\n\n", b"\n.", b".\n"))
        and b"\nzarr.json\n" not in lines.lower()
        and max(map(len, keys)) <= MAX_LENGTH + 50  # of the version
    )


def escape(video_id: str) -> str:
    """A name for `video_id`: ids of letters, digits, "-", "_" and "." keep theirs.

    Everything else is percent-encoded UTF-8 ("a/b" becomes "a%2Fb"). Beyond 150 characters
    the name is cut and ends in "+" and a part of the id's SHA-256. "~" and "+" never come from
    an id, so they are free to mark versions and cuts. The manifest holds the id itself:
    nothing has to undo this.
    """
    raw = video_id.encode("utf-8", "surrogatepass")
    name = "".join(chr(b) if b in _SAFE else f"%{b:02X}" for b in raw)
    # zarr keeps names of dots only and of two leading underscores; Windows drops a last dot.
    if name[0] == "." or name.startswith("__") or _RESERVED.fullmatch(name):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    if name[-1] == ".":
        name = name[:-1] + "%2E"
    if len(name) > MAX_LENGTH:
        name = f"{name[: MAX_LENGTH - 33]}+{hashlib.sha256(raw).hexdigest()[:32]}"
    return name


def printable(video_id: str) -> str:
    """The id as an attribute for people: what is not Unicode in it is backslash-escaped."""
    return video_id.encode("utf-8", "backslashreplace").decode()


class KeyMaker:
    """Hands out names that were never used before in one store.

    A new version of a video gets another key ("clip~2"), so readers of the old one are left
    in peace. Names are told apart without regard to case: "A" and "a" are one folder on some
    file systems.
    """

    def __init__(self) -> None:
        self._used: dict[str, int] = {}

    def note(self, key: str) -> None:
        """Count a key found in the manifest or in the store, current or not."""
        name, _, version = key.partition("~")
        # A longer number is none that `new` gives, and the next one would not be a key.
        is_version = version.isdecimal() and len(version) <= _VERSION_DIGITS
        name, number = name.casefold(), int(version) if is_version else 1
        self._used[name] = max(self._used.get(name, 0), number)

    def new(self, video_id: str) -> str:
        name = escape(video_id)
        version = self._used.get(name.casefold(), 0) + 1
        key = name if version == 1 else f"{name}~{version}"
        self.note(key)
        return key
