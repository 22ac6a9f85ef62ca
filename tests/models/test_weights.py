"""Reading and writing weights: every way a folder can be right, and every way it can be wrong."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import huggingface_hub
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from labkit.core.errors import WeightsError
from labkit.hub import samples, tensors
from labkit.models import weights
from labkit.models.bert.layouts import LAYOUTS
from labkit.models.bert.model import Bert, BertConfig

CONFIG = BertConfig(vocab_size=20, width=8, depth=12, heads=2, mlp_width=12, max_length=6, pooling="cls")
REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def model() -> Bert:
    return CONFIG.build(nnx.Rngs(0))


@pytest.fixture
def folder(model: Bert, tmp_path: Path) -> Path:
    return CONFIG.save(model, tmp_path / "stored")


def fresh() -> Bert:
    """A model with other values."""
    model = CONFIG.build(nnx.Rngs(1))
    nnx.update(model, jax.tree.map(lambda leaf: leaf + 1, nnx.state(model)))
    return model


def assert_equal(one: Any, other: Any) -> None:
    one, other = weights.flatten(one), weights.flatten(other)
    assert one.keys() == other.keys()
    for path in one:
        assert np.asarray(one[path]).tobytes() == np.asarray(other[path]).tobytes(), path


def rewrite(folder: Path, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> None:
    file = folder / "model.safetensors"
    changed = change({name: np.array(value) for name, value in load_file(file).items()})
    save_file({name: np.ascontiguousarray(value) for name, value in changed.items()}, file)


def read_error(folder: Path) -> str:
    """The message of the error that loading raises; the model must be as before."""
    model = fresh()
    before = nnx.to_pure_dict(nnx.state(model))
    with pytest.raises(WeightsError) as caught:
        CONFIG.load(model, folder)
    assert_equal(before, model)
    return str(caught.value)


def test_round_trip_is_exact_to_the_bit(model: Bert, folder: Path) -> None:
    loaded = fresh()
    report = CONFIG.load(loaded, folder)
    assert_equal(loaded, model)
    assert (len(report.loaded), report.missing, report.ignored, report.cast) == (23, (), (), ())
    again = CONFIG.save(loaded, folder.parent / "again")
    for name in ("model.safetensors", "config.json"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_a_module_a_state_and_dicts_are_saved_alike(model: Bert, folder: Path, tmp_path: Path) -> None:
    state = nnx.state(model)
    for index, params in enumerate((state, nnx.to_pure_dict(state), weights.flatten(model))):
        saved = CONFIG.save(params, tmp_path / str(index))
        assert (saved / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_reading_needs_shapes_only(model: Bert, folder: Path) -> None:
    shapes = {
        path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for path, leaf in weights.flatten(model).items()
    }
    values, _ = weights.read(shapes, folder, LAYOUTS["bert"].reading(()))
    assert all(value.dtype == np.float32 and value.flags.c_contiguous for value in values.values())
    assert_equal(values, model)


def test_the_file_has_the_names_and_axes_of_hugging_face(model: Bert, folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    assert len(stored) == 5 + 16 * CONFIG.depth + 2
    assert stored["encoder.layer.11.intermediate.dense.weight"].shape == (12, 8)  # [out, in]
    np.testing.assert_array_equal(
        stored["encoder.layer.11.intermediate.dense.weight"], model.layers.mlp_in.kernel[...][11].T
    )
    np.testing.assert_array_equal(
        stored["encoder.layer.2.attention.output.LayerNorm.weight"], model.layers.out_norm.scale[...][2]
    )
    with open(folder / "model.safetensors", "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    assert header["__metadata__"] == {"format": "pt"}


def test_a_head_is_saved_beside_the_encoder_and_ignored_on_loading(model: Bert, tmp_path: Path) -> None:
    head = {"classifier.weight": jnp.ones((3, 8)), "classifier.bias": np.zeros(3, np.float32)}
    folder = CONFIG.save(
        model, tmp_path, head, architectures=["BertForSequenceClassification"], id2label={"0": "no"}
    )
    stored = weights.Tensors(folder)
    assert {name.split(".")[0] for name in stored} == {"bert", "classifier"}
    np.testing.assert_array_equal(stored["classifier.weight"], np.ones((3, 8)))
    assert json.loads((folder / "config.json").read_text())["id2label"] == {"0": "no"}
    loaded = fresh()
    assert set(CONFIG.load(loaded, folder).ignored) == set(head)
    assert_equal(loaded, model)
    with pytest.raises(WeightsError, match=r"same names as tensors of the model: bert\.pooler\.dense\.bias"):
        CONFIG.save(model, tmp_path, {"bert.pooler.dense.bias": np.zeros(8, np.float32)})


def test_older_names_and_other_heads(model: Bert, folder: Path) -> None:
    def older(stored: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        named = {
            "bert."
            + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            ): value
            for name, value in stored.items()
        }
        extra = (
            "cls.predictions.bias",
            "cls.seq_relationship.weight",
            "classifier.bias",
            "bert.embeddings.position_ids",
        )
        return named | {name: np.zeros(2, np.int64) for name in extra}

    rewrite(folder, older)
    loaded = fresh()
    report = CONFIG.load(loaded, folder)
    assert_equal(loaded, model)
    assert len(report.ignored) == 4 and "bert.embeddings.position_ids" in report.ignored
    assert "in the file but not used (4): " in str(report)


def test_a_pooler_that_the_file_lacks_stays_as_it_was(folder: Path) -> None:
    rewrite(folder, lambda stored: {name: value for name, value in stored.items() if "pooler" not in name})
    loaded, before = fresh(), fresh()
    report = CONFIG.load(loaded, folder)
    assert report.missing == ("pooler.dense.weight", "pooler.dense.bias")
    assert "kept at initial values (2): pooler.dense.weight, pooler.dense.bias" in str(report)
    assert_equal(nnx.state(loaded)["pooler"], nnx.state(before)["pooler"])


def test_half_a_pooler_is_an_error(folder: Path) -> None:
    rewrite(
        folder, lambda stored: {name: value for name, value in stored.items() if name != "pooler.dense.bias"}
    )
    assert "1 missing in the file:\n  pooler.dense.bias\n" in read_error(folder)


def test_a_pooler_that_the_model_lacks_is_reported(folder: Path) -> None:
    config = CONFIG.replace(pooling="mean")
    report = config.load(config.build(nnx.Rngs(0)), folder)
    assert sorted(report.ignored) == ["pooler.dense.bias", "pooler.dense.weight"] and not report.missing


@pytest.mark.parametrize(("dtype", "name"), [(np.float16, "float16"), (ml_dtypes.bfloat16, "bfloat16")])
def test_short_floats_are_cast_with_a_note(dtype: Any, name: str, model: Bert, folder: Path) -> None:
    rewrite(folder, lambda stored: {name: value.astype(dtype) for name, value in stored.items()})
    loaded = fresh()
    report = CONFIG.load(loaded, folder)
    assert len(report.cast) == 5 + 16 * CONFIG.depth + 2
    assert f"pooler.dense.bias from {name}" in report.cast
    rounded = jax.tree.map(
        lambda leaf: np.asarray(leaf).astype(dtype).astype(np.float32), nnx.to_pure_dict(nnx.state(model))
    )
    assert_equal(loaded, rounded)


def test_shards_with_an_index(model: Bert, folder: Path) -> None:
    shard(folder)
    loaded = fresh()
    CONFIG.load(loaded, folder)
    assert_equal(loaded, model)


def shard(folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    files = {
        name: f"model-0000{1 + index % 3}-of-00003.safetensors" for index, name in enumerate(sorted(stored))
    }
    for file in set(files.values()):
        save_file({name: stored[name] for name in stored if files[name] == file}, folder / file)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))


# What does not fit.


def test_all_mismatches_are_listed_at_once(folder: Path) -> None:
    def spoil(stored: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        for layer in range(12):
            del stored[f"encoder.layer.{layer}.output.dense.bias"]
        stored["embeddings.word_embeddings.weight"] = np.zeros((30, 8), np.float32)
        stored["encoder.layer.0.output.dense.weight"] = np.zeros((12, 8), np.float32)  # not transposed
        stored["pooler.dense.weight"] = stored["pooler.dense.weight"].astype(np.float64)
        return stored | {
            "encoder.layer.12.surprise": np.zeros(1),
            "bert.pooler.dense.bias": np.zeros(8, np.float32),
        }

    rewrite(folder, spoil)
    lines = read_error(folder).splitlines()
    assert lines[0] == f"the weights in {folder} do not match the model:"
    assert lines[1:12] == [
        "12 missing in the file:",
        *(f"  encoder.layer.{layer}.output.dense.bias" for layer in range(10)),
    ]
    assert lines[12] == "  … and 2 more"
    assert lines[13] == "2 unexpected in the file:"
    assert "  encoder.layer.12.surprise" in lines[14:16]
    assert any(line.endswith("pooler.dense.bias") for line in lines[14:16])  # the same name twice
    assert lines[16:21] == [
        "2 different shape:",
        "  embeddings.word_embeddings.weight: file [30, 8], model [20, 8]",
        "  encoder.layer.0.output.dense.weight: file [12, 8], model [8, 12]",
        "1 different dtype:",
        "  pooler.dense.weight: file F64, model F32",
    ]
    assert lines[21].startswith("Nothing was changed. Use the sizes of these weights")


def test_weights_of_more_or_fewer_layers(folder: Path) -> None:
    shallow = CONFIG.replace(depth=11)
    with pytest.raises(WeightsError, match="16 unexpected in the file"):
        shallow.load(nnx.eval_shape(lambda: shallow.build(nnx.Rngs(0))), folder)
    deep = CONFIG.replace(depth=13)
    with pytest.raises(WeightsError, match="16 missing in the file"):
        deep.load(nnx.eval_shape(lambda: deep.build(nnx.Rngs(0))), folder)


def test_a_parameter_without_an_entry_in_the_table(model: Bert, folder: Path) -> None:
    params = weights.flatten(model) | {("adapter", "kernel"): np.zeros(2, np.float32)}
    with pytest.raises(WeightsError, match="no entry for adapter/kernel"):
        weights.read(params, folder, LAYOUTS["bert"].reading(()))
    with pytest.raises(WeightsError, match="no entry for adapter/kernel"):
        CONFIG.save(params, folder)


class Canary:
    """Unpickling this would make a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "weights.pt", "model.PKL", "tf_model.h5", "flax_model.msgpack"]
)
def test_other_formats_are_refused_by_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Canary(tmp_path / "escaped")))
    message = read_error(tmp_path)
    assert name in message and "no model.safetensors" in message and "safe_serialization=True" in message
    assert not (tmp_path / "escaped").exists()


