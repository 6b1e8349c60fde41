"""The read plan, by invariants over many random collections."""

from itertools import pairwise

import numpy as np
import pytest

from pipeline.search.read_plan import CHAMFER_ONLY, COMPARATOR, bucket, plan_blocks, plan_pieces


def random_lengths(seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    return [int(n) for n in rng.choice([4, 5, 7, 8, 11, 16, 19, 63, 64, 65, 130, 400], 20)]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("geometry", [COMPARATOR, CHAMFER_ONLY])
def test_own_frames_cover_each_video_once_and_in_order(seed, geometry):
    lengths = random_lengths(seed)
    pieces = plan_pieces(lengths, geometry, max_frames=64)
    for video, length in enumerate(lengths):
        own = [(p.first, p.last) for p in pieces if p.video == video]
        assert own[0][0] == 0
        assert own[-1][1] == length
        assert all(a[1] == b[0] for a, b in pairwise(own))
    assert [p.video for p in pieces] == sorted(p.video for p in pieces)


@pytest.mark.parametrize("seed", range(20))
def test_halo_reaches_as_far_as_an_output_looks(seed):
    """7 frames: 1 at full, 1 at half, 1 at quarter resolution; less only at the video's edge."""
    lengths = random_lengths(seed)
    for p in plan_pieces(lengths, COMPARATOR, max_frames=64):
        assert p.start % 4 == p.first % 4 == 0
        assert p.start == 0 or p.first - p.start >= 7
        assert p.stop == lengths[p.video] or p.stop - p.last >= 7
        first, last = p.outputs(4)
        assert last - first == (p.last - p.first) // 4 > 0


def test_outputs_of_the_pieces_are_all_outputs_of_the_video():
    for length in range(4, 300):
        pieces = plan_pieces([length], COMPARATOR, max_frames=64)
        assert sum(b - a for a, b in (p.outputs(4) for p in pieces)) == length // 4


def test_a_remainder_without_output_stays_with_the_piece_before():
    assert [(p.first, p.last) for p in plan_pieces([131], COMPARATOR, 64)] == [(0, 64), (64, 131)]
    assert [(p.first, p.last) for p in plan_pieces([132], COMPARATOR, 64)] == [
        (0, 64),
        (64, 128),
        (128, 132),
    ]


def test_bad_plans_are_refused():
    with pytest.raises(ValueError, match="not a multiple of 4"):
        plan_pieces([8], COMPARATOR, 63)
    with pytest.raises(ValueError, match="video 1 has 3 frames"):
        plan_pieces([8, 3], COMPARATOR, 64)


@pytest.mark.parametrize("budget", [1, 50, 64, 500, 10**9])
def test_blocks_keep_order_and_budget(budget):
    pieces = plan_pieces(random_lengths(0), COMPARATOR, 64)
    blocks = plan_blocks(pieces, budget)
    assert [p for b in blocks for p in b] == pieces
    assert all(len(b) == 1 or sum(p.frames for p in b) <= budget for b in blocks)
    fits = [sum(p.frames for p in a) + b[0].frames for a, b in pairwise(blocks)]
    assert all(n > budget for n in fits)


def test_buckets_are_few_and_close():
    sizes = [bucket(n) for n in range(4, 300)]
    assert all(s >= n and s % 4 == 0 for n, s in zip(range(4, 300), sizes, strict=True))
    assert all(s < n * 1.25 or s - n < 4 for n, s in zip(range(4, 300), sizes, strict=True))
    assert len(set(sizes)) == 22


def test_few_buckets_are_powers_of_two_up_to_long_pieces():
    sizes = [bucket(n, few=True) for n in range(1, 273)]
    assert all(s >= n and s % 4 == 0 for n, s in zip(range(1, 273), sizes, strict=True))
    assert sorted(set(sizes)) == [4, 8, 16, 32, 64, 128, 256, 288]
