"""What a caller of the workflow does in a way of its own: load the model, say what is done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..config import ExtractConfig
from ..records import VideoRef

if TYPE_CHECKING:
    from ..extraction.report import ExtractReport
    from ..nets.model.model import Model


class SearchHost(Protocol):
    """What the command line and Python do in ways of their own, for stored videos."""

    def load_model(self) -> Model:
        """The model, loaded once."""

    def note(self, text: str) -> None:
        """Pass on what a person should know."""

    def say(self, text: str) -> None:
        """Pass on what is being done."""

    def progress(self, done: int, total: int) -> None:
        """Database videos compared so far, and all."""


class Host(SearchHost, Protocol):
    """The same for listed videos as well."""

    def extract(
        self, videos: Sequence[VideoRef], store: str | Path, config: ExtractConfig, label: str
    ) -> ExtractReport:
        """Run stage one; `label` stands for a temporary store in messages, else it is empty."""
