"""Read plan of stage two: lengths and a budget in, pieces and blocks out. Pure; opens nothing.

A *piece* is a run of frames of one video. A video is one piece unless it is long; a long one is
cut so that no frame-to-frame matrix outgrows the memory. Neighbouring pieces overlap by a *halo*
wide enough that what the video comparator computes for a piece's inner frames does not depend on
where the video was cut, so scores are the same for any cut. (The original code averages the
scores of 2048-frame chunks instead, which changes them.)

A *block* is a run of pieces that is read, moved to the device and compared as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Geometry:
    """How outputs of the similarity network relate to frames, along either axis of the matrix.

    Attributes:
        stride: frames per output; 4 with the video comparator (two 2x2 poolings), else 1.
        halo: frames beyond an output's own that it depends on, rounded up to the stride. With
            the comparator: 1 at full, 1 at half and 1 at quarter resolution = 1 + 2 + 4 = 7.
    """

    stride: int
    halo: int


COMPARATOR = Geometry(stride=4, halo=8)
CHAMFER_ONLY = Geometry(stride=1, halo=0)


@dataclass(frozen=True)
class Piece:
    """Frames [start, stop) of a video, of which [first, last) are its own and the rest halo.

    `video` is an index; all four bounds count frames of the video, after short videos were
    repeated (`short_videos.repeat_to_min`). `start` and `first` are multiples of the stride.
    """

    video: int
    start: int
    stop: int
    first: int
    last: int

    @property
    def frames(self) -> int:
        """Frames to read."""
        return self.stop - self.start

    def outputs(self, stride: int) -> tuple[int, int]:
        """Which of the piece's own outputs count, as a range local to the piece."""
        return (self.first - self.start) // stride, (self.last - self.start) // stride


def plan_pieces(lengths: Sequence[int], geometry: Geometry, max_frames: int) -> list[Piece]:
    """Cut videos of `lengths` frames into pieces of at most `max_frames` own frames.

    A remainder shorter than the stride has no output of its own; it stays with the piece
    before, whose last outputs may need it.

    Raises:
        ValueError: `max_frames` is not a positive multiple of the stride, or a length is less
            than the stride (such a video has no output at all).
    """
    if max_frames < 1 or max_frames % geometry.stride:
        raise ValueError(f"max_frames {max_frames} is not a multiple of {geometry.stride}")
    pieces = []
    for video, length in enumerate(lengths):
        if length < geometry.stride:
            raise ValueError(f"video {video} has {length} frames, needs {geometry.stride}")
        starts = list(range(0, length - geometry.stride + 1, max_frames))
        for first, last in zip(starts, [*starts[1:], length], strict=True):
            pieces.append(
                Piece(
                    video,
                    max(0, first - geometry.halo),
                    min(length, last + geometry.halo),
                    first,
                    last,
                )
            )
    return pieces


def plan_blocks(pieces: Iterable[Piece], budget: int) -> list[list[Piece]]:
    """Group pieces, in order, into blocks of at most `budget` frames (or one single piece)."""
    blocks: list[list[Piece]] = []
    room = 0
    for piece in pieces:
        if not blocks or piece.frames > room:
            blocks.append([])
            room = budget
        blocks[-1].append(piece)
        room -= piece.frames
    return blocks


@dataclass(frozen=True)
class ReadPlan:
    """What is read of one side, in which order.

    Attributes:
        pieces: of all its videos.
        blocks: the same pieces, grouped.
    """

    pieces: list[Piece]
    blocks: list[list[Piece]]


def plan_reads(
    lengths: Sequence[int], geometry: Geometry, piece_frames: int, block_frames: int
) -> ReadPlan:
    """Plan one side: `plan_pieces` with `piece_frames`, `plan_blocks` with `block_frames`."""
    pieces = plan_pieces(lengths, geometry, piece_frames)
    return ReadPlan(pieces, plan_blocks(pieces, block_frames))


def bucket(frames: int, few: bool = False) -> int:
    """Round a length up to one of not too many, so that pairs of like shapes share a batch.

    Multiples of 4 up to 32, of 8 up to 64, of 16 up to 128, then of 32: at most a quarter of an
    axis is padding for short videos, an eighth for the others, and always a multiple of the
    comparator's stride.

    Args:
        few: powers of two up to 256 instead, where every shape costs a compilation.
    """
    if few and frames <= 256:
        return max(4, 1 << (frames - 1).bit_length())
    step = 4 if frames <= 32 else 8 if frames <= 64 else 16 if frames <= 128 else 32
    return -(-frames // step) * step
