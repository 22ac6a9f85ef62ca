"""What a file of another program computes of a trained model: its inputs, its outputs, and rows to check it with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from datasets import Dataset
from flax import nnx
from tokenizers import Tokenizer as RustTokenizer

from labkit.core.errors import ConfigError
from labkit.core.registry import ByClass
from labkit.data.io.pixels import Pixels
from labkit.i18n import _
from labkit.inference.embedding import EmbeddingPipeline
from labkit.inference.fill_mask import FillMaskPipeline
from labkit.inference.pipeline import Pipeline
from labkit.inference.predictor import Predictor
from labkit.inference.tagging import TokenClassificationPipeline
from labkit.inference.text_generation import TextGenerationPipeline
from labkit.inference.to_onnx.graph import Graph, Tensor
from labkit.inference.to_onnx.operations import pointwise, scalar
from labkit.models.gpt.model import KeyValueCache
from labkit.tasks import tasks
from labkit.tasks.base import ProblemType
from labkit.train.processors import AudioProcessor, FeatureProcessor, ImageProcessor, TextProcessor

#: Examples in the batches of a check, whose sizes differ; the last one takes what is left.
SIZES = (1, 7)
#: Tokens of a text in the check of a language model.
PROMPT = 48


class Input(NamedTuple):
    """An input of a program.

    Attributes:
        name: in the file.
        dtype: in the file.
        shape: sizes, or the names of variable ones.
        traced: data type that the model computes with; "" where it is that of the file.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    traced: str = ""


def parts_of(count: int) -> Iterator[slice]:
    """The rows of each batch of a check."""
    edges = [0, *(edge for edge in np.cumsum(SIZES).tolist() if edge < count), count]
    return (slice(*pair) for pair in pairwise(edges))


