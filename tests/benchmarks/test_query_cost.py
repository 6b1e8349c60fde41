"""The figures that choose query views, and the distance of two engines in float16."""

import numpy as np
import pytest

from benchmarks.performance.engines import float16_steps
from benchmarks.retrieval.studies.view_cost import variants
from pipeline.default_model import default_model_dir
from pipeline.nets.formats.loader import load_model


@pytest.fixture(scope="module")
def layout():
    return load_model(default_model_dir()).layout


def test_prices_are_in_database_frames(layout):
    found = {name: price for name, (price, _) in variants(layout).items()}
    assert found["as it is"] == pytest.approx((1.25 + 2 + 24 / 4) / 1.25)
    assert found["lowpass views at half rate"] == pytest.approx((1.25 + 2 + 12 / 4) / 1.25)
    assert found["4 crops in the corners"] == pytest.approx((1.25 + 2 + 12 / 4) / 1.25)


def test_half_rate_repeats_lowpass_views_alone(layout):
    change = variants(layout)["lowpass views at half rate"][1]
    vectors = np.arange(5, dtype=np.float32)[:, None, None].repeat(layout.query, 1)
    changed = change(vectors)[:, :, 0]
    views = layout.lowpass_views
    assert changed[:, views].tolist() == [[n] * len(views) for n in (0, 0, 2, 2, 4)]
    others = np.setdiff1d(np.arange(layout.query), views)
    assert np.array_equal(changed[:, others], vectors[:, others, 0])


def test_fewer_crops_are_repetitions(layout):
    change = variants(layout)["4 crops in the corners"][1]
    vectors = np.arange(layout.query, dtype=np.float32)[None, :, None]
    crops = change(vectors)[0, layout.slices["crops_0.5"], 0] - layout.slices["crops_0.5"].start
    assert sorted(set(crops.tolist())) == [0, 3, 12, 15]


@pytest.mark.parametrize(
    "a, b, steps",
    [(1.0, 1.0, 0), (1.0, 1.0 + 2**-10, 1), (-(2.0**-24), 2.0**-24, 2), (0.0, -0.0, 0)],
)
def test_steps_of_float16(a, b, steps):
    assert float16_steps(np.float32([a]), np.float32([b])).tolist() == [steps]
