"""Options of the command line that come from the fields of `pipeline/config.py`."""

import click
import pytest
from click.testing import CliRunner

from pipeline.cli import common, main, options
from pipeline.config import CompareConfig, Config, ExtractConfig, default_yaml, sections


def chosen(*arguments, names=("compare", "extract.batch_size", "extract.precision"), code=0):
    """The settings that a command gets, or the message where it gets none."""
    configs = []

    @click.command()
    @common.config_option
    @common.handled()
    @options.settings(*names)
    def command(config):
        configs.append(config)

    result = CliRunner().invoke(command, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return configs[0] if configs else result.output


def test_without_options_all_is_as_it_is():
    assert chosen() == Config()


def test_flags_switch_on_and_off_only_where_they_are_given(tmp_path):
    assert chosen("--no_checksums", "-l").compare == CompareConfig(
        checksums=False, load_queries=True
    )
    file = tmp_path / "c.yaml"
    file.write_text("compare: {checksums: false, adapt: true}\n")
    assert chosen("-c", file).compare == CompareConfig(checksums=False, adapt=True)
    assert chosen("-c", file).file == str(file)


def test_an_option_of_two_sections_sets_both():
    config = chosen("--precision", "bfloat16", "--batch_sz", 8, "--batch_sz_sim", 9)
    assert config.extract == ExtractConfig(precision="bfloat16", batch_size=8)
    assert config.compare == CompareConfig(precision="bfloat16", batch_size=9)


def test_options_win_over_the_file(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("compare: {block_mb: 3}\nextract: {batch_size: 4, dims: 7}\n")
    config = chosen("--config", file, "--block_mb", 5)
    assert config.compare.block_mb == 5
    assert (config.extract.batch_size, config.extract.dims) == (4, 7)


@pytest.mark.parametrize(
    "arguments, text",
    [
        (("--fps", 0), "0<x<=60"),
        (("--fps", "nan"), "fps is nan"),
        (("--workers", -1), "x>=0"),
        (("--threads", "many"), "not a valid integer"),
        (("--dtype", "int4"), "'float32', 'float16', 'int8', 'binary'"),
        (("--hwaccel", "gpu"), "hwaccel is 'gpu', expected one of none, auto"),
        (("--batch_sz", 2**31), "batch_size is 2147483648"),
        (("-c", "no.yaml"), "no.yaml: there is no such"),
    ],
)
def test_values_beyond_the_limits_are_refused(arguments, text):
    assert text in chosen(*arguments, names=("extract",), code=2)


@pytest.mark.parametrize("section", ["extract", "compare", "train"])
def test_a_command_has_the_options_of_its_section(section):
    flags = {flag for each in main.commands[section].params for flag in each.opts}
    for each in sections()[section].values():
        assert set(each.flags) <= flags


def test_the_command_prints_the_default_file():
    result = CliRunner().invoke(main, ["settings"])
    assert (result.exit_code, result.output) == (0, default_yaml())
