"""How pixels become the backbone's input."""

from __future__ import annotations

from dataclasses import dataclass

from ...checks import numbers, text, whole
from ...records import Preprocess

MAX_SIDE = 4096  # of the input, in pixels


@dataclass(frozen=True)
class InputDescription:
    """How a decoded frame becomes the backbone's input: (pixel - mean) * scale per channel.

    Attributes:
        resize, crop, method: see `records.Preprocess`.
        channels: order the backbone was trained with, "RGB" or "BGR".
        mean, scale: per channel in that order; pixels count from 0 to 255.
    """

    resize: int
    crop: int
    method: str
    channels: str
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]

    def __post_init__(self) -> None:
        for key in ("resize", "crop"):
            whole(f"input: {key}", getattr(self, key), 1, MAX_SIDE)
        text("input: method", self.method)
        if self.channels not in ("RGB", "BGR"):
            raise ValueError(f"input: channels is {self.channels!r}, expected 'RGB' or 'BGR'")
        for key in ("mean", "scale"):
            values = numbers(f"input: {key}", getattr(self, key))
            if len(values) != 3:
                raise ValueError(f"input: {key} holds {len(values)} numbers, expected 3")
            object.__setattr__(self, key, values)  # 1 and 1.0 are one digest

    @property
    def preprocess(self) -> Preprocess:
        """The part that happens on decoded frames, before the network."""
        return Preprocess(self.resize, self.crop, self.method)
