"""Downloads of published files: resumed where they stopped, pinned by their digest once seen."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from .atomic import atomic_write
from .errors import ModelError
from .published_weights import PublishedFile

MAX_BYTES = 1 << 30  # of a file; the largest known one has 140 MB
_CHUNK = 1 << 20
_TIMEOUT = 30  # seconds without an answer
_BEYOND_END = 416  # what a server answers if nothing is left to send
_DIGESTS = "weights_sha256.json"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Fetched:
    """A file that is in place.

    Attributes:
        path: of the file.
        sha256: hex.
        downloaded: False if it was there already.
        pinned: whether its digest was known before.
    """

    path: Path
    sha256: str
    downloaded: bool
    pinned: bool


def digest_file() -> Path:
    """Where the digests of files that were seen are kept: with settings, not with a cache."""
    folder = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(folder) if os.path.isabs(folder) else Path(os.path.expanduser("~/.config"))
    return base.absolute() / "visil-index" / _DIGESTS


def fetch(
    file: PublishedFile,
    folder: Path,
    *,
    mirrors: Sequence[str] = (),
    check: Callable[[Path], None] | None = None,
    progress: Progress | None = None,
) -> Fetched:
    """Put a file into a folder, unless it is there, and pin its digest.

    What was downloaded before an interruption is kept beside it and continued.

    Args:
        folder: made if needed.
        mirrors: addresses of folders that are tried first.
        check: called with the downloaded file before it gets its name; it raises for one that
            cannot be used.
        progress: called with (bytes so far, bytes in all or 0).

    Raises:
        ModelError: no address answers, with what to do by hand; or the file is not the one that
            was seen before.
    """
    path = folder / file.name
    if path.exists():
        if check is not None:
            check(path)
        return _pinned(file, path, downloaded=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{file.name}.part")
        _download(file, part, [f"{m.rstrip('/')}/{file.name}" for m in mirrors], check, progress)
        pin = _pinned(file, part, downloaded=True)
        os.replace(part, path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be written: {error}; choose another --output") from error
    return Fetched(path, pin.sha256, True, pin.pinned)


def _download(
    file: PublishedFile,
    part: Path,
    mirrors: Sequence[str],
    check: Callable[[Path], None] | None,
    progress: Progress | None,
) -> None:
    """From the first address that gives a file which can be used."""
    reasons = []
    for address in (*mirrors, *file.addresses):
        try:
            _load(address, part, progress or (lambda done, total: None))
            if check is None:
                return
            check(part)
        except ModelError as error:  # a web page, as a dead link answers; do not continue it
            part.unlink()
            reasons.append(f"{address}: {error}")
        except (HTTPException, ValueError, OSError) as error:
            if isinstance(error, OSError) and _of_a_file(error):
                raise
            reasons.append(f"{address}: {str(error) or type(error).__name__}")
        else:
            return
    by_hand = f", or {file.by_hand}" if file.by_hand else ""
    raise ModelError(
        f"{file.name}: cannot be fetched ({'; '.join(reasons)}). Get the file where there is a "
        f"connection, from {file.addresses[0]}{by_hand}; put it at "
        f"{part.with_name(file.name)}, and run this command again"
    )


def _of_a_file(error: OSError) -> bool:
    """Whether it is of a file here, and not of the connection."""
    return error.filename is not None and not isinstance(error, urllib.error.URLError)


def _load(address: str, part: Path, progress: Progress) -> None:
    """Download into `part`, from where it ends."""
    if not address.startswith(("http://", "https://")):
        raise ValueError("no address of http or https")
    tag_file = part.with_name(f"{part.name}.tag")
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address, headers={"User-Agent": "visil-index"})
    tag = tag_file.read_text() if start and tag_file.exists() else ""
    if tag:  # else nobody knows whether what is there is of the same file
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", tag)
    try:
        opened = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != _BEYOND_END or not tag:
            raise
        part.unlink()  # it was complete, but for its name; nobody checked it
        return _load(address, part, progress)
    with opened as answer:
        resumed = answer.status == 206 and _starts_at(answer, start)
        if not resumed:
            start = 0
            tag_file.write_text(answer.headers["ETag"] or answer.headers["Last-Modified"] or "")
        length = int(answer.headers.get("Content-Length") or 0)
        total = start + length if length else 0
        if max(start, total) > MAX_BYTES:
            raise ValueError(f"it has {total} bytes, more than {MAX_BYTES} are not fetched")
        with open(part, "ab" if resumed else "wb") as out:
            done = start
            while chunk := answer.read(_CHUNK):
                done += len(chunk)
                if done > MAX_BYTES:
                    raise ValueError(f"it has more than {MAX_BYTES} bytes")
                out.write(chunk)
                progress(done, total)
    if total and done != total:
        raise ValueError(f"the connection ended after {done} of {total} bytes")
    tag_file.unlink(missing_ok=True)


def _starts_at(answer: Any, start: int) -> bool:
    return str(answer.headers.get("Content-Range", "")).startswith(f"bytes {start}-")


def _pinned(file: PublishedFile, path: Path, downloaded: bool) -> Fetched:
    """The digest of a file, compared with that of its first time here."""
    with open(path, "rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    pins = _read_pins()
    known = pins.get(file.name, file.digest_start)
    if not sha256.startswith(known):
        if downloaded:
            path.unlink()
        raise ModelError(
            f"{path}: its SHA-256 is {sha256}, but {file.name} was {known} before: it is damaged, "
            f"or another file; delete it and fetch it again, or delete its line in {digest_file()} "
            "to accept it"
        )
    if file.name not in pins:
        _write_pins({**pins, file.name: sha256})
    return Fetched(path, sha256, downloaded, file.name in pins)


def _read_pins() -> dict[str, str]:
    path = digest_file()
    try:
        pins = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read: {error}; correct or delete it") from error
    if not isinstance(pins, dict) or not all(isinstance(pin, str) for pin in pins.values()):
        raise ModelError(f"{path}: expected names of files with their SHA-256; delete it")
    return pins


def _write_pins(pins: dict[str, str]) -> None:
    path = digest_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as out:
            out.write((json.dumps(pins, indent=2, sort_keys=True) + "\n").encode())
    except OSError as error:
        raise ModelError(f"{path}: cannot be written: {error}; make the folder writable") from error
