"""Goes through one file: packets, frames, samples, and a verdict at the end.

A packet that cannot be read or decoded is counted and passed over, as players do; the video ends
only where nothing is left. Only sampled frames are converted and resized.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import av
import numpy as np

from pipeline.errors import VideoError
from pipeline.records import Preprocess
from pipeline.video.picture import PictureMaker, shown_size
from pipeline.video.sampling import BestEffort, Clock, Sampler, nominal_rate
from pipeline.video.source import (
    AV_ERRORS,
    describe,
    number,
    open_container,
    reason_text,
    video_stream,
)

TOLERATED = 3  # undecodable packets that are no damage worth the name
MAX_READ_ERRORS = 16  # in a row, until reading on is given up
# These say in their header how long they should be, however much of the file is left.
_DECLARES_DURATION = {"mov", "matroska", "avi", "flv", "asf"}


def sample_frames(
    path: str, preprocess: Preprocess, fps: float = 1.0
) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds, uint8 RGB [crop, crop, 3]) of every sampled frame; see `sampling` for the rule.

    Raises:
        VideoError: the file cannot be opened as a video, or no frame of it decoded.
    """
    yield from VideoDecoder(path, preprocess, fps)


class VideoDecoder:
    """Decodes one video once, in one thread.

    Iterating yields (seconds, image): seconds since the first frame, ascending, and uint8 RGB
    [crop, crop, 3]. Afterwards `note` is empty or says what was wrong with a video that was kept.

    Args:
        path: the file.
        preprocess: sizes and method of scaling.
        fps: frames sampled a second.
        min_frames: least number of samples for which a damaged video is kept.
        tick: called for every packet, as a sign of life.

    Attributes:
        source: what is known of the file; width and height as shown once a sample is out.

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
    ) -> None:
        self._fps, self._min_frames, self._tick = fps, min_frames, tick
        self._picture = PictureMaker(preprocess)
        self._container = open_container(path)
        try:
            self._stream = video_stream(self._container, path)
            self.source = describe(path, self._container, self._stream)
        except BaseException:
            self._container.close()
            raise
        self.note = ""
        self._packets = self._bad = 0
        self._read_errors = 0  # since the last packet
        self._unsupported = False
        self._error = ""
        self._seen_end = 0.0  # seconds since the container's start, of all streams that are read
        self._video_end = float("-inf")  # seconds on the video stream's own scale

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        rate = nominal_rate(number(self._stream.guessed_rate), number(self._stream.average_rate))
        clock, kept, last = Clock(1.0 / rate, self.source.duration), 0, None
        try:
            for seconds, frame in self._sampled(clock, Sampler(self._fps, rate)):
                if frame is not last:  # else it is held on screen
                    image, last = self._picture(frame), frame
                if not kept:
                    width, height = shown_size(frame)
                    self.source = replace(self.source, width=width, height=height)
                kept += 1
                yield seconds, image
            self.note = self._verdict(kept, clock.now)
        finally:
            self.close()

    def close(self) -> None:
        """Close the file; iterating to the end does it too."""
        self._container.close()

    def _sampled(self, clock: Clock, sampler: Sampler[Any]) -> Iterator[tuple[float, Any]]:
        best, bad = BestEffort(), 0
        time = duration = None
        for frame in self._frames():
            # Over a stretch that could not be decoded, the picture before it was not on screen.
            hold = 1.0 / self._fps if self._bad > bad else float("inf")
            bad = self._bad
            time = self._seconds(best.choose(frame.pts, frame.dts))
            yield from sampler.push(clock.tick(time), frame, hold)
            duration = self._seconds(frame.duration)
        if time is not None and self._video_end > time and self._bad == bad:
            duration = self._video_end - time
        if clock.now >= 0:
            yield from sampler.finish(clock.end(duration))

    def _seconds(self, ticks: int | None) -> float | None:
        base = self._stream.time_base
        return float(ticks * base) if ticks is not None and base else None

    def _frames(self) -> Iterator[Any]:
        """All decoded frames in display order; the decoder is flushed at the end."""
        for packet in self._demuxed():
            yield from self._decode(packet)
        yield from self._decode(None)

    def _decode(self, packet: Any) -> list[Any]:
        try:
            return list(self._stream.codec_context.decode(packet))
        except av.EOFError:  # flushed already
            return []
        except AV_ERRORS as error:
            self._bad += packet is not None
            self._unsupported |= isinstance(error, av.PatchWelcomeError)
            self._error = reason_text(error)
            return []

    def _demuxed(self) -> Iterator[Any]:
        """The video stream's packets; goes on behind a place that cannot be read."""
        while self._read_errors < MAX_READ_ERRORS:
            try:
                for packet in self._container.demux(self._watched()):
                    self._tick()
                    self._note_end(packet)
                    # A packet without content says "as before"; the decoder would take it for
                    # the end.
                    if packet.size and packet.stream_index == self._stream.index:
                        self._packets += 1
                        yield packet
                return
            except AV_ERRORS as error:
                self._read_errors += 1
                self._error = reason_text(error)

    def _watched(self) -> list[Any]:
        """The streams to read: one, or all whose length makes up the declared one."""
        if self._stream.duration:
            return [self._stream]
        return [s for s in self._container.streams if s.type in ("video", "audio")]

    def _note_end(self, packet: Any) -> None:
        ticks = packet.pts if packet.pts is not None else packet.dts
        if packet.size:
            self._read_errors = 0
        if ticks is None or not packet.time_base:
            return
        end = float((ticks + (packet.duration or 0)) * packet.time_base)
        # A stream's own length counts from its start; that of a whole container from zero.
        start = (self._container.start_time or 0) / av.time_base if self._stream.duration else 0
        self._seen_end = max(self._seen_end, end - start)
        if packet.stream_index == self._stream.index:
            self._video_end = max(self._video_end, end)

    def _verdict(self, kept: int, end: float) -> str:
        """The note of a video worth keeping.

        Raises:
            VideoError: it is not.
        """
        if not kept:
            detail = f"none of {self._packets} packets gave a frame"
            reason = "unsupported" if self._unsupported else "no_frames"
            raise VideoError(reason, f"{detail}: {self._error}" if self._error else detail)
        cut = self._read_errors > 0 or self._is_short()
        notes = [f"damaged after {end:.1f} s"] if cut else []
        notes += [f"{self._bad} undecodable packets skipped"] if self._bad else []
        note = ", ".join([*notes, f"{kept} frames kept"]) if notes else ""
        if (cut or self._bad > max(TOLERATED, self._packets // 10)) and kept < self._min_frames:
            raise VideoError("broken", f"{note}, fewer than {self._min_frames}")
        return note

    def _is_short(self) -> bool:
        """Far less was in the file than its header promises."""
        names = set(self._container.format.name.split(","))
        declared = self.source.duration
        if "avi" in names and self.source.fps:  # its duration is corrected to what is there
            declared = max(declared, self._stream.frames / self.source.fps)
        return bool(names & _DECLARES_DURATION) and (
            declared - self._seen_end > max(1.0, 0.02 * declared)
        )
