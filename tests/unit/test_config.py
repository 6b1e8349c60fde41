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
from tests.messages import raises

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
    "text, named, remedy",
    [
        ("extract:\n  fpss: 2", "extract: unknown setting 'fpss'", "fps, sampling"),
        ("extracts:\n  fps: 2", "section 'extracts'", "extract, compare"),
        ("extract:\n  fps: 0", "extract: fps is 0", "above 0 and at most 60"),
        ("extract:\n  fps: fast", "extract: fps is 'fast'", "a number"),
        ("extract:\n  fps: true", "extract: fps is True", "a number"),
        ("extract:\n  batch_size: 1.5", "extract: batch_size is 1.5", "a whole number"),
        ("extract:\n  dims: x", "extract: dims is 'x'", "a whole number"),
        ("extract:\n  dtype: int4", "extract: dtype is 'int4'", "float32, float16, int8, binary"),
        ("extract:\n  sampling: all", "extract: sampling is 'all'", "frames, keyframes"),
        ("extract:\n  hwaccel: gpu", "extract: hwaccel is 'gpu'", "none, auto, cuda"),
        ("extract:\n  hwaccel: cuda:x", "extract: hwaccel is 'cuda:x'", "cuda:1"),
        ("extract:\n  insets: true", "extract: insets is True", "from 0 to 4"),
        ("extract:\n  insets: 5", "extract: insets is 5", "from 0 to 4"),
        ("extract: 3", "found 3", "`key: value`"),
        (
            "compare:\n  precision: double",
            "compare: precision is 'double'",
            "auto, float32, bfloat16",
        ),
        ("compare:\n  load_queries: maybe", "compare: load_queries is 'maybe'", "true or false"),
        (
            "compare:\n  similarity_function: cosine",
            "compare: similarity_function is 'cosine'",
            "chamfer, symmetric_chamfer",
        ),
        (
            "train:\n  similarity_function: max_chamfer",
            "train: similarity_function is 'max_chamfer'",
            "chamfer, symmetric_chamfer",
        ),
        ("- a", "sections", "`extract:`"),
        ("extract: {", "not valid YAML", "line 1, column 11"),
    ],
)
def test_a_bad_file_is_named_with_the_key(tmp_path, text, named, remedy):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with raises(InputError, f"{path}:", named, remedy=remedy):
        load_config(path)


def test_a_missing_file_is_an_error(tmp_path):
    with raises(InputError, tmp_path / "no.yaml", "no such", remedy="visil-index settings"):
        load_config(tmp_path / "no.yaml")


def test_a_folder_is_no_settings_file(tmp_path):
    with raises(InputError, tmp_path, "cannot read", remedy="--config"):
        load_config(tmp_path)


def test_options_win_where_given(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("extract:\n  fps: 2\n  workers: 3\n")
    options = {"extract": {"fps": None, "dims": 8, "workers": 1}, "compare": {"adapt": True}}
    assert load_config(path, options) == Config(
        ExtractConfig(fps=2, dims=8, workers=1), CompareConfig(adapt=True)
    )


@pytest.mark.parametrize(
    "section, values, named, remedy",
    [
        (ExtractConfig, {"fps": 0}, "fps is 0", "above 0 and at most 60"),
        (ExtractConfig, {"fps": 61}, "fps is 61", "above 0 and at most 60"),
        (ExtractConfig, {"fps": np.float32(-1)}, "fps is -1.0", "above 0 and at most 60"),
        (ExtractConfig, {"batch_size": 2**31}, "batch_size is 2147483648", "below 2147483648"),
        (ExtractConfig, {"mirrored": "yes"}, "mirrored is 'yes'", "true or false"),
        (ExtractConfig, {"hwaccel": "cuda:1\n"}, "hwaccel is 'cuda:1\\n'", "none, auto, cuda"),
        (ExtractConfig, {"precision": None}, "precision is None", "auto, float32"),
        (ExtractConfig, {"insets": -1}, "insets is -1", "from 0 to 4"),
        (
            ExtractConfig,
            {"decoder_memory_mb": 255},
            "decoder_memory_mb is 255",
            "0 or at least 256 MiB",
        ),
        (CompareConfig, {"background_weight": 2.5}, "background_weight is 2.5", "from 0 to 2"),
        (CompareConfig, {"block_mb": 0}, "block_mb is 0", "MiB, 1 or more"),
        (TrainConfig, {"window": 6}, "window is 6", "a multiple of 4"),
        (TrainConfig, {"window": 0}, "window is 0", "4 or more"),
        (TrainConfig, {"skip": 1}, "skip is 1", "0 or more and below 1"),
        (TrainConfig, {"same_limit": float("nan")}, "same_limit is nan", "a number"),
        (TrainConfig, {"seed": 2**63}, "seed is 9223372036854775808", "a whole number"),
        (TrainConfig, {"learning_rate": 0}, "learning_rate is 0", "above 0"),
        (CompareConfig, {"topk": 3}, "setting 'topk'", "similarity_function"),
    ],
)
def test_wrong_arguments_are_refused_in_python_too(section, values, named, remedy):
    with raises(InputError, named, remedy=remedy):
        section(**values)


def test_the_docstring_of_a_section_has_every_setting():
    for each in sections()["train"].values():
        assert f"    {each.name}: {each.text}" in TrainConfig.__doc__


def test_settings_are_given_by_name_only():
    with raises(InputError, "CompareConfig", "'chamfer'", remedy="by name"):
        CompareConfig("chamfer")


def test_a_change_is_checked_as_well():
    with raises(InputError, "fps is 0", remedy="above 0 and at most 60"):
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
    "text, named, remedy",
    [
        (alias_bomb(), "more than 10000", "leave out aliases"),
        ("extract: &a {dims: *a}", "more than 10000", "leave out aliases"),
        ("{a: " * 5000, "nested", "visil-index settings"),
        ("[" * 100_000, "65536 bytes", ""),
        ("extract: {workers: " + "9" * 5000 + "}", "not valid YAML", "put it into quotes"),
        (
            "extract: {batch_size: 99999999999999}",
            "batch_size is 99999999999999",
            "below 2147483648",
        ),
        ("extract: {dims: true}", "extract: dims is True", "a whole number"),
        ("extract: {fps: .nan}", "extract: fps is nan", "above 0 and at most 60"),
        ("a: 2001-99-99", "not valid YAML", "put it into quotes"),
        ("a: !!int x", "not valid YAML", "put it into quotes"),
        ("a: !!bool x", "not valid YAML", "put it into quotes"),
        ("a: !!timestamp x", "not valid YAML", "put it into quotes"),
        ("!!python/object/apply:os.mkdir [x]", "not valid YAML", "line 1, column 1"),
        ("extract:\n  fps: 1\n  fps: 2", "line 3: key 'fps'", "take one out"),
    ],
    ids=range(14),
)
def test_crafted_files_end_in_a_sentence(tmp_path, text, named, remedy):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with raises(InputError, f"{path}:", named, remedy=remedy):
        load_config(path)
