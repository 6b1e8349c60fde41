"""The YAML file of settings: read within limits, and written with every default."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import InputError
from .settings import Setting

MAX_BYTES, MAX_VALUES = 1 << 16, 10_000  # of a file; the default one has 8 kB


def read_yaml(path: str | Path) -> Any:
    """What a YAML file holds; an empty one an empty section.

    Raises:
        InputError: the file cannot be read, is not YAML, or is too large for settings.
    """
    import yaml

    try:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise InputError(f"more than {MAX_BYTES} bytes, no configuration")
        content = yaml.safe_load(raw.decode("utf-8")) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the configuration: {error}") from error
    except RecursionError as error:
        raise InputError("nested too deeply, no configuration") from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:
        # PyYAML lets the errors of Python's own conversions through.
        raise InputError(f"not valid YAML: {' '.join(str(error).split())}") from error
    _require_small(content)
    return content


def default_text(sections: Mapping[str, Mapping[str, Setting]]) -> str:
    """A settings file with every setting of the sections: what it means, limits, default."""
    import yaml

    lines = [
        "# Every setting with its default. Leave out what you do not change; options on the",
        "# command line win over the file. This file is the output of `visil-index settings`.",
    ]
    for section, settings in sections.items():
        lines += ["", f"{section}:"]
        for setting in settings.values():
            text = (
                setting.text
                if setting.kind is bool
                else f"{setting.text} Allowed: {setting.allowed}."
            )
            text += f" null: {setting.null}." if setting.null else ""
            lines += textwrap.wrap(text, 96, initial_indent="  # ", subsequent_indent="  # ")
            lines.append(f"  {yaml.safe_dump({setting.name: setting.default}).strip()}")
    return "\n".join(lines) + "\n"


def _require_small(content: Any) -> None:
    """Aliases let a few lines stand for billions of values, which no message could show."""
    left, count = [content], 0
    while left:
        value = left.pop()
        count += 1
        if count > MAX_VALUES:
            raise InputError(f"more than {MAX_VALUES} values; leave out aliases")
        if isinstance(value, (dict, list, set, tuple)):
            left += [*value, *value.values()] if isinstance(value, dict) else [*value]
