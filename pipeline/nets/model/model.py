"""What a loaded model is: arrays and how to use them, whatever files they came from. numpy only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from ...calibration.curve import Calibration
from ...checks import short_repr, text, whole
from ...config import MAX_INSETS, MODEL_FUNCTIONS
from ...errors import ModelError
from ...records import FeatureSpec, published_digest
from .aliases import old_name
from .blank import Blank
from .descriptors import MAX_GRID, THUMBNAIL, DescriptorLayout, standard_layout
from .head import check_learned
from .preprocessing import MAX_SIDE, InputDescription
from .whitening import Whitening, unit_vectors

MAX_TAPS = 64
PADDINGS = ("edge", "zero")


@dataclass(frozen=True, repr=False)
class Model:
    """A model directory's content: arrays, all float32, and how to use them.

    Attributes:
        name: of the model, for people.
        origin: which format it was read from, e.g. "own format".
        backbone: kind, a key of `backbones.registry.MODULES`.
        arrays: the backbone's arrays by layer name, batch norm folded in.
        input: from frame to backbone.
        taps: backbone outputs that regions are taken of, in this order.
        grid: regions along one side of a map.
        whitening: PCA of the concatenated region descriptors.
        lowpass: PCA of the lowpass descriptor, or None: there is no such descriptor.
        thumbnail: PCA of the thumbnail descriptor, or None: there is no such descriptor.
        layout: the descriptors of a frame and the terms of the similarity.
        anchors: lowpass descriptors of other videos [M, dims], of length 1, for CSLS; None if no
            term has CSLS taken off.
        windows: sides of the windows that each tap's map is cut into, a stride being half of them,
            rounded up; empty: the windows cover the map, see `nets.extractor.regions`.
        head_dims: the head was learned for so many first values of the descriptors, see
            `for_store`; 0: for all that the whitening gives.
        features: a name of `records.PUBLISHED_FEATURES` for stores that know their features by a
            name alone; empty for none.
        attention: context vector [dims], or None.
        attention_transform: matrix [dims, dims] and bias [dims] of attention by tanh, or None, see
            `nets.similarity.attention`.
        binarization: matrix [dims, bits], whose products' signs are compared, or None.
        adaptation: a second whitening [dims, dims] for each space of the database's descriptors,
            see `nets.similarity.adaptation`, or None.
        comparator: four (kernel [h, w, in, out], bias [out]), or None: Chamfer on the matrix.
        comparator_padding: of `PADDINGS`: what the comparator sees beyond a matrix, the values at
            its edge or zeros.
        residual_weight: share of the comparator's output that is the matrix itself, see
            `comparator.bypass`.
        blank: the space of nearly empty regions, or None: they count as the others do.
        insets: pictures within the picture that stage one is to look for by default, at most so
            many at a time, see `video.pip.detector`.
        similarity_function: the one the model was made for.
        calibrations: what its scores mean, one for each way of comparing that was calibrated.
        licence, provenance, description: text, may be empty.
        features_digest: SHA-256 (hex) of all that changes features, of the full dims.
        stored_dims: values of the stored descriptors that are cut to `dims`; 0: they have as many.
    """

    name: str
    origin: str
    backbone: str
    arrays: Mapping[str, np.ndarray]
    input: InputDescription
    taps: tuple[str, ...]
    grid: int
    whitening: Whitening
    lowpass: Whitening | None = None
    thumbnail: Whitening | None = None
    layout: DescriptorLayout = field(default_factory=lambda: standard_layout(9))
    anchors: np.ndarray | None = None
    windows: tuple[int, ...] = ()
    head_dims: int = 0
    features: str = ""
    attention: np.ndarray | None = None
    attention_transform: tuple[np.ndarray, np.ndarray] | None = None
    binarization: np.ndarray | None = None
    adaptation: Mapping[str, Whitening] | None = None
    comparator: tuple[tuple[np.ndarray, np.ndarray], ...] | None = None
    comparator_padding: str = "edge"
    residual_weight: float = 0.0
    blank: Blank | None = None
    insets: int = 0
    similarity_function: str = "chamfer"
    calibrations: tuple[Calibration, ...] = ()
    licence: str = ""
    provenance: str = ""
    description: str = ""
    features_digest: str = ""
    stored_dims: int = 0

    def __post_init__(self) -> None:
        if self.similarity_function not in MODEL_FUNCTIONS:
            raise ValueError(
                f"similarity_function is {self.similarity_function!r}, "
                f"expected one of {MODEL_FUNCTIONS}"
            )
        if not 1 <= self.grid <= MAX_GRID or not 1 <= len(self.taps) <= MAX_TAPS:
            raise ValueError(
                f"grid is {self.grid}, taps are {short_repr(self.taps)}, expected 1 or more each, "
                f"at most {MAX_GRID} and {MAX_TAPS}"
            )
        for tap in self.taps:
            text("a tap", tap)
        if self.windows and len(self.windows) != len(self.taps):
            raise ValueError(f"windows are {short_repr(self.windows)}, expected one for each tap")
        for window in self.windows:
            whole("windows", window, 1, MAX_SIDE)
        if self.comparator_padding not in PADDINGS:
            raise ValueError(
                f"comparator_padding is {short_repr(self.comparator_padding)}, expected one of "
                f"{', '.join(PADDINGS)}"
            )
        if self.features:
            published_digest(self.features)
        if not 0 <= self.insets <= MAX_INSETS:
            raise ValueError(f"insets is {self.insets}, expected 0 to {MAX_INSETS}")
        self._check_dims()
        self._check_descriptors()
        self._check_anchors()
        if self.adaptation is not None:
            self._check_adaptation(self.adaptation)
        if not 0 <= self.residual_weight < 1:
            raise ValueError(
                f"residual_weight is {self.residual_weight}, expected 0 or more and less than 1"
            )
        if self.comparator is not None:
            _check_comparator(self.comparator)
        if not self.features_digest:
            object.__setattr__(self, "features_digest", features_digest(self))

    def _check_dims(self) -> None:
        if not 0 <= self.head_dims <= self.whitening.dims:
            raise ValueError(
                f"head_dims is {self.head_dims}, expected 0 to {self.whitening.dims}, the values "
                "that the whitening gives"
            )
        if self.head_dims and len(self.whitenings) > 1:
            raise ValueError("head_dims is for models whose only descriptors are the regions")
        check_learned(self.dims, self.attention, self.attention_transform, self.binarization)
        if self.blank is not None and self.blank.directions.shape[1] != self.dims:
            raise ValueError(
                f"blank directions are {self.blank.directions.shape}, expected [K, {self.dims}]"
            )
        for space, pca in self.whitenings.items():
            if pca.dims != self.dims:
                raise ValueError(
                    f"the {space} descriptor has {pca.dims} values, regions have {self.dims}"
                )

    def _check_descriptors(self) -> None:
        if self.layout.regions != self.grid**2:
            raise ValueError(f"there are {self.layout.regions} regions, but grid is {self.grid}")
        spaces = {group.space for group in self.layout.groups if not group.query_only}
        for space in ("lowpass", "thumbnail"):
            if (space in spaces) != (space in self.whitenings):
                raise ValueError(f"a whitening and a descriptor of network {space} need each other")
        for group in self.layout.groups:
            if group.space not in spaces:
                raise ValueError(
                    f"descriptor {group.name}: the database has none of network {group.space}"
                )
            if group.augmentation is not None and group.augmentation.kind == "downscale":
                self._check_downscale(group.augmentation.amount)
        if self.thumbnail is not None:
            _check_thumbnail(len(self.thumbnail.mean), self.input.crop)

    def _check_downscale(self, divisor: float) -> None:
        if divisor > self.input.crop:
            raise ValueError(
                f"downscale: amount is {divisor:g}, expected a divisor not above the input's side "
                f"of {self.input.crop}"
            )
        if self.grid % 2 == 0:
            raise ValueError(
                f"grid is {self.grid}: downscaled queries need one with a middle region"
            )

    def _check_anchors(self) -> None:
        if self.anchors is None:
            if any(term.csls for term in self.layout.terms):
                raise ValueError("a similarity term has csls, but there are no anchors for it")
        elif self.anchors.shape[1:] != (self.dims,):
            raise ValueError(f"anchors are {self.anchors.shape}, expected [M, {self.dims}]")
        elif not len(self.anchors):
            raise ValueError("there are no anchors in the array of anchors")

    def _check_adaptation(self, adaptation: Mapping[str, Whitening]) -> None:
        if self.attention is not None or self.binarization is not None:
            raise ValueError(
                "adaptation is for models without attention or binarization, which it would mislead"
            )
        spaces = dict(self.layout.of_database.spaces).keys()
        if adaptation.keys() != spaces:
            raise ValueError(f"adaptation is of {sorted(adaptation)}, expected {sorted(spaces)}")
        for space, pca in adaptation.items():
            if pca.eigenvectors.shape != (self.dims, self.dims):
                raise ValueError(
                    f"adaptation of {space} is {pca.eigenvectors.shape}, expected "
                    f"({self.dims}, {self.dims})"
                )

    def __repr__(self) -> str:
        return (
            f"Model({self.name!r}, {self.backbone}, per frame "
            f"[{self.regions}, {self.dims}], {self.similarity_function})"
        )

    @property
    def dims(self) -> int:
        """C, values of a descriptor."""
        return self.head_dims or self.whitening.dims

    @property
    def has_extractor(self) -> bool:
        """Whether it can make features; a head alone compares those of a name, `features`."""
        return bool(self.arrays) or not self.features

    @property
    def regions(self) -> int:
        """R, descriptors of a frame in the database."""
        return self.layout.shared

    @property
    def whitenings(self) -> dict[str, Whitening]:
        """The whitening of each space that the model has."""
        by_space = self.whole_whitenings
        if not self.head_dims:
            return by_space
        return {space: pca.first(self.head_dims) for space, pca in by_space.items()}

    @property
    def whole_whitenings(self) -> dict[str, Whitening]:
        """The same with all values, also where the head was learned for the first ones."""
        by_space = {"regions": self.whitening, "lowpass": self.lowpass, "thumbnail": self.thumbnail}
        return {space: pca for space, pca in by_space.items() if pca is not None}

    @property
    def learned(self) -> dict[str, Any]:
        """The parts that were learned for `dims` values and no other number of them, by name."""
        parts = {
            "attention": self.attention,
            "binarization": self.binarization,
            "adaptation": self.adaptation,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def fits(self, spec: FeatureSpec) -> bool:
        """Whether features of these settings are of the weights that the model has or is for."""
        if spec.digest == self.features_digest:
            return True
        return bool(self.features) and spec.digest == published_digest(self.features)

    @property
    def views_digest(self) -> str:
        """SHA-256 (hex) of the pictures that only queries have descriptors of; "" for none.

        A database does not depend on them: its store serves all models that differ in these alone.
        """
        described = _augmentations_for_digest(self.layout)
        return hashlib.sha256(json.dumps(described).encode()).hexdigest() if described else ""

    def differs_in_adaptation_alone(self, other: Model) -> bool:
        """Whether both make the same scores of vectors, but for what they are adapted to."""

        def alike(ours: Any, theirs: Any) -> bool:
            if ours is None or theirs is None:
                return ours is theirs
            return bool(np.array_equal(ours, theirs))

        layers = zip(self.comparator or (), other.comparator or (), strict=False)
        return (
            self.features_digest == other.features_digest
            and self.layout == other.layout
            and self.residual_weight == other.residual_weight
            and self.similarity_function == other.similarity_function
            and (self.comparator is None) == (other.comparator is None)
            and all(alike(a, b) for pair in layers for a, b in zip(*pair, strict=True))
            and alike(self.anchors, other.anchors)
            and alike(self.attention, other.attention)
            and alike(self.blank and self.blank.directions, other.blank and other.blank.directions)
        )

    def with_dims(self, dims: int | None) -> Model:
        """The model cut to the first `dims` whitened values; None leaves it whole.

        Raises:
            ModelError: more than there are, or not what attention or adaptation were learned for.
        """
        if dims is None or dims == self.dims:
            return self
        if not 0 < dims < self.dims:
            raise ModelError(f"{self.name}: dims {dims} asked, it has 1 to {self.dims}")
        for name in self.learned:
            raise ModelError(
                f"{self.name}: dims {dims} asked, but its {name} was learned for {self.dims} "
                f"values; leave dims out or give {self.dims}"
                + (", or take the model it was made of" if name == "adaptation" else "")
            )
        first = {space: pca.first(dims) for space, pca in self.whitenings.items()}
        return replace(
            self,
            whitening=first["regions"],
            lowpass=first.get("lowpass"),
            thumbnail=first.get("thumbnail"),
            blank=self.blank.first(dims) if self.blank else None,
            anchors=None if self.anchors is None else unit_vectors(self.anchors[:, :dims]),
        )

    def for_store(self, dims: int) -> Model:
        """The model for stored descriptors of `dims` values.

        A head of the first values takes descriptors with more: whitened values come in the order of
        their eigenvalues, so the first ones, brought to length 1 again, are what a whitening to so
        few values gives. Other models are cut themselves.

        Raises:
            ModelError: see `with_dims`.
        """
        if self.head_dims and self.head_dims < dims <= self.whitening.dims:
            return replace(self, stored_dims=dims)
        return self.with_dims(dims)


def features_digest(model: Model) -> str:
    """SHA-256 (hex) over names, dtypes, shapes and bytes of backbone and whitenings, and the input.

    Attention, adaptation, comparator, terms and blank directions are left out: they act on stored
    features. So are descriptors that only queries have, see `Model.views_digest`. File format and
    the names inside a file have no part in it: a converted model keeps its digest. Whitenings have
    the names of the first format version, so that stores of earlier versions fit.
    """
    description = {
        "backbone": model.backbone,
        "input": asdict(model.input),
        "taps": model.taps,
        "grid": model.grid,
    }
    if model.windows:  # earlier versions had none
        description["windows"] = model.windows
    if not model.has_extractor:
        return published_digest(model.features)
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    arrays = {f"backbone/{name}": array for name, array in model.arrays.items()}
    for space, pca in model.whole_whitenings.items():
        prefix = "whitening" if space == "regions" else old_name(space)
        arrays |= {f"{prefix}/{name}": array for name, array in vars(pca).items()}
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name], dtype="<f4")
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _augmentations_for_digest(layout: DescriptorLayout) -> list[Any]:
    """What `Model.views_digest` is of; empty where queries have nothing that a database lacks.

    The descriptors of format versions 1 and 2 are written as these versions wrote them, in their
    order: downscaled regions, augmented lowpass descriptors, one mirrored thumbnail. Stores of
    queries that earlier versions made fit therefore. Others are written as they are.
    """
    groups = [(g.space, g.augmentation) for g in layout.groups if g.augmentation is not None]
    small = [int(a.amount) for _, a in groups if a.kind == "downscale"]
    short_repr: list[Any] = [
        [old_name(a.kind), a.amount, a.parts]
        for space, a in groups
        if space == "lowpass" and a.kind != "flip"
    ]
    flips = [1 for space, a in groups if (space, a.kind) == ("thumbnail", "flip")]
    order = [(space, a.kind == "flip") for space, a in groups]
    old_order = [("regions", False)] * len(small) + [("lowpass", False)] * len(short_repr)
    if order == old_order + [("thumbnail", True)] * len(flips[:1]):
        return [small, short_repr + ["mirrored pixels"] * len(flips)] if groups else []
    return [[space, a.kind, a.amount, a.parts] for space, a in groups]


def _check_thumbnail(size: int, crop: int) -> None:
    if size < THUMBNAIL**2:
        raise ValueError(f"the thumbnail's whitening is for {size} values, not {THUMBNAIL**2}")
    if crop % THUMBNAIL:
        raise ValueError(
            f"thumbnails need an input whose side is a multiple of {THUMBNAIL}, not {crop}"
        )


def _check_comparator(layers: tuple[tuple[np.ndarray, np.ndarray], ...]) -> None:
    """Three 3x3 and one 1x1 convolution, each taking what the one before gives."""
    if not all(kernel.ndim == 4 and bias.ndim == 1 for kernel, bias in layers):
        raise ValueError("comparator layers are no kernels [h, w, in, out] and biases [out]")
    channels = 1
    sizes = [kernel.shape[:2] for kernel, _ in layers]
    chained = sizes == [(3, 3)] * 3 + [(1, 1)]
    for kernel, bias in layers:
        chained = chained and kernel.shape[2] == channels and bias.shape == kernel.shape[3:]
        channels = kernel.shape[-1]
    if not chained or channels != 1:
        shapes = [(kernel.shape, bias.shape) for kernel, bias in layers]
        raise ValueError(f"comparator layers {shapes} are not three 3x3 and one 1x1 in a chain")
