"""ResNet-50 v1 as published ViSiL networks run it, batch norm already in the convolutions.

He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016), in TensorFlow-Slim's
variant: a block's stride sits in its last unit, on the 3x3 convolution. The PyTorch networks have
torchvision's variant (`build_torchvision`). Layer names are the
weight contract (`resnet50_layout`): layer `x` takes the arrays `x/kernel` and `x/bias`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..backend import keras
from .resnet50_spec import BLOCKS, TORCHVISION_BLOCKS, Block

Arrays = Mapping[str, np.ndarray]


def build(arrays: Arrays, taps: Sequence[str], size: int) -> keras.Model:
    """The network from image to residual blocks, in the default dtype policy.

    Args:
        arrays: float32, as `resnet50_layout.array_shapes` names them.
        taps: blocks wanted, e.g. ("block1", "block4").
        size: side of the input in pixels.

    Returns:
        Model from float [B, size, size, 3] (RGB, mean subtracted) to a list with one
        [B, S, S, C] per tap; 224 pixels give S of 28, 14, 7, 7 and C of 256 to 2048.
    """
    image, x = _stem(arrays, size)
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="pool1")(x)
    outputs = residual_blocks(x, arrays, BLOCKS)
    return keras.Model(image, [outputs[tap] for tap in taps], name="resnet50_v1")


def build_torchvision(arrays: Arrays, taps: Sequence[str], size: int) -> keras.Model:
    """The network in torchvision's variant; arguments and result as `build`.

    A block's stride sits in its first unit, and the pooling before the blocks pads both sides by
    one: 224 pixels give S of 56, 28, 14, 7.
    """
    image, x = _stem(arrays, size)
    x = keras.layers.ZeroPadding2D(1, name="pool1_pad")(x)  # after ReLU zeros win no maximum
    x = keras.layers.MaxPooling2D(3, 2, padding="valid", name="pool1")(x)
    outputs = residual_blocks(x, arrays, TORCHVISION_BLOCKS)
    return keras.Model(image, [outputs[tap] for tap in taps], name="resnet50_torchvision")


def residual_blocks(x: Any, arrays: Arrays, blocks: Sequence[Block]) -> dict[str, Any]:
    """The outputs of all blocks by name."""
    outputs = {}
    for block in blocks:
        for unit in range(1, block.units + 1):
            x = _bottleneck(x, arrays, block, unit)
        outputs[block.name] = x
    return outputs


def _stem(arrays: Arrays, size: int) -> tuple[Any, Any]:
    image = keras.Input((size, size, 3), name="image")
    return image, _convolution(image, arrays, "conv1", stride=2)


def _bottleneck(x: Any, arrays: Arrays, block: Block, unit: int) -> Any:
    """1x1, 3x3, 1x1 convolutions around a shortcut."""
    name, stride = f"{block.name}_unit_{unit}", block.unit_stride(unit)
    if unit == 1:
        shortcut = _convolution(x, arrays, f"{name}_shortcut", stride, activation=None)
    elif stride > 1:
        shortcut = keras.layers.MaxPooling2D(1, stride, name=f"{name}_subsample")(x)
    else:
        shortcut = x
    x = _convolution(x, arrays, f"{name}_conv1")
    x = _convolution(x, arrays, f"{name}_conv2", stride)
    x = _convolution(x, arrays, f"{name}_conv3", activation=None)
    x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
    return keras.layers.Activation("relu", name=f"{name}_relu")(x)


def _convolution(
    x: Any, arrays: Arrays, name: str, stride: int = 1, activation: str | None = "relu"
) -> Any:
    kernel, bias = arrays[f"{name}/kernel"], arrays[f"{name}/bias"]
    size = kernel.shape[0]
    if stride > 1 and size > 1:
        # "same" puts the odd pixel of padding at the end when striding over an even side; the
        # published network pads both sides alike, which shifts every window by one pixel.
        x = keras.layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
    layer = keras.layers.Conv2D(
        kernel.shape[3],
        size,
        stride,
        padding="valid" if stride > 1 else "same",
        activation=activation,
        kernel_initializer="zeros",
        trainable=False,
        name=name,
    )
    y = layer(x)
    layer.set_weights([kernel, bias])
    return y
