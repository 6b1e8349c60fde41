"""Several stores read as one numbered list of videos."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.encoding import decode, decoded_dtype, stored_values
from pipeline.errors import FingerprintMismatchError, InputError, ModelError, StoreError
from pipeline.padding import padded_length, repeat_to_min
from pipeline.records import FeatureSpec
from pipeline.store import FeatureStore, VideoCheck

if TYPE_CHECKING:
    from pipeline.nets.weights import ModelWeights


class Collection:
    """Videos of one or more stores, in the order of the stores or as listed.

    Args:
        stores: open stores, all with compatible features.
        ids: take these videos, in this order; None takes all.
        prefixes: one a store, before all its ids, so that stores with equal ids go together.

    Attributes:
        ids: list of video ids.
        path, spec: of the first store, for messages; all specs are compatible.
        dtype: of what `read` gives: that of the stores if all keep the same, else a float.
        binary: some of the stores keep signs alone.
        insets: the most that were looked for in one of the stores, 0 for none.
        lengths: [V] int64, frames of each video after short ones are repeated, those of its insets
            (`video.insets`) included.

    Raises:
        FingerprintMismatchError: two stores hold features made with different settings.
        InputError: a store is given twice, an id is in two stores, or a listed id is in none, or
            there is no video.
    """

    def __init__(
        self,
        stores: Sequence[FeatureStore],
        ids: Sequence[str] | None = None,
        prefixes: Sequence[str] = (),
    ) -> None:
        if not stores:
            raise InputError("no store given")
        for store in stores[1:]:
            require_same_features(stores[0], store)
        where: dict[str, FeatureStore] = {}
        prefixed: dict[FeatureStore, str] = {}
        for store, prefix in zip(stores, prefixes or [""] * len(stores), strict=True):
            if store in prefixed:
                _refuse_same(store, store)
            prefixed[store] = prefix
            for own_id in store.ids:
                video_id = prefix + own_id
                if video_id in where:
                    _refuse_same(where[video_id], store)
                    raise InputError(
                        f"video id {video_id!r} is in {where[video_id].path} and in {store.path}: "
                        "give one a prefix (PREFIX=STORE on the command line), or remove it from "
                        "one (visil-index remove)"
                    )
                where[video_id] = store
        self.ids = list(where) if ids is None else list(ids)
        for video_id in self.ids:
            if video_id not in where:
                raise InputError(f"video id {video_id!r} is in none of the stores given")
        if not self.ids:
            raise InputError(f"{stores[0].path}: holds no video, run extract_features.py first")
        self.path = stores[0].path
        self.spec: FeatureSpec = stores[0].spec
        self.dtype = _common_dtype([s.dtype for s in stores])
        self.binary = any(s.encoding == "binary" for s in stores)
        self.insets = max(s.spec.most_insets for s in stores)
        self._stores = [where[video_id] for video_id in self.ids]
        self._own_ids = self.ids
        if any(prefixes):
            named = zip(self._stores, self.ids, strict=True)
            self._own_ids = [i.removeprefix(prefixed[s]) for s, i in named]
        self._checks = [VideoCheck(s, i) for s, i in zip(self._stores, self._own_ids, strict=True)]
        self._frames = [s.frames(i) for s, i in zip(self._stores, self._own_ids, strict=True)]
        self._first = [0] * len(self.ids)
        self.lengths = np.array([padded_length(n) for n in self._frames], np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    def followed_by(self, others: Collection) -> Collection:
        """The videos of both, `others` behind; ids may occur twice. For scoring in one pass."""
        joined = copy.copy(self)
        joined.ids = self.ids + others.ids
        joined._own_ids = self._own_ids + others._own_ids
        joined._stores = self._stores + others._stores
        joined._checks = self._checks + others._checks
        joined._frames = self._frames + others._frames
        joined._first = self._first + others._first
        joined.lengths = np.concatenate([self.lengths, others.lengths])
        joined.dtype = _common_dtype([self.dtype, others.dtype])
        joined.binary = self.binary or others.binary
        joined.insets = max(self.insets, others.insets)
        return joined

    def apart(self, with_insets: bool = True) -> tuple[Collection, np.ndarray]:
        """Every inset (`video.insets`) as a video of its own, behind the one that it is in.

        Returns:
            These videos, an inset under the id of the one that it is in, and intp [videos] which
            of this collection's videos each belongs to. Without insets each video alone. A video
            that is known to be damaged is left out.

        Raises:
            StoreError: all are damaged.
        """
        self.require_sound()
        places: list[int] = []
        first, lengths = [], []
        for place, frames in enumerate(self._frames):
            if self._checks[place].damage:
                continue
            insets = self._stores[place].insets(self._own_ids[place])
            at = 0
            for count in (frames - sum(insets), *(insets if with_insets else ())):
                places.append(place)
                first.append(at)
                lengths.append(count)
                at += count
        made = copy.copy(self)
        made.ids = [self.ids[place] for place in places]
        made._own_ids = [self._own_ids[place] for place in places]
        made._stores = [self._stores[place] for place in places]
        made._checks = [self._checks[place] for place in places]
        made._first, made._frames = first, lengths
        made.lengths = np.array([padded_length(n) for n in lengths], np.int64)
        return made, np.array(places, np.intp)

    @property
    def sound(self) -> np.ndarray:
        """[V] bool: no damage is known, see `check` and `read`."""
        return np.array([not check.damage for check in self._checks])

    @property
    def sound_ids(self) -> list[str]:
        """Ids of the videos of which no damage is known."""
        return [i for i, check in zip(self.ids, self._checks, strict=True) if not check.damage]

    @property
    def damaged(self) -> dict[str, str]:
        """What is known to be wrong with which videos."""
        return {i: c.damage for i, c in zip(self.ids, self._checks, strict=True) if c.damage}

    def check(self, checksums: bool = True) -> None:
        """Read all videos that were not read yet and look for damage; `sound` and `damaged` tell.

        Args:
            checksums: compare them; else only look for what cannot be read, or is no number.
        """
        for video in range(len(self)):
            with suppress(StoreError):
                self.check_video(video, checksums)

    def check_video(self, video: int, checksums: bool = True) -> None:
        """As `check`, of one video.

        Raises:
            StoreError: it is damaged.
        """
        self._checks[video].whole(checksums)

    def damage(self, video: int, what: str) -> StoreError:
        """Count a video as damaged; returns the error that says so."""
        return self._checks[video].fail(what)

    def require_sound(self) -> None:
        """Refuse a collection that has nothing but damaged videos.

        Raises:
            StoreError: naming the first.
        """
        if not self.sound.any():
            raise StoreError(f"all {len(self)} videos are damaged: {self._checks[0].damage}")

    @property
    def row_shape(self) -> tuple[int, int]:
        """Of one frame's vectors, as `read` gives them."""
        return self.spec.vectors, stored_values(self.dtype, self.spec.dims)

    def read(
        self, video: int, start: int, stop: int, out: np.ndarray, checksum: bool = True
    ) -> None:
        """Fill `out` [stop - start, *row_shape] with frames of a video, short videos repeated.

        They are as stored, or floats if the stores do not all keep the same. Every frame is
        checked, and the checksum once all of a video, its insets included, was read in order.

        Args:
            checksum: compare it; else only look for values that are no numbers.

        Raises:
            StoreError: the video is damaged or was removed since the store was opened.
        """
        store, check = self._stores[video], self._checks[video]
        first, frames = self._first[video], self._frames[video]
        check.require()
        short = frames != self.lengths[video]
        start, stop, asked = (
            (0, frames, slice(start, stop)) if short else (start, stop, slice(None))
        )
        same = out.dtype == store.dtype
        into = out if same and not short else None
        try:
            stored = store.read_stored(self._own_ids[video], first + start, first + stop, out=into)
        except StoreError as error:
            raise check.note(error) from error
        check.part(first + start, stored, checksum)
        if into is None:
            vectors = stored if same else decode(stored, store.spec.dims)
            out[:] = repeat_to_min(vectors)[asked] if short else vectors


