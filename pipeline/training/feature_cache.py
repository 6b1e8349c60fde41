"""Features of clips and of their copies on disk, before whitening: the backbone runs once.

A clip has one file, named by a digest of the video, model and settings. A video has one small file
that lists its clips; it is written last, so a killed run continues. The changes to a copy are
drawn from seed, id and start of the clip alone. So the same list gives the same copies wherever
the files lie, and every model gets the same copies. Cached copies stay as they are when the list
grows, though other hosts would then be drawn.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from ..atomic import atomic_write
from ..decode.pool import available_cores
from ..errors import InputError
from ..nets.extractor.feature_net import FeatureNet
from ..nets.model.model import Model, features_digest
from ..nets.model.whitening import Whitening
from ..records import Failure, Preprocess, VideoRef
from ..video.container import file_info
from .augmentation import compose
from .clip_loader import Clip, chance, decode_clips, first_clips

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CacheSettings:
    """Settings that the cached numbers depend on, beside model and videos.

    Attributes:
        copies: number of copies of each clip.
        clip_seconds, clips_per_video: see `video.clip_decoder.clip_segments`.
        hosts: number of videos that copies may be set in.
        seed: of every random choice.
    """

    copies: int
    clip_seconds: float
    clips_per_video: int
    hosts: int
    seed: int


@dataclass(frozen=True)
class CachedClip:
    """Features of one clip, unwhitened, float16.

    Attributes:
        video: id; first: second of the video at which the clip begins.
        clean: [T, R, D], one frame a second.
        copies: K arrays [N, R, D].
        seconds: K arrays [N], the second of the clip that each frame shows; NaN where none.
        hosts: K ids of the videos that are in the copies too, or "".
    """

    video: str
    first: float
    clean: np.ndarray
    copies: list[np.ndarray]
    seconds: list[np.ndarray]
    hosts: list[str]


def unwhitened(weights: Model) -> Model:
    """The model with the identity for whitening and without a head."""
    size = len(weights.whitening.mean)
    identity = Whitening(
        np.zeros(size, np.float32), np.eye(size, dtype=np.float32), np.ones(size, np.float32)
    )
    return replace(
        weights,
        whitening=identity,
        lowpass=None if weights.lowpass is None else identity,
        thumbnail=None if weights.thumbnail is None else identity,
        layout=weights.layout.without_csls(),
        anchors=None,
        attention=None,
        comparator=None,
        blank=None,
        features_digest="",
    )


class FeatureCache:
    """A folder of cached clips for one model and setting.

    Args:
        folder: made if needed; caches of other models and settings may share it.
        weights: the model; its whitening and head do not change the cache.
        settings: see `CacheSettings`.
    """

    def __init__(self, folder: Path, weights: Model, settings: CacheSettings) -> None:
        self._folder, self._weights, self._settings = folder, unwhitened(weights), settings
        values = {"version": compose.VERSION, "rate": compose.RATE, **asdict(settings)}
        digests = features_digest(self._weights) + self._weights.views_digest
        self._key = digests + json.dumps(values, sort_keys=True)
        folder.mkdir(parents=True, exist_ok=True)

    def fill(
        self, refs: Sequence[VideoRef], workers: int = 0, progress: Progress | None = None
    ) -> list[Failure]:
        """Add the clips of videos that are not cached yet.

        Returns:
            The videos that could not be used.

        Raises:
            InputError: fewer than two videos can be hosts, so no copies can be made.
        """
        todo = [ref for ref in refs if self._entries(ref) is None]
        if not todo:
            return []
        net = FeatureNet(self._weights, as_queries=True)  # a copy may be a query
        settings = self._settings
        hosts = first_clips(
            refs,
            net.preprocess,
            settings.clip_seconds,
            count=settings.hosts,
            workers=workers,
            seed=settings.seed,
        )
        if len(hosts) < 2:
            raise InputError("training needs two usable videos at least; add some to the list")
        failures: list[Failure] = []
        decoded = decode_clips(
            todo,
            net.preprocess,
            settings.clip_seconds,
            max_clips=settings.clips_per_video,
            workers=workers,
            on_failure=failures.append,
        )
        jobs = self._jobs(decoded, todo, hosts, net.preprocess)
        results = _run_ahead(jobs, workers or available_cores())
        for done, (index, clips) in enumerate(results, start=1):
            names = [self._write(net, todo[index], *clip) for clip in clips]
            self._list(todo[index], names)
            if progress:
                progress(done + len(failures), len(todo))
        return failures

    def read(self, refs: Sequence[VideoRef]) -> Iterator[CachedClip]:
        """Read the cached clips of videos, in the order of the list; other videos give none."""
        for ref in refs:
            for name in self._entries(ref) or ():
                yield _load(self._folder / name, ref.id)

    def _jobs(
        self,
        decoded: Iterator[tuple[int, list[Clip]]],
        refs: Sequence[VideoRef],
        hosts: dict[str, np.ndarray],
        preprocess: Preprocess,
    ) -> Iterator[tuple[int, list[Callable[[], tuple]]]]:
        for index, clips in decoded:
            ref = refs[index]
            other_hosts = {k: v for k, v in hosts.items() if k != ref.id}
            yield index, [_Job(self, ref, clip, other_hosts, preprocess) for clip in clips]

    def _write(
        self, net: FeatureNet, ref: VideoRef, clip: Clip, clean: np.ndarray,
        copies: list[compose.Copy], hosts: list[str],
    ) -> str:  # fmt: skip
        stacked = np.concatenate([clean, *(copy.frames for copy in copies)])
        name = f"{self.clip_digest(ref, clip)}.npz"
        meta = {"first": clip.first, "hosts": hosts, "lengths": [len(c.frames) for c in copies]}
        arrays = {
            "vectors": net(stacked).astype(np.float16),
            "seconds": np.concatenate([copy.seconds for copy in copies]),
            "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8),
        }
        with atomic_write(self._folder / name) as file:
            np.savez(file, allow_pickle=False, **arrays)
        return name

    def clip_digest(self, ref: VideoRef, clip: Clip) -> str:
        """Digest (hex) that names the clip's file."""
        frames = f"{clip.first:.3f} {clip.frames.shape}"
        return _digest(self._video_key(ref), frames)

    def _video_key(self, ref: VideoRef) -> str:
        source = file_info(ref.path)
        return _digest(ref.id, source.path, str(source.size), self._key)

    def _entries(self, ref: VideoRef) -> list[str] | None:
        """File names of a video's clips; None if they are not all there."""
        try:
            text = (self._folder / f"{self._video_key(ref)}.json").read_text(encoding="utf-8")
            names: list[str] = json.loads(text)
        except (OSError, ValueError):
            return None
        return names if all((self._folder / name).is_file() for name in names) else None

    def _list(self, ref: VideoRef, names: list[str]) -> None:
        path = self._folder / f"{self._video_key(ref)}.json"
        with atomic_write(path, "w", encoding="utf-8") as file:
            json.dump(names, file)

    @property
    def settings(self) -> CacheSettings:
        return self._settings


