"""Limits on what a file may claim: sizes, rates, columns, tokenizer pipelines, values; all refused before they cost."""

from __future__ import annotations

import json
import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import labkit as lk
from labkit.app.widgets.uploads import LONGEST, file_name
from labkit.core.errors import DataError, LabkitError, WeightsError
from labkit.data.io.audio import read_wav
from labkit.data.text.tokenizer import Tokenizer
from labkit.models.bert import sentence
from labkit.models.weights import Tensors

# --- config.json ----------------------------------------------------------------------------------------------------

SIZES = {
    "bert": {"model_type": "bert", "vocab_size": 100, "hidden_size": 8, "num_hidden_layers": 2,
             "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 32},
    "gpt": {"model_type": "gpt2", "vocab_size": 100, "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 32},
    "transformer": {"model_type": "marian", "vocab_size": 100, "d_model": 8, "encoder_layers": 2, "decoder_layers": 2,
                    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 16,
                    "decoder_ffn_dim": 16, "max_position_embeddings": 32, "dropout": 0.1, "attention_dropout": 0.1,
                    "activation_function": "swish", "scale_embedding": True},
}  # fmt: skip
NUMBERS = [(model, key) for model, sizes in SIZES.items() for key, value in sizes.items()
           if type(value) is int and not key.startswith("decoder_a") and not key.startswith("decoder_f")]  # fmt: skip


def folder_of(place: Path, config: object, values: int = 2000) -> str:
    """A model folder with weights of so many values."""
    text = config if isinstance(config, str) else json.dumps(config)
    (place / "config.json").write_text(text)
    save_file({"x": np.zeros(values, np.float32)}, place / "model.safetensors")
    return str(place)


@pytest.mark.parametrize(("model", "key"), NUMBERS)
def test_absurd_sizes_of_a_config_are_refused_by_name_at_once(tmp_path, model, key):
    twin = {"encoder_attention_heads": "decoder_attention_heads", "encoder_ffn_dim": "decoder_ffn_dim"}
    for value, says in ((10**9, rf"{key} = 1000000000"), (-1, f"{key} = -1"), (2.5, rf"{key} = 2\.5"),
                        ([3], rf"{key} = \[3\]"), (True, f"{key} = True")):  # fmt: skip
        changed = {**SIZES[model], key: value} | ({twin[key]: value} if key in twin else {})
        begin = time.perf_counter()
        with pytest.raises(WeightsError, match=says):
            lk.models[model](weights=folder_of(tmp_path, changed))
        assert time.perf_counter() - begin < 2


@pytest.mark.parametrize(
    ("model", "change"),
    [
        ("bert", {"num_hidden_layers": 9999}),
        ("bert", {"vocab_size": 9_000_000}),
        ("bert", {"hidden_size": 900_000}),
        ("gpt", {"n_layer": 9999}),
        ("transformer", {"encoder_layers": 9999}),
    ],
)
def test_sizes_far_beyond_the_weights_are_refused(tmp_path, model, change):
    with pytest.raises(
        WeightsError, match=rf"describes at least .* parameters \(.*{next(iter(change))} = .*contain 2,000"
    ):
        lk.models[model](weights=folder_of(tmp_path, SIZES[model] | change))


@pytest.mark.parametrize(("model", "key"), [("bert", "layer_norm_eps"), ("gpt", "layer_norm_epsilon")])
def test_an_epsilon_that_drowns_every_value_is_refused(tmp_path, model, key):
    for value in (1e39, 2.5, -1e-5, 10**400):
        with pytest.raises(LabkitError, match="norm_eps"):
            lk.models[model](weights=folder_of(tmp_path, SIZES[model] | {key: value}))


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "null", "3", '"x"', "", "{", "\0", '{"model_type": []}',
                                     '{"model_type": {}}', '{"model_type": "bert", "hidden_act": []}',
                                     '{"model_type": "bert", "hidden_size": NaN}',
                                     '{"model_type": "llama", "rope_parameters": [1]}'])  # fmt: skip
def test_configs_of_other_types_are_explained(tmp_path, content):
    for model in SIZES:
        with pytest.raises(LabkitError):
            lk.models[model](weights=folder_of(tmp_path, content))


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "5", '{"classes": 5, "reads": "text", "shape": []}', "{}",
                                     '{"classes": ["a", "b"], "reads": "text", "shape": 3}',
                                     '{"classes": ["a", "b"], "reads": "image", "shape": [1e400]}'])  # fmt: skip
