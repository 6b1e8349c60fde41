"""The report of stage one, which is updated while it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..decode import DecodeStats
from ..inputs import left_out_text
from ..records import Failure


@dataclass(repr=False)
class ExtractReport:
    """What stage one did with a list of videos; it is updated while stage one runs.

    Attributes:
        store: path of the store, as given.
        listed: number of videos in the list.
        already: number of these that were stored before this run.
        todo: number of these that this run decodes.
        stored: ids of videos committed in this run.
        notes: id -> what is wrong with a video that was stored nevertheless, as damage.
        failures: id -> why a video failed in this run.
        known_failures: id -> why a video failed in an earlier run; it was not tried again.
        changed: id -> what differs, for stored videos whose file has another size or time now;
            their features stay.
        refused: id -> what differs, for ids of stored files of another folder; the listed files
            are not stored.
        moved: id -> path at storing, for stored videos whose file has the same name and size in
            another folder, but another time.
        other_files: id -> path at storing, for stored videos that are listed with a file of
            another name.
        unreadable: path -> why, for folders and files below a listed folder.
        left_out: extension -> number of files below a listed folder that were skipped or are no
            videos.
        links: number of links to folders below a listed folder that were not followed.
        store_notes: what a person should know about the state of the store at the start.
        insets: largest number of insets per time that were detected.
        model_insets: number that the model is made for, if the settings leave it open; else equal
            to `insets`.
        older_insets: whether the store was made with an older rule that finds fewer insets.
        frames: number of sampled frames that went through the network, insets included; `decode`
            counts both separately.
        frames_left: estimated number of frames to come, by the durations of files started so far.
        network_seconds: seconds in the network.
        seconds: wall seconds of the run.
        decode: statistics of decoding; the network waited for `decode.starved_seconds`.
    """

    store: str = ""
    listed: int = 0
    already: int = 0
    todo: int = 0
    stored: list[str] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    known_failures: dict[str, Failure] = field(default_factory=dict)
    changed: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    other_files: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    links: int = 0
    store_notes: list[str] = field(default_factory=list)
    insets: int = 0
    model_insets: int = 0
    older_insets: bool = False
    frames: int = 0
    frames_left: float = 0.0
    network_seconds: float = 0.0
    seconds: float = 0.0
    decode: DecodeStats = field(default_factory=DecodeStats)

    @property
    def complete(self) -> bool:
        """Whether every listed video is stored as its file is now, and nothing was unreadable."""
        lacking = (self.failures, self.known_failures, self.changed, self.refused, self.unreadable)
        return not any(lacking)

    def remarks(self) -> list[str]:
        """List everything that a person should know about the run, one line each.

        The lines name the video, file or store and, where there is one, the remedy as an argument
        of `extract_features`. The list is empty if all went well.
        """
        return [*self.store_notes, *self._video_remarks(), *self._store_remarks()]

    def _video_remarks(self) -> Iterator[str]:
        for video_id, note in self.notes.items():
            yield f"{video_id}: {note}"
        for video_id, failure in self.failures.items():
            yield f"{video_id}: not stored ({failure.reason}): {failure.detail}"
        for video_id, failure in self.known_failures.items():
            yield (
                f"{video_id}: failed in an earlier run ({failure.reason}): {failure.detail}; "
                "retry_failed=True tries it again"
            )
        for video_id, text in self.changed.items():
            yield f"{video_id}: the file changed: {text}; replace='changed' extracts it again"
        for video_id, text in self.refused.items():
            yield f"{video_id}: not stored, as another film has this id: {text}; use id_prefix"
        for video_id, path in (self.moved | self.other_files).items():
            yield f"{video_id}: stored from {path}, taken for the same video; else use id_prefix"

    def _store_remarks(self) -> Iterator[str]:
        for path, why in self.unreadable.items():
            yield f"{path}: {why}"
        if text := left_out_text(self.left_out, self.links):
            yield f"left out: {text}; all_files, extensions and follow_links take them"
        if self.insets < self.model_insets:
            yield (
                f"{self.store}: made with at most {self.insets} insets per time and continued so; "
                f"the model is made for {self.model_insets}: make a new store to have them"
            )
        if self.older_insets:
            yield (
                f"{self.store}: made with an older rule for insets, which finds none that move, "
                "and continued so; make a new store to have them"
            )

    def __repr__(self) -> str:
        failed = len(self.failures) + len(self.known_failures)
        return (
            f"ExtractReport(store={self.store!r}, listed={self.listed}, already={self.already}, "
            f"stored={len(self.stored)}, failed={failed}, changed={len(self.changed)}, "
            f"refused={len(self.refused)}, frames={self.frames}, seconds={self.seconds:.1f})"
        )
