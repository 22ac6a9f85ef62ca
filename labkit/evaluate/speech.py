"""Evaluation of speech recognition: word and character error rates with intervals and aligned errors, beside the most
frequent transcript and the nearest recording of the training rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from labkit.core import html
from labkit.core.errors import DataError
from labkit.data.model_input import texts_of
from labkit.data.rows import Rows
from labkit.data.transcripts import normalised, transcripts_of
from labkit.evaluate.edit_distance import SAME, Edit, aligned, counts
from labkit.evaluate.intervals import Interval, or_wilson, percentiles
from labkit.i18n import _

if TYPE_CHECKING:
    from labkit.inference.speech_recognition import SpeechRecognitionPipeline

#: Sounds of a split that are transcribed at most, and training recordings that they are compared with at most; of more
#: a sample is taken.
MOST, RECORDINGS = 500, 300
RESAMPLES = 1000
#: Rates: edits ÷ length of the transcripts, in characters and in words.
METRICS = ("cer", "wer")
FREQUENT, NEAREST, BEAM = "most frequent transcript", "nearest recording", "beam search"


class NearestRecording:
    """The transcript of the training recording with the smallest dynamic time warping distance (Sakoe & Chiba 1978).

    Args:
        frames: of each recording, f32[t, bands]; pairs of frames are averaged.
        texts: their transcripts.
    """

    def __init__(self, frames: Sequence[np.ndarray], texts: Sequence[str]):
        halved = [_halved(each) for each in frames]
        self.texts, self._lengths = list(texts), np.array([len(each) for each in halved])
        self._frames = np.zeros((len(halved), int(self._lengths.max()), halved[0].shape[1]), np.float32)
        for place, each in enumerate(halved):
            self._frames[place, : len(each)] = each

    def distances(self, frames: np.ndarray) -> np.ndarray:
        """Distance to each recording, f64[n]: the least sum of Euclidean distances of frames along a path that goes
        forward in both sounds, ÷ their two lengths."""
        new = _halved(frames)
        squares = (self._frames**2).sum(-1)
        last = np.full((self._frames.shape[1] + 1, len(self.texts)), np.inf)
        last[0] = 0.0
        for frame in new:
            cost = np.sqrt(np.maximum(squares - 2 * self._frames @ frame + frame @ frame, 0)).T
            here = np.empty_like(last)
            here[0] = np.inf
            before = np.minimum(last[1:], last[:-1])
            for place, each in enumerate(cost, 1):
                here[place] = each + np.minimum(before[place - 1], here[place - 1])
            last = here
        ends = last[self._lengths, np.arange(len(self.texts))]
        return ends / (len(new) + self._lengths)

    def transcribe(self, frames: Sequence[np.ndarray]) -> list[str]:
        """The transcript of the nearest recording to each sound."""
        return [self.texts[int(self.distances(each).argmin())] for each in frames]


def _halved(frames: np.ndarray) -> np.ndarray:
    even = frames[: len(frames) // 2 * 2].astype(np.float32)
    return even.reshape(-1, 2, frames.shape[1]).mean(1) if len(even) else frames.astype(np.float32)


class SpeechReport:
    """Transcripts of one split, compared with what was said and with other systems.

    Transcripts are compared in their usual form (:func:`labkit.data.transcripts.normalised`).

    Args:
        outputs: transcripts by the model.
        references: what was said.
        others: name → transcripts by another system, such as a baseline.
        groups: a group of each sound, for rates by group; empty for none.
        rows: row numbers in the source.
        seed: of the resamples.

    Raises:
        DataError: different numbers of transcripts, no transcript, or an empty reference.
    """

    def __init__(
        self,
        outputs: Sequence[str],
        references: Sequence[str],
        others: Mapping[str, Sequence[str]] | None = None,
        *,
        groups: Sequence[str] = (),
        rows: Sequence[int] | None = None,
        split: str = "test",
        seed: int = 0,
    ):
        self.references = [normalised(text) for text in texts_of(references, _("transcript"))]
        n = len(self.references)
        self.systems = {
            name: [normalised(text) for text in texts_of(each, _("transcript"))]
            for name, each in {"": outputs, **(others or {})}.items()
        }
        for each in (*self.systems.values(), *([groups] if groups else [])):
            if len(each) != n or not n:
                raise DataError(
                    _("{n_outputs} transcripts for {n} sounds."), n_outputs=len(each), n=n
                )  # fmt: skip
        if not all(self.references):
            raise DataError(
                _("transcript {place} of the references has no word."), place=self.references.index("")
            )
        self.rows = list(range(n)) if rows is None else [int(row) for row in rows]
        self.groups = [str(group) for group in groups]
        self.split, self.seed = split, seed
        self.sampled = 0  # sounds of the split of which these are a sample; 0: these are all

    @property
    def outputs(self) -> list[str]:
        """Transcripts by the model."""
        return self.systems[""]

    def score(self, metric: str = "cer", system: str = "", group: str = "") -> float:
        """Error rate of a system, of all sounds or of a group: edits ÷ length of what was said; it can exceed 1."""
        return float(_rate(self._counts[metric, system][self._here(group)].sum(0)))

    def interval(self, metric: str = "cer", system: str = "", group: str = "") -> Interval:
        """95 % bootstrap interval of :meth:`score`, by sound."""
        edges = percentiles(self._drawn(metric, system, group))
        return or_wilson(edges, int(self._here(group).sum()))

    def gain(self, other: str, metric: str = "cer", group: str = "") -> tuple[float, float, float]:
        """Error rate of another system less that of the model, with its paired 95 % bootstrap interval; above 0 the
        model is better."""
        difference = self.score(metric, other, group) - self.score(metric, "", group)
        return difference, *percentiles(self._drawn(metric, other, group) - self._drawn(metric, "", group))

    def edits(self, metric: str = "cer", system: str = "") -> dict[str, int]:
        """Substitutions, deletions and insertions over all sounds, and the length of what was said."""
        names = ("substitutions", "deletions", "insertions", "length")
        return dict(zip(names, self._counts[metric, system].sum(0).tolist(), strict=True))

    def alignment(self, place: int, metric: str = "cer") -> list[Edit]:
        """Of the sound at a place: what was said and the model's transcript, aligned by characters or words."""
        return self._aligned[metric, ""][place]

    def confusions(self, metric: str = "cer", most: int = 20) -> pd.DataFrame:
        """The most frequent errors of the model: ``kind``, ``truth``, ``answer``, ``count``."""
        found = Counter(
            edit for each in self._aligned[metric, ""] for edit in each if edit.kind != SAME
        )  # fmt: skip
        lines = [
            (*edit, number) for edit, number in sorted(found.items(), key=lambda each: (-each[1], each[0]))
        ]
        return pd.DataFrame(lines[:most], columns=["kind", "truth", "answer", "count"])

    def scores(self) -> tuple[dict[str, float], dict[str, Interval]]:
        """Scores by name with their intervals: ``cer``, ``wer``, and of every other system its own and what the model
        gains over it; with groups also those of each, such as ``cer/digits``."""
        found, intervals = dict[str, float](), dict[str, Interval]()
        for metric in METRICS:
            for system in self.systems:
                called = f"{_short(system)}{metric}"
                found[called], intervals[called] = self.score(metric, system), self.interval(metric, system)
                if system:
                    gain, *edges = self.gain(system, metric)
                    found[f"{called}_gain"], intervals[f"{called}_gain"] = gain, (edges[0], edges[1])
            for group in self.known_groups:
                called = f"{metric}/{group}"
                found[called], intervals[called] = (
                    self.score(metric, "", group),
                    self.interval(metric, "", group),
                )
        return found, intervals

    @property
    def known_groups(self) -> list[str]:
        """The groups, where there are several."""
        known = sorted(set(self.groups))
        return known if len(known) > 1 else []

    def table(self) -> pd.DataFrame:
        """Error rate and interval by group and system, with the paired gain of the model."""
        lines = []
        for group in ("", *self.known_groups):
            for system in self.systems:
                line: dict[str, Any] = {
                    "group": group or "all", "system": system or "model", "sounds": int(self._here(group).sum()),
                }  # fmt: skip
                for metric in METRICS:
                    low, high = self.interval(metric, system, group)
                    line |= {
                        metric: self.score(metric, system, group),
                        f"{metric}_low": low,
                        f"{metric}_high": high,
                    }
                    if system:
                        names = (f"{metric}_gain", f"{metric}_gain_low", f"{metric}_gain_high")
                        line |= dict(zip(names, self.gain(system, metric, group), strict=True))
                lines.append(line)
        return pd.DataFrame(lines)

    def to_pandas(self) -> pd.DataFrame:
        """A line for each sound: ``row``, ``truth``, ``output``, the other systems, its ``cer`` and its
        ``substitutions``, ``deletions`` and ``insertions`` of characters; the worst first."""
        each = self._counts["cer", ""]
        frame = pd.DataFrame(
            {
                "row": self.rows, **({"group": self.groups} if self.groups else {}), "truth": self.references,
                "output": self.outputs, **{name: texts for name, texts in self.systems.items() if name},
                "cer": _rate(each), "substitutions": each[:, 0], "deletions": each[:, 1], "insertions": each[:, 2],
                "place": np.arange(len(each)),
            }
        )  # fmt: skip
        return frame.sort_values("cer", ascending=False, kind="stable").reset_index(drop=True)

    def __repr__(self) -> str:
        lines = [_("Speech report: {split}, {rows:,} sounds", split=self.split, rows=len(self.rows))]
        if self.sampled:
            lines.append(
                _(
                    "Scored on a random sample of {count} of {rows} rows.",
                    count=len(self.rows), rows=self.sampled,
                )
            )  # fmt: skip
        return "\n".join([*map(str, lines), self.table().round(3).to_string(index=False)])

    def _repr_html_(self) -> str:
        frame = self.table().round(3).astype(object).where(lambda each: each.notna(), "")
        table = html.table(list(frame.columns), frame.to_numpy().tolist(), numeric=range(2, frame.shape[1]))
        return html.page(str(repr(self).split("\n")[0]), table)

    # --- resamples ----------------------------------------------------------------------------------------------

    def _here(self, group: str) -> np.ndarray:
        if not group:
            return np.ones(len(self.rows), bool)
        if group not in self.groups:
            raise DataError(
                _("unknown group {group!r}. Known: {known}."),
                group=group, known=", ".join(sorted(set(self.groups))) or _("none"),
            )  # fmt: skip
        return np.array([each == group for each in self.groups], bool)

    @cached_property
    def _aligned(self) -> dict[tuple[str, str], list[list[Edit]]]:
        return {
            (metric, name): [
                aligned(one, other) if metric == "cer" else aligned(one.split(), other.split())
                for one, other in zip(self.references, texts, strict=True)
            ]
            for metric in METRICS
            for name, texts in self.systems.items()
        }

    @cached_property
    def _counts(self) -> dict[tuple[str, str], np.ndarray]:
        return {key: np.stack([counts(each) for each in found]) for key, found in self._aligned.items()}

    def _drawn(self, metric: str, system: str, group: str) -> np.ndarray:
        """The rates of all resamples; the same sounds for every system and metric."""
        each = self._counts[metric, system][self._here(group)]
        n = len(each)
        draws = np.random.default_rng(self.seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
        return _rate(draws @ each)


def _rate(sums: np.ndarray) -> np.ndarray:
    return sums[..., :3].sum(-1) / np.maximum(sums[..., 3], 1)


def _short(system: str) -> str:
    """What the name of a system puts before that of a score."""
    known = {"": "", FREQUENT: "baseline_", NEAREST: "nearest_", BEAM: "beam_"}
    return known.get(system, f"{system}_")


def speech_report(
    pipeline: SpeechRecognitionPipeline,
    rows: Rows,
    split: str = "test",
    *,
    baselines: bool = True,
    group: str | None = None,
    beams: int = 0,
    language: float = 0.5,
    most: int = MOST,
    seed: int = 0,
) -> SpeechReport:
    """Transcribe a split by greedy decoding and compare with what was said, and with baselines of the training split.

    Args:
        pipeline: the model.
        rows: sounds with transcripts.
        split: which of them.
        baselines: compare with the most frequent transcript, and with that of the nearest recording.
        group: column of the rows for rates by group, such as a kind of words or a speaker. Default: ``group`` where
            there is such a column.
        beams: compare with a beam search with a language model of so many beams; 0: do not.
        language: weight of that language model.
        most: sounds that are transcribed at most; of more a sample.
        seed: of the samples and resamples.

    Raises:
        DataError: there is no such column, or no transcripts.
    """
    part, train = rows[split], rows.splits.get("train")
    random = np.random.default_rng(seed)
    if len(part) > most:
        part = part.select(np.sort(random.choice(len(part), most, replace=False)))
    group = group if group is not None or "group" not in part.column_names else "group"
    if group is not None and group not in part.column_names:
        raise DataError(
            _("{split} has no column {column!r}. It has: {known}."),
            split=split, column=group, known=", ".join(part.column_names),
        )  # fmt: skip
    references = transcripts_of(part)
    outputs = [each.text for each in pipeline.transcribe_split(part)]
    others = dict[str, Sequence[str]]()
    if beams:
        others[BEAM] = [each.text for each in pipeline.transcribe_split(part, beams, language)]
    if baselines and train is not None and split != "train":
        known = [normalised(text) for text in transcripts_of(train)]
        usual = min(Counter(known).items(), key=lambda each: (-each[1], each[0]))[0]
        others[FREQUENT] = [usual] * len(part)
        chosen = _spread(known, RECORDINGS, random)
        recordings = NearestRecording(pipeline.frames_of(train.select(chosen)), [known[at] for at in chosen])
        others[NEAREST] = recordings.transcribe(pipeline.frames_of(part))
    report = SpeechReport(
        outputs, references, others, groups=[] if group is None else list(map(str, part[group])), rows=part["row"],
        split=split, seed=seed,
    )  # fmt: skip
    report.sampled = len(rows[split]) if len(rows[split]) > most else 0
    return report


def _spread(texts: Sequence[str], most: int, random: np.random.Generator) -> list[int]:
    """Places of at most so many texts, as many different ones as possible."""
    seen: Counter[str] = Counter()
    ranked = []
    for place in random.permutation(len(texts)).tolist():
        ranked.append((seen[texts[place]], len(ranked), place))
        seen[texts[place]] += 1
    return sorted(place for _turn, _order, place in sorted(ranked)[:most])
