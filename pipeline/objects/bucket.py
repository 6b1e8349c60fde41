"""Objects in a bucket of S3, Google Cloud Storage or Azure, by obstore.

Endpoint and credentials come from the environment, as for other programs: AWS_ENDPOINT_URL,
AWS_ACCESS_KEY_ID and so on, or the role of the machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from ..errors import InputError, StorageError
from .base import ObjectInfo

EXTRA = "pip install 'visil-index[cloud]'"
JOINED_GAP = 1 << 20  # bytes between two ranges that one request may read as well
# The client tries again by itself: a server that is restarted answers within this time.
RETRIES: dict[str, Any] = {"max_retries": 8, "retry_timeout": timedelta(seconds=60)}
CLIENT = {"timeout": timedelta(seconds=120), "connect_timeout": timedelta(seconds=10)}


class BucketObjects:
    """See `ObjectStore`.

    Args:
        url: of the bucket and a prefix, as s3://bucket/db.
        root: the same as a path, for messages.

    Raises:
        InputError: obstore is not installed, or the URL is of no kind that it knows.
    """

    def __init__(self, url: str, root: Path) -> None:
        self.root = root
        self._obstore = load_obstore(url)
        self._store = make_store(url)

    def get(self, name: str) -> bytes | None:
        """See `ObjectStore`."""
        with self._named(name):
            try:
                return bytes(self._obstore.get(self._store, name).bytes())
            except FileNotFoundError:
                return None

    def size(self, name: str) -> int | None:
        """See `ObjectStore`."""
        with self._named(name):
            try:
                return int(self._obstore.head(self._store, name)["size"])
            except FileNotFoundError:
                return None

    def get_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """See `ObjectStore`. obstore reads them at the same time, near ones by one request."""
        with self._named(name):
            starts, ends = zip(*ranges, strict=True)
            parts = self._obstore.get_ranges(
                self._store, name, starts=starts, ends=ends, coalesce=JOINED_GAP
            )
            return [memoryview(data) for data in parts]

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """See `ObjectStore`."""
        from obstore.exceptions import AlreadyExistsError

        with self._named(name):
            try:
                self._obstore.put(self._store, name, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
            return True

    def put_file(self, name: str, path: Path) -> None:
        """See `ObjectStore`. Large files go in several requests."""
        with self._named(name):
            self._obstore.put(self._store, name, path, chunk_size=32 << 20)

    def list(self, prefix: str, after: str = "") -> list[ObjectInfo]:
        """See `ObjectStore`."""
        offset = {"offset": after} if after else {}
        with self._named(prefix):
            pages = self._obstore.list(self._store, prefix, **offset)
            infos = [
                ObjectInfo(meta["path"], meta["size"], meta["last_modified"].timestamp())
                for page in pages
                for meta in page
            ]
        return sorted(infos, key=lambda info: info.name)

    def delete(self, name: str) -> None:
        """See `ObjectStore`."""
        with self._named(name):
            try:
                self._obstore.delete(self._store, name)
            except FileNotFoundError:
                return

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        with named_errors(f"{self.root}/{name}"):
            yield


@contextmanager
def named_errors(name: str) -> Iterator[None]:
    """Turn errors of obstore and of the disk into StorageError, which names the object.

    The text of the library may hold a URL with a signature, so none of it is passed on but the kind
    of the error.
    """
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError) as error:
        raise StorageError(f"{name}: {error_reason(error)}") from None


def error_reason(error: Exception) -> str:
    """What went wrong and what to do, without a word of the library's text."""
    kind = type(error).__name__.removesuffix("Error")
    if kind == "FileNotFound":
        return "no such object; make sure of the bucket's name and of the path"
    if kind in ("PermissionDenied", "Unauthenticated", "Permission"):
        return "no permission; make sure of the credentials in the environment"
    text = str(error).partition("\n")[0]
    for sign, cause in (
        ("error sending request", "no connection to the server"),
        ("timed out", "the server did not answer in time"),
        ("status code: 5", "the server failed"),
        ("decoding response body", "the connection broke"),
    ):
        if sign in text:
            return f"{cause}; check endpoint and network, then run the same command again"
    return f"the request failed ({kind}); check endpoint and network, then run the command again"


def load_obstore(url: str) -> Any:
    """The library; InputError says how to install it."""
    try:
        import obstore
    except ImportError as error:
        raise InputError(f"{url}: object storage needs obstore: {EXTRA}") from error
    return obstore


def make_store(url: str, retries: dict[str, Any] | None = None) -> Any:
    """The client for a bucket and prefix.

    Raises:
        InputError: obstore does not know this kind of URL, or a setting in the environment is
            wrong.
    """
    from obstore import store
    from obstore.exceptions import BaseError

    from_url: Any = store.from_url  # its overloads know no mapping of any options
    options: dict[str, Any] = {}
    if url.startswith(("http://", "s3://", "s3a://")):
        options["allow_http"] = True  # an endpoint is http only where the user names one
    try:
        return from_url(url, retry_config=retries or RETRIES, client_options={**CLIENT, **options})
    except (BaseError, ValueError) as error:
        kind = type(error).__name__
        raise InputError(
            f"{url.partition('?')[0]}: cannot be used as object storage ({kind}); expected "
            "s3://bucket/path, gs://bucket/path or az://container/path"
        ) from None
