"""A setting is declared once, as a field of a dataclass:

    block_mb: int = setting(32, "Database features read at once.", "--block_mb", unit="MiB", ge=1)

The check of its value, the texts of errors and help, the docstring of its class, the option of the
command line and the lines of the settings file all follow from that.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import Field, dataclass, field, fields
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from .errors import InputError

MAX_NUMBER = 2**31  # whole numbers stay below it, where a setting has no limit of its own
_KINDS = {int: "a whole number", float: "a number", str: "a text"}
_METADATA = "setting"


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What is said of a setting where it is declared; see `setting`."""

    text: str
    flags: tuple[str, ...] = ()
    null: str = ""
    unit: str = ""
    values: str = ""
    limits: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Setting(Declaration):
    """One setting of a section.

    Attributes:
        name, default: of the field.
        kind: bool, int, float or str.
        choices: the values that are allowed, where they are listed.
        type: what `msgspec.convert` checks a value against, but for the limits.
    """

    name: str
    default: Any
    kind: type
    choices: tuple[str, ...]
    type: Any

    @property
    def allowed(self) -> str:
        """The values that are allowed, in words."""
        if self.values:
            return self.values
        if self.kind is bool:
            return "true or false"
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        unit = f" of {self.unit}" if self.unit else ""
        return f"{_KINDS[self.kind]}{unit}{_range_text(**self.limits)}"

    def check(self, value: Any) -> Any:
        """Refuse a value of another type or beyond the limits.

        Returns:
            The value, as a number of Python where it was one of numpy.

        Raises:
            InputError: names the setting, the value and what is allowed.
        """
        from msgspec import Meta, ValidationError, convert  # takes a while: not for decoders

        if value is None and self.default is None:
            return None
        if type(value).__module__ == "numpy" and hasattr(value, "item"):
            value = value.item()
        try:
            convert(value, Annotated[self.type, Meta(**self.limits)])
        except (ValidationError, OverflowError):
            raise InputError(f"{self.name} is {value!r}, expected {self.allowed}") from None
        if self.kind is int and "le" not in self.limits and abs(value) >= MAX_NUMBER:
            raise InputError(
                f"{self.name} is {value!r}, expected a whole number below {MAX_NUMBER}"
            )
        if value != value:
            raise InputError(f"{self.name} is {value!r}, expected {self.allowed}")
        return value


class Section:
    """Base of the dataclasses that hold settings: each checks itself when it is made.

    Raises:
        InputError: a value that is not allowed, or a setting that does not exist.
    """

    def __init_subclass__(cls) -> None:
        declarations = {
            name: f.metadata[_METADATA] for name, f in vars(cls).items() if isinstance(f, Field)
        }
        lines = [f"    {name}: {declaration.text}" for name, declaration in declarations.items()]
        cls.__doc__ = "\n".join([cls.__doc__ or "", "", "Attributes:", *lines])

    def __new__(cls, *values: Any, **named: Any) -> Any:
        if values:
            raise InputError(f"{cls.__name__} takes settings by name only, not {values[0]!r} alone")
        refuse_unknown(cls, named)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        own: type = type(self)
        for declared in settings_of(own).values():
            value = declared.check(getattr(self, declared.name))
            object.__setattr__(self, declared.name, value)  # the class is frozen


def setting(
    default: Any, text: str, *flags: str, null: str = "", unit: str = "", values: str = "",
    **limits: Any,
) -> Any:  # fmt: skip
    """Declare a setting as a field of a `Section`.

    Args:
        default: None stands for what `null` says.
        text: what it is, in one sentence or two.
        flags: option of the command line, if it has one; a short flag first, then the long one,
            then other names of it. `--no_...` switches off.
        null: what None (`null` in a file) stands for.
        unit: of a number.
        values: what is allowed, where the limits do not say it well.
        limits: see `msgspec.Meta`: ge, gt, le, lt, multiple_of, pattern.
    """
    said = Declaration(text=text, flags=flags, null=null, unit=unit, values=values, limits=limits)
    return field(default=default, metadata={_METADATA: said})


@functools.cache
def settings_of(section: type) -> dict[str, Setting]:
    """The settings of a section by name, in the order in which they are declared."""
    hints = get_type_hints(section)
    return {
        f.name: _setting(f.metadata[_METADATA], f.name, hints[f.name], f.default)
        for f in fields(section)
    }


def refuse_unknown(section: type, names: Iterable[Any]) -> None:
    """Raise an InputError if one of the names is no setting of the section."""
    names_of_section = [f.name for f in fields(section)]
    for name in names:
        if name not in names_of_section:
            raise InputError(
                f"unknown setting {name!r}, expected one of {', '.join(names_of_section)}"
            )


def _setting(said: Declaration, name: str, hint: Any, default: Any) -> Setting:
    if default is None:
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    kind = str if choices else hint
    return Setting(**vars(said), name=name, default=default, kind=kind, choices=choices, type=hint)


def _range_text(
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    multiple_of: int | None = None,
) -> str:
    """The limits of a number in words, with a space or comma before them."""
    if ge is not None and le is not None:
        text = f" from {ge} to {le}"
    else:
        parts = (("above {}", gt), ("{} or more", ge), ("at most {}", le), ("below {}", lt))
        text = " and ".join(form.format(limit) for form, limit in parts if limit is not None)
        text = f", {text}" if text else ""
    return text + (f", a multiple of {multiple_of}" if multiple_of else "")
