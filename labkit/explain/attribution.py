"""Attributions (gradients, integrated gradients, occlusion) of words, pixels or features for a class.

 What is explained is the log-odds F of a class against the rest (the logit minus the log-sum-exp of the
others), which adds up where a probability saturates. Integrated gradients (Sundararajan, Taly and Yan, ICML
2017, arXiv 1703.01365, equation 1) share out F(example) - F(blank) over the inputs; the approximation error
of the path integral is ``gap``. Occlusion (Zeiler and Fergus, ECCV 2014, arXiv 1311.2901) covers a part and
measures how far F falls; the gradient alone is the saliency of Simonyan, Vedaldi and Zisserman, arXiv
1312.6034. Grad-CAM (Selvaraju et al., ICCV 2017, arXiv 1610.02391) weighs the channels of the last map of
convolutions by the mean gradient of the logit, and keeps what is positive: coarse, and about regions, not pixels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.config import known_settings
from labkit.core.errors import ConfigError, DataError, nearest
from labkit.data.cell_values import Cell, cells_of
from labkit.explain.explanation import AttentionWeights, Explanation, Word
from labkit.i18n import _
from labkit.models.conv import FeatureMaps
from labkit.profile.compiler import compiler_options
from labkit.tasks.base import ProblemType
from labkit.train.processors import FeatureProcessor, Processor, TextProcessor

if TYPE_CHECKING:
    from jax import Array

METHODS = ("integrated", "occlusion", "gradient", "gradcam")
#: Points of the path at which gradients are taken, by Gauss and Legendre's rule; points computed at once.
POINTS, AT_ONCE = 32, 8
#: Covered examples in one call.
COVERED = 32

Batch = dict[str, Any]


class Explainer:
    """Explains one trained classifier. Every function is compiled once for a shape of the input.

    Args:
        module: the model with its head; it is not changed.
        classes: names of the classes.
        processor: of the model.
        problem_type: what the model predicts: one "class", several "labels" (F is then a label's own
            log-odds, its logit), or a "number" (F is the number itself, less ``offset``).
        offset: f64[k], what is added to the numbers, outside the module.
    """

    def __init__(
        self,
        module: nnx.Module,
        classes: tuple[str, ...],
        processor: Processor,
        problem_type: str = "class",
        offset: np.ndarray | None = None,
    ):
        self._offset = 0.0 if offset is None else offset
        self.classes, self.processor, self.problem_type = classes, processor, ProblemType(problem_type)
        self._score = log_odds if self.problem_type is ProblemType.CLASS else _logit
        self._graph, self._state = nnx.split(module)
        self._answer = jax.jit(
            lambda state, batch: self._merged(state)(batch), compiler_options=compiler_options()
        )
        self._paths = {"ids": jax.jit(self._path_of_words), "inputs": jax.jit(self._path_of_numbers)}
        self._slope = jax.jit(self._slope_of_numbers)
        self._regions = jax.jit(self._gradcam)
        self._attend = jax.jit(
            lambda state, batch: self._merged(state).backbone.attention(
                batch["ids"], batch["mask"], batch["types"]
            )[0]
        )

    @known_settings
    def explain(
        self, example: Any, pair: str | None = None, *, target: str | None = None, method: str = "integrated",
        points: int = POINTS, patch: int | None = None,
    ) -> Explanation:  # fmt: skip
        """What speaks for and against a class in one example.

        Args:
            example: a text (as cleaned for the model), a picture [height, width (, channels)] or features
            [f].
            pair: the second text, where the model reads two.
            target: the class; by default the likeliest.
            method: "integrated" gradients, "occlusion" (words one by one, patches of pictures, features one
                by one), "gradient" (not for texts) or "gradcam" (of models with convolutions).
            points: of the path of integrated gradients; more make the gap smaller.
            patch: side of a covered patch in pixels; by default an eighth of the picture.

        Raises:
            ConfigError: an unknown class or method, or one that does not suit the example.
            DataError: an example of another shape than the model reads.
        """
        self._check(target, method, points)
        batch = self._one(example, pair)
        if text := "ids" in batch:
            if method == "gradient":
                raise ConfigError(
                    _("method = 'gradient' is for pictures and features; texts have 'integrated' too.")
                )
            if method == "gradcam":
                raise ConfigError(
                    _("method = 'gradcam' is for pictures and sounds; texts have 'integrated'.")
                )
            words = self._words(example, pair)
            spans = [word.tokens for word in words]
        elif method == "gradcam" and method not in self.methods:
            raise ConfigError(
                _(
                    "method = 'gradcam' needs a model whose last map of convolutions is known, such as cnn or vgg."
                )
            )
        else:
            words, spans = (), _patches(batch["inputs"][0], patch) if method == "occlusion" else []
        logits = np.asarray(self._answer(self._state, batch))[0]
        number = int(logits.argmax()) if target is None else self.classes.index(target)
        if method == "integrated":
            values, whole, empty = self._integrated(batch, number, points)
        else:
            whole, empty = float(self._score(logits, number)), float("nan")
            found = {
                "occlusion": lambda: self._occluded(batch, number, spans, whole),
                "gradient": lambda: self._steep(batch, number),
                "gradcam": lambda: np.asarray(self._regions(self._state, batch, number), np.float64),
            }
            values = found[method]()
        if text:
            values = np.asarray([values[word.tokens].sum() for word in words], np.float64)
        chances = self._chances(logits)
        offset = float(np.broadcast_to(self._offset, logits.shape)[number])
        shown = None if text else np.asarray(batch["inputs"][0])
        return Explanation(
            method, self.classes[number], dict(zip(self.classes, map(float, chances), strict=True)),
            values, whole + offset, empty + offset, float(values.sum() - (whole - empty)), words, shown,
            self._cells(example), self.problem_type is ProblemType.NUMBER,
        )  # fmt: skip

    def _cells(self, example: Any) -> tuple[Cell, ...]:
        """The columns of features and their values, before standardisation; none where they have no names."""
        standard = self.processor.standard if isinstance(self.processor, FeatureProcessor) else None
        if standard is None or not standard.names:
            return ()
        return tuple(cells_of(np.asarray(example, np.float64), standard.columns, standard.names))

    def _chances(self, logits: np.ndarray) -> np.ndarray:
        return _PROBABILITIES[self.problem_type](logits) + self._offset

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods that suit the model."""
        if isinstance(self.processor, TextProcessor):
            return "integrated", "occlusion"
        mapped = isinstance(self._merged(self._state).backbone, FeatureMaps)
        return METHODS if mapped else METHODS[:3]

    @property
    def attends(self) -> bool:
        """Whether the model has attention to show."""
        return self._merged(self._state).backbone.config.attends

    def attention(self, text: str, pair: str | None = None) -> AttentionWeights:
        """The attention of every layer and head over the tokens of one text.

        Raises:
            ConfigError: the model has no attention to show; BERT, RoBERTa and DistilBERT have.
        """
        if not self.attends:
            raise ConfigError(_("this model has no attention maps; BERT, RoBERTa and DistilBERT have."))
        batch = self._one(text, pair)
        tokens = self.processor.tokenizer.names(batch["ids"][0][np.asarray(batch["mask"][0])])
        weights = np.asarray(self._attend(self._state, batch))[:, :, : len(tokens), : len(tokens)]
        return AttentionWeights(tuple(tokens), weights)

    # --- the example --------------------------------------------------------------------------------------------

    def _merged(self, state: nnx.State) -> Any:
        return nnx.merge(self._graph, state)

    def _check(self, target: str | None, method: str, points: int) -> None:
        if target is not None and target not in self.classes:
            raise ConfigError(
                _("unknown class {target!r}.{hint}"), target=target, hint=nearest(target, self.classes)
            )
        if method not in METHODS:
            raise ConfigError(
                _("unknown method {method!r}.{hint} Known: {known}."),
                method=method, hint=nearest(method, METHODS), known=", ".join(METHODS),
            )  # fmt: skip
        if points < 1:
            raise ConfigError(_("points = {points}; must be at least 1."), points=points)

    def _one(self, example: object, pair: str | None) -> Batch:
        """A batch of this example alone."""
        if isinstance(self.processor, TextProcessor):
            if not isinstance(example, str):
                raise DataError(
                    _("this model expects texts; the example is a {type}."), type=type(example).__name__
                )
            batch = self.processor.to_predict([example], None if pair is None else [pair]).at(0)
        else:
            batch = self.processor.to_predict(np.asarray(example)[None]).at(0)
        row = {name: value[:1] for name, value in batch.items()}
        if "inputs" in row and row["inputs"].dtype == np.uint8:
            row["inputs"] = (
                row["inputs"].astype(np.float32) / 255
            )  # as the models read bytes; gradients need floats
        return row

    def _parts(self, text: str, pair: str | None) -> list[tuple[str, int, int]]:
        """Each text with its first place in the row and the number of its pieces that the model reads."""
        places = self.processor.tokenizer.places(text, pair, self.processor.max_length)
        texts = [text] if pair is None else [text, pair]
        return [(whole, begin, count) for whole, (begin, count) in zip(texts, places, strict=True)]

    def _words(self, text: str, pair: str | None) -> tuple[Word, ...]:
        found = []
        for number, (whole, begin, count) in enumerate(self._parts(text, pair)):
            for start, end, pieces in words_of(self.processor.tokenizer, whole, count):
                found.append(Word(whole[start:end], number, start, end, begin + pieces))
        return tuple(found)

    def _blank(self, batch: Batch) -> Any:
        """The example without content: padding in place of its words (special tokens stay), black, or the
        mean."""
        if "inputs" in batch:
            return np.zeros_like(batch["inputs"])
        tokenizer = self.processor.tokenizer
        return np.where(tokenizer.reserved[batch["ids"]], batch["ids"], tokenizer.pad_id).astype(np.int32)

    # --- what is computed ---------------------------------------------------------------------------------------

    def _path_of_words(self, state: nnx.State, batch: Batch, blank: Array, *rest: Array) -> Any:
        """:func:`_path` over the word vectors [t, d].

        The table of words is exchanged for one with a row for every place, and the ids for the places: so any
        model that looks its words up in a table is differentiated by its vectors, without a second way into
        it.
        """
        table = _table(self._merged(state).backbone).embedding[...]

        def logits(vectors: Array) -> Any:
            module = self._merged(state)
            _table(module.backbone).embedding = nnx.Param(vectors)
            return module({**batch, "ids": jnp.arange(len(vectors))[None]})[0]

        values, *ends = _path(self._score, logits, table[batch["ids"][0]], table[blank[0]], *rest)
        return values.sum(-1), *ends

    def _path_of_numbers(self, state: nnx.State, batch: Batch, blank: Array, *rest: Array) -> Any:
        """:func:`_path` over a picture or features."""
        return _path(self._score, self._numbers(state, batch), batch["inputs"][0], blank[0], *rest)

    def _slope_of_numbers(self, state: nnx.State, batch: Batch, target: Array | int) -> Any:
        logits = self._numbers(state, batch)
        return jax.grad(lambda values: self._score(logits(values), target))(batch["inputs"][0])

    def _gradcam(self, state: nnx.State, batch: Batch, target: Array | int) -> Any:
        """The class activation map of a picture [height, width]: at least 0, scaled up from the last map."""
        module = self._merged(state)
        last = module.backbone.feature_map(batch["inputs"])

        def score(last: Array) -> Any:
            return _logit(module.head(module.backbone.from_map(last).pooled)[0], target)

        weights = jax.grad(score)(last).mean((1, 2), keepdims=True)
        seen = jax.nn.relu((weights * last).sum(-1)[0].astype(jnp.float32))
        return jax.image.resize(seen, batch["inputs"].shape[1:3], "linear")

    def _numbers(self, state: nnx.State, batch: Batch) -> Callable[[Any], Any]:
        return lambda values: self._merged(state)({**batch, "inputs": values[None]})[0]

    def _integrated(self, batch: Batch, target: int, points: int) -> tuple[np.ndarray, float, float]:
        nodes, weights = np.polynomial.legendre.leggauss(points)
        rule = np.asarray((nodes + 1) / 2, np.float32), np.asarray(weights / 2, np.float32)
        path = self._paths["ids" if "ids" in batch else "inputs"]
        values, whole, empty = path(self._state, batch, self._blank(batch), target, *rule)
        return np.asarray(values, np.float64), float(whole), float(empty)

    def _steep(self, batch: Batch, target: int) -> np.ndarray:
        return np.asarray(self._slope(self._state, batch, target), np.float64)

    def _occluded(self, batch: Batch, target: int, spans: list[Any], whole: float) -> np.ndarray:
        """How far F falls when each of some parts is covered, shared out evenly over the places of the part."""
        kind = "ids" if "ids" in batch else "inputs"
        own, cover = np.asarray(batch[kind][0]), np.asarray(self._blank(batch)[0])
        rest = {name: np.repeat(np.asarray(value), COVERED, 0) for name, value in batch.items()}
        total, times = np.zeros(own.shape, np.float64), np.zeros(own.shape, np.float64)
        for start in range(0, len(spans), COVERED):
            chosen, covered = spans[start : start + COVERED], np.repeat(own[None], COVERED, 0)
            for number, span in enumerate(chosen):
                covered[number][span] = cover[span]
            logits = self._answer(self._state, {**rest, kind: covered})
            falls = whole - np.asarray(self._score(logits, target), np.float64)
            for number, span in enumerate(chosen):
                total[span] += falls[number] / total[span].size
                times[span] += 1
        return total / np.maximum(times, 1)


