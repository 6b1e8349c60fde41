"""What the model is compared with: how each makes its hashes, and how it compares them."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.retrieval.baselines import hash_matching, third_party
from benchmarks.retrieval.baselines.hash_cache import HashFile
from benchmarks.retrieval.baselines.simple import colours_of_file, phash_bits_of_file


@dataclass(frozen=True)
class Method:
    """One column of the comparison.

    Attributes:
        name: in the table.
        hash_file: path -> [T, C] as it is kept; its bytes are the table's.
        prepare: [T, C] as kept -> float32 [T', C'] as the rule wants it.
        rule: how a query is compared with the database.
        package: what has to be installed from PyPI; "" if nothing.
        module: what is imported of it.
        programs: what has to be on the path.
        bar: the score from which the tool itself says yes; None if its documentation names none.
    """

    name: str
    hash_file: HashFile
    prepare: Callable[[np.ndarray], np.ndarray]
    rule: hash_matching.Rule
    package: str = ""
    module: str = ""
    programs: tuple[str, ...] = ()
    bar: float | None = None

    def missing(self) -> str:
        """Why it cannot run here; "" if it can."""
        for program in self.programs:
            if not shutil.which(program):
                return f"{program} is not on the path"
        try:
            if self.package:
                importlib.import_module(self.module or self.package)
        except (ImportError, OSError) as error:
            return f"{self.package} cannot be imported: {error}"
        return ""

    def scores(self, queries: Sequence[np.ndarray], database: Sequence[np.ndarray]) -> np.ndarray:
        """[Q, D] of prepared hashes; larger is more alike."""
        return hash_matching.table(self.rule, queries, database)


def _float(hashes: np.ndarray) -> np.ndarray:
    return hashes.astype(np.float32)


def _periods(hashes: np.ndarray) -> np.ndarray:
    """TMK: its distance is one less the mean cosine over four periods."""
    return hash_matching.unit_parts(hashes, 4) if len(hashes) else _float(hashes)


def all_methods() -> list[Method]:
    """All that there are; PDQ by vpdq, or by pdqhash where only that can be imported."""
    pdq = partial(
        Method, hash_file=third_party.vpdq_of_file, prepare=hash_matching.pdq_frames, package="vpdq"
    )
    if pdq(name="", rule=hash_matching.vpdq).missing():
        by_hand = partial(
            Method,
            hash_file=third_party.pdqhash_of_file,
            prepare=hash_matching.pdq_frames,
            package="pdqhash",
        )
        pdq = pdq if by_hand(name="", rule=hash_matching.vpdq).missing() else by_hand
    perception = partial(Method, package="perception", module="perception.hashers")
    return [
        Method("colour histogram", colours_of_file, _float, hash_matching.mean_of_best),
        Method("frame pHash", phash_bits_of_file, hash_matching.signs, hash_matching.mean_of_best),
        Method(
            "videohash2",
            third_party.videohash2_of_file,
            hash_matching.signs,
            hash_matching.mean_of_best,
            "videohash2",
            programs=("ffmpeg",),
            bar=64 - 2 * 10,
        ),
        pdq(name="vPDQ", rule=hash_matching.vpdq, bar=0.8),
        pdq(name="PDQ, Chamfer", rule=hash_matching.mean_of_best),
        perception(
            "perception, frames",
            third_party.perception_frames_of_file,
            hash_matching.signs,
            hash_matching.best_of_all,
            bar=256 - 2 * 50,
        ),
        perception(
            "perception, TMK L1",
            third_party.perception_tmk1_of_file,
            _float,
            hash_matching.nearest,
        ),
        perception(
            "perception, TMK L2",
            third_party.perception_tmk2_of_file,
            _periods,
            hash_matching.mean_of_best,
        ),
    ]
