"""Reader of TensorFlow's checkpoint files: an index, and shards of raw tensors.

Sizes that a damaged file declares are checked before memory is allocated for them, and reading
needs no TensorFlow. The index is a sorted string table (as LevelDB's) of protocol buffers; blocks
of it and tensors carry a CRC32C, and all that are read are checked. Names of formats and fields:
tensorflow/core/protobuf/tensor_bundle.proto.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np

from .archive import open_regular, read_file

MAX_INDEX_BYTES = 1 << 24  # a release has 12 kB
_MAGIC = 0xDB4775248B80FB57
_FOOTER, _TRAILER = 48, 5
_FLOAT = 1  # DT_FLOAT
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_MAX_VARINT_BYTES = 10

Fields = dict[int, list[int | bytes]]


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies; `size` in bytes."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc32c: int
    partitioned: bool


def read_index(prefix: Path) -> tuple[dict[str, Entry], int]:
    """Every tensor of a checkpoint by name, and the number of shards.

    Raises:
        OSError: the index cannot be read.
        ValueError: it is damaged, or in a form that is not read here.
    """
    content = read_file(Path(f"{prefix}.index"), MAX_INDEX_BYTES)
    if len(content) < _FOOTER or struct.unpack("<Q", content[-8:])[0] != _MAGIC:
        raise ValueError("the index is cut short or no index")
    at, footer = 0, content[-_FOOTER:]
    for _ in range(2):  # the handle of the block of properties, which are not needed
        _, at = _varint(footer, at)
    entries: dict[str, Entry] = {}
    shards = 0
    for _, handle in _pairs(_block(content, footer[at:])):
        for key, value in _pairs(_block(content, handle)):
            if key:
                entries[key.decode("utf-8")] = _entry(_fields(value))
            else:
                shards = _header(_fields(value))
    if not shards:
        raise ValueError("the index has no header")
    return entries, shards


def read_tensor(prefix: Path, entry: Entry, shards: int) -> np.ndarray:
    """A tensor of float32, as its CRC32C says.

    Raises:
        OSError: its shard cannot be read.
        ValueError: it is damaged, cut short or no tensor of float32.
    """
    if entry.dtype != _FLOAT or entry.partitioned:
        raise ValueError("it is no whole tensor of float32")
    if entry.size != 4 * math.prod(entry.shape):
        raise ValueError(f"{entry.size} bytes are no float32 {entry.shape}")
    with open_regular(Path(f"{prefix}.data-{entry.shard:05d}-of-{shards:05d}")) as file:
        file.seek(entry.offset)
        content = file.read(entry.size)
    if len(content) != entry.size or _masked(content) != entry.crc32c:
        raise ValueError("its bytes are cut short or do not fit their CRC32C")
    return np.frombuffer(content, "<f4").reshape(entry.shape).astype(np.float32)


def _block(content: bytes, handle: bytes) -> bytes:
    offset, at = _varint(handle, 0)
    size, _ = _varint(handle, at)
    block = content[offset : offset + size + _TRAILER]
    if len(block) != size + _TRAILER:
        raise ValueError("the index points beyond its end")
    if _masked(block[:-4]) != struct.unpack("<I", block[-4:])[0]:
        raise ValueError("a block of the index does not fit its CRC32C")
    if block[size]:
        raise ValueError("the index is compressed, which is not read here")
    return block[:size]


def _pairs(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block; a key shares its first bytes with the one before."""
    if len(block) < 4:
        raise ValueError("a block of the index is cut short")
    end = len(block) - 4 * (struct.unpack("<I", block[-4:])[0] + 1)
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        fresh, at = _varint(block, at)
        size, at = _varint(block, at)
        if shared > len(key) or at + fresh + size > end:
            raise ValueError("a block of the index is damaged")
        key = key[:shared] + block[at : at + fresh]
        at += fresh + size
        yield key, block[at - size : at]


def _header(fields: Fields) -> int:
    if _one(fields, 2):
        raise ValueError("the tensors are big-endian, which is not read here")
    shards = _one(fields, 1)
    if not 1 <= shards <= 99_999:
        raise ValueError(f"the index says {shards} shards")
    return shards


def _entry(fields: Fields) -> Entry:
    shape = []
    for dimension in _fields(_text(fields, 2)).get(2, []):
        if not isinstance(dimension, bytes):
            raise ValueError("a shape in the index is damaged")
        shape.append(_one(_fields(dimension), 1))
    shard, offset, size, crc = (_one(fields, number) for number in (3, 4, 5, 6))
    return Entry(_one(fields, 1), tuple(shape), shard, offset, size, crc, 7 in fields)


def _one(fields: Fields, number: int) -> int:
    value = fields.get(number, [0])[-1]
    if not isinstance(value, int) or value >= 1 << 63:
        raise ValueError("a number in the index is damaged")
    return value


def _text(fields: Fields, number: int) -> bytes:
    value = fields.get(number, [b""])[-1]
    if not isinstance(value, bytes):
        raise ValueError("a field in the index is damaged")
    return value


def _fields(message: bytes) -> Fields:
    """Values of a protocol buffer by field number."""
    fields: Fields = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind, value = tag & 7, 0
        if kind == _VARINT:
            value, at = _varint(message, at)
            fields.setdefault(tag >> 3, []).append(value)
            continue
        if kind not in (_FIXED64, _BYTES, _FIXED32):
            raise ValueError("an entry of the index is damaged")
        size = {_FIXED64: 8, _FIXED32: 4}.get(kind)
        if size is None:
            size, at = _varint(message, at)
        raw = message[at : at + size]
        if len(raw) != size:
            raise ValueError("an entry of the index is cut short")
        at += size
        fixed = kind != _BYTES
        fields.setdefault(tag >> 3, []).append(int.from_bytes(raw, "little") if fixed else raw)
    return fields


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Little-endian, seven bits a byte: the number, and the place behind it."""
    number = 0
    for place, byte in enumerate(content[at : at + _MAX_VARINT_BYTES]):
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return number, at + place + 1
    raise ValueError("a number in the index is cut short")


def _masked(content: bytes) -> int:
    """The CRC32C as these files keep it, so that a CRC of CRCs is no trivial one."""
    crc = google_crc32c.value(content)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
