"""Records check themselves, and equal settings are one fingerprint."""

from dataclasses import replace

from pipeline.records import STORED_NAMES
from tests.store_helpers import SPEC


def test_whole_frame_rates_are_one_fingerprint():
    """A configuration's `fps: 2` is a whole number; the command line's --fps 2 is not."""
    whole, other = (replace(SPEC, fps=fps) for fps in (2, 2.0))
    assert whole.fingerprint == other.fingerprint
    renamed = replace(whole, model="another name")
    assert other.differences(renamed) == []


def test_stores_keep_the_names_of_their_first_version():
    """Equal fingerprints of old and new stores depend on these names."""
    queries = replace(SPEC, query_descriptors=2, augmentation_digest="a" * 64)
    value = queries.as_json()
    assert (value["regions"], value["query_vectors"], value["views"]) == (3, 2, "a" * 64)
    assert queries.descriptors == 5
    assert not set(STORED_NAMES) & value.keys()
    assert not {"query_vectors", "views", "mirrored", "insets"} & SPEC.as_json().keys()
