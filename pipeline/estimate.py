"""What a collection of some size would cost, from a sample of the user's videos on this machine.

Measured: decoding, the network, and stage two, each alone. Everything else follows by rule: time of
stage one is inverse to the number of cores; stage two is proportional to the products of frames,
bytes to the frames.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .candidates.choice_time import ChoiceSpeed, measure_choice
from .candidates.codes import CODE_SECONDS, code_rule
from .config import CompareConfig, Config, ExtractConfig
from .decode import Ended, Frames, decode_videos
from .decode.pool import available_cores
from .errors import InputError, PipelineError
from .extraction.plan import choose_insets
from .inputs import scan_folder
from .records import FeatureSpec, SourceInfo, VideoRef
from .scratch import scratch_folder
from .search.candidate_check import QUERY_FRAMES, checked_count
from .search.engine import SearchEngine
from .search.request import SearchRequest
from .search.run import search
from .search.video_set import VideoSet
from .store import create_or_append, open_store
from .store.factory import names_store
from .video import probe

if TYPE_CHECKING:
    from .nets.extractor.feature_net import FeatureNet
    from .nets.model.model import Model

_Item = TypeVar("_Item")

SIZES = (1_000, 10_000, 100_000, 1_000_000)  # videos
CORES = (2, 16, 64)
LENGTH, QUERY_LENGTH = 600.0, 30.0  # seconds of a video, of a query
CANDIDATES, PAIR_CANDIDATES = 100, 20  # for a query, for each video of all pairs
VALUE_BITS = {"float16": 16, "int8": 8, "binary": 1}

_SAMPLE_VIDEOS, _DECODE_SECONDS = 16, 20.0
_NETWORK_FRAMES, _NETWORK_SECONDS = 64, 10.0
_STORED_VIDEOS, _STORED_FRAMES = 24, 12_000  # of the database that stage two is measured with
_STAGE_TWO_SECONDS = 8.0


@dataclass(frozen=True)
class Sample:
    """What is known of a collection, and pictures of some of its videos.

    Attributes:
        videos: in the collection.
        mean_seconds: their mean length, in a folder that of the sample.
        decoded: videos of the sample that could be decoded.
        failed: those that could not.
        frames: sampled, without insets.
        inset_share: frames of insets for each frame.
        decode_seconds: core seconds of decoding for each second of video; None: no file is there.
        images: uint8 [n, crop, crop, 3].
    """

    videos: int
    mean_seconds: float
    decoded: int
    failed: int
    frames: int
    inset_share: float
    decode_seconds: float | None
    images: np.ndarray


@dataclass(frozen=True)
class Rates:
    """What was measured; core seconds are processor time.

    Attributes:
        videos, mean_seconds, sampled, failed, frames, inset_share, decode_seconds: see `Sample`.
        cores: of this machine, as far as this process may use them.
        load: processes that wanted a core before the measurement, for each core; 0 if unknown.
        engine, precision: of the network.
        network_seconds: core seconds of a database frame.
        query_network_seconds: core seconds of a query frame, with its views.
        gpu_network_seconds: seconds of a database frame on the GPU; None: not measured.
        frame_values: values of a database frame.
        fps: frames a second of video.
        query_product_seconds: seconds for a query frame against a database frame.
        pair_product_seconds: seconds for a database frame against a database frame.
        choice: speed of a search for candidates.
    """

    videos: int
    mean_seconds: float
    sampled: int
    failed: int
    frames: int
    inset_share: float
    decode_seconds: float | None
    _: KW_ONLY
    cores: int
    load: float
    engine: str
    precision: str
    network_seconds: float
    query_network_seconds: float
    gpu_network_seconds: float | None
    frame_values: int
    fps: float
    query_product_seconds: float
    pair_product_seconds: float
    choice: ChoiceSpeed


@dataclass(frozen=True)
class Row:
    """The cost of a collection.

    Attributes:
        videos: in it.
        stage_one_hours: by the number of cores; None: decoding was not measured.
        gpu_hours: with one GPU beside this machine's cores; None: not measured.
        gigabytes: of features by number type, insets left out.
        gigabytes_with_insets: the same with insets.
        query_seconds: stage two of one query against all videos, on this machine.
        candidate_seconds: the same with `CANDIDATES` videos, which are chosen and compared.
        all_pairs_hours: each pair of videos once, on this machine.
        candidate_pairs_hours: each video with `PAIR_CANDIDATES` others, which are chosen.
    """

    videos: int
    stage_one_hours: dict[int, float] | None
    gpu_hours: float | None
    gigabytes: dict[str, float]
    gigabytes_with_insets: dict[str, float]
    query_seconds: float
    candidate_seconds: float
    all_pairs_hours: float
    candidate_pairs_hours: float


@dataclass(frozen=True)
class Estimate:
    """What `estimate` found; `as_json` is what the command prints with --json."""

    rates: Rates
    length: float
    query_length: float
    rows: tuple[Row, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return asdict(self)


def estimate(
    path: str | Path,
    model: Model,
    config: Config | None = None,
    *,
    length: float | None = LENGTH,
    query_length: float = QUERY_LENGTH,
    gpu_id: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Estimate:
    """Measure a sample of a collection, and reckon what collections of some sizes cost.

    Args:
        path: a folder of videos, or a store; the store's videos are decoded where they are at hand.
        model: the model that stage one and two would use.
        config: settings of both stages; None for the defaults.
        length: seconds of a video in the table; None takes the collection's mean.
        query_length: seconds of a query.
        gpu_id: see `nets.backend.device_scope`.
        say: called with a sentence before each measurement.

    Returns:
        The measured rates, and a row for each of `SIZES`.

    Raises:
        InputError: no video can be decoded, and there is no store to know their sizes from.
        PipelineError: the store cannot be used.
    """
    config, load = config or Config(), _load()
    say("decoding a sample")
    sample = _sample(path, model, config.extract)
    rates = replace(_rates(sample, model, config, gpu_id, say), load=load)
    length = length or sample.mean_seconds
    if not length:
        raise InputError(f"{path}: the length of its videos is unknown; give --length in seconds")
    rows = tuple(row(count, rates, length, query_length) for count in SIZES)
    return Estimate(rates, length, query_length, rows)


def _load() -> float:
    """Processes that want a core, on average over a minute, for each core of the machine."""
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except (AttributeError, OSError):  # not on this system
        return 0.0


def row(videos: int, rates: Rates, length: float, query_length: float) -> Row:
    """Reckon the cost of so many videos of one length.

    Args:
        length, query_length: seconds of a video, of a query.
    """
    frames = length * rates.fps  # of a video
    with_insets = 1 + rates.inset_share
    hours, gpu_hours = None, None
    if rates.decode_seconds is not None:
        decoding = videos * length * rates.decode_seconds / 3600
        network = videos * frames * with_insets * rates.network_seconds / 3600
        hours = {cores: (decoding + network) / cores for cores in CORES}
        if rates.gpu_network_seconds is not None:
            on_gpu = videos * frames * with_insets * rates.gpu_network_seconds / 3600
            gpu_hours = max(decoding / rates.cores, on_gpu)
    gigabytes = {
        name: videos * frames * rates.frame_values * bits / 8 / 1e9
        for name, bits in VALUE_BITS.items()
    }
    one_video = query_length * rates.fps * frames * with_insets * rates.query_product_seconds
    codes = max(1.0, length * with_insets / CODE_SECONDS)
    choice = rates.choice
    choosing = choice.seconds(
        choice.query_codes, videos, codes, CANDIDATES, views=choice.query_views
    )
    video_frames = round(frames * with_insets)
    checked = checked_count(videos, video_frames, CANDIDATES)
    query_frames = min(query_length * rates.fps, QUERY_FRAMES)
    choosing += checked * query_frames * video_frames * rates.query_product_seconds
    pairs = videos * (videos - 1) / 2
    one_pair = (frames * with_insets) ** 2 * rates.pair_product_seconds
    # A pair that is named from both sides is compared once; here each counts.
    few = min(videos - 1, PAIR_CANDIDATES)
    each = choice.seconds(choice.pair_codes, videos, codes, PAIR_CANDIDATES) + few * one_pair
    return Row(
        videos,
        hours,
        gpu_hours,
        gigabytes,
        {name: size * with_insets for name, size in gigabytes.items()},
        videos * one_video,
        choosing + min(videos, CANDIDATES) * one_video,
        pairs * one_pair / 3600,
        min(pairs * one_pair, videos * each) / 3600,
    )


def _sample(path: str | Path, model: Model, config: ExtractConfig) -> Sample:
    """Decode some of a collection's videos, for a limited time."""
    if names_store(path):
        return _sample_of_store(path, model, config)
    refs = scan_folder(path)
    chosen = _chosen(refs)
    insets = choose_insets(config, model.insets)
    sample = _decoded(chosen, len(refs), model, replace(config, insets=insets.limit))
    if not len(sample.images):
        raise InputError(
            f"{path}: none of {len(chosen)} sampled videos can be decoded; give another folder"
        )
    return sample


