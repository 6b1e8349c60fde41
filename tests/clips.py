"""Tiny videos that tell which frame is which: the frame's number is painted into it as blocks."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

ROWS, COLUMNS = 3, 4  # 12 bits
SPAN = 0.8  # of the shorter side, so that every crop keeps all blocks


def numbered(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    """uint8 [height, width, 3]: grey, and in the middle 12 blocks, white for a set bit."""
    bits = (number >> np.arange(ROWS * COLUMNS)) & 1
    shades = np.append(np.where(bits == 1, 235, 20), 128).astype(np.uint8)
    return np.repeat(shades[_blocks(width, height)][..., None], 3, axis=2)


@lru_cache(maxsize=16)
def _blocks(width: int, height: int) -> np.ndarray:
    """Which block each pixel of a picture belongs to; 12 for none."""
    y = np.arange(height)[:, None] - height / 2 + 0.5
    x = np.arange(width)[None] - width / 2 + 0.5
    side = min(width, height) * SPAN
    row = np.floor((y / side + 0.5) * ROWS).astype(int)
    column = np.floor((x / side + 0.5) * COLUMNS).astype(int)
    inside = (row >= 0) & (row < ROWS) & (column >= 0) & (column < COLUMNS)
    return np.where(inside, row * COLUMNS + column, ROWS * COLUMNS)


def read_number(image: np.ndarray, resize: int = 256) -> int:
    """The number in a frame that was scaled to `resize` and cropped around its centre."""
    centre, number = image.shape[0] / 2, 0
    for bit in range(ROWS * COLUMNS):
        y = centre + ((bit // COLUMNS + 0.5) / ROWS - 0.5) * SPAN * resize
        x = centre + ((bit % COLUMNS + 0.5) / COLUMNS - 0.5) * SPAN * resize
        patch = image[int(y) - 6 : int(y) + 6, int(x) - 6 : int(x) + 6]
        number |= int(patch.mean() > 128) << bit
    return number


def quadrants(width: int = 64, height: int = 48) -> np.ndarray:
    """Red upper left, green upper right, blue lower left, grey lower right."""
    image = np.full((height, width, 3), 128, np.uint8)
    image[: height // 2, : width // 2] = (230, 20, 20)
    image[: height // 2, width // 2 :] = (20, 230, 20)
    image[height // 2 :, : width // 2] = (20, 20, 230)
    return image


def write(
    path: Path,
    images: Iterable[np.ndarray],
    codec: str = "libx264",
    rate: Fraction | int = 25,
    times: Sequence[int] | None = None,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    turn: int = 0,
    tone: bool = False,
) -> Path:
    """Encode images [H, W, 3] (or [H, W, 4] with alpha).

    Args:
        times: milliseconds of each frame; None counts at `rate`.
        options, container: of the encoder and of the file format.
        turn: display rotation in degrees, anticlockwise as FFmpeg counts.
        tone: add a sound track of the same length.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    images = list(images)
    with av.open(str(path), "w", options=container or {}) as out:
        stream = out.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if turn:
            stream.set_display_rotation(turn)
        base = Fraction(1, 1000) if times else Fraction(1) / rate
        stream.codec_context.time_base = base
        sound = out.add_stream("aac", rate=8000) if tone else None
        reformatter = VideoReformatter()  # keeps its tables from frame to frame
        for number, image in enumerate(images):
            kind = "rgba" if image.shape[2] == 4 else "rgb24"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), kind)
            frame = reformatter.reformat(frame, format=pix_fmt)
            frame.pts, frame.time_base = (times[number] if times else number), base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if sound is not None:
            _write_tone(out, sound, len(images) / float(rate))
    return path


def write_sound(path: Path, cover: bool = False) -> Path:
    """A file with a sound track of a second, and maybe a cover picture."""
    with av.open(str(path), "w") as out:
        sound = out.add_stream("aac", rate=8000)
        if cover:
            picture = out.add_stream("png", rate=1)
            picture.width, picture.height, picture.pix_fmt = 64, 48, "rgb24"
            picture.disposition = av.stream.Disposition.attached_pic
            out.mux(picture.encode(av.VideoFrame.from_ndarray(numbered(1), "rgb24")))
            out.mux(picture.encode(None))
        _write_tone(out, sound, 1.0)
    return path


def clip(path: Path, frames: int = 50, width: int = 64, height: int = 48, **how: object) -> Path:
    """A numbered video; see `write` for the rest."""
    return write(path, (numbered(n, width, height) for n in range(frames)), **how)  # type: ignore[arg-type]


def truncate(path: Path, share: float) -> Path:
    """Cut a file off behind that share of its bytes."""
    os.truncate(path, int(path.stat().st_size * share))
    return path


