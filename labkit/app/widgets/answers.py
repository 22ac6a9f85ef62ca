"""Forms and results of the step Predict for generation, fill-mask, question answering and embeddings.

Text generation, sequence to sequence, fill-mask, question answering, text comparison.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import ipywidgets as widgets
import numpy as np

from labkit.app.widgets.controls import hear_while_busy
from labkit.core import html, source_code
from labkit.core.errors import DataError, LabkitError
from labkit.core.html import Html
from labkit.core.registry import ByClass
from labkit.data.answers import answers_of
from labkit.data.conversations import conversations_of
from labkit.data.tags import OUTSIDE, are_entities
from labkit.explain.explanation import AttentionWeights
from labkit.i18n import _
from labkit.inference.chatting import ChatPipeline
from labkit.inference.embedding import EmbeddingPipeline
from labkit.inference.fill_mask import HIDDEN, FillMaskPipeline, TokenPrediction
from labkit.inference.question_answering import QuestionAnsweringPipeline
from labkit.inference.tagging import TaggedSentence, TokenClassificationPipeline
from labkit.inference.text_generation import TextGenerationPipeline
from labkit.inference.translation import TranslationPipeline
from labkit.tasks.qa import AnswerSpan
from labkit.viz import chat_html, explanation_html

if TYPE_CHECKING:
    from datasets import Dataset

    from labkit.app.panel import Panel

#: What a model is given at most, in characters; texts that are compared at once; pieces told of a hidden
#: place.
LONGEST, COMPARED, TOP = 100_000, 30, 8


class Asking:
    """Base: input controls in ``root``; ``truth`` is the right answer of a row that was taken.

    The input is a tuple, read from the controls before a thread processes it.
    """

    #: The word of the button; whether the answer is shown while it is generated.
    verb: ClassVar[str]
    streams: ClassVar[bool] = False

    def __init__(self, panel: Panel, tool: Any):
        self.panel, self.tool, self.language = panel, tool, panel.state.language
        self.so_far: Any = None  # the answer as far as it is generated
        self.stopped = threading.Event()
        self.truth: tuple[Any, str] | None = None
        controls = list(self.build())
        for control in controls:
            hear_while_busy(control)
        short = [control for control in controls if not isinstance(control, widgets.Textarea)]
        row = widgets.HBox(short)
        row.add_class("lk-form")
        long = [control for control in controls if isinstance(control, widgets.Textarea)]
        self.root = widgets.VBox([*long, row] if short else long)

    def build(self) -> Sequence[widgets.Widget]:
        """Make the controls."""
        raise NotImplementedError

    def take(self, part: Dataset, place: int) -> None:
        """Put a row of a split into the controls."""
        raise NotImplementedError

    def asked(self) -> tuple[Any, ...]:
        """What the controls ask now. Raises :class:`DataError` where that is nothing."""
        raise NotImplementedError

    def answer(self, asked: tuple[Any, ...]) -> Any:
        """The model's answer; for a thread."""
        raise NotImplementedError

    def shown(self, asked: tuple[Any, ...], found: Any) -> Html:
        """An answer as HTML."""
        raise NotImplementedError

    def code(self, asked: tuple[Any, ...]) -> list[str]:
        """Lines of Python that ask ``run`` the same."""
        raise NotImplementedError

    # --- for subclasses -----------------------------------------------------------------------------------------

    def word(self, key: str, **places: object) -> str:
        """Words of the panel's table."""
        return self.panel.word(key, **places)

    def area(self, key: str, rows: int = 3) -> widgets.Textarea:
        """A place for a long text."""
        return widgets.Textarea(
            description=self.word(key), rows=rows, layout={"width": "98%"}, continuous_update=False
        )

    def true(self, asked: tuple[Any, ...]) -> Html:
        """The true answer, while the input is a row of the data."""
        if self.truth is None or self.truth[0] != asked[0]:
            return Html("")
        return html.paragraph(f"{self.word('truth')}: {self.truth[1]}", "quiet")


class Prompt(NamedTuple):
    """A text, and how to go on from it."""

    text: str
    settings: Mapping[str, Any]


