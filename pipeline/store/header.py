"""The header of a store: the description of all its features, equal in both back ends."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FingerprintMismatchError, StoreError
from ..program import command
from ..quantization import ENCODINGS, encoding_name, stored_values
from ..records import FORMAT_VERSION, STORED_NAMES, FeatureSpec

FORMAT = "visil-index feature store"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_FIRST_FIELDS = {"format", "format_version", "dtype", "spec", "fingerprint", "provenance"}
_MAX_NUMBER = 1 << 20  # of a number in a description; the largest in use is some thousand


@dataclass(frozen=True)
class Header:
    """Written when a store is made, never changed.

    Attributes:
        spec: everything that changes the numbers.
        dtype: of the stored descriptors; `encoding` is its name.
        format_version: the oldest version that has this encoding, and insets where there are any.
        provenance: further notes of the program that made the store; any JSON.
        sealed: the header has a checksum, and the manifest a seal (`seal.py`) from the start;
            False for stores of versions without them.
    """

    spec: FeatureSpec
    dtype: np.dtype
    format_version: int = 1
    provenance: dict[str, Any] = field(default_factory=dict)
    sealed: bool = True

    @property
    def encoding(self) -> str:
        """How descriptors are stored, see `pipeline.quantization`."""
        return encoding_name(self.dtype)

    @property
    def row_shape(self) -> tuple[int, int]:
        """Shape of one frame's descriptors, as stored."""
        return self.spec.descriptors, stored_values(self.dtype, self.spec.dims)

    @property
    def row_bytes(self) -> int:
        """Bytes of one frame's descriptors, as stored."""
        vectors, values = self.row_shape
        return vectors * values * self.dtype.itemsize

    def as_json(self) -> dict[str, Any]:
        value = {
            "format": FORMAT,
            "format_version": self.format_version,
            "dtype": self.encoding,
            "spec": self.spec.as_json(),
            "fingerprint": self.spec.fingerprint,
            "provenance": self.provenance,
        }
        return value | {"checksum": _checksum(value)}

    def require_same(self, other: Header, path: str, any_dtype: bool = False) -> None:
        """Refuse to add features to a store with another header.

        Args:
            other: the header of the store.
            path: of the store.
            any_dtype: the dtypes may differ.


        Raises:
            FingerprintMismatchError: naming every field that differs.
            StoreError: another dtype.
        """
        differences = self.spec.differences(other.spec)
        if differences:
            raise FingerprintMismatchError(
                f"{path}: made with other settings ({'; '.join(differences)}); "
                "use those settings, or write to another store"
            )
        if self.dtype != other.dtype and not any_dtype:
            raise StoreError(
                f"{path}: holds {other.encoding}, not {self.encoding}; "
                f"add with dtype {other.encoding}, or write to another store"
            )


def make_header(spec: FeatureSpec, dtype: str, provenance: dict[str, Any] | None) -> Header:
    """A header for a new store.

    Raises:
        StoreError: a dtype that is none of `ENCODINGS`, or provenance that is not JSON.
    """
    if str(dtype) not in ENCODINGS:
        raise StoreError(f"a store keeps {', '.join(ENCODINGS)}, not {dtype}")
    try:
        clean = json.loads(json.dumps(provenance or {}, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise StoreError(f"the provenance of a store must be plain JSON: {error}") from error
    stored_dtype = ENCODINGS[str(dtype)]
    # Programs of before int8 and binary read version 1, of before insets 2; they refuse later ones
    # by name, where they would take insets for frames of the video itself.
    version = 3 if spec.insets else 1 if stored_dtype.kind == "f" else 2
    return Header(spec, stored_dtype, version, clean)


def read_header(value: Any, path: str, *, newest: int = FORMAT_VERSION) -> Header:
    """Parse a header from its JSON form.

    Args:
        value: the header.
        path: of the store, for messages.
        newest: format version that is read, and all before it.

    Raises:
        StoreError: `path` is no feature store, or one of a newer version.
    """
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise not_a_store(path)
    version = value.get("format_version")
    if isinstance(version, int) and version > newest:
        raise StoreError(
            f"{path}: written in format version {version}, this program reads up to "
            f"{newest}; upgrade the program"
        )
    try:
        _check_whole(value)
        spec = _spec(value["spec"])
        if value["fingerprint"] != spec.fingerprint:
            raise ValueError("its fingerprint is not the one of its settings")
        if type(version) is not int or version < 1 or type(value["provenance"]) is not dict:
            raise ValueError("a field is of another type")
        sealed = "checksum" in value
        return Header(spec, ENCODINGS[value["dtype"]], version, value["provenance"], sealed)
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise StoreError(
            f"{path}: its description is damaged ({error!r}); copy it again"
        ) from error


def _check_whole(value: dict[str, Any]) -> None:
    """Compare the checksum; a header without one has the fields of the first version alone."""
    rest = {k: v for k, v in value.items() if k != "checksum"}
    if "checksum" in value and value["checksum"] != _checksum(rest):
        raise ValueError("its checksum does not fit")
    if "checksum" not in value and set(value) != _FIRST_FIELDS:
        raise ValueError("its checksum is gone")


def _checksum(value: dict[str, Any]) -> str:
    """SHA-256 (hex) over the description as JSON, names sorted."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _spec(value: dict[str, Any]) -> FeatureSpec:
    """Raises ValueError, TypeError: a field is missing, of another type or beyond reason."""
    values = {}
    for field_ in fields(FeatureSpec):
        key, kind = STORED_NAMES.get(field_.name, field_.name), str(field_.type)
        if key in value:
            _check_field(key, value[key], kind)
            values[field_.name] = value[key]
    spec = FeatureSpec(**values)
    if isinstance(values["fps"], bool | str) or not 0 < spec.fps < math.inf:
        raise ValueError(f"fps is {values['fps']!r}")
    return spec


def _check_field(key: str, value: Any, kind: str) -> None:
    """Raises ValueError, TypeError: the value of this key is not of its kind, or is too large."""
    if kind not in (type(value).__name__, "float"):
        raise TypeError(f"{key} is {type(value).__name__}, expected {kind}")
    minimum = 0 if key == STORED_NAMES["query_descriptors"] else 1
    if kind == "int" and not minimum <= value <= _MAX_NUMBER:
        raise ValueError(f"{key} is {value}, expected {minimum} to {_MAX_NUMBER}")


def not_a_store(path: str) -> StoreError:
    """The error for a file or folder that something else wrote."""
    return StoreError(
        f"{path}: not a feature store; make one with {command('extract')}; a published feature "
        f"file needs --as in {command('compare')}, or {command('import-features')}"
    )


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turn errors of a library or of the system about a path into StoreErrors."""
    try:
        yield
    except StoreError:
        raise
    except PermissionError as error:
        raise StoreError(f"{path}: {error.strerror}; check its permissions") from error
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StoreError(
                f"{path}: {os.strerror(error.errno)}; make room, then run the same command again"
            ) from error
        raise _unusable(path, error) from error
    except (
        ValueError, KeyError, TypeError, AttributeError, RuntimeError, OverflowError, MemoryError,
    ) as error:  # fmt: skip
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"{path}: cannot be used as a feature store ({error}); if it was copied, copy it "
        "again, together with the .journal file beside it if there is one"
    )
