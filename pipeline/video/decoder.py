"""Goes through one file: packets, frames, samples, and a verdict at the end.

Only sampled frames are converted and resized, and where it is certain that nothing else comes of it
only what they need is decoded (`selective`); all else is decoded in full (`full`). Of those in a
hurry only keyframes (`keyframes`).
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
from .allowance import PICTURE_BYTES
from .bitstream import UnclearError
from .container import number
from .demuxer import PacketReader
from .frame_converter import PictureMaker
from .hwaccel import PLANAR
from .reasons import explained
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
from .strategies.keyframes import KEYFRAME_SAMPLING, KeyframeDecode, KeyframesOfAll
from .strategies.selective import SelectiveDecode, applicable

TOLERATED = 3  # undecodable packets that are no damage worth the name
TOLD = 3  # places of one kind that a note names
SPARSE = 30.0  # seconds a keyframe, from which on it is worth a note
# Setting to the name of the rule.
RULES: dict[Sampling, str] = {"frames": SAMPLING, "keyframes": KEYFRAME_SAMPLING}


def sample_frames(
    path: str, preprocess: Preprocess, fps: float = 1.0, sampling: str = "frames"
) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds, uint8 RGB [crop, crop, 3]) of every sampled frame; see `VideoDecoder`.

    Raises:
        VideoError: the file cannot be opened as a video, or no frame of it decoded.
    """
    yield from VideoDecoder(path, preprocess, fps, sampling=sampling)


