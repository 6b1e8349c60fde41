"""The seal: how long a manifest was, so that a manifest that lost its end is detected.

The seal counts bytes and commits, and chains the commit lines by a CRC-32 over all of them. It is
kept apart from the log and written after it: a log may be longer than its seal says (a writer was
killed in between, or is of a version without seals), but never shorter. So it need not be synced:
a power failure can only make it older.

In a Zarr store it is the file `manifest/seal`: two slots of 512 bytes that take turns, each one
line of JSON with a checksum of its own; the newer that is whole counts. In an HDF5 file it is the
attribute `seal` of the manifest.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import StoreError

SLOT_BYTES = 512
SEAL_BYTES = 2 * SLOT_BYTES


@dataclass(frozen=True, slots=True)
class Seal:
    """The state of a manifest after some commit.

    Attributes:
        size, groups: bytes of the log, and how many commits it holds.
        crc32: over all their commit lines.
    """

    size: int = 0
    groups: int = 0
    crc32: int = 0

    def after(self, group: bytes) -> Seal:
        """The state when `group`, which `manifest.close_group` made, is appended."""
        line = group[group.rfind(b"\n", 0, -1) + 1 :]
        return Seal(self.size + len(group), self.groups + 1, zlib.crc32(line, self.crc32))

    def slot(self) -> tuple[bytes, int]:
        """The bytes to write, and their offset: the slot that the previous seal did not use."""
        text = json.dumps(asdict(self))
        line = json.dumps({"seal": asdict(self), "check": zlib.crc32(text.encode())})
        return line.encode().ljust(SLOT_BYTES - 1) + b"\n", self.groups % 2 * SLOT_BYTES


def whole_file(seal: Seal) -> bytes:
    """A seal file with both slots."""
    return seal.slot()[0] * 2


def read_seal(data: bytes, name: str) -> Seal:
    """The newer seal in a seal file.

    Raises:
        StoreError: no slot of it is whole; at most one can be torn by a kill.
    """
    slots = (_read_slot(data[at : at + SLOT_BYTES]) for at in (0, SLOT_BYTES))
    seals = [seal for seal in slots if seal]
    if not seals:
        raise no_seal(name)
    return max(seals, key=lambda seal: seal.groups)


def no_seal(name: str) -> StoreError:
    """The error for a store that must have a seal and has none that can be read."""
    return StoreError(
        f"{name}: the seal of its manifest, which says how much there was, is damaged or gone; "
        "nothing was changed; copy the store again from where it came from, or extract the "
        "features again into a new one"
    )


def cut_off(name: str, seal: Seal, rest: Seal) -> StoreError:
    """The error for a manifest that lost its end or a part before."""
    return StoreError(
        f"{name}: the manifest is damaged: {rest.size} of {seal.size} bytes, {rest.groups} of "
        f"{seal.groups} commits of it are there, so videos are missing; nothing was changed or "
        "deleted; copy the store again from where it came from, or extract the features again "
        "into a new one"
    )


def _read_slot(data: bytes) -> Seal | None:
    try:
        value: dict[str, Any] = json.loads(data)
        text = json.dumps(value["seal"])
        if len(data) == SLOT_BYTES and value["check"] == zlib.crc32(text.encode()):
            return Seal(**value["seal"])
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    return None