class Program(ABC):
    """The computation of a pipeline as a function of arrays, and how to check another program of it.

    Args:
        pipeline: opened with ``dtype="float32"``.
        folder: the exported folder of its model.

    Attributes:
        inputs: in their order.
    """

    inputs: tuple[Input, ...]
    #: Limits of the variable sizes: their smallest and, where there is one, their greatest value.
    limits: Mapping[str, tuple[int, int]]

    def __init__(self, pipeline: Any, folder: Path):
        self.pipeline, self.folder = pipeline, folder
        self.limits = {}

    @abstractmethod
    def compute(self, module: Any, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs by name, of a module and the inputs by name; a function that JAX traces."""

    @abstractmethod
    def cases(self, rows: Dataset) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
        """Inputs made of rows, a batch at a time, and the outputs of labkit for them."""

    def facts(self) -> dict[str, Any]:
        """What a program that uses the file must know, as values of JSON."""
        return {}

    def prepare(self, graph: Graph, name: str, tensor: Tensor) -> Tensor:
        """An input of the file as the model reads it."""
        wanted = next(each.traced for each in self.inputs if each.name == name)
        return graph.cast(tensor, wanted) if wanted else tensor

    def finish(self, graph: Graph, name: str, tensor: Tensor) -> Tensor:
        """An output of the model as the file gives it."""
        return tensor

    @property
    def offset(self) -> np.ndarray | None:
        """The bias f64[k] that labkit adds to the numbers of a regression in float64; None where there is none."""
        return None

    def as_read(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Inputs of the file as the model reads them."""
        return {each.name: feeds[each.name].astype(each.traced or each.dtype) for each in self.inputs}

    def constants(self) -> dict[str, Any]:
        """Numbers of :meth:`as_read` and :attr:`offset`, as values of JSON."""
        return {} if self.offset is None else {"offset": self.offset.tolist()}

    @property
    def traced(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and data types of what the model reads, with symbolic sizes."""
        names = sorted({size for each in self.inputs for size in each.shape if isinstance(size, str)})
        limits = [
            text
            for name, (low, high) in self.limits.items()
            for text in (f"{name} >= {low}", *([f"{name} <= {high}"] if high else []))
        ]
        sizes: dict[Any, Any] = dict(
            zip(names, jax.export.symbolic_shape(", ".join(names), constraints=limits), strict=True)
        )
        return {
            each.name: jax.ShapeDtypeStruct(
                tuple(sizes.get(size, size) for size in each.shape), jnp.dtype(each.traced or each.dtype)
            )
            for each in self.inputs
        }  # fmt: skip

    @property
    def state(self) -> Any:
        """The parameters of the module."""
        return self.pipeline._state

    def function(self, state: Any, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs, of parameters and the inputs."""
        return self.compute(nnx.merge(self.pipeline._graph, state), arrays)


# --- texts ------------------------------------------------------------------------------------------------------------


class TextProgram(Program):
    """Base class of programs that read tokens: ``input_ids``, ``attention_mask`` and, where the model reads them,
    ``token_type_ids``, i64[batch, length] each, as ``tokenizers`` makes them of ``tokenizer.json``."""

    def __init__(self, pipeline: Any, folder: Path):
        super().__init__(pipeline, folder)
        backbone = self.backbone
        names = ["input_ids", "attention_mask"] + ["token_type_ids"] * backbone.reads_types
        self.inputs = tuple(Input(name, "int64", ("batch", "length"), "int32") for name in names)
        self.longest = int(pipeline.max_length)
        self.limits = {"batch": (1, 0), "length": (1, self.longest)}
        self.extra = backbone.shortest - 1

    @property
    def backbone(self) -> Any:
        """The config of the model that reads the tokens."""
        return self.pipeline.experiment.model

    def batch(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """The batch of a model: padded to the tokens that it computes on at least."""
        found = {"ids": arrays["input_ids"], "mask": arrays["attention_mask"]}
        found["types"] = arrays.get("token_type_ids", jnp.zeros_like(found["ids"]))
        if self.extra:
            found = {name: jnp.pad(array, ((0, 0), (0, self.extra))) for name, array in found.items()}
        return {**found, "mask": found["mask"] > 0}

    def facts(self) -> dict[str, Any]:
        """The length, and the cleaning that labkit does before."""
        cleaning = [step for pipeline in self.pipeline.experiment.data.cleaning for step in pipeline.steps]
        return {"text": {"tokenizer": "tokenizer.json", "max_length": self.longest, "cleaning": cleaning,
                         "padding_id": self.pipeline.tokenizer.pad_id}}  # fmt: skip

    def encoded(self, texts: Sequence[Any], tokenizer: RustTokenizer) -> dict[str, np.ndarray]:
        """The inputs for texts, or pairs of them, made by ``tokenizers`` alone."""
        tokens = tokenizer.encode_batch(list(texts))
        wide = max(1, *(len(each.ids) for each in tokens))
        found = {each.name: np.zeros((len(tokens), wide), np.int64) for each in self.inputs[:3]}
        found["input_ids"] += self.pipeline.tokenizer.pad_id
        for row, each in enumerate(tokens):
            made = {
                "input_ids": each.ids,
                "attention_mask": each.attention_mask,
                "token_type_ids": each.type_ids,
            }
            for name in found:
                found[name][row, : len(each.ids)] = made[name]
        return found

    def rust(self, folder: Path) -> RustTokenizer:
        """The tokenizer of an exported folder, truncating as labkit does."""
        tokenizer = RustTokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.longest)
        tokenizer.encode_special_tokens = not self.pipeline.experiment.task.reads_special
        return tokenizer

    def cases(self, rows: Dataset) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
        """Inputs by the exported tokenizer, answers of labkit from the texts."""
        tokenizer = self.rust(self.folder)
        texts = list(rows["text"])
        if "text_pair" in rows.column_names and self.pairs:
            texts = list(zip(texts, rows["text_pair"], strict=True))
        expected = self.expected(rows, texts)
        for part in parts_of(len(texts)):
            feeds = self.encoded(texts[part], tokenizer)
            wide = feeds["input_ids"].shape[1]
            kept = (part, slice(wide)) if self.by_token else (part,)
            yield feeds, {name: array[kept] for name, array in expected.items()}

    pairs: ClassVar[bool] = False
    #: Whether an output has a place for each token.
    by_token: ClassVar[bool] = False

    @abstractmethod
    def expected(self, rows: Dataset, texts: Sequence[Any]) -> dict[str, np.ndarray]:
        """The outputs of labkit for rows."""


def answer_facts(predictor: Predictor) -> dict[str, Any]:
    """What the outputs of a predictor are."""
    found: dict[str, Any] = {"classes": list(predictor.classes), "answers": str(predictor.problem_type)}
    if predictor.problem_type is ProblemType.LABELS:
        found["threshold"] = predictor.experiment.task.threshold
    return found


def output_of(predictor: Predictor) -> str:
    """The name of the output."""
    return "numbers" if predictor.problem_type is ProblemType.NUMBER else "probabilities"


def with_offset(graph: Graph, offset: np.ndarray | None, tensor: Tensor) -> Tensor:
    """Numbers with the bias that labkit adds in float64."""
    if offset is None:
        return tensor
    wide = graph.cast(tensor, np.float64)
    return pointwise(graph, "Add", wide, wide, Tensor.constant(offset))


def offset_of(predictor: Predictor) -> np.ndarray | None:
    """The bias of a predictor's numbers."""
    return None if predictor.head.bias is None else np.asarray(predictor.head.bias, np.float64)


class TextAnswers(TextProgram):
    """Classes, labels or numbers of texts."""

    pairs = True

    def compute(self, module: Any, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """``probabilities`` f32[batch, classes], or ``numbers``."""
        return {output_of(self.pipeline): self.pipeline.head.predict(module, self.batch(arrays))}

    def finish(self, graph: Graph, name: str, tensor: Tensor) -> Tensor:
        """With the bias of a regression."""
        return with_offset(graph, self.offset, tensor)

    @property
    def offset(self) -> np.ndarray | None:
        """The bias of a regression."""
        return offset_of(self.pipeline)

    def facts(self) -> dict[str, Any]:
        """Names of the outputs."""
        columns = self.pipeline.experiment.data.columns
        return {**super().facts(), **answer_facts(self.pipeline), "pairs": len(columns) > 1}

    def expected(self, rows: Dataset, texts: Sequence[Any]) -> dict[str, np.ndarray]:
        """Answers of the predictor."""
        return {output_of(self.pipeline): self.pipeline.predict_encoded(rows)}


class Vectors(TextProgram):
    """Vectors of texts, of length 1."""

    def compute(self, module: Any, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """``vectors`` f32[batch, width]."""
        found = self.pipeline._vectors(module, self.batch(arrays))
        size = jnp.sqrt(jnp.sum(found * found, axis=-1, keepdims=True))
        return {"vectors": found / jnp.maximum(size, 1e-12)}

    def expected(self, rows: Dataset, texts: Sequence[Any]) -> dict[str, np.ndarray]:
        """Vectors of the pipeline."""
        return {"vectors": self.pipeline.embed(list(texts))}


class TokenTags(TextProgram):
    """Probabilities of tags at each token."""

    by_token = True

    def compute(self, module: Any, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """``probabilities`` f32[batch, length, tags]."""
        return {"probabilities": jax.nn.softmax(module(self.batch(arrays)), axis=-1)}

    def facts(self) -> dict[str, Any]:
        """Names of the tags; the tag of a word is that of its first token."""
        return {**super().facts(), "classes": list(self.pipeline.tags), "answers": "tags"}

    def expected(self, rows: Dataset, texts: Sequence[Any]) -> dict[str, np.ndarray]:
        """Of the compiled model."""
        return _compiled(self, texts)


class MaskedTokens(TextProgram):
    """Probabilities of tokens at each place, of which those at the mask are of interest."""

    by_token = True

    @property
    def backbone(self) -> Any:
        """The config of the encoder."""
        return self.pipeline.model.backbone.config

    def compute(self, module: Any, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """``probabilities`` f32[batch, length, vocabulary]."""
        batch = self.batch(arrays)
        return {
            "probabilities": self.pipeline._probabilities(
                module, batch["ids"], batch["types"], batch["mask"]
            )[0]
        }

    def expected(self, rows: Dataset, texts: Sequence[Any]) -> dict[str, np.ndarray]:
        """Of the compiled model."""
        return _compiled(self, texts)


def _compiled(program: TextProgram, texts: Sequence[Any]) -> dict[str, np.ndarray]:
    """The outputs of the model as JAX compiles it, for tokens of labkit's own encoding."""
    pipeline = program.pipeline
    tokens = pipeline.tokenizer.encode(list(texts), None, program.longest)
    wide = int(tokens.lengths.max())
    found = {each.name: np.zeros((len(tokens), wide), np.int32) for each in program.inputs}
    found["input_ids"] += pipeline.tokenizer.pad_id
    ends = np.cumsum(tokens.lengths)
    for row, (end, length) in enumerate(zip(ends, tokens.lengths, strict=True)):
        found["input_ids"][row, :length] = tokens.ids[end - length : end]
        found["attention_mask"][row, :length] = 1
    return jax.device_get(jax.jit(program.function)(program.state, found))


class NextTokens(TextProgram):
    """A causal language model that goes on from a cache of keys and values, by any number of tokens.

    Inputs: ``input_ids`` i64[batch, length] (padded on the right), ``count`` i64[batch], of which so many are real;
    ``used`` i64[batch], tokens before; and ``keys`` and ``values`` f32[layers, batch, groups, places, size], zeros at
    first. Outputs: ``logits`` f32[batch, length, vocabulary], and the three to go on with.
    """

    def __init__(self, pipeline: Any, folder: Path):
        Program.__init__(self, pipeline, folder)
        config = self.backbone
        self.longest, self.extra = config.max_length, 0
        cache = (config.depth, "batch", config.kv_heads, "places", config.head_size)
        self.inputs = (
            Input("input_ids", "int64", ("batch", "length"), "int32"),
            Input("count", "int64", ("batch",), "int32"),
            Input("used", "int64", ("batch",), "int32"),
            Input("keys", "float32", cache),
            Input("values", "float32", cache),
        )
        self.limits = {"batch": (1, 0), "length": (2, self.longest), "places": (2, self.longest)}

    @property
    def backbone(self) -> Any:
        """The config of the decoder."""
        return self.pipeline.model.config

    def compute(self, module: Any, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """``logits``, and the cache to go on with."""
        keys, values = (list(arrays[name]) for name in ("keys", "values"))
        cache = KeyValueCache(keys, values, arrays["used"])
        hidden, cache = module.step(arrays["input_ids"], arrays["count"], cache)
        return {"logits": module.logits(hidden), "next_used": cache.used, "next_keys": jnp.stack(cache.keys),
                "next_values": jnp.stack(cache.values)}  # fmt: skip

    def finish(self, graph: Graph, name: str, tensor: Tensor) -> Tensor:
        """Counts as they are read."""
        return graph.cast(tensor, np.int64) if name == "next_used" else tensor

    def facts(self) -> dict[str, Any]:
        """Sizes of the cache."""
        config = self.backbone
        cache = {"layers": config.depth, "groups": config.kv_heads, "size": config.head_size}
        facts = super().facts() if self.pipeline.experiment is not None else {}
        return {**facts, "cache": cache, "end_ids": list(self.pipeline.tokenizer.end_ids)}

    def cases(self, rows: Dataset) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
        """Each text at once from an empty cache; then its last token alone, from the cache of the tokens before."""
        config = self.backbone
        read = jax.jit(partial(_all_logits, self.pipeline._graph))
        for text in rows["text"]:
            ids = self.pipeline.ids_of(text)[: min(PROMPT, config.max_length - 1)]
            (length,) = ids.shape
            shape = (config.depth, 1, config.kv_heads, length + 1, config.head_size)
            wide = np.zeros((1, min(PROMPT, config.max_length)), np.int32)
            wide[0, :length] = ids
            logits, keys, values = jax.device_get(read(self.state, wide))
            whole = {
                "input_ids": ids[None].astype(np.int64), "count": np.array([length]), "used": np.array([0]),
                "keys": np.zeros(shape, np.float32), "values": np.zeros(shape, np.float32),
            }  # fmt: skip
            yield whole, {"logits": logits[:, :length]}
            before = {
                name: np.concatenate([cache[:, :, :, : length - 1], np.zeros_like(whole["keys"][:, :, :, :2])], 3)
                for name, cache in (("keys", keys), ("values", values))
            }  # fmt: skip
            one = {
                "input_ids": whole["input_ids"][:, -1:],
                "count": np.array([1]),
                "used": np.array([length - 1]),
            }
            yield {**one, **before}, {"logits": logits[:, length - 1 : length]}

    def expected(self, rows: Dataset, texts: Sequence[Any]) -> dict[str, np.ndarray]:
        """Not used: see :meth:`cases`."""
        raise NotImplementedError


def _all_logits(graph: Any, state: Any, ids: Any) -> tuple[Any, Any, Any]:
    """Logits of every place of whole texts, and their keys and values."""
    module = nnx.merge(graph, state)
    hidden, cache = module.step(ids, jnp.array([ids.shape[1]]), module.start(1, ids.shape[1]))
    return module.logits(hidden), jnp.stack(cache.keys), jnp.stack(cache.values)


# --- arrays -----------------------------------------------------------------------------------------------------------


class ArrayAnswers(Program):
    """Base class of programs for pictures, sounds and tables: one array of fixed shape an example."""

    noun: ClassVar[str]

    def __init__(self, pipeline: Any, folder: Path):
        super().__init__(pipeline, folder)
        self.limits = {"batch": (1, 0)}
        self.shape = tuple(pipeline.processor.shape)
        self.inputs = (Input(self.noun, self.dtype, ("batch", *self.shape), self.reads),)

    @property
    def dtype(self) -> str:
        """Data type of an example in the file."""
        return "float32"

    @property
    def reads(self) -> str:
        """Data type that the model reads; "" for that of the file."""
        return ""

    def compute(self, module: Any, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """``probabilities`` f32[batch, classes], or ``numbers``."""
        inputs = arrays[self.noun]
        batch = {"inputs": inputs, "weight": jnp.ones(inputs.shape[0], jnp.float32)}
        return {output_of(self.pipeline): self.pipeline.head.predict(module, batch)}

    def finish(self, graph: Graph, name: str, tensor: Tensor) -> Tensor:
        """With the bias of a regression."""
        return with_offset(graph, self.offset, tensor)

    @property
    def offset(self) -> np.ndarray | None:
        """The bias of a regression."""
        return offset_of(self.pipeline)

    def facts(self) -> dict[str, Any]:
        """Names of the outputs."""
        return answer_facts(self.pipeline)

    def cases(self, rows: Dataset) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
        """The rows as they are before labkit prepares them, and its answers."""
        given, answers = self.given(rows), self.pipeline.predict_encoded(rows)
        for part in parts_of(len(given)):
            yield {self.noun: given[part]}, {output_of(self.pipeline): answers[part]}

    def given(self, rows: Dataset) -> np.ndarray:
        """The rows as one array."""
        return np.asarray(self.pipeline.processor.raw(rows).inputs, self.dtype)


class ImageAnswers(ArrayAnswers):
    """Pictures: ``pixels`` [batch, height, width, channels], bytes where the training pictures were bytes. They are
    scaled in the graph."""

    noun = "pixels"

    @property
    def pixels(self) -> Pixels:
        """The unit of the training pictures."""
        return self.pipeline.processor.pixels or Pixels()

    @property
    def dtype(self) -> str:
        """Bytes or floats."""
        return "uint8" if self.pixels.whole else "float32"

    def prepare(self, graph: Graph, name: str, tensor: Tensor) -> Tensor:
        """Few grey levels stretched over all bytes."""
        if not (self.pixels.stretched and self.pixels.whole):
            return tensor
        wide = graph.cast(tensor, np.float32)
        share = pointwise(graph, "Mul", wide, wide, scalar(255 / self.pixels.peak, np.float32))
        return graph.cast(pointwise(graph, "Round", wide, share), np.uint8)

    def as_read(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Few grey levels stretched over all bytes."""
        return {"pixels": self.pixels.to_model(feeds["pixels"])}

    def facts(self) -> dict[str, Any]:
        """Size and unit of the pictures."""
        height, width, channels = self.shape
        image = {"height": height, "width": width, "channels": channels, "whole": self.pixels.whole,
                 "peak": self.pixels.peak, "background": "white",
                 "resize": "cover, bilinear, from the middle"}  # fmt: skip
        return {**super().facts(), "image": image}


class SoundAnswers(ArrayAnswers):
    """Sounds: ``spectrogram`` f32, the log-mel spectrogram that labkit makes of a sound."""

    noun = "spectrogram"

    def given(self, rows: Dataset) -> np.ndarray:
        """The spectrograms of sounds."""
        return self.pipeline.processor.sound(self.pipeline.processor.raw(rows)).inputs

    def facts(self) -> dict[str, Any]:
        """Settings of the spectrogram."""
        return {**super().facts(), "sound": self.pipeline.processor.sound.to_dict()}


class TableAnswers(ArrayAnswers):
    """Tables: ``features`` f64[batch, features], numbers as they are (NaN where one is missing) and categories as 0 or
    1. They are standardised in the graph."""

    noun = "features"

    @property
    def dtype(self) -> str:
        """As labkit reads numbers."""
        return "float64"

    @property
    def reads(self) -> str:
        """Standardised."""
        return "float32"

    def prepare(self, graph: Graph, name: str, tensor: Tensor) -> Tensor:
        """Less the mean, by the deviation; missing values as 0."""
        standard = self.pipeline.processor.standard
        if standard is not None:
            mean, scale = (Tensor.constant(np.asarray(each)) for each in (standard.mean, standard.scale))
            tensor = pointwise(graph, "Sub", tensor, tensor, mean)
            tensor = pointwise(graph, "Div", tensor, tensor, scale)
            truth = Tensor(tensor.shape, np.dtype(bool))
            missing = pointwise(graph, "IsNaN", truth, tensor)
            tensor = pointwise(graph, "Where", tensor, missing, scalar(0, np.float64), tensor)
        return graph.cast(tensor, np.float32)

    def as_read(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Standardised."""
        standard = self.pipeline.processor.standard
        if standard is None:
            return super().as_read(feeds)
        values = (feeds["features"] - np.asarray(standard.mean)) / np.asarray(standard.scale)
        return {"features": np.where(np.isfinite(values), values, 0).astype(np.float32)}

    def constants(self) -> dict[str, Any]:
        """Mean and deviation of each feature."""
        standard = self.pipeline.processor.standard
        own = {} if standard is None else {"mean": list(standard.mean), "scale": list(standard.scale)}
        return {**super().constants(), **own}

    def facts(self) -> dict[str, Any]:
        """Names of the features, and how cells become features."""
        standard = self.pipeline.processor.standard
        if standard is None:
            return super().facts()
        columns = [column.to_dict() for column in standard.columns]
        return {**super().facts(), "table": {"features": list(standard.names), "columns": columns}}


#: Pipeline → programs of its models: of texts, or by the class of the processor.
PROGRAMS: ByClass[type[Program]] = ByClass(
    {
        EmbeddingPipeline: Vectors,
        FillMaskPipeline: MaskedTokens,
        TokenClassificationPipeline: TokenTags,
        TextGenerationPipeline: NextTokens,
    }
)
#: Processor → program of a predictor.
ANSWERS: ByClass[type[Program]] = ByClass(
    {
        TextProcessor: TextAnswers,
        ImageProcessor: ImageAnswers,
        AudioProcessor: SoundAnswers,
        FeatureProcessor: TableAnswers,
    }
)


def program_of(pipeline: Pipeline, folder: Path) -> Program:
    """The program of a pipeline whose model is exported to ``folder``.

    Raises:
        ConfigError: there is none for the task, which the message names.
    """
    found = PROGRAMS.get(type(pipeline))
    if found is None and isinstance(pipeline, Predictor):
        found = ANSWERS.get(type(pipeline.processor))
    if found is None:
        known = "classify, multilabel, regress, embed, tag, pretrain, lm"
        raise ConfigError(
            _("the ONNX export does not support models of the task {task!r}. Supported: {known}."),
            task=tasks.name_of(pipeline.experiment.task), known=known,
        )  # fmt: skip
    return found(pipeline, folder)
