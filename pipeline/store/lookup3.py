"""Bob Jenkins' hash lookup3 (`hashlittle`), the checksum of HDF5's metadata."""

from __future__ import annotations

import struct

_MASK = 0xFFFFFFFF


def lookup3(data: bytes, seed: int = 0) -> int:
    """The 32-bit hash of `data`, for blocks of some kB: 1 MB takes half a second."""
    a = b = c = (0xDEADBEEF + len(data) + seed) & _MASK
    if not data:
        return c
    last = (len(data) - 1) // 12 * 12
    for x, y, z in struct.iter_unpack("<III", data[:last]):
        a, b, c = _mix(a + x & _MASK, b + y & _MASK, c + z & _MASK)
    x, y, z = struct.unpack("<III", data[last:].ljust(12, b"\0"))
    return _final(a + x & _MASK, b + y & _MASK, c + z & _MASK)


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> 32 - bits) & _MASK


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    a, c = (a - c & _MASK) ^ _rotate(c, 4), c + b & _MASK
    b, a = (b - a & _MASK) ^ _rotate(a, 6), a + c & _MASK
    c, b = (c - b & _MASK) ^ _rotate(b, 8), b + a & _MASK
    a, c = (a - c & _MASK) ^ _rotate(c, 16), c + b & _MASK
    b, a = (b - a & _MASK) ^ _rotate(a, 19), a + c & _MASK
    c, b = (c - b & _MASK) ^ _rotate(b, 4), b + a & _MASK
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for bits in (14, 11, 25, 16, 4, 14, 24):
        # The roles of the three go round: c ^= b; c -= rot(b); then a ^= c; then b ^= a; ...
        c = (c ^ b) - _rotate(b, bits) & _MASK
        a, b, c = b, c, a
    return b
