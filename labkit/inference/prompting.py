"""Classification by prompting: a language model chooses the class whose name is the most likely answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from labkit.core.errors import ConfigError, DataError, nearest
from labkit.core.text import one_line
from labkit.data.model_input import texts_of
from labkit.data.rows import Rows
from labkit.data.text import chat
from labkit.i18n import _
from labkit.inference.pipeline import rounded_up
from labkit.inference.text_generation import TextGenerationPipeline
from labkit.tasks.base import ProblemType
from labkit.tasks.decoding import map_rows

#: The model that is prompted by default.
MODEL = "smollm2-135m"
#: How scores are calibrated: by inputs without content (Zhao et al. 2021, arXiv 2102.09690), or not at all.
CALIBRATIONS = ("content-free", "none")
#: The inputs without content of that paper.
CONTENT_FREE = ("N/A", "[MASK]", "")
#: Texts whose answers are computed at a time, times classes; widths of texts are multiples of STEP tokens.
AT_ONCE, STEP = 32, 32


class Shot(NamedTuple):
    """An example of a few-shot prompt."""

    text: str
    label: str


class PromptClassifier:
    """A chat model as a classifier without training. Each class is scored by the log-likelihood of its name, and of
    the token that ends an answer, after a prompt with an instruction, examples and the text.

    With content-free calibration (Zhao et al. 2021) the probabilities of the classes are divided by those for inputs
    without content, which removes the model's preference for some names and for the last examples of the prompt.

    Args:
        classes: names of the classes.
        model: a chat model: a sample, a folder, "org/name@revision", or an opened one.
        instruction: what to do with a text; default: one that lists the answers.
        words: class → the answer that stands for it, where its name says little.
        shots: examples, (text, class), in the order of the prompt; none: zero-shot.
        calibration: "content-free" or "none".
        max_tokens: tokens of a text at most, in the prompt and in its examples; what is longer loses its end.

    Raises:
        ConfigError: a setting cannot be used, or the prompt is longer than the model reads.
        DataError: an example is of an unknown class.
        WeightsError: there is no such model.

    Attributes:
        truncated: texts of the last call that lost their end.
    """

    def __init__(
        self,
        classes: Sequence[str],
        model: str | Path | TextGenerationPipeline = MODEL,
        *,
        instruction: str = "",
        words: Mapping[str, str] | None = None,
        shots: Sequence[tuple[str, str]] = (),
        calibration: str = CALIBRATIONS[0],
        max_tokens: int = 256,
    ):
        self.classes = tuple(map(str, classes))
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise ConfigError(_("give at least two different classes; got {classes}."), classes=list(classes))
        if calibration not in CALIBRATIONS:
            raise ConfigError(
                _("unknown calibration {calibration!r}.{hint} Known: {known}."), calibration=calibration,
                hint=nearest(str(calibration), CALIBRATIONS), known=", ".join(CALIBRATIONS),
            )  # fmt: skip
        if max_tokens < 1:
            raise ConfigError(_("max_tokens = {max_tokens} must be at least 1."), max_tokens=max_tokens)
        given = dict(words or {})
        if unknown := [name for name in given if name not in self.classes]:
            raise ConfigError(
                _("words: {name!r} is not a class.{hint} Classes: {known}."), name=unknown[0],
                hint=nearest(unknown[0], self.classes), known=", ".join(self.classes),
            )  # fmt: skip
        self.words = tuple(given.get(name, name) for name in self.classes)
        if not all(word.strip() for word in self.words) or len(set(self.words)) < len(self.words):
            raise ConfigError(_("words must be different texts; got {words}."), words=list(self.words))
        given_shots = [Shot(*each) for each in shots]
        if wrong := [shot.label for shot in given_shots if shot.label not in self.classes]:
            raise DataError(
                _("an example has the class {name!r}; the classes are {known}."), name=wrong[0],
                known=", ".join(self.classes),
            )  # fmt: skip
        self.pipeline = model if isinstance(model, TextGenerationPipeline) else TextGenerationPipeline(model)
        self.name = str(model) if isinstance(model, str | Path) else "model"
        self.instruction = instruction or (f"Classify the text. Answer with one of: {', '.join(self.words)}.")
        self.calibration, self.max_tokens, self.truncated = calibration, max_tokens, 0
        self.shots = tuple(Shot(self._cut(shot.text), shot.label) for shot in given_shots)
        self._bias: np.ndarray | None = None
        self._scores = self.pipeline.compiled(_scores)
        self._start = self.pipeline.compiled(_start)

    @classmethod
    def of(cls, rows: Rows, shots: int = 0, *, seed: int = 0, **settings: Any) -> PromptClassifier:
        """A classifier of the classes of some rows.

        Args:
            rows: rows with one class each.
            shots: number of examples, drawn from the training rows in turn from each class, in random order.
            seed: of the draw.
            settings: see :class:`PromptClassifier`.

        Raises:
            DataError: the rows have no classes, or fewer labelled rows than ``shots``.
        """
        cls.check_rows(rows)
        return cls(rows.spec.classes, shots=examples_of(rows, shots, seed), **settings)

    @staticmethod
    def check_rows(rows: Rows) -> None:
        """Raise :class:`DataError` for rows that are no single texts with one class each."""
        spec = rows.spec
        if (
            spec.problem_type != ProblemType.CLASS
            or not spec.classes
            or spec.modality != "text"
            or spec.pairs
        ):
            raise DataError(
                _("prompting classifies single texts that have one class each; these rows do not.")
            )

    def __repr__(self) -> str:
        return (
            f"<PromptClassifier: {self.name}, {len(self.classes)} classes, {len(self.shots)} examples, "
            f"calibration {self.calibration}>"
        )

    @property
    def title(self) -> str:
        """The model and the number of its examples, as a name in comparisons."""
        return f"{self.name}, {len(self.shots)}-shot"

    def messages(self, text: str) -> list[dict[str, str]]:
        """The prompt for a text, as messages."""
        talk: list[dict[str, str]] = []
        for shot in (*self.shots, Shot(self._cut(text), "")):
            begin = "" if talk else f"{self.instruction}\n\n"
            talk.append({"role": "user", "content": f"{begin}{shot.text}"})
            if shot.label:
                word = self.words[self.classes.index(shot.label)]
                talk.append({"role": "assistant", "content": word})
        return talk

    def log_likelihoods(self, texts: Sequence[str]) -> np.ndarray:
        """Log-likelihood in nats of the answer of each class after the prompt of each text, f64[n, c]."""
        tokenizer = self.pipeline.tokenizer
        prompts = chat.all_ids(tokenizer, [self.messages(text) for text in texts])
        answers = self._answers()
        room = self.pipeline.model.config.max_length - max(map(len, answers))
        if (longest := max(map(len, prompts), default=0)) > room:
            raise ConfigError(
                _("the prompt has {longest} tokens, and the model reads {room}: use fewer examples, or a smaller "
                  "max_tokens."),
                longest=longest, room=room,
            )  # fmt: skip
        shared = _shared(prompts)
        found = np.zeros((len(texts), len(self.classes)))
        order = np.argsort([len(each) for each in prompts], kind="stable")
        size = max(1, AT_ONCE // len(self.classes))
        states: dict[int, Any] = {}
        for begin in range(0, len(order), size):
            places = order[begin : begin + size]
            rests = [prompts[place][shared:] for place in places]
            width = min(rounded_up(max(map(len, rests)), STEP), room - shared)
            if width not in states:
                states = {width: self._begin(prompts[0][:shared], width, answers)}
            ids = np.zeros((size, width), np.int32)
            count = np.zeros(size, np.int32)
            for row, rest in enumerate(rests):
                ids[row, : len(rest)], count[row] = rest, len(rest)
            made = self._scores(states[width], ids, count, *_padded(answers))
            found[places] = np.asarray(made, np.float64)[: len(places)]
        return found

    def predict_probabilities(self, texts: str | Sequence[str]) -> np.ndarray:
        """Probability of every class, f64[n, c].

        Args:
            texts: a text, or several.

        Raises:
            DataError: a text is not a string.
            ConfigError: the prompt is longer than the model reads.
        """
        given = texts_of([texts] if isinstance(texts, str) else texts, _("text"))
        self.truncated = sum(self._cut(text) != text for text in given)
        logs = self.log_likelihoods(given) if given else np.zeros((0, len(self.classes)))
        return self.probabilities_of(logs, self.calibration)

    def probabilities_of(self, logs: np.ndarray, calibration: str) -> np.ndarray:
        """Probability of every class, f64[n, c], from log-likelihoods f64[n, c] by a calibration."""
        if calibration == "none":
            return np.exp(_normalised(logs))
        if self._bias is None:
            free = _normalised(self.log_likelihoods(CONTENT_FREE))
            self._bias = np.log(np.exp(free).mean(axis=0))
        return np.exp(_normalised(_normalised(logs) - self._bias))

    def predict(self, texts: str | Sequence[str]) -> Any:
        """The likeliest class of a text, or a list for several."""
        chosen = [self.classes[place] for place in self.predict_probabilities(texts).argmax(axis=1)]
        return chosen[0] if isinstance(texts, str) else chosen

    __call__ = predict

    def _cut(self, text: str) -> str:
        """A text without what is beyond ``max_tokens``."""
        pieces = self.pipeline.tokenizer.pieces(text)
        return text if len(pieces) <= self.max_tokens else text[: pieces[self.max_tokens - 1][2][1]]

    def _answers(self) -> list[np.ndarray]:
        """The tokens of each class' answer, with the special token that ends it."""
        talks = [
            [{"role": "user", "content": "x"}, {"role": "assistant", "content": word}] for word in self.words
        ]
        return [each.ids[each.learnt] for each in chat.encoded(self.pipeline.tokenizer, talks)]

    def _begin(self, shared: np.ndarray, width: int, answers: Sequence[np.ndarray]) -> Any:
        """The cache after the tokens that all prompts share, with room for ``width`` and an answer."""
        room = len(shared) + width + max(map(len, answers))
        ids = np.zeros((1, rounded_up(len(shared), STEP)), np.int32)
        ids[0, : len(shared)] = shared
        space = np.zeros((room,), np.int8)  # its length is the room: a shape is compiled in
        return self._start(ids, np.array([len(shared)], np.int32), space)


