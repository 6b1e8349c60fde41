"""Groups of duplicates -> JSON or CSV; which videos stay, which could be removed, and why."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from ..errors import InputError
from ..records import SourceInfo
from ..text import json_text
from .match import rounded_score, rounded_seconds
from .result_info import ResultInfo, beside, check_info_file, write_info
from .target import check_output_file, is_stream, opened_output

COLUMNS = (
    "group", "action", "id", "relation", "relation_to", "score", "coverage", "coverage_of_other",
    "decidable", "duration", "width", "height", "size", "modified", "path",
)  # fmt: skip
_EXTENSIONS = ".json", ".csv"


@dataclass(frozen=True)
class Stretch:
    """Seconds of a video that another video shows, and where the other one shows them."""

    start: float
    end: float
    other_start: float
    other_end: float
    score: float


@dataclass(frozen=True)
class Relation:
    """How a video relates to another one of its group.

    Attributes:
        kind: `copy`: each side shows nearly all of the other; `contained in`, `contains`: one side
            does; `overlap`: both have more; `unlocated`: the score reaches the threshold, but no
            matching segment was found.
        other: id of the other video.
        score: of the pair.
        coverage, other_coverage: share of the video, and of the other one, that lies in matching
            segments, from 0 to 1.
        stretches: these segments, the most certain first.
        decidable: False where the shorter video stands still or repeats itself: its times are then
            one answer of several.
    """

    kind: str
    other: str
    score: float
    coverage: float
    other_coverage: float
    stretches: tuple[Stretch, ...] = ()
    decidable: bool = True


@dataclass(frozen=True)
class GroupMember:
    """A video of a group.

    Attributes:
        id: of the video.
        keep: it stays; else a video that stays shows all of it.
        relation: to a video that stays; None where it is in no pair with an earlier one that does,
            as is the representative.
        source: the file, as the store tells.
        seconds: how long the video is.
    """

    id: str
    keep: bool
    relation: Relation | None
    source: SourceInfo
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """The member as the columns of CSV have it; None where nothing is known."""
        source, relation = self.source, self.relation
        return {
            "action": "keep" if self.keep else "remove",
            "id": self.id,
            "relation": relation.kind if relation else None,
            "relation_to": relation.other if relation else None,
            "score": rounded_score(relation.score) if relation else None,
            "coverage": _share(relation.coverage) if relation else None,
            "coverage_of_other": _share(relation.other_coverage) if relation else None,
            "decidable": relation.decidable if relation else None,
            "duration": rounded_seconds(self.seconds),
            "width": source.width or None,
            "height": source.height or None,
            "size": source.size if source.size >= 0 else None,
            "modified": _time(source.mtime_ns),
            "path": source.path,
        }


@dataclass(frozen=True)
class DuplicateGroup:
    """Videos that are connected by pairs above the threshold.

    Attributes:
        members: the representative first.
        pairs: (id, id, score) of all these pairs, the shorter video first.
    """

    members: tuple[GroupMember, ...]
    pairs: tuple[tuple[str, str, float], ...]

    @property
    def representative(self) -> GroupMember:
        """The video that stays whatever the others are."""
        return self.members[0]

    @property
    def removable(self) -> list[GroupMember]:
        """The videos that could be removed: a video that stays shows all of each."""
        return [member for member in self.members if not member.keep]


@dataclass(frozen=True)
class DuplicateReport:
    """What was found among the videos of a collection. Nothing was removed.

    Attributes:
        groups: in the order of their first videos.
        videos: that were compared, damaged ones left out.
        pairs: of videos that were compared.
        info: what the scores were made with.
        keep: of `config.KeepRule`.
        cover: share of a video from which on it counts as shown.
        damaged: a line for each video that was left out, naming store, id and what is wrong.
    """

    groups: tuple[DuplicateGroup, ...]
    videos: int
    pairs: int
    info: ResultInfo
    keep: str
    cover: float
    damaged: tuple[str, ...] = ()

    @property
    def removable(self) -> list[GroupMember]:
        """The videos of all groups that could be removed."""
        return [member for group in self.groups for member in group.removable]

    def info_dict(self) -> dict[str, Any]:
        """What was compared and how, as JSON has it."""
        info = self.info.as_dict()
        info.pop("top_k")
        return {
            **info,
            "keep": self.keep,
            "cover": self.cover,
            "videos": self.videos,
            "pairs": self.pairs,
            "damaged": list(self.damaged),
        }


def check_duplicates_file(path: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """Fail before the work, not after it, if the groups cannot be written.

    Args:
        path: see `write_duplicates`.
        inputs: see `target.check_output_file`.

    Raises:
        InputError: the extension is unknown, or the file cannot be written.
    """
    inputs = list(inputs)
    check_output_file(path, inputs, option="--output")
    chosen = _format(path)
    if chosen == ".csv" and not is_stream(path):
        check_info_file(beside(path), path, inputs)


def write_duplicates(path: str | Path, report: DuplicateReport) -> None:
    """Write the groups; the same groups give the same bytes.

    Args:
        path: ends in .json, or in .csv; that has a file `x.csv.info.json` beside it. A stream
            without extension gets JSON.
        report: what was found.

    Raises:
        InputError: the extension is unknown.
        PipelineError: the disk is full; a file that was there stays as it was.
        BrokenPipeError: nobody reads the pipe any more.
    """
    chosen = _format(path)
    with opened_output(path) as file:
        (_write_csv if chosen == ".csv" else _write_json)(file, report)
    if chosen == ".csv" and not is_stream(path):
        write_info(beside(path), {"format": "duplicates csv", **report.info_dict()})


def _format(path: str | Path) -> str:
    extension = Path(path).suffix.lower()
    if extension in _EXTENSIONS:
        return extension
    if is_stream(path) and not extension:
        return ".json"
    raise InputError(
        f"{path}: groups of duplicates are written as .json or .csv; give the file such a name"
    )


def _write_csv(file: IO[str], report: DuplicateReport) -> None:
    rows = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    rows.writeheader()
    for number, group in enumerate(report.groups, 1):
        for member in group.members:
            rows.writerow({"group": number, **_csv_values(member.as_dict())})


def _csv_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: str(v).lower() if isinstance(v, bool) else v for k, v in values.items()}


def _write_json(file: IO[str], report: DuplicateReport) -> None:
    head = {
        "format": "duplicates",
        **report.info_dict(),
        "removable": [member.id for member in report.removable],
    }
    lines = [f"{json_text(key)}: {json_text(value)}" for key, value in head.items()]
    file.write("{\n " + ",\n ".join(lines) + ',\n "groups": [')
    for number, group in enumerate(report.groups):
        file.write(",\n" if number else "\n")
        file.write("".join(_group_lines(group)))
    file.write("\n ]\n}\n")


def _group_lines(group: DuplicateGroup) -> Iterator[str]:
    yield '  {\n   "representative": ' + json_text(group.representative.id)
    members = [_member_json(member) for member in group.members]
    yield ',\n   "members": [\n    ' + ",\n    ".join(members) + "\n   ]"
    pairs: Sequence[str] = [json_text([a, b, rounded_score(s)]) for a, b, s in group.pairs]
    yield ',\n   "pairs": [\n    ' + ",\n    ".join(pairs) + "\n   ]\n  }"


def _member_json(member: GroupMember) -> str:
    values = member.as_dict()
    if member.relation:
        values["segments"] = [
            {
                key: rounded_score(value) if key == "score" else rounded_seconds(value)
                for key, value in asdict(stretch).items()
            }
            for stretch in member.relation.stretches
        ]
    return json_text(values)


def _share(share: float) -> float:
    return round(share, 4) + 0.0


def _time(nanoseconds: int) -> str | None:
    """Of a file, in UTC as ISO 8601 has it; None where it is unknown or no year of a calendar."""
    if not nanoseconds:
        return None
    try:
        return datetime.fromtimestamp(nanoseconds // 10**9, UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return None