def all_damaged(*collections: Collection | None) -> tuple[str, ...]:
    """A line for each damaged video of all of them, once."""
    lines = (line for each in collections if each for line in each.damaged.values())
    return tuple(dict.fromkeys(lines))


def _refuse_same(first: FeatureStore, second: FeatureStore) -> None:
    """To remove a video from one of the two would be the wrong advice."""
    if first is second or first.path.resolve() == second.path.resolve():
        raise InputError(f"{second.path}: this store is given twice, give it once")


def _common_dtype(dtypes: Sequence[np.dtype]) -> np.dtype:
    if len(set(dtypes)) == 1:
        return dtypes[0]
    return np.result_type(*[decoded_dtype(dtype) for dtype in dtypes])


def require_mirrored(queries: Collection, mirrored: Collection) -> None:
    """Refuse what are no mirrored features of some of the queries.

    Raises:
        FingerprintMismatchError: not mirrored, or made with other settings besides.
        InputError: a video that is no query.
    """
    as_mirrored = replace(queries.spec, mirrored=True, insets=mirrored.spec.insets)
    differences = as_mirrored.differences(mirrored.spec)
    if differences:
        raise FingerprintMismatchError(
            f"{mirrored.path} is no store of mirrored queries for {queries.path} "
            f"({'; '.join(differences)}): make it with extract_features.py --mirrored"
        )
    strangers = set(mirrored.ids) - set(queries.ids)
    if strangers:
        raise InputError(f"{mirrored.path}: {min(strangers)!r} is mirrored, but is no query")


