"""Where the pictures of a report are: in the page, or in a folder beside it."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from ..errors import PipelineError

_PICTURE_NAME = re.compile(r"[0-9a-f]{24}\.(png|jpg)")


class EmbeddedPictures:
    """Pictures inside the page."""

    def source(self, content: bytes, kind: str) -> str:
        """What an image element names as its source."""
        media = {"png": "image/png", "jpg": "image/jpeg"}[kind]
        return f"data:{media};base64,{base64.b64encode(content).decode()}"

    def finish(self) -> None:
        """Nothing is left to be done."""


class PictureFolder:
    """Pictures in a folder beside the page, each once, named by content."""

    def __init__(self, page: Path) -> None:
        self._folder = page.with_name(f"{page.stem}_files")
        self._written: set[str] = set()
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as error:
            raise PipelineError(
                f"{self._folder}: cannot make the folder for the report's pictures: "
                f"{error.strerror}; move away what is there"
            ) from error

    def source(self, content: bytes, kind: str) -> str:
        """What an image element names as its source."""
        name = f"{hashlib.sha256(content).hexdigest()[:24]}.{kind}"
        if name not in self._written:
            try:
                (self._folder / name).write_bytes(content)
            except OSError as error:
                raise PipelineError(f"{self._folder / name}: {error.strerror}") from error
            self._written.add(name)
        return f"{quote(os.fsencode(self._folder.name))}/{name}"

    def finish(self) -> None:
        """Remove the pictures of an earlier page of the same name."""
        for old in self._folder.iterdir():
            if _PICTURE_NAME.fullmatch(old.name) and old.name not in self._written:
                with suppress(OSError):
                    old.unlink()
