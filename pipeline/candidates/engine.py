"""Compares codes of a query with the codes of an index, one by one or by FAISS's inverted lists.

One by one is exact: a product of matrices over int8 codes that stay in their file. Its time grows
with the collection, so a large index is divided into lists of similar codes (IVF), each code kept
as 64 bytes (its 128 main components with 4 bits each), and only the lists next to a query's code
are looked at. Source of inverted lists: Jégou et al., Product quantization for nearest neighbor
search, PAMI 2011; the library is FAISS.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .codes import QueryCodes

EXACT_CODES = 100_000  # more codes than these are kept by FAISS, if it is installed
_REDUCED = 128  # values of a code before it is quantised to 4 bits each
_TRAINING_CODES_PER_LIST = 40
_MAX_LISTS = 1024
_PROBED_LISTS = 32
_LISTS_OF_VIEWS = 4  # a query's views are many: each looks at the 4th part of the lists
_FEW_CODES = 50_000  # for these one thread is enough
MIN_INVERTED_CODES = 1000  # to have enough to train on
_BLOCK_CODES = 4096
_NEIGHBOURS = 1024, 4096  # codes that are asked for a query's code at first
_WIDER = 8  # times as many codes and lists, where too few videos were found
_MOST_FOUND = 1 << 22  # codes that a lookup may return, 50 MB
_FEW_FRAMES = 4  # of a query, when even that names too few videos
_SEED = 0

INSTALL = "pip install 'visil-index[candidates]'"


@dataclass(frozen=True)
class VideoScores:
    """Similarities of a query to the videos of an index.

    Attributes:
        rows: intp [n], of the index, each once.
        scores: float32 [n].
    """

    rows: np.ndarray
    scores: np.ndarray


class ExactCodes:
    """Codes that are compared one by one.

    Args:
        codes: int8 or float16 [n, D].
        owners: intp [n], ascending: the row of each code.
    """

    def __init__(self, codes: np.ndarray, owners: np.ndarray) -> None:
        self._codes, self._owners = codes, owners

    def scores(self, query: QueryCodes, wanted: int) -> VideoScores:
        """Compare a query with the videos.

        Args:
            query: codes of its frames.
            wanted: the best so many videos matter; all are given.
        """
        frames, views, values = query.codes.shape
        offsets = query.offsets[:, :, None]
        rows, inverse = np.unique(self._owners, return_inverse=True)
        best = np.full((frames, len(rows)), -2, np.float32)
        flat = query.codes.reshape(frames * views, values)
        for start in range(0, len(self._codes), _BLOCK_CODES):
            block = self._codes[start : start + _BLOCK_CODES].astype(np.float32)
            length = np.sqrt(np.einsum("nd,nd->n", block, block))
            products = (flat @ block.T) / np.maximum(length, 1)
            products = (products.reshape(frames, views, -1) + offsets).max(axis=1)
            owners = inverse[start : start + len(block)]
            begins = np.flatnonzero(np.diff(owners, prepend=-1))
            found = np.maximum.reduceat(products, begins, axis=1)
            places = owners[begins]
            best[:, places] = np.maximum(best[:, places], found)
        return VideoScores(rows, best.mean(axis=0))


class InvertedCodes:
    """Codes in FAISS's inverted lists.

    Args:
        index: of FAISS.
        ends: int64 [rows], the number of the code behind the last one of each row.

    Attributes:
        rows: how many.
    """

    def __init__(self, index: Any, ends: np.ndarray) -> None:
        self._index, self._ends = index, ends
        self._lists = int(faiss_module().extract_index_ivf(index).nlist)
        self.rows = len(ends)
        self._videos = int(np.count_nonzero(np.diff(ends, prepend=0)))

    def scores(self, query: QueryCodes, wanted: int) -> VideoScores:
        """As of `ExactCodes`; only videos are given of which a code is near one of the query's.

        A frame to which no code of a video is near counts as the last code that is near. Where
        that names too few videos, more codes in more lists are looked at, at last in all lists
        for some of the query's frames.
        """
        frames, views, _ = query.codes.shape
        least, most = _NEIGHBOURS
        stored, wanted = int(self._ends[-1]), min(wanted, self._videos)
        count, lists = max(least, min(most, 10 * wanted)), _PROBED_LISTS
        found = self._found(query, count, lists)
        largest = max(count, _MOST_FOUND // (frames * views))
        while len(found.rows) < wanted and (count < min(stored, largest) or lists < self._lists):
            count, lists = min(largest, _WIDER * count), _WIDER * lists
            found = self._found(query, count, lists)
        if len(found.rows) < wanted:
            few = np.linspace(0, frames - 1, min(frames, _FEW_FRAMES)).round().astype(np.intp)
            as_they_are = QueryCodes(query.codes[few, :1], query.offsets[few, :1])
            rest = self._found(as_they_are, _MOST_FOUND // len(few), self._lists)
            found = _with_rest(found, rest)
        return found

    def _found(self, query: QueryCodes, count: int, lists: int) -> VideoScores:
        """The videos of the codes nearest to each code of a query, `count` of each.

        Args:
            lists: that are looked at for a frame as it is; for its other views a quarter of them.
        """
        frames = len(query.codes)
        looked_up = [self._nearest(query.codes[:, :1], count, lists)]
        if query.codes.shape[1] > 1:
            of_views = min(count, _NEIGHBOURS[0]), max(1, lists // _LISTS_OF_VIEWS)
            looked_up.append(self._nearest(query.codes[:, 1:], *of_views))
        offsets = query.offsets[:, :1, None], query.offsets[:, 1:, None]
        pairs = zip(looked_up, offsets, strict=False)
        similarities = np.concatenate([(s + o).reshape(frames, -1) for (s, _), o in pairs], axis=1)
        codes = np.concatenate([c.reshape(frames, -1) for _, c in looked_up], axis=1)
        near = (codes >= 0) & (codes < self._ends[-1])
        last = np.where(near, similarities, np.inf).min(axis=1, initial=np.inf)
        last[~np.isfinite(last)] = -1
        rows = np.searchsorted(self._ends, codes[near], side="right")
        at = np.broadcast_to(np.arange(frames)[:, None], codes.shape)[near]
        order = np.lexsort((at, rows))
        rows, at, found = rows[order], at[order], similarities[near][order]
        if not len(rows):
            return VideoScores(np.empty(0, np.intp), np.empty(0, np.float32))
        pair = np.flatnonzero((np.diff(rows, prepend=-1) != 0) | (np.diff(at, prepend=-1) != 0))
        gain = np.maximum.reduceat(found, pair) - last[at[pair]]
        begins = np.flatnonzero(np.diff(rows[pair], prepend=-1))
        scores = (np.add.reduceat(gain, begins) + last.sum()) / frames
        return VideoScores(rows[pair][begins].astype(np.intp), scores.astype(np.float32))

    def _nearest(self, query: np.ndarray, count: int, lists: int) -> tuple[np.ndarray, np.ndarray]:
        """Similarities and numbers of codes, both [T, views, count]; -1 for none."""
        frames, views, values = query.shape
        flat = np.ascontiguousarray(query.reshape(frames * views, values))
        faiss, stored = faiss_module(), int(self._ends[-1])
        looked_at = faiss.SearchParametersIVF(nprobe=min(lists, self._lists))
        parameters = faiss.SearchParametersPreTransform(index_params=looked_at)
        with _threads(faiss, 1 if stored < _FEW_CODES else faiss.omp_get_max_threads()):
            similarities, codes = self._index.search(flat, min(count, stored), params=parameters)
        return similarities.reshape(frames, views, -1), codes.reshape(frames, views, -1)


CodeEngine = ExactCodes | InvertedCodes


def _with_rest(found: VideoScores, rest: VideoScores) -> VideoScores:
    """Add the videos that only a second lookup named, behind those of the first."""
    new = ~np.isin(rest.rows, found.rows)
    scores = rest.scores[new]
    if len(scores) and len(found.scores):
        scores = scores - max(0.0, float(scores.max() - found.scores.min()))
    return VideoScores(
        np.concatenate([found.rows, rest.rows[new]]), np.concatenate([found.scores, scores])
    )


def faiss_module() -> Any:
    """FAISS, or None where it is not installed."""
    try:
        import faiss
    except ImportError:
        return None
    return faiss


def build_inverted(
    sample: np.ndarray,
    batches: Sequence[Callable[[], np.ndarray]],
    codes: int,
    path: Path,
    done: Callable[[int], None],
) -> int:
    """Train inverted lists, fill them and write them to a file.

    Batches are read and encoded by as many threads as there are cores, each a batch of its own,
    and added in their order.

    Args:
        sample: float32 [n, D], codes of the store to train on.
        batches: give all codes when they are called, float32 [n, D] each.
        codes: about how many there are.
        path: of the new file.
        done: called with the number of each batch that was added.

    Returns:
        How many codes there are.
    """
    faiss = faiss_module()
    workers = 1 if codes < _FEW_CODES else faiss.omp_get_max_threads()
    with _threads(faiss, workers):
        index = _trained(faiss, sample, codes)
    lists = faiss.extract_index_ivf(index)
    encoder = _Encoder(faiss, index)

    reading = threading.Lock()  # two threads that make many small reads hinder each other

    def encode(batch: Callable[[], np.ndarray]) -> np.ndarray:
        with reading:
            values = batch()
        return encoder.encoded(values)

    with single_threads(workers) as pool:
        for number, encoded in enumerate(_in_order(pool, encode, batches, 2 * workers)):
            if len(encoded):
                first = lists.ntotal
                lists.add_sa_codes(encoded, np.arange(first, first + len(encoded)))
            done(number)
    index.ntotal = lists.ntotal
    faiss.write_index(index, str(path))
    return int(index.ntotal)


class _Encoder:
    """What `sa_encode` of a trained index of `_trained` does, in a fourth of the time.

    The products, nearly all of the work, are NumPy's: FAISS's wheel takes three times as long for
    them (benchmarks/NOTES.md).
    """

    def __init__(self, faiss: Any, index: Any) -> None:
        reduction = faiss.downcast_VectorTransform(index.chain.at(0))
        matrix = faiss.vector_to_array(reduction.A).reshape(reduction.d_out, reduction.d_in)
        self._matrix, self._bias = matrix.T, faiss.vector_to_array(reduction.b)
        self._faiss, self._lists = faiss, faiss.extract_index_ivf(index)
        self._centres = self._lists.quantizer.reconstruct_n(0, self._lists.nlist).T
        self._bytes = self._lists.sa_code_size()

    def encoded(self, values: np.ndarray) -> np.ndarray:
        """Uint8 [n, bytes], the number of the list and the quantised code, of float32 [n, D]."""
        reduced = values @ self._matrix
        if len(self._bias):
            reduced += self._bias
        nearest = (reduced @ self._centres).argmax(axis=1)
        encoded = np.empty((len(values), self._bytes), np.uint8)
        pointers = map(self._faiss.swig_ptr, (reduced, nearest, encoded))
        self._lists.encode_vectors(len(values), *pointers, True)
        return encoded


def _in_order(
    pool: ThreadPoolExecutor,
    work: Callable[[Callable[[], np.ndarray]], np.ndarray],
    batches: Sequence[Callable[[], np.ndarray]],
    ahead: int,
) -> Iterator[np.ndarray]:
    """The results of work on each batch, in order; at most `ahead` wait in memory."""
    waiting: deque[Future[np.ndarray]] = deque()
    for batch in batches:
        waiting.append(pool.submit(work, batch))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _trained(faiss: Any, sample: np.ndarray, codes: int) -> Any:
    """An empty index of FAISS, trained."""
    values = sample.shape[1]
    lists = list_count(codes, len(sample))
    text = f"PCAR{min(_REDUCED, values)},IVF{lists},SQ4"
    index = faiss.index_factory(values, text, faiss.METRIC_INNER_PRODUCT)
    inner = faiss.extract_index_ivf(index)
    inner.cp.seed, inner.cp.niter = _SEED, 8
    index.train(np.ascontiguousarray(sample))
    return index


@contextmanager
def _threads(faiss: Any, count: int) -> Iterator[None]:
    """Let FAISS use so many threads: for little work, waiting for each other takes longer."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def lookup_threads() -> int:
    """How many threads may look up at once; one without FAISS, as numpy's products take all."""
    faiss = faiss_module()
    return int(faiss.omp_get_max_threads()) if faiss is not None else 1


