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


def region_vectors(maps: Sequence[Any], grid: int = 3) -> Any:
    """Concatenated region vectors.

    Args:
        maps: per tapped layer a float [B, S, S, C]; S and C differ between layers.
        grid: regions along one side.

    Returns:
        float32 [B, grid * grid, sum of C]: row by row; every layer's part has length 1 before
        the whole is brought to length 1.
    """
    parts = [l2_normalize(_pooled(layer_map, grid)) for layer_map in maps]
    return l2_normalize(ops.concatenate(parts, axis=-1))


def _pooled(layer_map: Any, grid: int) -> Any:
    """[B, S, S, C] -> float32 [B, grid * grid, C]; lengths are summed in float32 whatever came."""
    _, side, _, channels = layer_map.shape
    window, stride = pooling_for(side, grid)
    regions = ops.max_pool(layer_map, window, stride, "valid", data_format="channels_last")
    return ops.cast(ops.reshape(regions, (-1, grid * grid, channels)), "float32")
