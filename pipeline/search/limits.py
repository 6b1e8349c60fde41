"""How much of stage two is in memory at once. Scores do not depend on it."""

from __future__ import annotations

from dataclasses import dataclass

from ..output.score_table import IN_MEMORY_BYTES


@dataclass(frozen=True)
class Limits:
    """Sizes of what is read, multiplied and kept at a time.

    Attributes:
        piece_frames: own frames of a piece of a long video, a multiple of 4; with the comparator
            272 x 272 x 32 float32 activations are 9 MiB.
        query_block_frames: query frames on the device at a time.
        matrix_cells: entries of a frame-to-frame matrix, a query block times a database block;
            2^25 float32 are 128 MiB.
        batch_cells: matrix entries in a batch of pairs; 2^18 are 32 MiB in a layer of the
            comparator, and more are no faster.
        table_bytes: a larger table of scores is kept in a file.
        all_scores_videos: scores that are normalised by a database of at most so many videos are
            all kept, whatever the selection; in larger ones a sample is scored first.
        pending_scores: scores that are collected before the best of them are looked for.
    """

    piece_frames: int = 256
    query_block_frames: int = 2048
    matrix_cells: int = 1 << 25
    batch_cells: int = 1 << 18
    table_bytes: int = IN_MEMORY_BYTES
    all_scores_videos: int = 20_000
    pending_scores: int = 1 << 16

    def database_block_frames(self, megabytes: int, frame_bytes: int) -> int:
        """Database frames that are read at a time.

        Args:
            megabytes: memory for them, in MiB.
            frame_bytes: of one frame's descriptors on the device.
        """
        frames = min((megabytes << 20) // frame_bytes, self.matrix_cells // self.query_block_frames)
        return max(1, frames)
