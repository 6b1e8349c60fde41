"""All errors that this package raises on purpose; `cli.py` maps them to exit codes.

Every message names the file at fault and what to do about it.
"""

from __future__ import annotations

from typing import Any


class PipelineError(Exception):
    """Base of all expected errors. `exit_code` is what the command line returns for it."""

    exit_code = 1


class PipelineWarning(UserWarning):
    """A video was left out; or, if it begins with "note:", a note of the command line's."""


class InputError(PipelineError):
    """A list file, folder, option or configuration that cannot be used."""

    exit_code = 2


class ModelError(PipelineError):
    """A model directory that cannot be read, or that does not fit what is asked of it."""


class ReportError(PipelineError):
    """The report could not be written, but the result is complete.

    Attributes:
        result: what the search would have returned; None where it is in a file.
    """

    def __init__(self, message: str, result: Any = None) -> None:
        super().__init__(message)
        self.result = result

    def __reduce__(self) -> tuple[type[ReportError], tuple[str, Any]]:
        return type(self), (str(self), self.result)


class StoreError(PipelineError):
    """A feature store that cannot be opened, read or written."""


class StoreLockedError(StoreError):
    """Another process is writing to the store."""


class StorageError(StoreError):
    """A bucket or folder of objects that cannot be reached, read or written just now."""


class FingerprintMismatchError(StoreError):
    """Features made with different settings were about to be mixed or compared."""


class MachineError(PipelineError):
    """This machine cannot do its share, as its disk is not mounted; another machine may."""


class VideoError(PipelineError):
    """One video cannot be used. Never stops a run: it becomes the video's recorded state.

    Args:
        reason: one of `REASONS`, the machine-readable part.
        detail: one line for people.
    """

    REASONS = (
        "missing",  # no such file, or not readable by this user
        "unreachable",  # the network or the server failed, not the video; the next run tries again
        "empty",  # zero bytes
        "not_a_video",  # no demuxer recognises it
        "no_video_stream",  # audio only, subtitles only
        "no_frames",  # a video stream out of which no frame could be decoded
        "unsupported",  # a codec, pixel format or size, or frames that the network fails at
        "encrypted",  # its samples are encrypted; nothing here has the key
        "too_large",  # pictures above `max_pixels`, or more memory than a decoding process may take
        "decoder_crashed",  # the decoding process died (signal, out of memory)
        "decoder_stalled",  # no progress within the time allowed
        "broken",  # too few frames before the damage
    )

    def __init__(self, reason: str, detail: str) -> None:
        if reason not in self.REASONS:
            raise ValueError(f"unknown reason {reason!r}, expected one of {self.REASONS}")
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[VideoError], tuple[str, str]]:
        return type(self), (self.reason, self.detail)
