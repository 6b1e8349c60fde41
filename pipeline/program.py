"""How this program is started where it runs: by the scripts of a checkout, or as `visil-index`."""

from __future__ import annotations

from pathlib import Path

_SCRIPTS = {
    "extract": "extract_features.py",
    "compare": "compute_similarity.py",
    "train": "train_model.py",
}


def command(name: str) -> str:
    """What a person types to run a command, for messages.

    Args:
        name: of the command, as `extract`.

    Returns:
        The script of the checkout if this is one and has a script for it, else `visil-index NAME`:
        an installed package has no scripts.
    """
    script = _SCRIPTS.get(name)
    checkout = Path(__file__).resolve().parents[1]
    if script and (checkout / script).is_file():
        return script
    return f"visil-index {name}"
