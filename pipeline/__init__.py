"""Two-stage precomputed feature index for video similarity.

`from pipeline import ViSiL, open_store, extract_features, compute_similarity`; each is imported
when first asked for, so that importing the package stays instant.
"""

import sys

if sys.argv[:1] == ["-m"] and sys.path[0] != __file__[: -len("/pipeline/__init__.py")]:
    # `python -m pipeline` in a folder of other people's files: Python looks for modules there
    # first. No other import may come before this line, `__future__` neither.
    del sys.path[0]

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "ViSiL": "pipeline.nets.visil",
    "compute_similarity": "pipeline.api",
    "extract_features": "pipeline.api",
    "open_store": "pipeline.store",
}

__all__ = ["ViSiL", "compute_similarity", "extract_features", "open_store"]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
