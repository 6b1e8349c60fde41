"""Fetches one object to a local file, in ranges that are resumed where a connection breaks.

FFmpeg gets no URL: where a connection is cut, it takes what came so far for the whole video, and
its messages repeat the URL with the signature in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from ..errors import InputError, VideoError
from .bucket import CLIENT, error_reason, load_obstore, make_store
from .opening import is_url

RANGE_BYTES = 8 << 20
TRIES = 3  # of one range, without a byte that came
_RETRIES = {"max_retries": 2, "retry_timeout": timedelta(seconds=20)}  # of the client, each time
PAUSE_SECONDS = 0.5  # before the second try; doubled before each further one


@dataclass(frozen=True)
class RemoteInfo:
    """What the server says of an object.

    Attributes:
        url: without query, which may hold a signature.
        size: bytes.
        etag: changes with the content; empty if the server gives none.
        modified_ns: nanoseconds since the epoch.
    """

    url: str
    size: int
    etag: str
    modified_ns: int


def without_query(url: str) -> str:
    """The URL without query and user, which may hold secrets; a path as it is."""
    if not is_url(url):
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class RemoteObject:
    """An object of S3, Google Cloud Storage or Azure, or behind an http(s) URL.

    Args:
        url: as listed; a query, as of a presigned URL, is sent with every request.
        tries, pause_seconds: see `TRIES`, `PAUSE_SECONDS`.

    Raises:
        VideoError: it is missing, empty, or unreachable; or it changes while it is read.
    """

    def __init__(
        self, url: str, *, tries: int = TRIES, pause_seconds: float = PAUSE_SECONDS
    ) -> None:
        self.name = without_query(url)
        self._obstore = load_obstore(self.name)
        self._tries, self._pause = tries, pause_seconds
        try:
            self._store, self._path = _client(url)
        except (ValueError, InputError):
            detail = (
                f"{self.name}: no address that can be used; expected s3://bucket/name or the like"
            )
            raise VideoError("missing", detail) from None
        self._first, self.info = self._open()

    def read(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop), all of them.

        Raises:
            VideoError: the connection breaks again and again, or the object changed.
        """
        if stop <= len(self._first):
            return self._first[start:stop]
        options: dict[str, Any] = {"range": (start, stop)}
        if self.info.etag:
            options["if_match"] = self.info.etag
        return self._retried(lambda: self._get(options, stop - start))

    def fetch(
        self,
        file: BinaryIO,
        range_bytes: int = RANGE_BYTES,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Write the whole object to an open file; errors as `read`.

        Args:
            stopped: asked before each range; if it says so, the rest is not fetched (VideoError).
        """
        for start in range(0, self.info.size, range_bytes):
            if stopped():
                raise VideoError("unreachable", f"{self.name}: the run has ended")
            file.write(self.read(start, min(start + range_bytes, self.info.size)))

    def _open(self) -> tuple[bytes, RemoteInfo]:
        """The first range, and with it what a HEAD would tell: a presigned URL allows no HEAD."""

        def get() -> tuple[bytes, Any]:
            result = self._obstore.get(self._store, self._path, options={"range": (0, 1 << 16)})
            return bytes(result.bytes()), result.meta

        data, meta = self._retried(get)
        modified = int(meta["last_modified"].timestamp() * 1e9)
        return data, RemoteInfo(self.name, int(meta["size"]), meta["e_tag"] or "", modified)

    def _get(self, options: dict[str, Any], size: int) -> bytes:
        result = self._obstore.get(self._store, self._path, options=options)
        changed = result.meta["size"] != self.info.size
        changed |= int(result.meta["last_modified"].timestamp() * 1e9) != self.info.modified_ns
        data = bytes(result.bytes())
        if changed:
            raise VideoError("unreachable", f"{self.name}: changed while it was read; run again")
        if len(data) != size:
            raise OSError("the connection broke")
        return data

    def _retried(self, get: Callable[[], Any]) -> Any:
        from obstore.exceptions import BaseError, PreconditionError

        pause = self._pause
        for left in range(self._tries - 1, -1, -1):
            try:
                return get()
            except PreconditionError:
                detail = f"{self.name}: changed while it was read; run the same command again"
                raise VideoError("unreachable", detail) from None
            except FileNotFoundError:
                raise VideoError("missing", f"{self.name}: no such object") from None
            except (BaseError, OSError) as error:
                if "416" in str(error).partition("\n")[0]:  # no byte to give a range of
                    raise VideoError("empty", f"{self.name}: has no content") from None
                if not left:
                    reason = error_reason(error)
                    raise VideoError("unreachable", f"{self.name}: {reason}") from None
            time.sleep(pause)
            pause *= 2
        raise AssertionError("the last try raises or returns")


def _client(url: str) -> tuple[Any, str]:
    """A client of obstore, and the path of the object for it."""
    parts = urlsplit(url)
    if parts.scheme.lower() in ("http", "https"):
        from obstore.store import HTTPStore

        base = f"{parts.scheme}://{parts.netloc}/" + (f"?{parts.query}" if parts.query else "")
        options: Any = {**CLIENT, "allow_http": parts.scheme.lower() == "http"}
        retries: Any = _RETRIES
        store = HTTPStore.from_url(base, client_options=options, retry_config=retries)
        return store, unquote(parts.path).lstrip("/")
    bucket, _, path = url.partition("://")[2].partition("/")
    return make_store(f"{parts.scheme}://{bucket}", _RETRIES), path
