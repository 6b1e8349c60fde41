"""Our model format: `model.json` describes, `weights.npz` holds arrays (docs/MODELS.md)."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ...atomic import atomic_write
from ...calibration.curve import Calibration
from ...checks import record, whole
from ...errors import ModelError
from ..model.aliases import ALIASES, old_name
from ..model.blank import Blank
from ..model.descriptors import THUMBNAIL
from ..model.model import Model
from ..model.preprocessing import InputDescription
from ..model.whitening import Whitening
from .archive import MAX_BYTES, Wanted, read_arrays, read_file
from .description import (
    FORMAT_VERSION,
    as_bytes,
    read_description,
)
from .terms import describe_layout, read_layout

DESCRIPTION_FILE = "model.json"
WEIGHTS_FILE = "weights.npz"
ORIGIN = "own format"
COMPARATOR_LAYERS = 4
_WHITENING = ("mean", "eigenvectors", "eigenvalues")
# Arrays keep the names that they had in format version 1, see `nets.model.aliases`.
_ANCHORS = old_name("anchors")
_SPACES = {"lowpass": old_name("lowpass"), "thumbnail": old_name("thumbnail")}
_TRANSFORM = "attention_transform"
_GROUPS = ("backbone", "whitening", *_SPACES.values(), "adaptation", "comparator", _TRANSFORM)
_SINGLE = (_ANCHORS, "attention", "binarization", "blank")
_MAX_AXES = 4
_MAX_DIMS = 8192  # of a head alone, which has no whitening to compare the number with
_MAX_SHOWN = 500  # characters of an error
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


def read(directory: Path) -> Model:
    """The model in a directory.

    Raises:
        ModelError: description or weights are missing, damaged or do not fit each other.
    """
    return _assembled(directory, read_description(directory / DESCRIPTION_FILE))


def _assembled(directory: Path, values: Mapping[str, Any]) -> Model:
    path = directory / DESCRIPTION_FILE
    arrays = read_weights(directory / WEIGHTS_FILE, values["weights_sha256"], _check_array)
    try:
        weights = _assemble(values, arrays)
    except KeyError as error:
        raise ModelError(
            f"{directory / WEIGHTS_FILE}: no array {str(error)[:_MAX_SHOWN]}, "
            f"which {path.name} promises; copy both files again from where the model came from"
        ) from error
    except (TypeError, ValueError) as error:
        reason = str(error)[:_MAX_SHOWN]  # a crafted value may be of any length
        raise ModelError(f"{path}: {reason}; see docs/MODELS.md for the format") from error
    if weights.whitening.dims != values["whitening_dims"]:
        raise ModelError(
            f"{path}: whitening_dims is {values['whitening_dims']}, "
            f"{WEIGHTS_FILE} holds {weights.whitening.dims}; correct the description"
        )
    return weights


def write(model: Model, directory: Path, backbone_dtype: str = "float32") -> None:
    """Write the model; the description comes last, so a killed run leaves no model behind.

    Args:
        model: with full dims.
        directory: made if needed; files of our format in it are replaced.
        backbone_dtype: "float32", or "float16" for half the size and another digest.

    Raises:
        ModelError: the files cannot be written.
    """
    arrays = {f"backbone/{k}": v.astype(backbone_dtype) for k, v in model.arrays.items()}
    for space, pca in (model.whole_whitenings if model.has_extractor else {}).items():
        prefix = _SPACES.get(space, "whitening")
        arrays |= {f"{prefix}/{k}": getattr(pca, k) for k in _WHITENING}
    if model.anchors is not None:
        arrays[_ANCHORS] = model.anchors.astype(np.float16)
    if model.attention is not None:
        arrays["attention"] = model.attention
    if model.attention_transform is not None:
        names = f"{_TRANSFORM}/kernel", f"{_TRANSFORM}/bias"
        arrays |= dict(zip(names, model.attention_transform, strict=True))
    if model.binarization is not None:
        arrays["binarization"] = model.binarization
    for space, pca in (model.adaptation or {}).items():
        prefix = f"adaptation/{old_name(space)}"
        arrays |= {f"{prefix}/{k}": getattr(pca, k) for k in _WHITENING}
    if model.blank is not None:
        arrays["blank"] = model.blank.directions
    for layer, (kernel, bias) in enumerate(model.comparator or ()):
        arrays |= {f"comparator/{layer}/kernel": kernel, f"comparator/{layer}/bias": bias}
    write_folder(directory, arrays, lambda sha256: _describe(model, sha256))


def write_folder(
    directory: Path, arrays: Mapping[str, np.ndarray], describe: Callable[[str], dict[str, Any]]
) -> None:
    """Write both files of a model folder; the description comes last.

    Args:
        directory: made if needed.
        arrays: of weights.npz.
        describe: gives the description for the SHA-256 (hex) of weights.npz.

    Raises:
        ModelError: the files cannot be written.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)  # type: ignore[arg-type]
    content = buffer.getbuffer()
    description = describe(hashlib.sha256(content).hexdigest())
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
        calibrations = _calibrations(values)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: calibration: {error}; delete that key") from error
    entries = [entry for entry in calibrations if entry.key != calibration.key]
    values["calibration"] = [entry.as_json() for entry in (*entries, calibration)]
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


