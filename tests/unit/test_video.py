"""Decoding by value: the clips tell in their pictures which frame is which."""

import gc
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.sidedata.sidedata import Type

from pipeline.errors import VideoError
from pipeline.records import Preprocess
from pipeline.video import VideoDecoder, probe, sample_frames
from tests import clips

PREPROCESS = Preprocess()
FAST = {"deadline": "realtime", "cpu-used": "8"}
MakeClip = Callable[..., Path]


@pytest.fixture(scope="session")
def make_clip(tmp_path_factory: pytest.TempPathFactory) -> MakeClip:
    """`clips.clip`, made once for equal arguments; a private copy each time."""
    folder, made = tmp_path_factory.mktemp("clips"), {}

    def make(target: Path, **how: object) -> Path:
        key = f"{sorted(how.items(), key=str)}{target.suffix}"
        if key not in made:
            made[key] = clips.clip(folder / f"{len(made)}{target.suffix}", **how)  # type: ignore[arg-type]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(made[key], target)
        return target

    return make


def numbers(path: Path, fps: float = 1.0) -> list[int]:
    return [clips.read_number(image) for _, image in sample_frames(str(path), PREPROCESS, fps)]


def decode(path: Path, fps: float = 1.0, min_frames: int = 4) -> tuple[list[float], list[int], str]:
    """Seconds, numbers and note."""
    decoder = VideoDecoder(str(path), PREPROCESS, fps, min_frames=min_frames)
    samples = [(seconds, clips.read_number(image)) for seconds, image in decoder]
    return [s for s, _ in samples], [n for _, n in samples], decoder.note


def failure(path: Path, **how: object) -> VideoError:
    with pytest.raises(VideoError) as caught:
        list(VideoDecoder(str(path), PREPROCESS, **how))  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.mp4", {"options": {"bf": "3", "g": "12"}}),
        ("a.mkv", {"options": {"bf": "2"}}),
        ("a.ts", {}),
        ("b.mp4", {"tone": True}),
        ("c.mp4", {"codec": "libx265", "options": {"x265-params": "log-level=none"}}),
        ("a.avi", {"codec": "mpeg4", "options": {"bf": "2"}}),
        ("b.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("a.webm", {"codec": "libvpx-vp9", "options": FAST}),
        ("b.webm", {"codec": "libvpx", "options": FAST}),
        ("a.mpg", {"codec": "mpeg2video"}),
        ("a.mov", {"codec": "qtrle", "pix_fmt": "rgb24"}),
        ("b.mkv", {"codec": "ffv1"}),
        ("a.gif", {"codec": "gif", "pix_fmt": "rgb8"}),
    ],
)
def test_every_codec_gives_the_published_frames(
    tmp_path: Path, make_clip: MakeClip, name: str, how: dict
) -> None:
    path = make_clip(tmp_path / name, frames=60, **how)
    assert decode(path, min_frames=1) == (pytest.approx([0, 1, 2]), [0, 25, 50], "")
    assert numbers(path, fps=5.0) == list(range(0, 60, 5))


@pytest.mark.parametrize("rate", [12, 24, 30, 50])
def test_other_rates(tmp_path: Path, rate: int) -> None:
    path = clips.clip(tmp_path / "a.mkv", frames=2 * rate + 1, rate=rate)
    assert numbers(path) == [0, rate, 2 * rate]


def test_source_info(tmp_path: Path, make_clip: MakeClip) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=60, turn=90)
    decoder = VideoDecoder(str(path), PREPROCESS)
    list(decoder)
    source = decoder.source
    assert (source.path, source.size) == (str(path), path.stat().st_size)
    assert source.mtime_ns == path.stat().st_mtime_ns
    assert (source.codec, source.fps, source.duration) == ("h264", 25.0, pytest.approx(2.4))
    assert (source.width, source.height) == (48, 64)  # as shown
    assert probe(str(path)).codec == "h264"


def test_variable_rate_takes_the_frame_on_screen(tmp_path: Path) -> None:
    times = [0, 40, 900, 1700, 1740, 2600, 3050, 4000]
    path = clips.clip(tmp_path / "a.mkv", frames=8, times=times)
    seconds, found, note = decode(path)
    assert found == [0, 2, 4, 5, 7] and note == ""
    assert seconds == pytest.approx([0, 1, 2, 3, 4])


def test_slideshow_repeats_what_is_held(tmp_path: Path) -> None:
    path = clips.clip(tmp_path / "a.mp4", frames=4, times=[0, 3000, 4000, 8000], codec="mpeg4")
    assert decode(path)[1][:9] == [0, 0, 0, 1, 2, 2, 2, 2, 3]


