"""Where the model that comes with this program is."""

from __future__ import annotations

import sys
from pathlib import Path


def default_model_dir() -> Path:
    """`model/` of the checkout, else the copy that pip installed."""
    checkout = Path(__file__).resolve().parents[1] / "model"
    if checkout.is_dir():
        return checkout
    return Path(sys.prefix) / "share" / "visil-index" / "model"
