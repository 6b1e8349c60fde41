"""Two-stage precomputed feature index for video similarity.

`from visil_index import extract_features, compute_similarity, open_store, ViSiL`; each name of
`__all__` is imported when it is first used, so that importing the package stays instant. In a
checkout the package is also `pipeline`, the name of its folder.
"""

import sys

if sys.argv[:1] == ["-m"] and sys.path[0] != __file__.rpartition("/")[0].rpartition("/")[0]:
    # `python -m pipeline` in a folder of other people's files: Python looks for modules there
    # first. No other import may come before this line, `__future__` neither.
    del sys.path[0]

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import compute_similarity, extract_features, find_duplicates, index_candidates
    from .candidates import IndexReport
    from .config import CompareConfig, ExtractConfig, TrainConfig
    from .errors import (
        FingerprintMismatchError,
        InputError,
        MachineError,
        ModelError,
        PipelineError,
        PipelineWarning,
        ReportError,
        StorageError,
        StoreError,
        StoreLockedError,
        VideoError,
    )
    from .evaluation import EvaluationReport, evaluate
    from .extraction.report import ExtractReport
    from .index import Index
    from .inputs import read_list, scan_folder
    from .nets.formats.loader import load_model
    from .nets.model.model import Model
    from .nets.visil import ViSiL
    from .output.duplicates import DuplicateGroup, DuplicateReport
    from .output.search_result import SearchResult
    from .records import Failure, FeatureSpec, SourceInfo, VideoFeatures, VideoRecord, VideoRef
    from .search.run import CompareReport
    from .store import FeatureStore, open_store
    from .training.train import TrainReport, train_model

__version__ = "0.1.0"

__all__ = [
    "CompareConfig",
    "CompareReport",
    "DuplicateGroup",
    "DuplicateReport",
    "EvaluationReport",
    "ExtractConfig",
    "ExtractReport",
    "Failure",
    "FeatureSpec",
    "FeatureStore",
    "FingerprintMismatchError",
    "Index",
    "IndexReport",
    "InputError",
    "MachineError",
    "Model",
    "ModelError",
    "PipelineError",
    "PipelineWarning",
    "ReportError",
    "SearchResult",
    "SourceInfo",
    "StorageError",
    "StoreError",
    "StoreLockedError",
    "TrainConfig",
    "TrainReport",
    "ViSiL",
    "VideoError",
    "VideoFeatures",
    "VideoRecord",
    "VideoRef",
    "compute_similarity",
    "evaluate",
    "extract_features",
    "find_duplicates",
    "index_candidates",
    "load_model",
    "open_store",
    "read_list",
    "scan_folder",
    "train_model",
]

_MODULES = {
    ".api": "compute_similarity extract_features find_duplicates index_candidates",
    ".candidates": "IndexReport",
    ".config": "CompareConfig ExtractConfig TrainConfig",
    ".errors": "FingerprintMismatchError InputError MachineError ModelError PipelineError "
    "PipelineWarning ReportError StorageError StoreError StoreLockedError VideoError",
    ".evaluation": "EvaluationReport evaluate",
    ".extraction.report": "ExtractReport",
    ".index": "Index",
    ".inputs": "read_list scan_folder",
    ".nets.formats.loader": "load_model",
    ".nets.model.model": "Model",
    ".nets.visil": "ViSiL",
    ".output.search_result": "SearchResult",
    ".output.duplicates": "DuplicateGroup DuplicateReport",
    ".records": "Failure FeatureSpec SourceInfo VideoFeatures VideoRecord VideoRef",
    ".search.run": "CompareReport",
    ".store": "FeatureStore open_store",
    ".training.train": "TrainReport train_model",
}
_EXPORTS = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