@contextmanager
def single_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads that each compute alone: FAISS and NumPy start no others for them.

    Args:
        count: threads; for one alone NumPy may start others.
    """
    faiss = faiss_module()

    def take_one() -> None:
        if faiss is not None:
            faiss.omp_set_num_threads(1)

    limited = _one_blas_thread() if count > 1 else nullcontext()
    with limited, ThreadPoolExecutor(count, initializer=take_one) as pool:
        yield pool


def _one_blas_thread() -> AbstractContextManager[object]:
    """While it is open a product of matrices takes one thread, in all of the program."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:  # comes with FAISS in the extra; without it this is slower only
        return nullcontext()
    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits


def list_count(codes: int, sample: int) -> int:
    """How many inverted lists are made for so many codes, with so many to train on."""
    wanted = 1 << max(2, round(np.log2(max(1, codes)) / 2))
    return int(max(1, min(wanted, _MAX_LISTS, sample // _TRAINING_CODES_PER_LIST)))


def training_codes(codes: int) -> int:
    """How many of so many codes are enough to train on."""
    return min(codes, max(20_000, list_count(codes, codes) * _TRAINING_CODES_PER_LIST))


def probed_share(codes: int, views: int = 1) -> float:
    """Which share of so many codes a search compares with a code of the query.

    Args:
        views: codes of a query frame, the frame as it is included.
    """
    share = min(1.0, _PROBED_LISTS / list_count(codes, training_codes(codes)))
    return share * (1 + (views - 1) / _LISTS_OF_VIEWS) / views


def list_codes(codes: np.ndarray) -> Any:
    """Codes as inverted lists keep them, in one list; needs FAISS.

    Args:
        codes: float32 [n, D], D as after the reduction.
    """
    faiss = faiss_module()
    quantiser = faiss.ScalarQuantizer.QT_4bit
    index = faiss.IndexScalarQuantizer(codes.shape[1], quantiser, faiss.METRIC_INNER_PRODUCT)
    index.train(codes)
    index.add(codes)
    return index


def open_inverted(path: Path, mapped: bool = True) -> Any:
    """Open FAISS's file; its lists stay there and are read when they are searched.

    Raises:
        InputError: FAISS is not installed.
        RuntimeError: it cannot be read.
    """
    faiss = faiss_module()
    if faiss is None:
        raise InputError(
            f"{path.parent}: this candidate index is a large one, made with FAISS, which is not "
            f"installed here: {INSTALL}"
        )
    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP if mapped else 0)
