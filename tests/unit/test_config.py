from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import CompareConfig, Config, ExtractConfig, load_config, override
from pipeline.errors import InputError

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.name)
def test_every_shipped_file_loads(path):
    assert isinstance(load_config(path), Config)


def test_default_file_says_what_the_code_does():
    assert load_config(CONFIGS / "default.yaml") == load_config(None) == Config()


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("extract:\n  fps: 2\ncompare:\n")
    assert load_config(path) == Config(replace(ExtractConfig(), fps=2), CompareConfig())


@pytest.mark.parametrize(
    "text, message",
    [
        ("extract:\n  fpss: 2", "unknown key 'fpss'"),
        ("extracts:\n  fps: 2", "unknown section 'extracts'"),
        ("extract:\n  fps: 0", "fps is 0"),
        ("extract:\n  fps: fast", "expected a number"),
        ("extract:\n  fps: true", "expected a number"),
        ("extract:\n  batch_size: 1.5", "expected a whole number"),
        ("extract:\n  dims: x", "dims is 'x'"),
        ("extract:\n  dtype: int4", "dtype is 'int4'"),
        ("extract:\n  sampling: all", "sampling is 'all'"),
        ("extract:\n  hwaccel: gpu", "hwaccel is 'gpu'"),
        ("extract:\n  hwaccel: cuda:x", "hwaccel is 'cuda:x'"),
        ("extract:\n  insets: true", "insets is True"),
        ("extract:\n  insets: 5", "insets is 5, expected a whole number from 0 to 4"),
        ("extract: 3", "key: value"),
        ("compare:\n  precision: double", "precision is 'double'"),
        ("compare:\n  load_queries: maybe", "expected true or false"),
        ("compare:\n  similarity_function: cosine", "similarity_function is 'cosine'"),
        ("train:\n  similarity_function: max_chamfer", "similarity_function is 'max_chamfer'"),
        ("- a", "expected sections"),
        ("extract: {", "not valid YAML"),
    ],
)
def test_a_bad_file_is_named_with_the_key(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        load_config(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        load_config(tmp_path / "no.yaml")


def test_options_win_where_given():
    assert override(ExtractConfig(fps=2), fps=None, dims=8) == ExtractConfig(fps=2, dims=8)


def alias_bomb() -> str:
    """Ten lines that stand for 9 ** 9 values."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    return "\n".join([*lines, "extract: *i"])


@pytest.mark.parametrize(
    "text, message",
    [
        (alias_bomb(), "more than 10000 values; leave out aliases"),
        ("extract: &a {dims: *a}", "more than 10000 values"),
        ("{a: " * 5000, "nested too deeply"),
        ("[" * 100_000, "more than 65536 bytes"),
        ("extract: {workers: " + "9" * 5000 + "}", "not valid YAML"),
        ("extract: {batch_size: 99999999999999}", "expected a whole number below 2147483648"),
        ("extract: {dims: true}", "dims is True"),
        ("extract: {fps: .nan}", "fps is nan"),
        ("a: 2001-99-99", "not valid YAML: month"),
        ("a: !!int x", "not valid YAML"),
        ("a: !!bool x", "not valid YAML"),
        ("a: !!timestamp x", "not valid YAML"),
        ("!!python/object/apply:os.mkdir [x]", "not valid YAML"),
    ],
    ids=range(13),
)
def test_crafted_files_end_in_a_sentence(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"c\.yaml: .*{message}"):
        load_config(path)
