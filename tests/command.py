"""The console program in this process."""

from click.testing import CliRunner

from pipeline.cli import common, main


def run(*arguments: object, code: int = 0) -> str:
    """What `visil-index ARGUMENTS` prints, once its exit code was found to be `code`."""
    common.load_weights.cache_clear()  # one process here, several for a user
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result.output
