"""Sentence embeddings with an encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.errors import ConfigError, WeightsError, nearest
from labkit.data.text.tokenizer import Tokenizer
from labkit.explain.explanation import Attention
from labkit.i18n import _
from labkit.inference.folders import experiment_in, folder_of, is_folder
from labkit.models import layers as parts
from labkit.models import models, weights
from labkit.models.bert import sentence
from labkit.models.bert.model import BertConfig
from labkit.train.compilation import use_compilation_cache
from labkit.train.context import load_model
from labkit.train.processors import Texts


class Embedder:
    """A BERT that a run has trained, whatever its task, or pretrained weights of one.

    A text's vector is what the folder's modules of sentence-transformers make; without such modules the mean of the
    hidden states; of a run what its encoder pools.

    Args:
        source: a folder of labkit's; or weights as an architecture takes them: a sample ("minilm-l6", "e5-small"), a
            folder in the Hugging Face layout, or "org/name@revision".

    Raises:
        WeightsError: there are no such weights, or they are of another kind of model.
    """

    def __init__(self, source: str | Path):
        use_compilation_cache()
        folder = folder_of(source)
        self._modules = None
        self._clean: Callable[[str], str] = str  # of a run: as its training texts were cleaned
        if is_folder(folder):
            experiment = experiment_in(folder)
            if not isinstance(experiment.model, BertConfig):
                raise WeightsError(
                    _("{folder!r} contains a {model}; embeddings need a BERT encoder."),
                    folder=folder.name,
                    model=models.name_of(experiment.model),
                )
            module, _unused, inputs = load_model(experiment, folder)
            self._clean = experiment.data.clean
            model, tokenizer, longest = module.trunk, inputs.tokenizer, experiment.task.max_length
        else:
            folder = weights.find(str(source))
            self._modules = sentence.read(folder)
            model = _loaded(str(source))
            encoder = folder if self._modules is None else self._modules.encoder
            tokenizer = Tokenizer.load(encoder)
            longest = model.config.max_length
            if self._modules is not None:
                longest = min(longest, self._modules.max_length or longest)
        self._inputs = Texts(tokenizer, longest)
        graph, self._state = nnx.split(model)
        layers = () if self._modules is None else self._modules.layers
        poolings = () if self._modules is None else self._modules.pooling

        @jax.jit
        def pooled(state: Any, batch: dict[str, Any]) -> jax.Array:
            made = nnx.merge(graph, state)(batch["ids"], batch["mask"], batch["types"])
            found = made.pooled
            if poolings:
                found = jnp.concatenate([parts.pool(made.hidden, batch["mask"], how) for how in poolings], axis=1)
            for layer in layers:
                found = layer(found)
            return found

        batch = next(iter(self._inputs.to_predict(["a"])))
        self.width = jax.eval_shape(pooled, self._state, batch).shape[1]

        @jax.jit
        def looked(state: Any, batch: dict[str, Any]) -> jax.Array:
            return nnx.merge(graph, state).attention(batch["ids"], batch["mask"], batch["types"])

        self._pooled, self._looked = pooled, looked

    def __repr__(self) -> str:
        return f"<embedder: vectors of {self.width}>"

    @property
    def prompts(self) -> Mapping[str, str]:
        """Name → text that the folder wants in front of a text of that kind ("query" → "query: ")."""
        return {} if self._modules is None else self._modules.prompts

    def embed(self, texts: str | Sequence[str], prompt: str | None = None) -> np.ndarray:
        """Vectors of length 1, f32 [n, d]; of a single text f32 [d].

        Args:
            texts: a list of texts, or one.
            prompt: name of one of :attr:`prompts`; by default the one that the folder names as its usual one. Some
                encoders want words that their folder does not give: "query: " for "e5-small", which is yours to write.

        Raises:
            ConfigError: there is no such prompt.
        """
        if isinstance(texts, str):
            return self.embed([texts], prompt)[0]
        texts = [self._prompt(prompt) + self._clean(text) for text in texts]
        if self._modules is not None and self._modules.lowercase:
            texts = [text.lower() for text in texts]
        found = np.zeros((len(texts), self.width), np.float32)
        for batch in self._inputs.to_predict(texts) if texts else ():
            real = batch["index"] >= 0
            found[batch["index"][real]] = jax.device_get(self._pooled(self._state, batch))[real]
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)

    def _prompt(self, name: str | None) -> str:
        if name is None:
            name = "" if self._modules is None else self._modules.prompt
        if not name:
            return ""
        if name not in self.prompts:
            known = ", ".join(self.prompts) or "none"
            raise ConfigError(
                _("unknown prompt {name!r}.{hint} This folder has: {known}."),
                name=name, hint=nearest(name, self.prompts), known=known,
            )  # fmt: skip
        if self._modules is not None and not self._modules.include_prompt and self.prompts[name]:
            raise ConfigError(
                _(
                    "this folder excludes prompt tokens from pooling (include_prompt = false), which "
                    "labkit does not support: embed without the prompt {name!r}, with prompt=''."),
                name=name,
            )  # fmt: skip
        return self.prompts[name]

    def similarity(self, texts: Sequence[str], others: Sequence[str] | None = None) -> np.ndarray:
        """Cosines of the vectors of n texts with those of m others (or with their own), f32 [n, m]."""
        ours = self.embed(texts)
        return ours @ (ours if others is None else self.embed(others)).T

    def attention(self, text: str, pair: str | None = None) -> Attention:
        """The attention of every layer and head over the tokens of a text, or of two read together."""
        (batch,) = self._inputs.to_predict([text], None if pair is None else [pair])
        count = int(batch["mask"][0].sum())
        weights = jax.device_get(self._looked(self._state, batch))[0, :, :, :count, :count]
        return Attention(tuple(self._inputs.tokenizer.names(batch["ids"][0, :count])), weights)


def _loaded(source: str) -> nnx.Module:
    """An encoder with its weights, without a pooler: its vectors are made by the folder's modules, or are the mean."""
    config = models["bert"](weights=source, pooling="mean")
    model = nnx.eval_shape(lambda: config.build(nnx.Rngs(0)))
    config.load(model)
    return model
