from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import (
    DTYPES,
    CompareConfig,
    Config,
    ExtractConfig,
    TrainConfig,
    default_yaml,
    load_config,
    sections,
)
from pipeline.errors import InputError
from pipeline.quantization import ENCODINGS

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.name)
def test_every_shipped_file_loads(path):
    assert isinstance(load_config(path), Config)


def test_the_default_file_is_up_to_date():
    """Write it anew: `python -m pipeline settings > configs/default.yaml`."""
    path = CONFIGS / "default.yaml"
    assert path.read_text(encoding="utf-8") == default_yaml()
    assert load_config(path) == load_config(None) == Config()


def test_the_encodings_are_listed_once_more_as_types():
    assert tuple(ENCODINGS) == DTYPES


@pytest.mark.parametrize(
    "setting",
    [each for section in sections().values() for each in section.values()],
    ids=lambda each: each.name,
)
def test_every_default_is_allowed_and_explained(setting):
    assert setting.check(setting.default) == setting.default
    assert setting.text.endswith(".") and setting.allowed
    assert bool(setting.null) == (setting.default is None)


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("extract:\n  fps: 2\ncompare:\n")
    assert load_config(path) == Config(replace(ExtractConfig(), fps=2), CompareConfig())


@pytest.mark.parametrize(
    "text, message",
    [
        ("extract:\n  fpss: 2", "unknown setting 'fpss'"),
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


def test_options_win_where_given(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("extract:\n  fps: 2\n  workers: 3\n")
    options = {"extract": {"fps": None, "dims": 8, "workers": 1}, "compare": {"adapt": True}}
    assert load_config(path, options) == Config(
        ExtractConfig(fps=2, dims=8, workers=1), CompareConfig(adapt=True)
    )


@pytest.mark.parametrize(
    "section, values, message",
    [
        (ExtractConfig, {"fps": 0}, "fps is 0, expected a number, above 0 and at most 60"),
        (ExtractConfig, {"fps": 61}, "fps is 61"),
        (ExtractConfig, {"fps": np.float32(-1)}, r"fps is -1\.0"),
        (ExtractConfig, {"batch_size": 2**31}, "batch_size is 2147483648"),
        (ExtractConfig, {"mirrored": "yes"}, "mirrored is 'yes', expected true or false"),
        (ExtractConfig, {"hwaccel": "cuda:1\n"}, "hwaccel is"),
        (ExtractConfig, {"precision": None}, "precision is None, expected one of auto, "),
        (ExtractConfig, {"insets": -1}, "insets is -1, expected a whole number from 0 to 4"),
        (ExtractConfig, {"decoder_memory_mb": 255}, "expected 0 or at least 256 MiB"),
        (CompareConfig, {"background_weight": 2.5}, "expected a number from 0 to 2"),
        (CompareConfig, {"block_mb": 0}, "expected a whole number of MiB, 1 or more"),
        (TrainConfig, {"window": 6}, "a multiple of 4"),
        (TrainConfig, {"window": 0}, "4 or more"),
        (TrainConfig, {"skip": 1}, "0 or more and below 1"),
        (TrainConfig, {"same_limit": float("nan")}, "same_limit is nan"),
        (TrainConfig, {"seed": 2**63}, "seed is"),
        (TrainConfig, {"learning_rate": 0}, "above 0"),
        (CompareConfig, {"topk": 3}, "unknown setting 'topk', expected one of similarity_function"),
    ],
)
def test_wrong_arguments_are_refused_in_python_too(section, values, message):
    with pytest.raises(InputError, match=message):
        section(**values)


def test_the_docstring_of_a_section_has_every_setting():
    for each in sections()["train"].values():
        assert f"    {each.name}: {each.text}" in TrainConfig.__doc__


def test_settings_are_given_by_name_only():
    with pytest.raises(InputError, match="CompareConfig takes settings by name only"):
        CompareConfig("chamfer")


def test_a_change_is_checked_as_well():
    with pytest.raises(InputError, match="fps is 0"):
        replace(ExtractConfig(), fps=0)


def test_the_edges_of_what_is_allowed():
    assert ExtractConfig(fps=60, hwaccel="cuda:1", decoder_memory_mb=256, insets=0).fps == 60
    assert TrainConfig(seed=2**62, skip=0, warm_up=1).seed == 2**62


def test_numbers_of_numpy_become_numbers_of_python():
    config = ExtractConfig(fps=np.float32(2), batch_size=np.int64(3))
    assert (type(config.fps), type(config.batch_size)) == (float, int)


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
