"""Text from outside, such as file names, made safe for a terminal and for JSON."""

from __future__ import annotations

import json
import re
from typing import Any

# Characters that a terminal takes for a command, or that change the order of what follows.
_COMMANDS = r"\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_IN_TEXT = re.compile(rf"[\x00-\x08\x0a-\x1f{_COMMANDS}]")  # a tab does no harm
_IN_JSON = re.compile(rf"[{_COMMANDS}\ud800-\udfff]")  # what is below a space is escaped already


def visible(text: str) -> str:
    """Replace control characters by their escapes, such as `\\x1b`."""
    return _IN_TEXT.sub(_escaped, text)


def json_text(value: Any) -> str:
    """JSON on one line, in UTF-8 once encoded: letters as they are, control characters escaped."""
    return _IN_JSON.sub(
        lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False)
    )


def _escaped(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
