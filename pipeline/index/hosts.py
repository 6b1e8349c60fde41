"""What an index has the program do in its own way: nothing is said, all is remembered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import api
from ..config import ExtractConfig
from ..errors import InputError, VideoError
from ..records import Failure, VideoRef

if TYPE_CHECKING:
    from ..extraction.report import ExtractReport
    from ..nets.model.model import Model
    from ..workflow import Host


class PythonHost:
    """A `workflow.Host` that says nothing."""

    def __init__(self, model_dir: str | Path | None, gpu_id: int | None) -> None:
        self._model_dir, self._gpu_id = model_dir, gpu_id
        self._model: Model | None = None

    def load_model(self) -> Model:
        from ..default_model import default_model_dir
        from ..nets.formats import loader

        if self._model is None:
            self._model = loader.load_model(self._model_dir or default_model_dir())
        return self._model

    def extract(
        self, videos: Sequence[VideoRef], store: str | Path, config: ExtractConfig, label: str
    ) -> ExtractReport:
        from ..extraction import run

        net = api._network(self.load_model().with_dims(config.dims), config, self._gpu_id)
        return run.extract_features(videos, store, net, config)

    def note(self, text: str) -> None:
        pass

    def say(self, text: str) -> None:
        pass

    def progress(self, done: int, total: int) -> None:
        pass


class Recorder:
    """A `workflow.Host` for one call: passes on to another one, and remembers for the result."""

    def __init__(self, host: Host, model: Model) -> None:
        self._host, self._model = host, model
        self.notes: list[str] = []
        self.failures: dict[str, Failure] = {}
        self._unusable: list[Failure] = []  # all that were listed at once

    def load_model(self) -> Model:
        return self._model

    def extract(
        self, videos: Sequence[VideoRef], store: str | Path, config: ExtractConfig, label: str
    ) -> ExtractReport:
        report = self._host.extract(videos, store, config, label)
        self.failures |= report.failures
        if len(report.failures) == len(videos):
            self._unusable = list(report.failures.values())
        self.notes += [f"{video_id}: {note}" for video_id, note in report.notes.items()]
        return report

    def note(self, text: str) -> None:
        self.notes.append(text)
        self._host.note(text)

    def say(self, text: str) -> None:
        self._host.say(text)

    def progress(self, done: int, total: int) -> None:
        self._host.progress(done, total)

    def reason(self, error: InputError) -> InputError | VideoError:
        """The error, or where no video could be used the one that says why."""
        failures = self._unusable
        if not failures:
            return error
        first = failures[0]
        if len(failures) == 1:
            return VideoError(first.reason, f"{first.id}: {first.detail}")
        return InputError(
            f"none of the {len(failures)} videos could be used; {first.id}: {first.reason}: "
            f"{first.detail}"
        )
