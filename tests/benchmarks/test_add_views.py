"""Views that a model gets after its training."""

from dataclasses import replace

import pytest

from pipeline.default_model import default_model_dir
from pipeline.errors import ModelError
from pipeline.nets.formats import native
from pipeline.nets.formats.loader import load_model
from tools.add_views import VIEWS, add_views


def test_the_shipped_model_is_made_of_one_without_them(tmp_path):
    shipped = load_model(default_model_dir())
    before = tuple(view for view in shipped.views if view not in VIEWS)
    assert before + VIEWS == shipped.views
    native.write(replace(shipped, views=before), tmp_path, "float16")
    weights = (tmp_path / "weights.npz").read_bytes()
    for _ in range(2):  # the second time there is nothing to do
        add_views(tmp_path)
        found = load_model(tmp_path)
        assert found.views == shipped.views and found.calibrations == ()
        assert (tmp_path / "weights.npz").read_bytes() == weights
    assert found.features_digest == shipped.features_digest
    assert found.views_digest == shipped.views_digest


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"model\.json"):
        add_views(tmp_path)
