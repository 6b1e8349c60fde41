"""Brings a candidate index up to date with its store."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import StorageError, StoreError
from ..objects import is_url
from ..scratch import scratch_folder
from ..store import FeatureStore
from ..store.locks import WriterLock
from ..store.video_check import are_plausible
from . import engine
from .bucket_index import local_index, publish
from .codes import IndexRule
from .file import (
    CODES_SUFFIX,
    HEADER,
    ROW,
    DamagedIndexError,
    IndexHeader,
    append_to_file,
    check_files,
    checksum,
    index_folder,
    map_file,
    read_header,
    read_rows,
    remove_unnamed,
    require_same_rule,
    seal_of,
    write_file,
    write_header,
)

Progress = Callable[[int, int], None]
_BATCH_VIDEOS = 64  # more take more memory, which costs as much time as reading does
_READERS = 32  # threads that may read ahead from one store, so that what they read stays at hand
_WASTE = 0.25  # of all codes: so many of videos that are gone, or beside the inverted lists
_SEED = 0


@dataclass(frozen=True)
class IndexReport:
    """What was done to a candidate index.

    Attributes:
        folder: of the index.
        videos, codes: that it holds now.
        added, removed: videos; a replaced one counts as both.
        rebuilt: why it was made anew; empty if it was not.
        damaged: a line for each video that could not be read and is not in the index.
        inverted: it is kept by FAISS; else codes are compared one by one.
        bytes: of its files.
        seconds: wall time.
    """

    folder: Path
    videos: int
    codes: int
    added: int
    removed: int
    rebuilt: str
    damaged: tuple[str, ...]
    inverted: bool
    bytes: int
    seconds: float


def update_index(
    store: FeatureStore,
    rule: IndexRule,
    *,
    exact_codes: int = engine.EXACT_CODES,
    progress: Progress | None = None,
) -> IndexReport:
    """Make the candidate index of a store, or bring it up to date.

    New videos are added, videos that are gone or were replaced are taken out, and a damaged index
    is made anew. Until the end the old index is there.

    Args:
        store: open.
        rule: of the model that made the store, or of a coarse student.
        exact_codes: an index with more codes is kept by FAISS, where that is installed.
        progress: called with (videos done, videos) of those that are read.

    Raises:
        FingerprintMismatchError: the index was made from features of another model, or by another
            rule.
        StoreLockedError: another process is writing the index.
        StoreError: it cannot be written.
    """
    begin = time.perf_counter()
    if is_url(store.path):
        report = _update_in_bucket(store, rule, exact_codes, progress)
        return replace(report, seconds=time.perf_counter() - begin)
    folder = index_folder(store.path)
    try:
        folder.mkdir(exist_ok=True)
        lock = WriterLock(folder)
        try:
            report = _Update(store, rule, folder, exact_codes, progress).run()
        finally:
            lock.release()
    except OSError as error:
        raise StoreError(
            f"{folder}: the candidate index cannot be written: {error.strerror or error}"
        ) from error
    return replace(report, seconds=time.perf_counter() - begin)


def _update_in_bucket(
    store: FeatureStore, rule: IndexRule, exact_codes: int, progress: Progress | None
) -> IndexReport:
    """Bring a copy of the index up to date and put it into the bucket, if anything changed."""
    with scratch_folder() as scratch:
        folder, old = Path(scratch, "index"), local_index(store)
        if old.is_dir():
            shutil.copytree(old, folder)
        else:
            folder.mkdir()
        before = _header_bytes(folder)
        report = _Update(store, rule, folder, exact_codes, progress).run()
        if _header_bytes(folder) != before:
            publish(store, folder)
    return replace(report, folder=index_folder(store.path))


def _header_bytes(folder: Path) -> bytes:
    return (folder / HEADER).read_bytes() if (folder / HEADER).exists() else b""


def fingerprints(store: FeatureStore) -> np.ndarray:
    """A number for each video of a store that changes when its features do, uint64."""
    digests = (
        hashlib.blake2b(
            f"{video_id}\0{store.checksum(video_id)}".encode("utf-8", "surrogatepass"),
            digest_size=8,
        ).digest()
        for video_id in store
    )
    return np.frombuffer(b"".join(digests), "<u8")


def match_rows(rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """For each fingerprint its row, intp, or -1.

    Args:
        rows: of `ROW`; those of videos that are gone do not count.
        wanted: uint64 fingerprints.
    """
    alive = np.flatnonzero(rows["number"] >= 0)
    if not len(alive):
        return np.full(len(wanted), -1, np.intp)
    known = rows["fingerprint"][alive]
    order = np.argsort(known, kind="stable")
    place = np.minimum(np.searchsorted(known[order], wanted), len(alive) - 1)
    found = order[place]
    return np.where(known[found] == wanted, alive[found], -1).astype(np.intp)


def read_codes(
    store: FeatureStore, rule: IndexRule, video_ids: Sequence[str]
) -> Iterator[tuple[np.ndarray, np.ndarray, list[str]]]:
    """The codes of videos, some hundred videos at a time.

    Returns:
        Of each batch what `read_batch` returns.
    """
    for start in range(0, len(video_ids), _BATCH_VIDEOS):
        yield read_batch(store, rule, video_ids[start : start + _BATCH_VIDEOS])


def read_batch(
    store: FeatureStore, rule: IndexRule, video_ids: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The codes of some videos.

    Returns:
        Float32 [n, D]; codes of each video, int64; and a line for each video that is damaged and
        has none.
    """
    first, last = rule.span
    codes, counts, lines = [np.empty((0, rule.values), np.float32)], [], list[str]()
    for video_id in _read_ahead(store, video_ids):
        frames = rule.frames(store.frames(video_id), store.insets(video_id), store.spec.fps)
        try:
            read = store.read_descriptors(video_id, frames, first, last)
            if not are_plausible(read):
                raise StoreError(f"{store.path}: video {video_id!r} holds impossible values")
            codes.append(rule.database_codes(read))
            counts.append(len(codes[-1]))
        except StorageError:  # no damage: an index without these videos would look whole
            raise
        except StoreError as error:
            counts.append(0)
            lines.append(str(error))
    return np.concatenate(codes), np.array(counts, np.int64), lines


