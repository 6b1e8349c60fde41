"""Descriptions of format versions 1 and 2, made into what version 3 says.

Their words are in `nets.model.aliases`. They named each kind of descriptor by a key of its own
(`soft`, `small`, `views`, `pixels`, `partial`), which `standard_layout` puts into groups and terms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...checks import number, short_repr, whole
from ..model.aliases import ALIASES
from ..model.descriptors import (
    MAX_DESCRIPTORS,
    MAX_GRID,
    AugmentedTerm,
    DescriptorLayout,
    QueryAugmentation,
    standard_layout,
)
from .terms import describe_layout

# Keys of descriptors that version 3 has lists for, with the kinds of their values.
OLD_DESCRIPTOR_KEYS: dict[str, type] = {
    "soft": bool,
    "small": list,
    "small_offsets": list,
    "views": list,
    "pixels": dict,
    "partial": dict,
}
# Keys that have another name now.
OLD_KEYS: dict[str, type] = {"skip": float}


def upgrade(values: Mapping[str, Any]) -> dict[str, Any]:
    """The keys and values of version 3 for those of an earlier version.

    Args:
        values: with the right types at the top level.

    Raises:
        TypeError, ValueError: values that no model can have.
    """
    upgraded = {
        ALIASES.get(key, key): value
        for key, value in values.items()
        if key not in OLD_DESCRIPTOR_KEYS
    }
    upgraded |= describe_layout(_layout(values))
    if "calibration" in upgraded:  # long, so it comes last
        upgraded["calibration"] = upgraded.pop("calibration")
    return upgraded


def _layout(values: Mapping[str, Any]) -> DescriptorLayout:
    small, offsets = values.get("small", []), values.get("small_offsets", [])
    views = values.get("views", [])
    if len(small) + len(views) > MAX_DESCRIPTORS:
        raise ValueError(f"a query's frame has more than {MAX_DESCRIPTORS} descriptors")
    for divisor in small:
        whole("small", divisor, 2, 2**31)
    if offsets and len(offsets) != len(small):
        raise ValueError(f"small_offsets is {short_repr(offsets)} for small {short_repr(small)}")
    if views and not values.get("soft"):
        raise ValueError("views are compared with the soft vector, but soft is not true")
    pixels = _checked("pixels", values.get("pixels", {}), ("offset", "mirrored"))
    flip = pixels.get("mirrored", False)
    if not isinstance(flip, bool):
        raise TypeError(f"pixels: mirrored is {short_repr(flip)}, expected true or false")
    partial = _checked("partial", values.get("partial", {}), ("regions", "offset"))
    if "partial" in values and len(partial) != 2:
        raise ValueError(f"partial is {short_repr(partial)}, expected regions and offset")
    return standard_layout(
        whole("grid", values["grid"], 1, MAX_GRID) ** 2,
        lowpass=values.get("soft", False),
        thumbnail="pixels" in values,
        thumbnail_offset=number("pixels: offset", pixels.get("offset", 0.0)),
        flip=flip,
        downscale=small,
        downscale_offsets=[number("small_offsets", offset) for offset in offsets],
        top_k=whole("partial: regions", partial.get("regions", 1), 1, MAX_DESCRIPTORS)
        if partial
        else 0,
        top_k_offset=number("partial: offset", partial.get("offset", 0.0)),
        augmentations=[_augmented(view) for view in views],
    )


def _augmented(view: Any) -> AugmentedTerm:
    keys = ("kind", "amount", "offset", "hubness", "parts")
    values = _checked("views", view, keys)
    for key in keys[:2]:
        if key not in values:
            raise ValueError(f"views: {short_repr(view)}: key {key!r} is missing")
    kind = values["kind"]
    if not isinstance(kind, str) or kind not in (
        "framed",
        "matted",
        "zoomed",
        "turned",
        "outlined",
    ):
        raise ValueError(
            f"views: kind is {short_repr(kind)}, expected one of framed, matted, zoomed, turned, "
            "outlined"
        )
    extra = {"parts": values["parts"]} if "parts" in values else {}
    augmentation = QueryAugmentation(ALIASES[kind], values["amount"], **extra)
    offset, csls = (number(f"views: {key}", values.get(key, 0.0)) for key in keys[2:4])
    return augmentation, offset, csls


def _checked(what: str, values: Any, keys: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(values, dict):
        raise TypeError(f"{what}: {short_repr(values)}, expected an object of keys and values")
    for key in values:
        if key not in keys:
            raise ValueError(f"{what}: unknown key {key[:80]!r}")
    return values
