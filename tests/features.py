"""Models and stores of made-up features for tests that need neither videos nor a backbone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.records import FeatureSpec, SourceInfo

DIMS = 16
REGIONS = 9
SHAPES = [(3, 3, 1, 32), (3, 3, 32, 64), (3, 3, 64, 128), (1, 1, 128, 1)]


def comparator_layers(seed: int = 0) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Random comparator weights whose outputs spread over the clip's range."""
    rng = np.random.default_rng(seed)
    return tuple(
        (
            (rng.standard_normal(s) * np.sqrt(2 / np.prod(s[:3]))).astype(np.float32),
            (rng.standard_normal(s[3]) * 0.1).astype(np.float32),
        )
        for s in SHAPES
    )


def region_vectors(frames: int, seed: object, dims: int = DIMS) -> np.ndarray:
    """[frames, 9, dims] float32 of length 1."""
    x = np.random.default_rng(seed).standard_normal((frames, REGIONS, dims))
    return (x / np.linalg.norm(x, axis=2, keepdims=True)).astype(np.float32)


def model(comparator: bool = True, attention: bool = True, symmetric: bool = False):
    """`Model` with a head and without a backbone."""
    from pipeline.nets.model.model import Model
    from pipeline.nets.model.preprocessing import InputDescription
    from pipeline.nets.model.whitening import Whitening

    context = region_vectors(1, 99)[0, 0]
    return Model(
        name="test model",
        origin="made by a test",
        backbone="resnet50_v1",
        arrays={},
        input=InputDescription(256, 224, "bicubic", "RGB", (0, 0, 0), (1, 1, 1)),
        taps=("a",),
        grid=3,
        whitening=Whitening(np.zeros(DIMS, "f4"), np.eye(DIMS, dtype="f4"), np.ones(DIMS, "f4")),
        attention=context if attention else None,
        comparator=comparator_layers() if comparator else None,
        similarity_function="symmetric_chamfer" if symmetric else "chamfer",
    )


def spec(digest: str, **changes: object) -> FeatureSpec:
    values = {
        "model": "test model",
        "digest": digest,
        "shared_descriptors": REGIONS,
        "dims": DIMS,
        "fps": 1.0,
        "resize": 256,
        "crop": 224,
        "resize_method": "bicubic",
        "sampling": "shown-at/1",
    }
    return FeatureSpec(**{**values, **changes})


def fill(path: Path, made_with: FeatureSpec, videos: Mapping[str, np.ndarray], dtype="float32"):
    """Write a store with these region vectors."""
    from pipeline.store import create_or_append

    with create_or_append(path, made_with, dtype) as writer:
        for video_id, vectors in videos.items():
            video = writer.begin(video_id, SourceInfo(f"{video_id}.mp4"))
            video.append(vectors, np.arange(len(vectors), dtype=np.float64))
            video.finish()
    return path


def spoil(path: Path, value: float) -> None:
    """Change one value of the first video of an HDF5 store, behind the writer's back."""
    import h5py

    with h5py.File(path, "r+") as file:
        found: list[h5py.Dataset] = []
        file.visititems(
            lambda _, item: (
                found.append(item) if isinstance(item, h5py.Dataset) and item.ndim == 3 else None
            )
        )
        found[0][0, 0, 0] = value
