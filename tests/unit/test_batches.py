"""Every frame exactly once, in order, in batches of one size."""

import random

import numpy as np
import pytest

from pipeline.extraction.batching import Batcher, FrameBatch


def frames(video: int, first: int, count: int) -> np.ndarray:
    """[count, 2, 2, 3] whose pixels tell video and frame number; never all zero."""
    images = np.zeros((count, 2, 2, 3), np.uint8)
    images[:, :, :, 0] = video + 1
    images[:, :, :, 1] = (np.arange(first, first + count) % 256)[:, None, None]
    return images


def test_crosses_video_boundaries() -> None:
    batcher = Batcher(4)
    assert batcher.add(0, np.arange(3.0), frames(0, 0, 3)) == []
    (batch,) = batcher.add(1, np.arange(2.0), frames(1, 0, 2))
    assert [(s.index, s.count, s.seconds.tolist()) for s in batch.slots] == [
        (0, 3, [0, 1, 2]),
        (1, 1, [0]),
    ]
    assert batch.images[:, 0, 0].tolist() == [[1, 0, 0], [1, 1, 0], [1, 2, 0], [2, 0, 0]]
    (last,) = batcher.flush()
    assert last.valid == 1 and last.images[:, 0, 0].tolist() == [[2, 1, 0]] + [[0, 0, 0]] * 3
    assert batcher.flush() == []


def test_insets_travel_with_the_frames_of_any_video() -> None:
    batcher = Batcher(3)
    batcher.add(0, np.zeros(1), frames(0, 0, 1))
    batcher.add(0, np.zeros(1), frames(0, 1, 1), inset=2)
    (batch,) = batcher.add(1, np.zeros(2), frames(1, 0, 2), inset=1)
    (last,) = batcher.flush()
    slots = [(s.index, s.inset, s.count) for s in (*batch.slots, *last.slots)]
    assert slots == [(0, 0, 1), (0, 2, 1), (1, 1, 1), (1, 1, 1)]


def test_keeps_a_copy() -> None:
    batcher = Batcher(2)
    images, seconds = frames(0, 0, 1), np.zeros(1)
    batcher.add(0, seconds, images)
    images[:], seconds[:] = 99, 99
    (batch,) = batcher.flush()
    assert batch.images[0, 0, 0].tolist() == [1, 0, 0] and batch.slots[0].seconds.tolist() == [0]


@pytest.mark.parametrize("seed", range(20))
def test_every_frame_once_in_order(seed: int) -> None:
    draw = random.Random(seed)
    size, videos = draw.randint(1, 9), draw.randint(1, 6)
    batcher = Batcher(size)
    sent = dict.fromkeys(range(videos), 0)
    batches: list[FrameBatch] = []
    for _ in range(draw.randint(1, 40)):
        video, count = draw.randrange(videos), draw.randint(0, 13)
        seconds = np.arange(sent[video], sent[video] + count, dtype=float)
        batches += batcher.add(video, seconds, frames(video, sent[video], count))
        sent[video] += count
    batches += batcher.flush()

    got: dict[int, list[float]] = {video: [] for video in sent}
    for batch in batches:
        assert batch.images.shape == (size, 2, 2, 3)
        assert sum(slot.count for slot in batch.slots) == batch.valid
        assert batch is batches[-1] or batch.valid == size
        assert not batch.images[batch.valid :].any()
        row = 0
        for slot in batch.slots:
            rows = batch.images[row : row + slot.count]
            assert (rows[..., 0] == slot.index + 1).all()
            assert np.array_equal(rows[:, 0, 0, 1], slot.seconds % 256)
            got[slot.index] += slot.seconds.tolist()
            row += slot.count
    assert got == {video: [float(n) for n in range(count)] for video, count in sent.items()}


def test_refuses_what_does_not_fit() -> None:
    batcher = Batcher(4)
    batcher.add(0, np.zeros(1), frames(0, 0, 1))
    with pytest.raises(ValueError, match="so far"):
        batcher.add(0, np.zeros(1), np.zeros((1, 3, 2, 3), np.uint8))
    with pytest.raises(ValueError, match="2 times"):
        batcher.add(0, np.zeros(2), frames(0, 0, 1))
    with pytest.raises(ValueError, match="float32"):
        batcher.add(0, np.zeros(1), np.zeros((1, 2, 2, 3), np.float32))
    with pytest.raises(ValueError, match="batch size is 0"):
        Batcher(0)
