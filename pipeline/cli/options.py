"""Options that are settings, made from the fields of `config.py`; the command that shows these."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from ..config import default_yaml, load_config, sections
from ..settings import MAX_NUMBER, Setting
from . import common, streams

SECTIONS = sections()


def settings(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command options for settings; it gets `config`, a `Config` with those over the file.

    An option that is in two sections sets both. The file is that of `common.config_option`, if the
    command has it.

    Args:
        names: `section.setting`, or a section for all its settings that have an option.
    """
    chosen = [pair for name in names for pair in _chosen(name)]
    options = {_parameter(SECTIONS[s][n]): SECTIONS[s][n] for s, n in reversed(chosen)}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def run(*args: Any, config_file: str | None = None, **values: Any) -> Any:
            flags = {parameter: values.pop(parameter) for parameter in options}
            over: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
            for section, name in chosen:
                setting = SECTIONS[section][name]
                over[section][name] = _value(setting, flags[_parameter(setting)])
            return command(*args, config=load_config(config_file, over), **values)

        decorated: Callable[..., Any] = run
        for setting in options.values():
            decorated = _option(setting)(decorated)
        return decorated

    return decorate


@click.command("settings")
@common.handled()
def show_settings() -> None:
    """Print every setting with its default, as a file to edit and to give as --config."""
    for line in default_yaml().splitlines():
        streams.show(line)


def _chosen(name: str) -> list[tuple[str, str]]:
    section, _, setting = name.partition(".")
    if setting:
        return [(section, setting)]
    return [(section, setting.name) for setting in SECTIONS[section].values() if setting.flags]


def _parameter(setting: Setting) -> str:
    """What click calls the option: its first long flag."""
    return next(flag for flag in setting.flags if flag.startswith("--")).removeprefix("--")


def _value(setting: Setting, value: Any) -> Any:
    """What is given for the setting; None if the option is not."""
    if setting.kind is bool:
        return not _parameter(setting).startswith("no_") if value else None
    return value


def _option(setting: Setting) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    text = setting.text
    if setting.kind is bool:
        if _parameter(setting).startswith("no_"):
            text = f"Do not {text[0].lower()}{text[1:]}"
        return click.option(*setting.flags, is_flag=True, help=text)
    if setting.unit:
        text += f" In {setting.unit}."
    default = setting.default
    if isinstance(default, float):
        default = f"{default:g}"
    return click.option(
        *setting.flags,
        type=_type(setting),
        help=f"{text} Default: {setting.null or default}",
        default=None,
    )


def _type(setting: Setting) -> click.ParamType:
    if setting.choices:
        return click.Choice(setting.choices)
    if setting.kind is str:
        return click.STRING
    limits = setting.limits
    high = limits.get("le", limits.get("lt"))
    number_range = click.IntRange if setting.kind is int else click.FloatRange
    return number_range(
        limits.get("ge", limits.get("gt")),
        high if high is None or high < MAX_NUMBER else None,
        min_open="gt" in limits,
        max_open="lt" in limits,
    )
