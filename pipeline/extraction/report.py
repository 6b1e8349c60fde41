"""What stage one did, kept up to date while it runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ..decode import DecodeStats
from ..records import Failure


@dataclass(repr=False)
class ExtractReport:
    """What stage one did; kept up to date while it runs.

    Attributes:
        listed: videos in the list; already: of these, stored before this run; todo: the rest.
        stored: ids committed in this run; notes: id -> remark, of those that have one.
        failures: id -> why, of this run.
        known_failures: id -> why, failed in an earlier run and not tried again.
        changed: id -> what differs, of those that were there already and whose file has another
            size or time now; their features stay as they are.
        refused: id -> what differs, of those whose id is that of a stored file of another folder;
            they are not stored.
        moved: id -> path it was stored from, of those that were there already and whose file has
            the same name and size in another folder, but another time.
        other_files: id -> path it was stored from, of those that were there already and are
            listed with a file of another name.
        unreadable: path -> why, of folders and files below a listed folder.
        left_out: extension -> files below a listed folder that were not taken, or are no videos.
        links: to folders, below a listed folder, that were not followed.
        store_notes: what a person should know of the store as it was found.
        insets: pictures within the picture that were looked for, at most; older_insets: by an
            older rule, which finds fewer, as the store was begun with it.
        frames: sampled frames that went through the network, pictures within them included;
            `decode` has their numbers apart.
        frames_left: about how many are still to come, judged by the durations that the files
            begun so far claim.
        network_seconds, seconds: time in the network, and wall time.
        decode: what decoding did; its `starved_seconds` are the time that the network waited.
    """

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
    older_insets: bool = False
    frames: int = 0
    frames_left: float = 0.0
    network_seconds: float = 0.0
    seconds: float = 0.0
    decode: DecodeStats = field(default_factory=DecodeStats)

    def __repr__(self) -> str:
        failed = len(self.failures) + len(self.known_failures)
        return (
            f"<ExtractReport: {self.listed} listed, {len(self.stored)} stored, {self.already} were "
            f"there, {failed} failed, {len(self.changed)} changed, {len(self.refused)} refused; "
            f"{self.frames} frames in {self.seconds:.1f} s>"
        )

    @property
    def complete(self) -> bool:
        """Every listed video is stored as its file is now, and nothing was unreadable."""
        lacking = (self.failures, self.known_failures, self.changed, self.refused, self.unreadable)
        return not any(lacking)
