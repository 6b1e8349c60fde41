"""The two stages as functions for Python use; the command line does the same with messages."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace as with_fields
from pathlib import Path
from typing import TYPE_CHECKING

from .config import CompareConfig, ExtractConfig
from .default_model import default_model_dir
from .errors import InputError
from .inputs import check_prefix, read_list, refuse_duplicates, scan_folder
from .records import VideoRef

if TYPE_CHECKING:
    from .extraction.run import ExtractReport, Progress
    from .nets.extractor.feature_net import FeatureNet
    from .nets.model.model import Model

Videos = str | Path | Mapping[str, str | Path] | Sequence[VideoRef]
Stores = str | Path | Sequence[str | Path] | Mapping[str, str | Path]

_KEPT = 2  # that of a database, and that of queries
_networks: dict[tuple[object, ...], FeatureNet] = {}  # the one used last stands last


def extract_features(
    videos: Videos,
    store: str | Path,
    model_dir: str | Path | None = None,
    config: ExtractConfig | None = None,
    retry_failed: bool = False,
    replace: str = "never",
    gpu_id: int | None = None,
    progress: Progress | None = None,
    extensions: Sequence[str] = (),
    all_files: bool = False,
    follow_links: bool = False,
    id_prefix: str = "",
) -> ExtractReport:
    """Stage one: bring a feature store up to date with a list of videos.

    Args:
        videos: a list file (lines `id<TAB>path`), a folder, `{id: path}`, or `VideoRef`s.
        store: path ending in .h5 or .zarr; made if it does not exist.
        model_dir: None takes the shipped model.
        config, retry_failed, replace, progress: see `extraction.run.extract_features`.
        gpu_id: see `nets.backend.device_scope`.
        extensions, all_files, follow_links: of a folder, see `inputs.scan_folder`.
        id_prefix: stands before every id, so that a second collection with the same names fits
            into the store.

    Returns:
        What was stored and what failed, and why, and which listed files are not those that are
        stored under their ids. One bad video raises nothing.

    Raises:
        PipelineError: of list, model or store; see `errors.py`.
    """
    from .extraction import run
    from .nets.formats.loader import load_model

    config = config or ExtractConfig()
    refs = _refs(videos, id_prefix, extensions, all_files, follow_links)
    weights = load_model(model_dir or default_model_dir(), config.dims)
    net = _network(weights, config, gpu_id)
    return run.extract_features(
        refs, store, net, config, retry_failed=retry_failed, replace=replace, progress=progress
    )


def compute_similarity(
    queries: Stores,
    database: Stores,
    output_file: str | Path | None = None,
    model_dir: str | Path | None = None,
    config: CompareConfig | None = None,
    top_k: int | None = None,
    threshold: float | None = None,
    gpu_id: int | None = None,
    max_fpr: float | None = None,
    mirrored_queries: Stores | None = None,
    background: Stores | None = None,
) -> dict[str, dict[str, float]] | None:
    """Stage two: every query against every database video.

    Args:
        queries, database: path of a store, or several, or `{prefix: path}`: what stands before all
            ids of a store, so that stores with equal ids go together.
        output_file: write JSON there and return None; without it the scores are returned.
        model_dir: the model the stores were made with; None takes the shipped one.
        config: see `CompareConfig`.
        top_k, threshold: see `output.json_writer.select`.
        gpu_id: see `nets.backend.device_scope`.
        max_fpr: in place of a threshold, see `search.calibrate.threshold_for`.
        mirrored_queries: stores of the same queries made with `ExtractConfig(mirrored=True)`;
            the better score of both counts.
        background: stores of videos unrelated to all queries, see `search.run.score_table`; not
            together with max_fpr, as a calibration is of plain scores.

    Returns:
        `{query_id: {database_id: similarity}}`, or None. A damaged query has no scores, a damaged
        database video is left out; a `UserWarning` names each of them.

    Raises:
        PipelineError: of stores or model; see `errors.py`.
        InputError: both threshold and max_fpr, or one of the numbers is none that can be used.
    """
    if threshold is not None and max_fpr is not None:
        raise InputError("give threshold or max_fpr, not both")
    if background is not None and max_fpr is not None:
        raise InputError("max_fpr is for scores without a background, as the model was calibrated")
    from .nets.formats.loader import load_model
    from .output.score_table import require_finite
    from .output.selection import check_selection, select
    from .output.target import check_output_file
    from .search import run
    from .search.video_set import Collection, all_damaged
    from .store import open_store

    check_selection(top_k, threshold)
    config = config or CompareConfig()
    if output_file is not None:
        sides = (queries, database, mirrored_queries or (), background or ())
        check_output_file(output_file, [path for side in sides for path in _paths(side)])
    with ExitStack() as stack:

        def collection(paths: Stores) -> Collection:
            prefixes = list(paths) if isinstance(paths, Mapping) else ()
            opened = [stack.enter_context(open_store(p)) for p in _paths(paths)]
            return Collection(opened, None, prefixes)

        asked, searched = collection(queries), collection(database)
        mirrored = None if mirrored_queries is None else collection(mirrored_queries)
        unrelated = None if background is None else collection(background)
        weights = load_model(model_dir or default_model_dir())
        if max_fpr is not None:
            from .search.calibrate import threshold_for

            threshold = threshold_for(
                max_fpr, asked, searched, weights, config, mirrored is not None
            )
        if output_file is not None:
            report = run.compute_similarity(
                asked, searched, output_file, weights, config, top_k, threshold, gpu_id,
                mirrored=mirrored,
                background=unrelated,
            )  # fmt: skip
            _warn(report.damaged)
            return None
        table, _ = run.score_table(
            asked, searched, weights, config, gpu_id, mirrored=mirrored, background=unrelated
        )
        _warn(all_damaged(asked, searched, mirrored, unrelated))
    ids, columns = searched.sound_ids, searched.sound
    scores: dict[str, dict[str, float]] = {}
    for query, row, sound in zip(asked.ids, table, asked.sound, strict=True):
        row = row[columns] if sound else row[:0]
        require_finite(row[None], [query], ids)
        scores[query] = {ids[i]: float(row[i]) for i in select(row, top_k, threshold)}
    return scores


def _warn(damaged: Sequence[str]) -> None:
    for line in damaged:
        warnings.warn(f"left out: {line}", stacklevel=3)


def _network(weights: Model, config: ExtractConfig, gpu_id: int | None) -> FeatureNet:
    """The network for these settings; the last ones are kept, as making one takes seconds."""
    from .nets.extractor.feature_net import FeatureNet

    views = weights.views_digest if config.as_queries else None
    model = weights.name, weights.features_digest, weights.dims, weights.insets, views
    key = (*model, config.precision, config.batch_size, gpu_id)
    net = _networks.pop(key, None)
    if net is None:
        net = FeatureNet(weights, config.precision, config.batch_size, gpu_id, config.as_queries)
    _networks[key] = net
    while len(_networks) > _KEPT:
        _networks.pop(next(iter(_networks)), None)
    return net


def _refs(
    videos: Videos,
    id_prefix: str,
    extensions: Sequence[str],
    all_files: bool,
    follow_links: bool,
) -> Sequence[VideoRef]:
    if isinstance(videos, (str, Path)):
        if Path(videos).is_dir():
            return scan_folder(videos, extensions, all_files, follow_links, id_prefix)
        return read_list(videos, id_prefix)
    if isinstance(videos, Mapping):
        return [_ref(video_id, path, id_prefix) for video_id, path in videos.items()]
    check_prefix(id_prefix)
    refs = (
        [with_fields(ref, id=id_prefix + ref.id) for ref in videos] if id_prefix else list(videos)
    )
    return refuse_duplicates(refs, "videos")


def _ref(video_id: str, path: str | Path, id_prefix: str) -> VideoRef:
    if not isinstance(video_id, str):
        raise InputError(f"video id {video_id!r} is no text, expected {{id: path}}")
    try:
        return VideoRef(id_prefix + video_id, os.fsdecode(path))
    except (TypeError, ValueError) as error:
        raise InputError(f"video {video_id!r} of {path!r}: {error}") from error


def _paths(stores: Stores) -> Sequence[str | Path]:
    if isinstance(stores, Mapping):
        return list(stores.values())
    return [stores] if isinstance(stores, (str, Path)) else stores
