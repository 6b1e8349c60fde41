"""Stand-ins for `VideoDecoder` that misbehave; the path of the video says how."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np

from pipeline.errors import VideoError
from pipeline.records import Preprocess, SourceInfo
from pipeline.video.container import file_info


class Misbehaving:
    """The path is `word:count`: yields `count` frames, numbered in red, then does what the word
    says: end, note, error, raise, segfault, kill, exit, print, hang, slow, busy, hungry and others.
    After `poison` the process ends in the middle of the next video."""

    poisoned = False

    def __init__(
        self,
        path: str,
        preprocess: Preprocess,
        fps: float,
        tick: Callable[[], None],
        **how: object,
    ) -> None:
        self.word, _, count = path.partition(":")
        self.count, self.tick, self.crop = int(count), tick, preprocess.crop
        self.source = SourceInfo(path, size=7)
        self.note, self.on_device = "", False

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        for number in range(self.count):
            if self.poisoned and number == 45:  # behind a chunk that is out
                os.kill(os.getpid(), signal.SIGSEGV)
            yield float(number), np.full((self.crop, self.crop, 3), number % 256, np.uint8)
        yield from getattr(self, self.word)()

    def end(self) -> Iterator[tuple[float, np.ndarray]]:
        yield from ()

    def poison(self) -> Iterator[tuple[float, np.ndarray]]:
        type(self).poisoned = True
        yield from ()

    def note_it(self) -> Iterator[tuple[float, np.ndarray]]:
        self.note = "a note"
        yield from ()

    def error(self) -> Iterator[tuple[float, np.ndarray]]:
        raise VideoError("broken", "too bad")

    def unexpected(self) -> Iterator[tuple[float, np.ndarray]]:
        raise KeyError("surprise")

    def segfault(self) -> Iterator[tuple[float, np.ndarray]]:
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(60)
        yield from ()

    def killed(self) -> Iterator[tuple[float, np.ndarray]]:
        os.kill(os.getpid(), signal.SIGKILL)
        yield from ()

    def exits(self) -> Iterator[tuple[float, np.ndarray]]:
        print("last words", file=sys.stderr, flush=True)
        os._exit(3)

    def prints(self) -> Iterator[tuple[float, np.ndarray]]:
        os.write(1, b"noise of a library " * 1000)
        print("noise of Python", flush=True)
        yield from ()

    def hang(self) -> Iterator[tuple[float, np.ndarray]]:
        threading.Event().wait()
        yield from ()

    def slow(self) -> Iterator[tuple[float, np.ndarray]]:
        """Alive, but without a frame for longer than any test's stall time."""
        for _ in range(14):
            time.sleep(0.25)
            self.tick()
        yield from ()

    def hungry(self) -> Iterator[tuple[float, np.ndarray]]:
        """Takes a GiB in small parts."""
        kept = [np.ones(1 << 23, np.uint8) for _ in range(128)]
        yield float(len(kept)), kept[0][:3].reshape(1, 1, 3)

    def leaves_waste(self) -> Iterator[tuple[float, np.ndarray]]:
        type(self).waste = [np.ones(1 << 23, np.uint8) for _ in range(16)]  # type: ignore[attr-defined]
        yield from ()

    def needs_some(self) -> Iterator[tuple[float, np.ndarray]]:
        kept = [np.ones(1 << 23, np.uint8) for _ in range(24)]
        del kept
        yield from ()

    def busy(self) -> Iterator[tuple[float, np.ndarray]]:
        """At work without an end, with signs of life and without a frame."""
        while True:
            self.tick()
        yield from ()

    def endless(self) -> Iterator[tuple[float, np.ndarray]]:
        image = np.zeros((self.crop, self.crop, 3), np.uint8)
        number = self.count
        while True:
            yield float(number), image
            number += 1

    def modules(self) -> Iterator[tuple[float, np.ndarray]]:
        heavy = {"tensorflow", "keras", "h5py", "zarr", "click"} & set(sys.modules)
        self.note = f"heavy: {sorted(heavy)}"
        yield from ()


class Numbered:
    """A file `good-N` gives a few frames made from the number N; `slow-N` takes a while for them.

    `fail-N` and `missing-N` fail, `crash-N` ends the process that it runs in.
    """

    def __init__(
        self,
        path: str,
        preprocess: Preprocess,
        fps: float,
        tick: Callable[[], None],
        **how: object,
    ) -> None:
        word, _, number = os.path.basename(path).rpartition("-")
        self.word, self.number, self.crop = word, int(number), preprocess.crop
        self.source = file_info(path)
        self.note, self.on_device = "", False

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        if self.word == "fail":
            raise VideoError("broken", "too bad")
        if self.word == "missing":
            raise VideoError("missing", "no such file")
        if self.word == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        for second in range(frames_of_number(self.number)):
            if self.word == "slow":
                time.sleep(0.02)
            yield float(second), picture_of_number(self.number, second, self.crop)


def frames_of_number(number: int) -> int:
    """Frames of `Numbered`."""
    return 1 + number % 4


def picture_of_number(number: int, second: int, crop: int) -> np.ndarray:
    """A frame of `Numbered`."""
    picture = np.zeros((crop, crop, 3), np.uint8)
    picture[...] = number % 251, second, number // 251 % 256
    picture[: crop // 3] += 1
    return picture