def test_last_picture_of_a_gif_is_held(tmp_path: Path) -> None:
    times = [0, 1000, 1500, 4500]
    path = clips.clip(tmp_path / "a.gif", frames=4, times=times, codec="gif", pix_fmt="rgb8")
    assert decode(path)[1][:5] == [0, 1, 2, 2, 2]


@pytest.mark.parametrize("start", [5000, 0])
@pytest.mark.parametrize("name", ["a.mkv", "a.ts", "a.mp4"])
def test_time_counts_from_the_first_frame(tmp_path: Path, name: str, start: int) -> None:
    """With B-frames the first decoding time is negative."""
    times = [start + 40 * n for n in range(60)]
    path = clips.clip(tmp_path / name, frames=60, times=times, options={"bf": "2"})
    assert decode(path) == (pytest.approx([0, 1, 2]), [0, 25, 50], "")


@pytest.mark.parametrize("turn", [90, 180, -90])
def test_rotation_is_applied(tmp_path: Path, turn: int) -> None:
    """A display rotation counts anticlockwise, as `np.rot90` does."""
    plain = clips.write(tmp_path / "a.mp4", [clips.quadrants()] * 5)
    turned = clips.write(tmp_path / "b.mp4", [clips.quadrants()] * 5, turn=turn)
    (_, expected), *_ = sample_frames(str(plain), PREPROCESS)
    (_, image), *_ = sample_frames(str(turned), PREPROCESS)
    describe_difference = np.abs(image.astype(int) - np.rot90(expected, turn // 90))
    assert describe_difference.mean() < 2  # the crop of an odd rest is not symmetric
    corner = {90: (20, 230, 20), 180: (128, 128, 128), -90: (20, 20, 230)}[turn]
    assert np.abs(image[20, 20].astype(int) - corner).max() < 40


def test_exif_of_motion_jpeg_is_followed(tmp_path: Path) -> None:
    """Its kind of side data has no name in PyAV 18.1, which raises for it."""

    def recorded(orientation: int) -> np.ndarray:
        path = tmp_path / f"{orientation}.avi"

        def edit(_: int, picture: bytes) -> bytes:
            return clips.with_exif(picture, orientation)

        clips.write_edited(path, [clips.quadrants()] * 5, "mjpeg", "yuvj420p", edit)
        (_, image), *_ = sample_frames(str(path), PREPROCESS)
        return image.astype(int)

    upright, turned = recorded(1), recorded(6)  # 6: to be turned clockwise
    assert np.abs(upright[20, 20] - (230, 20, 20)).max() < 40
    assert np.abs(turned - np.rot90(upright, -1)).mean() < 2


def test_kinds_of_side_data_without_a_name() -> None:
    kind = Type(12345)
    assert kind is Type(12345) and kind.name == "UNKNOWN_12345" and kind not in list(Type)
    assert Type["DISPLAYMATRIX"].name == "DISPLAYMATRIX"
    with pytest.raises(ValueError, match="not a valid"):
        Type("no number")


@pytest.mark.parametrize("turn", [0, 90])
def test_colour_profiles_of_png_end_no_process(tmp_path: Path, turn: int) -> None:
    """PyAV 18.1 frees their names twice, when the garbage collector comes by."""
    path = tmp_path / "a.mov"
    edit = lambda _, picture: clips.with_profile(picture)  # noqa: E731
    clips.write_edited(path, [clips.quadrants()] * 3, "png", "rgb24", edit, turn)
    code = (
        "import gc, sys; from pipeline.video import sample_frames;"
        "from pipeline.records import Preprocess\n"
        "for _ in range(20):\n"
        "    (_, image), = sample_frames(sys.argv[1], Preprocess(64, 64, 'stretch'))\n"
        "    gc.collect()\n"
        "print(*image[8, 8])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=120
    )
    corner = "20 230 20" if turn else "230 20 20"
    assert (run.returncode, run.stdout.strip()) == (0, corner), run.stderr


def test_frames_do_not_pile_up(tmp_path: Path) -> None:
    """A frame whose side data was read waits for the garbage collector, and 4K has large ones."""
    path = clips.write(tmp_path / "a.mp4", [clips.quadrants()] * 40, turn=90)
    gc.collect()
    gc.disable()
    try:
        assert sum(1 for _ in sample_frames(str(path), PREPROCESS, fps=25)) == 40
        waiting = sum(isinstance(thing, av.VideoFrame) for thing in gc.get_objects())
    finally:
        gc.enable()
    assert waiting < 4


def test_colours_are_right(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "a.mkv", [clips.quadrants()] * 2, codec="ffv1", pix_fmt="bgr0")
    (_, image), *_ = sample_frames(str(path), PREPROCESS)
    assert image.shape == (224, 224, 3) and image.dtype == np.uint8
    for (y, x), colour in {
        (30, 30): (230, 20, 20),
        (30, 190): (20, 230, 20),
        (190, 30): (20, 20, 230),
        (190, 190): (128, 128, 128),
    }.items():
        assert tuple(image[y, x]) == colour


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("one.mp4", {"frames": 1}),
        ("odd.mkv", {"frames": 3, "width": 65, "height": 49, "codec": "ffv1"}),
        ("grey.mkv", {"frames": 3, "codec": "ffv1", "pix_fmt": "gray"}),
        ("deep.mkv", {"frames": 3, "pix_fmt": "yuv422p10le"}),
        ("tall.mp4", {"frames": 3, "width": 32, "height": 200}),
        ("ü ñ 日本 #1.mp4", {"frames": 3}),
        ("concat:a:b.mp4", {"frames": 3}),
        ("-dash.mp4", {"frames": 3}),
    ],
)
def test_unusual_but_good(tmp_path: Path, make_clip: MakeClip, name: str, how: dict) -> None:
    assert decode(make_clip(tmp_path / name, **how)) == ([0.0], [0], "")


