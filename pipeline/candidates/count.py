"""How many candidates of each query go on to the network: a number, or a share of the database."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from ..errors import InputError


@dataclass(frozen=True)
class CandidateCount:
    """A number of videos, or a share of the database.

    Attributes:
        videos: of each query, at most; 0 where a share is given.
        share: of the database's videos, above 0 and at most 1; 0 where a number is given.
    """

    videos: int = 0
    share: float = 0.0

    @classmethod
    def parse(cls, given: int | float | str | Self) -> Self:
        """Read what a user gave: 100, "100", "1%" or 0.01.

        Raises:
            InputError: it is none of these.
        """
        if isinstance(given, cls):
            return given
        text = str(given).strip()
        try:
            if isinstance(given, bool):
                raise ValueError
            if text.endswith("%"):
                share = float(text[:-1]) / 100
            elif text.isascii() and text.isdecimal():
                if int(text) < 1:
                    raise ValueError
                return cls(videos=int(text))
            else:
                share = float(text)
            if not 0 < share <= 1 or not math.isfinite(share):
                raise ValueError
        except ValueError:
            raise InputError(
                f"candidates is {given!r}, expected a number of videos such as 100, or a share of "
                "the database such as 1%"
            ) from None
        return cls(share=share)

    def of(self, videos: int) -> int:
        """How many of a database of so many videos."""
        wanted = self.videos or math.ceil(self.share * videos)
        return max(1, min(videos, wanted))

    def __str__(self) -> str:
        return str(self.videos) if self.videos else f"{100 * self.share:g}%"
