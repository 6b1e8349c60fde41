"""How a process of this package starts: nothing of the current directory is imported.

`python -c` and `-m` put the current directory, and PYTHONPATH what it names, before the standard
library. A collection may lie there, with a `json.py` among its files. Imports nothing of its own.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[1])
# Isolated (-I), the path is the standard library and site-packages. This package comes first, as
# another version of it may be installed; what else its parent can import comes last.
_START = (
    "import json, sys; root, *more = json.loads(sys.argv.pop(1)); "
    "sys.path[:] = [root, *sys.path, *more]; "
)


def child_command(statement: str, *arguments: str) -> list[str]:
    """The command line of a Python process that can import this package.

    Args:
        statement: what it runs, such as "from pipeline.x import main; main()".
        arguments: its `sys.argv[1:]`.
    """
    here = os.path.realpath(os.curdir)
    more = [os.path.abspath(entry) for entry in sys.path if os.path.realpath(entry) != here]
    path = json.dumps([_ROOT, *more])
    return [sys.executable, "-I", "-c", _START + statement, path, *arguments]
