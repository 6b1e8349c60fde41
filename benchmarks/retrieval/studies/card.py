"""All figures of the model's card, one command after another.

    python -m benchmarks.retrieval.studies.card SET_DIR [--model_dir model] [--only TEXT ...]

What a command prints is kept in SET_DIR/card once it has ended well, and it is not run again until
that file is deleted. One that fails is named and the others go on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.retrieval.studies.evaluate import to_stderr
from pipeline.atomic import atomic_write
from pipeline.default_model import default_model_dir

# Name -> module, split, further options. In this order each finds the stores of those before it.
COMMANDS: dict[str, tuple[str, str, list[str]]] = {
    "evaluate": ("evaluate", "validation", []),
    "held": ("calibration_holdout", "validation", []),
    "wide": ("all_clips", "validation", []),
    "wild": ("unseen_copies", "validation", []),
    "adapted": ("adapted", "validation", []),
    "evaluate_adapted": ("evaluate", "validation", ["--no_baselines", "--adapt"]),
    "wild_adapted": ("unseen_copies", "validation", ["--adapt"]),
    "stages": ("settings", "validation", ["--timed", "12"]),
    "ablation": ("ablation", "validation", []),
    "heads": ("heads", "validation", []),
    "blank": ("blank", "validation", []),
    "originals": ("reverse_search", "validation", []),
    "itself": ("self_similarity", "validation", []),
    "compilations": ("compilations", "validation", []),
    "evaluate_test": ("evaluate", "test", []),
    "held_on_test": ("calibration_holdout", "validation", ["--on", "test"]),
    "wild_test": ("unseen_copies", "test", []),
    "adapted_test": ("adapted", "test", []),
    "evaluate_adapted_test": ("evaluate", "test", ["--no_baselines", "--adapt"]),
    "held_adapted_on_test": ("calibration_holdout", "validation", ["--on", "test", "--adapt"]),
    "held_adapted_among_20": (
        "calibration_holdout",
        "validation",
        ["--on", "test", "--adapt", "--among", "20"],
    ),
    "held_adapted_among_80": (
        "calibration_holdout",
        "validation",
        ["--on", "test", "--adapt", "--among", "80"],
    ),
    "wild_adapted_test": ("unseen_copies", "test", ["--adapt"]),
    "compilations_test": ("compilations", "test", []),
    "compare_test": ("against_baselines", "test", ["--timed", "16"]),
    "hardness_test": ("hardness", "test", []),
    "hardness_adapted_test": ("hardness", "test", ["--adapt"]),
}


def run(name: str, set_dir: Path, model_dir: Path) -> bool:
    """One command, unless its output is there; whether it is now."""
    module, split, options = COMMANDS[name]
    target = set_dir / "card" / f"{name}.md"
    if target.exists():
        return True
    target.parent.mkdir(exist_ok=True)
    words = [sys.executable, "-m", f"benchmarks.retrieval.studies.{module}", str(set_dir)]
    words += ["--split", split, "--model_dir", str(model_dir), *options]
    to_stderr(" ".join(["python", *words[1:]]))
    began = time.monotonic()
    try:
        with atomic_write(target) as file:
            subprocess.run(words, stdout=file, check=True)
    except subprocess.CalledProcessError as error:
        to_stderr(f"{name}: exit code {error.returncode}")
        return False
    to_stderr(f"{name}: {time.monotonic() - began:.0f} s, {target}")
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 1 if a command failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("set_dir", type=Path)
    parser.add_argument("--model_dir", type=Path, default=Path(default_model_dir()))
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT", help="parts of names")
    options = parser.parse_args(arguments)
    names = [name for name in COMMANDS if any(text in name for text in options.only)]
    failed = [name for name in names if not run(name, options.set_dir, options.model_dir)]
    for name in (name for name in names if name not in failed):
        print(f"## {name}\n\n{(options.set_dir / 'card' / f'{name}.md').read_text()}")
    if failed:
        to_stderr(f"failed: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
