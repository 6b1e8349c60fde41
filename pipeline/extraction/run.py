"""Stage one: extracts features of videos into a store.

Other processes decode. This process collects frames of several videos in batches of a fixed size,
runs the network and writes the region vectors to the store. A video is done when the store has
committed it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as with_fields
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..config import ExtractConfig
from ..decode import (
    DecodePool,
    Ended,
    Event,
    Frames,
    Started,
    decode_videos,
)
from ..errors import InputError, MachineError
from ..inputs import Listing, printable_path
from ..objects import is_url
from ..records import Failure, SourceInfo, VideoRef
from ..store import (
    StoreWriter,
    Thumbnails,
    VideoWriter,
    create_or_append,
    is_parts,
    read_spec,
    store_exists,
    write_thumbnails,
)
from ..video import SAMPLING_RULES
from ..video.stills import encode_jpeg
from .batching import Batcher, FrameBatch, Slot
from .plan import (
    MIN_MISSING,
    choose_insets,
    first_files_missing,
    refuse_missing,
    report_insets,
    select_videos,
    store_positions,
)
from .report import ExtractReport
from .views import SparseViews, choose_view_step

if TYPE_CHECKING:
    from ..nets.extractor.feature_net import FeatureNet

THUMBNAIL_PIXELS, THUMBNAIL_BYTES = 72, 2000  # short side; at most
REPLACE = ("never", "changed", "all")
_NO_VIDEO = ("not_a_video", "no_video_stream", "empty")  # reasons that a file is no video


@dataclass(frozen=True)
class Shard:
    """A part of a list that one of many machines extracts.

    Attributes:
        places: by id, of the videos that are not stored, see `shards.listed_places`.
        name: of the job and the shard, for the names of parts.
    """

    places: Mapping[str, int]
    name: str


class Progress(Protocol):
    """A function that stage one calls while it runs, for example to print progress.

    It is called in the calling thread, after every batch and every commit, so keep it short. It
    gets the report of the run, which is the same object in every call and is returned in the end;
    all counts are of this run. An error that it raises ends the run; committed videos stay.
    """

    def __call__(self, report: ExtractReport) -> None: ...


def extract_features(
    videos: Sequence[VideoRef],
    store: str | Path,
    net: FeatureNet,
    config: ExtractConfig | None = None,
    *,
    retry_failed: bool = False,
    replace: str = "never",
    progress: Progress | None = None,
    shard: Shard | None = None,
) -> ExtractReport:
    """Bring a store up to date with a list of videos; decodes only videos that are not stored yet.

    Args:
        videos: the videos that the store shall hold, with unique ids; a list, or the result of
            `inputs.scan_folder`.
        store: path ending in .h5, .hdf5, .zarr or .parts, or the URL of a bucket; created if it
            does not exist. If the settings leave dtype and insets open, an existing store keeps its
            own; a new store has float16 and the insets of the model.
        net: the feature network; its digest becomes part of the store's fingerprint.
        config: settings; None for the defaults.
        retry_failed: try all videos again that failed in an earlier run; without it only files that
            were missing, and files whose size or time changed since.
        replace: "never" reports files whose size or time changed since they were stored; "changed"
            extracts these again, and objects with another ETag; "all" extracts every listed video
            again. Only with "all" may a file of another folder and another size take a stored
            video's id (`report.refused`).
        progress: called after every batch and every commit, see `Progress`.
        shard: `videos` are a shard of a list, and other machines may be at work on other shards.
            Then the store is one of parts, and many missing files end the run.

    Returns:
        The report of the run. A video that cannot be used raises nothing: it is in
        `report.failures`; `report.remarks()` lists everything that a person should know.

    Raises:
        InputError: `replace` is another word; or the first 100 listed files are all missing.
        FingerprintMismatchError: the store has features made with other settings.
        StoreLockedError: another process is writing to the store.
        StoreError: the store cannot be written; committed videos stay.
        MachineError: most files of a shard are missing; nothing is recorded of these.
    """
    if replace not in REPLACE:
        raise InputError(f"replace is {replace!r}, expected one of {REPLACE}")
    missing = first_files_missing(videos)
    exists = store_exists(store)
    if missing and not exists:
        refuse_missing(videos, videos, {})
    config = config or ExtractConfig()
    spec = net.spec(config.fps, SAMPLING_RULES[config.sampling])
    stored = read_spec(store) if exists else None
    insets = choose_insets(config, net.insets, stored.inset_rule if stored else None)
    spec = with_fields(spec, mirrored=config.mirrored, insets=str(insets))
    spec = spec.with_view_step(choose_view_step(config, stored))
    provenance = {"precision": net.precision, "model_name": net.name}
    name = shard.name if shard else ""
    with create_or_append(store, spec, config.dtype, provenance, name=name) as writer:
        if is_parts(store) and config.precision == "auto":
            _require_precision(writer, net.precision)
        todo, report = select_videos(videos, writer, retry_failed, replace)
        report.store, report.store_notes = str(store), [*writer.notes, *net.notes]
        report_insets(report, insets, config, net.insets)
        if missing:
            refuse_missing(videos, todo, writer.failures)
        run = _Run(todo, writer, net, config, report)
        run.positions = shard.places if shard else store_positions(videos, writer)
        run.progress, run.is_shard = progress, shard is not None
        run.unsure = videos.unsure if isinstance(videos, Listing) else ()
        if todo:
            run.work()
    return report


def _require_precision(writer: StoreWriter, precision: str) -> None:
    """Refuse to go on with another arithmetic than the job's, which `auto` may be here.

    Raises:
        MachineError: names the one to ask for.
    """
    recorded = writer.provenance.get("precision", precision)
    if recorded != precision:
        raise MachineError(
            f"{writer.path}: was begun in {recorded}, and this machine chose {precision}: give "
            f"--precision {recorded}"
        )


def _with_full_path(source: SourceInfo) -> SourceInfo:
    """Return the source with its full path; a relative one depends on the current directory."""
    if os.path.isabs(source.path) or is_url(source.path):
        return source
    return with_fields(source, path=os.path.join(printable_path(os.getcwd()), source.path))


@dataclass
class _OpenVideo:
    """A video that is being extracted: its frames in the network, and how decoding ended."""

    writer: VideoWriter
    expected: float
    received: int = 0
    pending: int = 0
    thumbnails: list[tuple[float, bytes]] = field(default_factory=list)
    ended: Ended | None = None


class _Run:
    """Extracts the chosen videos; one object per call of `extract_features`."""

    def __init__(
        self,
        todo: Sequence[VideoRef],
        writer: StoreWriter,
        net: FeatureNet,
        config: ExtractConfig,
        report: ExtractReport,
    ) -> None:
        self.todo, self.writer, self.net = todo, writer, net
        self.config, self.report = config, report
        self.positions: Mapping[str, int] = {}  # id -> position in the store
        self.progress: Progress | None = None
        self.unsure: Collection[str] = ()  # ids of files with an unknown extension
        self.is_shard = False
        self.missing: list[Failure] = []  # of a shard, held back until all is known
        self.superseded = 0
        self.open: dict[int, _OpenVideo] = {}
        self.network = SparseViews(net, writer.spec.view_step)
        self.started, self.expected = 0, 0.0
        self.begin = self.committed = time.perf_counter()

    def work(self) -> None:
        config = self.config
        batcher = Batcher(config.batch_size)
        with decode_videos(
            self.todo,
            self.net.preprocess,
            config.fps,
            workers=config.workers,
            stall_seconds=config.stall_seconds,
            idle_seconds=config.idle_seconds,
            min_frames=config.min_frames,
            max_pixels=config.max_pixels,
            memory_mb=config.decoder_memory_mb,
            sampling=config.sampling,
            hwaccel=config.hwaccel,
            insets=self.writer.spec.inset_rule,
            fetch_mb=config.fetch_mb,
        ) as events:
            self.report.decode = events.stats
            for event in self._events_with_commits(events):
                if isinstance(event, Started):
                    ref = self.todo[event.index]
                    opened = self.writer.begin(
                        ref.id, _with_full_path(event.source), self.positions[ref.id]
                    )
                    expected = max(1.0, event.source.duration * config.fps)
                    self.open[event.index] = _OpenVideo(opened, expected)
                    self.started += 1
                    self.expected += expected
                elif isinstance(event, Frames):
                    if (video := self.open.get(event.index)) is not None:
                        video.pending += len(event.seconds)
                        video.received += len(event.seconds) * (not event.inset)
                        self._keep_thumbnails(video, event)
                        self._infer(
                            batcher.add(event.index, event.seconds, event.images, event.inset)
                        )
                else:
                    self._end(event)
                self._commit_if_due()
        self._infer(batcher.flush())
        self._record_missing()
        self._commit()

    def _keep_thumbnails(self, video: _OpenVideo, frames: Frames) -> None:
        if self.config.thumbnails and not frames.inset:
            for second, image in zip(frames.seconds.tolist(), frames.images, strict=True):
                video.thumbnails.append(
                    (second, encode_jpeg(image, THUMBNAIL_PIXELS, THUMBNAIL_BYTES))
                )

    def _events_with_commits(self, events: DecodePool) -> Iterator[Event]:
        """Yield the events; commits finished videos in time, also while no event comes."""
        patience = min(max(0.1, self.config.commit_seconds), 60.0)
        while True:
            while not events.wait(patience):
                self._commit_if_due()
            if (event := next(events, None)) is None:
                return
            yield event

    def _infer(self, batches: Iterable[FrameBatch]) -> None:
        for batch in batches:
            begin = time.perf_counter()
            images = batch.images[: batch.valid]
            if self.config.mirrored:
                images = np.ascontiguousarray(images[:, :, ::-1])
            vectors = self.network(images, batch.slots)
            self.report.network_seconds += time.perf_counter() - begin
            self.report.frames += batch.valid
            at = 0
            for slot in batch.slots:
                self._append(slot, vectors[at : at + slot.count])
                at += slot.count
            self._report_progress()

    def _append(self, slot: Slot, vectors: np.ndarray) -> None:
        index = slot.index
        video = self.open.get(index)
        if video is None:  # the video failed while its frames waited for a full batch
            return
        if not np.isfinite(vectors).all():
            detail = f"the network gives no finite values for it in {self.net.precision}"
            if self.net.precision != "float32":
                detail += "; try --precision float32 --retry_failed"
            failed = Failure(video.writer.id, "unsupported", detail, video.writer.source)
            self._fail(index, failed)
            return
        video.writer.append(vectors, slot.seconds, slot.inset)
        video.pending -= len(vectors)
        self._finish_if_complete(index)

    def _end(self, event: Ended) -> None:
        if self.todo[event.index].id in self.report.failures:
            return  # the video failed before its end
        if event.failure is not None and self._is_no_video(event.failure):
            self._leave_out(event.failure)
        elif event.failure is not None:
            self._fail(event.index, event.failure)
        else:
            self.open[event.index].ended = event
            self._finish_if_complete(event.index)

    def _is_no_video(self, failure: Failure) -> bool:
        return failure.id in self.unsure and failure.reason in _NO_VIDEO

    def _leave_out(self, failure: Failure) -> None:
        """Report a file with an unknown extension that turned out to be no video."""
        extension = os.path.splitext(failure.source.path)[1].lower().removeprefix(".")
        self.report.left_out[extension] += 1
        self.report.listed -= 1
        self.report.todo -= 1

    def _fail(self, index: int, failure: Failure) -> None:
        video = self.open.pop(index, None)
        self.network.forget(index)
        if video is not None:
            video.writer.abandon()
        failure = with_fields(failure, source=_with_full_path(failure.source))
        if self.is_shard and failure.reason == "missing":
            self.missing.append(failure)
        else:
            self.writer.fail(failure)
        self.report.failures[failure.id] = failure

    def _record_missing(self) -> None:
        """Record the missing files of a shard, unless they are so many that a disk is not there.

        Raises:
            MachineError: they are.
        """
        if len(self.missing) >= max(MIN_MISSING, len(self.todo) // 2):
            first = printable_path(self.missing[0].source.path)
            raise MachineError(
                f"{len(self.missing)} of {len(self.todo)} files are missing on this machine, such "
                f"as {first}: mount their disk, then run the same command again. Nothing was "
                "recorded of these"
            )
        for failure in self.missing:
            self.writer.fail(failure)

    def _finish_if_complete(self, index: int) -> None:
        video = self.open[index]
        if video.ended is None or video.pending:
            return
        video.writer.finish(video.ended.note)
        if video.thumbnails:
            seconds, pictures = zip(*video.thumbnails, strict=True)
            checksum = self.writer.checksum(video.writer.id)
            pack = Thumbnails(np.array(seconds), pictures)
            write_thumbnails(self.writer.path, video.writer.id, checksum, pack)
        if video.ended.note:
            self.report.notes[self.todo[index].id] = video.ended.note
        del self.open[index]
        self.network.forget(index)

    def _commit_if_due(self) -> None:
        if time.perf_counter() - self.committed >= self.config.commit_seconds:
            self._commit(more_follows=True)

    def _commit(self, *, more_follows: bool = False) -> None:
        self.report.stored += self.writer.commit(more_follows=more_follows)
        for video_id in self.writer.superseded[self.superseded :]:
            # Another machine stored it first, or knows that it failed.
            self.report.failures.pop(video_id, None)
            self.report.already += 1
            self.report.todo -= 1
        self.superseded = len(self.writer.superseded)
        self.committed = time.perf_counter()
        self._report_progress()

    def _report_progress(self) -> None:
        self.report.seconds = time.perf_counter() - self.begin
        unstarted = self.report.todo - self.started - len(self.report.failures)
        self.report.frames_left = max(0, unstarted) * self.expected / max(1, self.started) + sum(
            max(0.0, v.expected - v.received) + v.pending for v in self.open.values()
        )
        if self.progress:
            self.progress(self.report)