def test_two_by_two_pixels(tmp_path: Path) -> None:
    colours = np.array([[[250, 0, 0], [0, 250, 0]], [[0, 0, 250], [128, 128, 128]]], np.uint8)
    path = clips.write(tmp_path / "a.mkv", [colours] * 3, codec="ffv1", pix_fmt="bgr0")
    ((_, image),) = sample_frames(str(path), PREPROCESS)
    assert image.shape == (224, 224, 3)
    assert image[0, 0].argmax() == 0 and image[0, -1].argmax() == 1 and image[-1, 0].argmax() == 2


def test_alpha_is_dropped(tmp_path: Path) -> None:
    opaque = np.dstack([clips.numbered(5), np.full((48, 64), 255, np.uint8)])
    clear = np.dstack([clips.numbered(5), np.zeros((48, 64), np.uint8)])
    path = clips.write(tmp_path / "a.mov", [opaque, clear], codec="qtrle", pix_fmt="argb")
    assert numbers(path, fps=25.0) == [5, 5]


def test_size_changes_in_mid_stream(tmp_path: Path) -> None:
    first = clips.clip(tmp_path / "a.ts", frames=50)
    second = clips.clip(tmp_path / "b.ts", frames=50, width=96, height=64)
    joined = tmp_path / "c.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    seconds, found, _ = decode(joined)
    assert found == [0, 25, 0, 25] and seconds == pytest.approx([0, 1, 2, 3], abs=0.05)


