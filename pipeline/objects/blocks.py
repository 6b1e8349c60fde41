"""A remote object as a file, for videos that are too large to be fetched whole."""

from __future__ import annotations

import io
from collections import OrderedDict

from ..errors import VideoError
from .fetch import RemoteInfo, RemoteObject

BLOCK_BYTES = 4 << 20
KEPT_BLOCKS = 8


class BlockCache:
    """Blocks of an object; the last ones used stay in memory.

    Attributes:
        requests: blocks that were read.
        error: the last one of the network; a library may take it for the end of the file.
    """

    def __init__(self, remote: RemoteObject, block_bytes: int, kept_blocks: int) -> None:
        self.remote, self.block_bytes, self._kept = remote, block_bytes, kept_blocks
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self.requests = 0
        self.error: VideoError | None = None

    def block(self, number: int) -> bytes:
        """A block; VideoError as `RemoteObject.read`."""
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        start = number * self.block_bytes
        stop = min(start + self.block_bytes, self.remote.info.size)
        try:
            data = self.remote.read(start, stop)
        except VideoError as error:
            self.error = error
            raise
        self.requests += 1
        self._blocks[number] = data
        if len(self._blocks) > self._kept:
            self._blocks.popitem(last=False)
        return data


class RemoteFile(io.RawIOBase):
    """Reads an object in blocks of 4 MiB.

    A demuxer reads forwards, and at the start once near the end, where many cameras put the table
    of a video.

    Args:
        remote: the object.
        cache: of another file of the same object; None makes one.
    """

    def __init__(
        self,
        remote: RemoteObject,
        block_bytes: int = BLOCK_BYTES,
        kept_blocks: int = KEPT_BLOCKS,
        *,
        cache: BlockCache | None = None,
    ) -> None:
        super().__init__()
        self.cache = cache or BlockCache(remote, block_bytes, kept_blocks)
        self._position = 0

    @property
    def info(self) -> RemoteInfo:
        """What the server says of the object."""
        return self.cache.remote.info

    @property
    def error(self) -> VideoError | None:
        """The last error of the network."""
        return self.cache.error

    def again(self) -> RemoteFile:
        """The same object from its start, with the blocks that are at hand."""
        return RemoteFile(self.cache.remote, cache=self.cache)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; nothing is read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.info.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Read up to `size` bytes, fewer only at the end; VideoError as `RemoteObject.read`."""
        left = self.info.size - self._position
        wanted = max(0, left if size is None or size < 0 else min(size, left))
        parts = []
        while wanted:
            number, start = divmod(self._position, self.cache.block_bytes)
            data = self.cache.block(number)[start : start + wanted]
            parts.append(data)
            wanted -= len(data)
            self._position += len(data)
        return b"".join(parts)
