"""Query views of every n-th frame: they are most of a query's work, and alike in frames nearby."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..config import ExtractConfig
from ..records import FeatureSpec
from .batching import Slot

if TYPE_CHECKING:
    from ..nets.extractor.feature_net import FeatureNet


def choose_view_step(config: ExtractConfig, stored: FeatureSpec | None) -> int:
    """Decide for how many frames lowpass query views are computed once.

    Args:
        config: settings of stage one; its number comes first, then the store's.
        stored: of the store that is to be extended; None for a new store.
    """
    return config.view_step or (stored.view_step if stored else 1)


class SparseViews:
    """Descriptors of batches; between two computed views of a video the earlier one is repeated.

    Which frames have views depends on their number in their own video alone, not on batches.
    """

    def __init__(self, net: FeatureNet, step: int) -> None:
        """Keep what the frames of each video go on from.

        Args:
            net: the feature network.
            step: views of every so many frames are computed; 1: of all.
        """
        self._net, self._step = net, step
        self._frames: dict[tuple[int, int], int] = {}  # so far, by video and inset
        self._views: dict[tuple[int, int], np.ndarray] = {}  # those computed last

    def __call__(self, images: np.ndarray, slots: Sequence[Slot]) -> np.ndarray:
        """Return the descriptors of a batch.

        Args:
            images: uint8 [B, S, S, 3].
            slots: the videos of the frames, in order.

        Returns:
            float32 [B, R, C].
        """
        if self._step == 1:
            return self._net(images)
        owners = [(slot.index, slot.inset) for slot in slots for _ in range(slot.count)]
        numbers = np.empty(len(owners), int)
        for row, owner in enumerate(owners):
            numbers[row] = self._frames.get(owner, 0)
            self._frames[owner] = numbers[row] + 1
        computed = numbers % self._step == 0
        vectors = self._net.with_views_of(images, computed)
        columns = self._net.lowpass_views
        for row, owner in enumerate(owners):
            if computed[row]:
                self._views[owner] = vectors[row, columns]
            else:
                vectors[row, columns] = self._views[owner]
        return vectors

    def forget(self, index: int) -> None:
        """Drop what is kept of a video that ended."""
        for owner in [owner for owner in self._frames if owner[0] == index]:
            del self._frames[owner]
            self._views.pop(owner, None)
