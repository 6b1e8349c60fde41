"""By which rule the candidate index of a store is made: a model's descriptors, or a coarse student.

The vectors of DnS's coarse student are codes of a whole video (Kordopatis-Zilos et al., DnS, IJCV
2022), so the candidates of such an index are the videos with the highest coarse similarities. The
index names the student's folder, and a search takes the student from there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..candidates import (
    IndexRule,
    QueryCodes,
    code_rule,
    index_folder,
    local_index,
    made_by_student,
)
from ..errors import InputError, ModelError
from ..store import FeatureStore
from .coarse_file import students_name
from .compatibility import require_model, require_student

if TYPE_CHECKING:
    from ..nets.model.model import Model
    from ..nets.model.student import Student

_VERSION = 1


class CoarseRule:
    """The `IndexRule` of a coarse student: one code a video, its vector.

    It is kept as float16, which changes a product of two vectors by less than 0.0005. All vectors
    are compared one by one: a large index costs two bytes a value, and FAISS's lists would have to
    be checked by the network.

    Attributes:
        student: folder of the student.
    """

    def __init__(
        self, student: Student, folder: str | Path, descriptors: int, gpu_id: int | None = None
    ) -> None:
        """Make the network.

        Args:
            student: as loaded, of kind "coarse".
            folder: that it was loaded from.
            descriptors: of a frame of the store.
            gpu_id: see `nets.backend.device_scope`.
        """
        from ..nets.model.student import VECTOR
        from ..nets.similarity.coarse_student import CoarseStudent

        self.student = os.path.abspath(folder)
        self.name = f"coarse {_VERSION}; {students_name(student, None)[:16]}"
        self.values, self.span = VECTOR, (0, descriptors)
        self.dtype, self.divisible = "float16", False
        self._network = CoarseStudent(student, gpu_id)

    def frames(self, frames: int, insets: tuple[int, ...], fps: float) -> np.ndarray:
        """All frames of the video itself: a vector is not of its insets."""
        return np.arange(frames - sum(insets))

    def database_codes(self, vectors: np.ndarray) -> np.ndarray:
        """See `IndexRule`; one code, none of a video without frames."""
        if not len(vectors):
            return np.empty((0, self.values), np.float32)
        return self._network(vectors)[None]

    def query_codes(self, vectors: np.ndarray) -> QueryCodes:
        """See `IndexRule`; one code of one view, whatever further views there are."""
        vector = self._network(vectors[:, slice(*self.span)])
        return QueryCodes(vector[None, None], np.zeros((1, 1), np.float32))

    def stored(self, codes: np.ndarray) -> np.ndarray:
        """Codes as float16."""
        return codes.astype(np.float16)


def coarse_rule(store: FeatureStore, folder: str | Path, gpu_id: int | None = None) -> CoarseRule:
    """The rule of the coarse student in a folder.

    Raises:
        ModelError: the folder holds no student, or a damaged one.
        InputError: it holds a selector, or the store fewer values than the student takes.
        FingerprintMismatchError: the student is for other features.
    """
    from ..nets.formats.loader import load_student

    student = load_student(folder)
    if student.kind != "coarse":
        raise InputError(
            f"{folder}: holds a {student.kind}, and a candidate index takes a coarse student: give "
            "the folder that dns_cg_student.pth was converted to"
        )
    require_student(store, student)
    return CoarseRule(student, folder, store.spec.shared_descriptors, gpu_id)


def rule_to_index(
    store: FeatureStore, load_model: Callable[[], Model], coarse: str | Path | None = None
) -> IndexRule:
    """The rule to make a store's index by, or to bring it up to date by.

    Args:
        load_model: gives the model that made the store; called only where it is needed.
        coarse: folder of a coarse student; None: of the one that made the index that there is, or
            none.

    Raises:
        StoreError: the header of an index by a coarse student cannot be read.
        FingerprintMismatchError, InputError, ModelError: see `coarse_rule` and `require_model`.
    """
    if coarse is not None:
        return coarse_rule(store, coarse)
    folder = made_by_student(local_index(store))
    if folder:
        return _kept_rule(store, folder)
    model = load_model()
    require_model(store, model)
    return code_rule(model.layout, store.spec.dims)


def rules_to_search(
    stores: Sequence[FeatureStore], model: Model, dims: int, gpu_id: int | None = None
) -> list[IndexRule]:
    """The rule that each store's index was made by.

    Args:
        model: that the stores' features are compared by.
        dims: C, values of a descriptor.
        gpu_id: of the coarse student, see `nets.backend.device_scope`.

    Raises:
        FingerprintMismatchError, InputError, ModelError, StoreError: see `rule_to_index`.
    """
    rules: list[IndexRule] = []
    for store in stores:
        folder = made_by_student(local_index(store))
        same = [rule for rule in rules if folder and rule.student == folder]
        if same:
            rules.append(same[0])
        else:
            anchors = model.for_store(dims).anchors
            rules.append(
                _kept_rule(store, folder, gpu_id)
                if folder
                else code_rule(model.layout, dims, anchors)
            )
    return rules


def require_one_rule(stores: Sequence[FeatureStore], rules: Sequence[IndexRule]) -> None:
    """Refuse indices by several rules: the videos of all of them have no common order.

    Raises:
        InputError: naming two of the indices.
    """
    for store, rule in zip(stores, rules, strict=True):
        if rule.name != rules[0].name:
            raise InputError(
                f"{index_folder(stores[0].path)} and {index_folder(store.path)}: one candidate "
                "index was made by a coarse student, the other was not or was made by another "
                "one: remove one of the folders and make that index as the other "
                "(visil-index index STORE, or with --coarse DIR)"
            )


def _kept_rule(store: FeatureStore, folder: str, gpu_id: int | None = None) -> CoarseRule:
    """The rule of the student that an index names."""
    try:
        return coarse_rule(store, folder, gpu_id)
    except ModelError as error:
        raise ModelError(
            f"{index_folder(store.path)}: the coarse student of this candidate index cannot be "
            f"loaded: {error}; if it was moved: visil-index index {store.path} --coarse DIR"
        ) from error
