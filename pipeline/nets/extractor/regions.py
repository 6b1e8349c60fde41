"""Region vectors: L2-normalised maxima over overlapping windows of convolutional maps.

ViSiL (Kordopatis-Zilos et al., ICCV 2019, section 3.1) takes R-MAC regions (Tolias et al., ICLR
2016) of several layers and concatenates them per region: L-iMAC with 3x3 regions a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..backend import ops
from ..layers.whitening import l2_normalize


def pooling_for(size: int, grid: int = 3) -> tuple[int, int]:
    """Window and stride that cut a map into grid x grid regions, without a rest.

    A window is one and a half strides long, so that neighbours overlap by a third:
    size = (grid - 1) strides + 1.5 strides. For grid 3 this gives the published values,
    28 -> (12, 8), 14 -> (6, 4), 7 -> (3, 2); and 56 -> (24, 16).

    Args:
        size: side of the map, at least `grid`.
        grid: regions along one side.

    Raises:
        ValueError: the map is smaller than the grid.
    """
    if not 0 < grid <= size:
        raise ValueError(f"a map of side {size} cannot be cut into {grid}x{grid} regions")
    stride = max(1, 2 * size // (2 * grid + 1))
    return size - (grid - 1) * stride, stride


def half_overlapping(window: int) -> tuple[int, int]:
    """Window and stride of the PyTorch networks: neighbours overlap by half a window.

    What does not fill a window at the right and the bottom edge is left out.
    """
    return window, -(-window // 2)


def region_vectors(maps: Sequence[Any], grid: int = 3, windows: Sequence[int] = ()) -> Any:
    """Concatenated region vectors.

    Args:
        maps: per tapped layer a float [B, S, S, C]; S and C differ between layers.
        grid: regions along one side.
        windows: side of each layer's windows, see `half_overlapping`; none: `pooling_for`.

    Raises:
        ValueError: windows that do not cut a map into grid x grid regions.

    Returns:
        float32 [B, grid * grid, sum of C]: row by row; every layer's part has length 1 before
        the whole is brought to length 1.
    """
    sides = [layer_map.shape[1] for layer_map in maps]
    pooling = [half_overlapping(w) for w in windows] or [pooling_for(s, grid) for s in sides]
    for side, (window, stride) in zip(sides, pooling, strict=True):
        if window > side or (side - window) // stride + 1 != grid:
            raise ValueError(f"windows of {window} cut a map of side {side} into other regions")
    parts = [l2_normalize(_pooled(m, grid, *p)) for m, p in zip(maps, pooling, strict=True)]
    return l2_normalize(ops.concatenate(parts, axis=-1))


def _pooled(layer_map: Any, grid: int, window: int, stride: int) -> Any:
    """[B, S, S, C] -> float32 [B, grid * grid, C]; lengths are summed in float32 whatever came."""
    channels = layer_map.shape[3]
    regions = ops.max_pool(layer_map, window, stride, "valid", data_format="channels_last")
    return ops.cast(ops.reshape(regions, (-1, grid * grid, channels)), "float32")
