"""What is opened as a film, which of its streams that is, and what the reasons say."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.format import ContainerFormat, formats_available
from av.stream import Disposition

from pipeline.errors import VideoError
from pipeline.records import Preprocess
from pipeline.video import VideoDecoder, formats
from pipeline.video.encryption import encryption
from tests import clips

PREPROCESS = Preprocess()


def numbers(path: Path, **how: object) -> tuple[list[int], str]:
    decoder = VideoDecoder(str(path), PREPROCESS, **how)  # type: ignore[arg-type]
    return [clips.read_number(image) for _, image in decoder], decoder.note


def failure(path: Path, **how: object) -> VideoError:
    with pytest.raises(VideoError) as caught:
        numbers(path, **how)
    return caught.value


# Other people's files.


def playlist(film: str) -> str:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{film}\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize("name", ["a.mp4", "a.m3u8", "a.ts", "a"])
@pytest.mark.parametrize(
    ("format_", "text"),
    [
        ("hls", playlist("{path}")),
        ("hls", playlist("file:{path}")),
        ("hls", "\ufeff" + playlist("{name}")),
        ("concat", "ffconcat version 1.0\nfile {name}\n"),
        ("concat", "ffconcat version 1.0\nfile 'file:{path}'\n"),
        ("sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 5004 RTP/AVP 96\n"),
        (
            "DASH",
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period>'
            '<AdaptationSet mimeType="video/mp4"><Representation id="1"><BaseURL>{path}</BaseURL>'
            "</Representation></AdaptationSet></Period></MPD>",
        ),
    ],
)
def test_files_that_name_others_are_refused_by_their_format(
    tmp_path: Path, name: str, format_: str, text: str
) -> None:
    film = clips.clip(tmp_path / "b.mp4", frames=25)
    path = tmp_path / name
    path.write_text(text.replace("{path}", str(film)).replace("{name}", film.name))
    error = failure(path)
    assert error.reason == "not_a_video" and format_ in error.detail
    assert "list the films themselves" in error.detail


def picture(folder: Path, number: int) -> bytes:
    """A PNG file."""
    images = [clips.numbered(number)]
    source = clips.write_edited(folder / "one.mov", images, "png", "rgb24", lambda _, x: x)
    with av.open(str(source)) as container:
        return bytes(next(container.demux(video=0)))


@pytest.mark.parametrize("content", [b"it names the pictures beside it", b""])
def test_a_row_of_pictures_is_not_taken_for_one(tmp_path: Path, content: bytes) -> None:
    for number in (1, 2, 3):
        (tmp_path / f"frame{number}.png").write_bytes(picture(tmp_path, number))
    path = tmp_path / "frame%d.png"
    assert failure(path).reason == "missing"
    path.write_bytes(content or picture(tmp_path, 9))
    error = failure(path)
    assert error.reason == "not_a_video" and "image2" in error.detail


def test_a_gif_with_the_name_of_a_row_is_itself(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        clips.clip(tmp_path / f"frame{number}.gif", frames=1, codec="gif", pix_fmt="rgb8")
    path = clips.write(tmp_path / "frame%d.gif", [clips.numbered(7)], codec="gif", pix_fmt="rgb8")
    assert numbers(path) == ([7], "")
    path.write_text("it names the pictures beside it")
    assert failure(path).reason == "not_a_video"


def test_one_picture_is_read_whatever_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "50% [x]"
    folder.mkdir()
    for name in ("a.png", "a[1].png", "100%.png", "a*.png"):
        (folder / name).write_bytes(picture(tmp_path, 7))
        assert numbers(folder / name) == ([7], "")


@pytest.mark.parametrize(
    "path",
    ["HTTP:/127.0.0.1:9/a.mp4", "rtmp://127.0.0.1:9/a", "concat:b.mp4|b.mp4", "subfile:b.mp4",
     "lavfi:testsrc", "data:video/mp4;base64,AAAA", "pipe:0", "fd:0", "cache:b.mp4", "tcp://[::1]:9"],
)  # fmt: skip
def test_addresses_are_names_of_files_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    clips.clip(tmp_path / "b.mp4", frames=3)
    monkeypatch.chdir(tmp_path)
    assert failure(Path(path)).reason == "missing"
    with pytest.raises(VideoError, match="missing"):
        VideoDecoder(path, PREPROCESS)


def test_no_format_that_opens_others_is_on_the_list() -> None:
    others = {"hls", "dash", "concat", "concatf", "imf", "image2pipe", "sdp", "rtsp", "rtp", "sap"}
    others |= {"lavfi", "avisynth", "vapoursynth", "webm_dash_manifest", "vobsub", "svg_pipe"}
    assert not formats.READ & (others | {"tty", "bin", "xbin", "adf", "idf", "ffmetadata", "data"})
    assert {"mov", "matroska", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "rm"} < formats.READ


def test_no_device_is_on_the_list_and_every_name_is_one_of_ffmpeg() -> None:
    """A name with a slip would refuse a format in silence."""
    known, devices = set(), set()
    for name in formats_available:
        try:
            found = ContainerFormat(name, "r")
        except ValueError:
            continue
        known |= set(found.name.split(","))
        if found.no_file:
            devices |= set(found.name.split(","))
    assert known >= formats.READ
    assert formats.READ & devices == {"image2"}


# Which stream is the film.


def mux(path: Path, *tracks: dict, sound: float = 0.0) -> Path:
    """A file with video tracks: first number, count, rate, codec, disposition, width."""
    with av.open(str(path), "w") as out:
        made = [_add_track(out, **track) for track in tracks]
        tone = out.add_stream("aac", rate=8000) if sound else None
        packets = [packet for encode in made for packet in encode()]
        for packet in sorted(packets, key=lambda p: float(p.dts * p.time_base)):
            out.mux(packet)
        if tone is not None:
            clips._write_tone(out, tone, sound)
    return path


def _add_track(out, first, count, rate=5, codec="libx264", flags=0, width=64):  # type: ignore[no-untyped-def]
    stream = out.add_stream(codec, rate=rate)
    stream.width, stream.height = width, width * 3 // 4
    stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    stream.disposition = Disposition(flags)

    def encode() -> list:
        packets = []
        for number in range(count):
            image = clips.numbered(first + number, width, width * 3 // 4)
            frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, rate)
            packets += stream.encode(frame)
        return packets + stream.encode(None)

    return encode


COVER = {"first": 900, "count": 1, "codec": "mjpeg", "width": 256}
FILM = {"first": 0, "count": 20}


@pytest.mark.parametrize("ending", ["mkv", "mov", "mp4"])
@pytest.mark.parametrize("flags", [0, 1])  # default
@pytest.mark.parametrize("first", [True, False])
def test_a_single_picture_beside_a_film_is_a_cover(
    tmp_path: Path, ending: str, flags: int, first: bool
) -> None:
    tracks = [COVER | {"flags": flags}, FILM][:: 1 if first else -1]
    found, note = numbers(mux(tmp_path / f"a.{ending}", *tracks, sound=1.0))
    assert (found, note) == ([0, 5, 10, 15], "")


def test_the_film_of_an_avi_file_is_no_cover(tmp_path: Path) -> None:
    found, note = numbers(mux(tmp_path / "a.avi", COVER, FILM | {"codec": "mpeg4"}, sound=1.0))
    assert found[0] == 0 and len(found) > 3 and note == ""


@pytest.mark.parametrize("ending", ["mkv", "mov", "mp4", "mka", "m4a"])
def test_sound_with_a_single_picture_has_no_film(tmp_path: Path, ending: str) -> None:
    container = tmp_path / f"a.{ending}"
    path = mux(tmp_path / f"b.{ {'mka': 'mkv', 'm4a': 'mov'}.get(ending, ending) }", COVER, sound=3)
    os.replace(path, container)
    assert failure(container).reason == "no_video_stream"


def test_a_single_picture_alone_stays_a_video(tmp_path: Path) -> None:
    assert numbers(mux(tmp_path / "a.mkv", COVER)) == ([900], "")
    assert numbers(mux(tmp_path / "a.mov", COVER)) == ([900], "")


def test_a_picture_shown_for_as_long_as_the_sound_is_a_film(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "a.mp4", [clips.numbered(3)] * 2, times=[0, 4000], tone=True)
    assert set(numbers(path)[0]) == {3}


def test_of_several_films_the_default_one_then_the_longest_then_the_largest(
    tmp_path: Path,
) -> None:
    small, long = FILM | {"first": 200}, FILM | {"first": 300, "count": 40}
    large = FILM | {"first": 400, "width": 96}
    chosen = FILM | {"first": 500, "count": 10, "flags": 1}
    for tracks, first in (
        ([small, long, large, chosen], 500),
        ([small, long, large], 300),
        ([small, large, small], 400),
    ):
        found, note = numbers(mux(tmp_path / "a.mkv", *tracks))
        assert found[0] == first
        assert f"one of {len(tracks)} video streams" in note


@pytest.mark.slow
def test_hundreds_of_streams_take_seconds(tmp_path: Path) -> None:
    tracks = [{"first": n % 4000, "count": 2, "codec": "mpeg4", "width": 16} for n in range(300)]
    decoder = VideoDecoder(str(mux(tmp_path / "a.mkv", *tracks)), PREPROCESS)
    assert len(list(decoder)) == 1 and "one of 300 video streams" in decoder.note


# Reasons.


def test_a_damaged_file_is_not_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg calls some damage an operation that is not permitted."""
    path = clips.clip(tmp_path / "a.mp4", 3)

    def refuse(hwaccel: str, opener: object) -> None:
        raise av.PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("pipeline.video.container.open_on_device", refuse)
    assert failure(path).reason == "broken"