def examples_of(rows: Rows, count: int, seed: int = 0) -> list[Shot]:
    """Examples for a prompt from the training rows, in turn from each class, in random order.

    Raises:
        DataError: there are fewer labelled rows than ``count``.
        ConfigError: ``count`` is negative.
    """
    if count < 0:
        raise ConfigError(_("shots = {count} must not be negative."), count=count)
    if not count:
        return []
    train = rows["train"]
    label = np.asarray(train["label"])
    random = np.random.default_rng(seed)
    queues = [
        random.permutation(np.flatnonzero(label == number)).tolist()
        for number in range(len(rows.spec.classes))
    ]
    chosen: list[int] = []
    while len(chosen) < count and any(queues):
        for queue in queues:
            if queue and len(chosen) < count:
                chosen.append(queue.pop())
    if len(chosen) < count:
        raise DataError(
            _("shots = {count}, but the training rows have only {known} labelled rows."), count=count,
            known=len(chosen),
        )  # fmt: skip
    texts = train["text"]
    order = random.permutation(chosen)
    return [
        Shot(one_line(texts[place], len(texts[place])), rows.spec.classes[label[place]]) for place in order
    ]


def _start(model: Any, ids: jax.Array, count: jax.Array, space: jax.Array) -> Any:
    """The cache after a beginning [1, t]."""
    return model.step(ids, count, model.start(1, len(space)))[1]


