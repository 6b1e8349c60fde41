"""Our model format: `model.json` describes, `weights.npz` holds arrays (docs/MODELS.md)."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ...atomic import atomic_write
from ...calibration.curve import Calibration
from ...checks import number, whole
from ...errors import ModelError
from ..model.blank import Blank
from ..model.descriptors import THUMBNAIL, View
from ..model.model import MOST_GRID, ModelWeights
from ..model.preprocessing import InputDescription
from ..model.whitening import Whitening
from .archive import MOST_BYTES, read_arrays, read_file
from .description import (
    FORMAT_VERSION,
    as_bytes,
    read_description,
)

DESCRIPTION_FILE = "model.json"
WEIGHTS_FILE = "weights.npz"
ORIGIN = "own format"
COMPARATOR_LAYERS = 4
_WHITENING = ("mean", "eigenvectors", "eigenvalues")
_PARTIAL = ("regions", "offset")
_GROUPS = ("backbone", "whitening", "soft", "pixels", "adaptation", "comparator")
_MOST_AXES = 4
_MOST_SHOWN = 500  # characters of an error
_INSETS = 2  # of a model that asks for none, where its calibration is with insets


def is_own(directory: Path) -> bool:
    """True if the directory describes itself as a model of ours."""
    return (directory / DESCRIPTION_FILE).exists()


def is_adapted(directory: Path) -> bool:
    """Whether the description says that the model is adapted to a collection.

    Raises:
        ModelError: no description there that can be read.
    """
    return bool(read_description(directory / DESCRIPTION_FILE).get("adaptation"))


def read(directory: Path) -> ModelWeights:
    """The model in a directory.

    Raises:
        ModelError: description or weights are missing, damaged or do not fit each other.
    """
    return _assembled(directory, read_description(directory / DESCRIPTION_FILE))


def _assembled(directory: Path, values: Mapping[str, Any]) -> ModelWeights:
    path = directory / DESCRIPTION_FILE
    arrays = _read_arrays(directory / WEIGHTS_FILE, values["weights_sha256"])
    try:
        weights = _assemble(values, arrays)
    except KeyError as error:
        raise ModelError(
            f"{directory / WEIGHTS_FILE}: no array {str(error)[:_MOST_SHOWN]}, "
            f"which {path.name} promises; copy both files again from where the model came from"
        ) from error
    except (TypeError, ValueError) as error:
        reason = str(error)[:_MOST_SHOWN]  # a crafted value may be of any length
        raise ModelError(f"{path}: {reason}; see docs/MODELS.md for the format") from error
    if weights.dims != values["whitening_dims"]:
        raise ModelError(
            f"{path}: whitening_dims is {values['whitening_dims']}, "
            f"{WEIGHTS_FILE} holds {weights.dims}; correct the description"
        )
    return weights


def write(weights: ModelWeights, directory: Path, backbone_dtype: str = "float32") -> None:
    """Write the model; the description comes last, so a killed run leaves no model behind.

    Args:
        weights: with full dims.
        directory: made if needed; files of our format in it are replaced.
        backbone_dtype: "float32", or "float16" for half the size and another digest.

    Raises:
        ModelError: the files cannot be written.
    """
    arrays = {f"backbone/{k}": v.astype(backbone_dtype) for k, v in weights.arrays.items()}
    arrays |= {f"whitening/{k}": getattr(weights.whitening, k) for k in _WHITENING}
    for kind, pca in (("soft", weights.soft), ("pixels", weights.pixels)):
        if pca is not None:
            arrays |= {f"{kind}/{k}": getattr(pca, k) for k in _WHITENING}
    if weights.hubs is not None:
        arrays["hubs"] = weights.hubs.astype(np.float16)
    if weights.attention is not None:
        arrays["attention"] = weights.attention
    for kind, pca in (weights.adaptation or {}).items():
        arrays |= {f"adaptation/{kind}/{k}": getattr(pca, k) for k in _WHITENING}
    if weights.blank is not None:
        arrays["blank"] = weights.blank.directions
    for layer, (kernel, bias) in enumerate(weights.comparator or ()):
        arrays |= {f"comparator/{layer}/kernel": kernel, f"comparator/{layer}/bias": bias}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)  # type: ignore[arg-type]
    content = buffer.getbuffer()
    description = _describe(weights, hashlib.sha256(content).hexdigest())
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _replace(directory / WEIGHTS_FILE, content)
        _replace(directory / DESCRIPTION_FILE, as_bytes(description))
    except OSError as error:
        raise ModelError(f"{directory}: the model cannot be written: {error}") from error


def _replace(path: Path, content: bytes | memoryview) -> None:
    with atomic_write(path) as file:
        file.write(content)


def write_calibration(calibration: Calibration, directory: Path) -> None:
    """Put a calibration into the description of a model; its weights are not touched.

    It takes the place of one for the same way of comparing, if there is one.

    Raises:
        ModelError: no description there that can be read, or it cannot be written.
    """
    path = directory / DESCRIPTION_FILE
    values = read_description(path)
    try:
        known = _calibrations(values)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: calibration: {error}; delete that key") from error
    others = [each for each in known if each.key != calibration.key]
    values["calibration"] = [each.as_json() for each in (*others, calibration)]
    try:
        _replace(path, as_bytes(values))
    except OSError as error:
        raise ModelError(f"{path}: cannot be written: {error}") from error


def seal(directory: Path) -> None:
    """Accept the description as it is, after an edit by hand or from an earlier version.

    Raises:
        ModelError: it cannot be read or written, or is no description of the weights.
    """
    path = directory / DESCRIPTION_FILE
    values = read_description(path, sealed=False)
    _assembled(directory, values)
    try:
        _replace(path, as_bytes(values))
    except OSError as error:
        raise ModelError(f"{path}: cannot be written: {error}") from error


def _describe(weights: ModelWeights, sha256: str) -> dict[str, Any]:
    values: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "name": weights.name,
        "licence": weights.licence,
        "origin": weights.provenance or weights.origin,
        "description": weights.description,
        "backbone": weights.backbone,
        "input": asdict(weights.input),
        "taps": list(weights.taps),
        "grid": weights.grid,
        "whitening_dims": weights.dims,
        "attention": weights.attention is not None,
        "comparator": weights.comparator is not None,
        "similarity_function": weights.similarity_function,
        "weights_sha256": sha256,
    }
    if weights.soft is not None:
        values["soft"] = True
    if weights.small:
        values["small"] = list(weights.small)
    if weights.small_offsets:
        values["small_offsets"] = list(weights.small_offsets)
    if weights.views:
        values["views"] = [asdict(view) for view in weights.views]
    if weights.pixels is not None:
        values["pixels"] = {"offset": weights.pixels_offset, "mirrored": weights.mirrored}
    if weights.partial is not None:
        values["partial"] = dict(zip(_PARTIAL, weights.partial, strict=True))
    if weights.adaptation is not None:
        values["adaptation"] = True
    if weights.comparator is not None and weights.skip:
        values["skip"] = weights.skip
    if weights.blank is not None:
        values["blank"] = {"low": weights.blank.low, "high": weights.blank.high}
    if weights.insets:
        values["insets"] = weights.insets
    if weights.calibrations:
        values["calibration"] = [each.as_json() for each in weights.calibrations]
    return values


def _read_arrays(path: Path, sha256: str) -> dict[str, np.ndarray]:
    """Every array as float32, after the file's digest was found right."""
    try:
        content = read_file(path, MOST_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error}; copy the model again") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ModelError(
            f"{path}: SHA-256 is {found}, {DESCRIPTION_FILE} says {sha256[:64]}: the file is "
            f"damaged, cut short ({len(content)} bytes) or of another model; copy both files again"
        )
    try:
        return read_arrays(content, _known)
    except ValueError as error:
        raise ModelError(
            f"{path}: not an npz file of numbers: {error}; copy the model again"
        ) from error