def _path(
    of: Callable[[Any, Any], Any],
    logits: Callable[[Any], Any],
    end: Array,
    start: Array,
    target: Array | int,
    nodes: Array,
    weights: Array,
) -> tuple[Any, Any, Any]:
    """Integrated gradients from ``start`` to ``end``, of their shape, and F at the end and at the start."""

    def score(values: Array) -> Any:
        return of(logits(values), target)

    slope = jax.grad(score)
    slopes = jax.lax.map(lambda node: slope(start + node * (end - start)), nodes, batch_size=AT_ONCE)
    return jnp.tensordot(weights, slopes, 1) * (end - start), score(end), score(start)


def log_odds(logits: Array, target: Array | int) -> Any:
    """log p / (1 - p) of a class, from logits [..., c]."""
    others = jnp.where(jnp.arange(logits.shape[-1]) == target, -jnp.inf, logits)
    return jnp.take(logits, target, axis=-1) - jax.nn.logsumexp(others, -1)


_PROBABILITIES = {
    ProblemType.CLASS: lambda logits: np.exp(logits - np.logaddexp.reduce(logits)),
    ProblemType.LABELS: lambda logits: np.exp(-np.logaddexp(0, -logits)),
    ProblemType.NUMBER: lambda logits: logits,
}


def _logit(logits: Array, target: Array | int) -> Any:
    return jnp.take(logits, target, axis=-1)


