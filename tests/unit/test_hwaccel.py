"""Decoding on a device: what is asked for, and that nothing is lost where none works."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from pipeline.errors import VideoError
from pipeline.records import Preprocess
from pipeline.video import VideoDecoder, container, hwaccel
from pipeline.video.demuxer import PacketReader
from pipeline.video.frame_converter import FrameConverter
from pipeline.video.strategies.full import FullDecode
from tests import clips

PREPROCESS = Preprocess(resize=64, crop=56)


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hwaccel, "_unusable", set())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return clips.clip(tmp_path / "a.mp4", frames=80, options={"bf": "2", "g": "20"})


def samples(path: Path, **how: object) -> list[tuple[float, bytes]]:
    decoder = VideoDecoder(str(path), PREPROCESS, 5.0, **how)  # type: ignore[arg-type]
    return [(seconds, image.tobytes()) for seconds, image in decoder]


def opener(asked: list, works: tuple[str, ...] = ()) -> partial:
    """An `av.open` that notes the device and fails for all but some."""

    def open_file(hwaccel: object = None) -> str:
        asked.append(hwaccel)
        if hwaccel is not None and len(asked) not in works:
            raise av.PermissionError(1, "no device")
        return "open"

    return partial(open_file)


@pytest.mark.parametrize("wanted", ["cuda", "cuda:3", "auto", "d3d11va"])
@pytest.mark.parametrize("full", [True, False])
def test_frames_are_the_same_with_and_without_a_device(path: Path, wanted: str, full: bool) -> None:
    assert samples(path, hwaccel=wanted, full=full) == samples(path)


def test_the_container_is_opened_with_the_device(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, made = [], []

    def make(kind: str, number: str | None, allow_software_fallback: bool) -> str:
        made.append((kind, number, allow_software_fallback))
        return "device"

    real = av.open
    fake = SimpleNamespace(**vars(av))
    fake.open = lambda *a, hwaccel=None, **how: (asked.append(hwaccel), real(*a, **how))[1]
    monkeypatch.setattr(container, "av", fake)
    monkeypatch.setattr(hwaccel, "HWAccel", make)
    monkeypatch.setattr(hwaccel, "hwdevices_available", lambda: ["cuda", "vaapi"])
    PacketReader(str(path), hwaccel="cuda:1").close()
    PacketReader(str(path), hwaccel="auto").close()
    assert asked == ["device", "device"]
    assert made == [("cuda", "1", True), ("cuda", None, True)]


def test_nothing_is_probed_unless_asked_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(hwaccel, "hwdevices_available", fail)
    monkeypatch.setattr(hwaccel, "HWAccel", fail)
    assert samples(path)


def test_a_device_that_fails_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hwaccel, "hwdevices_available", lambda: ["vaapi", "cuda"])
    asked: list = []
    assert hwaccel.open_on_device("auto", opener(asked)) == "open"
    assert [a is None for a in asked] == [False, False, True]
    assert hwaccel.open_on_device("cuda", opener(asked)) == "open" and len(asked) == 4
    assert hwaccel.open_on_device("cuda:1", opener(asked)) == "open" and len(asked) == 6


def test_the_second_device_may_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hwaccel, "hwdevices_available", lambda: ["vaapi", "cuda"])
    asked: list = []
    assert hwaccel.open_on_device("auto", opener(asked, works=(2,))) == "open"  # type: ignore[arg-type]
    assert len(asked) == 2


def test_a_bad_file_is_not_the_devices_fault(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(VideoError) as caught:
        VideoDecoder(str(tmp_path / "a.mp4"), PREPROCESS, hwaccel="cuda")
    assert caught.value.reason == "not_a_video" and not hwaccel._unusable


@pytest.mark.parametrize("kind", ["error", "bad packets"])
@pytest.mark.parametrize("after", [0, 7])
def test_what_a_device_cannot_decode_is_decoded_in_software(
    path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, after: int
) -> None:
    expected, real, passes = samples(path), FullDecode.samples, []

    def failing(self: FullDecode) -> Iterator:
        passes.append(self)
        for number, sample in enumerate(real(self)):
            if len(passes) == 1 and number == after:
                if kind == "error":
                    raise VideoError("unsupported", "lost the device")
                self.bad = 1
                return
            yield sample

    monkeypatch.setattr(FullDecode, "samples", failing)
    monkeypatch.setattr(PacketReader, "accelerated", property(lambda self: len(passes) < 1))
    decoder = VideoDecoder(str(path), PREPROCESS, 5.0, full=True, hwaccel="auto")
    assert [(s, i.tobytes()) for s, i in decoder] == expected
    assert len(passes) == 2 and not decoder.on_device and decoder.note == ""


@pytest.mark.parametrize(("device", "planar"), sorted(hwaccel.PLANAR.items()))
def test_layouts_of_devices_give_the_same_picture(device: str, planar: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 66, 3), np.uint8)
    frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=planar)
    other = frame.reformat(format=device)
    assert other.format.name == device
    make = FrameConverter(PREPROCESS, "h264")
    np.testing.assert_array_equal(make(other), make(frame))
