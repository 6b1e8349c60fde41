"""EfficientNet-Lite0 as a feature extractor: the maps of chosen blocks, batch norm folded.

Architecture: EfficientNet (Tan and Le, ICML 2019, arXiv 1905.11946) in the Lite variant of the
TensorFlow TPU repository: no squeeze-and-excitation, ReLU6 instead of swish. The published
weights were trained with TensorFlow's "same" padding (one row and column more below and right
than above and left at stride 2, for an even input), so the symmetric padding that PyTorch
layers do by themselves gives other numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import ModelError
from ..backend import keras

HEAD_CHANNELS = 1280
STEM_CHANNELS = 32
# Of each stage: blocks, kernel side, stride of its first block, expansion, output channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


@dataclass(frozen=True)
class Block:
    """One inverted bottleneck: expand 1x1, depthwise, project 1x1, sum where shapes allow."""

    name: str
    kernel: int
    stride: int
    expansion: int
    inputs: int
    outputs: int

    @property
    def residual(self) -> bool:
        """Whether the input is added to the output."""
        return self.stride == 1 and self.inputs == self.outputs


def _blocks() -> tuple[Block, ...]:
    blocks: list[Block] = []
    channels = STEM_CHANNELS
    for repeats, kernel, stride, expansion, outputs in _STAGES:
        for i in range(repeats):
            name = f"block_{len(blocks):02d}"
            blocks.append(
                Block(name, kernel, stride if i == 0 else 1, expansion, channels, outputs)
            )
            channels = outputs
    return tuple(blocks)


BLOCKS = _blocks()


def array_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of all weights: `LAYER/kernel` and `LAYER/bias`.

    Kernels are [kh, kw, in, out], depthwise kernels [kh, kw, channels, 1], biases [out].
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(name: str, side: int, inputs: int, outputs: int, bias: int) -> None:
        shapes[f"{name}/kernel"] = (side, side, inputs, outputs)
        shapes[f"{name}/bias"] = (bias,)

    conv("stem", 3, 3, STEM_CHANNELS, STEM_CHANNELS)
    for block in BLOCKS:
        wide = block.inputs * block.expansion
        if block.expansion > 1:
            conv(f"{block.name}_expand", 1, block.inputs, wide, wide)
        conv(f"{block.name}_depthwise", block.kernel, wide, 1, wide)
        conv(f"{block.name}_project", 1, wide, block.outputs, block.outputs)
    conv("head", 1, BLOCKS[-1].outputs, HEAD_CHANNELS, HEAD_CHANNELS)
    return shapes


def tap_channels(taps: Sequence[str]) -> tuple[int, ...]:
    """Channels of each tapped map, in the order of `taps`.

    Raises:
        ModelError: a name is none of stem, block_00 to block_15, head.
    """
    channels = {"stem": STEM_CHANNELS, "head": HEAD_CHANNELS, **{b.name: b.outputs for b in BLOCKS}}
    for tap in taps:
        if tap not in channels:
            raise ModelError(f"EfficientNet-Lite0 has no layer {tap!r}, only {', '.join(channels)}")
    return tuple(channels[tap] for tap in taps)


def build(arrays: Mapping[str, np.ndarray], taps: Sequence[str], size: int) -> keras.Model:
    """The network as a functional Keras model.

    Args:
        arrays: the weights, named and shaped as `array_shapes` says; any float dtype.
        taps: layers whose outputs are wanted: `stem`, `block_00` to `block_15` (the block's
            output, linear), `head` (after ReLU6).
        size: side of the square input in pixels.

    Returns:
        Model from float [B, size, size, 3] (RGB, `(value - 127) / 128`) to a list of maps
        [B, S, S, C], one a tap, in the default dtype policy.

    Raises:
        ModelError: an array is missing or has another shape, or a tap is unknown.
    """
    tap_channels(taps)
    _check(arrays)
    inputs = keras.Input((size, size, 3), name="frames")
    maps = _graph(inputs)
    model = keras.Model(inputs, [maps[tap] for tap in taps], name="efficientnet_lite0")
    for layer in model.layers:
        if layer.weights:
            kernel, bias = arrays[f"{layer.name}/kernel"], arrays[f"{layer.name}/bias"]
            layer.set_weights([kernel.astype(np.float32), bias.astype(np.float32)])
    model.trainable = False
    return model


def _check(arrays: Mapping[str, np.ndarray]) -> None:
    for name, shape in array_shapes().items():
        if name not in arrays:
            raise ModelError(f"the weights lack the array {name!r}; is this EfficientNet-Lite0?")
        if arrays[name].shape != shape:
            raise ModelError(f"array {name!r} has shape {arrays[name].shape}, expected {shape}")


def _graph(inputs: Any) -> dict[str, Any]:
    x = keras.layers.Conv2D(STEM_CHANNELS, 3, 2, padding="same", name="stem")(inputs)
    maps = {"stem": keras.layers.ReLU(6.0, name="stem_relu6")(x)}
    x = maps["stem"]
    for block in BLOCKS:
        x = maps[block.name] = _bottleneck(x, block)
    x = keras.layers.Conv2D(HEAD_CHANNELS, 1, name="head")(x)
    maps["head"] = keras.layers.ReLU(6.0, name="head_relu6")(x)
    return maps


def _bottleneck(x: Any, block: Block) -> Any:
    layers = keras.layers
    name, shortcut = block.name, x
    if block.expansion > 1:
        x = layers.Conv2D(block.inputs * block.expansion, 1, name=f"{name}_expand")(x)
        x = layers.ReLU(6.0, name=f"{name}_expand_relu6")(x)
    x = layers.DepthwiseConv2D(
        block.kernel, block.stride, padding="same", name=f"{name}_depthwise"
    )(x)
    x = layers.ReLU(6.0, name=f"{name}_depthwise_relu6")(x)
    x = layers.Conv2D(block.outputs, 1, name=f"{name}_project")(x)
    return layers.Add(name=f"{name}_sum")([x, shortcut]) if block.residual else x
