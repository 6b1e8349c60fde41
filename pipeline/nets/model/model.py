"""What a loaded model is: arrays and how to use them, whatever files they came from. numpy only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ...calibration.curve import Calibration
from ...checks import shown, text
from ...config import MODEL_FUNCTIONS, MOST_INSETS
from ...errors import ModelError
from .blank import Blank
from .descriptors import THUMBNAIL, Layout, View
from .preprocessing import InputDescription
from .whitening import Whitening, unit_vectors

MOST_GRID, MOST_TAPS = 32, 64
MOST_VECTORS = 4096  # of a query's frame


@dataclass(frozen=True)
class ModelWeights:
    """A model directory's content; arrays are float32.

    Attributes:
        name: of the model, for people.
        origin: which format it was read from, e.g. "own format".
        backbone: kind, a key of `backbones.MODULES`.
        arrays: the backbone's arrays by layer name, batch norm folded in.
        input: from frame to backbone.
        taps: backbone outputs that regions are taken of, in this order.
        grid: regions along one side of a map.
        whitening: PCA of the concatenated regions.
        soft: PCA of the whole softened picture's vector, or None: there is no such vector.
        small: divisors of the small views that queries have.
        small_offsets: added to the similarity of each small view; empty for none.
        views: further soft vectors that queries have, see `layout`.
        hubs: soft vectors of other videos [M, dims], of length 1, by which `hubness` is measured;
            None if no view asks for it.
        pixels: PCA of the picture's luminance, see `nets.extractor.thumbnail`, or None: there is
            no such vector.
        pixels_offset: added to its similarity.
        mirrored: whether queries have the pixels of the mirrored picture, too.
        partial: of a query's regions so many are enough, and what is added to the similarity of
            these; None: all count. See `layout`.
        attention: context vector [dims], or None.
        adaptation: a second whitening [dims, dims] of "regions" and, where there are those, "soft"
            and "pixels", see `nets.similarity.adaptation`, or None.
        comparator: four (kernel [h, w, in, out], bias [out]), or None: Chamfer on the matrix.
        skip: share of the comparator's output that is the matrix itself; see `comparator.compare`.
        blank: what nearly empty regions look like, or None: they count as the others do.
        insets: pictures within the picture that stage one is to look for by default, at most so
            many at a time, see `video.pip.detector`.
        similarity_function: the one the model was made for.
        features_digest: SHA-256 (hex) of all that changes features, of the full dims.
        calibrations: what its scores mean, one for each way of comparing that was calibrated.
        licence, provenance, description: text, may be empty.
    """

    name: str
    origin: str
    backbone: str
    arrays: Mapping[str, np.ndarray]
    input: InputDescription
    taps: tuple[str, ...]
    grid: int
    whitening: Whitening
    soft: Whitening | None = None
    small: tuple[int, ...] = ()
    small_offsets: tuple[float, ...] = ()
    views: tuple[View, ...] = ()
    hubs: np.ndarray | None = None
    pixels: Whitening | None = None
    pixels_offset: float = 0.0
    mirrored: bool = False
    partial: tuple[int, float] | None = None
    attention: np.ndarray | None = None
    adaptation: Mapping[str, Whitening] | None = None
    comparator: tuple[tuple[np.ndarray, np.ndarray], ...] | None = None
    skip: float = 0.0
    blank: Blank | None = None
    insets: int = 0
    similarity_function: str = "chamfer"
    calibrations: tuple[Calibration, ...] = ()
    licence: str = ""
    provenance: str = ""
    description: str = ""
    features_digest: str = ""

    def __post_init__(self) -> None:
        if self.similarity_function not in MODEL_FUNCTIONS:
            raise ValueError(
                f"similarity_function is {self.similarity_function!r}, "
                f"expected one of {MODEL_FUNCTIONS}"
            )
        if not 1 <= self.grid <= MOST_GRID or not 1 <= len(self.taps) <= MOST_TAPS:
            raise ValueError(
                f"grid is {self.grid}, taps are {shown(self.taps)}, expected 1 or more each, "
                f"at most {MOST_GRID} and {MOST_TAPS}"
            )
        for tap in self.taps:
            text("a tap", tap)
        if self.attention is not None and self.attention.shape != (self.whitening.dims,):
            raise ValueError(
                f"attention vector is {self.attention.shape}, expected ({self.whitening.dims},)"
            )
        if self.blank is not None and self.blank.directions.shape[1] != self.whitening.dims:
            raise ValueError(
                f"blank directions are {self.blank.directions.shape}, "
                f"expected [K, {self.whitening.dims}]"
            )
        for name, pca in (("soft", self.soft), ("pixels", self.pixels)):
            if pca is not None and pca.dims != self.whitening.dims:
                raise ValueError(
                    f"the {name} vector has {pca.dims} values, regions have {self.whitening.dims}"
                )
        if not 0 <= self.insets <= MOST_INSETS:
            raise ValueError(f"insets is {self.insets}, expected 0 to {MOST_INSETS}")
        if self.pixels is not None:
            _check_pixels(len(self.pixels.mean), self.input.crop)
        elif self.mirrored:
            raise ValueError("mirrored is of pixels, but there are none")
        if any(not isinstance(k, int) or not 2 <= k <= self.input.crop for k in self.small):
            raise ValueError(
                f"small is {shown(self.small)}, expected whole numbers of 2 or more, not above the "
                f"input's side of {self.input.crop}"
            )
        if self.small and self.grid % 2 == 0:
            raise ValueError(f"grid is {self.grid}: small views need one with a middle region")
        if self.small_offsets and len(self.small_offsets) != len(self.small):
            raise ValueError(f"small_offsets is {self.small_offsets} for small {self.small}")
        if self.partial is not None and not 0 < self.partial[0] <= self.grid * self.grid:
            raise ValueError(
                f"partial asks for {self.partial[0]} regions, expected 1 to {self.grid**2}"
            )
        offsets = (*self.small_offsets, (self.partial or (0, 0.0))[1], self.pixels_offset)
        if not all(-1 <= x <= 1 for x in offsets):
            raise ValueError(
                f"partial {self.partial}, small_offsets {self.small_offsets}, pixels_offset "
                f"{self.pixels_offset}: offsets are of similarities, expected -1 to 1"
            )
        if self.views and self.soft is None:
            raise ValueError("views are compared with the soft vector, but soft is not true")
        if self.hubs is None and any(view.hubness for view in self.views):
            raise ValueError("a view has hubness taken off, but there are no hubs to measure it by")
        if self.hubs is not None and self.hubs.shape[1:] != (self.whitening.dims,):
            raise ValueError(f"hubs are {self.hubs.shape}, expected [M, {self.whitening.dims}]")
        if self.hubs is not None and not len(self.hubs):
            raise ValueError("there are no hubs in the array of hubs")
        if self.layout.query > MOST_VECTORS:
            raise ValueError(f"a query's frame has more than {MOST_VECTORS} vectors")
        if self.adaptation is not None:
            self._check_adaptation(self.adaptation)
        if not 0 <= self.skip < 1:
            raise ValueError(f"skip is {self.skip}, expected 0 or more and less than 1")
        if self.comparator is not None:
            _check_comparator(self.comparator)
        if not self.features_digest:
            object.__setattr__(self, "features_digest", features_digest(self))

    def _check_adaptation(self, adaptation: Mapping[str, Whitening]) -> None:
        if self.attention is not None:
            raise ValueError("adaptation is for models without attention, which it would mislead")
        kinds = dict(self.layout.of_database.spaces).keys()
        if adaptation.keys() != kinds:
            raise ValueError(f"adaptation is of {sorted(adaptation)}, expected {sorted(kinds)}")
        for kind, pca in adaptation.items():
            if pca.eigenvectors.shape != (self.dims, self.dims):
                raise ValueError(
                    f"adaptation of {kind} is {pca.eigenvectors.shape}, expected "
                    f"({self.dims}, {self.dims})"
                )

    @property
    def dims(self) -> int:
        """C, values of a region vector."""
        return self.whitening.dims

    @property
    def regions(self) -> int:
        """R, vectors of a frame in the database."""
        return self.layout.shared

    @property
    def layout(self) -> Layout:
        """What a frame's vectors are, with all that queries have."""
        return Layout(
            self.grid * self.grid,
            self.soft is not None,
            len(self.small),
            *(self.partial or (0, 0.0)),
            self.small_offsets,
            self.views,
            self.pixels is not None,
            self.pixels_offset,
            self.mirrored,
        )

    @property
    def views_digest(self) -> str:
        """SHA-256 (hex) of the pictures that queries' further vectors are made of; "" for none.

        A database does not depend on them: its store serves all models that differ in these alone.
        """
        if not self.small and not self.views and not self.mirrored:
            return ""
        shown: list[Any] = [[view.kind, view.amount, view.parts] for view in self.views]
        shown += ["mirrored pixels"] * self.mirrored
        return hashlib.sha256(json.dumps([list(self.small), shown]).encode()).hexdigest()

    def differs_in_adaptation_alone(self, other: ModelWeights) -> bool:
        """Whether both make the same scores of vectors, but for what they are adapted to."""

        def alike(ours: Any, theirs: Any) -> bool:
            if ours is None or theirs is None:
                return ours is theirs
            return bool(np.array_equal(ours, theirs))

        layers = zip(self.comparator or (), other.comparator or (), strict=False)
        return (
            self.features_digest == other.features_digest
            and self.layout == other.layout
            and self.skip == other.skip
            and self.similarity_function == other.similarity_function
            and (self.comparator is None) == (other.comparator is None)
            and all(alike(a, b) for pair in layers for a, b in zip(*pair, strict=True))
            and alike(self.hubs, other.hubs)
            and alike(self.attention, other.attention)
            and alike(self.blank and self.blank.directions, other.blank and other.blank.directions)
        )

    def with_dims(self, dims: int | None) -> ModelWeights:
        """The model cut to the first `dims` whitened values; None leaves it whole.

        Raises:
            ModelError: more than there are, or not what attention or adaptation were learned for.
        """
        if dims is None or dims == self.dims:
            return self
        if not 0 < dims < self.dims:
            raise ModelError(f"{self.name}: dims {dims} asked, it has 1 to {self.dims}")
        for name, learned in (("attention", self.attention), ("adaptation", self.adaptation)):
            if learned is not None:
                raise ModelError(
                    f"{self.name}: dims {dims} asked, but its {name} was learned for {self.dims} "
                    f"values; leave dims out or give {self.dims}"
                    + (", or take the model it was made of" if name == "adaptation" else "")
                )
        blank = self.blank.first(dims) if self.blank else None
        soft = self.soft.first(dims) if self.soft else None
        own = self.pixels.first(dims) if self.pixels else None
        hubs = None if self.hubs is None else unit_vectors(self.hubs[:, :dims])
        cut = self.whitening.first(dims)
        return replace(self, whitening=cut, soft=soft, pixels=own, blank=blank, hubs=hubs)


