"""Views that a model gets after its training."""

from dataclasses import replace

import pytest

from pipeline.default_model import default_model_dir
from pipeline.errors import ModelError
from pipeline.nets.formats import native
from pipeline.nets.formats.loader import load_model
from pipeline.nets.model.descriptors import DescriptorLayout
from tools.add_views import AUGMENTATIONS, add_views


def test_the_shipped_model_is_made_of_one_without_them(tmp_path):
    shipped = load_model(default_model_dir())
    added = [augmentation for augmentation, _ in AUGMENTATIONS]
    groups = [group for group in shipped.layout.groups if group.augmentation not in added]
    names = {group.name for group in groups}
    terms = [term for term in shipped.layout.terms if term.query in names]
    assert len(groups) == len(shipped.layout.groups) - len(AUGMENTATIONS)
    before = DescriptorLayout(tuple(groups), tuple(terms))
    native.write(replace(shipped, layout=before), tmp_path, "float16")
    weights = (tmp_path / "weights.npz").read_bytes()
    for _ in range(2):  # the second time there is nothing to do
        add_views(tmp_path)
        found = load_model(tmp_path)
        assert found.layout == shipped.layout and found.calibrations == ()
        assert (tmp_path / "weights.npz").read_bytes() == weights
    assert found.features_digest == shipped.features_digest
    assert found.views_digest == shipped.views_digest


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"model\.json"):
        add_views(tmp_path)
