"""The descriptors of a frame, and how two frames are compared: groups and terms.

A *descriptor* is one vector of length 1. A frame has several *groups* of descriptors. Each group
lies in a *space*: the network and the whitening that make it. There are three spaces.

* regions: one descriptor for each region of a grid over the frame.
* lowpass: one global descriptor of the frame at half size, without fine detail. It survives noise,
  blur and low bit rates, which change the regions of a copy beyond recognition.
* thumbnail: the luminance of the frame on 32 x 32 squares (`nets.extractor.thumbnail`). It tells
  copies from other pictures of the same things.

Groups of the database come first. A group with a `QueryAugmentation` is of queries only: it shows
what a copy may have done to the picture (test-time augmentation), and costs the database nothing.

The similarity of two frames is the maximum over the *terms*. A term takes the products of one
group of the query frame with one group of the database frame, keeps for each query descriptor the
best reference descriptor, and reduces over the query descriptors: mean (Chamfer), top_k (partial
Chamfer) or max. Its offset makes up for terms that reach high values by chance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ...checks import number, text, whole

THUMBNAIL = 32  # squares along a side of a thumbnail
MAX_GRID = 32  # regions along one side
MAX_PARTS = 16  # of crops, along one side
MAX_DESCRIPTORS = 4096  # of a query's frame
MAX_TERMS = 4096
MAX_NAME = 80  # characters of a group's name

SPACES = ("regions", "lowpass", "thumbnail")
REDUCTIONS = ("mean", "top_k", "max")

# Kinds of query augmentation, and what `amount` means.
AUGMENTATIONS = {
    "downscale": "divisor of the side, a whole number of 2 or more",
    "pad_black": "share of the side that the picture takes up in black, between 0 and 1",
    "pad_mean": "share of the side that it takes up in the mean colour, between 0 and 1",
    "crops": "share of the side of each crop, 0.5 to less than 1",
    "rotate": "degrees, both ways, more than 0 and 180 at most",
    "edges": "factor of the gradient that is shown, more than 0",
    "flip": "0: the picture mirrored left to right has no amount",
}
# Where a kind is made for some spaces only; all others are made for every space.
AUGMENTED_SPACES = {"downscale": ("regions",), "crops": ("lowpass",)}


@dataclass(frozen=True)
class QueryAugmentation:
    """What a copy may have done to the picture of a query.

    Attributes:
        kind: a key of `AUGMENTATIONS`.
        amount: what `AUGMENTATIONS` says of the kind.
        parts: crops along one side, evenly spread; 1 for all other kinds.
    """

    kind: str
    amount: float = 0.0
    parts: int = 1

    def __post_init__(self) -> None:
        if text("augmentation", self.kind) not in AUGMENTATIONS:
            raise ValueError(
                f"augmentation is {self.kind!r}, expected one of {', '.join(AUGMENTATIONS)}"
            )
        amount = number(f"{self.kind}: amount", self.amount)
        object.__setattr__(self, "amount", amount)  # 2 and 2.0 are one digest
        possible = {
            "downscale": amount >= 2 and amount.is_integer(),
            "pad_black": 0 < amount < 1,
            "pad_mean": 0 < amount < 1,
            "crops": 0.5 <= amount < 1,
            "rotate": 0 < amount <= 180,
            "edges": 0 < amount < math.inf,
            "flip": amount == 0,
        }
        if not possible[self.kind]:
            raise ValueError(
                f"{self.kind}: amount is {amount}, expected {AUGMENTATIONS[self.kind]}"
            )
        whole(f"{self.kind}: parts", self.parts, 1, MAX_PARTS)
        if self.kind != "crops" and self.parts != 1:
            raise ValueError(f"{self.kind}: parts is {self.parts}, only crops have parts")

    @property
    def pictures(self) -> int:
        """How many pictures it makes of one."""
        return len(self.angles) if self.kind == "rotate" else self.parts**2

    @property
    def angles(self) -> tuple[float, ...]:
        """Degrees of a rotation, clockwise; half a turn is the same both ways."""
        return (180.0,) if self.amount == 180 else (-self.amount, self.amount)


@dataclass(frozen=True)
class DescriptorGroup:
    """Descriptors of a frame that are made in the same way.

    Attributes:
        name: of the group, unique in a layout.
        space: of `SPACES`; groups of one space can be compared.
        count: descriptors of a frame.
        augmentation: of the query's picture; None for a group that the database has as well.
    """

    name: str
    space: str
    count: int
    augmentation: QueryAugmentation | None = None

    def __post_init__(self) -> None:
        if not 0 < len(text("descriptor: name", self.name)) <= MAX_NAME:
            raise ValueError(f"a descriptor's name has 1 to {MAX_NAME} characters")
        if text("descriptor: network", self.space) not in SPACES:
            raise ValueError(
                f"descriptor {self.name}: network is {self.space!r}, expected one of "
                f"{', '.join(SPACES)}"
            )
        if self.augmentation is not None:
            spaces = AUGMENTED_SPACES.get(self.augmentation.kind, SPACES)
            if self.space not in spaces:
                raise ValueError(
                    f"descriptor {self.name}: {self.augmentation.kind} of network {self.space}, "
                    f"it is made for {', '.join(spaces)}"
                )

    @property
    def query_only(self) -> bool:
        """Whether the database lacks this group."""
        return self.augmentation is not None


def make_group(
    name: str, space: str, regions: int, augmentation: QueryAugmentation | None = None
) -> DescriptorGroup:
    """A group with the count that its network gives.

    Args:
        regions: of a frame. A downscaled picture has one: it fills the middle region.
    """
    pictures = 1 if augmentation is None else augmentation.pictures
    middle = augmentation is not None and augmentation.kind == "downscale"
    count = pictures * (regions if space == "regions" and not middle else 1)
    return DescriptorGroup(name, space, count, augmentation)


@dataclass(frozen=True)
class SimilarityTerm:
    """One way to compare two frames; the similarity is the maximum over all terms.

    Attributes:
        query, reference: names of the groups that are compared.
        reduce: over the query's descriptors, after the maximum over the reference's: mean (Chamfer,
            ViSiL section 3.2, equation 2), top_k (mean of the k highest, after the partial
            Hausdorff distance, Huttenlocher et al., PAMI 1993) or max.
        top_k: k; 0 for other reductions.
        offset: added to the similarity, -1 to 1.
        csls: share of the query descriptor's CSLS r that is taken off, 0 to 2; see
            `nets.similarity.csls`.
    """

    query: str
    reference: str
    reduce: str = "max"
    top_k: int = 0
    offset: float = 0.0
    csls: float = 0.0

    def __post_init__(self) -> None:
        for key in ("query", "reference", "reduce"):
            text(f"similarity term: {key}", getattr(self, key))
        label = f"similarity term {self.query[:MAX_NAME]}"
        if self.reduce not in REDUCTIONS:
            raise ValueError(
                f"{label}: reduce is {self.reduce!r}, expected one of {', '.join(REDUCTIONS)}"
            )
        whole(f"{label}: top_k", self.top_k, 0, MAX_DESCRIPTORS)
        if (self.reduce == "top_k") != (self.top_k > 0):
            raise ValueError(f"{label}: top_k is {self.top_k} with reduce {self.reduce!r}")
        for key, low, high in (("offset", -1, 1), ("csls", 0, 2)):
            value = number(f"{label}: {key}", getattr(self, key))
            if not low <= value <= high:
                raise ValueError(f"{label}: {key} is {value}, expected {low} to {high}")
        if self.csls and self.reduce != "max":
            raise ValueError(f"{label}: csls is for reduce 'max', not {self.reduce!r}")


@dataclass(frozen=True)
class Comparison:
    """All terms that compare with one reference group; their products are taken at once.

    Attributes:
        reference: the group of the database.
        groups: of the query, as their rows follow each other in the product.
        terms: with reduce mean or top_k.
        maxima: with reduce max: one for each of the last groups, in their order.
    """

    reference: DescriptorGroup
    groups: tuple[DescriptorGroup, ...]
    terms: tuple[SimilarityTerm, ...]
    maxima: tuple[SimilarityTerm, ...]

    @cached_property
    def rows(self) -> int:
        """Query descriptors of a frame."""
        return sum(group.count for group in self.groups)

    @cached_property
    def fused_rows(self) -> int:
        """Query descriptors with a term of reduce max: the last ones."""
        return sum(group.count for group in self.groups[len(self.groups) - len(self.maxima) :])

    def rows_of(self, name: str) -> slice:
        """Where the descriptors of a query group lie in the product."""
        return _slices(self.groups)[name]


@dataclass(frozen=True)
class DescriptorLayout:
    """The descriptors of a query frame, in the order of stores, and the terms of the similarity.

    Attributes:
        groups: those of the database first; the first are the regions.
        terms: at least one compares groups that the database has.
    """

    groups: tuple[DescriptorGroup, ...]
    terms: tuple[SimilarityTerm, ...]

    def __post_init__(self) -> None:
        if len(self.terms) > MAX_TERMS or self.query > MAX_DESCRIPTORS:
            raise ValueError(
                f"a query's frame has more than {MAX_DESCRIPTORS} descriptors or {MAX_TERMS} terms"
            )
        _check_groups(self.groups)
        by_name = {group.name: group for group in self.groups}
        for term in self.terms:
            _check_term(term, by_name)
        pairs = [(term.query, term.reference, term.reduce) for term in self.terms]
        for pair in pairs:
            if len(pairs) != len(set(pairs)) and pairs.count(pair) > 1:
                raise ValueError(f"similarity term {pair} is there twice")
        if not any(not by_name[term.query].query_only for term in self.terms):
            raise ValueError("no similarity term compares descriptors that both sides have")

    @property
    def regions(self) -> int:
        """Region descriptors of a frame: the first ones."""
        return self.groups[0].count

    @cached_property
    def shared(self) -> int:
        """Descriptors of a frame that both sides have: the first ones."""
        return sum(group.count for group in self.groups if not group.query_only)

    @cached_property
    def query(self) -> int:
        """Descriptors of a query's frame."""
        return sum(group.count for group in self.groups)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Where the descriptors of each group lie in a query's frame."""
        return _slices(self.groups)

    @cached_property
    def spaces(self) -> list[tuple[str, int]]:
        """Runs of descriptors of one space, in their order, and how many they are."""
        runs: list[tuple[str, int]] = []
        for group in self.groups:
            if runs and runs[-1][0] == group.space:
                runs[-1] = (group.space, runs[-1][1] + group.count)
            else:
                runs.append((group.space, group.count))
        return runs

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """The terms by their reference group, in the order of the groups."""
        return tuple(
            self._comparison(group)
            for group in self.groups
            if any(term.reference == group.name for term in self.terms)
        )

    @cached_property
    def of_database(self) -> DescriptorLayout:
        """Without the groups that only queries have."""
        if self.shared == self.query:
            return self
        return self._of(tuple(group for group in self.groups if not group.query_only))

    @cached_property
    def lowpass_views(self) -> list[int]:
        """Places of the lowpass descriptors that only queries have, in a query's frame."""
        views = [g.name for g in self.groups if g.query_only and g.space == "lowpass"]
        return [place for name in views for place in range(self.query)[self.slices[name]]]

    @cached_property
    def without_lowpass_views(self) -> DescriptorLayout:
        """Without the lowpass descriptors that only queries have."""
        return self._of(
            tuple(g for g in self.groups if not (g.query_only and g.space == "lowpass"))
        )

    def _of(self, groups: tuple[DescriptorGroup, ...]) -> DescriptorLayout:
        """Some of the groups, with the terms that compare them."""
        names = {group.name for group in groups}
        return DescriptorLayout(groups, tuple(t for t in self.terms if t.query in names))

    def of_query(self, count: int) -> DescriptorLayout:
        """The layout of query frames with so many descriptors.

        Raises:
            ValueError: queries of this model have another number.
        """
        for layout in (self, self.of_database):
            if layout.query == count:
                return layout
        raise ValueError(f"{count} descriptors a frame, the model gives {self.shared} and more")

    def with_terms(self, terms: Iterable[SimilarityTerm]) -> DescriptorLayout:
        """The same descriptors, compared by other terms."""
        return DescriptorLayout(self.groups, tuple(terms))

    def without_csls(self) -> DescriptorLayout:
        """The same terms, of which none takes CSLS off: what a model without anchors can do."""
        return self.with_terms(replace(term, csls=0.0) for term in self.terms)

    def with_augmentation(
        self, augmentation: QueryAugmentation, offset: float = 0.0, csls: float = 0.0
    ) -> DescriptorLayout:
        """One more lowpass descriptor of queries, compared with that of the database.

        Raises:
            ValueError: the layout has no lowpass descriptor.
        """
        name = augmentation_name(augmentation, [group.name for group in self.groups])
        group = make_group(name, "lowpass", self.regions, augmentation)
        term = SimilarityTerm(name, "lowpass", offset=offset, csls=csls)
        # Before augmented thumbnails, as in stores of format versions 1 and 2.
        behind = [g.name for g in self.groups if g.query_only and g.space == "thumbnail"]
        first = [g for g in self.groups if g.name not in behind]
        return DescriptorLayout(
            (*first, group, *(g for g in self.groups if g.name in behind)),
            (
                *(t for t in self.terms if t.query not in behind),
                term,
                *(t for t in self.terms if t.query in behind),
            ),
        )

    def _comparison(self, reference: DescriptorGroup) -> Comparison:
        terms = [term for term in self.terms if term.reference == reference.name]
        maxima = {term.query: term for term in terms if term.reduce == "max"}
        queries = {term.query for term in terms}
        groups = [group for group in self.groups if group.name in queries]
        fused = [group for group in groups if group.name in maxima]
        return Comparison(
            reference,
            (*(group for group in groups if group.name not in maxima), *fused),
            tuple(term for term in terms if term.reduce != "max"),
            tuple(maxima[group.name] for group in fused),
        )


