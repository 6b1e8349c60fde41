"""Objects as files of a folder."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..atomic import O_BINARY, sync_file, sync_path
from ..errors import StorageError
from .base import TEMPORARY, ObjectInfo

CLAIM = ".claim"  # ends the name that stands for a file where there are no hard links
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class FolderObjects:
    """See `ObjectStore`. Makes the folder when the first object is put.

    Args:
        root: the folder.
        hard_links: False: as if the file system had none.
    """

    def __init__(self, root: Path, hard_links: bool = True) -> None:
        self.root = root
        self._hard_links = hard_links

    def get(self, name: str) -> bytes | None:
        """See `ObjectStore`."""
        with self._named(name):
            try:
                return (self.root / name).read_bytes()
            except FileNotFoundError:
                return None

    def size(self, name: str) -> int | None:
        """See `ObjectStore`."""
        with self._named(name):
            try:
                return (self.root / name).stat().st_size
            except FileNotFoundError:
                return None

    def get_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """See `ObjectStore`."""
        with self._named(name), open(self.root / name, "rb") as file:
            parts: list[memoryview] = []
            for start, stop in ranges:
                file.seek(start)
                parts.append(memoryview(file.read(stop - start)))
            return parts

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """See `ObjectStore`. The content is on disk before the name is."""
        with self._named(name), self._temporary(name) as temporary:
            _write(temporary, data)
            return self._install(temporary, self.root / name)

    def put_file(self, name: str, path: Path) -> None:
        """See `ObjectStore`."""
        with self._named(name), self._temporary(name) as temporary:
            shutil.copyfile(path, temporary)
            sync_path(temporary)
            if not self._install(temporary, self.root / name):
                raise FileExistsError(errno.EEXIST, "there already", name)

    def list(self, prefix: str, after: str = "") -> list[ObjectInfo]:
        """See `ObjectStore`."""
        infos = []
        with self._named(prefix):
            for folder, _, names in os.walk(self.root / prefix):
                for name in names:
                    path = Path(folder, name)
                    relative = path.relative_to(self.root).as_posix()
                    if relative <= after:
                        continue
                    with suppress(FileNotFoundError):
                        status = path.stat()
                        infos.append(ObjectInfo(relative, status.st_size, status.st_mtime))
        return sorted(infos, key=lambda info: info.name)

    def delete(self, name: str) -> None:
        """See `ObjectStore`."""
        with self._named(name):
            (self.root / name).unlink(missing_ok=True)

    @contextmanager
    def _temporary(self, name: str) -> Iterator[Path]:
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _install(self, temporary: Path, target: Path) -> bool:
        """Give a whole file its name if that is free, in one step."""
        if not self._hard_links:
            return self._claim(temporary, target)
        try:
            os.link(temporary, target)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            self._hard_links = False
            return self._claim(temporary, target)
        sync_path(target.parent)
        return True

    def _claim(self, temporary: Path, target: Path) -> bool:
        """The same without hard links: whoever makes the claim file may rename."""
        claim = target.with_name(target.name + CLAIM)
        try:
            os.close(os.open(claim, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        except FileExistsError as error:
            if target.exists():
                return False
            # Taken for dead, a writer could wake up and rename over the file of another one.
            raise StorageError(
                f"{target}: another writer is putting it, or was killed at it; if none is at work, "
                f"remove {claim.name} and run the same command again"
            ) from error
        try:
            if target.exists():
                return False
            os.rename(temporary, target)
            sync_path(target.parent)
            return True
        finally:
            claim.unlink(missing_ok=True)

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        """Errors of the disk name the object and say what to do."""
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"{self.root / name}: {error.strerror or error}; make sure that the disk is "
                "mounted and has room, and of permission, then run the same command again"
            ) from error


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | O_BINARY, 0o666)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        sync_file(descriptor)
