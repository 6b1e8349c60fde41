"""Several stores read as one numbered list of videos."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from typing import NamedTuple, overload

import numpy as np

from ..errors import InputError, StorageError, StoreError
from ..program import command
from ..quantization import dequantize, dequantized_dtype, stored_values
from ..records import FeatureSpec, SourceInfo, VideoRecord
from ..short_videos import padded_length, repeat_to_min
from ..store import FeatureStore, VideoCheck
from .compatibility import require_same_features

_PREFETCHED_BYTES = 32 << 20  # of features that a check reads ahead


class _Sequence(NamedTuple):
    """A run of frames in a store: a whole video, or a part of what is stored of it.

    Attributes:
        store, own_id: where it is; the id is the store's own, without prefix.
        check: of the whole video.
        first, frames: which frames of those stored.
    """

    store: FeatureStore
    own_id: str
    check: VideoCheck
    first: int
    frames: int


class _StoredVideos(Sequence[_Sequence]):
    """All videos of some stores; what describes one is made when it is asked for.

    Of a million videos a search with candidates looks at some hundred.

    Attributes:
        made: what was asked for, by number.
    """

    def __init__(self, stores: Sequence[FeatureStore]) -> None:
        self._stores = list(stores)
        self._ids = [store.ids for store in stores]
        self._ends = np.cumsum([len(store) for store in stores])
        self.made: dict[int, _Sequence] = {}

    def __len__(self) -> int:
        return int(self._ends[-1])

    @overload
    def __getitem__(self, number: int) -> _Sequence: ...
    @overload
    def __getitem__(self, number: slice) -> list[_Sequence]: ...
    def __getitem__(self, number: int | slice) -> _Sequence | list[_Sequence]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        if number < 0:
            number += len(self)
        known = self.made.get(number)
        if known is not None:
            return known
        if not 0 <= number < len(self):
            raise IndexError(number)
        place = int(np.searchsorted(self._ends, number, side="right"))
        store = self._stores[place]
        own = self._ids[place][number - int(self._ends[place])]  # counted from the end
        made = _Sequence(store, own, VideoCheck(store, own), 0, store.frames(own))
        return self.made.setdefault(number, made)  # another thread may have been first


class VideoSet:
    """Videos of one or more stores, in the order of the stores or as listed.

    Args:
        stores: open stores, all with compatible features.
        ids: take these videos, in this order; None takes all.
        prefixes: one a store, before all its ids, so that stores with equal ids go together.

    Attributes:
        ids: list of video ids.
        stores: list of the stores.
        path, spec: of the first store, for messages; all specs are compatible.
        dtype: of what `read` gives: that of the stores if all are encoded the same, else a float.
        binary: some of the stores hold signs alone.
        insets: how many insets were looked for at a time, in the store with the most; 0 for none.
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
        prefixes = prefixes or [""] * len(stores)
        sequences: Sequence[_Sequence]
        if ids is None:
            sequences, self.ids = _StoredVideos(stores), _all_ids(stores, prefixes)
        else:
            origins, self.ids = _origins(stores, prefixes), list(ids)
            for video_id in self.ids:
                if video_id not in origins:
                    raise InputError(f"video id {video_id!r} is in none of the stores given")
            sequences = [
                _Sequence(s, own, VideoCheck(s, own), 0, s.frames(own))
                for s, own in (origins[video_id] for video_id in self.ids)
            ]
        if not self.ids:
            raise InputError(f"{stores[0].path}: holds no video, run {command('extract')} first")
        self.stores = list(stores)
        self.path = stores[0].path
        self.spec: FeatureSpec = stores[0].spec
        self.dtype = _common_dtype(s.dtype for s in stores)
        self.binary = any(s.encoding == "binary" for s in stores)
        self.insets = max(s.spec.inset_rule.limit for s in stores)
        self._set_sequences(sequences)

    def _set_sequences(self, sequences: Sequence[_Sequence]) -> None:
        self._sequences = sequences
        if isinstance(sequences, _StoredVideos):
            frames = np.concatenate([store.lengths for store in self.stores])
            different, which = np.unique(frames, return_inverse=True)
            self.lengths = np.array([padded_length(int(n)) for n in different], np.int64)[which]
        else:
            self.lengths = np.array([padded_length(s.frames) for s in sequences], np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"<VideoSet of {len(self)} videos, {self.path}>"

    def concat(self, other: VideoSet) -> VideoSet:
        """The videos of both, those of `other` last; ids may occur twice. For scoring in one pass.

        Args:
            other: a set with compatible features.
        """
        joined = copy.copy(self)
        joined.ids = self.ids + other.ids
        joined.stores = list(dict.fromkeys(self.stores + other.stores))
        joined._set_sequences([*self._sequences, *other._sequences])
        joined.dtype = _common_dtype([self.dtype, other.dtype])
        joined.binary = self.binary or other.binary
        joined.insets = max(self.insets, other.insets)
        return joined

    def subset(self, video_ids: Sequence[str]) -> VideoSet:
        """Some videos of this set as a set of their own, which finds damage by itself.

        Args:
            video_ids: in the order of the new set.

        Raises:
            InputError: an id is not in this set, or there is none.
        """
        numbers = {video_id: number for number, video_id in enumerate(self.ids)}
        if not video_ids:
            raise InputError(f"{self.path}: no video id given")
        for video_id in video_ids:
            if video_id not in numbers:
                raise InputError(f"video id {video_id!r} is in none of the stores given")
        chosen = copy.copy(self)
        chosen.ids = list(video_ids)
        parts = [self._sequences[numbers[video_id]] for video_id in video_ids]
        chosen._set_sequences([p._replace(check=VideoCheck(p.store, p.own_id)) for p in parts])
        return chosen

    def take(self, videos: Sequence[int] | np.ndarray) -> VideoSet:
        """Some of the videos, in this order; what is known of their damage is shared.

        Args:
            videos: their numbers.
        """
        numbers = np.asarray(videos, np.intp).tolist()
        part = copy.copy(self)
        part.ids = [self.ids[video] for video in numbers]
        part._set_sequences([self._sequences[video] for video in numbers])
        return part

    def split_insets(self, with_insets: bool = True) -> tuple[VideoSet, np.ndarray]:
        """Make every inset (`video.pip.detector`) a sequence of its own, after its video's.

        Args:
            with_insets: False leaves insets out.

        Returns:
            The sequences as a set, an inset under the id of the video that it is in; and the owner
            of each, intp [sequences], as an index into this set. A video that is known to be
            damaged is left out.

        Raises:
            StoreError: all videos are damaged.
        """
        self.require_sound()
        owner: list[int] = []
        sequences: list[_Sequence] = []
        for video, whole in enumerate(self._sequences):
            if whole.check.damage:
                continue
            insets = whole.store.insets(whole.own_id)
            first = whole.first
            for frames in (whole.frames - sum(insets), *(insets if with_insets else ())):
                owner.append(video)
                sequences.append(whole._replace(first=first, frames=frames))
                first += frames
        split = copy.copy(self)
        split.ids = [self.ids[video] for video in owner]
        split._set_sequences(sequences)
        return split, np.array(owner, np.intp)

    def numbers_in_stores(self) -> list[np.ndarray]:
        """For each store the number in this set of each of its videos, intp; -1: not in the set."""
        if isinstance(self._sequences, _StoredVideos):
            every, counts = np.arange(len(self)), [len(store) for store in self.stores]
            return np.split(every, np.cumsum(counts)[:-1])
        places = {store: {own: i for i, own in enumerate(store)} for store in self.stores}
        numbers = {store: np.full(len(store), -1, np.intp) for store in self.stores}
        for number, sequence in enumerate(self._sequences):
            numbers[sequence.store][places[sequence.store][sequence.own_id]] = number
        return [numbers[store] for store in self.stores]

    def vectors(self, video: int) -> np.ndarray:
        """All descriptors of a video as floats [T, R, C].

        Raises:
            StoreError: it is damaged.
        """
        stored = np.empty((int(self.lengths[video]), *self.row_shape), self.dtype)
        self.read(video, 0, len(stored), stored)
        return dequantize(stored, self.spec.dims)

    def frame_seconds(self, video: int) -> tuple[np.ndarray, int]:
        """When the stored frames of a video were sampled; short videos are not repeated here.

        Returns:
            float64 [T] seconds since the start of the video, those of each inset beginning anew;
            and how many of them, the first, are frames of the video itself.

        Raises:
            StoreError: the times are damaged.
        """
        sequence = self._sequences[video]
        part = slice(sequence.first, sequence.first + sequence.frames)
        seconds = sequence.store.seconds(sequence.own_id)[part]
        own = sequence.store.frames(sequence.own_id) - sum(sequence.store.insets(sequence.own_id))
        return seconds, max(0, min(own - sequence.first, len(seconds)))

    def source(self, video: int) -> SourceInfo:
        """Which file a video came from, as its store tells."""
        return self.record(video).source

    def record(self, video: int) -> VideoRecord:
        """What a video's store tells of it; its id there has no prefix."""
        sequence = self._sequences[video]
        return sequence.store.record(sequence.own_id)

    def stored(self, video: int) -> tuple[FeatureStore, str]:
        """The store that a video is in, and its id there."""
        sequence = self._sequences[video]
        return sequence.store, sequence.own_id

    @property
    def sound(self) -> np.ndarray:
        """[V] bool: no damage is known, see `check` and `read`."""
        return self.sound_between(0, len(self))

    def sound_between(self, first: int, last: int) -> np.ndarray:
        """Bool: `sound` of the videos from number `first` to before `last`."""
        sound = np.ones(max(0, min(last, len(self)) - first), bool)
        for number, _ in self._known(first, last):
            sound[number - first] = False
        return sound

    def _known(self, first: int, last: int) -> list[tuple[int, str]]:
        """Number and damage of each damaged video from number `first` to before `last`."""
        if isinstance(self._sequences, _StoredVideos):
            made = dict(self._sequences.made)  # a thread that reads may ask for more meanwhile
            known = [(n, made[n]) for n in sorted(made) if first <= n < last]
        else:
            known = list(enumerate(self._sequences[first:last], first))
        return [(number, s.check.damage) for number, s in known if s.check.damage]

    @property
    def sound_ids(self) -> list[str]:
        """Ids of the videos of which no damage is known."""
        return list(compress(self.ids, self.sound.tolist()))

    @property
    def damaged(self) -> dict[str, str]:
        """Id of each video that is known to be damaged, and what is wrong with it."""
        return {self.ids[number]: damage for number, damage in self._known(0, len(self))}

    def check(self, checksums: bool = True) -> None:
        """Read all videos that were not read yet and look for damage; `sound` and `damaged` tell.

        Args:
            checksums: compare them; else only look for what cannot be read, or is no number.
        """
        for video in self.reading_ahead(
            [n for n, sequence in enumerate(self._sequences) if not sequence.check.done]
        ):
            try:
                self.check_video(video, checksums)
            except StorageError:
                raise
            except StoreError:
                continue  # `damaged` names it

    def reading_ahead(self, videos: Sequence[int]) -> Iterator[int]:
        """Numbers of videos again, each once a network has sent it and some that follow.

        Raises:
            StoreError: the storage cannot be reached.
        """
        for group in plan_blocks_of(self.lengths[list(videos)], self._prefetched_frames):
            numbers = [videos[place] for place in group]
            self.prefetch([(video, 0, int(self.lengths[video])) for video in numbers])
            yield from numbers

    @property
    def _prefetched_frames(self) -> int:
        """Frames that a check reads ahead at a time."""
        return max(1, _PREFETCHED_BYTES // max(1, self.stores[0].frame_bytes))

    @property
    def ahead_bytes(self) -> int:
        """Bytes that `prefetch` keeps until they are read; 0: it does nothing."""
        return max(store.ahead_bytes for store in self.stores)

    def prefetch(self, wanted: Sequence[tuple[int, int, int]]) -> None:
        """Announce what `read` is asked for next, so that a store over a network reads it at once.

        Args:
            wanted: (video, start, stop) in frames, short videos repeated.

        Raises:
            StoreError: the storage cannot be reached.
        """
        by_store: dict[FeatureStore, list[tuple[str, int, int]]] = {}
        for video, start, stop in wanted:
            store, own_id, check, first, frames = self._sequences[video]
            if not check.damage:
                short = frames != self.lengths[video]
                begin, end = (0, frames) if short else (start, min(stop, frames))
                by_store.setdefault(store, []).append((own_id, first + begin, first + end))
        for store, ranges in by_store.items():
            store.prefetch(ranges)

    def check_video(self, video: int, checksums: bool = True) -> None:
        """Check one video as `check` does.

        Raises:
            StoreError: it is damaged.
        """
        self._sequences[video].check.whole(checksums)

    def mark_damaged(self, video: int, what: str) -> StoreError:
        """Count a video as damaged; returns the error that says so."""
        return self._sequences[video].check.fail(what)

    def origins(self) -> list[tuple[str, str]]:
        """(id prefix, path) of each store, with which another process opens the same set."""
        prefixes: dict[FeatureStore, str] = {}
        for video_id, sequence in zip(self.ids, self._sequences, strict=True):
            prefixes.setdefault(sequence.store, video_id.removesuffix(sequence.own_id))
        return [(prefix, str(store.path)) for store, prefix in prefixes.items()]

    def note_damage(self, video: int, line: str) -> None:
        """Count a video as damaged, as another process found."""
        self._sequences[video].check.note(StoreError(line))

    def damage_by_number(self) -> dict[int, str]:
        """What is wrong with each video that is known to be damaged, by its number."""
        return dict(self._known(0, len(self)))

    def require_sound(self) -> None:
        """Refuse a set that has nothing but damaged videos.

        Raises:
            StoreError: naming the first.
        """
        if not self.sound.any():
            raise StoreError(
                f"all {len(self)} videos are damaged: {self._sequences[0].check.damage}"
            )

    @property
    def row_shape(self) -> tuple[int, int]:
        """Shape of one frame's descriptors, as `read` gives them."""
        return self.spec.descriptors, stored_values(self.dtype, self.spec.dims)

    def read(
        self, video: int, start: int, stop: int, out: np.ndarray, *, checksum: bool = True
    ) -> None:
        """Fill `out` [stop - start, *row_shape] with frames of a video, short videos repeated.

        They are as stored, or floats if the stores are not all encoded the same. Every frame is
        checked, and the checksum once all of a video, its insets included, was read in order.

        Args:
            checksum: compare it; else only look for values that are no numbers.

        Raises:
            StoreError: the video is damaged or was removed since the store was opened.
        """
        store, own_id, check, first, frames = self._sequences[video]
        check.require()
        short = frames != self.lengths[video]
        rows = slice(start, stop) if short else slice(None)
        if short:  # it is repeated as a whole
            start, stop = 0, frames
        same = out.dtype == store.dtype
        into = out if same and not short else None
        try:
            stored = store.read_stored(own_id, first + start, first + stop, out=into)
        except StoreError as error:
            raise check.note(error) from error
        check.part(first + start, stored, checksum)
        if into is None:
            vectors = stored if same else dequantize(stored, store.spec.dims)
            out[:] = repeat_to_min(vectors)[rows] if short else vectors


def plan_blocks_of(lengths: Sequence[int] | np.ndarray, budget: int) -> Iterator[list[int]]:
    """Numbers of videos in groups of about `budget` frames."""
    group: list[int] = []
    frames = 0
    for video, length in enumerate(lengths):
        group.append(video)
        frames += int(length)
        if frames >= budget:
            yield group
            group, frames = [], 0
    if group:
        yield group


def damage_lines(*video_sets: VideoSet | None) -> tuple[str, ...]:
    """A line for each damaged video of all sets, once."""
    lines = (line for videos in video_sets if videos for line in videos.damaged.values())
    return tuple(dict.fromkeys(lines))


def _all_ids(stores: Sequence[FeatureStore], prefixes: Sequence[str]) -> list[str]:
    """Ids with prefix of all videos of all stores.

    Raises:
        InputError: see `_origins`.
    """
    pairs = zip(stores, prefixes, strict=True)
    ids = [prefix + own for store, prefix in pairs for own in store.ids]
    if len(stores) > 1 and (len(set(stores)) < len(stores) or len(set(ids)) < len(ids)):
        _origins(stores, prefixes)  # raises, naming what is there twice
    return ids


def _origins(
    stores: Sequence[FeatureStore], prefixes: Sequence[str]
) -> dict[str, tuple[FeatureStore, str]]:
    """Id with prefix -> its store, and its id there.

    Raises:
        InputError: a store is given twice, or an id is in two stores.
    """
    origins: dict[str, tuple[FeatureStore, str]] = {}
    seen: set[FeatureStore] = set()
    for store, prefix in zip(stores, prefixes, strict=True):
        if store in seen:
            _refuse_same(store, store)
        seen.add(store)
        for own_id in store.ids:
            video_id = prefix + own_id
            if video_id in origins:
                first = origins[video_id][0]
                _refuse_same(first, store)
                raise InputError(
                    f"video id {video_id!r} is in {first.path} and in {store.path}: "
                    "give one a prefix (PREFIX=STORE on the command line), or remove it from "
                    "one (visil-index remove)"
                )
            origins[video_id] = store, own_id
    return origins


def _refuse_same(first: FeatureStore, second: FeatureStore) -> None:
    """To remove a video from one of the two would be the wrong advice."""
    if first is second or first.path.resolve() == second.path.resolve():
        raise InputError(f"{second.path}: this store is given twice, give it once")


def _common_dtype(dtypes: Iterable[np.dtype]) -> np.dtype:
    different = set(dtypes)
    if len(different) == 1:
        return different.pop()
    return np.result_type(*[dequantized_dtype(dtype) for dtype in different])