def _sample_of_store(path: str | Path, model: Model, config: ExtractConfig) -> Sample:
    """Take lengths and insets from a store, and decode those of its videos that are there."""
    with open_store(path) as store:
        if not len(store):
            raise InputError(f"{path}: holds no video; give a folder of videos")
        insets = sum(sum(store.insets(video_id)) for video_id in store)
        frames = int(store.lengths.sum()) - insets
        refs = [VideoRef(i, store.record(i).source.path) for i in _chosen(store.ids)]
        rule, fps, count = store.spec.inset_rule, store.spec.fps, len(store)
    there = [ref for ref in refs if Path(ref.path).is_file()]
    sample = _decoded(there, count, model, replace(config, fps=fps, insets=rule.limit))
    images = sample.images
    if not len(images):  # the network takes the same time for any pictures
        crop = model.input.preprocess.crop
        images = np.random.default_rng(0).integers(0, 256, (32, crop, crop, 3), np.uint8)
    share = insets / max(1, frames)
    return replace(sample, mean_seconds=frames / fps / count, inset_share=share, images=images)


def _chosen(items: Sequence[_Item]) -> list[_Item]:
    """A sample of a list, the same at each call."""
    return random.Random(0).sample(list(items), min(len(items), _SAMPLE_VIDEOS))


