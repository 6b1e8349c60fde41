"""What folder and bucket both offer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

TEMPORARY = ".tmp-"  # begins the name of a file that is not whole yet, in a folder


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object of a listing.

    Attributes:
        name: below the store's own folder or prefix, with `/`.
        size: bytes.
        modified: seconds since the epoch, by the clock of the server.
    """

    name: str
    size: int
    modified: float


class ObjectStore(Protocol):
    """Objects by name. Safe for many threads at once; every method may raise StorageError."""

    @property
    def root(self) -> Path:
        """Where the objects are, for messages."""

    def get(self, name: str) -> bytes | None:
        """The content of an object; None if there is none."""

    def size(self, name: str) -> int | None:
        """Bytes of an object; None if there is none."""

    def get_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """Read several [start, stop) of an object, each in one piece.

        Returns:
            A buffer for each range; a shorter one where the object ends too early.

        Raises:
            StorageError: there is no such object.
        """

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Put an object if its name is free, in one step.

        Returns:
            False: the name was taken. Then the object may still be the caller's own: a connection
            that broke after the server stored it makes the client try again. So the caller reads
            it.
        """

    def put_file(self, name: str, path: Path) -> None:
        """Put a local file as an object under a name that is used once."""

    def list(self, prefix: str, after: str = "") -> list[ObjectInfo]:
        """The objects below a folder, sorted by name, whose names sort behind `after`."""

    def delete(self, name: str) -> None:
        """Delete an object; nothing happens if there is none."""