def _describe(model: Model, sha256: str) -> dict[str, Any]:
    values: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "name": model.name,
        "licence": model.licence,
        "origin": model.provenance or model.origin,
        "description": model.description,
        "backbone": model.backbone,
        "input": asdict(model.input),
        "taps": list(model.taps),
        "grid": model.grid,
        "whitening_dims": model.whitening.dims,
        "attention": model.attention is not None,
        "comparator": model.comparator is not None,
        "similarity_function": model.similarity_function,
        "weights_sha256": sha256,
        **describe_layout(model.layout),
    }
    values |= _described_head(model)
    if model.adaptation is not None:
        values["adaptation"] = True
    if model.comparator is not None and model.residual_weight:
        values["residual_weight"] = model.residual_weight
    if model.blank is not None:
        values["blank"] = {"low": model.blank.low, "high": model.blank.high}
    if model.insets:
        values["insets"] = model.insets
    if model.calibrations:
        values["calibration"] = [entry.as_json() for entry in model.calibrations]
    return values


def _described_head(model: Model) -> dict[str, Any]:
    """Keys of format version 4, which are left out where they say what earlier versions meant."""
    values: dict[str, Any] = {
        "windows": list(model.windows),
        "head_dims": model.head_dims,
        "features": model.features,
        "attention_transform": model.attention_transform is not None,
        "binarization": model.binarization is not None,
    }
    values = {key: value for key, value in values.items() if value}
    if model.comparator is not None and model.comparator_padding != "edge":
        values["comparator_padding"] = model.comparator_padding
    return values if model.has_extractor else {**values, "extractor": False}


def read_weights(path: Path, sha256: str, check: Wanted) -> dict[str, np.ndarray]:
    """Every array as float32, after the file's digest was found right.

    Args:
        check: see `archive.read_arrays`.

    Raises:
        ModelError: not readable, another digest, or arrays that `check` refuses.
    """
    try:
        content = read_file(path, MAX_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error}; copy the model again") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise ModelError(
            f"{path}: SHA-256 is {digest}, {DESCRIPTION_FILE} says {sha256[:64]}: the file is "
            f"damaged, cut short ({len(content)} bytes) or of another model; copy both files again"
        )
    try:
        return read_arrays(content, check)
    except ValueError as error:
        raise ModelError(
            f"{path}: not an npz file of numbers: {error}; copy the model again"
        ) from error


def _check_array(name: str, shape: tuple[int, ...]) -> bool:
    if name not in _SINGLE and name.split("/")[0] not in _GROUPS:
        raise ValueError(f"array {name[:80]!r} is unknown")
    if len(shape) > _MAX_AXES:
        raise ValueError(f"array {name[:80]!r} has {len(shape)} axes, expected {_MAX_AXES} at most")
    return True


