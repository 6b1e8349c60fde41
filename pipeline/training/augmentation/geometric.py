"""What a copy does to shape: crop, turn, mirror and tilt, each as a matrix of `warp`.

A matrix takes places of the copy to places of the clip.
"""

from __future__ import annotations

import numpy as np

from ...image.homography import CORNERS, homography


def crop(rng: np.random.Generator) -> np.ndarray:
    """40 to 90 % of either side, at a place by chance."""
    share = rng.uniform(0.4, 0.9)
    sides = np.clip(share * np.exp(rng.uniform(-0.15, 0.15, 2)), 0.4, 0.95)
    middle = rng.uniform(-1, 1, 2) * (1 - sides)
    return np.array([[sides[0], 0, middle[0]], [0, sides[1], middle[1]], [0, 0, 1]])


def mirror(rng: np.random.Generator) -> np.ndarray:
    """Left and right exchanged."""
    return np.diag([-1.0, 1.0, 1.0])


def turn(rng: np.random.Generator) -> np.ndarray:
    """By 3 to 20 degrees; the corners that come in are black, or out of sight by a closer look."""
    angle = np.radians(rng.choice([-1, 1]) * rng.uniform(3, 20))
    zoom = rng.choice([1.0, 0.75])
    aspect = 4 / 3
    sine, cosine = zoom * np.sin(angle), zoom * np.cos(angle)
    return np.array([[cosine, -sine / aspect, 0], [sine * aspect, cosine, 0], [0, 0, 1]])


def tilt(rng: np.random.Generator, max_tilt: float = 0.35) -> np.ndarray:
    """Seen from aside: each corner moves inwards by up to `most`."""
    seen = CORNERS * (1 - rng.uniform(0.02, max_tilt, (4, 2)))
    return homography(seen, CORNERS)
