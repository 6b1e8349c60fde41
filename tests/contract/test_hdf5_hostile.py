"""HDF5 files of others and of old disks: read without the library, or refused by name."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.child_python import child_command
from pipeline.errors import StoreError
from pipeline.store import create_or_append, hdf5_guard, open_store, open_writer, read_spec
from pipeline.store.hdf5_guard import require_sound
from pipeline.store.hdf5_layout import Hdf5Layout, file_end
from pipeline.store.limits import Limits
from pipeline.store.lookup3 import lookup3
from tests.messages import raises
from tests.store_helpers import SPEC, add, assert_holds

Change = Callable[[h5py.File], None]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "s.h5"
    with create_or_append(path, SPEC) as writer:
        for seed in range(12):
            add(writer, f"v{seed}", seed)
    return path


def changed(path: Path, change: Change) -> None:
    with h5py.File(path, "r+", libver=("v108", "latest")) as file:
        change(file)


def virtual(file: h5py.File) -> None:
    del file["manifest"]
    layout = h5py.VirtualLayout((1 << 40,), "u1")
    layout[:10] = h5py.VirtualSource("other.h5", "x", (10,))
    file.create_virtual_dataset("manifest", layout)


def external(file: h5py.File) -> None:
    del file["manifest"]
    file.create_dataset("manifest", (100,), "u1", external=[("/etc/passwd", 0, 100)])


def soft_link(file: h5py.File) -> None:
    del file["manifest"]
    file["manifest"] = h5py.SoftLink("/features")


def external_link(file: h5py.File) -> None:
    del file["manifest"]
    file["manifest"] = h5py.ExternalLink("other.h5", "/manifest")


def filtered(file: h5py.File) -> None:
    data = file["manifest"][:]
    del file["manifest"]
    file.create_dataset("manifest", data=data, chunks=(32768,), maxshape=(None,), compression=4)


def contiguous(file: h5py.File) -> None:
    data = file["manifest"][:]
    del file["manifest"]
    file.create_dataset("manifest", data=data)


def other_type(file: h5py.File) -> None:
    del file["manifest"]
    file.create_dataset("manifest", (10,), "f8", chunks=(4096,), maxshape=(None,))


def twelve_gigabytes(file: h5py.File) -> None:
    file["manifest"].resize((12 << 30,))


def hole(file: h5py.File) -> None:
    file["manifest"].resize((40_000,))  # its second chunk was never written


def number_for_header(file: h5py.File) -> None:
    file.attrs["store"] = 5


def huge_header(file: h5py.File) -> None:
    file.attrs["store"] = "x" * (17 << 20)


def no_header(file: h5py.File) -> None:
    del file.attrs["store"]


@pytest.mark.parametrize(
    "change, message",
    [
        (virtual, "not stored in chunks"),
        (external, "in another file"),
        (soft_link, "manifest is a link"),
        (external_link, "manifest is a link"),
        (filtered, "has filters"),
        (contiguous, "not stored in chunks"),
        (other_type, "no array of bytes"),
        (twelve_gigabytes, "manifest has 12884901888 bytes"),
        (hole, "not the 2 chunks"),
        (number_for_header, "is no string"),
        (huge_header, "has 17825792 bytes"),
        (no_header, "not a feature store"),
    ],
)
def test_a_file_of_another_layout_is_refused(store: Path, change: Change, message: str) -> None:
    changed(store, change)
    remedy = "make one with" if change is no_header else "copy it again"
    content, before = store.read_bytes(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for use in (open_store, open_writer):
        with raises(StoreError, f"{store}: ", message, remedy=remedy):
            use(store)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB
    assert store.read_bytes() == content and list(store.parent.iterdir()) == [store]


def test_a_user_block_or_plain_hdf5_is_refused(tmp_path: Path) -> None:
    for name, options in (("user.h5", {"userblock_size": 512}), ("plain.h5", {})):
        with h5py.File(tmp_path / name, "w", **options) as file:
            file["x"] = 1
        with raises(StoreError, tmp_path / name, "HDF5"):
            open_store(tmp_path / name)


def test_every_zeroed_sector_is_named_or_harmless(store: Path) -> None:
    """One of them sent the library round a list of objects for ever."""
    whole = store.read_bytes()
    for start in range(0, 8192, 512):
        store.write_bytes(whole[:start] + bytes(512) + whole[start + 512 :])
        try:
            with open_store(store) as opened:
                assert len(opened) == 12
        except StoreError as error:
            assert str(store) in str(error)


@pytest.mark.slow
def test_verify_ends_where_the_library_does_not(store: Path) -> None:
    data = bytearray(store.read_bytes())
    at = data.rfind(b"GCOL") + 16 + 24  # the list of ids: behind the first, lengths of 0 for ever
    data[at : at + 512] = bytes(512)
    store.write_bytes(data)
    with open_store(store, Limits(check_seconds=1.0)) as opened:
        assert len(opened) == 12
        assert_holds(opened, "v3", seed=3)
        problems = opened.verify()
    assert len(problems) == 1 and str(store) in problems[0]
    with open_writer(store) as writer:  # makes a list of its own, and never reads this one
        add(writer, "more", seed=7)
    with open_store(store) as opened:
        assert_holds(opened, "more", seed=7)


@pytest.mark.parametrize("signature", [b"FRHP", b"BTHD", b"BTLF", b"FHDB"])
def test_a_writer_refuses_a_damaged_group(store: Path, signature: bytes) -> None:
    data = bytearray(store.read_bytes())
    data[data.find(signature) + 8] ^= 255
    store.write_bytes(data)
    with open_store(store) as opened:
        assert_holds(opened, "v3", seed=3)
    with raises(StoreError, store, "damaged"):
        open_writer(store)
    assert store.read_bytes() == bytes(data) and list(store.parent.iterdir()) == [store]


def test_datasets_of_another_kind_are_named_by_verify(store: Path) -> None:
    def change(file: h5py.File) -> None:
        shape = file["features/v1"].shape
        del file["features/v1"], file["features/v2"], file["seconds/v3"]
        layout = h5py.VirtualLayout(shape, "f2")
        layout[:] = h5py.VirtualSource("other.h5", "x", shape)
        file.create_virtual_dataset("features/v1", layout)
        file["features/v2"] = h5py.ExternalLink("other.h5", "/x")

    changed(store, change)
    with open_store(store) as opened:
        problems = opened.verify()
    assert [p.split(":")[0] for p in problems] == ["v1", "v2", "v3"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "body, message",
    [
        ("while True: pass", "does not come to an end"),
        ("import os; os.abort()", "crashes on it, by signal 6"),
        ("bytearray(3 << 30)", "fails on it: MemoryError"),
        ("raise OSError('no B-tree here')", "fails on it: OSError: no B-tree here"),
        ("print('rubbish'); sys.exit(0)", "damaged"),
    ],
)
def test_how_the_process_may_end(
    store: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    start = f"from pipeline.store.hdf5_child import _limit; _limit(1, 1 << 30)\n{body}"
    monkeypatch.setattr(hdf5_guard, "child_command", lambda code: child_command(start))
    monkeypatch.setattr(hdf5_guard, "_checked", {})
    with store.open("rb") as file, raises(StoreError, store, message):
        require_sound(store, file.fileno(), 12, cpu_seconds=20.0)


def test_a_store_that_this_process_left_is_not_asked_again(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = "raise OSError('asked')"
    monkeypatch.setattr(hdf5_guard, "child_command", lambda code: child_command(start))
    open_writer(store).close()
    store.write_bytes(store.read_bytes())
    with raises(StoreError, store, "asked"):
        open_writer(store)


def test_the_process_imports_nothing_from_the_current_directory(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "uploads"
    bad.mkdir()
    for name in ("json", "h5py", "numpy", "resource"):
        (bad / f"{name}.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(bad)
    monkeypatch.setenv("PYTHONPATH", str(bad))
    monkeypatch.setattr(hdf5_guard, "_checked", {})
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    open_writer(store).close()
    assert not (bad / "ran").exists()


def test_readers_never_load_the_library(store: Path) -> None:
    import subprocess

    code = f"from pipeline.store import open_store, read_spec; s = open_store({str(store)!r})\n"
    code += f"s.read('v1'); read_spec({str(store)!r}); import sys; print('h5py' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_what_is_read_is_what_the_library_reads(store: Path) -> None:
    with create_or_append(store, SPEC) as writer:
        for seed in range(200):  # a manifest of several chunks, groups with an index
            add(writer, f"more/{seed}", seed)
            if seed % 50 == 0:
                writer.commit()
    data = store.read_bytes()
    layout = Hdf5Layout(lambda at, size: data[at : at + size], file_end(data[:64]))
    with h5py.File(store) as file:
        manifest = np.asarray(file["manifest"]).tobytes()
        assert len(manifest) > 32768 and layout.manifest() == manifest
        assert json.loads(layout.header() or "") == json.loads(file.attrs["store"])
    assert read_spec(store) == SPEC


def test_lookup3_gives_its_authors_values() -> None:
    text = b"Four score and seven years ago"
    assert lookup3(b"") == 0xDEADBEEF
    assert (lookup3(text), lookup3(text, 1)) == (0x17770551, 0xCD628161)