def test_damaged_facts_of_a_model_are_explained(finished, tmp_path, content):
    folder = tmp_path / "model"
    finished.export(folder)
    (folder / "labkit-manifest.json").unlink()
    (folder / "labkit.json").write_text(content)
    with pytest.raises(LabkitError):
        lk.Predictor(folder)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a = " + b"[" * 5000, b"\0"])
def test_damaged_settings_of_a_model_are_explained(finished, tmp_path, content):
    folder = tmp_path / "model"
    finished.export(folder)
    (folder / "labkit-manifest.json").unlink()
    (folder / "labkit.toml").write_bytes(content)
    with pytest.raises(LabkitError):
        lk.Predictor(folder)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("sentence_bert_config.json", {"max_seq_length": "128"}, "max_seq_length = '128'; expected"),
        (
            "sentence_bert_config.json",
            {"max_seq_length": 1e300},
            "max_seq_length = 1e\\+300; expected a whole number",
        ),
        (
            "sentence_bert_config.json",
            {"max_seq_length": -1},
            "max_seq_length = -1; expected a whole number from 1",
        ),
        (
            "sentence_bert_config.json",
            {"do_lower_case": "no"},
            "do_lower_case = 'no'; expected true or false",
        ),
        ("config_sentence_transformers.json", {"prompts": ["x"]}, "prompts must be a table"),
        ("config_sentence_transformers.json", {"default_prompt_name": 5}, "prompts must be a table"),
        (
            "1_Pooling/config.json",
            {"pooling_mode": {"cls": 1}},
            "pooling_mode = {'cls': 1}; expected a string",
        ),
        ("1_Pooling/config.json", {"pooling_mode": 5}, "pooling_mode = 5; expected a string"),
    ],
)
def test_files_of_sentence_transformers_of_another_type_are_explained(tmp_path, name, content, said):
    types = {"": "Transformer", "1_Pooling": "Pooling"}
    listed = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in types.items()]
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "modules.json").write_text(json.dumps(listed))
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')
    assert sentence.read(tmp_path).pooling == ("mean",)
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=said):
        sentence.read(tmp_path)
    assert sentence.encoder_folder(tmp_path) == tmp_path  # needs no more than the list of modules


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"stages": 5}, "stages = 5; expected a list of one to 5 numbers"),
        ({"stages": []}, r"stages = \[\]; expected a list"),
        ({"stages": [1, "2"]}, r"stages\[1\] = '2'; expected a whole number"),
        ({"stages": [10**9]}, r"stages\[0\] = 1000000000; expected a whole number from 1 to 1,000"),
        ({"stages": [1], "base_width": 10**9}, "base_width = 1000000000; expected a whole number"),
        ({"stages": [1], "head_width": True}, "head_width = True; expected a whole number"),
        (
            {"stages": [900] * 5, "base_width": 1000},
            "describes at least .* parameters .*, but the weights next to it contain 8",
        ),
    ],
)
def test_sizes_of_stored_convolutions_are_bounded(tmp_path, sizes, said):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vgg", **sizes}))
    save_file({"x": np.zeros(8, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=said):
        lk.models["vgg"](weights=str(tmp_path))


@pytest.mark.parametrize(
    "step",
    [
        {"do": "split", "test": "0.2"},
        {"do": "split", "seed": 0.5},
        {"do": "split", "stratify": 1},
        {"do": "split", "test": [0.1]},
        {"do": "sample", "n": "many"},
        {"do": "sample", "n": True},
        {"do": "dedupe", "keep": 5},
        {"do": "dedupe", "near": "yes"},
        {"do": "clean", "steps": "urls"},
        {"do": "clean", "steps": [5]},
    ],
)
def test_settings_of_steps_of_another_type_are_refused_where_rows_are_opened(tmp_path, step):
    lk.load([{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(6)]).save(tmp_path / "rows")
    about = json.loads((tmp_path / "rows" / "rows.json").read_text())
    about["source"]["steps"] = [step]
    (tmp_path / "rows" / "rows.json").write_text(json.dumps(about))
    with pytest.raises(DataError, match=f"{step['do']}"):
        lk.load(tmp_path / "rows")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", 5),
        ("quotes", "no"),
        ("seconds", "1"),
        ("size", [1.5, 2]),
        ("names", [1]),
        ("label", 0),
        ("classes", 3),
    ],
)
def test_arguments_of_saved_rows_of_another_type_are_refused(tmp_path, name, value):
    lk.load([{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(6)]).save(tmp_path / "rows")
    about = json.loads((tmp_path / "rows" / "rows.json").read_text())
    about["source"][name] = value
    (tmp_path / "rows" / "rows.json").write_text(json.dumps(about))
    with pytest.raises(DataError, match=f"load: {name} = .* has the wrong type"):
        lk.load(tmp_path / "rows")


# --- weights --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38])
def test_weights_that_make_every_output_nan_are_refused_by_name(finished, tmp_path, value):
    from safetensors.numpy import load_file

    folder = tmp_path / "model"
    finished.export(folder)
    (folder / "labkit-manifest.json").unlink()
    tensors = load_file(folder / "model.safetensors")
    for name in (next(iter(tensors)), list(tensors)[-1]):
        damaged = {key: array.copy() for key, array in tensors.items()}
        damaged[name].flat[-1] = value
        save_file(damaged, folder / "model.safetensors")
        with pytest.raises(WeightsError, match=r"are damaged: \S+ contains"):
            lk.Predictor(folder)


def header(tensors: dict | str, data: bytes = b"") -> bytes:
    text = (tensors if isinstance(tensors, str) else json.dumps(tensors)).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (header({"a": {"dtype": "F32", "shape": [0, 2**62], "data_offsets": [0, 0]}}), "invalid shape"),
        (header({"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}, b"\0"), "dtype 'F4'"),
        (header({"a": {"dtype": [], "shape": [2], "data_offsets": [0, 1]}}, b"\0"), "damaged"),
        (header('{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}, '
                '"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}', b"\0"), "'a' occurs twice"),
    ],
)  # fmt: skip
def test_odd_tensors_are_explained(tmp_path, content, says):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=says):
        Tensors(tmp_path)


def test_a_tensor_in_two_shards_is_refused(tmp_path):
    for number in range(2):
        save_file({"a": np.full(2, number, np.float32)}, tmp_path / f"{number}.safetensors")
    index = {"weight_map": {"a": "0.safetensors", "b": "1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match=r"several files in .* contain a"):
        Tensors(tmp_path)


# --- tokenizers -----------------------------------------------------------------------------------------------------

WORDS = {"type": "WordLevel", "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3}, "unk_token": "[UNK]"}
PLAIN = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
         "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None, "model": WORDS}  # fmt: skip


def replaced(pattern: dict[str, str], content: str, times: int = 1) -> dict:
    step = {"type": "Replace", "pattern": pattern, "content": content}
    return {"type": "Sequence", "normalizers": times * [step]}


def bytes_of(times: int) -> dict:
    step = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {"type": "Sequence", "pretokenizers": times * [step]}


BOMBS = {
    "doubled": ({"normalizer": replaced({"String": "a"}, "aa", 28)}, "by a factor of 268,435,456"),
    "one long": ({"normalizer": replaced({"String": "a"}, "a" * 100)}, "by a factor of 100 "),
    "nothing matched": ({"normalizer": replaced({"Regex": "(?=q)"}, "q", 28)}, "lengthen a text by a factor"),
    "empty": ({"normalizer": replaced({"String": ""}, "q", 28)}, "lengthen a text by a factor"),
    "bytes": ({"pre_tokenizer": bytes_of(28)}, "lengthen a text by a factor"),
    "decoder": ({"decoder": {"type": "Sequence", "decoders": replaced({"String": "a"}, "aa", 28)["normalizers"]}},
                "lengthen a text by a factor"),
    "prepended": ({"normalizer": {"type": "Prepend", "prepend": "x" * 100_000}}, "100,000 characters in front"),
    "backtracking": ({"normalizer": replaced({"Regex": "(a|aa)+b"}, "x")}, "failed on a text|take more than"),
    "split": ({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a|aa)+b"}, "behavior": "Isolated",
                                 "invert": False}}, "failed on a text|take more than"),
    "id": ({"model": WORDS | {"vocab": WORDS["vocab"] | {"z": 2**32 - 1}}}, "the id 4,294,967,295"),
    "words": ({"model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                         "max_input_chars_per_word": 10**9, "vocab": WORDS["vocab"]}}, "max_input_chars_per_word"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_pipelines_that_make_too_much_of_a_text_are_refused(tmp_path, name):
    change, says = BOMBS[name]
    (tmp_path / "tokenizer.json").write_text(json.dumps(PLAIN | change))
    begin = time.perf_counter()
    with pytest.raises(DataError, match=says):
        Tokenizer.load(tmp_path)
    assert time.perf_counter() - begin < 20


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"normalizer": replaced({"Regex": r"\s+"}, " ", 4)},
        {"normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}},
        {"pre_tokenizer": bytes_of(1)},
    ],
)  # fmt: skip
def test_usual_pipelines_are_read(tmp_path, change):
    (tmp_path / "tokenizer.json").write_text(json.dumps(PLAIN | change))
    assert len(Tokenizer.load(tmp_path).encode(["a a", "b" * 1000])) == 2


def test_a_panic_on_a_text_is_an_error_of_labkit(tmp_path):
    pattern = {"Regex": "(\\x{6c34}|\\x{6c34}\\x{6c34})+b"}  # of a letter that no probe tries
    (tmp_path / "tokenizer.json").write_text(json.dumps(PLAIN | {"normalizer": replaced(pattern, "x")}))
    tokenizer = Tokenizer.load(tmp_path)
    for act in (lambda: tokenizer.encode(["水" * 60] * 3), lambda: tokenizer.pieces("水" * 60)):
        with pytest.raises(DataError, match="failed on a text"):
            act()


# --- saved rows -----------------------------------------------------------------------------------------------------

SPECS = [
    {"problem_type": "number"}, {"problem_type": "labels"}, {"text": ["text", "more"]}, {"text": ["a", "b", "c"]},
    {"classes": ["a"]},
    {"classes": ["a", "a"]}, {"classes": ["a", "b", "c"]}, {"counts": {}}, {"unlabelled": {}},
    {"counts": {"train": {"a": 1, "b": 5}}}, {"counts": {"train": {"a": 3, "b": -3}}}, {"sizes": {"train": 7}},
]  # fmt: skip
NOTE = {"row": 1, "column": "text", "action": "repaired", "reason": "x", "detail": "", "split": None}
REPORTS = [
    {"counts": [["repaired", "x", "1"]], "notes": []}, {"counts": [["repaired", "x", -1]], "notes": []},
    {"counts": [["other", "x", 1]], "notes": []}, {"counts": [["repaired", 5, 1]], "notes": []},
    *({"counts": [], "notes": [NOTE | change]} for change in (
        {"row": "1"}, {"row": 1e300}, {"row": 2**70}, {"column": 5}, {"action": "other"}, {"reason": None},
        {"detail": ["x"]}, {"split": 5})),
]  # fmt: skip


@pytest.mark.parametrize(
    "change", [*({"spec": spec} for spec in SPECS), *({"report": report} for report in REPORTS)]
)
def test_saved_rows_that_are_not_as_described_are_refused(tmp_path, change):
    rows = lk.load(
        [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(6)], text="text", label="label"
    )
    rows.save(tmp_path / "rows")
    assert lk.load(tmp_path / "rows").spec == rows.spec
    about = json.loads((tmp_path / "rows" / "rows.json").read_text("utf-8"))
    for name, values in change.items():
        about[name] |= values
    (tmp_path / "rows" / "rows.json").write_text(json.dumps(about), "utf-8")
    with pytest.raises(DataError, match="does not contain complete saved rows"):
        lk.load(tmp_path / "rows")


# --- tables, sounds, places -----------------------------------------------------------------------------------------


def wav(rate: int, samples: int = 4000) -> bytes:
    body = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, rate * 2 % 2**32, 2, 16)
    body += struct.pack("<4sI", b"data", 2 * samples) + bytes(2 * samples)
    return struct.pack("<4sI4s", b"RIFF", 4 + len(body), b"WAVE") + body


@pytest.mark.parametrize("rate", [0, 1, 7, 999, 1_000_003, 99_999_989, 1_000_000_007, 2**32 - 1])
def test_sounds_of_an_impossible_rate_are_refused(tmp_path, rate):
    for number in range(3):
        for name in "ab":
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / f"{number}.wav").write_bytes(wav(8000 if number else rate))
    with pytest.raises(DataError, match=r"sampling rate|no samples|without samples"):
        read_wav(tmp_path / "a" / "0.wav")
    rows = lk.load(tmp_path, on_bad="skip")
    assert len(rows) == 4


def test_wide_tables_are_read_in_linear_time(tmp_path):
    taken = []
    for count in (300, 1200):
        names = ["text", "label", *(f"c{number}" for number in range(count))]
        lines = [
            ",".join([f"text {row}", "ab"[row % 2], *(str(n % 7 + row) for n in range(count))])
            for row in range(5)
        ]
        (tmp_path / "x.csv").write_text("\n".join([",".join(names), *lines]) + "\n")
        for features in (False, True):
            begin = time.perf_counter()
            rows = lk.load(tmp_path / "x.csv", label="label", features=features)
            taken.append(time.perf_counter() - begin)
            assert len(rows["train"].column_names) == count + (2 if features else 3)
    assert (
        taken[2] < 10 * taken[0] + 1 and taken[3] < 10 * taken[1] + 1
    )  # 16 times where it grows with the square


def test_a_nul_in_a_header_is_named(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"text,la\0bel\ngood,a\nbad,b\n")
    with pytest.raises(DataError, match=r"name of column 2, .*contains a NUL"):
        lk.load(tmp_path / "x.csv")


def test_keys_of_json_that_are_no_unicode_are_repaired(tmp_path):
    lines = [json.dumps({"text": f"text {n}", "label": "ab"[n % 2], "\ud800": n, "d": {"\udfff": ["\ud801"]}})
             for n in range(4)]  # fmt: skip
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    rows = lk.load(tmp_path / "x.jsonl")
    assert "\ufffd" in rows["train"].column_names and rows.report.counts()["repaired"]
    line = '{"text": "x", "\\ud800": 1, "\\ud801": 2}\n'
    (tmp_path / "y.jsonl").write_text(2 * line)
    with pytest.raises(DataError, match="several columns have the name"):
        lk.load(tmp_path / "y.jsonl", label=False)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_named_pipes_and_devices_are_refused_at_once(finished, tmp_path):
    os.mkfifo(tmp_path / "x.csv")
    with pytest.raises(DataError, match="a named pipe"):
        lk.load(tmp_path / "x.csv")
    (tmp_path / "m").mkdir()
    os.mkfifo(tmp_path / "m" / "config.json")
    with pytest.raises(WeightsError, match="a named pipe"):
        lk.models["bert"](weights=str(tmp_path / "m"))
    folder = tmp_path / "model"
    finished.export(folder)
    (folder / "labkit-manifest.json").unlink()
    for name in ("labkit.json", "labkit.toml"):
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(WeightsError, match="a named pipe"):
            lk.Predictor(folder)


def test_long_names_of_uploads_are_shortened():
    for name in ("a" * 300 + ".csv", "数" * 300 + ".jsonl.gz", "x" * 5000):
        short = file_name(name)
        assert len(short.encode()) <= LONGEST and short.endswith(name[-8:])
    assert file_name("../my reviews.csv") == "my_reviews.csv" and file_name("..") == "upload"


@pytest.mark.parametrize("levels", [19, 60, 70, 900])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a": ', "}")])
def test_deep_values_are_kept_as_text_or_as_they_are(tmp_path, levels, opening, closing):
    """Arrow writes 64 levels to a file at most."""
    deep = opening * levels + "1" + closing * levels
    lines = [f'{{"text": "t{n}", "label": "{"ab"[n % 2]}", "x": {deep}}}' for n in range(4)]
    (tmp_path / "deep.jsonl").write_text("\n".join(lines))
    for source in (tmp_path / "deep.jsonl", [json.loads(line) for line in lines]):
        rows = lk.load(source)
        assert rows["train"]["text"][:] == ["t0", "t1", "t2", "t3"]
        assert ("type kept as text" in str(rows.report)) == (levels > 19)


def test_values_too_deep_for_json_and_labels_that_are_all_empty_are_refused():
    deep = [1]
    for _ in range(5000):
        deep = [deep]
    for rows, said in (
        (
            [{"text": "a", "label": "x", "y": deep}, {"text": "b", "label": "z", "y": deep}],
            "nested too deeply",
        ),
        ([{"text": f"t{n}", "label": []} for n in range(4)], "has no labels: all of its lists are empty"),
        ([{"text": f"t{n}", "label": [None]} for n in range(4)], "has no labels"),
        ([{"text": f"t{n}", "label": "[]"} for n in range(4)], "has no labels"),
    ):
        with pytest.raises(DataError, match=said):
            lk.load(rows)
