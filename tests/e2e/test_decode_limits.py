"""Limits of a decoding process, and what must not count against them."""

import os
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.decode import Ended, Frames, pool, process
from pipeline.errors import PipelineError
from tests import clips
from tests.e2e.test_decode_pool import ends, frames_of, outcome, pool_of

ROOT = Path(__file__).parents[2]
LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux")
MEMORY = 512  # MiB


@LINUX
def test_more_memory_than_a_process_may_take_is_too_large() -> None:
    with pool_of("end:2", "hungry:1", "end:3", workers=1, memory_mb=MEMORY) as events:
        found = ends(list(events))
    assert [outcome(found[n]) for n in range(3)] == ["", "too_large", ""]
    failure = found[1].failure
    assert failure and f"more than {MEMORY} MiB" in failure.detail


@LINUX
def test_memory_that_an_earlier_video_left_taken_costs_a_later_one_nothing() -> None:
    paths = ["end:1", *["leaves_waste:0"] * 2, "needs_some:3", "end:1"]
    with pool_of(*paths, workers=1, memory_mb=320) as events:
        told = list(events)
    found = ends(told)
    assert [found[n].failure for n in range(5)] == [None] * 5
    assert frames_of(told, 3) == [0, 1, 2]


@LINUX
def test_the_limit_is_set_and_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for megabytes, expected in ((700, 700 << 20), (0, resource.getrlimit(resource.RLIMIT_DATA)[0])):
        with pool_of("endless:0", workers=1, memory_mb=megabytes) as events:
            next(e for e in events if isinstance(e, Frames))
            (pid,) = events.pids
            assert resource.prlimit(pid, resource.RLIMIT_DATA)[0] == expected


def test_work_without_samples_ends() -> None:
    with pool_of("busy:2", "end:1", workers=1, idle_seconds=0.5) as events:
        found = ends(list(events))
    assert [outcome(found[n]) for n in range(2)] == ["decoder_stalled", ""]
    assert found[0].failure and "no new sample in 0.5 s" in found[0].failure.detail


@LINUX
def test_a_process_that_is_suspended_is_not_stalled() -> None:
    with pool_of("slow:3", workers=1, stall_seconds=3.0) as events:
        told = [next(events)]
        (pid,) = events.pids
        os.kill(pid, signal.SIGSTOP)
        threading.Timer(4.0, os.kill, (pid, signal.SIGCONT)).start()
        told += list(events)
    assert outcome(ends(told)[0]) == "" and frames_of(told, 0) == [0, 1, 2]


@LINUX
def test_a_pause_of_all_processes_is_no_stall() -> None:
    code = (
        "from tests.e2e.test_decode_pool import *\n"
        "with pool_of('slow:3', workers=1, stall_seconds=3.0) as pool:\n"
        "    events = [next(pool)]\n"
        "    print('begun', flush=True)\n"
        "    events += list(pool)\n"
        "print(repr(outcome(ends(events)[0])), len(frames_of(events, 0)))\n"
    )
    group = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
        start_new_session=True,
    )
    assert group.stdout and group.stdout.readline() == "begun\n"
    os.killpg(group.pid, signal.SIGSTOP)
    time.sleep(4.0)
    os.killpg(group.pid, signal.SIGCONT)
    assert group.communicate()[0] == "'' 3\n"


def receive_nothing(begun: process.DecodeProcess) -> None:
    with pytest.raises(process.ProcessDiedError):
        begun.receive()


def test_a_pause_of_the_pool_alone_counts_a_beat() -> None:
    """The clock goes on while a computer sleeps or a container is frozen."""
    begun = process.DecodeProcess()
    try:
        begun.wait_ready()
        thread = threading.Thread(target=receive_nothing, args=(begun,))
        thread.start()
        while begun._waiting_since is None:
            time.sleep(0.01)
        begun._waiting_since -= 1000.0
        begun.kill_if_stalled(30.0, 20.0)
        assert begun.running()
        begun.kill_if_stalled(30.0, 20.0)
        thread.join(20)
        assert not thread.is_alive() and begun._stalled == 30.0
    finally:
        begun.close()


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_process_that_dies_while_it_starts_costs_a_retry(
    monkeypatch: pytest.MonkeyPatch, deaths: int
) -> None:
    kill_first(monkeypatch, deaths)
    with pool_of("end:2", "end:3", workers=1) as events:
        told = list(events)
    assert [outcome(end) for end in ends(told).values()] == ["", ""]
    assert frames_of(told, 0) == [0, 1] and frames_of(told, 1) == [0, 1, 2]


