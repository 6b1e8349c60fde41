"""Decodes one file: packets, frames, samples, and a final verdict.

Only sampled frames are converted and resized. If it is certain that the samples stay the same, only
the packets that they need are decoded (`strategies.selective`); else all are (`strategies.full`).
With `sampling="keyframes"` only keyframes are decoded (`strategies.keyframes`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from ..config import MAX_PIXELS, Sampling
from ..errors import VideoError
from ..records import Preprocess, SourceInfo
from .bitstream import UnclearError
from .container import rate_or_zero
from .demuxer import PacketReader
from .frame_converter import FrameConverter
from .hwaccel import PLANAR
from .limits import DEFAULT_LIMITS, DecodeLimits
from .reasons import explain_error
from .sampling import (
    MAX_HOLD,
    MAX_RATE,
    MIN_RATE,
    SAMPLING,
    Clock,
    Jump,
    nominal_rate,
)
from .strategies.full import FullDecode
from .strategies.keyframes import KEYFRAME_SAMPLING, FullKeyframeDecode, KeyframeDecode
from .strategies.selective import SelectiveDecode, is_applicable

TOLERATED_PACKETS = 3  # undecodable packets that do not count as damage
MAX_PLACES = 3  # places of one kind that a note lists
SPARSE_SECONDS = 30.0  # seconds per keyframe, above which there is a note
# Setting -> name of the rule.
SAMPLING_RULES: dict[Sampling, str] = {"frames": SAMPLING, "keyframes": KEYFRAME_SAMPLING}


def sample_frames(
    path: str, preprocess: Preprocess, fps: float = 1.0, sampling: str = "frames"
) -> Iterator[tuple[float, np.ndarray]]:
    """Yield (seconds, uint8 RGB [crop, crop, 3]) of every sampled frame; see `VideoDecoder`.

    Raises:
        VideoError: the file cannot be opened as a video, or no frame of it decoded.
    """
    yield from VideoDecoder(path, preprocess, fps, sampling=sampling)


class VideoDecoder:
    """Decodes one video once, in one thread.

    Iterating yields (seconds, image): seconds since the first frame, ascending, and uint8 RGB
    [crop, crop, 3]. Afterwards `note` is empty or says what is wrong with a usable video.

    Args:
        path: the file.
        preprocess: sizes and method of scaling.
        fps: frames sampled per second.
        min_frames: smallest number of samples for which a damaged video is usable; for keyframes,
            the smallest number of steps k / fps that the samples stand for.
        tick: called for every packet, to show progress.
        full: decode every packet, also packets that no sample needs. The samples are the same; the
            note then counts bad packets among these, too.
        sampling: "frames" or "keyframes"; the rules are in `sampling` and `strategies.keyframes`.
        hwaccel: see `hwaccel.open_on_device`. If a device cannot decode the video without a fault,
            software decodes it again.
        max_pixels: larger pictures are refused before they are decoded.
        limits: when reading or sampling stops.

    Attributes:
        source: description of the file; width and height are as shown after the first sample.
        selective: whether only some of the packets were decoded; valid after iterating.
        on_device: whether a device decoded the whole video; valid after iterating.

    Raises:
        VideoError: from the constructor if the file cannot be opened as a video; while iterating
            if no frame, or too few before the damage, could be decoded.
    """

    def __init__(
        self,
        path: str,
        preprocess: Preprocess,
        fps: float = 1.0,
        *,
        min_frames: int = 1,
        tick: Callable[[], None] = lambda: None,
        full: bool = False,
        sampling: str = "frames",
        hwaccel: str = "none",
        max_pixels: int = MAX_PIXELS,
        limits: DecodeLimits = DEFAULT_LIMITS,
    ) -> None:
        self._max_pixels, self._limits = max_pixels, limits
        self._path, self._fps, self._min_frames, self._tick = path, fps, min_frames, tick
        self._reader = PacketReader(path, tick, hwaccel, max_pixels, limits)
        self._converter = FrameConverter(preprocess, self._reader.stream.codec_context.name)
        self._hwaccel, self.on_device = hwaccel, False
        self._keyframes_only = sampling == "keyframes"
        self._rate, self._rate_doubt = _rate(self._reader)
        self.source = _plausible(self._reader.source, self._rate, bool(self._rate_doubt), limits)
        self.note = ""
        # A short video is decoded in full anyway, to see whether it is too short and damaged.
        long = self.source.duration * fps > min_frames
        plain = not full and not self._keyframes_only
        self.selective = long and plain and is_applicable(self._reader)
        self._samples_out = self._picture_count = 0  # samples yielded, and different pictures
        self._seconds = -1.0  # of the last sample

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        try:
            if self._reader.accelerated:
                with suppress(VideoError):
                    yield from self._samples()
                    if not self.note:
                        self.note = self._reader.stream_note
                        return
                self.note, self.on_device, self._hwaccel = "", False, "none"
                self._reopen()
            yield from self._samples()
            self.note = ", ".join(filter(None, (self._reader.stream_note, self.note)))
        except VideoError as error:
            explained = explain_error(error, self._path, self._max_pixels)
            if explained is error:
                raise
            raise explained from error
        finally:
            self.close()

    def close(self) -> None:
        """Close the file; iterating to the end closes it, too."""
        self._reader.close()

    def _samples(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yield all samples that were not yielded yet; sets the note."""
        if self._keyframes_only:
            decode, clock = self._pass(KeyframeDecode)
            yield from self._images(decode)
            if not self._samples_out:
                self._reopen()
                decode, clock = self._pass(FullKeyframeDecode)
                yield from self._images(decode)
            self.note = self._final_note(decode, clock, decode.covered) or self._sparse_note(decode)
            return
        if self.selective:
            yield from self._selective_samples()
        if not self.selective:
            decode, clock = self._pass(FullDecode)
            yield from self._images(decode)
            self.note = self._final_note(decode, clock, self._samples_out)

    def _reopen(self) -> None:
        self._reader.close()
        self._reader = PacketReader(
            self._path, self._tick, self._hwaccel, self._max_pixels, self._limits
        )

    def _selective_samples(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yield all samples, or samples up to an unclear packet; then the file is reopened."""
        try:
            yield from self._images(self._pass(SelectiveDecode)[0])
            # The verdict on a damaged file needs a full decode.
            sound = not self._reader.is_cut() and not self._reader.stopped
            self.selective = self._samples_out >= self._min_frames and sound
            self.note = self._tail_note() if self.selective else ""
        except UnclearError:
            self.selective = False
        if not self.selective:
            self._reopen()

    def _pass(self, kind: type) -> tuple[Any, Clock]:
        reader, step = self._reader, min(1.0 / self._rate, 1.0 / MIN_RATE)
        judge, counted = reader.evidence.judge, bool(self._rate_doubt)
        clock = Clock(step, reader.header_duration, judge, counted)
        return kind(reader, clock, self._rate, self._fps), clock

    def _images(self, decode: Any) -> Iterator[tuple[float, np.ndarray]]:
        last = None
        for seconds, frame in decode.samples():
            if seconds <= self._seconds:  # out already, from the first pass
                self._reader.progress()
                continue
            if frame is not last:  # else it is held on screen
                if self._picture_count >= self._reader.allowance.pictures():
                    self._reader.stopped = f"{self._picture_count} pictures, too many for its bytes"
                    return
                image, last = self._converter(frame), frame
                self._picture_count += 1
            self._reader.progress()
            if not self._samples_out:
                self.on_device = self._reader.accelerated and frame.format.name in PLANAR
                width, height = self._converter.shown_size(frame)
                self.source = replace(self.source, width=width, height=height)
            self._samples_out, self._seconds = self._samples_out + 1, seconds
            yield seconds, image

    def _sparse_note(self, decode: KeyframeDecode) -> str:
        """Write a note if keyframes are so far apart that much may be missed."""
        interval = decode.covered / self._fps / max(1, self._samples_out)
        return (
            f"a keyframe every {interval:.0f} s only, {self._samples_out} kept"
            if interval > SPARSE_SECONDS
            else ""
        )

    def _final_note(self, decode: Any, clock: Clock, covered: int) -> str:
        """Write the note of a usable video of which `covered` steps k / fps were sampled.

        Raises:
            VideoError: the video is not usable.
        """
        packets, count = decode.packets, self._samples_out
        error = decode.error or self._reader.error or self._reader.stopped
        if not count:
            detail = f"none of {packets} packets gave a frame"
            reason = "unsupported" if decode.unsupported else "no_frames"
            raise VideoError(reason, f"{detail}: {error}" if error else detail)
        stopped, cut = self._reader.stopped, self._reader.is_cut()
        notes = [f"damaged after {clock.now:.1f} s"] if cut and not stopped else []
        notes += [f"given up after {clock.now:.1f} s, {stopped}"] if stopped else []
        notes += _describe_jumps([jump for jump in clock.jumps if jump.hole])
        notes += [f"{decode.bad} undecodable packets skipped"] if decode.bad else []
        note = ", ".join([*notes, f"{count} frames kept"]) if notes else ""
        damaged = cut or stopped or any(jump.hole for jump in clock.jumps)
        if (
            damaged or decode.bad > max(TOLERATED_PACKETS, packets // 10)
        ) and covered < self._min_frames:
            raise VideoError("broken", f"{note}, fewer than {self._min_frames}")
        return ", ".join(filter(None, [note, *self._remarks(decode, clock)]))

    def _tail_note(self) -> str:
        end = self._reader.content_end
        return f"nothing but zeros behind byte {end}" if end else ""

    def _remarks(self, decode: Any, clock: Clock) -> list[str]:
        """List what is odd about the times of a video but is no damage."""
        remarks = _describe_jumps([jump for jump in clock.jumps if not jump.hole])
        remarks += filter(None, [self._tail_note()])
        if self._rate_doubt:
            remarks.append(f"{self._rate_doubt}, {self._rate:g} are taken")
        if decode.omitted:
            remarks.append(
                f"{decode.omitted} copies of held pictures left out, too many for so small a file"
            )
        return remarks


def _rate(reader: PacketReader) -> tuple[float, str]:
    """Choose the frame rate, with a doubt if the file counts time in an implausible rate."""
    stream = reader.stream
    rate = nominal_rate(rate_or_zero(stream.guessed_rate), rate_or_zero(stream.average_rate))
    stated = rate_or_zero(stream.average_rate) or rate
    if "avi" in reader.formats and not MIN_RATE <= stated <= MAX_RATE:
        return nominal_rate(), f"{stated:.3g} frames a second are not believed"
    return rate, ""


def _plausible(source: SourceInfo, rate: float, counted: bool, limits: DecodeLimits) -> SourceInfo:
    """Replace a rate and a length that the file cannot have; length 0 means unknown."""
    fps = rate if counted or source.fps > MAX_RATE else source.fps
    long = source.duration > MAX_HOLD + max(0, source.size) / limits.picture_bytes
    return replace(source, fps=fps, duration=0.0 if counted or long else source.duration)


def _describe_jumps(jumps: list[Jump]) -> list[str]:
    """Describe the first few jumps, and count the rest."""
    lines, more = [str(jump) for jump in jumps[:MAX_PLACES]], len(jumps) - MAX_PLACES
    return [*lines, f"and {more} more such places"] if more > 0 else lines
