"""The base class of pipelines: a trained model, or pretrained weights, opened for use."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import jax
import numpy as np
from flax import nnx

from labkit.core.config import loads
from labkit.core.errors import ConfigError, WeightsError, nearest
from labkit.core.plugins import load as allow
from labkit.core.safety import small_text
from labkit.data.batching.base import Batches
from labkit.data.model_input import texts_of
from labkit.data.text.tokenizer import Tokenizer
from labkit.i18n import _
from labkit.inference.pretrained import config_of
from labkit.models import layers, packed, weights
from labkit.models.base import Capability, ModelConfig
from labkit.profile.compiler import compiler_options
from labkit.tasks import tasks
from labkit.tasks.base import Head, Task
from labkit.tasks.decoding import Generation
from labkit.train.compilation import use_compilation_cache
from labkit.train.context import load_model
from labkit.train.experiment import Experiment
from labkit.train.processors import Processor

#: File that only model folders of labkit have.
MARK = "labkit.toml"
#: What a pipeline may compute in; the variable of the environment that decides where it is left to labkit.
DTYPES, DTYPE = ("auto", "float32", "bfloat16"), "LABKIT_DTYPE"
#: Texts that are tokenised at a time, while those before them are computed.
PORTION = 2048
#: Files of which pretrained weights have one: of transformers, of sentence-transformers.
_PRETRAINED = ("config.json", "modules.json", "adapter_config.json")


Made = TypeVar("Made")


def folder_of(given: object) -> Path:
    """The path of a model folder. Raises :class:`WeightsError` for what is none."""
    if not isinstance(given, str | os.PathLike):
        raise WeightsError(
            _("give the path of a model folder, made by run.export(folder), not a {type}."),
            type=type(given).__name__,
        )
    return Path(given)


def is_folder(source: str | Path) -> bool:
    """Whether ``source`` is a model folder that a run has written or exported."""
    return (folder_of(source) / MARK).exists()


def experiment_in(folder: Path) -> Experiment:
    """The experiment of a model folder. Raises :class:`WeightsError` for a folder that no run has written."""
    if not is_folder(folder):
        raise WeightsError(
            _("{folder!r} contains no labkit.toml; give a folder written by run.export(folder)."),
            folder=folder.name,
        )
    return loads(Experiment, small_text(folder / MARK, WeightsError))


class Pipeline(ABC):
    """A model with its tokenizer or other processor, opened once and used many times.

    Args:
        source: a model folder that a run has written or exported. Where there is a :attr:`pretrained`, also
            pretrained weights: a sample, a folder in the Hugging Face layout, or "org/name@revision".
        device: where it computes; left out, the default device of JAX.
        plugins: modules of a model of one's own that may be imported, such as ``["my_module"]``. A model
            folder alone never decides which code runs.
        dtype: what it computes in. "float32"; "bfloat16", which on a CPU is products of bfloat16 numbers with
            sums in float32; or "auto", the ``dtype`` of the model's config, where that is "auto" too bfloat16
            on accelerators and float32 on a CPU. The variable ``LABKIT_DTYPE`` of the environment takes the place
            of "auto".

    Raises:
        ConfigError: the settings of the folder are invalid, or name a plugin that is not allowed; an unknown
            ``dtype``.
        WeightsError: there is no such model, it is damaged, or it was trained for another task.

    Attributes:
        task: base class of the tasks whose models it opens.
        pretrained: capability of the architectures whose pretrained weights it opens; None where it opens
        none.
        experiment: of the run; None for pretrained weights.
        tokenizer: that of texts; None for other modalities.
        max_length: tokens that it reads at most; None for other modalities.
        parameters, bytes: numbers of the model, and bytes of its weights as they are kept for inference.
    """

    task: ClassVar[type[Task]] = Task
    pretrained: ClassVar[Capability | None] = None

    experiment: Any = None
    head: Head
    processor: Processor
    _packed: Any = None  # quantised weights, which take the place of the state
    tokenizer: Any = None
    max_length: Any = None

    def __init__(
        self, source: str | Path, device: jax.Device | None = None, plugins: Sequence[str] = (), dtype: str = "auto"
    ):  # fmt: skip
        use_compilation_cache()
        allow(plugins)
        self.dtype = _dtype(dtype)
        folder = folder_of(source)
        if folder.is_dir() and not any((folder / name).exists() for name in (MARK, *_PRETRAINED)):
            raise WeightsError(
                _("{folder!r} contains no labkit.toml, which run.export(folder) writes, and no config.json of "
                  "pretrained weights."),
                folder=folder.name,
            )  # fmt: skip
        if self.pretrained and not is_folder(source):
            self.model = self._load_weights(str(source))
        else:
            self.model = self._load_run(folder_of(source))
        self._prepare()
        self._graph, self._state = nnx.split(self.model)
        if device is not None:
            self._state = jax.device_put(self._state, device)
            nnx.update(self.model, self._state)
        self._measure()
        stored = packed.about(folder) if is_folder(source) else None
        if stored is not None and stored["form"] == packed.QUANTIZED:
            leaves = jax.tree.leaves(self._state)
            found = packed.read(
                folder, self._state
            )  # what has no numbers may have been changed since it was read
            self._hold([{"value": leaf} if "value" in each else each
                        for each, leaf in zip(found, leaves, strict=True)], device)  # fmt: skip

    def _hold(self, weights: Sequence[packed.Packed], device: jax.Device | None) -> None:
        """Compute with packed weights, leaf after leaf of the state, which are unpacked as they are used."""
        leaves, tree = jax.tree.flatten(self._state)
        shapes = [leaf.shape for leaf in leaves]
        self.bytes = sum(part.nbytes for leaf in weights for part in leaf.values())
        self._packed = jax.device_put(list(weights), device)

        def unpacked(state: Any) -> Any:
            return tree.unflatten(
                [packed.unpacked_weights(leaf, shape) for leaf, shape in zip(state, shapes, strict=True)]
            )

        self._unpacked = unpacked
        self._state = unpacked(self._packed)  # what explanations read
        nnx.update(self.model, self._state)

    def _unpacked(self, state: Any) -> Any:
        return state

    def _measure(self) -> None:
        leaves = jax.tree.leaves(self._state)
        self.parameters, self.bytes = sum(leaf.size for leaf in leaves), sum(leaf.nbytes for leaf in leaves)

    @abstractmethod
    def __call__(self, inputs: object, *more: object, **settings: object) -> Any:
        """The answers to inputs: one for a single input, a list or an array for several."""

    def clean(self, text: str) -> str:
        """A new text, cleaned as the training texts were."""
        return text if self.experiment is None else self.experiment.data.clean(text)

    # --- loading ----------------------------------------------------------------------------------------------

    def _load_run(self, folder: Path) -> Any:
        """The module that a run has written; sets its experiment, head, processor and tokenizer."""
        self.experiment = experiment_in(folder)
        self._check(folder.name)
        module, self.head, self.processor = load_model(self.experiment, folder, self._precise)
        self.tokenizer, self.max_length = self.processor.tokenizer, self.processor.max_length
        return self._used(module)

    def _check(self, folder: str) -> None:
        """Raise :class:`WeightsError` where the model in ``folder`` was trained for a task that this does not
        support."""
        if not isinstance(self.experiment.task, self.task):
            raise WeightsError(
                _("{folder!r} is a model of the task {learnt!r}; {pipeline} opens models of the task {task!r}."),
                folder=folder, learnt=tasks.name_of(self.experiment.task), pipeline=type(self).__name__,
                task=tasks.name_of(self.task),
            )  # fmt: skip

    def _used(self, module: Any) -> Any:
        """The part of a run's module, backbone and head, that is used."""
        return module.backbone

    def _load_weights(self, name: str) -> Any:
        """The module with pretrained weights; sets its tokenizer and length."""
        assert self.pretrained is not None
        config = self._precise(config_of(name, self.pretrained))
        model = nnx.eval_shape(lambda: config.build(nnx.Rngs(0)))
        self._check_loaded(config.load(model))
        self.tokenizer, self.max_length = Tokenizer.load(weights.find(name)), model.config.max_length
        return model

    def _precise(self, model: ModelConfig) -> ModelConfig:
        """The config with the data type that is computed in."""
        if self.dtype == "auto":
            return model
        if self.dtype != model.dtype and "dtype" not in model.values():
            raise ConfigError(
                _("dtype = {dtype!r}: this model computes in {own}; leave dtype out."),
                dtype=self.dtype, own=model.dtype,
            )  # fmt: skip
        mixed = self.dtype == "bfloat16" and jax.default_backend() == "cpu"
        return model if self.dtype == model.dtype else model.replace(dtype="mixed" if mixed else self.dtype)

    def _prepare(self) -> None:
        """Round once what every call would round again."""
        layers.halve(self.model)

    def _check_loaded(self, report: weights.LoadReport) -> None:  # noqa: B027
        """Raise :class:`WeightsError` where pretrained weights lack a part that must not be random."""

    # --- computing --------------------------------------------------------------------------------------------

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function(model, *arrays)`` as a function of the arrays, compiled once for each of their shapes."""
        compiled = jax.jit(
            lambda state, *arrays: function(nnx.merge(self._graph, self._unpacked(state)), *arrays),
            compiler_options=compiler_options(),
        )
        return partial(compiled, self._state if self._packed is None else self._packed)

    def _batches(
        self, examples: Sequence[Any], pairs: Sequence[Any] | None = None
    ) -> Iterator[tuple[int, Batches]]:
        """Batches of :data:`PORTION` examples at a time and where they begin; the next ones are tokenised meanwhile."""
        if self.tokenizer is None:
            return iter([(0, self.processor.to_predict(examples, pairs))])
        parts = (slice(start, start + PORTION) for start in range(0, len(examples), PORTION))
        return ahead(
            (part.start, self.processor.to_predict(examples[part], None if pairs is None else pairs[part]))
            for part in parts
        )

    def _results(
        self, function: Callable[[dict[str, Any]], Any], batches: Iterable[dict[str, Any]]
    ) -> Iterator[tuple[np.ndarray, Any]]:
        """Indices of the real examples of each batch, and the results of ``function`` for them, on the host. The next
        batch is made while one is computed."""
        before: tuple[np.ndarray, Any] | None = None
        for batch in batches:
            begun = batch["index"], function(batch)
            if before is not None:
                yield _on_host(*before)
            before = begun
        if before is not None:
            yield _on_host(*before)


def _dtype(given: object) -> str:
    """The ``dtype`` of a pipeline, or that of the environment. Raises :class:`ConfigError` for an unknown one."""
    found = os.environ.get(DTYPE) or given if given == "auto" else given
    if found not in DTYPES:
        raise ConfigError(
            _("unknown dtype {dtype!r}.{hint} Known: {known}."),
            dtype=found, hint=nearest(str(found), DTYPES), known=", ".join(DTYPES),
        )  # fmt: skip
    return str(found)


def _on_host(index: np.ndarray, results: Any) -> tuple[np.ndarray, Any]:
    real = index >= 0
    return index[real], jax.tree.map(lambda leaf: leaf[real], jax.device_get(results))


def ahead(made: Iterable[Made]) -> Iterator[Made]:
    """The same values; a thread makes the next one while one is used."""
    values, end = iter(made), object()
    with ThreadPoolExecutor(1, "labkit-ahead") as thread:
        coming = thread.submit(next, values, end)
        while (value := coming.result()) is not end:
            coming = thread.submit(next, values, end)
            yield cast("Made", value)


def rounded_up(number: int, least: int = 1) -> int:
    """The next of few sizes, so that few are compiled: ``least`` times 1, 2, 3, 4, 6, 8, 12, 16 …"""
    double = least
    while double < number:
        double *= 2
    return between if double > 2 * least and (between := double // 4 * 3) >= number else double


class GenerationPipeline(Pipeline):
    """Base class of pipelines that write texts, one token after the other.

    Attributes:
        noun: what an input is called.
    """

    noun: ClassVar[str]
    #: Inputs are padded to so many tokens at least, so that few lengths are compiled.
    STEP: ClassVar[int] = 32

    def __init__(
        self, source: str | Path, device: jax.Device | None = None, plugins: Sequence[str] = (), dtype: str = "auto"
    ):  # fmt: skip
        super().__init__(source, device, plugins, dtype)
        # One function for each setting; the oldest of many are forgotten.
        self._written = lru_cache(maxsize=32)(lambda *settings: self.compiled(self._function(*settings)))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {type(self.model).__name__}, {self.tokenizer.vocab_size} tokens>"

    @property
    def room(self) -> int:
        """New tokens at most."""
        return self.model.config.max_length - 1

    @abstractmethod
    def _function(self, ends: tuple[int, ...], how: Generation) -> Callable[..., Any]:
        """The function of model, ids and further arrays that writes tokens up to one of ``ends``."""

    @abstractmethod
    def _write(self, texts: list[str], how: Generation) -> list[str]:
        """The texts that the model writes for cleaned texts."""

    def _answers(self, inputs: Any, how: Generation) -> Any:
        """What is written for one text, or a list for several."""
        single = isinstance(inputs, str)
        texts = texts_of([inputs] if single else inputs, self.noun)
        answers = self._write([self.clean(text) for text in texts], how) if texts else []
        return answers[0] if single else answers

    def _padded(self, rows: list[np.ndarray], most: int) -> np.ndarray:
        """Token ids i32[b, t], padded on the right; t is :func:`rounded_up`, or ``most``."""
        wide = min(rounded_up(max(map(len, rows)), self.STEP), most)
        ids = np.full((len(rows), wide), self.tokenizer.pad_id, np.int32)
        for padded, row in zip(ids, rows, strict=True):
            padded[: len(row)] = row
        return ids