def as_zip(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Canary(file.parent / "escaped")))


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (as_zip, "is a ZIP archive, as torch.save writes"),
        (lambda file: file.write_bytes(pickle.dumps(Canary(file.parent / "escaped"))), "is a pickle"),
        (lambda file: file.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64)), "is an HDF5 file"),
        (
            lambda file: file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00"),
            "git lfs pull",
        ),
        (lambda file: file.write_bytes(file.read_bytes()[:-9]), "is damaged or not safetensors"),
        (lambda file: file.write_bytes(b""), "is damaged or not safetensors"),
    ],
)
def test_a_file_is_what_its_bytes_say(write: Callable[[Path], Any], text: str, folder: Path) -> None:
    write(folder / "model.safetensors")
    assert text in read_error(folder)
    assert not (folder / "escaped").exists()


def test_an_index_that_leaves_the_folder_is_refused(folder: Path) -> None:
    secret = folder.parent / "other.safetensors"
    save_file({"pooler.dense.bias": np.zeros(8, np.float32)}, secret)
    (folder / "model.safetensors").unlink()
    for name in ("../other.safetensors", str(secret), "gone.safetensors", 7):
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"pooler.dense.bias": name}})
        )
        assert f"lists files that are not in the folder: {name}" in read_error(folder)
    (folder / "model.safetensors.index.json").write_text("[]")
    assert "is not an index of weights" in read_error(folder)


