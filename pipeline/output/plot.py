"""The heat map of one pair as a PNG file of its own: axes with times, segments drawn in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..alignment.segment import Segment
from ..image.png import encode_png
from .heat_map import LEVELS, FrameMatrix, heat_map, palette
from .report_cards import COLOURS, clock

LONG_SIDE, SHORT_SIDE = 960, 240  # pixels of the longer axis; of the other one, at least
_LEFT, _TOP, _RIGHT, _BOTTOM = 84, 16, 36, 60  # margins in pixels
_GLYPH_SCALE = 2
_WHITE, _BLACK, _FIRST_COLOUR = LEVELS, LEVELS + 1, LEVELS + 2
_INK = np.array(
    [(255, 255, 255), (20, 22, 28), (18, 196, 230), (70, 216, 96), (95, 139, 255), (194, 123, 255)],
    np.uint8,
)
_TICK_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800)
_MAX_TICKS = 8
# Letters of 3 x 5 points: an octal digit for each row.
_GLYPHS = {
    "0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711", "5": "74717",
    "6": "74757", "7": "71111", "8": "75757", "9": "75717", ":": "02020", "A": "25755",
    "B": "65656", "D": "65556", "E": "74647", "Q": "75571", "R": "65655", "S": "34216",
    "T": "72222", "U": "55557", "Y": "55222",
}  # fmt: skip


def plot_matrix(matrix: FrameMatrix, segments: Sequence[Segment]) -> bytes:
    """Draw a matrix: the query downwards, the database video to the right.

    Args:
        matrix: frame similarities of a pair.
        segments: drawn as lines.

    Returns:
        The content of a PNG file, up to 1080 x 1036 pixels.
    """
    picture = heat_map(matrix, LONG_SIDE)
    spans = picture.query_seconds, picture.database_seconds
    height, width = (
        int(np.clip(LONG_SIDE * span / max(spans), SHORT_SIDE, LONG_SIDE)) for span in spans
    )
    rows, columns = (
        np.arange(length) * size // length
        for length, size in zip((height, width), picture.levels.shape, strict=True)
    )
    area = picture.levels[np.ix_(rows, columns)]
    for number, segment in reversed(list(enumerate(segments))):
        ends = [
            (query / spans[0] * height, database / spans[1] * width)
            for query, database in (
                (segment.query_start, segment.database_start),
                (segment.query_end, segment.database_end),
            )
        ]
        _draw_line(area, ends[0], ends[1], 3, _BLACK)
        _draw_line(area, ends[0], ends[1], 1, _FIRST_COLOUR + number % COLOURS)
    canvas = np.full((_TOP + height + _BOTTOM, _LEFT + width + _RIGHT), _WHITE, np.uint8)
    canvas[_TOP : _TOP + height, _LEFT : _LEFT + width] = area
    _draw_axes(canvas, (height, width), spans)
    return encode_png(canvas, np.concatenate([palette(), _INK]))


def tick_seconds(total: float) -> list[float]:
    """Round times from 0 to the end of a video, a handful of them."""
    steps = (step for step in _TICK_SECONDS if total / step <= _MAX_TICKS)
    step = next(steps, _TICK_SECONDS[-1] * (1 + int(total / _TICK_SECONDS[-1] / _MAX_TICKS)))
    return [float(second) for second in range(0, int(total) + 1, step)]


def _draw_line(
    area: np.ndarray, begin: tuple[float, float], end: tuple[float, float], radius: int, ink: int
) -> None:
    """Draw a straight line of 2 * radius + 1 pixels' width between (row, column) places."""
    steps = int(max(abs(end[0] - begin[0]), abs(end[1] - begin[1]))) + 1
    rows, columns = (np.linspace(a, b, 2 * steps) for a, b in zip(begin, end, strict=True))
    for down in range(-radius, radius + 1):
        for right in range(-radius, radius + 1):
            if down * down + right * right <= radius * radius + 1:
                y = np.clip(rows.astype(int) + down, 0, area.shape[0] - 1)
                x = np.clip(columns.astype(int) + right, 0, area.shape[1] - 1)
                area[y, x] = ink


def _draw_axes(canvas: np.ndarray, size: tuple[int, int], spans: tuple[float, float]) -> None:
    height, width = size
    bottom = _TOP + height
    for second in tick_seconds(spans[1]):
        x = _LEFT + int(second / spans[1] * (width - 1))
        canvas[bottom : bottom + 6, x] = _BLACK
        _draw_text(canvas, clock(second, 0), bottom + 17, x)
    for second in tick_seconds(spans[0]):
        y = _TOP + int(second / spans[0] * (height - 1))
        canvas[y, _LEFT - 6 : _LEFT] = _BLACK
        label = clock(second, 0)
        _draw_text(canvas, label, y, _LEFT - 12 - _text(label).shape[1] // 2)
    _draw_text(canvas, "DATABASE", bottom + 42, _LEFT + width // 2)
    _stamp(canvas, np.rot90(_text("QUERY")), _TOP + height // 2, 12)


def _draw_text(canvas: np.ndarray, text: str, row: int, column: int) -> None:
    """Write a text with its middle at a place."""
    _stamp(canvas, _text(text), row, column)


def _stamp(canvas: np.ndarray, points: np.ndarray, row: int, column: int) -> None:
    top = int(np.clip(row - points.shape[0] // 2, 0, canvas.shape[0] - points.shape[0]))
    left = int(np.clip(column - points.shape[1] // 2, 0, canvas.shape[1] - points.shape[1]))
    canvas[top : top + points.shape[0], left : left + points.shape[1]][points] = _BLACK


def _text(text: str) -> np.ndarray:
    """The points of a text, bool [rows, columns]."""
    points = np.zeros((5, 4 * len(text) - 1), bool)
    for number, letter in enumerate(text):
        for row, bits in enumerate(_GLYPHS[letter]):
            for column in range(3):
                points[row, 4 * number + column] = int(bits, 8) >> (2 - column) & 1
    return points.repeat(_GLYPH_SCALE, 0).repeat(_GLYPH_SCALE, 1)