def _decoded(refs: Sequence[VideoRef], videos: int, model: Model, config: ExtractConfig) -> Sample:
    """Decode videos for at most `_DECODE_SECONDS`; a long one may not come to its end."""
    images: list[np.ndarray] = []
    frames = np.zeros(len(refs), int)
    insets, ended, failed = 0, [], 0
    lengths = [seconds for ref in refs if (seconds := _seconds(ref))]
    begin, taken, processors = time.perf_counter(), 0.0, 0.0
    if refs:
        with decode_videos(
            refs,
            model.input.preprocess,
            config.fps,
            workers=config.workers,
            sampling=config.sampling,
            hwaccel=config.hwaccel,
            memory_mb=config.decoder_memory_mb,
            max_pixels=config.max_pixels,
            insets=choose_insets(config, model.insets),
        ) as events:
            for event in events:
                taken = time.perf_counter() - begin
                if isinstance(event, Frames):
                    images.append(event.images)
                    frames[event.index] += len(event.images) * (not event.inset)
                    insets += len(event.images) * bool(event.inset)
                elif isinstance(event, Ended):
                    failed += event.failure is not None
                    ended.append(event.index)
                if taken > _DECODE_SECONDS:
                    break
            # Processor time is told when a video ends; of a longer one only the clock is known.
            processors, workers = events.stats.cpu_seconds, events.stats.workers
            if not frames[ended].any():
                processors, ended = taken * min(workers, available_cores()), [*range(len(refs))]
    counted = frames[ended].sum()
    return Sample(
        videos,
        sum(lengths) / len(lengths) if lengths else 0.0,
        int((frames > 0).sum()),
        failed,
        int(frames.sum()),
        insets / max(1, int(frames.sum())),
        float(processors * config.fps / counted) if counted else None,
        np.concatenate(images) if images else np.empty((0, 1, 1, 3), np.uint8),
    )


def _seconds(ref: VideoRef) -> float:
    """Length of a file; 0 if it does not say, or cannot be opened."""
    try:
        return probe(ref.path).duration
    except PipelineError:
        return 0.0


