"""VCSL's alignment methods: the boxes of its own code on five matrices."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.alignment import align
from pipeline.alignment.timeline import Timeline
from pipeline.alignment.vcsl_boxes import segments_of
from pipeline.alignment.vcsl_dynamic import dynamic_boxes
from pipeline.alignment.vcsl_hough import hough_boxes
from pipeline.alignment.vcsl_network import network_boxes
from pipeline.alignment.vcsl_warping import warping_boxes

HERE = Path(__file__).parent
EXPECTED = json.loads((HERE / "vcsl_alignment.json").read_text())
METHODS = {
    "HV": (hough_boxes, {"iou_thresh": "max_overlap"}),
    "TN": (
        network_boxes,
        {"tn_max_step": "max_step", "tn_top_k": "top_k", "max_iou": "max_overlap"},
    ),
    "DP": (
        dynamic_boxes,
        {"discontinue": "longest_gap", "ave_sim": "min_mean", "diagonal_thres": "longest_stop"},
    ),
    "DTW": (warping_boxes, {"discontinue": "longest_stop"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def matrices() -> dict[str, np.ndarray]:
    with np.load(HERE / "vcsl_matrices.npz") as file:
        return dict(file)


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("method", METHODS)
def test_boxes(name, method, matrices):
    function, names = METHODS[method]
    assert len(EXPECTED[name][method]) == 2
    for case in EXPECTED[name][method].values():
        settings = {names.get(key, key): value for key, value in case["settings"].items()}
        before = matrices[name].copy()
        found = [list(box) for box in function(matrices[name], **settings)]
        assert np.array_equal(matrices[name], before)
        expected = case["result"]
        if isinstance(expected, dict):  # too many to write down
            assert (len(found), found[:5]) == (expected["boxes"], expected["first 5"])
            text = json.dumps(found, separators=(",", ":"))
            assert hashlib.sha256(text.encode()).hexdigest() == expected["sha256 of json"]
        else:
            assert found == expected


@pytest.fixture
def diagonal() -> np.ndarray:
    """Rows 5 to 24 match columns 10 to 29, nothing else does."""
    matrix = np.full((30, 40), 0.05, np.float32)
    matrix[np.arange(5, 25), np.arange(10, 30)] = 0.95
    return matrix


def test_a_box_becomes_a_segment_in_seconds(diagonal):
    query, database = Timeline.of_video(2.0 * np.arange(30)), Timeline.of_video(np.arange(40))
    boxes = [(5, 10, 24, 29), (3, 4, 3, 9), (0, 0, 1, 1)]
    first, second = segments_of(boxes, diagonal, query, database, 8)
    assert (first.query_start, first.query_end) == (10, 48)
    assert (first.database_start, first.database_end) == (10, 29)
    assert first.score == pytest.approx(0.95)
    assert second.query_end == 2  # the box of one frame has no length
    assert segments_of(boxes, diagonal, query, database, 1) == [first]


@pytest.mark.parametrize("method", ["vcsl_tn", "vcsl_hv", "vcsl_dp", "vcsl_dtw"])
def test_methods_by_name(method, diagonal):
    seconds = np.arange(40)
    (segment,) = align(diagonal, seconds[:30], seconds, method=method)
    assert segment.query_start <= 5
    assert segment.query_end >= 23
    assert segment.database_start <= 10
    assert segment.database_end >= 28


@pytest.mark.parametrize("method", ["vcsl_tn", "vcsl_dp", "vcsl_dtw"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1), (3, 3)])
def test_short_videos_have_no_box(method, shape):
    matrix = np.full(shape, 0.9, np.float32)
    assert align(matrix, np.arange(shape[0]), np.arange(shape[1]), method=method) == []