class Writes(Asking):
    """Text generation with a language model."""

    verb, method, streams = "write_on", "generate", True
    tool: TextGenerationPipeline | TranslationPipeline
    #: Temperature and top-p at first.
    usual: ClassVar[tuple[float, float]] = (0.8, 0.95)

    def build(self) -> Sequence[widgets.Widget]:
        self.text = self.area("your_text")
        controls = self.sampling()
        self.beams = widgets.BoundedIntText(1, min=1, max=16, description=self.word("beams_field"))
        self.beams.style.description_width, self.beams.layout.width = "auto", "190px"
        self.panel.on_change(self.beams, self._searched)
        return self.text, *controls, self.beams

    def sampling(self) -> Sequence[widgets.Widget]:
        """Controls of the number of new tokens and of sampling."""
        room = self.tool.room
        self.length = widgets.BoundedIntText(
            min(40, room), min=1, max=room, description=self.word("new_tokens")
        )
        self.temperature = widgets.BoundedFloatText(
            self.usual[0],
            min=0.0,
            max=10.0,
            step=0.1,
            description=self.word("drawn_at"),
            tooltip=self.word("drawn_at_help"),
        )
        self.top_p = widgets.BoundedFloatText(
            self.usual[1], min=0.01, max=1.0, step=0.05, description=self.word("top_p_field"),
            tooltip=self.word("top_p_help"),
        )  # fmt: skip
        for control in (self.length, self.temperature, self.top_p):
            control.style.description_width, control.layout.width = "auto", "190px"
        return self.length, self.temperature, self.top_p

    def _searched(self, beams: int) -> None:
        """A beam search does not sample."""
        self.temperature.disabled = self.top_p.disabled = beams > 1

    def take(self, part: Dataset, place: int) -> None:
        """The first half of a text, and no more than leaves room for the rest."""
        text = part[place]["text"]
        told = self.tool.tokenizer.pieces(text)
        kept = min((len(told) + 1) // 2, self.tool.room - self.length.value)
        self.text.value = text[: told[kept - 1][2][1]] if told and kept > 0 else ""

    def asked(self) -> Prompt:
        if self.beams.value > 1:
            settings = {"max_new_tokens": self.length.value, "beams": self.beams.value}
        else:
            settings = self.sampled()
        return Prompt(self.text.value[:LONGEST], settings)

    def sampled(self) -> dict[str, Any]:
        """Settings of generation without beams; a seed makes another text each time, which the code draws again."""
        settings: dict[str, Any] = {"max_new_tokens": self.length.value}
        if self.temperature.value > 0:
            top = {"top_p": self.top_p.value} if self.top_p.value < 1 else {}
            seed = int(np.random.default_rng().integers(2**31))
            settings |= {"temperature": self.temperature.value, **top, "seed": seed}
        return settings

    def answer(self, asked: tuple[Any, ...]) -> Any:
        text, settings = asked
        assert isinstance(self.tool, TextGenerationPipeline)
        self.stopped.clear()
        so_far = ""
        for so_far in self.tool.stream(text, **settings):
            self.so_far = so_far
            if self.stopped.is_set():
                break
        return so_far

    def shown(self, asked: tuple[Any, ...], found: Any) -> Html:
        told = Html(f"<mark>{html.safe(found)}</mark>") if found.strip() else self.word("wrote_nothing")
        return html.joined(html.paragraph(asked[0], "quiet"), _block(told), self.true(asked))

    def code(self, asked: tuple[Any, ...]) -> list[str]:
        text, settings = asked
        return [source_code.line(source_code.call(f"run.{self.method}", text, **settings))]


class Talk(NamedTuple):
    """The messages of a conversation up to a question, and how to answer it."""

    messages: tuple[dict[str, str], ...]
    settings: Mapping[str, Any]


class Chats(Writes):
    """A chat model answers message after message; the conversation is shown while the answer is generated.

    ``messages``: the conversation so far, without a system message.
    """

    verb, method = "send_message", "chat"
    usual = (0.3, 0.95)
    #: New tokens of an answer at first.
    new_tokens: ClassVar[int] = 128
    tool: TextGenerationPipeline

    def build(self) -> Sequence[widgets.Widget]:
        self.messages: list[dict[str, str]] = []
        self.system = widgets.Text(
            description=self.word("system_message"), placeholder=self.word("system_message_place"),
            continuous_update=False, layout={"width": "98%"},
        )  # fmt: skip
        self.system.style.description_width = "auto"
        self.text = self.area("your_message")
        controls = self.sampling()
        self.length.value = min(self.new_tokens, self.length.max)
        self.anew = self.panel.button("new_chat", self.clear)
        return self.text, *controls, self.anew, self.system

    def clear(self) -> None:
        """Begin another conversation."""
        self.messages, self.truth = [], None
        self.panel.answer.value = ""

    def take(self, part: Dataset, place: int) -> None:
        (talk,) = conversations_of(part.select([place]))
        system = [each["content"] for each in talk if each["role"] == "system"]
        self.system.value = system[0] if system else ""
        *self.messages, asked, answer = [each for each in talk if each["role"] != "system"]
        self.text.value, self.truth = asked["content"], (asked["content"], answer["content"])

    def asked(self) -> Talk:
        text = self.text.value[:LONGEST]
        if not text.strip():
            raise DataError(_("give a message."))
        system = [{"role": "system", "content": self.system.value}] if self.system.value.strip() else []
        self.text.value = ""  # at once: the next message can be typed while this one is answered
        return Talk((*system, *self.messages, {"role": "user", "content": text}), self.sampled())

    def answer(self, asked: tuple[Any, ...]) -> str:
        messages, settings = asked
        self.stopped.clear()
        so_far = self.so_far = ""
        try:
            for so_far in self.tool.stream_chat(list(messages), **settings):
                self.so_far = so_far
                if self.stopped.is_set():
                    break
        except LabkitError:  # such as a conversation that is too long
            self.text.value = self.text.value or messages[-1]["content"]
            raise
        said = [each for each in messages if each["role"] != "system"]
        self.messages = [*said, {"role": "assistant", "content": so_far}]
        return so_far

    def shown(self, asked: tuple[Any, ...], found: Any) -> Html:
        answer = {"role": "assistant", "content": found}
        writing = self.so_far is not None
        told = chat_html.conversation([*asked[0], answer], self.language, writing)
        return html.joined(told, self.true((asked[0][-1]["content"],)))

    def code(self, asked: tuple[Any, ...]) -> list[str]:
        messages, settings = asked
        name = self.panel.model_name
        return [source_code.line(source_code.call(f"{name}.{self.method}", list(messages), **settings))]


class Translates(Writes):
    """A model of sources and targets writes the target of a text; its cross-attention is shown as a map."""

    verb, method, streams, usual = "write_target", "translate", False, (0.0, 1.0)
    tool: TranslationPipeline

    def build(self) -> Sequence[widgets.Widget]:
        controls = super().build()
        self.penalty = widgets.BoundedFloatText(
            1.0, min=-10.0, max=10.0, step=0.1, description=self.word("length_penalty_field"),
            tooltip=self.word("length_penalty_help"), disabled=True,
        )  # fmt: skip
        self.penalty.style.description_width, self.penalty.layout.width = "auto", "190px"
        return *controls, self.penalty

    def _searched(self, beams: int) -> None:
        super()._searched(beams)
        self.penalty.disabled = beams == 1

    def take(self, part: Dataset, place: int) -> None:
        row = part[place]
        self.text.value, self.truth = row["text"], (row["text"], row["text_pair"])

    def asked(self) -> Prompt:
        text, settings = super().asked()
        if "beams" in settings and self.penalty.value != 1:
            settings = {**settings, "length_penalty": self.penalty.value}
        return Prompt(text, settings)

    def answer(self, asked: tuple[Any, ...]) -> tuple[str, AttentionWeights]:
        text, settings = asked
        target = self.tool.translate(text, **settings)
        return target, self.tool.attention(text, target)

    def shown(self, asked: tuple[Any, ...], found: tuple[str, AttentionWeights]) -> Html:
        target, weights = found
        maps = [
            explanation_html.attention(weights, n, None, self.language) for n in range(len(weights.weights))
        ]
        told = html.paragraph(self.word("cross_attention_help"), "quiet")
        folded = html.details(self.word("cross_attention"), html.joined(told, *maps))
        return html.joined(super().shown(asked, target), folded if target.strip() else Html(""))


class Fills(Asking):
    """Masked-token and next-sentence prediction with a pretrained encoder."""

    verb = "tell_hidden"
    tool: FillMaskPipeline

    def build(self) -> Sequence[widgets.Widget]:
        self.text, self.pair = self.area("your_text"), self.area("second_text")
        self.text.placeholder = self.word("hidden_hint", mask=HIDDEN)
        return (self.text, self.pair) if self.tool.next_sentence else (self.text,)

    def take(self, part: Dataset, place: int) -> None:
        """A text with a piece hidden, and the text behind it."""
        pair = self.tool.next_sentence and len(part) > 1
        place = min(place, len(part) - 1 - pair)
        room = (self.tool.max_length - self.tool.tokenizer.pair.size) // 2
        text, told = self._cut(part[place]["text"], room)
        if told:
            begin, end = told[int(np.random.default_rng().integers(len(told)))]
            begin += len(text[begin:end]) - len(text[begin:end].lstrip())
            text = text[:begin] + HIDDEN + text[end:]
        self.text.value, self.pair.value = text, self._cut(part[place + 1]["text"], room)[0] if pair else ""

    def _cut(self, text: str, room: int) -> tuple[str, list[tuple[int, int]]]:
        """The first ``room`` tokens of a text, with their positions."""
        places = [where for _, _, where in self.tool.tokenizer.pieces(text)]
        return (text[: places[room - 1][1]] if len(places) > room else text), places[:room]

    def asked(self) -> tuple[str, str]:
        return self.text.value[:LONGEST], self.pair.value[:LONGEST] if self.tool.next_sentence else ""

    def _parts(self, asked: tuple[Any, ...]) -> tuple[bool, bool]:
        """Whether masked tokens are to be predicted, and next-sentence probability."""
        text, pair = asked
        return any(name in text + pair for name in self.tool.masks) or not pair, bool(pair)

    def answer(self, asked: tuple[Any, ...]) -> tuple[list[list[TokenPrediction]], float | None]:
        hidden, next_ = self._parts(asked)
        text, pair = asked
        guesses = self.tool.fill(text, pair or None, top=TOP) if hidden else []
        return guesses, self.tool.follows(text, pair) if next_ else None

    def shown(self, asked: tuple[Any, ...], found: tuple[list[list[TokenPrediction]], float | None]) -> Html:
        guesses, follows = found
        tables = [
            html.joined(
                html.heading(self.word("hidden_place", number=number), 4),
                explanation_html.probabilities(dict(each), self.language, "piece"),
            )
            for number, each in enumerate(guesses, start=1)
        ]
        card = [] if follows is None else [html.cards([(self.word("it_follows"), f"{100 * follows:.1f} %")])]
        return html.joined(*card, html.side_by_side(*tables))

    def code(self, asked: tuple[Any, ...]) -> list[str]:
        hidden, next_ = self._parts(asked)
        text, pair = asked
        given = (text, pair) if pair else (text,)
        lines = [source_code.line(source_code.call("run.fill", *given, top=TOP))] if hidden else []
        return [*lines, source_code.line(source_code.call("run.follows", text, pair))] if next_ else lines


class Answers(Asking):
    """A reader answers a question on a paragraph."""

    verb = "find_answer"
    tool: QuestionAnsweringPipeline

    def build(self) -> Sequence[widgets.Widget]:
        self.question, self.paragraph = self.area("question", 2), self.area("paragraph", 8)
        return self.question, self.paragraph

    def take(self, part: Any, place: int) -> None:
        row, truths = part[place], answers_of(part.select([place]))[0]
        self.question.value, self.paragraph.value = row["text"], row["text_pair"]
        self.truth = row["text"], (*truths[0], self.word("no_answer"))[0]

    def asked(self) -> tuple[str, str]:
        question, paragraph = self.question.value[:LONGEST], self.paragraph.value[:LONGEST]
        if not (question.strip() and paragraph.strip()):
            raise DataError(_("give a question and a paragraph that contains the answer."))
        return question, paragraph

    def answer(self, asked: tuple[Any, ...]) -> AnswerSpan:
        question, paragraph = asked
        return self.tool.answer([question], [paragraph])[0]

    def shown(self, asked: tuple[Any, ...], found: AnswerSpan) -> Html:
        paragraph = asked[1]
        before, after = paragraph[: found.start], paragraph[found.end :]
        marked = Html(f"{html.safe(before)}<mark>{html.safe(found.text)}</mark>{html.safe(after)}")
        chance = f"{100 * found.probability:.1f} %"
        told = found.text or self.word("no_answer")
        cards = html.cards([(self.word("answer"), told), (self.word("probability"), chance)])
        return html.joined(cards, self.true(asked), _block(marked))

    def code(self, asked: tuple[Any, ...]) -> list[str]:
        question, paragraph = asked
        return [source_code.line(source_code.call("run.answer", [question], [paragraph]))]


class Tags(Asking):
    """A tagger gives every word a tag: entities are highlighted, other tags stand below their words."""

    verb = "tag_words"
    tool: TokenClassificationPipeline

    def build(self) -> Sequence[widgets.Widget]:
        self.text = self.area("your_text", 4)
        return (self.text,)

    def take(self, part: Dataset, place: int) -> None:
        row = part[place]
        self.text.value = row["text"]
        if "tags" in part.column_names:
            pairs = zip(row["text"].split(" "), row["tags"].split(" "), strict=False)
            self.truth = row["text"], " ".join(f"{word}/{tag}" for word, tag in pairs if tag != OUTSIDE)

    def asked(self) -> tuple[str]:
        text = self.text.value[:LONGEST]
        if not text.strip():
            raise DataError(_("give a text."))
        return (text,)

    def answer(self, asked: tuple[Any, ...]) -> TaggedSentence:
        text = asked[0]  # that of a row is divided as the row is
        whole = self.truth is not None and self.truth[0] == text
        return self.tool.tag([text.split(" ")] if whole else [text])[0]

    def shown(self, asked: tuple[Any, ...], found: TaggedSentence) -> Html:
        if are_entities(self.tool.tags):
            marked = [(each.start, each.end, each.type, each.probability) for each in found.entities]
        else:
            marked = [
                (*span, tag, chance)
                for span, tag, chance in zip(found.spans, found.tags, found.probabilities, strict=True)
            ]
        parts, end = [], 0
        for begin, stop, name, chance in marked:
            parts.append(html.safe(found.text[end:begin]))
            told = f'<mark title="{100 * chance:.1f} %">{html.safe(found.text[begin:stop])}</mark>'
            parts.append(Html(f'{told}<sub class="lk-quiet">{html.safe(name or "–")}</sub>'))
            end = stop
        parts.append(html.safe(found.text[end:]))
        return html.joined(self.true(asked), _block(Html("".join(parts))))

    def code(self, asked: tuple[Any, ...]) -> list[str]:
        return [source_code.line(source_code.call("run.tag", list(asked)))]


class Compares(Asking):
    """An encoder compares texts by the cosines of their vectors."""

    verb = "compare_texts"
    tool: EmbeddingPipeline

    def build(self) -> Sequence[widgets.Widget]:
        self.texts = self.area("texts_by_line", 6)
        return (self.texts,)

    def take(self, part: Dataset, place: int) -> None:
        """Two rows, with the texts that belong to them."""
        rows = [part[(place + step) % len(part)] for step in range(min(2, len(part)))]
        texts = [text for row in rows for text in (row["text"], row.get("text_pair")) if text]
        self.texts.value = "\n".join(" ".join(text.split()) for text in texts)

    def asked(self) -> tuple[str, ...]:
        texts = tuple(filter(None, map(str.strip, self.texts.value[:LONGEST].split("\n"))))
        if not 2 <= len(texts) <= COMPARED:
            raise DataError(
                _("got {n_texts} texts; give 2 to {compared}, one per line."),
                n_texts=len(texts),
                compared=COMPARED,
            )
        return texts

    def answer(self, asked: tuple[Any, ...]) -> np.ndarray:
        return self.tool.similarity(asked)

    def shown(self, asked: tuple[Any, ...], found: np.ndarray) -> Html:
        head = [self.word("cosines"), *range(1, len(asked) + 1)]
        lines = [
            [f"{place}  {text}", *(f"{value:.2f}" for value in row)]
            for place, (text, row) in enumerate(zip(asked, found, strict=True), start=1)
        ]
        return html.scrolled(
            html.table(head, lines, numeric=range(1, len(head)), limit=80), self.word("cosines")
        )

    def code(self, asked: tuple[Any, ...]) -> list[str]:
        return [
            source_code.assign("vectors", source_code.call("run.embed", list(asked))),
            "vectors @ vectors.T",
        ]


#: What a model of a kind is asked by.
KINDS: ByClass[type[Asking]] = ByClass(
    {
        ChatPipeline: Chats,
        TextGenerationPipeline: Writes,
        TranslationPipeline: Translates,
        FillMaskPipeline: Fills,
        QuestionAnsweringPipeline: Answers,
        TokenClassificationPipeline: Tags,
        EmbeddingPipeline: Compares,
    }
)


def _block(text: Html | str) -> Html:
    """A text in a frame, its lines as they are."""
    return Html(f'<div class="lk-marked" style="white-space:pre-wrap">{html.safe(text)}</div>')
