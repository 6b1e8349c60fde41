"""What the report of stage one says: remarks for people, and a short representation."""

from collections import Counter

import pytest

from pipeline.extraction.report import ExtractReport
from pipeline.inputs import Listing
from pipeline.records import Failure, SourceInfo, VideoRef

FAILURE = Failure("v", "broken", "v.mp4: cut or damaged", SourceInfo("v.mp4"))


@pytest.mark.parametrize(
    ("fields", "subject", "remedy"),
    [
        ({"store_notes": ["s.h5: 2 videos were lost"]}, "s.h5", "2 videos were lost"),
        ({"notes": {"v": "damaged after 12.0 s"}}, "v", "damaged after 12.0 s"),
        ({"failures": {"v": FAILURE}}, "v", "broken): v.mp4: cut or damaged"),
        ({"known_failures": {"v": FAILURE}}, "v", "retry_failed=True"),
        ({"changed": {"v": "v.mp4 has 3 bytes"}}, "v", "replace='changed'"),
        ({"refused": {"v": "v.mp4 has 3 bytes"}}, "v", "id_prefix"),
        ({"moved": {"v": "/old/v.mp4"}}, "v", "/old/v.mp4"),
        ({"other_files": {"v": "/old/w.mp4"}}, "v", "/old/w.mp4"),
        ({"unreadable": {"a/b": "this folder cannot be read"}}, "a/b", "cannot be read"),
        ({"left_out": Counter({"insv": 3})}, "left out: 3 .insv", "extensions"),
        ({"links": 1}, "left out: 1 link to a folder", "follow_links"),
        ({"insets": 0, "model_insets": 2}, "s.h5", "make a new store"),
        ({"insets": 2, "model_insets": 2, "older_insets": True}, "s.h5", "make a new store"),
    ],
)
def test_a_remark_names_its_subject_and_the_remedy(fields, subject, remedy):
    (remark,) = ExtractReport(store="s.h5", **fields).remarks()
    assert remark.startswith(subject) and remedy in remark


def test_nothing_to_remark():
    report = ExtractReport(store="s.h5", listed=1, todo=1, stored=["v"], insets=2, model_insets=2)
    assert report.remarks() == [] and report.complete


def test_representations_are_one_short_line():
    ids = [f"video {n}" for n in range(1000)]
    report = ExtractReport("s.h5", 1001, 0, 1001, ids, failures={"v": FAILURE}, seconds=3.21)
    assert repr(report) == (
        "ExtractReport(store='s.h5', listed=1001, already=0, stored=1000, failed=1, changed=0, "
        "refused=0, frames=0, seconds=3.2)"
    )
    listing = Listing([VideoRef(i, i) for i in ids], (), Counter({"txt": 2, "": 1}), ("a",))
    assert repr(listing) == (
        "Listing(1000 videos, 3 files left out, 1 links not followed, 0 unreadable)"
    )