def test_name_that_is_no_text(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4")
    try:
        shutil.copy(clips.clip(tmp_path / "a.mp4", frames=3), path)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert numbers(Path(path)) == [0]
    assert probe(path).path == f"{tmp_path}/caf\\xe9.mp4"


# What cannot be used, and why.


def test_no_such_file(tmp_path: Path) -> None:
    error = failure(tmp_path / "a.mp4")
    assert error.reason == "missing" and str(tmp_path / "a.mp4") in error.detail
    assert failure(Path("http://localhost:1/a.mp4")).reason == "missing"


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    assert failure(tmp_path / "a.mp4").reason == "empty"


def test_not_a_video(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("Dear diary,\n\nno video today.\n" * 40)
    (tmp_path / "b.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "c.mp4").mkdir()
    for name in "abc":
        assert failure(tmp_path / f"{name}.mp4").reason == "not_a_video"
    os.mkfifo(tmp_path / "d.mp4")
    assert failure(tmp_path / "d.mp4").reason == "not_a_video"


def test_a_text_that_names_a_video_is_none(tmp_path: Path) -> None:
    """FFmpeg knows it by its first line, and would give the other file's frames for it."""
    clips.clip(tmp_path / "b.mp4", 50)
    (tmp_path / "a.mp4").write_text("ffconcat version 1.0\nfile b.mp4\n")
    error = failure(tmp_path / "a.mp4")
    assert error.reason == "not_a_video" and "names other files" in error.detail


def test_sound_only(tmp_path: Path) -> None:
    assert failure(clips.write_sound(tmp_path / "a.mp4")).reason == "no_video_stream"


def test_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = clips.write_sound(tmp_path / "a.mp4", cover=True)
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1
    assert failure(path).reason == "no_video_stream"


def test_no_frames(tmp_path: Path) -> None:
    path = clips.corrupt_packets(tmp_path / "a.mov", range(10), frames=10)
    error = failure(path)
    assert error.reason == "no_frames" and "none of 10 packets" in error.detail


# Damaged, yet good for something.


def test_truncated_before_its_index(tmp_path: Path, make_clip: MakeClip) -> None:
    path = clips.truncate(make_clip(tmp_path / "a.mp4", frames=250), 0.6)
    error = failure(path)
    assert error.reason == "broken" and "cut or damaged" in error.detail


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.mp4", {"container": {"movflags": "faststart"}}),
        ("b.mp4", {"container": {"movflags": "faststart"}, "tone": True}),
        ("a.mkv", {}),
        ("b.mkv", {"tone": True}),
        ("a.avi", {"codec": "mpeg4"}),
        ("a.webm", {"codec": "libvpx-vp9", "options": FAST}),
    ],
)
def test_truncated_keeps_the_good_frames(
    tmp_path: Path, make_clip: MakeClip, name: str, how: dict
) -> None:
    path = clips.truncate(make_clip(tmp_path / name, frames=250, **how), 0.7)
    seconds, found, note = decode(path, min_frames=3)
    assert 3 <= len(found) < 10
    assert found == [25 * k for k in range(len(found))]
    assert seconds == pytest.approx(list(range(len(found))))
    assert note.startswith("damaged after ") and f"{len(found)} frames kept" in note
    error = failure(path, min_frames=10)
    assert error.reason == "broken" and "fewer than 10" in error.detail


def test_a_bad_packet_loses_its_own_frame_only(tmp_path: Path) -> None:
    path = clips.corrupt_packets(tmp_path / "a.mov", [0, 30], frames=60)
    seconds, found, note = decode(path, fps=5.0, min_frames=12)
    assert note == "2 undecodable packets skipped, 12 frames kept"
    # Time counts from the first good frame, which is number 1; 31 is on screen a frame early.
    assert found == [1 + 5 * k for k in range(12)]
    assert seconds == pytest.approx([0.2 * k for k in range(12)])


def test_little_is_made_up_over_a_bad_stretch(tmp_path: Path) -> None:
    """Frame 29 may stand for second 2, as it was less than a second ago, but for no more."""
    path = clips.corrupt_packets(tmp_path / "a.mov", range(30, 130), frames=200)
    seconds, found, note = decode(path)
    assert found == [0, 25, 29, 150, 175] and seconds == pytest.approx([0, 1, 2, 6, 7])
    hole = "no pictures from 1.2 to 5.2 s (damaged)"
    assert note == f"{hole}, 100 undecodable packets skipped, 5 frames kept"
    assert failure(path, min_frames=6).reason == "broken"


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.mkv", {"options": {"bf": "2", "g": "25"}}),
        ("a.ts", {"options": {"g": "25"}}),
        ("a.avi", {"codec": "mpeg4", "options": {"g": "25"}}),
        ("a.mp4", {"container": {"movflags": "faststart"}, "options": {"g": "25"}}),
        ("a.webm", {"codec": "libvpx-vp9", "options": FAST | {"g": "25"}}),
    ],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_scribbled_bytes_leave_the_rest(
    tmp_path: Path, make_clip: MakeClip, name: str, how: dict, seed: int
) -> None:
    path = clips.scribble(make_clip(tmp_path / name, frames=200, **how), 0.5, 0.55, seed)
    seconds, found, _ = decode(path)
    assert found[:3] == [0, 25, 50] and 4 <= len(found) <= 8
    assert all(a < b for a, b in itertools.pairwise(seconds)) and seconds[-1] < 8.5


def test_broken_files_stay_silent(
    tmp_path: Path, make_clip: MakeClip, capfd: pytest.CaptureFixture[str]
) -> None:
    path = clips.scribble(make_clip(tmp_path / "a.mkv", frames=200), 0.3, 0.8)
    decode(path, min_frames=1)
    failure(clips.truncate(make_clip(tmp_path / "a.mp4", frames=250), 0.6))
    assert capfd.readouterr() == ("", "")


def test_every_packet_is_a_sign_of_life(tmp_path: Path, make_clip: MakeClip) -> None:
    ticks: list[int] = []
    path = make_clip(tmp_path / "a.mkv", frames=60)
    list(VideoDecoder(str(path), PREPROCESS, 0.01, tick=lambda: ticks.append(1)))
    assert len(ticks) >= 60
