"""A backbone of one layer, for tests of what is computed around a backbone."""

from typing import Any

from pipeline.nets.backbones.efficientnet_lite0 import tap_channels
from pipeline.nets.backend import keras
from pipeline.nets.model.model import Model


def build(model: Model, precision: str, side: int | None = None) -> Any:
    """In place of `registry.build`: maps of as many values as the included model's, of squares.

    A query's views run the backbone on many pictures; with one layer its graph is small.
    """
    side = side or model.input.crop
    start = keras.initializers.GlorotUniform(seed=1)
    inputs = keras.Input((side, side, 3))
    maps = [
        keras.layers.Conv2D(channels, 16, 16, activation="relu", kernel_initializer=start)(inputs)
        for channels in tap_channels(model.taps)
    ]
    return keras.Model(inputs, maps)