def test_encrypted_mp4_that_cannot_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some boxes of fragments are too much for FFmpeg."""
    path, plain = clips.clip(tmp_path / "a.mp4", 3), clips.clip(tmp_path / "b.mp4", 3)
    path.write_bytes(path.read_bytes().replace(b"avc1\0\0\0\0", b"encv\0\0\0\0"))

    def refuse(hwaccel: str, opener: object) -> None:
        raise av.InvalidDataError(1, "Invalid data found")

    monkeypatch.setattr("pipeline.video.container.open_on_device", refuse)
    assert failure(path).reason == "encrypted" and failure(plain).reason == "broken"


def test_encrypted_mp4(tmp_path: Path) -> None:
    path = clips.clip(tmp_path / "a.mp4", frames=10)
    path.write_bytes(path.read_bytes().replace(b"avc1\0\0\0\0", b"encv\0\0\0\0"))
    error = failure(path)
    assert error.reason == "encrypted" and "decrypt it first" in error.detail


def test_a_transport_stream_that_is_scrambled(tmp_path: Path) -> None:
    path = clips.clip(tmp_path / "a.ts", frames=50)
    assert len(numbers(path)[0]) == 2
    data = bytearray(path.read_bytes())
    for at in range(0, len(data), 188):
        if int.from_bytes(data[at + 1 : at + 3], "big") & 0x1FFF == 0x100:
            data[at + 3] |= 0x80
    path.write_bytes(data)
    assert failure(path).reason == "encrypted"


@pytest.mark.parametrize(
    ("format_", "container", "stream"),
    [
        ("matroska,webm", {}, {"enc_key_id": "abc"}),
        ("asf", {"ASF_Protection_Type": "DRM", "ASF_Key_ID": "x"}, {}),
    ],
)
def test_what_ffmpeg_tells_of_encryption(format_: str, container: dict, stream: dict) -> None:
    class Named:
        def __init__(self, **values: object) -> None:
            vars(self).update(values)

    format_name = Named(name=format_)
    made = Named(format=format_name, metadata=container)
    assert encryption("a", made, Named(metadata=stream, id=1))
    assert not encryption("a", Named(format=format_name, metadata={}), Named(metadata={}, id=1))


def test_a_codec_without_a_decoder_is_named(tmp_path: Path) -> None:
    path = clips.clip(tmp_path / "a.mov", frames=10)
    path.write_bytes(path.read_bytes().replace(b"avc1\0\0\0\0", b"zzzy\0\0\0\0"))
    error = failure(path)
    assert error.reason == "unsupported" and "zzzy" in error.detail


def test_animated_webp_says_so(tmp_path: Path) -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        return name + len(content).to_bytes(4, "little") + content

    head = chunk(b"VP8X", bytes([2, 0, 0, 0, 63, 0, 0, 47, 0, 0]))
    body = b"WEBP" + head + chunk(b"ANIM", bytes(6)) + chunk(b"ANMF", bytes(40))
    path = tmp_path / "a.webp"
    path.write_bytes(chunk(b"RIFF", body))
    error = failure(path)
    assert error.reason == "unsupported" and "animated WebP" in error.detail


# Pixels.


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.mp4", {}),
        ("a.ts", {}),
        ("a.avi", {"codec": "mpeg4"}),
        ("a.mkv", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("a.gif", {"codec": "gif", "pix_fmt": "rgb8"}),
    ],
)
def test_pictures_above_the_limit_are_refused(tmp_path: Path, name: str, how: dict) -> None:
    path = clips.clip(tmp_path / name, frames=10, width=320, height=240, **how)
    assert len(numbers(path, max_pixels=320 * 240)[0]) >= 1
    error = failure(path, max_pixels=320 * 240 - 1)
    assert error.reason == "too_large"
    assert "320x240" in error.detail and "--max_pixels" in error.detail


def test_a_picture_that_grows_in_mid_stream_is_not_decoded(tmp_path: Path) -> None:
    parts = []
    for number, width in enumerate((64, 640)):
        image = np.full((width * 3 // 4, width, 3), 100 * number + 50, np.uint8)
        part = clips.write(tmp_path / f"{number}.h264", [image] * 50)
        parts.append(part.read_bytes())
    path = tmp_path / "a.h264"
    path.write_bytes(b"".join(parts))
    found, note = numbers(path, max_pixels=64 * 48)
    assert len(found) == 2 and "undecodable" in note
