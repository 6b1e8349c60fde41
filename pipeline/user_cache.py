"""Where this program keeps what it can make again at any time: compiled networks."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Return a folder of the user's cache; it need not exist.

    Args:
        name: of the folder, as `openvino`.

    Returns:
        The folder below XDG_CACHE_HOME where that is set, else where the system keeps caches.
    """
    folder = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(folder):  # a relative one is to be ignored, by the standard
        base = Path(folder)
    elif sys.platform == "darwin":
        base = Path("~/Library/Caches")
    elif os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or "~/AppData/Local")
    else:
        base = Path("~/.cache")
    # Without a home folder "~" stays as it is; such a path must not become one of this folder.
    return Path(os.path.expanduser(base)).absolute() / "visil-index" / name