def _known(name: str, shape: tuple[int, ...]) -> bool:
    if name not in ("hubs", "attention", "blank") and name.split("/")[0] not in _GROUPS:
        raise ValueError(f"array {name[:80]!r} is unknown")
    if len(shape) > _MOST_AXES:
        raise ValueError(
            f"array {name[:80]!r} has {len(shape)} axes, expected {_MOST_AXES} at most"
        )
    return True


def _assemble(values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> ModelWeights:
    prefix = "backbone/"
    layers = [
        (arrays[f"comparator/{layer}/kernel"], arrays[f"comparator/{layer}/bias"])
        for layer in range(COMPARATOR_LAYERS * values["comparator"])
    ]
    return ModelWeights(
        name=values["name"],
        origin=ORIGIN,
        backbone=values["backbone"],
        arrays={k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)},
        input=InputDescription(**values["input"]),
        taps=tuple(values["taps"]),
        grid=values["grid"],
        whitening=_whitening("whitening", arrays),
        soft=_whitening("soft", arrays) if values.get("soft") else None,
        pixels=_whitening("pixels", arrays) if "pixels" in values else None,
        **_pixels(arrays, **values.get("pixels", {})),
        small=tuple(values.get("small", ())),
        small_offsets=tuple(number("small_offsets", x) for x in values.get("small_offsets", ())),
        views=tuple(_view(view) for view in values.get("views", ())),
        hubs=arrays.get("hubs"),
        partial=_partial(**values["partial"]) if "partial" in values else None,
        skip=values.get("skip", 0.0),
        attention=arrays["attention"] if values["attention"] else None,
        adaptation=_adaptation(arrays) if values.get("adaptation") else None,
        comparator=tuple(layers) or None,
        blank=Blank(arrays["blank"], **values["blank"]) if "blank" in values else None,
        insets=values.get("insets", 0),
        similarity_function=values["similarity_function"],
        calibrations=_calibrations(values),
        licence=values.get("licence", ""),
        provenance=values.get("origin", ""),
        description=values.get("description", ""),
    )