def test_an_empty_or_absent_folder(tmp_path: Path) -> None:
    assert read_error(tmp_path).endswith("contains no model.safetensors; it has: nothing.")
    assert "contains no model.safetensors" in read_error(tmp_path / "nowhere")


def test_a_failed_save_leaves_the_old_file(
    model: Bert, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def full(tensors: Any, file: Path, metadata: Any) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensors, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        CONFIG.save(fresh(), folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


# Finding a folder, and taking sizes from it.


def test_a_config_takes_its_sizes_from_the_folder_and_needs_it_only_once(model: Bert, folder: Path) -> None:
    config = BertConfig(weights=str(folder)).settled(vectors=False)
    assert {**config.to_dict(), "weights": ""} == settings_of(CONFIG)
    assert config.folder() == folder
    loaded = config.build(nnx.Rngs(3))
    config.load(loaded)
    assert_equal(loaded, model)
    kept = config.to_dict()
    folder.rename(folder.parent / "moved")
    assert BertConfig.from_dict(kept) == config
    with pytest.raises(WeightsError, match="neither a sample"):
        BertConfig(weights=str(folder))


def settings_of(config: BertConfig) -> dict[str, Any]:
    return {field.name: getattr(config, field.name) for field in fields(config) if field.name != "preset"}


def test_pooling_and_activation_survive_a_save(tmp_path: Path) -> None:
    config = CONFIG.replace(pooling="mean", activation="gelu_tanh", dropout=0.2)
    config.save(config.build(nnx.Rngs(0)), tmp_path)
    read = BertConfig(weights=str(tmp_path))
    assert (read.pooling, read.activation, read.dropout) == ("mean", "gelu_tanh", 0.2)
    assert json.loads((tmp_path / "config.json").read_text())["hidden_act"] in (
        "gelu_new",
        "gelu_pytorch_tanh",
    )


def test_pooling_is_settled_by_the_task_and_the_folder(folder: Path) -> None:
    assert BertConfig(weights=str(folder)).pooling == "cls"  # labkit's own folders say so
    config = json.loads((folder / "config.json").read_text())
    del config["labkit_pooling"]
    (folder / "config.json").write_text(json.dumps(config))
    assert (
        BertConfig(weights=str(folder)).pooling == "auto"
        and BertConfig(weights=str(folder)).pooled_by == "cls"
    )
    vectors = lambda **more: BertConfig(weights=str(folder), **more).settled(vectors=True).pooling  # noqa: E731
    assert vectors() == "mean" and BertConfig(preset="tiny").settled(vectors=True).pooling == "mean"
    (folder / "1_Pooling").mkdir()
    for text, pooling in (
        ('{"pooling_mode_mean_tokens": true}', "mean"),
        ('{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}', "first"),
        ('{"word_embedding_dimension": 32, "pooling_mode": ["max"]}', "max"),
        ("{}", "mean"),  # as sentence-transformers takes it
    ):
        (folder / "1_Pooling" / "config.json").write_text(text)
        assert vectors() == pooling, text
        assert BertConfig(weights=str(folder)).settled(vectors=False).pooling == "cls"
    for text, said in (('["mean", "max"]', "mean and max"), ('"lasttoken"', "last")):
        (folder / "1_Pooling" / "config.json").write_text(f'{{"pooling_mode": {text}}}')
        with pytest.raises(
            WeightsError, match=f"uses the pooling {said}; training supports cls, mean, first, max"
        ):
            vectors()
    assert vectors(pooling="max") == "max"
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "median"}')
    with pytest.raises(WeightsError, match="pooling 'median'; supported: cls, max, mean"):
        vectors()


def test_other_weights_bring_their_own_sizes(folder: Path) -> None:
    assert BertConfig(weights=str(folder), unroll=2).replace(preset="tiny", weights="") == BertConfig(
        preset="tiny", unroll=2
    )
    assert BertConfig(preset="tiny").replace(preset="", weights=str(folder)) == BertConfig(
        weights=str(folder)
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"model_type": "t5"},
            "a model of type 't5'; supported: 'bert', 'roberta', 'xlm-roberta', 'distilbert'",
        ),
        ({"position_embedding_type": "relative_key"}, "'relative_key' positions; supported: 'absolute'"),
        ({"is_decoder": True}, "contains a decoder"),
        ({"hidden_act": "silu"}, "activation 'silu'; supported: gelu, gelu_new, gelu_pytorch_tanh, relu"),
        ({"hidden_size": "768"}, "hidden_size = '768'; expected numbers"),
    ],
)
def test_other_architectures_are_refused(change: dict[str, Any], text: str, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=text):
        BertConfig(weights=str(folder))