def augmentation_name(augmentation: QueryAugmentation, taken: Sequence[str] = ()) -> str:
    """A name for a group, e.g. `rotate_10`; with a number behind it where that is taken."""
    amount = f"_{augmentation.amount:g}" if augmentation.kind != "flip" else ""
    name, count = augmentation.kind + amount, 1
    while name in taken:
        count += 1
        name = f"{augmentation.kind}{amount}_{count}"
    return name


AugmentedTerm = tuple[QueryAugmentation, float, float]  # with offset and csls


def standard_layout(
    regions: int,
    *,
    lowpass: bool = False,
    thumbnail: bool = False,
    thumbnail_offset: float = 0.0,
    flip: bool = False,
    downscale: Sequence[int] = (),
    downscale_offsets: Sequence[float] = (),
    top_k: int = 0,
    top_k_offset: float = 0.0,
    augmentations: Sequence[AugmentedTerm] = (),
) -> DescriptorLayout:
    """The descriptors that all published models and ours have, in the order of their stores.

    Args:
        regions: of a frame, compared by Chamfer.
        lowpass, thumbnail: whether a frame has these global descriptors.
        thumbnail_offset: added to the similarity of thumbnails.
        flip: whether queries have the thumbnail of the mirrored picture, too.
        downscale: divisors of downscaled queries, compared with regions; offsets: one for each.
        top_k: regions of the query that are enough, 0 for no such term.
        augmentations: of the query's lowpass descriptor.
    """
    groups = [make_group("regions", "regions", regions)]
    terms = [SimilarityTerm("regions", "regions", "mean")]
    if top_k:
        terms.append(SimilarityTerm("regions", "regions", "top_k", top_k, top_k_offset))
    for name, offset in (("lowpass", 0.0), ("thumbnail", thumbnail_offset)):
        if {"lowpass": lowpass, "thumbnail": thumbnail}[name]:
            groups.append(make_group(name, name, regions))
            terms.append(SimilarityTerm(name, name, offset=offset))
    offsets = downscale_offsets or (0.0,) * len(downscale)
    added = [
        ("regions", QueryAugmentation("downscale", divisor), offset, 0.0)
        for divisor, offset in zip(downscale, offsets, strict=True)
    ]
    added += [("lowpass", *augmented) for augmented in augmentations]
    added += [("thumbnail", QueryAugmentation("flip"), thumbnail_offset, 0.0)] * flip
    names: list[str] = []
    for space, augmentation, offset, csls in added:
        name = augmentation_name(augmentation, names)
        names.append(name)
        groups.append(make_group(name, space, regions, augmentation))
        terms.append(SimilarityTerm(name, space, offset=offset, csls=csls))
    return DescriptorLayout(tuple(groups), tuple(terms))


