"""Names and shapes of ResNet-50 v1: what a weight file has to hold. No Keras in here.

Layout of He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016), table 1, in the
order of TensorFlow-Slim's `resnet_v1_50`, whose checkpoint the published model was made from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """Residual units of equal width; one of them has the stride.

    Attributes:
        strided_unit: the unit with the stride, counted from 1: in Slim's variant the last one, in
            torchvision's the first.
    """

    name: str
    depth: int
    units: int
    stride: int
    strided_unit: int

    @property
    def channels(self) -> int:
        """Channels of the block's output."""
        return 4 * self.depth

    def unit_stride(self, unit: int) -> int:
        """Stride of a unit, counted from 1."""
        return self.stride if unit == self.strided_unit else 1


BLOCKS = (
    Block("block1", 64, 3, 2, 3),
    Block("block2", 128, 4, 2, 4),
    Block("block3", 256, 6, 2, 6),
    Block("block4", 512, 3, 1, 3),
)
TORCHVISION_BLOCKS = (
    Block("block1", 64, 3, 1, 1),
    Block("block2", 128, 4, 2, 1),
    Block("block3", 256, 6, 2, 1),
    Block("block4", 512, 3, 2, 1),
)
TAPS = tuple(block.name for block in BLOCKS)
CHANNELS = sum(block.channels for block in BLOCKS)  # 3840


@dataclass(frozen=True)
class Convolution:
    """One convolution with its batch norm.

    Attributes:
        layer: our layer name; arrays are `<layer>/kernel` and `<layer>/bias`.
        scope: the published variables' prefix.
        shape: of the kernel, [height, width, in, out].
    """

    layer: str
    scope: str
    shape: tuple[int, int, int, int]


def convolutions() -> Iterator[Convolution]:
    """All 53, from the input on."""
    yield Convolution("conv1", "resnet_v1_50/conv1", (7, 7, 3, 64))
    channels = 64
    for block in BLOCKS:
        for unit in range(1, block.units + 1):
            shapes = {
                "conv1": (1, 1, channels, block.depth),
                "conv2": (3, 3, block.depth, block.depth),
                "conv3": (1, 1, block.depth, block.channels),
            }
            if unit == 1:  # the only unit whose input has another width than its output
                shapes["shortcut"] = (1, 1, channels, block.channels)
            for name, shape in shapes.items():
                scope = f"resnet_v1_50/{block.name}/unit_{unit}/bottleneck_v1/{name}"
                yield Convolution(f"{block.name}_unit_{unit}_{name}", scope, shape)
            channels = block.channels


def array_shapes() -> dict[str, tuple[int, ...]]:
    """Name -> shape of every array that `resnet50.build` takes."""
    shapes: dict[str, tuple[int, ...]] = {}
    for convolution in convolutions():
        shapes[f"{convolution.layer}/kernel"] = convolution.shape
        shapes[f"{convolution.layer}/bias"] = convolution.shape[-1:]
    return shapes