def _scores(
    model: Any, cache: Any, ids: jax.Array, count: jax.Array, answers: jax.Array, lengths: jax.Array
) -> jax.Array:
    """Log-likelihood of answers after prompts that go on from one cache, f32[b, c].

    Args:
        model: a decoder.
        cache: of the tokens that all prompts begin with, of one row.
        ids: the tokens that follow, i32[b, t]; ``count`` i32[b] are real.
        answers: i32[c, a], ``lengths`` i32[c] are real.
    """
    rows, classes = len(ids), len(answers)
    cache = map_rows(lambda leaf: jnp.repeat(leaf, rows, axis=0), cache)
    hidden, cache = model.step(ids, count, cache)
    last = jnp.take_along_axis(hidden, jnp.maximum(count - 1, 0)[:, None, None], axis=1)[:, 0]
    first = jax.nn.log_softmax(model.logits(last))[:, answers[:, 0]]
    cache = map_rows(lambda leaf: jnp.repeat(leaf, classes, axis=0), cache)
    given = jnp.tile(answers, (rows, 1))
    read = jnp.tile(jnp.maximum(lengths - 1, 0), rows)
    hidden, _cache = model.step(given[:, :-1], read, cache)
    logs = jax.nn.log_softmax(model.logits(hidden))
    logs = jnp.take_along_axis(logs, given[:, 1:, None], axis=-1)[..., 0]
    logs = jnp.where(jnp.arange(logs.shape[1]) < read[:, None], logs, 0).sum(axis=1)
    return first + logs.reshape(rows, classes)


def _padded(answers: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Answers as an array [c, a], at least two wide, and their lengths."""
    lengths = np.array([len(each) for each in answers], np.int32)
    ids = np.zeros((len(answers), max(2, int(lengths.max()))), np.int32)
    for row, each in zip(ids, answers, strict=True):
        row[: len(each)] = each
    return ids, lengths


def _shared(prompts: Sequence[np.ndarray]) -> int:
    """Tokens that all prompts begin with; each has at least one more."""
    least = min((len(each) for each in prompts), default=1) - 1
    first = prompts[0][:least]
    same = np.ones(least, bool)
    for each in prompts[1:]:
        same &= each[:least] == first
    return int(least if same.all() else same.argmin())


def _normalised(logs: np.ndarray) -> np.ndarray:
    """Logarithms of probabilities that sum to 1 over the classes."""
    highest = logs.max(axis=1, keepdims=True)
    return logs - highest - np.log(np.exp(logs - highest).sum(axis=1, keepdims=True))
