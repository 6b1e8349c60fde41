"""Feature files of others: imported into a store, and written from one.

HDF5 as DnS and S2VS publish it: a float32 dataset `[T, R, C]` for each id, packed by gzip, no
attributes; an id with `/` lies in nested groups. NPZ as VSC2022's code has it: `video_ids`,
`timestamps` and `features`, a row for each frame.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import atomic_write
from ..errors import InputError, StoreError
from ..records import Failure, SourceInfo, VideoRef
from .base import FeatureStore
from .factory import create_or_append, open_store
from .header import named_errors
from .published import PublishedStore
from .published_layout import as_regions, published_spec
from .video_check import are_plausible
from .writer import StoreWriter

_COMMIT_BYTES = 256 << 20
_GZIP_LEVEL = 9  # of the published files
_MAX_NPZ = 64 << 30  # bytes, unpacked
Progress = Callable[[int, int], None]


@dataclass
class ImportReport:
    """What an import did.

    Attributes:
        imported: videos that were added; kept: that were there already.
        failures: videos that could not be used; they are recorded in the store as well.
    """

    imported: int = 0
    kept: int = 0
    failures: list[Failure] = field(default_factory=list)


def import_features(
    source: str | Path,
    target: str | Path,
    name: str,
    *,
    dtype: str | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Import a published feature file, `.hdf5`, `.h5` or `.npz`, into a store.

    Videos that the store holds already are left as they are: an interrupted import goes on.

    Args:
        name: of the features, see `published_layout.LAYOUTS`.
        dtype: see `quantization`; None: as the store, float16 for a new one.
        progress: called with (videos looked at, videos in all).

    Raises:
        InputError: no features have that name, or the file is no `.npz` of that kind.
        StoreError: the file cannot be opened, or the store cannot be written.
    """
    source = Path(source)
    spec = published_spec(name)
    provenance = {"published_features": name, "imported_from": source.name}
    with (
        _Npz(source, name) if source.suffix.lower() == ".npz" else _Hdf5(source, name) as videos,
        create_or_append(target, spec, dtype, provenance) as store,
    ):
        return _Import(videos, store).run(progress)


