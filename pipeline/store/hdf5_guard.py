"""Checks of a file that only the HDF5 library can make, in a separate process.

The library may crash on a damaged or crafted file, run for ever or fill the memory. In a process
with a limit of processor time and memory that costs a message, not the run.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..child_python import child_command
from ..errors import StoreError
from .locks import lock_shared, unlock

CPU_SECONDS_PER_DATASET = (
    0.02  # for each dataset, ten times what it takes; see `Limits.check_seconds`
)
MEMORY = 1 << 30  # bytes of address space, and for each dataset:
MEMORY_PER_DATASET = 2048
_START = f"from {__package__}.hdf5_child import main; main()"
_checked: dict[tuple[int, int], tuple[int, int, int]] = {}

# Id, key, shape of the vectors, offsets of vectors and seconds.
ExpectedVideo = tuple[str, str, tuple[int, ...], tuple[int, ...]]


def check_layout(
    path: Path, fd: int, expected: Sequence[ExpectedVideo], cpu_seconds: float
) -> list[str]:
    """List what the HDF5 library finds wrong in a store's datasets, one line each.

    Args:
        path, fd: the file, open.
        expected: what the manifest says of every video.
        cpu_seconds: see `Limits.check_seconds`.
    """
    lock_shared(fd)
    try:
        answer = _ask(path, fd, {"task": "layout", "videos": expected}, cpu_seconds)
    except StoreError as error:
        return [str(error)]
    finally:
        unlock(fd)
    return [str(line) for line in answer]


def require_sound(path: Path, fd: int, datasets: int, cpu_seconds: float) -> None:
    """Let the library change a copy of the file's metadata in memory, as a writer does.

    A file that this process has written or checked, and that has not changed since, is not checked
    again.

    Args:
        path, fd: the file, open; the caller holds the lock for writing.
        datasets: about so many are in it.
        cpu_seconds: see `Limits.check_seconds`.

    Raises:
        StoreError: it cannot be changed by the library without harm.
    """
    if _checked.get(_name(fd)) != _state(fd):
        job = {"task": "append", "videos": [], "datasets": datasets}
        for problem in _ask(path, fd, job, cpu_seconds):
            raise _unsound(path, str(problem))
        note_sound(fd)


def note_sound(fd: int) -> None:
    """Remember the state of an open file that this process has written or checked."""
    _checked[_name(fd)] = _state(fd)


def note_sound_file(path: Path) -> None:
    """The same for a file that this process has made."""
    with path.open("rb") as file:
        note_sound(file.fileno())


def _ask(path: Path, fd: int, job: dict[str, Any], cpu_seconds: float) -> list[Any]:
    count = 2 * max(len(job["videos"]), job.get("datasets", 0))
    job |= {
        "path": os.fspath(path.absolute()),
        "name": _name(fd),
        "cpu": cpu_seconds + count * CPU_SECONDS_PER_DATASET,
        "memory": MEMORY + count * MEMORY_PER_DATASET,
    }
    # One thread of the linear algebra library that NumPy loads: each takes address space.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            child_command(_START),
            input=json.dumps(job).encode(),
            capture_output=True,
            env=environment,
            check=False,
        )
    except OSError as error:
        raise StoreError(f"{path}: cannot start a process to check it: {error}") from error
    with contextlib.suppress(ValueError):
        answer = json.loads(done.stdout)
        if done.returncode == 0 and isinstance(answer, list):
            return answer
    raise _unsound(path, _how_it_ended(done.returncode, done.stderr))


def _how_it_ended(code: int, stderr: bytes) -> str:
    if code == -getattr(signal, "SIGXCPU", 0) or code == -getattr(signal, "SIGKILL", 0):
        return "the HDF5 library does not come to an end with it"
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    if code < 0 or not lines:
        return f"the HDF5 library crashes on it, by signal {-code}"
    return f"the HDF5 library fails on it: {lines[-1][:300]}"


def _unsound(path: Path, what: str) -> StoreError:
    return StoreError(
        f"{path}: damaged, or not written by this program ({what}); copy it again from where it "
        "came from, or copy what can be read of it into a new store (`visil-index copy`)"
    )


def _name(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _state(fd: int) -> tuple[int, int, int]:
    status = os.fstat(fd)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
