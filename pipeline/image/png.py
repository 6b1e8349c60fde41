"""Writes pictures of few colours as PNG files, with nothing but zlib."""

from __future__ import annotations

import struct
import zlib

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_INDEXED = 3  # colour type of the format: every pixel is an index into a palette


def encode_png(indices: np.ndarray, palette: np.ndarray) -> bytes:
    """Encode a picture of up to 256 colours.

    Args:
        indices: uint8 [H, W], each below the number of colours.
        palette: uint8 [N, 3] RGB, at most 256.

    Returns:
        The content of the file.
    """
    height, width = indices.shape
    header = struct.pack(">IIBBBBB", width, height, 8, _INDEXED, 0, 0, 0)
    rows = np.zeros((height, width + 1), np.uint8)  # each begins with its filter, 0: none
    rows[:, 1:] = indices
    chunks = (
        (b"IHDR", header),
        (b"PLTE", np.ascontiguousarray(palette, np.uint8).tobytes()),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    return _SIGNATURE + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
