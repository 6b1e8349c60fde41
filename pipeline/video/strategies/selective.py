"""Decodes only what the sampled frames need, and says so when it cannot be sure.

Packets carry the times of their frames. So the sampler chooses, on all times, before anything is
decoded; of the packets between two chosen ones

* those before an entry (`bitstream`) are not decoded at all,
* of the others the decoder leaves out pictures that no other refers to (`skip_frame`),

and neither changes a bit of the chosen pictures. What the decoder hands out is checked against what
was foretold. `UnclearError` is raised at the first sign that a file is not plain and sound:
timestamps missing or out of order, something unreadable, an error of the decoder (which is told to
be strict here), a chosen frame that does not come. The caller then does it again the full way. All
samples until then are right.

The one thing that goes unseen: damage inside a packet that no sample needs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from ..bitstream import UnclearError, inspector
from ..container import AV_ERRORS
from ..demuxer import PacketReader
from ..sampling import Clock
from .sample_planner import Foresight, Picture

# Codecs with a gain, in containers known to give each picture its packet and its time. The others
# (VP8, VP9, AV1, Theora, H.263 and its kin, GIF, ...) have hardly a picture that no other needs;
# FFV1's decoder patches damage over with old pictures and calls it no error.
_CONTAINERS = {
    "h264": {"mov", "matroska", "mpegts"},
    "hevc": {"mov", "matroska", "mpegts"},
    "mpeg4": {"mov", "matroska", "avi"},
    "mpeg1video": {"mpeg", "mpegts", "matroska"},
    "mpeg2video": {"mpeg", "mpegts", "matroska"},
    "mjpeg": {"mov", "matroska", "avi"},
    "prores": {"mov", "matroska"},
}


def applicable(reader: PacketReader) -> bool:
    """Whether `SelectiveDecode` is for this kind of file."""
    context = reader.stream.codec_context
    known = inspector(context.name, bytes(context.extradata or b""))
    return known is not None and bool(_CONTAINERS.get(context.name, set()) & reader.formats)


class SelectiveDecode:
    """One pass over a file; the same samples as of `FullDecode`."""

    bad, error, unsupported = 0, "", False

    def __init__(self, reader: PacketReader, clock: Clock, rate: float, fps: float) -> None:
        self._reader, self._context = reader, reader.stream.codec_context
        self._context.options = dict(self._context.options) | {"err_detect": "explode"}
        inspect = inspector(self._context.name, bytes(self._context.extradata or b""))
        if inspect is None:
            raise UnclearError("a codec not known here")
        self._inspect = inspect
        self._foresight = Foresight(reader, clock, rate, fps, self._context.reorder_depth)
        self._waiting: deque[Picture] = deque()  # in decoding order
        self._idle = 0  # so many at its front are known not to be samples
        self._bytes = 0
        self._expected: deque[Picture] = deque()  # chosen, not out yet; in display order
        self._last: int | None = None

    def samples(self) -> Iterator[tuple[float, Any]]:
        """Seconds and frame of each sample; a frame held on screen comes more than once.

        Raises:
            UnclearError: see above.
        """
        for packet in self._reader.packets():
            picture = self._look(packet)
            self._waiting.append(picture)
            self._bytes += packet.size
            self._expected += self._foresight.add(picture)
            yield from self._advance()
        self._expected += self._foresight.finish()
        yield from self._advance()
        yield from self._decode(None)
        if self._expected or self._reader.failures:
            raise UnclearError("a frame did not come, or the file could not be read")

    def _look(self, packet: Any) -> Picture:
        changed = packet.has_sidedata("new_extradata") or packet.has_sidedata("param_change")
        if changed or packet.is_corrupt or self._reader.failures or packet.pts is None:
            raise UnclearError("damage, or settings beside the stream")
        unit = self._inspect(memoryview(packet))
        if self._reader.count == 1 and not unit.entry:
            raise UnclearError("does not begin where decoding can begin")
        return Picture(packet, unit)

    def _advance(self) -> Iterator[tuple[float, Any]]:
        """Decode or drop what is certain by now at the front of the waiting packets."""
        while self._idle < len(self._waiting) and self._waiting[self._idle].decided:
            picture = self._waiting[self._idle]
            if self._idle and picture.unit.entry and self._droppable():
                self._drop()
            if picture.needed:
                yield from self._feed(self._idle + 1)
            else:
                self._idle += 1
        if self._bytes > self._reader.limits.max_undecoded_bytes:
            yield from self._feed(self._idle)

    def _droppable(self) -> bool:
        """Nothing before the entry at `_idle` is needed from there on.

        Pictures behind the entry that are shown before it (of an open group) are known by now, as
        the picture shown after the entry is.
        """
        waiting, entry = self._waiting, self._waiting[self._idle]
        for n, other in enumerate(waiting):
            leading = n > self._idle and other.pts < entry.pts
            if leading and (other.needed or not other.decided):
                return False
            if (n < self._idle or leading) and not other.unit.parameters <= entry.unit.parameters:
                return False
        return self._foresight.is_order_proven(entry)

    def _drop(self) -> None:
        entry = self._waiting[self._idle]
        kept = [p for n, p in enumerate(self._waiting) if n >= self._idle and p.pts >= entry.pts]
        self._waiting, self._idle = deque(kept), 0
        self._bytes = sum(picture.packet.size for picture in kept)

    def _feed(self, count: int) -> Iterator[tuple[float, Any]]:
        self._idle = 0
        thin = "NONREF" if self._foresight.has_reordering else "DEFAULT"
        for _ in range(count):
            picture = self._waiting.popleft()
            self._bytes -= picture.packet.size
            self._context.skip_frame = "DEFAULT" if picture.needed else thin
            yield from self._decode(picture.packet)

    def _decode(self, packet: Any) -> Iterator[tuple[float, Any]]:
        try:
            frames = self._context.decode(packet)
        except AV_ERRORS as error:
            raise UnclearError(str(error)) from error
        for frame in frames:
            self._check(frame)
            if self._expected and self._expected[0].pts == frame.pts:
                for seconds in self._expected.popleft().seconds:
                    yield seconds, frame

    def _check(self, frame: Any) -> None:
        last, self._last = self._last, frame.pts
        if frame.is_corrupt or frame.pts is None or (last is not None and frame.pts <= last):
            raise UnclearError("damaged, or in another order than foretold")
        if self._expected and self._expected[0].pts < frame.pts:
            raise UnclearError("a chosen frame did not come")
