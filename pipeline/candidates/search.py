"""Which videos of a store may match a query, by its candidate index."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import StoreError
from ..store import FeatureStore
from .bucket_index import local_index
from .builder import fingerprints, mapped_codes, match_rows, read_codes
from .codes import IndexRule, QueryCodes
from .engine import CodeEngine, ExactCodes, InvertedCodes, VideoScores, open_inverted
from .file import (
    ROW,
    DamagedIndexError,
    IndexHeader,
    damaged,
    read_header,
    read_rows,
    require_same_rule,
    seal_of,
)

_REFINED = 3  # times as many videos are compared exactly as candidates are asked for


class CandidateIndex:
    """The candidate index of one store, open.

    Videos that the index does not know yet are read from the store, so that no video is missed.

    Attributes:
        added: how many these are.
    """

    def __init__(self, store: FeatureStore, rule: IndexRule) -> None:
        """Open it.

        Args:
            store: open.
            rule: that the index was made by.

        Raises:
            StoreError: there is no index, or it is damaged.
            FingerprintMismatchError: it was made from features of another model, or by another
                rule.
            InputError: it needs FAISS, which is not installed.
        """
        self.rule, self._store = rule, store
        folder = local_index(store)
        header, rows = _load(folder, store, rule)
        self._rows = _numbered(rows, header, store)
        self._parts = _engines(folder, header, rule, self._rows)
        known = np.zeros(len(store), bool)
        known[self._rows["number"][self._rows["number"] >= 0]] = True
        missing = np.flatnonzero(~known)
        self.added = len(missing)
        if len(missing):
            self._add(store, missing)

    @property
    def videos(self) -> np.ndarray:
        """Places in the store, intp, of the videos that have a code."""
        rows = self._rows[(self._rows["number"] >= 0) & (self._rows["codes"] > 0)]
        return rows["number"].astype(np.intp)

    def candidates(
        self,
        vectors: np.ndarray,
        count: int,
        *,
        allowed: np.ndarray | None = None,
        quantised: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The stored videos that are most like a query.

        Args:
            vectors: floats [T, R, C], the query's descriptors.
            count: how many videos, at most.
            allowed: bool, one a video of the store: others are left out; None: none are.
            quantised: what inverted lists give is not compared again by the store's descriptors,
                as far as the index has nothing else. Such similarities cannot be compared with
                those of another index.

        Returns:
            Their places in the store, intp [n], best first; and how like they are, float32 [n].
        """
        if not self._parts:
            return np.empty(0, np.intp), np.empty(0, np.float32)
        query = self.rule.query_codes(vectors)
        exact = not quantised or len(self._parts) > 1
        wanted = self._rows["number"] >= 0
        if allowed is not None:
            wanted[wanted] = allowed[self._rows["number"][wanted]]
        found = [self._scores(part, query, count, wanted, exact) for part in self._parts]
        rows = np.concatenate([part.rows for part in found])
        scores = np.concatenate([part.scores for part in found])
        numbers = self._rows["number"][rows].astype(np.intp)
        if count < len(numbers):
            best = np.argpartition(-scores, count - 1)[:count]
            numbers, scores = numbers[best], scores[best]
        order = np.lexsort((numbers, -scores))
        return numbers[order], scores[order]

    def _scores(
        self,
        part: CodeEngine,
        query: QueryCodes,
        count: int,
        wanted: np.ndarray,
        exact: bool,
    ) -> VideoScores:
        """What a part gives of the rows that are `wanted`, bool.

        The best that inverted lists give are compared again, exactly: quantised codes are less
        alike than the frames are, in each store by another factor.
        """
        found = _wanted_scores(part, query, count, wanted)
        if not (exact and isinstance(part, InvertedCodes)):
            return found
        chosen = found.rows[np.argsort(-found.scores, kind="stable")[: _REFINED * count]]
        ids = self._store.ids
        numbers = self._rows["number"][chosen].tolist()
        read = list(read_codes(self._store, self.rule, [ids[number] for number in numbers]))
        if not read:
            return VideoScores(np.empty(0, np.intp), np.empty(0, np.float32))
        codes = np.concatenate([self.rule.stored(batch) for batch, _, _ in read])
        counts = np.concatenate([batch for _, batch, _ in read])
        again = ExactCodes(codes, np.repeat(np.arange(len(chosen)), counts)).scores(query, count)
        return VideoScores(chosen[again.rows], again.scores)

    def _add(self, store: FeatureStore, missing: np.ndarray) -> None:
        """Read the codes of videos that the index does not have."""
        ids = store.ids
        parts = list(read_codes(store, self.rule, [ids[number] for number in missing.tolist()]))
        fresh = np.zeros(len(missing), ROW)
        fresh["number"], fresh["codes"] = missing, np.concatenate([part[1] for part in parts])
        codes = np.concatenate([self.rule.stored(part[0]) for part in parts])
        rows = np.arange(len(self._rows), len(self._rows) + len(fresh))
        self._parts.append(ExactCodes(codes, np.repeat(rows, fresh["codes"])))
        self._rows = np.concatenate([self._rows, fresh])


