"""Initial weights of a head, near the plain similarity, so that training starts there."""

from __future__ import annotations

import numpy as np

WIDTHS = (32, 64, 128)
STARTS = ("average", "random")
LIFT = 0.5  # added in front, taken off behind: similarities above -0.5 then pass every ReLU
QUIET = 0.3  # of the usual spread, for the random weights beside the averaging ones


def context_start(dims: int, rng: np.random.Generator) -> np.ndarray:
    """A random attention vector, float32 [dims] of length 1."""
    context = rng.standard_normal(dims)
    return (context / np.linalg.norm(context)).astype(np.float32)


def comparator_start(
    kind: str, scale: float, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Kernels [h, w, in, out] and biases [out] of the four layers.

    Args:
        kind: "random" (He et al., ICCV 2015), or "average": one channel takes the mean of each
            3 x 3 neighbourhood's diagonal through all layers, so that the output of a pair is
            near the mean over its matching frames; the other channels are random and weak.
        scale: factor for similarities; 4 undoes the halving of both sides by an untrained
            attention.
        rng: for the random weights.
    """
    sizes = [(3, 3, 1, WIDTHS[0]), (3, 3, WIDTHS[0], WIDTHS[1]), (3, 3, WIDTHS[1], WIDTHS[2])]
    sizes.append((1, 1, WIDTHS[2], 1))
    layers = []
    for size in sizes:
        spread = np.sqrt(2 / np.prod(size[:3]))
        kernel = rng.standard_normal(size) * spread
        layers.append((kernel.astype(np.float32), np.zeros(size[3], np.float32)))
    if kind == "random":
        return layers
    for number, (kernel, bias) in enumerate(layers):
        kernel *= QUIET
        if number < 3:
            kernel[:, :, :, 0] = 0
            kernel[:, :, 0, 0] = np.eye(3) / 3 * (scale if number == 0 else 1)
            bias[0] = LIFT if number == 0 else 0
        else:
            kernel[0, 0, 0, 0] = 1
            kernel[0, 0, 1:, 0] *= QUIET
            bias[0] = -LIFT
    return layers
