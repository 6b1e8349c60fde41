"""Evaluation of results by the rules of published benchmarks: pure functions of files.

`evaluate` is the way in. Each benchmark is a module; `benchmarks` has them by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from . import vsc
from .benchmarks import KNOWN, OWN, UNSEEN, benchmark
from .files import SourceFile
from .report import Evaluation, as_json, lines
from .results import read_results

__all__ = ["EvaluationReport", "evaluate", "read_annotation_files"]


@dataclass(frozen=True)
class EvaluationReport:
    """An evaluation with the files that it was made from.

    Attributes:
        benchmark: name.
        annotation: files of the annotation.
        results: files of results.
        evaluation: figures, what was missing, and whether they are comparable.
    """

    benchmark: str
    annotation: Sequence[SourceFile]
    results: Sequence[SourceFile]
    evaluation: Evaluation

    def as_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {
            "benchmark": self.benchmark,
            "annotation": [
                {"path": str(f.path), "sha256": f.sha256, "labels": KNOWN.get(f.sha256)}
                for f in self.annotation
            ],
            "results": [{"path": str(f.path), "sha256": f.sha256} for f in self.results],
            **as_json(self.evaluation),
        }

    def lines(self) -> Iterator[str]:
        """All of it for a terminal, except details."""
        yield f"benchmark {self.benchmark}"
        for file in self.annotation:
            known = f"   {KNOWN[file.sha256]}" if file.sha256 in KNOWN else ""
            yield f"annotation {file.path}   SHA-256 {file.sha256}{known}"
        for file in self.results:
            yield f"results {file.path}   SHA-256 {file.sha256}"
        yield from lines(self.evaluation)


def evaluate(
    name: str, annotation: Sequence[str | Path], results: Sequence[str | Path]
) -> EvaluationReport:
    """Evaluate results by the rules of a benchmark.

    Args:
        name: of `benchmarks.BENCHMARKS`.
        annotation: published files as they are; a folder stands for its `.dat` files.
        results: one file, see `results.read_results`; for VSC2022 also two `.npz`, features of the
            queries and of the references.

    Raises:
        InputError: a file cannot be read, or does not belong to the benchmark.
    """
    name, chosen = benchmark(name)
    files = read_annotation_files(annotation)
    read = chosen.read(files)
    sources = [SourceFile.read(path) for path in results]
    if len(sources) == 2 and name == "VSC2022":
        evaluation = vsc.evaluate_features(read, *sources)
    elif len(sources) == 1:
        similarities = read_results(sources[0])
        evaluation = chosen.evaluate(read, similarities)
    else:
        raise InputError(f"{len(sources)} files of results, expected one; join them")
    if name != OWN:
        _judge_labels(files, evaluation, seen=name != "VSC2022")
    return EvaluationReport(name, files, sources, evaluation)


def read_annotation_files(paths: Sequence[str | Path]) -> list[SourceFile]:
    """Read the files of an annotation; a folder stands for its `.dat` files.

    Raises:
        InputError: none is given, or one cannot be read.
    """
    files = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(path.glob("*.dat"))
            if not inside:
                raise InputError(f"{path}: no .dat files in this folder; give files of annotation")
            files += [SourceFile.read(p) for p in inside]
        else:
            files.append(SourceFile.read(path))
    if not files:
        raise InputError("no annotation; give the published files as --annotation")
    return files


def _judge_labels(files: Sequence[SourceFile], evaluation: Evaluation, *, seen: bool) -> None:
    """Other labels give other figures; of some published files no digest is known here."""
    unknown = [f.path for f in files if f.sha256 not in KNOWN]
    for path in unknown:
        if not seen or path.suffix == ".dat" or path.name in UNSEEN:
            evaluation.notes.append(f"{path}: no digest of this file is known here to check it")
        else:
            evaluation.reasons.append(
                f"{path} is none of the published files known here: it may be another generation "
                "of labels; compare its SHA-256"
            )