class VideoDecoder:
    """Decodes one video once, in one thread.

    Iterating yields (seconds, image): seconds since the first frame, ascending, and uint8 RGB
    [crop, crop, 3]. Afterwards `note` is empty or says what was wrong with a video that was kept.

    Args:
        path: the file.
        preprocess: sizes and method of scaling.
        fps: frames sampled a second.
        min_frames: least number of samples for which a damaged video is kept; of keyframes, the
            least number of steps k / fps that they are the nearest to.
        tick: called for every packet, as a sign of life.
        full: decode every packet, also those that no sample needs. The samples are the same; the
            note then counts bad packets among these, too.
        sampling: "frames" or "keyframes", see `sampling` and `keyframes` for the rules.
        hwaccel: see `hwaccel.open_on_device`. What a device cannot decode without a fault is
            decoded again in software.
        max_pixels: larger pictures are refused before they are decoded.

    Attributes:
        source: what is known of the file; width and height as shown once a sample is out.
        selective: whether only part of the packets was decoded, known after iterating.
        on_device: whether a device decoded it all, known after iterating.

    Raises:
        VideoError: from the constructor if the file cannot be opened as a video; while iterating
            if no frame, or too few before the damage, could be decoded.
    """

    def __init__(
        self,
        path: str,
        preprocess: Preprocess,
        fps: float = 1.0,
        min_frames: int = 1,
        tick: Callable[[], None] = lambda: None,
        full: bool = False,
        sampling: str = "frames",
        hwaccel: str = "none",
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self._max_pixels = max_pixels
        self._path, self._fps, self._min_frames, self._tick = path, fps, min_frames, tick
        self._reader = PacketReader(path, tick, hwaccel, max_pixels)
        self._picture = PictureMaker(preprocess, self._reader.stream.codec_context.name)
        self._hwaccel, self.on_device = hwaccel, False
        self._keyframes_only = sampling == "keyframes"
        self._rate, self._doubted = _rate(self._reader)
        self.source = _plausible(self._reader.source, self._rate, bool(self._doubted))
        self.note = ""
        # Of a short one all is decoded anyway, to see whether it is too short and damaged.
        long = self.source.duration * fps > min_frames
        plain = not full and not self._keyframes_only
        self.selective = long and plain and applicable(self._reader)
        self._kept = self._pictures = 0  # samples out, and different pictures among them
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
            found = explained(error, self._path, self._max_pixels)
            if found is error:
                raise
            raise found from error
        finally:
            self.close()

    def close(self) -> None:
        """Close the file; iterating to the end does it too."""
        self._reader.close()

    def _samples(self) -> Iterator[tuple[float, np.ndarray]]:
        """All samples that are not out yet; sets the note."""
        if self._keyframes_only:
            decode, clock = self._pass(KeyframeDecode)
            yield from self._images(decode)
            if not self._kept:
                self._reopen()
                decode, clock = self._pass(KeyframesOfAll)
                yield from self._images(decode)
            self.note = self._verdict(decode, clock, decode.covered) or self._sparse(decode)
            return
        if self.selective:
            yield from self._selected()
        if not self.selective:
            decode, clock = self._pass(FullDecode)
            yield from self._images(decode)
            self.note = self._verdict(decode, clock, self._kept)

    def _reopen(self) -> None:
        self._reader.close()
        self._reader = PacketReader(self._path, self._tick, self._hwaccel, self._max_pixels)

    def _selected(self) -> Iterator[tuple[float, np.ndarray]]:
        """All samples, or those until something is not plain; then the file is open anew."""
        try:
            yield from self._images(self._pass(SelectiveDecode)[0])
            # A damaged file gets its verdict from a look at all of it.
            sound = not self._reader.is_cut() and not self._reader.stopped
            self.selective = self._kept >= self._min_frames and sound
            self.note = self._tail() if self.selective else ""
        except UnclearError:
            self.selective = False
        if not self.selective:
            self._reopen()

    def _pass(self, kind: type) -> tuple[Any, Clock]:
        reader, step = self._reader, min(1.0 / self._rate, 1.0 / MIN_RATE)
        judge, counted = reader.evidence.judge, bool(self._doubted)
        clock = Clock(step, reader.header_duration, judge, counted)
        return kind(reader, clock, self._rate, self._fps), clock

    def _images(self, decode: Any) -> Iterator[tuple[float, np.ndarray]]:
        last = None
        for seconds, frame in decode.samples():
            if seconds <= self._seconds:  # out already, from the first pass
                self._reader.progress()
                continue
            if frame is not last:  # else it is held on screen
                if self._pictures >= self._reader.allowance.pictures():
                    self._reader.stopped = f"{self._pictures} pictures, too many for its bytes"
                    return
                image, last = self._picture(frame), frame
                self._pictures += 1
            self._reader.progress()
            if not self._kept:
                self.on_device = self._reader.accelerated and frame.format.name in PLANAR
                width, height = self._picture.shown_size(frame)
                self.source = replace(self.source, width=width, height=height)
            self._kept, self._seconds = self._kept + 1, seconds
            yield seconds, image

    def _sparse(self, decode: KeyframeDecode) -> str:
        """A note where keyframes stand for so long that much may be missed."""
        each = decode.covered / self._fps / max(1, self._kept)
        return f"a keyframe every {each:.0f} s only, {self._kept} kept" if each > SPARSE else ""

    def _verdict(self, decode: Any, clock: Clock, covered: int) -> str:
        """The note of a video worth keeping, of which `covered` steps k / fps could be sampled.

        Raises:
            VideoError: it is not.
        """
        packets, kept = decode.packets, self._kept
        error = decode.error or self._reader.error or self._reader.stopped
        if not kept:
            detail = f"none of {packets} packets gave a frame"
            reason = "unsupported" if decode.unsupported else "no_frames"
            raise VideoError(reason, f"{detail}: {error}" if error else detail)
        stopped, cut = self._reader.stopped, self._reader.is_cut()
        notes = [f"damaged after {clock.now:.1f} s"] if cut and not stopped else []
        notes += [f"given up after {clock.now:.1f} s, {stopped}"] if stopped else []
        notes += _told([jump for jump in clock.jumps if jump.hole])
        notes += [f"{decode.bad} undecodable packets skipped"] if decode.bad else []
        note = ", ".join([*notes, f"{kept} frames kept"]) if notes else ""
        damaged = cut or stopped or any(jump.hole for jump in clock.jumps)
        if (damaged or decode.bad > max(TOLERATED, packets // 10)) and covered < self._min_frames:
            raise VideoError("broken", f"{note}, fewer than {self._min_frames}")
        return ", ".join(filter(None, [note, *self._remarks(decode, clock)]))

    def _tail(self) -> str:
        end = self._reader.content_end
        return f"nothing but zeros behind byte {end}" if end else ""

    def _remarks(self, decode: Any, clock: Clock) -> list[str]:
        """What is odd about the times of a video, which is no damage."""
        remarks = _told([jump for jump in clock.jumps if not jump.hole])
        remarks += filter(None, [self._tail()])
        if self._doubted:
            remarks.append(f"{self._doubted}, {self._rate:g} are taken")
        if decode.omitted:
            remarks.append(
                f"{decode.omitted} copies of held pictures left out, too many for so small a file"
            )
        return remarks


def _rate(reader: PacketReader) -> tuple[float, str]:
    """Frames a second to go by, and a doubt where the file counts time in an absurd rate."""
    stream = reader.stream
    rate = nominal_rate(number(stream.guessed_rate), number(stream.average_rate))
    told = number(stream.average_rate) or rate
    if "avi" in reader.formats and not MIN_RATE <= told <= MAX_RATE:
        return nominal_rate(), f"{told:.3g} frames a second are not believed"
    return rate, ""


def _plausible(source: SourceInfo, rate: float, counted: bool) -> SourceInfo:
    """Without a rate and a length that the file cannot have; a length of 0 is an unknown one."""
    fps = rate if counted or source.fps > MAX_RATE else source.fps
    long = source.duration > MAX_HOLD + max(0, source.size) / PICTURE_BYTES
    return replace(source, fps=fps, duration=0.0 if counted or long else source.duration)


def _told(jumps: list[Jump]) -> list[str]:
    """The first few in words, and how many more there are."""
    told, more = [str(jump) for jump in jumps[:TOLD]], len(jumps) - TOLD
    return [*told, f"and {more} more such places"] if more > 0 else told
