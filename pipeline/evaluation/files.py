"""Files of benchmarks: annotation and results, read without running anything in them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import pickle
import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError

_MAX_BYTES = 4 << 30
# What a pickle of numbers, texts, containers and sets has no use for. Nothing of a class gets
# through `_SetUnpickler` either way.
_REFUSED = frozenset(
    ("PERSID", "BINPERSID", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD", "EXT1", "EXT2", "EXT4")
)
_PLACES = ("PUT", "BINPUT", "LONG_BINPUT")  # opcodes with the number of a remembered object


@dataclass(frozen=True)
class SourceFile:
    """One file, read once.

    Attributes:
        path: as it was given.
        data: all bytes.
        sha256: of `data`, hex.
    """

    path: Path
    data: bytes
    sha256: str

    @classmethod
    def read(cls, path: str | Path) -> SourceFile:
        """Read a file.

        Raises:
            InputError: it cannot be read, or has more than 4 GiB.
        """
        path = Path(path)
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise InputError(f"{path}: more than 4 GiB; evaluate the queries in parts")
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}; check the path") from None
        return cls(path, data, hashlib.sha256(data).hexdigest())

    @property
    def suffix(self) -> str:
        """The extension of the name in lower case, with its dot."""
        return self.path.suffix.lower()

    def text(self) -> str:
        """The content as text.

        Raises:
            InputError: it is no UTF-8.
        """
        try:
            return self.data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InputError(f"{self.path}: is no UTF-8 text; check the file") from None

    def json(self) -> Any:
        """The content as JSON.

        Raises:
            InputError: it is no JSON, or a key is there twice.
        """
        return self.parsed(lambda: json.loads(self.text(), object_pairs_hook=unique_keys))

    def parsed(self, parse: Callable[[], Any]) -> Any:
        """What a parser of JSON gives, its errors told with the name of the file."""
        try:
            return parse()
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.path}: is no usable JSON: {error}; write it again") from None

    def lines(self) -> list[list[str]]:
        """The fields of each line that is not empty, split at white space."""
        return [line.split() for line in self.text().splitlines() if line.strip()]

    def rows(self, *columns: str) -> Iterator[dict[str, str]]:
        """The rows of a CSV table with a header, each by column.

        Raises:
            InputError: a column is not there, or a row is cut.
        """
        reader = csv.DictReader(io.StringIO(self.text(), newline=""))
        absent = [name for name in columns if name not in (reader.fieldnames or ())]
        if absent:
            raise InputError(
                f"{self.path}: has no column {absent[0]!r}; the header must name "
                f"{', '.join(columns)}"
            )
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise InputError(
                        f"{self.path}, line {reader.line_num}: has another number of fields than "
                        "the header; correct the line"
                    )
                yield row
        except csv.Error as error:
            raise InputError(f"{self.path}, line {reader.line_num}: {error}") from None

    def unpickled(self) -> Any:
        """The content of a pickle that holds numbers, texts, containers and sets only.

        Raises:
            InputError: it names anything but `builtins.set`, or is damaged.
        """
        try:
            self._check_pickle()
            return _SetUnpickler(io.BytesIO(self.data), encoding="utf-8").load()
        except InputError:
            raise
        except Exception as error:  # a damaged pickle may raise anything
            raise InputError(
                f"{self.path}: is no usable pickle ({type(error).__name__}: {error}); "
                "give the published file"
            ) from None

    def _check_pickle(self) -> None:
        """Read the opcodes first: the unpickler would reserve memory for a huge place."""
        for opcode, argument, _ in pickletools.genops(self.data):
            if opcode.name in _REFUSED:
                raise InputError(
                    f"{self.path}: this pickle holds more than numbers, texts and sets "
                    f"({opcode.name}); nothing of it was run; take the published file"
                )
            if opcode.name in _PLACES and int(argument or 0) > len(self.data):
                raise ValueError("a place beyond the end of the file")


class _SetUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("builtins", "set"), ("__builtin__", "set")):
            return set
        raise pickle.UnpicklingError(f"names {module}.{name}, expected only builtins.set")


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dict; for `object_pairs_hook`.

    Raises:
        ValueError: a key is there twice.
    """
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"key {twice!r} is there twice")
    return result


def texts(value: Any) -> list[str]:
    """The ids of a list or a set.

    Raises:
        TypeError: it is neither, or holds something else than texts.
    """
    if not isinstance(value, (list, tuple, set)) or not all(isinstance(v, str) for v in value):
        raise TypeError("expected a list of ids")
    return list(value)
