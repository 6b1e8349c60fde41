"""The header and the manifest out of a store's file, without the HDF5 library.

The library trusts a file: a damaged or crafted one makes it hang, crash, or fill the memory. A
reader needs two things of it, the text of the root's attribute "store" and the bytes of /manifest,
and this program always lays them out in the same way (libver "v108"):

    superblock, version 2 -> object header of the root
      attribute "store": a string in a global heap
      link "manifest" -> object header: uint8, chunked, no filters; B-tree (version 1) of chunks

Every other structure is refused. Every address and size is compared with the file's end before
anything is read or allocated, and every loop is bounded by the bytes that are there. The names of
structures are of the "HDF5 File Format Specification Version 3.0".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from itertools import pairwise

from .lookup3 import lookup3

Read = Callable[[int, int], bytes]  # offset, size -> that many bytes

MAX_HEADER = 16 << 20  # bytes of the attribute "store"
_MAX_BLOCK = 1 << 20  # bytes of one block of an object header
_MAX_BLOCKS = 64
_MIN_CHUNK, _MAX_CHUNK = 1 << 12, 16 << 20
SIGNATURE = b"\x89HDF\r\n\x1a\n"
_NOWHERE = (1 << 64) - 1
_SPACE, _TYPE, _LINK, _EXTERNAL, _LAYOUT, _FILTERS, _ATTRIBUTE, _CONTINUATION = (
    0x01, 0x03, 0x06, 0x07, 0x08, 0x0B, 0x0C, 0x10,
)  # fmt: skip


def file_end(head: bytes) -> int:
    """The end of a file in bytes as the superblock in its first bytes tells it.

    Raises:
        ValueError: no superblock of the version that this program writes, or a damaged one.
    """
    if len(head) < 48 or head[:8] != SIGNATURE or head[8] != 2 or head[9:11] != b"\x08\x08":
        raise ValueError(
            "not an HDF5 file of the kind this program writes; a published feature file needs --as"
        )
    if lookup3(head[:44]) != _u32(head, 44):
        raise ValueError("its superblock is damaged")
    return _u64(head, 28)


class Hdf5Layout:
    """The parts of a store's file that readers need.

    Args:
        read: gives bytes of the file.
        end: of the file in bytes.

    Raises:
        ValueError: the file is laid out in another way, or damaged.
    """

    def __init__(self, read: Read, end: int) -> None:
        self._read_bytes, self._end = read, end
        self._root = list(self._messages(_u64(self._read(0, 48), 36)))
        self._manifest = self._manifest_messages()

    def header(self) -> str | None:
        """The text of the attribute "store"; None if there is none."""
        for kind, body in self._root:
            if kind == _ATTRIBUTE and _attribute_name(body) == b"store":
                return self._string(body).decode("utf-8")
        return None

    def manifest(self) -> bytes | None:
        """The bytes of the manifest; None if there is none."""
        return self._dataset(self._manifest) if self._manifest else None

    def seal(self) -> tuple[int, int, int] | None:
        """The attribute "seal" of the manifest, three whole numbers; None if it has none."""
        for kind, body in self._manifest:
            if kind == _ATTRIBUTE and _attribute_name(body) == b"seal":
                return _three_numbers(body)
        return None

    def _manifest_messages(self) -> list[tuple[int, bytes]]:
        for kind, body in self._root:
            if kind == _LINK and (address := _hard_link(body, b"manifest")) is not None:
                return list(self._messages(address))
        return []

    def _read(self, offset: int, size: int) -> bytes:
        if not 0 <= offset <= self._end - size:
            raise ValueError(f"{size} bytes at {offset} lie outside of the file")
        return self._read_bytes(offset, size)

    def _messages(self, address: int) -> Iterator[tuple[int, bytes]]:
        """(type, content) of every message of the object header at `address`."""
        prefix = self._read(address, 6)
        if prefix[:5] != b"OHDR\x02":
            raise ValueError(f"no object header at {address}")
        flags = prefix[5]
        start = 6 + 16 * bool(flags & 0x20) + 4 * bool(flags & 0x10)
        width = 1 << (flags & 3)
        size = int.from_bytes(self._read(address + start, width), "little")
        todo, blocks = [(address, start + width, start + width + size + 4)], 0
        while todo:
            block = self._checked(*todo.pop(0))
            blocks += 1
            for kind, body in _split(block, 6 if flags & 4 else 4):
                if kind == _CONTINUATION:
                    todo.append((_u64(body, 0), 4, _u64(body, 8)))
                yield kind, body
            if blocks + len(todo) > _MAX_BLOCKS:
                raise ValueError(f"the object header at {address} has too many blocks")

    def _checked(self, address: int, start: int, size: int) -> bytes:
        """A block of an object header without what precedes `start`, and without its checksum."""
        if not start + 4 <= size <= _MAX_BLOCK:
            raise ValueError(f"an object header of {size} bytes at {address}")
        block = self._read(address, size)
        if start == 4 and block[:4] != b"OCHK":
            raise ValueError(f"no object header continues at {address}")
        if lookup3(block[:-4]) != _u32(block, size - 4):
            raise ValueError(f"the object header at {address} is damaged")
        return block[start:-4]

    def _string(self, body: bytes) -> bytes:
        """The value of an attribute that is one string of variable length."""
        name, kind, space = struct.unpack_from("<HHH", body, 2)
        at = 9 + name
        scalar = body[at + kind : at + kind + space][:2] == b"\x02\x00"
        if body[0] != 3 or body[1] or body[at] & 15 != 9 or body[at + 1] & 15 != 1 or not scalar:
            raise ValueError('the attribute "store" is no string')
        size, heap, index = struct.unpack_from("<IQI", body, at + kind + space)
        if size > MAX_HEADER:
            raise ValueError(f'the attribute "store" has {size} bytes')
        return self._heap_object(heap, index, size)

    def _heap_object(self, heap: int, index: int, size: int) -> bytes:
        head = self._read(heap, 16)
        stop = heap + _u64(head, 8)
        if head[:5] != b"GCOL\x01" or stop > self._end:
            raise ValueError(f"no global heap at {heap}")
        at = heap + 16
        while at + 16 <= stop:  # each step goes forward by 16 bytes at least
            number, _, _, length = struct.unpack("<HHIQ", self._read(at, 16))
            if number == index:
                if not size <= length <= stop - at - 16:
                    break
                return self._read(at + 16, size)
            if number == 0:  # the free space at the end
                break
            at += 16 + (length + 7) // 8 * 8
        raise ValueError(f"the global heap at {heap} is damaged")

    def _dataset(self, messages: list[tuple[int, bytes]]) -> bytes:
        contents = dict(messages)
        space, layout = contents.get(_SPACE, b""), contents.get(_LAYOUT, b"")
        if _FILTERS in contents or _EXTERNAL in contents:
            raise ValueError("/manifest has filters or lies in another file")
        if contents.get(_TYPE, b"")[:8] != b"\x10\x00\x00\x00\x01\x00\x00\x00":
            raise ValueError("/manifest is no array of bytes")
        if len(space) < 12 or space[:2] != b"\x02\x01" or layout[:3] != b"\x03\x02\x02":
            raise ValueError("/manifest is not stored in chunks of one dimension")
        size, (tree, chunk, width) = _u64(space, 4), struct.unpack_from("<QII", layout, 3)
        if size > self._end or not _MIN_CHUNK <= chunk <= _MAX_CHUNK or width != 1:
            raise ValueError(f"/manifest has {size} bytes in chunks of {chunk}")
        return self._chunks(tree, chunk, size)

    def _chunks(self, tree: int, chunk: int, size: int) -> bytes:
        chunks, addresses = -(-size // chunk), list[int]()
        for offset, address in self._leaves(tree, chunk) if chunks and tree != _NOWHERE else ():
            if len(addresses) == chunks or offset != len(addresses) * chunk:
                break
            addresses.append(address)
        # No byte counts twice: a small file cannot stand for a large manifest.
        disjoint = all(b - a >= chunk for a, b in pairwise(sorted(addresses)))
        if len(addresses) != chunks or not disjoint:
            raise ValueError(f"/manifest has not the {chunks} chunks that its size asks for")
        parts = []
        for start, address in zip(range(0, size, chunk), addresses, strict=True):
            parts.append(self._read(address, chunk)[: size - start])
            if b"\0" in parts[-1]:  # no text: also a hole in a sparse file, of any size
                raise ValueError(f"/manifest is damaged between {start} and {start + chunk} bytes")
        return b"".join(parts)

    def _leaves(self, tree: int, chunk: int, level: int | None = None) -> Iterator[tuple[int, int]]:
        """(offset in the dataset, address) of every chunk in ascending order."""
        head = self._read(tree, 24)
        depth, used = head[5], int.from_bytes(head[6:8], "little")
        fits = depth <= 8 if level is None else depth == level
        if head[:5] != b"TREE\x01" or not fits or not used:
            raise ValueError(f"no B-tree of chunks at {tree}")
        body = self._read(tree + 24, used * 32)
        for size, mask, offset, _, child in struct.iter_unpack("<IIQQQ", body):
            if depth:
                yield from self._leaves(child, chunk, depth - 1)
            elif (size, mask) != (chunk, 0):
                raise ValueError("/manifest has chunks with filters")
            else:
                yield offset, child


def _split(block: bytes, head: int) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + head <= len(block):
        kind, size, flags = (
            block[at],
            int.from_bytes(block[at + 1 : at + 3], "little"),
            block[at + 3],
        )
        at += head
        if at + size > len(block) or (flags & 2 and kind in (_SPACE, _TYPE, _LAYOUT, _ATTRIBUTE)):
            raise ValueError("an object header is damaged or refers to another one")
        yield kind, block[at : at + size]
        at += size


def _three_numbers(body: bytes) -> tuple[int, int, int]:
    """The value of an attribute of three unsigned numbers of 8 bytes."""
    name, kind, space = struct.unpack_from("<HHH", body, 2)
    at = 9 + name
    # Fixed point, little-endian, unsigned, 8 bytes; then one dimension of three.
    unsigned = body[at : at + 8] == b"\x10\x00\x00\x00\x08\x00\x00\x00"
    one_dimension = body[at + kind : at + kind + 2] == b"\x02\x01"
    if body[0] != 3 or body[1] or not unsigned or not one_dimension or space < 12:
        raise ValueError('the attribute "seal" is not three numbers')
    if _u64(body, at + kind + 4) != 3:
        raise ValueError('the attribute "seal" is not three numbers')
    a, b, c = struct.unpack_from("<QQQ", body, at + kind + space)
    return a, b, c


def _attribute_name(body: bytes) -> bytes:
    return body[9 : 9 + int.from_bytes(body[2:4], "little")].rstrip(b"\0")


def _hard_link(body: bytes, name: bytes) -> int | None:
    """The address that a link message of this name points to; None if it has another name."""
    flags, at, kind = body[1], 2, 0
    if flags & 8:
        kind, at = body[at], at + 1
    at += 8 * bool(flags & 4) + bool(flags & 16)
    width = 1 << (flags & 3)
    stop = at + width + int.from_bytes(body[at : at + width], "little")
    if body[at + width : stop] != name:
        return None
    if body[0] != 1 or kind:
        raise ValueError(f"/{name.decode()} is a link to something else")
    return _u64(body, stop)


def _u32(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])


def _u64(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<Q", data, at)[0])