def scribble(path: Path, begin: float, end: float, seed: int = 0) -> Path:
    """Overwrite a stretch of a file (shares of its size) with random bytes."""
    data = bytearray(path.read_bytes())
    first, last = int(len(data) * begin), int(len(data) * end)
    data[first:last] = np.random.default_rng(seed).bytes(last - first)
    path.write_bytes(data)
    return path


def _write_tone(out: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    count = 1024
    for start in range(0, int(seconds * 8000), count):
        wave = np.sin(np.arange(start, start + count) / 8).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
        frame.sample_rate, frame.pts = 8000, start
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def corrupt_packets(path: Path, which: Iterable[int], frames: int) -> Path:
    """A numbered video of single PNG pictures, some of which are garbage no decoder takes."""
    bad = set(which)
    images = [numbered(number) for number in range(frames)]
    return write_edited(
        path, images, "png", "rgb24", lambda n, x: b"garbage" * 20 if n in bad else x
    )


def with_exif(picture: bytes, orientation: int) -> bytes:
    """A JPEG file with an Exif segment that holds its orientation, as cameras write it."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)  # SHORT, one value
    tiff = b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    segment = b"Exif\0\0" + tiff
    return picture[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(segment)) + segment + picture[2:]


def with_profile(picture: bytes) -> bytes:
    """A PNG file with a colour profile, which has a name."""
    content = b"iCCP" + b"a name\0\0" + zlib.compress(bytes(200))
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    behind_header = 8 + 25
    return picture[:behind_header] + chunk + picture[behind_header:]


def write_edited(
    path: Path,
    images: Iterable[np.ndarray],
    codec: str,
    pix_fmt: str,
    edit: Callable[[int, bytes], bytes],
    turn: int = 0,
) -> Path:
    """A video of single pictures, 25 a second; `edit` gets each one's number and bytes."""
    images = list(images)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if turn:
            stream.set_display_rotation(turn)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            for packet in stream.encode(frame):
                out.mux(_edited(packet, edit(packet.pts, bytes(packet))))
        for packet in stream.encode(None):
            out.mux(_edited(packet, edit(packet.pts, bytes(packet))))
    return path


def _edited(packet: av.Packet, content: bytes) -> av.Packet:
    other = av.Packet(content)
    other.pts, other.dts, other.time_base = packet.pts, packet.dts, packet.time_base
    other.stream, other.is_keyframe = packet.stream, True
    return other


def zero(path: Path, begin: float, end: float) -> Path:
    """Overwrite a stretch of a file (shares of its size) with zeros, as unfinished downloads."""
    data = bytearray(path.read_bytes())
    first, last = int(len(data) * begin), int(len(data) * end)
    data[first:last] = bytes(last - first)
    path.write_bytes(data)
    return path


def set_edits(path: Path, edits: Sequence[tuple[int, int]]) -> Path:
    """Replace the edit list of an MP4 or MOV file whose index is at its end.

    Args:
        edits: milliseconds and first time on the track's scale (-1 shows nothing) of each.
    """
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    rows = b"".join(struct.pack(">IiI", length, begin, 1 << 16) for length, begin in edits)
    box = struct.pack(">I4sII", 16 + len(rows), b"elst", 0, len(edits)) + rows
    data[at : at + size] = box
    for name in (b"edts", b"trak", b"moov"):
        head = data.rindex(name, 0, at + 4) - 4
        longer = int.from_bytes(data[head : head + 4], "big") + len(box) - size
        data[head : head + 4] = longer.to_bytes(4, "big")
    path.write_bytes(data)
    return path


def write_slide(path: Path, images: Sequence[np.ndarray], times: Sequence[int]) -> Path:
    """Pictures at these milliseconds, and a tone that goes on all the while."""
    with av.open(str(path), "w") as out:
        stream, sound = out.add_stream("libx264", rate=25), out.add_stream("mp2", rate=16000)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", {"tune": "zerolatency"}
        stream.codec_context.time_base = Fraction(1, 1000)
        sound.layout = "mono"
        packets = []
        for image, time in zip(images, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        for start in range(0, times[-1] * 16, 1152):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), "s16", "mono")
            frame.sample_rate, frame.pts = 16000, start
            packets += sound.encode(frame)
        packets += sound.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            out.mux(packet)
    return path


def leaping(source: Path, path: Path, times: Sequence[int]) -> Path:
    """The packets of a file without B-frames in another format, at these milliseconds."""
    with av.open(str(source)) as container, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(container.streams.video[0])
        packets = (packet for packet in container.demux(video=0) if packet.size)
        for packet, time in zip(packets, times, strict=True):
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts = packet.dts = time
            out.mux(packet)
    return path
