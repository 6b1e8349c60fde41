"""Descriptors and similarity terms in `model.json`: lists of objects, read strictly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...checks import short_repr, whole
from ..model.descriptors import (
    MAX_GRID,
    DescriptorLayout,
    QueryAugmentation,
    SimilarityTerm,
    make_group,
)

_DESCRIPTOR = ("name", "network")
_AUGMENTATION = ("augmentation", "amount", "parts")
_TERM = ("query", "reference", "reduce")
_TERM_NUMBERS = ("top_k", "offset", "csls")


def read_layout(values: Mapping[str, Any]) -> DescriptorLayout:
    """The layout that a description has in its keys `descriptors` and `similarity_terms`.

    Raises:
        TypeError, ValueError: they are no layout.
    """
    regions = whole("grid", values["grid"], 1, MAX_GRID) ** 2
    groups = []
    for entry in values["descriptors"]:
        _check_keys("descriptors", entry, _DESCRIPTOR, _AUGMENTATION)
        augmentation = None
        if "augmentation" in entry:
            extra = {key: entry[key] for key in ("amount", "parts") if key in entry}
            augmentation = QueryAugmentation(entry["augmentation"], **extra)
        elif "amount" in entry or "parts" in entry:
            raise ValueError(
                f"descriptors: {short_repr(entry)}: amount and parts need an augmentation"
            )
        groups.append(make_group(entry["name"], entry["network"], regions, augmentation))
    terms = []
    for entry in values["similarity_terms"]:
        _check_keys("similarity_terms", entry, _TERM, _TERM_NUMBERS)
        terms.append(SimilarityTerm(**entry))
    return DescriptorLayout(tuple(groups), tuple(terms))


def describe_layout(layout: DescriptorLayout) -> dict[str, Any]:
    """The keys of a description that `read_layout` reads; what has its default is left out."""
    descriptors: list[dict[str, Any]] = []
    for group in layout.groups:
        entry: dict[str, Any] = {"name": group.name, "network": group.space}
        if group.augmentation is not None:
            entry["augmentation"] = group.augmentation.kind
            if group.augmentation.amount:
                entry["amount"] = group.augmentation.amount
            if group.augmentation.parts != 1:
                entry["parts"] = group.augmentation.parts
        descriptors.append(entry)
    terms = []
    for term in layout.terms:
        entry = {key: getattr(term, key) for key in _TERM}
        entry |= {key: getattr(term, key) for key in _TERM_NUMBERS if getattr(term, key)}
        terms.append(entry)
    return {"descriptors": descriptors, "similarity_terms": terms}


def _check_keys(
    what: str, entry: Any, required: tuple[str, ...], optional: tuple[str, ...]
) -> None:
    if not isinstance(entry, dict):
        raise TypeError(f"{what}: {short_repr(entry)}, expected an object of keys and values")
    for key in required:
        if key not in entry:
            raise ValueError(f"{what}: {short_repr(entry)}: key {key!r} is missing")
    for key in entry:
        if key not in (*required, *optional):
            raise ValueError(f"{what}: unknown key {key[:80]!r}")
