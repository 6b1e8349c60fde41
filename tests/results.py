"""Results for tests: what they say of the way they were made, and tables of scores as JSON."""

from pipeline.output.match_tables import DenseMatches
from pipeline.output.result_info import ResultInfo
from pipeline.output.selection import Selection
from pipeline.output.writers import write_matches

INFO = ResultInfo("a model", "f" * 64, {"fps": 1.0, "adapted": False}, 5, 0.25, 0.001)
ALL = Selection()


def write_table(path, table, selection=ALL, listed_queries=None, **options):
    """Write what is selected of a `ScoreTable`."""
    return write_matches(path, DenseMatches(table, selection, listed_queries), INFO, **options)