def test_config_json_that_cannot_be_read(folder: Path) -> None:
    for content, text in (("{", "cannot be read"), ("[]", "contains a list, not a table of settings")):
        (folder / "config.json").write_text(content)
        with pytest.raises(WeightsError, match=text):
            BertConfig(weights=str(folder))
    (folder / "config.json").unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        BertConfig(weights=str(folder))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("minilm-16", r"neither a sample \(.*\), nor a folder that exists, .*Did you mean 'minilm-l6'\?"),
        ("spam", "neither a sample"),  # a sample, but not a model
        ("models/pytorch_model.bin", "give the folder that contains config.json and model.safetensors"),
        ("org/name", "no such folder, and a name on the hub needs a revision"),
        ("https://hub/org/name", "neither a sample"),
    ],
)
def test_names_that_lead_nowhere(name: str, text: str) -> None:
    with pytest.raises(WeightsError, match=text):
        weights.find(name)


FILES = ["*.safetensors", "*.json", "*.txt", "*.jinja"]


def test_the_hub_is_asked_for_one_revision_and_safe_files_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def download(repo: str, **options: Any) -> str:
        asked.update(options, repo=repo)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert weights.find(f"org/name@{REVISION}") == folder
    assert asked == {"repo": "org/name", "revision": REVISION, "allow_patterns": FILES}


def test_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(repo: str, **options: Any) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(
        WeightsError, match=r"could not be downloaded from the hub \(ConnectionError: no route to host\)"
    ):
        weights.find(f"org/name@{REVISION}")


def test_a_sample_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(samples, "folder", lambda name: folder if name == "bert-tiny" else None)
    assert BertConfig(preset="bert-tiny").folder() == folder
    assert BertConfig(preset="tiny").folder() is None
    with pytest.raises(WeightsError, match="has no weights"):
        BertConfig(preset="tiny").load(CONFIG.build(nnx.Rngs(0)))