def test_processes_that_never_start_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    kill_first(monkeypatch, pool.START_TRIES)
    with pytest.raises(PipelineError, match=r"cannot start a decoding process.*SIGKILL"):
        list(pool_of("end:2", workers=1))


def kill_first(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """The first so many decoding processes are killed at once."""
    left = [count]

    class Killed(process.DecodeProcess):
        def __init__(self) -> None:
            super().__init__()
            if left[0]:
                left[0] -= 1
                self.kill()

    monkeypatch.setattr(pool, "DecodeProcess", Killed)


def gif(path: Path, width: int, height: int, pictures: int = 3) -> Path:
    """A GIF of any size in a few bytes: each of its pictures fills one pixel of it."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    delay = b"\x21\xf9\x04\x00" + struct.pack("<H", 100) + b"\0\0"
    image = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    path.write_bytes(head + (delay + image) * pictures + b"\x3b")
    return path


@LINUX
def test_huge_pictures_take_neither_time_nor_memory(tmp_path: Path) -> None:
    paths = [gif(tmp_path / "a.gif", 16000, 16000), gif(tmp_path / "b.gif", 64, 48)]
    with pool_of(*map(str, paths), workers=1, decoder=pool.DECODER) as events:
        found = ends(list(events))
    assert [outcome(found[n]) for n in range(2)] == ["too_large", ""]
    assert found[0].failure and "16000x16000" in found[0].failure.detail


@LINUX
def test_a_table_of_samples_without_end_takes_no_memory(tmp_path: Path) -> None:
    """A fragment of 20 samples that says that it has 200 million."""
    flags = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    path = clips.clip(tmp_path / "a.mp4", frames=20, container=flags)
    data = bytearray(path.read_bytes())
    at = data.index(b"trun")
    data[at + 4 : at + 12] = struct.pack(">II", 1, 200_000_000)
    path.write_bytes(data)
    with pool_of(str(path), "end:1", workers=1, decoder=pool.DECODER, memory_mb=1024) as events:
        (failure,) = (end.failure for index, end in ends(list(events)).items() if not index)
    assert failure and failure.reason == "too_large" and "1024 MiB" in failure.detail


@LINUX
@pytest.mark.parametrize(("count", "reason"), [(500, "no_frames"), (10_000_000, "too_large")])
def test_an_edit_list_without_end_takes_neither_time_nor_memory(
    tmp_path: Path, count: int, reason: str
) -> None:
    path = with_edits(clips.clip(tmp_path / "a.mp4", frames=50), count)
    with pool_of(str(path), "end:1", workers=1, decoder=pool.DECODER, memory_mb=256) as events:
        (failure,) = (end.failure for index, end in ends(list(events)).items() if not index)
    assert failure and failure.reason == reason


def with_edits(path: Path, count: int) -> Path:
    """Put an edit list of so many empty entries into an MP4; the file is sparse."""
    data = bytearray(path.read_bytes())
    moov, trak = data.index(b"moov") - 4, data.index(b"trak") - 4
    data[data.index(b"edts") : data.index(b"edts") + 4] = b"free"
    at = trak + int.from_bytes(data[trak : trak + 4], "big")
    size = 24 + 12 * count
    for box in (moov, trak):
        length = int.from_bytes(data[box : box + 4], "big") + size
        data[box : box + 4] = length.to_bytes(4, "big")
    with path.open("wb") as file:
        file.write(data[:at])
        file.write(struct.pack(">I4sI4sII", size, b"edts", size - 8, b"elst", 0, count))
        file.seek(12 * count, os.SEEK_CUR)
        file.write(data[at:])
    return path


@LINUX
def test_pictures_within_the_limit_may_still_need_too_much_memory(tmp_path: Path) -> None:
    path = str(gif(tmp_path / "a.gif", 16000, 16000))
    how = {"max_pixels": 1 << 30, "memory_mb": MEMORY, "decoder": pool.DECODER}
    with pool_of(path, workers=1, **how) as events:
        (end,) = (event for event in events if isinstance(event, Ended))
    assert end.failure and end.failure.reason == "too_large"
    assert f"more than {MEMORY} MiB" in end.failure.detail
