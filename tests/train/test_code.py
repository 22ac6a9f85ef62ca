"""Code that labkit writes makes the calls that were made, and nothing else, whatever things are named."""

from __future__ import annotations

import ast
import json
import shutil
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import labkit as lk
from labkit.core import source_code
from labkit.core.config import dumps, loads
from labkit.core.errors import ConfigError, DataError
from labkit.models import models
from labkit.runs.handle import code_of, data_code
from labkit.train.experiment import DataConfig, Experiment

PAYLOADS = [
    "x', label='y')\nimport os\nos.system('id')\nrows = dict(a='", '"""', "'''", "\\", "\\'", "a\r\nb", "{x}", "%s",
    "\u2028", "\u202e", "\ud800", "", "'" * 300, "ﬁ", "\0", "#", "x" * 100_000, "\N{GREEK SMALL LETTER ALPHA}\u0301",
]  # fmt: skip
texts = st.text(st.characters(exclude_categories=[])) | st.sampled_from(PAYLOADS)
values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts


def calls(source: str) -> list[tuple[str, list[Any], dict[str, Any]]]:
    """The calls of a program; it holds nothing but ``import labkit as lk`` and calls with literals and variables."""
    first, *rest = ast.parse(source).body
    assert ast.unparse(first) == "import labkit as lk"
    found = []
    for line in rest:
        assert isinstance(line, ast.Assign | ast.Expr)
        call = line.value
        assert isinstance(call, ast.Call)
        read = [each.id if isinstance(each, ast.Name) else ast.literal_eval(each) for each in call.args]
        found.append(
            (ast.unparse(call.func), read, {str(k.arg): ast.literal_eval(k.value) for k in call.keywords})
        )
    return found


@given(st.recursive(values, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=8))
def test_a_literal_is_read_back_as_it_was(value):
    assert ast.literal_eval(source_code.line(source_code.literal(value))) == value


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 10**5000, object(), {"a": {1, 2}}, b"x"], ids=type
)
def test_what_is_no_literal_is_refused(value):
    with pytest.raises(ConfigError, match="cannot be written as Python code"):
        source_code.literal(value)


@pytest.mark.parametrize("name", ["a b", "a=1, b", "", "import", "ﬁ", "x\n", "1"])
def test_what_is_no_name_of_an_argument_is_refused(name):
    with pytest.raises(ConfigError, match="is not a valid argument name"):
        source_code.call("lk.load", **{name: 1})


@settings(max_examples=60, deadline=None)
@given(texts, texts, st.lists(texts, max_size=3), st.dictionaries(texts, texts, max_size=3), texts)
@example(*PAYLOADS[:2], PAYLOADS, {name: name for name in PAYLOADS}, PAYLOADS[0])
def test_code_of_an_experiment_makes_the_same_calls_and_no_other(source, column, names, classes, group):
    options = {"text": column, "names": names, "classes": classes}
    steps = (
        {"do": "split", "group": group, "seed": 3},
        {"do": "dedupe", "near": True},
        {"do": "sample", "n": 5},
    )
    data = DataConfig(source, options, steps)
    whole = Experiment(models["mlp"](widths=(4,)), data, name=group)
    load, split, dedupe, sample, model, fit = calls(code_of(whole))
    assert load == ("lk.load", [source or "table"], options)
    assert split == ("rows.split", [], {"group": group, "seed": 3})
    assert dedupe[2] == {"near": True} and sample == ("rows.sample", [], {"n": 5})
    assert model[0] == "lk.models['mlp']" and model[2]["widths"] == [4]
    assert fit[:2] == ("lk.fit", ["rows", "model"]) and fit[2].get("name", "") == group
    assert calls(data_code(data)) == [load, split, dedupe, sample]
    try:
        assert loads(Experiment, dumps(whole)) == whole
    except ConfigError as error:
        assert "UTF-8 cannot represent" in str(error)


