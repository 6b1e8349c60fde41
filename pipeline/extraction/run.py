"""Stage one: videos in, feature store out. Knows nothing of stage two.

Decoding runs in its own processes; this one fills fixed-size batches with frames of whatever
videos are under way, runs the network and hands the region vectors to the store. A video counts
as done when the store has committed it, never before.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from ..errors import InputError
from ..inputs import Listing, printable
from ..records import Failure, InsetRule, SourceInfo, VideoRef
from ..store import StoreWriter, VideoWriter, create_or_append, read_spec
from ..video import RULES
from .batching import Batcher, FrameBatch, Slot
from .plan import choose_insets, first_missing, places, plan, refuse_missing
from .report import ExtractReport

if TYPE_CHECKING:
    from ..nets.extractor.feature_net import FeatureNet

REPLACE = ("never", "changed", "all")
_NO_VIDEO = ("not_a_video", "no_video_stream", "empty")  # of a file with an unknown extension


class Progress(Protocol):
    """What stage one tells while it works; all counts are of this run."""

    def __call__(self, report: ExtractReport) -> None: ...


def extract_features(
    videos: Sequence[VideoRef],
    store: str | Path,
    net: FeatureNet,
    config: ExtractConfig | None = None,
    retry_failed: bool = False,
    replace: str = "never",
    progress: Progress | None = None,
) -> ExtractReport:
    """Bring a store up to date with a list: only what is not stored yet is decoded.

    Args:
        videos: what should be in the store, ids unique; also what `inputs.scan_folder` gives.
        store: path ending in .h5, .hdf5 or .zarr; made if it does not exist. Without dtype or
            insets in the settings an existing one goes on as it is; a new one keeps float16, and
            insets as the model asks for.
        net: the feature network; its digest becomes part of the store's fingerprint.
        retry_failed: try again all that failed in an earlier run; without it only what was
            missing, and files that have another size or time than when they failed.
        replace: "never" names files that have another size or time than when they were stored;
            "changed" redoes them; "all" redoes every listed video. Only "all" lets a file of
            another folder and another size take a stored video's id (`report.refused`).
        progress: called after every batch and commit.

    Raises:
        InputError: an unknown word for `replace`; or the first 100 listed files are all missing.
        FingerprintMismatchError: the store holds features made with other settings.
        StoreLockedError: another process is writing to it.
        StoreError: it cannot be written; what was committed stays.
    """
    if replace not in REPLACE:
        raise InputError(f"replace is {replace!r}, expected one of {REPLACE}")
    missing = first_missing(videos)
    if missing and not Path(store).exists():
        refuse_missing(videos, videos, {})
    config = config or ExtractConfig()
    spec = net.spec(config.fps, RULES[config.sampling])
    stored = read_spec(store).inset_rule if Path(store).exists() else None
    insets = choose_insets(config, net.insets, stored)
    spec = with_fields(spec, mirrored=config.mirrored, insets=str(insets))
    provenance = {"precision": net.precision, "model_name": net.name}
    with create_or_append(store, spec, config.dtype, provenance) as writer:
        todo, report = plan(videos, writer, retry_failed, replace)
        report.store_notes = list(writer.notes)
        if missing:
            refuse_missing(videos, todo, writer.failures)
        report.insets = insets.limit
        report.older_insets = insets != InsetRule(limit=insets.limit)
        run = _Run(todo, places(videos, writer), writer, net, config, report, progress)
        run.unsure = videos.unsure if isinstance(videos, Listing) else ()
        if todo:
            run.work()
    return report


def _rooted(source: SourceInfo) -> SourceInfo:
    """With its full path: the same relative path may name another film in another directory."""
    if os.path.isabs(source.path):
        return source
    return with_fields(source, path=os.path.join(printable(os.getcwd()), source.path))


@dataclass
class _Open:
    """A video under way: frames still on their way through the network, and how it ended."""

    writer: VideoWriter
    expected: float
    received: int = 0
    pending: int = 0
    ended: Ended | None = None


class _Run:
    """One pass over the videos to do."""

    def __init__(
        self,
        todo: Sequence[VideoRef],
        places: Mapping[str, int],
        writer: StoreWriter,
        net: FeatureNet,
        config: ExtractConfig,
        report: ExtractReport,
        progress: Progress | None,
    ) -> None:
        self.todo, self.places = todo, places
        self.writer, self.net, self.config = writer, net, config
        self.report, self.progress = report, progress
        self.unsure: Collection[str] = ()
        self.open: dict[int, _Open] = {}
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
        ) as events:
            self.report.decode = events.stats
            for event in self._awaited(events):
                if isinstance(event, Started):
                    ref = self.todo[event.index]
                    opened = self.writer.begin(ref.id, _rooted(event.source), self.places[ref.id])
                    expected = max(1.0, event.source.duration * config.fps)
                    self.open[event.index] = _Open(opened, expected)
                    self.started += 1
                    self.expected += expected
                elif isinstance(event, Frames):
                    if (video := self.open.get(event.index)) is not None:
                        video.pending += len(event.seconds)
                        video.received += len(event.seconds) * (not event.inset)
                        self._infer(
                            batcher.add(event.index, event.seconds, event.images, event.inset)
                        )
                else:
                    self._end(event)
                self._commit_if_due()
        self._infer(batcher.flush())
        self._commit()

    def _awaited(self, events: DecodePool) -> Iterator[Event]:
        """The events; what is finished is committed in time also where none comes for long."""
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
            vectors = self.net(images)
            self.report.network_seconds += time.perf_counter() - begin
            self.report.frames += batch.valid
            at = 0
            for slot in batch.slots:
                self._append(slot, vectors[at : at + slot.count])
                at += slot.count
            self._tell()

    def _append(self, slot: Slot, vectors: np.ndarray) -> None:
        index = slot.index
        video = self.open.get(index)
        if video is None:  # it failed while its frames were waiting for a full batch
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
            return  # given up before its end
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
        """Taken on trial, as its extension is unknown, and no video."""
        extension = os.path.splitext(failure.source.path)[1].lower().removeprefix(".")
        self.report.left_out[extension] += 1
        self.report.listed -= 1
        self.report.todo -= 1

    def _fail(self, index: int, failure: Failure) -> None:
        video = self.open.pop(index, None)
        if video is not None:
            video.writer.abandon()
        failure = with_fields(failure, source=_rooted(failure.source))
        self.writer.fail(failure)
        self.report.failures[failure.id] = failure

    def _finish_if_complete(self, index: int) -> None:
        video = self.open[index]
        if video.ended is None or video.pending:
            return
        video.writer.finish(video.ended.note)
        if video.ended.note:
            self.report.notes[self.todo[index].id] = video.ended.note
        del self.open[index]

    def _commit_if_due(self) -> None:
        if time.perf_counter() - self.committed >= self.config.commit_seconds:
            self._commit()

    def _commit(self) -> None:
        self.report.stored += self.writer.commit()
        self.committed = time.perf_counter()
        self._tell()

    def _tell(self) -> None:
        self.report.seconds = time.perf_counter() - self.begin
        unstarted = self.report.todo - self.started - len(self.report.failures)
        self.report.frames_left = max(0, unstarted) * self.expected / max(1, self.started) + sum(
            max(0.0, v.expected - v.received) + v.pending for v in self.open.values()
        )
        if self.progress:
            self.progress(self.report)
