"""The command line of a benchmark of the model that prints one table."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence

from benchmarks.retrieval.report.tables import markdown_row
from benchmarks.retrieval.studies.evaluate import add_options, to_stderr

Rows = Callable[[argparse.Namespace], Iterable[Sequence[str]]]


def run(doc: str | None, heads: Sequence[str], rows: Rows, arguments: Sequence[str] | None) -> int:
    """Parse, work, print; returns the exit code.

    Args:
        doc: of the benchmark's module; its first line is the help text.
        heads: of the table's columns; the first is text, the others are numbers.
        rows: cells, from the options of `evaluate.add_options`.
        arguments: None takes those of the process.
    """
    parser = argparse.ArgumentParser(description=(doc or "").split("\n", 1)[0])
    add_options(parser)
    try:
        lines = list(rows(parser.parse_args(arguments)))
    except (FileNotFoundError, RuntimeError) as error:
        to_stderr(str(error))
        return 1
    print(markdown_row(*heads))
    print(markdown_row("---", *("---:" for _ in heads[1:])))
    for cells in lines:
        print(markdown_row(*cells))
    return 0