def _read_ahead(store: FeatureStore, video_ids: Sequence[str]) -> Iterator[str]:
    """The videos again, each once a store over a network has read it with those that follow."""
    if not store.ahead_bytes:  # on a disk a call for each video costs more than it saves
        yield from video_ids
        return
    begin = 0
    while begin < len(video_ids):
        end, size = begin, 0
        while end < len(video_ids) and (end == begin or size < store.ahead_bytes // _READERS):
            size += store.frames(video_ids[end]) * store.frame_bytes
            end += 1
        group = video_ids[begin:end]
        store.prefetch([(video_id, 0, store.frames(video_id)) for video_id in group])
        yield from group
        begin = end


class _Update:
    """One run of `update_index`; the lock is held."""

    def __init__(
        self,
        store: FeatureStore,
        rule: IndexRule,
        folder: Path,
        exact_codes: int,
        progress: Progress | None,
    ) -> None:
        self.store, self.rule, self.folder = store, rule, folder
        self.exact_codes, self.progress = exact_codes, progress
        self.damaged: list[str] = []
        self.rebuilt = ""

    def run(self) -> IndexReport:
        header, rows = self._load()
        wanted = fingerprints(self.store)
        place = match_rows(rows, wanted)
        kept = np.zeros(len(rows), bool)
        kept[place[place >= 0]] = True
        removed = int((~kept & (rows["number"] >= 0)).sum())
        new = np.flatnonzero(place < 0)
        rows = rows.copy()
        rows["number"] = -1
        rows["number"][place[place >= 0]] = np.flatnonzero(place >= 0)
        same = header.seal == seal_of(self.store) and header.student == self.rule.student
        if not len(new) and not removed and same and not self.rebuilt:
            return self._report(header, 0, 0)
        if self._too_scattered(header, rows, new):
            return self._rebuilt(wanted, removed, len(new))
        header = self._with_new(header, rows, wanted, new)
        write_header(self.folder, header)
        remove_unnamed(self.folder, header)
        return self._report(header, len(new), removed)

    def _load(self) -> tuple[IndexHeader, np.ndarray]:
        """The index that is there, or an empty one."""
        try:
            header = read_header(self.folder)
            if header is not None:
                require_same_rule(header, self.store, self.rule)
                rows = read_rows(self.folder, header)
                check_files(self.folder, header)
                return header, rows
        except DamagedIndexError as error:
            self.rebuilt = str(error).partition(": the candidate index is damaged: ")[2]
        return self._empty((-1, 0, 0)), np.empty(0, ROW)

    def _empty(self, seal: tuple[int, int, int]) -> IndexHeader:
        return IndexHeader(
            self.store.spec.digest,
            self.rule.name,
            self.rule.values,
            seal,
            _last_generation(self.folder),
            student=self.rule.student,
        )

    def _too_scattered(self, header: IndexHeader, rows: np.ndarray, new: np.ndarray) -> bool:
        """Whether it is better to make all codes anew than to add those of `new`."""
        gone = int(rows["codes"][rows["number"] < 0].sum())
        if gone > _WASTE * max(1, header.codes):
            return True
        beside = header.codes - header.inverted + self._expected_codes(new)
        return self._wants_lists(beside + header.inverted) and beside > _WASTE * header.inverted

    def _wants_lists(self, codes: int) -> bool:
        """Whether an index of so many codes is kept by FAISS."""
        least = max(self.exact_codes, engine.MIN_INVERTED_CODES)
        return self.rule.divisible and codes > least and engine.faiss_module() is not None

    def _expected_codes(self, numbers: np.ndarray) -> int:
        ids, store = self.store.ids, self.store
        alike = Counter((store.frames(ids[n]), store.insets(ids[n])) for n in numbers.tolist())
        return sum(
            videos * len(self.rule.frames(frames, insets, store.spec.fps))
            for (frames, insets), videos in alike.items()
        )

    def _with_new(
        self, header: IndexHeader, rows: np.ndarray, wanted: np.ndarray, new: np.ndarray
    ) -> IndexHeader:
        """Add the codes of new videos; the header is not written yet."""
        ids = self.store.ids
        fresh = np.empty(len(new), ROW)
        fresh["fingerprint"], fresh["number"] = wanted[new], new
        known = header.files.get("codes")
        generation, done = header.generation + 1, 0
        if known is None:
            known = write_file(self._codes_file(generation), np.empty(0, np.int8))
        for codes, counts, lines in read_codes(self.store, self.rule, [ids[n] for n in new]):
            known = append_to_file(self.folder / known[0], known, self.rule.stored(codes))
            fresh["codes"][done : done + len(counts)] = counts
            self._tell(lines, done := done + len(counts), len(new))
        rows = np.concatenate([rows, fresh])
        files = dict(header.files)
        files["codes"] = known
        files["rows"] = write_file(self.folder / f"rows-{generation}.bin", rows)
        return replace(
            header,
            seal=seal_of(self.store),
            student=self.rule.student,
            generation=generation,
            videos=len(rows),
            codes=int(rows["codes"].sum()),
            files=files,
        )

    def _rebuilt(self, wanted: np.ndarray, removed: int, added: int) -> IndexReport:
        """Make the index anew from the store."""
        empty = self._empty(seal_of(self.store))
        every = np.arange(len(self.store))
        codes = self._expected_codes(every)
        if self._wants_lists(codes):
            header = self._inverted(empty, wanted, codes)
        else:
            header = self._with_new(empty, np.empty(0, ROW), wanted, every)
        write_header(self.folder, header)
        remove_unnamed(self.folder, header)
        return self._report(header, added, removed)

    def _inverted(self, header: IndexHeader, wanted: np.ndarray, codes: int) -> IndexHeader:
        """All codes in FAISS's lists, which are trained on a sample of them."""
        ids, generation = self.store.ids, header.generation + 1
        rows = np.empty(len(ids), ROW)
        rows["fingerprint"], rows["number"] = wanted, np.arange(len(ids))
        starts = range(0, len(ids), _BATCH_VIDEOS)
        lines: dict[int, list[str]] = {}

        def read(start: int) -> np.ndarray:
            end = start + _BATCH_VIDEOS
            batch, rows["codes"][start:end], lines[start] = read_batch(
                self.store, self.rule, ids[start:end]
            )
            return batch

        def done(number: int) -> None:
            start = starts[number]
            self._tell(lines.pop(start), min(start + _BATCH_VIDEOS, len(ids)), len(ids))

        path = self.folder / f"inverted-{generation}.faiss"
        batches = [partial(read, start) for start in starts]
        engine.build_inverted(self._sample(codes), batches, codes, path, done)
        size = path.stat().st_size
        files = {
            "inverted": (path.name, size, checksum(np.memmap(path, np.uint8, "r"))),
            "codes": write_file(self._codes_file(generation), np.empty(0, np.int8)),
            "rows": write_file(self.folder / f"rows-{generation}.bin", rows),
        }
        total = int(rows["codes"].sum())
        return replace(
            header,
            generation=generation,
            videos=len(rows),
            codes=total,
            inverted=total,
            files=files,
        )

    def _codes_file(self, generation: int) -> Path:
        return self.folder / f"codes-{generation}{CODES_SUFFIX[self.rule.dtype]}"

    def _sample(self, codes: int) -> np.ndarray:
        """Codes of some videos, to train on."""
        ids = self.store.ids
        share = min(1.0, 1.1 * engine.training_codes(codes) / codes)
        count = max(1, round(share * len(ids)))
        chosen = np.sort(np.random.default_rng(_SEED).choice(len(ids), count, replace=False))
        parts = read_codes(self.store, self.rule, [ids[n] for n in chosen.tolist()])
        return np.concatenate([batch for batch, _, _ in parts])

    def _tell(self, lines: list[str], done: int, total: int) -> None:
        self.damaged += lines
        if self.progress:
            self.progress(done, total)

    def _report(self, header: IndexHeader, added: int, removed: int) -> IndexReport:
        return IndexReport(
            self.folder,
            len(self.store),
            header.codes,
            added,
            removed,
            self.rebuilt,
            tuple(self.damaged),
            header.inverted > 0,
            sum(size for _, size, _ in header.files.values()),
            0.0,
        )


def _last_generation(folder: Path) -> int:
    """The highest number that a file of the index has, so that no file is written twice."""
    names = [path.stem.partition("-")[2] for path in folder.glob("*-*.*")]
    return max((int(name) for name in names if name.isdecimal()), default=0)


def mapped_codes(folder: Path, header: IndexHeader, rule: IndexRule) -> np.ndarray:
    """The codes beside the inverted lists, [n, D] of the rule's `dtype`, memory-mapped."""
    return map_file(folder, header, "codes").view(rule.dtype).reshape(-1, header.values)
