"""Base class of text encoders: how a trained one with a head, or one that makes sentence vectors, is stored."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from labkit.core.errors import ConfigError, WeightsError
from labkit.core.shapes import Array, Float
from labkit.i18n import _
from labkit.models import foreign, weights
from labkit.models.base import Modality, ParameterTree, PublishedConfig
from labkit.models.bert import sentence

#: Deviation of new embeddings, as published: they are normalised, so that it decides only how fast they turn.
EMBEDDED = 0.02


class EncoderOutput(NamedTuple):
    """Output of an encoder: ``hidden`` f32 [b, t, d] of the last layer; ``pooled`` f32 [b, d], packed [b, s,
    d]."""

    hidden: Float[Array, "b t d"]
    pooled: Float[Array, "b d"] | Float[Array, "b s d"]


class EncoderConfig(PublishedConfig):
    """Base class of encoders whose files are those of transformers or sentence-transformers.

    Attributes:
        headed: poolings that the classifiers of transformers have.
        output: stored name of the last layer of a classifier.
        classes: beginning of the names of its classes in transformers ("Bert").
    """

    modality: ClassVar[Modality] = Modality.TEXT
    headed: ClassVar[tuple[str, ...]] = ("cls",)
    pooling: str
    layout: str  # key of the tables of names in labkit.models.bert.heads

    @property
    @abstractmethod
    def output(self) -> str:
        """Stored name of the last layer of a classifier."""

    @property
    @abstractmethod
    def classes(self) -> str:
        """Beginning of the names of its classes in transformers ("Bert")."""

    @property
    def pooled_by(self) -> str:
        """The pooling of the model that is built: "auto" is "cls" where no task settles it."""
        return "cls" if self.pooling == "auto" else self.pooling

    def head_tensors(
        self, kernel: Array | np.ndarray, bias: Array | np.ndarray | None
    ) -> tuple[dict[str, np.ndarray], str]:
        """A linear head on the pooled vector as it is stored: together they are a classifier of transformers.

        Args:
            kernel: [d, c]. bias: [c].

        Returns:
            Tensors to give to :meth:`save` as ``extra``, kernels [c, d]; and the name for ``architectures``.

        Raises:
            ConfigError: the head is on another pooling, which no classifier of transformers has.
        """
        name = f"{self.classes}ForSequenceClassification"
        if self.pooled_by not in self.headed:
            raise ConfigError(
                _("transformers has no {name} with pooling = {pooling!r}; save_classifier writes such a head as a "
                  "folder of sentence-transformers."),
                name=name, pooling=self.pooling,
            )  # fmt: skip
        kernel = np.ascontiguousarray(np.asarray(kernel).T)
        return {f"{self.output}.weight": kernel, f"{self.output}.bias": np.asarray(bias)}, name

    def head_of(
        self, tensors: Mapping[str, np.ndarray], folder: Path = Path("the file")
    ) -> tuple[np.ndarray, np.ndarray]:
        """Kernel [d, c] and bias [c], float32, of the head that :meth:`head_tensors` stored, or transformers
        did.

        Args:
            tensors: by name, of ``folder``.
            folder: named in errors.

        Raises:
            WeightsError: there is no head of this layout, or it is of another width.
        """
        name = self.output
        if lacking := [each for each in (f"{name}.weight", f"{name}.bias") if each not in tensors]:
            raise WeightsError(
                _(
                    "the file has no {lacking}: it contains no classifier of layout {layout!r}. Train a head, "
                    "or set the layout it was saved with."),
                lacking=" and no ".join(lacking), layout=self.layout,
            )  # fmt: skip
        kernel, bias = (np.asarray(tensors[f"{name}.{part}"], np.float32) for part in ("weight", "bias"))
        for part, array in (("weight", kernel), ("bias", bias)):
            weights.check_values(array, f"{name}.{part}", folder, weights.UNITS)
        if bias.ndim != 1 or kernel.shape != (len(bias), self.width):
            raise WeightsError(
                _(
                    "{name}.weight {kernel} and {name}.bias {bias} are not a classifier for vectors of width "
                    "{width}: expected [c, {width}] and [c]."),
                name=name, kernel=list(kernel.shape), bias=list(bias.shape), width=self.width,
            )  # fmt: skip
        return kernel.T, bias

    def save_classifier(
        self, params: ParameterTree, folder: Path, kernel: np.ndarray, bias: np.ndarray | None, *,
        specials: weights.Specials | None = None, max_length: int | None = None, **more: object,
    ) -> None:  # fmt: skip
        """Write parameters with a linear head on the pooled vector, so that other programs compute the same.

        With a pooling of :attr:`headed` that is a classifier of transformers. A head on another pooling is
        none, and is written as a folder of sentence-transformers, whose vectors are then the logits: the
        encoder in ``0_Transformer``, the head in ``2_Dense``, no config.json at the root.

        Args:
            params: a model, its state or a dict of its parameters.
            folder: where; made if it is not there.
            kernel: f32 [d, c]. bias: f32 [c].
            specials: ids of the tokenizer's special tokens.
            max_length: maximum tokens per text.
            more: further keys of config.json.
        """
        if self.pooled_by in self.headed:
            extra, name = self.head_tensors(kernel, bias)
            self.save(params, folder, extra, specials, architectures=[name], **more)
            return
        self.save(params, folder / sentence.ENCODER, specials=specials)
        head = sentence.Dense(np.asarray(kernel), np.asarray(bias))
        sentence.write(
            folder, sentence.ENCODER, self.pooled_by, self.width, (head,), max_length or self.max_length
        )

    def has_classifier(self, folder: Path) -> bool:
        """Whether a folder holds a classifier of transformers on the pooled vector."""
        named = self.pooled_by in self.headed and foreign.names_class(folder, "ForSequenceClassification")
        return named and f"{self.output}.weight" in weights.Tensors(folder)

    def load_classifier(self, folder: Path) -> tuple[np.ndarray, np.ndarray | None]:
        """Kernel f32 [d, c] and bias f32 [c] of the head that :meth:`save_classifier` wrote.

        Raises:
            WeightsError: there is no such head, or it does not fit.
        """
        if self.pooled_by in self.headed:
            return self.head_of(weights.Tensors(folder), folder)
        modules = sentence.read(folder)
        heads = (
            ()
            if modules is None
            else [layer for layer in modules.layers if isinstance(layer, sentence.Dense)]
        )
        if len(heads) != 1 or heads[0].bias is None or len(heads[0].kernel) != self.width:
            raise WeightsError(
                _("{folder} contains no head for vectors of width {width} (2_Dense)."),
                folder=folder,
                width=self.width,
            )
        return heads[0].kernel, heads[0].bias

    def save_embedder(
        self,
        params: ParameterTree,
        folder: Path,
        *,
        specials: weights.Specials | None = None,
        max_length: int,
    ) -> None:
        """Write parameters as a folder of sentence-transformers that makes the pooled vectors, 1 long."""
        self.save(params, folder / sentence.ENCODER, specials=specials)
        sentence.write(
            folder, sentence.ENCODER, self.pooled_by, self.width, [sentence.Normalize()], max_length
        )

    def vector_pooling(self, poolings: tuple[str, ...]) -> str:
        """The pooling of sentence vectors: that of the weights' sentence-transformers modules; without any,
        "mean".

        Raises:
            WeightsError: the folder's modules pool in a way that training, which has ``poolings``, does not.
        """
        modules = sentence.read(weights.find(self.weights)) if self.weights else None
        if modules is not None and modules.pooling not in [(how,) for how in poolings]:
            raise WeightsError(
                _(
                    "{weights} uses the pooling {pooling}; training supports {known}: set pooling to one "
                    "of them. lk.EmbeddingPipeline supports such a folder."),
                weights=self.weights, pooling=" and ".join(modules.pooling),
                known=", ".join(poolings),
            )  # fmt: skip
        return modules.pooling[0] if modules else "mean"
