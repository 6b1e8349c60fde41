"""Reads from the first bytes of coded pictures where decoding can begin, without decoding.

Containers mark random access points, too, but some mark all packets, and for some codecs the mark
promises less than an **entry**. At an entry, decoding can begin: this picture, and every picture
that is decoded and shown after it, need no earlier picture.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple


class UnclearError(Exception):
    """Packets alone do not tell enough about this stream; it must be decoded in full."""


class Unit(NamedTuple):
    """The content of one packet.

    Attributes:
        entry: decoding can begin here.
        parameters: parameter sets for later pictures, as bytes.
        shown_early: shown before a picture decoded earlier (a B picture); None if unknown.
    """

    entry: bool
    parameters: frozenset[bytes] = frozenset()
    shown_early: bool | None = None


Inspector = Callable[[memoryview], Unit]


def inspector(codec: str, extradata: bytes) -> Inspector | None:
    """Choose the function that inspects the packets of a codec; None for other codecs.

    It raises `UnclearError` for packets whose pictures or dependencies are uncertain.
    """
    if codec == "h264":
        size = (extradata[4] & 3) + 1 if len(extradata) > 6 and extradata[0] == 1 else 0
        return lambda data: _h264(data, size)
    if codec == "hevc":
        size = (extradata[21] & 3) + 1 if len(extradata) > 22 and extradata[0] == 1 else 0
        return lambda data: _hevc(data, size)
    if codec == "mpeg4" and _PACKED.search(extradata):
        return None
    return _INSPECTORS.get(codec)


def _h264(data: memoryview, size: int) -> Unit:
    """ISO/IEC 14496-10: NAL type 5 is an IDR slice, 7, 8, 13 and 15 are parameter sets."""
    entry, parameters = False, []
    for nal in _nal_units(data, size):
        kind = nal[0] & 31
        entry |= kind == 5
        if kind in (7, 8, 13, 15):
            parameters.append(bytes(nal))
    return Unit(entry, frozenset(parameters))


def _hevc(data: memoryview, size: int) -> Unit:
    """ISO/IEC 23008-2: types 19 and 20 are IDR slices, 32 to 34 parameter sets.

    With temporal layers a picture that its own layer does not need may be needed by a higher one.
    """
    entry, parameters = False, []
    for nal in _nal_units(data, size):
        kind = nal[0] >> 1 & 63
        if kind < 32 and (len(nal) < 2 or nal[1] & 7 != 1):
            raise UnclearError("temporal layers")
        entry |= kind in (19, 20)
        if 32 <= kind <= 34:
            parameters.append(bytes(nal))
    return Unit(entry, frozenset(parameters))


def _nal_units(data: memoryview, size: int) -> Iterator[memoryview]:
    """Yield units of at least one byte.

    Each follows its length in `size` bytes; if `size` is 0, units lie between start codes.
    """
    if not size:
        yield from _between_start_codes(data)
        return
    at = 0
    while at < len(data):
        begin = at + size
        at = begin + int.from_bytes(data[at:begin], "big")
        if not begin < at <= len(data):
            raise UnclearError("lengths of units do not add up")
        yield data[begin:at]


def _between_start_codes(data: memoryview) -> Iterator[memoryview]:
    text = bytes(data)
    at = text.find(b"\0\0\1")
    if at < 0:
        raise UnclearError("no start code")
    while at >= 0:
        following = text.find(b"\0\0\1", at + 3)
        nal = data[at + 3 : following if following >= 0 else len(text)]
        if len(nal):
            yield nal
        at = following


# DivX marks packets of two pictures by a p after its build number.
_PACKED = re.compile(rb"DivX\d+(?:b|Build)\d+p")
_VOL = re.compile(rb"\x00\x00\x01[\x20-\x2f].*?(?=\x00\x00\x01|\Z)", re.DOTALL)


def _mpeg4(data: memoryview) -> Unit:
    """ISO/IEC 14496-2: behind start code B6 two bits of picture type, 0 is I, 2 is B."""
    text = bytes(data)
    at = text.find(b"\0\0\1\xb6")
    kind = text[at + 4] >> 6 if 0 <= at < len(text) - 4 else -1
    packed = text.find(b"\0\0\1\xb6", at + 4) >= 0 or _PACKED.search(text, 0, max(at, 0))
    if kind < 0 or packed:
        raise UnclearError("not one picture in a packet")
    return Unit(kind == 0, frozenset(_VOL.findall(text, 0, at)), kind == 2)


def _mpeg2(data: memoryview) -> Unit:
    """ISO/IEC 11172-2, 13818-2: behind start code 00, ten bits of number, three of type (1 I, 3 B).

    The sequence header before it (B3) resets all settings.
    """
    text = bytes(data)
    at = text.find(b"\0\0\1\0")
    if not 0 <= at < len(text) - 5:
        raise UnclearError("no picture header")
    kind, has_header = text[at + 5] >> 3 & 7, text.find(b"\0\0\1\xb3", 0, at) >= 0
    return Unit(kind == 1 and has_header, shown_early=kind == 3)


def _mjpeg(data: memoryview) -> Unit:
    """ISO/IEC 10918-1: an entry has its own tables (DB and C4) before the scan (DA)."""
    head = bytes(data[:4096]).partition(b"\xff\xda")[0]
    return Unit(b"\xff\xdb" in head and b"\xff\xc4" in head)


def _intra(data: memoryview) -> Unit:
    return Unit(True)


_INSPECTORS: dict[str, Inspector] = {
    "mpeg4": _mpeg4,
    "mpeg1video": _mpeg2,
    "mpeg2video": _mpeg2,
    "mjpeg": _mjpeg,
    "prores": _intra,
}
