"""Tells whether a film is encrypted, from its container; nothing here has a key."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

from .remote import open_bytes

_MAX_BOXES = 10_000
_PATH = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}  # boxes that lead to `stsd`
_PACKET = (188, 192, 204)  # bytes of a transport packet: plain, of a camera, with a checksum
_SAMPLE = 1 << 20  # bytes that are read


def encryption(path: str, container: Any, stream: Any) -> str:
    """Name the encryption of a stream, for messages; empty if none is known.

    Args:
        path: the file.
        container, stream: of `av`, as opened.
    """
    formats = set(container.format.name.split(","))
    if "mov" in formats:
        return "Common Encryption" if has_encrypted_track(path, stream.id) else ""
    if "matroska" in formats and "enc_key_id" in stream.metadata:
        return "Matroska ContentEncryption"
    if "asf" in formats and any(key.startswith("ASF_") for key in container.metadata):
        keys = {"ASF_Protection_Type", "ASF_Key_ID", "ASF_License_URL"} & set(container.metadata)
        return "Windows Media DRM" if keys else ""
    return "scrambling" if "mpegts" in formats and _is_scrambled(path, stream.id) else ""


def has_encrypted_track(path: str, track: int | None = None) -> bool:
    """Tell whether a track of an MP4 file, or one without a number, is described as `encv`.

    Args:
        path: the file.
        track: number of the track; None for any.
    """
    with open_bytes(path) as file:
        file.seek(0, 2)
        end, number = file.tell(), 0
        for kind, begin, stop in _boxes(file, 0, end, [_MAX_BOXES]):
            if kind == b"tkhd":
                number = _track_number(file, begin)
            elif kind == b"stsd" and (track is None or number in (track, 0)):
                file.seek(begin + 12)  # version, flags, count, size of the first entry
                if stop - begin >= 16 and file.read(4) == b"encv":
                    return True
    return False


def _boxes(file: BinaryIO, at: int, end: int, left: list[int]) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, begin and end of the content of each box; enters boxes that lead to `stsd`."""
    while at + 8 <= end and left[0] > 0:
        left[0] -= 1
        file.seek(at)
        size, kind = struct.unpack(">I4s", file.read(8))
        begin = at + 8
        if size == 1 and begin + 8 <= end:
            size, begin = struct.unpack(">Q", file.read(8))[0], begin + 8
        stop = at + size if size else end
        if stop < begin or stop > end:
            return  # cut or damaged
        yield kind, begin, stop
        if kind in _PATH:
            yield from _boxes(file, begin, stop, left)
        at = stop


def _track_number(file: BinaryIO, begin: int) -> int:
    file.seek(begin)
    head = file.read(24)
    at = 20 if head[:1] == b"\1" else 12
    return int.from_bytes(head[at : at + 4])


def _is_scrambled(path: str, pid: int) -> bool:
    """Tell whether most of the first packets of a stream of a transport stream are scrambled."""
    with open_bytes(path) as file:
        head = file.read(_SAMPLE)
    first = max(0, head.find(b"\x47"))
    step = next((n for n in _PACKET if head[first + n : first + n + 1] == b"\x47"), _PACKET[0])
    packets = (head[i : i + 4] for i in range(first, len(head) - step, step))
    flags = [p[3] for p in packets if p[0] == 0x47 and int.from_bytes(p[1:3]) & 0x1FFF == pid]
    return 2 * sum(flag & 0xC0 != 0 for flag in flags) > len(flags)