def require_insets(queries: Collection) -> None:
    """Refuse queries in which no insets were looked for.

    Raises:
        InputError: naming the store.
    """
    if not queries.insets:
        raise InputError(
            f"{queries.path}: no insets were looked for in these queries; make the store anew with "
            "extract_features.py --insets 2, or leave out --query_insets"
        )


def require_background(queries: Collection, background: Collection, least: int) -> None:
    """Refuse a background with too few sound videos, or that shows a query to itself.

    Raises:
        InputError: naming the store and what is wrong.
    """
    sound = int(background.sound.sum())
    if sound < least:
        damaged = (
            f" ({len(background) - sound} more are damaged)" if sound < len(background) else ""
        )
        raise InputError(
            f"{background.path}: {sound} background videos{damaged}, expected {least} or more "
            "(background_top_k)"
        )
    known = set(queries.ids) & set(background.ids)
    if known:
        raise InputError(
            f"{background.path}: {min(known)!r} is a query; a background holds only videos that "
            "are unrelated to all queries"
        )


def require_same_features(
    first: FeatureStore | Collection, second: FeatureStore | Collection
) -> None:
    """Refuse to compare what was made with different settings, but for insets.

    Raises:
        FingerprintMismatchError: naming both files and every setting that differs.
    """
    same = replace(first.spec, insets=second.spec.insets)
    _refuse(first, second, same.differences(second.spec))


def require_comparable(queries: Collection, database: Collection) -> None:
    """As `require_same_features`, but either side may have been made as queries.

    Raises:
        FingerprintMismatchError: naming both files and every setting that differs.
    """
    differences = queries.spec.as_database.differences(database.spec.as_database)
    _refuse(queries, database, differences)


def require_model(videos: Collection | FeatureStore, model: ModelWeights) -> None:
    """Refuse a model that did not make the features.

    Args:
        videos: what was made.
        model: as loaded; its dims may be more than those of the features.

    Raises:
        FingerprintMismatchError: the weights of backbone or whitening are others.
        ModelError: its attention or adaptation was learned for another number of values.
    """
    spec = videos.spec
    if model.features_digest != spec.digest:
        raise FingerprintMismatchError(
            f"{videos.path} was made with model {spec.model!r} (digest {spec.digest[:12]}), but "
            f"{model.name!r} is loaded (digest {model.features_digest[:12]}): give --model_dir "
            "of the store's model"
        )
    for name, learned, remedy in (
        ("attention", model.attention, "extract without --dims"),
        ("adaptation", model.adaptation, "give the model it was made of"),
    ):
        if learned is not None and model.dims != spec.dims:
            raise ModelError(
                f"{videos.path} holds {spec.dims} values a region, but the {name} of "
                f"{model.name!r} was learned for {model.dims}: {remedy}"
            )


def _refuse(
    first: FeatureStore | Collection, second: FeatureStore | Collection, differences: list[str]
) -> None:
    if differences:
        raise FingerprintMismatchError(
            f"features of {first.path} (here) and {second.path} (there) cannot be compared: "
            + "; ".join(differences)
            + ". Extract one of them again with the other's settings."
        )