def _slices(groups: Sequence[DescriptorGroup]) -> dict[str, slice]:
    slices, start = {}, 0
    for group in groups:
        slices[group.name] = slice(start, start + group.count)
        start += group.count
    return slices


def _check_groups(groups: Sequence[DescriptorGroup]) -> None:
    if not groups or groups[0].space != "regions" or groups[0].query_only:
        raise ValueError("the first descriptor has to be network 'regions' without augmentation")
    names = [group.name for group in groups]
    for name in names:
        if len(names) != len(set(names)) and names.count(name) > 1:
            raise ValueError(f"descriptor {name!r} is there twice")
    query_only = [group.query_only for group in groups]
    if query_only != sorted(query_only):
        raise ValueError("descriptors with an augmentation have to come last")
    spaces = [group.space for group in groups if not group.query_only]
    if len(spaces) != len(set(spaces)):
        raise ValueError("the database has one descriptor of each network at most")


def _check_term(term: SimilarityTerm, groups: dict[str, DescriptorGroup]) -> None:
    for name in (term.query, term.reference):
        if name not in groups:
            raise ValueError(f"similarity term {term.query!r}: there is no descriptor {name!r}")
    query, reference = groups[term.query], groups[term.reference]
    if reference.query_only:
        raise ValueError(
            f"similarity term {term.query}: the database has no descriptor {term.reference}"
        )
    if query.space != reference.space:
        raise ValueError(
            f"similarity term {term.query}: network {query.space} cannot be compared with "
            f"{reference.space}"
        )
    if term.top_k > query.count:
        raise ValueError(f"similarity term {term.query}: top_k is {term.top_k} of {query.count}")
    if term.csls and query.space != "lowpass":
        raise ValueError(f"similarity term {term.query}: csls is for lowpass descriptors")
