"""SIGTERM and Ctrl-C at any moment of writing: exit code 130, and the store is whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.store import create_or_append, open_store
from pipeline.store.hdf5 import Hdf5Writer
from pipeline.store.interrupts import interrupts_held
from pipeline.store.transaction import TransactionalFile
from tests.contract.test_store_kill import OPERATIONS, ROOT, check, last_reported
from tests.store_helpers import SPEC, add, assert_holds

CHILD = """
import sys
from pathlib import Path
from pipeline.cli.common import handled
from tests.store_child import main

@handled()
def command():
    main(Path(sys.argv[1]), 250)

command()
"""
ROUNDS = int(os.environ.get("KILL_ROUNDS", "1"))


@pytest.mark.slow
@pytest.mark.timeout(60 + 20 * ROUNDS)
@pytest.mark.parametrize("kind, number", [("h5", signal.SIGTERM), ("zarr", signal.SIGINT)])
def test_a_signal_at_a_random_moment(tmp_path: Path, kind: str, number: int) -> None:
    rng = random.Random(os.urandom(8))
    for turn in range(ROUNDS):
        path = tmp_path / str(turn) / f"store.{kind}"
        path.parent.mkdir()
        command = [sys.executable, "-c", CHILD, str(path)]
        child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert child.stdout and child.stdout.readline() == "ready\n"
        child.stdout.readline()  # a first commit
        time.sleep(rng.uniform(0, 0.2))
        child.send_signal(number)
        reported = last_reported(child)
        assert child.returncode == 130 or reported >= OPERATIONS - 3
        check(path, reported)
        assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("callback", ["readinto", "seek", "write", "flush", "truncate"])
def test_ctrl_c_inside_of_a_callback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, callback: str
) -> None:
    """HDF5 calls back into Python; the signal comes while that runs, at the worst moment."""
    path = tmp_path / "s.h5"
    with create_or_append(path, SPEC) as writer:
        add(writer, "a", seed=1)
    original, armed = getattr(TransactionalFile, callback), False

    def interrupted(self: TransactionalFile, *args: object) -> object:
        nonlocal armed
        if armed:
            armed = False
            signal.raise_signal(signal.SIGINT)
        return original(self, *args)

    monkeypatch.setattr(TransactionalFile, callback, interrupted)
    with pytest.raises(KeyboardInterrupt), create_or_append(path, SPEC) as writer:
        assert isinstance(writer, Hdf5Writer)
        add(writer, "b", seed=2)
        writer.commit()
        armed = True
        for seed in range(3, 40):
            add(writer, f"v{seed}", seed)
            writer.commit()
        armed = False
    with open_store(path) as store:
        assert store.ids[:2] == ["a", "b"] and store.verify() == []
        assert_holds(store, "b", seed=2)
    with create_or_append(path, SPEC) as writer:
        add(writer, "c", seed=3)
    with open_store(path) as store:
        assert store.ids[-1] == "c" and store.verify() == []


def test_a_held_signal_is_handled_once_and_behind_the_block() -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        with interrupts_held():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert came == []
        assert came == [signal.SIGTERM]
        signal.raise_signal(signal.SIGTERM)
        assert len(came) == 2
    finally:
        signal.signal(signal.SIGTERM, before)
    with pytest.raises(KeyboardInterrupt), interrupts_held():
        signal.raise_signal(signal.SIGINT)
