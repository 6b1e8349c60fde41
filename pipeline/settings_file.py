"""The YAML file of settings: read within limits, and written with every default."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import InputError
from .settings import Setting

MAX_BYTES, MAX_VALUES = 1 << 16, 10_000  # of a file; the default one has 8 kB

_CORRECT = "correct it; `visil-index settings` prints a file that is right"


def read_yaml(path: str | Path) -> Any:
    """What a YAML file holds; an empty one an empty section.

    Raises:
        InputError: the file cannot be read, is not YAML, or is too large for settings.
    """
    import yaml

    try:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise InputError(
            "there is no such settings file; `visil-index settings > FILE` writes one to edit"
        ) from error
    except OSError as error:
        raise InputError(
            f"cannot read the settings: {error.strerror}; give --config a file that can be read"
        ) from error
    if len(raw) > MAX_BYTES:
        raise InputError(f"more than {MAX_BYTES} bytes, expected a file of settings")
    try:
        text = raw.decode("utf-8")
        _refuse_repeated(yaml.compose(text, yaml.SafeLoader))
        content = yaml.safe_load(text) or {}
    except UnicodeDecodeError as error:
        raise InputError("not UTF-8; save the settings file as UTF-8 text") from error
    except RecursionError as error:
        raise InputError(f"nested too deeply; {_CORRECT}") from error
    except yaml.MarkedYAMLError as error:
        raise InputError(f"not valid YAML: {_place(error)}; {_CORRECT}") from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:
        # PyYAML lets the errors of Python's own conversions through.
        raise InputError(
            "not valid YAML: a value looks like a date or a number, or is marked as one by `!!`, "
            f"but cannot be one; put it into quotes; {_CORRECT}"
        ) from error
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


def _refuse_repeated(root: Any) -> None:
    """Of a key that is there twice PyYAML takes the last value, and says nothing.

    Raises:
        InputError: naming the key and its line.
    """
    left, seen = [root], set()
    while left:
        node = left.pop()
        if id(node) in seen or not isinstance(getattr(node, "value", None), list):
            continue
        seen.add(id(node))
        keys = set()
        for item in node.value:
            key, value = item if isinstance(item, tuple) else (None, item)
            if key is not None and isinstance(key.value, str) and key.value in keys:
                line = key.start_mark.line + 1
                raise InputError(f"line {line}: key {key.value!r} is there twice; take one out")
            keys |= {key.value} if key is not None and isinstance(key.value, str) else set()
            left.append(value)


def _place(error: Any) -> str:
    """Where in the file PyYAML stopped, and why."""
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    problem = error.problem or error.context or "cannot be read"
    return where + " ".join(problem.split())


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
