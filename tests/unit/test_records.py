"""Records check themselves, and equal settings are one fingerprint."""

from tests.store_helpers import SPEC


def test_whole_frame_rates_are_one_fingerprint():
    """A configuration's `fps: 2` is a whole number; the command line's --fps 2 is not."""
    whole, other = (type(SPEC)(**{**SPEC.as_json(), "fps": fps}) for fps in (2, 2.0))
    assert whole.fingerprint == other.fingerprint
    renamed = type(SPEC)(**{**whole.as_json(), "model": "another name"})
    assert other.differences(renamed) == []
