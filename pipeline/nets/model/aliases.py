"""Words of model descriptions before format version 3, and what they are called now.

Arrays in `weights.npz` and the digests of models keep the old words, so that the weights and the
stores of earlier versions fit as they are.
"""

from __future__ import annotations

# The word of format versions 1 and 2, and the word of version 3.
ALIASES = {
    "soft": "lowpass",
    "pixels": "thumbnail",
    "small": "downscale",
    "framed": "pad_black",
    "matted": "pad_mean",
    "zoomed": "crops",
    "turned": "rotate",
    "outlined": "edges",
    "mirrored": "flip",
    "partial": "top_k",
    "hubness": "csls",
    "hubs": "anchors",
    "skip": "residual_weight",
}
_OLD = {new: old for old, new in ALIASES.items()}


def old_name(name: str) -> str:
    """The word that weights files and digests have for a name; the name itself where it is older.

    Args:
        name: a word of format version 3.
    """
    return _OLD.get(name, name)
