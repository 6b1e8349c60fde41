"""Two-stage precomputed feature index for video similarity.

`from visil_index import ViSiL, open_store, extract_features, compute_similarity`; each is imported
when first used, so that importing the package stays instant. In a checkout the package is also
`pipeline`, the name of its folder.
"""

import sys

if sys.argv[:1] == ["-m"] and sys.path[0] != __file__.rpartition("/")[0].rpartition("/")[0]:
    # `python -m pipeline` in a folder of other people's files: Python looks for modules there
    # first. No other import may come before this line, `__future__` neither.
    del sys.path[0]

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "ViSiL": ".nets.visil",
    "compute_similarity": ".api",
    "extract_features": ".api",
    "open_store": ".store",
}

__all__ = ["ViSiL", "compute_similarity", "extract_features", "open_store"]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