def _wanted_scores(
    part: CodeEngine, query: QueryCodes, count: int, wanted: np.ndarray
) -> VideoScores:
    """At least `count` videos of the wanted rows, as far as a part finds so many."""
    found = part.scores(query, count)
    if not isinstance(part, ExactCodes):  # that gives all videos at once
        asked, needed = count, min(count, int(wanted[: part.rows].sum()))
        while wanted[found.rows].sum() < needed and asked < part.rows:
            asked *= 4
            found = part.scores(query, asked)
    good = wanted[found.rows]
    return VideoScores(found.rows[good], found.scores[good])


def _load(folder: Path, store: FeatureStore, rule: IndexRule) -> tuple[IndexHeader, np.ndarray]:
    """Header and videos of an index; a writer may replace them meanwhile."""
    for attempt in range(3):
        header = read_header(folder)
        if header is None:
            raise StoreError(f"{store.path}: has no candidate index; {_how_to_make_one(store)}")
        require_same_rule(header, store, rule)
        try:
            return header, read_rows(folder, header)
        except DamagedIndexError:
            if attempt == 2 or read_header(folder) == header:
                raise
    raise AssertionError


def _how_to_make_one(store: FeatureStore) -> str:
    from ..store.published import PublishedStore

    if isinstance(store, PublishedStore):  # its videos have no checksums that would tell a change
        return (
            "published feature files have none: make a store of the file (visil-index "
            "import-features), then an index of that (visil-index index)"
        )
    return f"make one: visil-index index {store.path}"


def _numbered(rows: np.ndarray, header: IndexHeader, store: FeatureStore) -> np.ndarray:
    """The videos with their places in the store as it is now."""
    if header.seal == seal_of(store) and header.seal[1]:  # some kinds of stores have no seal
        return rows
    place = match_rows(rows, fingerprints(store))
    rows = rows.copy()
    rows["number"] = -1
    rows["number"][place[place >= 0]] = np.flatnonzero(place >= 0)
    return rows


def _engines(
    folder: Path, header: IndexHeader, rule: IndexRule, rows: np.ndarray
) -> list[CodeEngine]:
    """What searches the codes of an index."""
    parts: list[CodeEngine] = []
    ends = np.cumsum(rows["codes"])
    if header.inverted:
        try:
            index = open_inverted(folder / Path(header.files["inverted"][0]).name)
        except RuntimeError as error:
            raise damaged(folder, f"{header.files['inverted'][0]} cannot be read") from error
        if (index.ntotal, index.d) != (header.inverted, header.values):
            raise damaged(folder, f"{header.files['inverted'][0]} holds {index.ntotal} codes")
        parts.append(InvertedCodes(index, ends[ends <= header.inverted]))
    codes = mapped_codes(folder, header, rule)
    if len(codes) != header.codes - header.inverted:
        raise damaged(folder, f"{len(codes)} codes, expected {header.codes - header.inverted}")
    if len(codes):
        owners = np.repeat(np.arange(len(rows)), rows["codes"])[header.inverted :]
        parts.append(ExactCodes(codes, owners))
    return parts