class _Hdf5:
    """Videos of a published HDF5 file, a slab at a time."""

    def __init__(self, path: Path, name: str) -> None:
        if not path.exists():
            raise InputError(f"{path}: no such file; check the path")
        self._store = PublishedStore(path, name)
        self.ids = self._store.ids
        self.failures = self._store.failures

    def frames(self, video_id: str) -> int:
        return self._store.frames(video_id)

    def slabs(self, video_id: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Vectors [t, R, C] and seconds [t] of a video; StoreError if they cannot be read."""
        seconds = self._store.seconds(video_id)
        for start, rows in self._store.slabs(video_id):
            yield rows, seconds[start : start + len(rows)]

    def __enter__(self) -> _Hdf5:
        return self

    def __exit__(self, *error: object) -> None:
        self._store.close()


class _Npz:
    """Videos of an `.npz`, all of it in memory, as its form is packed as a whole."""

    def __init__(self, path: Path, name: str) -> None:
        arrays = _read_npz(path)
        names, features = arrays["video_ids"], arrays["features"]
        times = arrays["timestamps"]
        times = times[:, 0] if times.ndim == 2 else times
        if names.ndim != 1 or not len(names) == len(features) == len(times):
            raise InputError(f"{path}: its arrays have rows of unequal number; write it again")
        self._path, self._name, self.failures = path, name, dict[str, Failure]()
        self._features, self._times = features, times.astype(np.float64)
        self._rows: dict[str, list[int]] = {}
        for row, video_id in enumerate(names.astype(str).tolist()):
            self._rows.setdefault(video_id, []).append(row)
        self.ids = list(self._rows)

    def frames(self, video_id: str) -> int:
        return len(self._rows[video_id])

    def slabs(self, video_id: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """See `_Hdf5.slabs`; frames by their times, each descriptor of length 1."""
        VideoRef(video_id, "")
        rows = np.array(self._rows[video_id])
        rows = rows[np.argsort(self._times[rows], kind="stable")]
        yield as_regions(self._features[rows], self._name), self._times[rows]

    def __enter__(self) -> _Npz:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > _MAX_NPZ:
            raise InputError(f"{path}: {size} bytes unpacked; split it into files below 64 GiB")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in ("video_ids", "timestamps", "features")}
    except (OSError, EOFError, ValueError, KeyError, MemoryError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: is no .npz of features ({error}); it must hold video_ids, timestamps and "
            "features"
        ) from None


@dataclass(frozen=True)
class _Import:
    """From an open feature file into an open writer."""

    videos: Any  # _Hdf5 or _Npz
    store: StoreWriter

    def run(self, progress: Progress | None) -> ImportReport:
        report, uncommitted = ImportReport(), 0
        for done, video_id in enumerate(self.videos.ids, 1):
            if video_id in self.store:
                report.kept += 1
            else:
                uncommitted += self._import(video_id, report)
            if uncommitted >= _COMMIT_BYTES:
                self.store.commit()
                uncommitted = 0
            if progress is not None:
                progress(done, len(self.videos.ids))
        for failure in self.videos.failures.values():
            self._fail(failure, report)
        return report

    def _import(self, video_id: str, report: ImportReport) -> int:
        """Import one video; returns its bytes, 0 if it failed."""
        try:
            slabs = self.videos.slabs(video_id)
            first = next(slabs)
        except (StoreError, ValueError) as error:
            self._fail(Failure(video_id, "broken", str(error), SourceInfo("")), report)
            return 0
        video = self.store.begin(video_id, SourceInfo(""))
        try:
            for vectors, seconds in _chained(first, slabs):
                if not are_plausible(vectors):
                    raise ValueError("it holds values that are no numbers, or far above 1")
                video.append(vectors, seconds)
        except (StoreError, ValueError) as error:
            video.abandon()
            self._fail(Failure(video_id, "broken", str(error), SourceInfo("")), report)
            return 0
        video.finish()
        report.imported += 1
        return self.videos.frames(video_id) * self.store.header.row_bytes

    def _fail(self, failure: Failure, report: ImportReport) -> None:
        report.failures.append(failure)
        if failure.id not in self.store:
            self.store.fail(failure)


def _chained(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def export_features(
    source: str | Path, target: str | Path, progress: Progress | None = None
) -> int:
    """Write the features of a store into a published layout: `.hdf5`, `.h5` or `.npz`.

    Frames of insets are left out, as these layouts have none. Neither layout says which model the
    features are of.

    Args:
        progress: called with (videos written, videos in all).

    Returns:
        Number of videos.

    Raises:
        InputError: another extension, a file that is there already, or ids that HDF5 has no names
            for.
        StoreError: the store cannot be read, or the file cannot be written.
    """
    target = Path(target)
    writers = {".hdf5": _write_hdf5, ".h5": _write_hdf5, ".npz": _write_npz}
    if target.suffix.lower() not in writers:
        raise InputError(f"{target}: a feature file ends in .hdf5, .h5 or .npz")
    if target.exists():
        raise InputError(f"{target}: is there already; remove it or choose another name")
    with open_store(source) as store, named_errors(target):
        return writers[target.suffix.lower()](store, target, progress)


def _write_hdf5(store: FeatureStore, target: Path, progress: Progress | None) -> int:
    import h5py

    _check_names(store)
    with atomic_write(target, "w+b") as opened, h5py.File(opened, "w") as file:
        for done, (video_id, vectors, _) in enumerate(_own_frames(store), 1):
            file.create_dataset(
                video_id, data=vectors, dtype="f4", compression="gzip", compression_opts=_GZIP_LEVEL
            )
            if progress is not None:
                progress(done, len(store))
    return len(store)


def _write_npz(store: FeatureStore, target: Path, progress: Progress | None) -> int:
    """A row has length 1: all descriptors of a frame one after the other."""
    names: list[str] = []
    rows, times = [], []
    for done, (video_id, vectors, seconds) in enumerate(_own_frames(store), 1):
        names += [video_id] * len(seconds)
        rows.append(vectors.reshape(len(vectors), -1) / np.float32(vectors.shape[1] ** 0.5))
        times.append(seconds)
        if progress is not None:
            progress(done, len(store))
    content = io.BytesIO()
    np.savez(
        content,
        video_ids=np.array(names),
        timestamps=np.concatenate(times),
        features=np.concatenate(rows),
    )
    with atomic_write(target) as file:
        file.write(content.getbuffer())
    return len(store)


def _own_frames(store: FeatureStore) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Id, vectors float32 [T, R, C] and seconds [T] of each video, without insets."""
    if not len(store):
        raise InputError(f"{store.path}: holds no video to export")
    for video_id in store.ids:
        own = store.record(video_id).own_frames
        features = store.read(video_id)
        yield video_id, features.vectors[:own].astype(np.float32), features.seconds[:own]


def _check_names(store: FeatureStore) -> None:
    """HDF5 takes `/` for groups, and `.` for the group itself."""
    names = set(store.ids)
    for video_id in store.ids:
        parts = video_id.split("/")
        if not all(parts) or "." in parts:
            raise InputError(
                f"{store.path}: id {video_id!r} is no name in HDF5; export to .npz, or store the "
                "video under another id"
            )
        above = (os.path.join(*parts[:n]) for n in range(1, len(parts)))
        if clash := next((name for name in above if name in names), None):
            raise InputError(
                f"{store.path}: id {clash!r} would be a dataset, and a group for {video_id!r}; "
                "export to .npz, or store one of them under another id"
            )
