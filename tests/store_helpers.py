"""What the store tests share: a small spec, videos made from a seed, and plain readers."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.records import FeatureSpec, SourceInfo, VideoRef
from pipeline.store import FeatureStore, StoreWriter
from pipeline.store.keys import printable

SPEC = FeatureSpec(
    model="tiny",
    digest="ab" * 32,
    shared_descriptors=3,
    dims=8,
    fps=1.0,
    resize=256,
    crop=224,
    resize_method="bicubic",
    sampling="timestamps-1",
)


def vectors_of(seed: int, frames: int, dtype: str = "float16") -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((frames, SPEC.shared_descriptors, SPEC.dims)).astype(dtype)


def seconds_of(frames: int) -> np.ndarray:
    return np.arange(frames) * 1.001 + 1 / 3


def source_of(seed: int) -> SourceInfo:
    return SourceInfo(f"videos/{seed} ü.mp4", 1000 + seed, 5, "h264", 640, 360, 29.97, 12.5)


def add(
    writer: StoreWriter, video_id: str, seed: int, frames: int = 5, piece: int = 2, note: str = ""
) -> None:
    """Append a video in pieces that do not fit its length."""
    vectors, seconds = vectors_of(seed, frames, writer.dtype.name), seconds_of(frames)
    video = writer.begin(VideoRef(video_id, "elsewhere"), source_of(seed))
    for start in range(0, frames, piece):
        video.append(vectors[start : start + piece], seconds[start : start + piece])
    video.finish(note)


def assert_holds(store: FeatureStore, video_id: str, seed: int, frames: int = 5) -> None:
    found = store.read(video_id)
    np.testing.assert_array_equal(found.vectors, vectors_of(seed, frames, store.dtype.name))
    np.testing.assert_array_equal(found.seconds, seconds_of(frames))
    assert found.vectors.dtype == store.dtype
    assert store.record(video_id).source == source_of(seed)


def listed_parts(path: Path) -> dict[str, Path]:
    """Id -> the part that it is in, as the log of a store of parts says."""
    found: dict[str, Path] = {}
    for entry in sorted(path.glob("log/*")):
        head, *lines = map(json.loads, entry.read_text().splitlines()[:-1])
        for line in lines:
            if line["op"] == "put":
                found[line["id"]] = path / head["name"]
            elif line["op"] == "remove":
                found.pop(line["id"], None)
    return found


def plain(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{id: (vectors, seconds)} as somebody sees them who has h5py or zarr and not this package."""
    if path.suffix == ".parts":
        return {i: plain(part)[printable(i)] for i, part in listed_parts(path).items()}
    if path.suffix == ".h5":
        import h5py

        with h5py.File(path, "r") as file:
            return {
                array.attrs["id"]: (array[...], file["seconds"][key][...])
                for key, array in file["features"].items()
            }
    import zarr

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        root = zarr.open_group(path, mode="r")
        dict(root.members(max_depth=None))
        return {
            array.attrs["id"]: (array[...], np.array(array.attrs["seconds"]))
            for _, array in root["features"].arrays()
        }


def plain_header(path: Path) -> dict[str, Any]:
    if path.suffix == ".parts":
        stored: dict[str, Any] = json.loads((path / "store.json").read_text())
        return stored
    if path.suffix == ".h5":
        import h5py

        with h5py.File(path, "r") as file:
            header: dict[str, Any] = json.loads(file.attrs["store"])
            return header
    import zarr

    found: Any = zarr.open_group(path, mode="r").attrs["store"]
    return dict(found)


def change_header(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Write the header of a store anew, changed."""
    header = plain_header(path)
    change(header)
    if path.suffix == ".parts":
        (path / "store.json").write_text(json.dumps(header))
        return
    if path.suffix == ".h5":
        import h5py

        with h5py.File(path, "r+", libver=("v108", "latest")) as file:
            file.attrs["store"] = json.dumps(header)
        return
    root = json.loads((path / "zarr.json").read_text())
    root["attributes"]["store"] = header
    (path / "zarr.json").write_text(json.dumps(root))
