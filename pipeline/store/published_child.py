"""The process that reads a published feature file with the HDF5 library for `published.py`.

The first line of standard input is a job as JSON. The answer is the list of datasets. Then each
line asks for frames of one dataset. Every answer is its length, 8 bytes, and that many bytes; a
negative length stands before the text of an error.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from .plain_files import open_regular

MAX_CELLS = 1 << 40  # of a dataset: what is claimed beyond is no video
_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}
_OURS = ("manifest", "features")  # names in a store of this program
_BYTES_A_SECOND = 5e6  # that the slowest processor unpacks


def main() -> None:
    """Answer until standard input ends."""
    job = json.loads(sys.stdin.readline())
    limits = _Limits(job["cpu"], job["memory"])
    import h5py

    path = Path(job["path"])
    fd = open_regular(path, os.O_RDONLY)
    status = os.fstat(fd)
    if [status.st_dev, status.st_ino] != job["name"]:
        raise RuntimeError("it was replaced meanwhile: open it again")
    file = h5py.File(path, "r", locking=False)
    if "store" in file.attrs or all(name in file for name in _OURS):
        raise RuntimeError("it is a store of this program: leave out --as")
    _answer(json.dumps(_datasets(file)).encode())
    for line in sys.stdin:
        wanted = json.loads(line)
        limits.allow(job["cpu"] + wanted["bytes"] / _BYTES_A_SECOND)
        try:
            rows = file[wanted["name"]][wanted["start"] : wanted["stop"]]
            _answer(np.ascontiguousarray(rows, "<f4").data)
        except Exception as error:  # whatever the library raises is told
            _fail(f"{type(error).__name__}: {error}")
    sys.stdout.flush()
    os._exit(0)  # what the library does with a bad file when it closes is nobody's concern


class _Limits:
    """Limits of this process: memory at once, processor time anew for each request."""

    def __init__(self, cpu: float, memory: int) -> None:
        self._resource: Any = None
        try:
            import resource
        except ImportError:  # Windows has no such limits
            return
        self._resource = resource
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        self.allow(cpu)

    def allow(self, seconds: float) -> None:
        if self._resource is not None:
            used = self._resource.getrusage(self._resource.RUSAGE_SELF)
            limit = int(used.ru_utime + used.ru_stime + seconds) + 1
            hard = self._resource.getrlimit(self._resource.RLIMIT_CPU)[1]
            self._resource.setrlimit(self._resource.RLIMIT_CPU, (limit, hard))


def _datasets(file: Any) -> list[tuple[str, list[int], str]]:
    """Name, shape, and what is wrong with it, of each dataset; links are not followed."""
    import h5py

    datasets: list[tuple[str, list[int], str]] = []

    def visit(name: str | bytes, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            text = name if isinstance(name, str) else name.decode("utf-8", "backslashreplace")
            datasets.append((text, list(item.shape or ()), _problem(item)))

    file.visititems(visit)
    return datasets


def _problem(dataset: Any) -> str:
    if dataset.external or dataset.is_virtual:
        return "its values lie in another file"
    if dataset.dtype.kind != "f":
        return f"its values are {dataset.dtype}, expected floats"
    if dataset.ndim not in (2, 3) or dataset.size > MAX_CELLS:
        return f"its shape is {list(dataset.shape)}, expected [frames, regions, values]"
    settings = dataset.id.get_create_plist()
    for number in range(settings.get_nfilters()):
        code = settings.get_filter(number)[0]
        if code not in _FILTERS:
            return f"it is packed by filter {code}, expected {', '.join(_FILTERS.values())}"
    return ""


def _answer(data: bytes | memoryview) -> None:
    view = memoryview(data).cast("B") if len(memoryview(data)) else memoryview(b"")
    sys.stdout.buffer.write(len(view).to_bytes(8, "little", signed=True))
    sys.stdout.buffer.write(view)
    sys.stdout.buffer.flush()


def _fail(text: str) -> None:
    data = text.encode("utf-8", "backslashreplace")[:2000]
    sys.stdout.buffer.write((-max(len(data), 1)).to_bytes(8, "little", signed=True))
    sys.stdout.buffer.write(data or b"?")
    sys.stdout.buffer.flush()
