"""Where the videos of a comparison come from: stores, or lists that go through stage one first."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Config, ExtractConfig
from ..errors import InputError
from ..scratch import scratch_folder
from . import common
from .extract import fill_store

if TYPE_CHECKING:
    from ..records import VideoRef
    from ..search.video_set import Collection
    from ..store import FeatureStore

INSETS = 2  # where they are asked for, but not how many


class Sources:
    """Opens stores and runs stage one where lists were given."""

    def __init__(
        self, stack: ExitStack, config: Config, model_dir: str | None, gpu_id: int
    ) -> None:
        self.stack, self.config, self.model_dir, self.gpu_id = stack, config, model_dir, gpu_id
        self.failed = False

    def listed(
        self, path: str | None, folder: str | None, option: str
    ) -> Sequence[VideoRef] | None:
        if path is None and folder is None:
            return None
        return common.read_videos(path, folder, option)

    def open(self, path: str | Path) -> FeatureStore:
        from ..store import open_store

        return self.stack.enter_context(open_store(path))

    def stored(self, paths: tuple[str, ...]) -> Collection:
        from ..search.video_set import Collection

        named = [common.split_store(path) for path in paths]
        stores = [self.open(path) for _, path in named]
        for store in stores:
            if store.failures:
                common.say(
                    f"note: {len(store.failures)} videos failed when {store.path} was made and "
                    "are not compared (visil-index info --failures)"
                )
        if len({store.encoding == "binary" for store in stores}) > 1:
            common.say(
                "note: some stores are binary and some are not: scores of the binary ones are lower"
            )
        return Collection(stores, None, [prefix for prefix, _ in named])

    def mirrored(
        self, queries: Collection, videos: Sequence[VideoRef] | None, stores: tuple[str, ...]
    ) -> Collection:
        """Mirrored features of the queries, of those that have them."""
        from ..search.video_set import Collection

        if videos is None:
            prefixes, paths = zip(*map(common.split_store, stores), strict=True)
            opened = [self.open(path) for path in paths]
            named = {p + i for p, store in zip(prefixes, opened, strict=True) for i in store}
            known = [i for i in queries.ids if i in named]
            found = Collection(opened, known or None, prefixes)
        else:
            usable = set(queries.ids)
            again = [video for video in videos if video.id in usable]
            found = self.extracted("mirrored queries", again, stores, queries, mirrored=True)
        missing = len(queries) - len(found)
        if missing > 0:
            common.say(f"note: {missing} queries have no mirrored features, scored as they are")
        return found

    def extracted(
        self,
        side: str,
        videos: Sequence[VideoRef],
        keep: tuple[str, ...],
        like: Collection | None = None,
        mirrored: bool = False,
    ) -> Collection:
        """Features of listed videos, made with the settings of `like` where that is given."""
        from ..search.compatibility import require_model
        from ..search.video_set import Collection

        as_queries = side != "database"
        if mirrored and like is not None:  # as the queries that they are the mirror of
            as_queries = like.spec.query_descriptors > 0
        config = replace(self.config.extract, as_queries=as_queries, mirrored=mirrored)
        if side != "database":
            config = replace(config, insets=self._query_insets())
        if like is not None:
            require_model(like, common.load_weights(self.model_dir))
            config = self._as_in(config, like, side)
        if keep:
            path: str | Path = keep[0]
            config = self._as_begun(path, config)
        else:
            if side == "database":
                common.say("note: features are kept only with --database_store PATH")
            folder = self.stack.enter_context(scratch_folder())
            path = Path(folder) / "features.h5"
        label = "" if keep else side
        report = fill_store(videos, path, self.model_dir, config, self.gpu_id, label=label)
        self.failed |= not report.complete
        store = self.open(path)
        # What is stored under a refused id is another film.
        usable = [v.id for v in videos if v.id in store and v.id not in report.refused]
        if not usable:
            raise InputError(f"none of the {len(videos)} listed videos ({side}) could be used")
        return Collection([store], usable)

    def _query_insets(self) -> int | None:
        """Insets to look for in queries: only where they are searched for as well."""
        if not self.config.compare.query_insets:
            return None
        return self.config.extract.insets or common.load_weights(self.model_dir).insets or INSETS

    def _as_begun(self, path: str | Path, config: ExtractConfig) -> ExtractConfig:
        """The settings, with the vectors of queries and insets only if a store there has them."""
        from ..store import read_spec

        if not Path(path).exists():
            return config
        return replace(config, as_queries=read_spec(path).query_descriptors > 0, insets=None)

    def _as_in(self, config: ExtractConfig, like: Collection, side: str) -> ExtractConfig:
        """The settings with what the other side was made with: only that can be compared."""
        from ..video import SAMPLING_RULES

        spec, default = like.spec, ExtractConfig()
        sampling = next(
            (name for name, rule in SAMPLING_RULES.items() if rule == spec.sampling), None
        )
        if sampling is None:
            raise InputError(
                f"{like.path}: frames picked by the rule {spec.sampling!r}, which this version "
                "does not know; compare it with a store made the same way"
            )
        asked = (config.fps, config.dims or spec.dims, config.sampling)
        if asked != (spec.fps, spec.dims, sampling) and asked != (
            default.fps,
            spec.dims,
            default.sampling,
        ):
            common.say(
                f"note: {side} made as {like.path}: fps {spec.fps:g}, dims {spec.dims}, {sampling}"
            )
        return replace(config, fps=spec.fps, dims=spec.dims, sampling=sampling)
