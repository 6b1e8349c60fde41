"""Where the model that comes with this program is."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

USER_BASE = sysconfig.get_config_var("userbase") or sys.prefix  # of `pip install --user`


def default_model_dir() -> Path:
    """`model/` of the checkout, else the copy that pip installed."""
    checkout = Path(__file__).resolve().parents[1] / "model"
    if checkout.is_dir():
        return checkout
    places = [Path(base) / "share" / "visil-index" / "model" for base in (sys.prefix, USER_BASE)]
    return next((place for place in places if place.is_dir()), places[0])