@pytest.mark.parametrize(
    "key", ["label='label')\nimport os\nrows = dict(a", "x", "options", "min_score", "Text", ""]
)
def test_a_setting_that_load_does_not_have_is_refused_wherever_it_is_read(key, tmp_path):
    refused = "load has no setting"
    with pytest.raises(ConfigError, match=refused):
        DataConfig("x.csv", {key: 1})
    with pytest.raises(ConfigError, match=refused):
        DataConfig.from_dict({"source": "x.csv", "options": {key: 1}}, "data")
    with pytest.raises(DataError, match=refused):
        lk.load(saved(tmp_path, source={"source": "x.csv", key: 1}))


@pytest.mark.parametrize("do", ["clean", "dedupe", "sample", "split"])
def test_a_setting_that_a_step_does_not_have_is_refused(do, tmp_path):
    for key in ("seed=1)\nimport os\nrows.split(seed", "self", "rows", "pipeline", "settings"):
        with pytest.raises(ConfigError, match=f"{do} has no setting"):
            DataConfig("x.csv", steps=({"do": do, key: 1},))
        with pytest.raises(DataError, match=f"{do} has no setting"):
            lk.load(saved(tmp_path, source={"source": "x.csv", "steps": [{"do": do, key: 1}]}))


@pytest.mark.parametrize(
    "source",
    [
        5, None, [], "x", {"source": 5}, {"source": None}, {"source": "x", "steps": 5}, {"source": "x", "steps": [5]},
        {"source": "x", "steps": {"do": "split"}}, {"source": "x", "steps": [{"do": ["split"]}]},
        {"source": "x", "steps": [{"do": "save"}]}, {"source": "x", "steps": [{}]}, {"source": "x", "text": [[["a"]]]},
        {"source": "x", "text": {"a": {"b": 1}}}, {"source": "x", "seconds": float("nan")},
        {"source": "x", "size": 2**70},
    ],
    ids=str,
)  # fmt: skip
def test_a_folder_of_rows_with_a_damaged_source_is_refused(source, tmp_path):
    with pytest.raises(DataError, match="does not contain complete saved rows"):
        lk.load(saved(tmp_path, source=source))


@pytest.mark.parametrize(
    "file", ["../other/0.arrow", "/etc/passwd", "", ".", 5, None, ["0.arrow"], "a\0", "x" * 5000]
)
def test_a_split_is_a_file_of_its_folder(file, tmp_path):
    lk.load([{"text": "a", "label": 1}, {"text": "b", "label": 0}]).save(tmp_path / "other")
    with pytest.raises(DataError, match="does not contain complete saved rows"):
        lk.load(saved(tmp_path, splits={"train": file}))
    link = saved(tmp_path) / "1.arrow"
    link.symlink_to(tmp_path / "other" / "0.arrow")
    with pytest.raises(DataError, match=r"'1\.arrow' points outside its folder"):
        lk.load(saved(tmp_path, splits={"train": "1.arrow"}))


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "5", "null", "[]", '"x"', "{}", "\0", "é"]
)
def test_a_damaged_list_of_the_splits_is_refused(text, tmp_path):
    folder = saved(tmp_path)
    (folder / "rows.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match="does not contain complete saved rows"):
        lk.load(folder)


def test_numbers_of_numpy_and_none_among_settings_are_kept_as_plain_values(tmp_path):
    import numpy as np

    rows = lk.load([{"text": f"text {i}", "label": i % 2} for i in range(40)])
    made = rows.split(seed=np.int64(3), test=np.float64(0.2), group=None)
    assert made.source["steps"] == [{"do": "split", "seed": 3, "test": 0.2}]
    assert lk.load(made.save(tmp_path / "rows")).source == made.source


def saved(folder, **changes: Any):
    """A folder of saved rows whose ``rows.json`` was changed by hand."""
    place = folder / "rows"
    if not place.exists():
        lk.load([{"text": "a", "label": 1}, {"text": "b", "label": 0}]).save(place)
        shutil.copy(place / "rows.json", folder / "rows.json")
    about = json.loads((folder / "rows.json").read_text())
    (place / "rows.json").write_text(json.dumps(about | changes))
    return place
