"""Tiny videos that tell which frame is which: the frame's number is painted into it as blocks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

ROWS, COLUMNS = 3, 4  # 12 bits
SPAN = 0.8  # of the shorter side, so that every crop keeps all blocks


def numbered(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    """uint8 [height, width, 3]: grey, and in the middle 12 blocks, white for a set bit."""
    image = np.full((height, width, 3), 128, np.uint8)
    y = np.arange(height)[:, None] - height / 2 + 0.5
    x = np.arange(width)[None] - width / 2 + 0.5
    side = min(width, height) * SPAN
    row = np.floor((y / side + 0.5) * ROWS).astype(int)
    column = np.floor((x / side + 0.5) * COLUMNS).astype(int)
    inside = (row >= 0) & (row < ROWS) & (column >= 0) & (column < COLUMNS)
    bits = (number >> np.clip(row * COLUMNS + column, 0, 11)) & 1
    image[inside] = np.where(bits[inside] == 1, 235, 20)[:, None]
    return image


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
        for number, image in enumerate(images):
            kind = "rgba" if image.shape[2] == 4 else "rgb24"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), kind)
            frame = frame.reformat(format=pix_fmt)
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
    with av.open(str(path), "w") as out:
        stream = out.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(numbered(number), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            for packet in stream.encode(frame):
                out.mux(_garbage(packet) if packet.pts in bad else packet)
        out.mux(stream.encode(None))
    return path


def _garbage(packet: av.Packet) -> av.Packet:
    other = av.Packet(b"garbage" * 20)
    other.pts, other.dts, other.time_base = packet.pts, packet.dts, packet.time_base
    other.stream, other.is_keyframe = packet.stream, True
    return other
