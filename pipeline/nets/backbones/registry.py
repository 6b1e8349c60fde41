"""Backbones by kind. A new one is a module with `build` and a line here."""

from __future__ import annotations

from importlib import import_module

from ...errors import ModelError
from ..backend import dtype_scope, keras
from ..model.model import Model

# Kind in a model description -> module, and its function (arrays, taps, size) -> keras.Model.
MODULES = {
    "resnet50_v1": (".resnet50", "build"),
    "resnet50_torchvision": (".resnet50", "build_torchvision"),
    "efficientnet_lite0": (".efficientnet_lite0", "build"),
}

# Kinds whose whitened vectors keep a mean cosine of 0.999 to float32 when the backbone runs in
# bfloat16 (measured: 0.999; EfficientNet-Lite0 0.991 on real frames, least 0.91).
CLOSE_IN_BFLOAT16 = {"resnet50_v1"}


def build(model: Model, precision: str, side: int | None = None) -> keras.Model:
    """The model's backbone, from a float image batch to its tapped maps.

    Args:
        model: names the kind, the taps and the input's size.
        precision: dtype of weights and activations, "float32", "bfloat16" or "float16".
        side: of the images in pixels; None takes the input's.

    Raises:
        ModelError: unknown kind, or arrays and taps that do not fit it.
    """
    if model.backbone not in MODULES:
        raise ModelError(
            f"{model.name}: backbone {model.backbone!r} is unknown, "
            f"expected one of {sorted(MODULES)}"
        )
    if not model.has_extractor:
        raise ModelError(
            f"{model.name}: is a head alone and makes no features: give a store of features, or "
            "convert the head together with its backbone (visil-index convert-model)"
        )
    name, function = MODULES[model.backbone]
    make = getattr(import_module(name, __package__), function)
    try:
        with dtype_scope(precision):
            backbone: keras.Model = make(model.arrays, model.taps, side or model.input.crop)
    except (LookupError, TypeError, ValueError) as error:
        raise ModelError(
            f"{model.name}: its arrays or taps do not fit the backbone {model.backbone}: "
            f"{error}; copy the model again"
        ) from error
    backbone.trainable = False
    return backbone