def _assemble(values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Model:
    prefix = "backbone/"
    layers = [
        (arrays[f"comparator/{layer}/kernel"], arrays[f"comparator/{layer}/bias"])
        for layer in range(COMPARATOR_LAYERS * values["comparator"])
    ]
    if not values.get("extractor", True):
        _check_head_alone(values, arrays)
    layout = read_layout(values)
    spaces = {group.space for group in layout.groups if not group.query_only}
    whitenings = {s: _whitening(_SPACES[s], arrays) for s in _SPACES if s in spaces}
    if "thumbnail" in whitenings and len(whitenings["thumbnail"].mean) != THUMBNAIL**2:
        size = len(whitenings["thumbnail"].mean)
        raise ValueError(f"{_SPACES['thumbnail']}/mean has {size} values, not {THUMBNAIL**2}")
    return Model(
        name=values["name"],
        origin=ORIGIN,
        backbone=values["backbone"],
        arrays={k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)},
        input=record("input", InputDescription, values["input"]),
        taps=tuple(values["taps"]),
        grid=values["grid"],
        whitening=_whitening("whitening", arrays)
        if values.get("extractor", True)
        else Whitening.absent(whole("whitening_dims", values["whitening_dims"], 1, _MAX_DIMS)),
        lowpass=whitenings.get("lowpass"),
        thumbnail=whitenings.get("thumbnail"),
        layout=layout,
        anchors=arrays.get(_ANCHORS),
        residual_weight=values.get("residual_weight", 0.0),
        windows=tuple(values.get("windows", ())),
        head_dims=values.get("head_dims", 0),
        features=values.get("features", ""),
        attention=arrays["attention"] if values["attention"] else None,
        attention_transform=(arrays[f"{_TRANSFORM}/kernel"], arrays[f"{_TRANSFORM}/bias"])
        if values.get("attention_transform")
        else None,
        binarization=arrays["binarization"] if values.get("binarization") else None,
        comparator_padding=values.get("comparator_padding", "edge"),
        adaptation=_adaptation(arrays) if values.get("adaptation") else None,
        comparator=tuple(layers) or None,
        blank=_blank(values["blank"], arrays) if "blank" in values else None,
        insets=values.get("insets", 0),
        similarity_function=values["similarity_function"],
        calibrations=_calibrations(values),
        licence=values.get("licence", ""),
        provenance=values.get("origin", ""),
        description=values.get("description", ""),
    )


def _check_head_alone(values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    if not values.get("features"):
        raise ValueError("extractor is false, but features do not say which ones the head is for")
    for name in arrays:
        if name.startswith(("backbone/", "whitening/")):
            raise ValueError(f"extractor is false, but {WEIGHTS_FILE} holds {name[:80]!r}")


def _calibrations(values: Mapping[str, Any]) -> tuple[Calibration, ...]:
    stored = values.get("calibration", [])
    # Those of earlier versions do not say whether the model was adapted: as it is itself.
    adapted = {"adapted": bool(values.get("adaptation"))}
    entries = [stored] if isinstance(stored, dict) else stored
    if not all(isinstance(entry, dict) for entry in entries):
        raise TypeError("calibration: expected objects of keys and values")
    return tuple(Calibration.from_json(adapted | _counted(entry, values)) for entry in entries)


def _counted(calibration: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Earlier versions said whether there were insets, not how many: as the model has them."""
    limit = values.get("insets") or _INSETS
    counts = {key: calibration.get(key, 0) for key in ("insets", "query_insets")}
    return {**calibration, **{k: limit if n is True else n or 0 for k, n in counts.items()}}


def _blank(values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Blank:
    return record("blank", Blank, values, directions=arrays["blank"])


def _whitening(kind: str, arrays: Mapping[str, np.ndarray]) -> Whitening:
    return Whitening(*(arrays[f"{kind}/{name}"] for name in _WHITENING))


def _adaptation(arrays: Mapping[str, np.ndarray]) -> dict[str, Whitening]:
    prefixes = dict.fromkeys(k.split("/")[1] for k in arrays if k.startswith("adaptation/"))
    return {ALIASES.get(p, p): _whitening(f"adaptation/{p}", arrays) for p in prefixes}