def _table(backbone: Any) -> Any:
    """The module that holds the word embeddings."""
    if backbone.config.word_table:
        return functools.reduce(getattr, backbone.config.word_table, backbone)
    raise ConfigError(_("{type} has no token embeddings that labkit can find."), type=type(backbone).__name__)


def words_of(tokenizer: Any, text: str, count: int) -> list[tuple[int, int, np.ndarray]]:
    """The words among the first ``count`` pieces of a text: first and last character, and the numbers of the
    pieces.

    WordPiece marks what goes on a word. Pieces of bytes do not: there letters and digits that touch are one
    word, and every Chinese character is its own.
    """
    marked, found = tokenizer.continues, []
    for number, (_unused, token, (start, end)) in enumerate(tokenizer.pieces(text)[:count]):
        while start < end - 1 and text[start].isspace():
            start += 1
        before = found[-1][1] if found else -1
        goes_on = (
            marked[token]
            if marked.any()
            else start < before
            or (
                start == before
                and all(char.isalnum() and char < "\u2e80" for char in text[start - 1 : start + 1])
            )
        )
        if found and goes_on:
            found[-1] = (found[-1][0], max(before, end), [*found[-1][2], number])
        else:
            found.append((start, end, [number]))
    return [(start, end, np.asarray(pieces)) for start, end, pieces in found]


def _patches(picture: np.ndarray, side: int | None) -> list[Any]:
    """The parts of an input that are covered one after the other: squares of a picture, half overlapping;
    features one by one."""
    if picture.ndim == 1:
        return [np.s_[number : number + 1] for number in range(len(picture))]
    side = side or max(2, min(picture.shape[:2]) // 8)
    if side < 1 or side > min(picture.shape[:2]):
        raise ConfigError(
            _("patch = {side} pixels is too large for an image of {height} × {width} pixels."),
            side=side, height=picture.shape[0], width=picture.shape[1],
        )  # fmt: skip
    step = max(1, side // 2)
    tops, lefts = ([*range(0, size - side, step), size - side] for size in picture.shape[:2])
    return [np.s_[top : top + side, left : left + side] for top in tops for left in lefts]