def _rates(
    sample: Sample, model: Model, config: Config, gpu_id: int | None, say: Callable[[str], None]
) -> Rates:
    from .nets.backend import on_gpu

    gpu = on_gpu(gpu_id)
    images = sample.images[:: max(1, len(sample.images) // _NETWORK_FRAMES)][:_NETWORK_FRAMES]
    say("running the network on its frames")
    net = _net(model, config.extract, -1 if gpu else gpu_id)
    seconds = _seconds_a_frame(net, images, time.process_time)
    on_device = None
    if gpu:
        on_device = _seconds_a_frame(_net(model, config.extract, gpu_id), images, time.perf_counter)
    queries = _net(model, replace(config.extract, as_queries=True), -1 if gpu else gpu_id)
    few = images[: _NETWORK_FRAMES // 8]
    query_seconds = _seconds_a_frame(queries, few, time.process_time)
    say("comparing them")
    products = _stage_two(model, config, (queries, few), (net, images), gpu_id)
    choice = _choice(queries, few, net, config.extract.fps)
    return Rates(
        sample.videos,
        sample.mean_seconds,
        sample.decoded,
        sample.failed,
        sample.frames,
        sample.inset_share,
        sample.decode_seconds,
        cores=available_cores(),
        load=0.0,
        engine=net.engine,
        precision=net.precision,
        network_seconds=seconds,
        query_network_seconds=query_seconds,
        gpu_network_seconds=on_device,
        frame_values=net.vectors * net.dims,
        fps=config.extract.fps,
        query_product_seconds=products[0],
        pair_product_seconds=products[1],
        choice=choice,
    )


def _net(model: Model, config: ExtractConfig, gpu_id: int | None) -> FeatureNet:
    from .nets.extractor.feature_net import network_for

    return network_for(model.with_dims(config.dims), config, gpu_id)


def _seconds_a_frame(net: FeatureNet, images: np.ndarray, clock: Callable[[], float]) -> float:
    """The least of some runs, after one that compiles."""
    net(images)
    taken: list[float] = []
    end = time.perf_counter() + _NETWORK_SECONDS
    while not taken or (len(taken) < 5 and time.perf_counter() < end):
        begin = clock()
        net(images)
        taken.append(clock() - begin)
    return min(taken) / len(images)


def _stage_two(
    model: Model,
    config: Config,
    queries: tuple[FeatureNet, np.ndarray],
    database: tuple[FeatureNet, np.ndarray],
    gpu_id: int | None,
) -> tuple[float, float]:
    """Seconds for a query frame, and for a database frame, against a database frame."""
    fps = config.extract.fps
    frames = max(4, min(round(LENGTH * fps), _STORED_FRAMES // 8))
    videos = max(4, min(_STORED_VIDEOS, _STORED_FRAMES // frames))
    query_frames = max(4, round(QUERY_LENGTH * fps))
    with scratch_folder() as folder:
        for name, (net, images), count, size in (
            ("queries.h5", queries, 1, query_frames),
            ("database.h5", database, videos, frames),
        ):
            spec = net.spec(fps, "estimate")
            _write(Path(folder) / name, spec, config.extract.dtype, net(images), count, size)
        with (
            open_store(Path(folder) / "queries.h5") as query_store,
            open_store(Path(folder) / "database.h5") as store,
        ):
            rate = _ProductRate(model, config.compare, gpu_id)
            all_videos = VideoSet([store])
            return rate(VideoSet([query_store]), all_videos), rate(
                VideoSet([store], all_videos.ids[:2]), all_videos
            )


def _choice(
    queries: FeatureNet, query_images: np.ndarray, database: FeatureNet, fps: float
) -> ChoiceSpeed:
    """Speed of a search for candidates, for a query and for a database video."""
    rule = code_rule(queries.layout, queries.dims)

    def looked_up(vectors: np.ndarray, seconds: float) -> tuple[int, int]:
        frames = np.arange(max(1, round(seconds * fps))) % len(vectors)
        count, views, _ = rule.query_codes(vectors[frames]).codes.shape
        return count * views, views

    of_query, views = looked_up(queries(query_images), QUERY_LENGTH)
    of_video, _ = looked_up(database(query_images), LENGTH)
    return measure_choice(of_query, of_video, rule.values, query_views=views)


def _write(
    path: Path,
    spec: FeatureSpec,
    dtype: str | None,
    vectors: np.ndarray,
    videos: int,
    frames: int,
) -> None:
    """Write a store of videos that repeat these frames, each from another one on."""
    with create_or_append(path, spec, dtype) as writer:
        for i in range(videos):
            order = (np.arange(frames) + i) % len(vectors)
            video = writer.begin(str(i), SourceInfo(str(i)))
            video.append(vectors[order], np.arange(frames) / spec.fps)
            video.finish("")
        writer.commit()


@dataclass(frozen=True)
class _ProductRate:
    """Measures stage two."""

    model: Model
    config: CompareConfig
    gpu_id: int | None

    def __call__(self, queries: VideoSet, database: VideoSet) -> float:
        """Return seconds for each product of two frames, the second time that it is run.

        First with two videos, so that a slow machine is not kept busy for minutes.
        """
        few = VideoSet(database.stores, database.ids[:2])
        seconds = self._seconds(queries, few)
        share = int(2 * _STAGE_TWO_SECONDS / max(seconds, 1e-6))
        if share > 2:
            few = VideoSet(database.stores, database.ids[:share])
            seconds = self._seconds(queries, few)
        return seconds / (float(queries.lengths.sum()) * float(few.lengths.sum()))

    def _seconds(self, queries: VideoSet, database: VideoSet) -> float:
        request = SearchRequest(queries, database, self.model, self.config, gpu_id=self.gpu_id)
        engine = SearchEngine(request)
        search(request, engine=engine)
        begin = time.perf_counter()
        search(request, engine=engine)
        return time.perf_counter() - begin