def _calibrations(values: Mapping[str, Any]) -> tuple[Calibration, ...]:
    found = values.get("calibration", [])
    # Those of earlier versions do not say whether the model was adapted: as it is itself.
    adapted = {"adapted": bool(values.get("adaptation"))}
    made = [found] if isinstance(found, dict) else found
    if not all(isinstance(each, dict) for each in made):
        raise TypeError("calibration: expected objects of keys and values")
    return tuple(Calibration.from_json(adapted | _counted(each, values)) for each in made)


def _counted(calibration: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Earlier versions said whether there were insets, not how many: as the model has them."""
    most = values.get("insets") or _INSETS
    counts = {key: calibration.get(key, 0) for key in ("insets", "query_insets")}
    return {**calibration, **{k: most if n is True else n or 0 for k, n in counts.items()}}


def _whitening(kind: str, arrays: Mapping[str, np.ndarray]) -> Whitening:
    return Whitening(*(arrays[f"{kind}/{name}"] for name in _WHITENING))


def _adaptation(arrays: Mapping[str, np.ndarray]) -> dict[str, Whitening]:
    kinds = dict.fromkeys(k.split("/")[1] for k in arrays if k.startswith("adaptation/"))
    return {kind: _whitening(f"adaptation/{kind}", arrays) for kind in kinds}


def _pixels(
    arrays: Mapping[str, np.ndarray], offset: float = 0.0, mirrored: bool = False
) -> dict[str, Any]:
    if not isinstance(mirrored, bool):
        raise TypeError(f"pixels: mirrored is {mirrored!r}, expected true or false")
    if "pixels/mean" in arrays and len(arrays["pixels/mean"]) != THUMBNAIL**2:
        size = len(arrays["pixels/mean"])
        raise ValueError(f"pixels/mean has {size} values, expected {THUMBNAIL**2}")
    return {"pixels_offset": number("pixels: offset", offset), "mirrored": mirrored}


def _view(values: Any) -> View:
    if not isinstance(values, dict):
        raise TypeError(f"views: {values!r}, expected an object of keys and values")
    numbers = ("amount", "offset", "hubness")
    floats = {k: number(f"views: {k}", values[k]) for k in numbers if k in values}
    return View(**(values | floats))


def _partial(regions: int, offset: float) -> tuple[int, float]:
    return whole("partial: regions", regions, 1, MOST_GRID**2), number("partial: offset", offset)