def features_digest(weights: ModelWeights) -> str:
    """SHA-256 (hex) over names, dtypes, shapes and bytes of backbone and whitening, and the input.

    Attention, adaptation, comparator, offsets and blank directions are left out: they act on stored
    features. So are small and other views, which only queries have, see
    `ModelWeights.views_digest`. File format and the names inside a file have no part in it: a
    converted model keeps its digest.
    """
    description = {
        "backbone": weights.backbone,
        "input": asdict(weights.input),
        "taps": weights.taps,
        "grid": weights.grid,
    }
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    arrays = {f"backbone/{name}": array for name, array in weights.arrays.items()}
    arrays |= {f"whitening/{name}": array for name, array in vars(weights.whitening).items()}
    for kind, pca in (("soft", weights.soft), ("pixels", weights.pixels)):
        if pca is not None:
            arrays |= {f"{kind}/{name}": array for name, array in vars(pca).items()}
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name], dtype="<f4")
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _check_pixels(size: int, crop: int) -> None:
    if size < THUMBNAIL**2:
        raise ValueError(f"the whitening of pixels is for {size} values, expected {THUMBNAIL**2}")
    if crop % THUMBNAIL:
        raise ValueError(
            f"pixels need an input whose side is a multiple of {THUMBNAIL}, not {crop}"
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
