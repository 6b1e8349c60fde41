"""Several stores read as one numbered list of videos."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import FingerprintMismatchError, InputError, StoreError
from ..quantization import dequantize, dequantized_dtype, stored_values
from ..records import FeatureSpec
from ..short_videos import padded_length, repeat_to_min
from ..store import FeatureStore, VideoCheck

if TYPE_CHECKING:
    pass


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
            (`video.pip.detector`) included.

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
        self.insets = max(s.spec.inset_rule.limit for s in stores)
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
        """Every inset (`video.pip.detector`) as a video of its own, behind the one that it is in.

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
        return self.spec.descriptors, stored_values(self.dtype, self.spec.dims)

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
            vectors = stored if same else dequantize(stored, store.spec.dims)
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
    return np.result_type(*[dequantized_dtype(dtype) for dtype in dtypes])


def require_same_features(
    first: FeatureStore | Collection, second: FeatureStore | Collection
) -> None:
    """Refuse to compare what was made with different settings, but for insets.

    Raises:
        FingerprintMismatchError: naming both files and every setting that differs.
    """
    same = replace(first.spec, insets=second.spec.insets)
    _refuse(first, second, same.differences(second.spec))


def _refuse(
    first: FeatureStore | Collection, second: FeatureStore | Collection, differences: list[str]
) -> None:
    if differences:
        raise FingerprintMismatchError(
            f"features of {first.path} (here) and {second.path} (there) cannot be compared: "
            + "; ".join(differences)
            + ". Extract one of them again with the other's settings."
        )
