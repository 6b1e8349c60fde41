"""Copies of tiny clips: what is listed, what is in them, the same every time."""

from pathlib import Path

import numpy as np
import pytest

from tools.clips import Clip, fit, read_clip, write_clip
from tools.make_copies import COPIES, FPS, crop, insert, letterbox, make_copies, mirror, read_truth


def moving_bar(colour: tuple[int, int, int], frames: int = 12) -> np.ndarray:
    """uint8 [frames, 48, 64, 3]: grey, with a bar that moves from left to the middle."""
    clip = np.full((frames, 48, 64, 3), 128, np.uint8)
    for i, frame in enumerate(clip):
        frame[:, 2 * i : 2 * i + 8] = colour
    return clip


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    folder = tmp_path / "examples"
    for name, colour in (("red", (220, 30, 30)), ("blue", (30, 30, 220))):
        clip = Clip(moving_bar(colour), FPS)
        write_clip(folder / f"{name}.mp4", clip, "libx264", {"crf": "10"})
    return folder


def test_lists_and_truth(examples: Path, tmp_path: Path) -> None:
    copies = make_copies(tmp_path / "out", examples)
    queries = dict(line.split("\t") for line in copies.queries.read_text().splitlines())
    database = dict(line.split("\t") for line in copies.database.read_text().splitlines())
    assert queries == {n: str(examples.resolve() / f"{n}.mp4") for n in ("blue", "red")}
    expected = {f"{n}_{kind}": (n,) for n in ("blue", "red") for kind in COPIES}
    expected |= {"red_in_blue": ("red", "blue"), "blue_in_red": ("blue", "red")}
    assert copies.truth == expected == read_truth(tmp_path / "out" / "truth.txt")
    assert set(database) == set(expected)
    lengths = {key: len(read_clip(path, FPS).frames) for key, path in database.items()}
    assert lengths == {key: 24 if "_in_" in key else 12 for key in expected}


def test_a_mirrored_copy_is_mirrored(examples: Path, tmp_path: Path) -> None:
    make_copies(tmp_path / "out", examples)
    original = read_clip(examples / "red.mp4", FPS).frames.astype(int)
    copy = read_clip(tmp_path / "out" / "red_mirrored.avi", FPS).frames.astype(int)
    assert np.abs(copy[:, :, ::-1] - original).mean() < 12
    assert np.abs(copy - original).mean() > 20


def test_same_pixels_every_time(examples: Path, tmp_path: Path) -> None:
    first = make_copies(tmp_path / "first", examples)
    second = make_copies(tmp_path / "second", examples)
    lists = (copies.database.read_text().splitlines() for copies in (first, second))
    for one, other in zip(*lists, strict=True):
        paths = one.split("\t")[1], other.split("\t")[1]
        a, b = (read_clip(path, FPS).frames for path in paths)
        np.testing.assert_array_equal(a, b)


def test_one_clip_is_refused(examples: Path, tmp_path: Path) -> None:
    (examples / "red.mp4").unlink()
    with pytest.raises(ValueError, match="1 video files, at least 2"):
        make_copies(tmp_path / "out", examples)


def test_changes_of_frames() -> None:
    frames = moving_bar((255, 0, 0))
    np.testing.assert_array_equal(mirror(frames), frames[:, :, ::-1])
    np.testing.assert_array_equal(crop(frames, 0.5), frames[:, 8:32, 21:53])
    boxed = letterbox(frames, 64, 64)
    assert not boxed[:, :8].any() and not boxed[:, 56:].any()
    np.testing.assert_array_equal(boxed[:, 8:56], frames)
    guest = moving_bar((0, 255, 0))
    inserted = insert(frames, guest, seconds=0.4)
    np.testing.assert_array_equal(inserted, np.concatenate([frames[:6], guest[4:8], frames[6:]]))


def test_fit_keeps_aspect_and_makes_even() -> None:
    assert fit(1280, 720, 360) == (640, 360)
    assert fit(720, 1280, 360) == (360, 640)
    assert fit(321, 241, 360) == (320, 240)


def test_read_clip_by_time(tmp_path: Path) -> None:
    """Half the rate takes every second frame, twice the rate shows each twice."""
    frames = np.stack([np.full((16, 16, 3), 20 * i, np.uint8) for i in range(10)])
    path = tmp_path / "steps.avi"
    write_clip(path, Clip(frames, 10.0), "mjpeg", {"qmin": "1", "q": "1"})
    levels = [
        read_clip(path, fps, **part).frames.mean(axis=(1, 2, 3)).round()
        for fps, part in (
            (10.0, {}),
            (5.0, {}),
            (20.0, {"duration": 0.3}),
            (10.0, {"start": 0.4}),
        )
    ]
    np.testing.assert_allclose(levels[0], 20 * np.arange(10), atol=2)
    np.testing.assert_allclose(levels[1], 40 * np.arange(5), atol=2)
    np.testing.assert_allclose(levels[2], [0, 0, 20, 20, 40, 40], atol=2)
    np.testing.assert_allclose(levels[3], 20 * np.arange(4, 10), atol=2)