@dataclass(frozen=True)
class _Job:
    """Makes the copies of one clip, in a thread."""

    cache: FeatureCache
    ref: VideoRef
    clip: Clip
    hosts: dict[str, np.ndarray]
    preprocess: Preprocess

    def __call__(self) -> tuple[Clip, np.ndarray, list[compose.Copy], list[str]]:
        settings = self.cache.settings
        seed = int(chance(f"{self.ref.id} {self.clip.first:.3f}", settings.seed) * 2**48)
        names, copies, hosts = list(self.hosts), [], []
        for number in range(settings.copies):
            rng = np.random.default_rng([settings.seed, seed, number])
            host = names[int(rng.integers(len(names)))]
            copy = compose.make_copy(self.clip.frames, self.hosts[host], self.preprocess, rng)
            copies.append(copy)
            hosts.append(host if copy.hosted else "")
        return self.clip, compose.clean(self.clip.frames, self.preprocess), copies, hosts


def _run_ahead(
    jobs: Iterator[tuple[int, list[Callable[[], tuple]]]], threads: int
) -> Iterator[tuple[int, list]]:
    """Run jobs ahead of the network: one for each thread, the videos in order.

    A job holds the frames of its clip, so no more of them wait than keep the threads busy.
    """
    waiting: deque[tuple[int, list[Future]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for index, calls in jobs:
            waiting.append((index, [pool.submit(call) for call in calls]))
            while sum(len(futures) for _, futures in waiting) - len(waiting[0][1]) >= threads:
                first, futures = waiting.popleft()
                yield first, [future.result() for future in futures]
        for index, futures in waiting:
            yield index, [future.result() for future in futures]


def _load(path: Path, video: str) -> CachedClip:
    with np.load(path, allow_pickle=False) as file:
        vectors, seconds = file["vectors"], file["seconds"]
        meta = json.loads(file["meta"].tobytes())
    ends = np.cumsum(meta["lengths"])
    frames = len(vectors) - int(ends[-1])
    return CachedClip(
        video=video,
        first=meta["first"],
        clean=vectors[:frames],
        copies=np.split(vectors[frames:], ends[:-1]),
        seconds=np.split(seconds, ends[:-1]),
        hosts=meta["hosts"],
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:40]
