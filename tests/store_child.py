"""The process that the kill test kills: works through a list of operations on one store.

`python -m tests.store_child PATH OPERATIONS` starts where the store says it was left, and prints
the number of the last operation after every commit.
"""

from __future__ import annotations

import sys
from pathlib import Path

import h5py  # noqa: F401  before "ready", so that kills hit work rather than imports
import zarr  # noqa: F401

from pipeline.records import Failure
from pipeline.store import StoreWriter, create_or_append
from pipeline.store.limits import Limits
from tests.store_helpers import SPEC, add, source_of

ROW = SPEC.shared_descriptors * SPEC.dims * 2
IDS = 40


def kind_of(operation: int) -> str:
    """Mostly puts, so that most are replacements once all ids are there."""
    if operation % 11 == 7:
        return "remove"
    return "fail" if operation % 13 == 5 else "put"


def id_of(operation: int) -> str:
    return f"dir/video {operation * 7 % IDS}"


def frames_of(operation: int) -> int:
    """Mostly short, some beyond the buffer."""
    return 150 if operation % 5 == 0 else 1 + operation % 17


def expected(operations: int) -> tuple[dict[str, int], dict[str, int]]:
    """({id: operation that stored it}, {id: operation that failed it}) after so many."""
    videos: dict[str, int] = {}
    failures: dict[str, int] = {}
    for operation in range(operations):
        video_id, kind = id_of(operation), kind_of(operation)
        if kind == "fail":
            failures[video_id] = operation
            continue
        failures.pop(video_id, None)
        if kind == "put":
            videos[video_id] = operation
        else:
            videos.pop(video_id, None)
    return videos, failures


def next_operation(writer: StoreWriter) -> int:
    notes = [writer.record(i).note for i in writer.ids]
    notes += [failure.detail for failure in writer.failures.values()]
    return 1 + max((int(note) for note in notes), default=-1)


def run(writer: StoreWriter, operation: int) -> None:
    video_id, kind = id_of(operation), kind_of(operation)
    if kind == "put":
        add(writer, video_id, operation, frames_of(operation), piece=16, note=str(operation))
    elif kind == "fail":
        writer.fail(Failure(video_id, "missing", str(operation), source_of(operation)))
    elif video_id in writer or video_id in writer.failures:
        writer.remove(video_id)


def main(path: Path, operations: int) -> None:
    limits = Limits(buffer_bytes=60 * ROW, chunk_bytes=30 * ROW)
    print("ready", flush=True)
    with create_or_append(path, SPEC, limits=limits) as writer:
        for operation in range(next_operation(writer), operations):
            run(writer, operation)
            if operation % 3 == 0:
                writer.commit()
                print(operation, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
