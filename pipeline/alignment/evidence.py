"""From similarities to evidence: what speaks for a match is positive, what speaks against negative.

What similar frames of a pair reach differs from pair to pair: a crop of a dark copy stays far below
a recompressed one. So the threshold comes from the matrix itself.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

UNRELATED = 0.10  # similarity of frames that have nothing in common
_SHARE = 0.70  # quantile of the best similarities that stands for matching frames
_LOWEST, _HIGHEST = 0.20, 0.45  # of the threshold
_MIN_CONTRAST = 0.15  # between matching and unrelated frames
_RIVAL_MARGIN, _RIVAL_PRICE = 0.25, 0.30
_BLOCK_CELLS = 1 << 16
_AGAIN_PRICE = 0.60  # evidence that frames lose which are part of a segment already


class Levels(NamedTuple):
    """What similarities of a pair, or of one line, mean.

    Attributes:
        match: similarity of matching frames.
        threshold: similarity that speaks neither for a match nor against it.
    """

    match: float
    threshold: float

    @classmethod
    def from_match(cls, match: float) -> Levels:
        """The threshold lies half way from matching to unrelated frames, within bounds."""
        threshold = UNRELATED + (match - UNRELATED) / 2
        return cls(match, min(max(threshold, _LOWEST), _HIGHEST))


def levels_of(matrix: np.ndarray) -> Levels:
    """The levels of a matrix [Q, D]: the larger of the 70 % quantiles of row and column maxima."""
    return Levels.from_match(
        max(float(np.quantile(matrix.max(axis=axis), _SHARE)) for axis in (0, 1))
    )


class Evidence:
    """What speaks for and against a match in every cell, and what was found already.

    Frames of a segment that was found count for less elsewhere, and cells within it no more.

    Args:
        matrix: float32 [Q, D]; it stays as it is.

    Attributes:
        cells: float32 [Q, D], evidence by the levels of the whole matrix, at most 1.
        levels: of the whole matrix.
    """

    def __init__(self, matrix: np.ndarray, levels: Levels | None = None) -> None:
        self.matrix = matrix
        self.levels = levels_of(matrix) if levels is None else levels
        self._row_best, self._column_best = matrix.max(axis=1), matrix.max(axis=0)
        self.cells = np.empty(matrix.shape, np.float32)
        rows = 1 + _BLOCK_CELLS // matrix.shape[1]
        for top in range(0, len(matrix), rows):  # what fits the processor's cache at a time
            part = slice(top, top + rows)
            best = np.maximum(self._row_best[part, None], self._column_best)
            self.cells[part] = self._judged(matrix[part], best, self.levels)
        self._row_price = np.zeros(len(matrix), np.float32)
        self._column_price = np.zeros(matrix.shape[1], np.float32)
        self._blocked: list[tuple[int, int, int, int]] = []

    def at(self, rows: np.ndarray, columns: np.ndarray, levels: Levels) -> np.ndarray:
        """Evidence of some cells by other levels, say those of a line; rows and columns [N]."""
        best = np.maximum(self._row_best[rows], self._column_best[columns])
        judged = self._judged(self.matrix[rows, columns], best, levels)
        judged -= self._row_price[rows] + self._column_price[columns]
        for top, bottom, left, right in self._blocked:
            inside = (rows >= top) & (rows <= bottom) & (columns >= left) & (columns <= right)
            judged[inside] = -1.0
        return judged

    def take_out(self, rows: np.ndarray, columns: np.ndarray) -> None:
        """Block the cells of consecutive rows and columns; these cost more elsewhere."""
        self.cells[np.ix_(rows, columns)] = -1.0
        self.cells[rows] -= _AGAIN_PRICE
        self.cells[:, columns] -= _AGAIN_PRICE
        self._row_price[rows] += _AGAIN_PRICE
        self._column_price[columns] += _AGAIN_PRICE
        if len(rows) and len(columns):
            self._blocked.append((rows[0], rows[-1], columns[0], columns[-1]))

    @staticmethod
    def _judged(similarities: np.ndarray, best: np.ndarray, levels: Levels) -> np.ndarray:
        """Evidence within [-1, 1].

        A cell counts for less where its row or column has a much better one, since frames that
        match something else better seldom match here.
        """
        beaten = best - similarities
        beaten -= np.float32(_RIVAL_MARGIN)
        np.maximum(beaten, 0, out=beaten)
        beaten *= np.float32(_RIVAL_PRICE)
        above = similarities - np.float32(levels.threshold)
        above -= beaten
        above *= np.float32(2 / max(levels.match - UNRELATED, _MIN_CONTRAST))
        np.maximum(above, -1, out=above)
        return np.minimum(above, 1, out=above)
