"""What end-to-end tests share within a process: networks, each compiled once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.golden import torch_release

_networks: dict[tuple[Any, ...], Any] = {}


@pytest.fixture(scope="module")
def small_student() -> Iterator[None]:
    """DnS's coarse student is a seventh of its size, in stand-ins and in the program."""
    with torch_release.few_clusters():
        yield


@pytest.fixture(scope="module")
def kept_networks() -> Iterator[None]:
    """Commands take a network that was compiled before for the same model and settings.

    A user's command compiles its own in seconds; a file of tests runs dozens of commands.
    """
    from pipeline.nets.extractor import feature_net

    make = feature_net.FeatureNet

    def kept(weights: Any, *settings: Any, engine: str = "keras") -> Any:
        model = weights.name, weights.features_digest, weights.views_digest, weights.dims
        key = (*model, weights.insets, *settings, engine)
        if key not in _networks:
            _networks[key] = make(weights, *settings, engine=engine)
        return _networks[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_net, "FeatureNet", kept)
        yield
