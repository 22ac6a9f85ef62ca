"""What an evaluation says in one sentence: the model against its best baseline, and what to try next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labkit.evaluate.forecast import ForecastReport
from labkit.evaluate.recommend import RecommendReport
from labkit.evaluate.report import ClassificationReport
from labkit.evaluate.report_base import RowReport
from labkit.evaluate.segmentation import SegmentationReport
from labkit.evaluate.verdict import against
from labkit.i18n import _

if TYPE_CHECKING:
    from labkit.evaluate.decision import DecisionReport
    from labkit.runs.handle import RunHandle

#: Classes with fewer training rows are rare; an interval is wide from this width on; fewer steps are few.
RARE, WIDE, FEW_STEPS = 10, 0.1, 100
#: A loss still falls when its last evaluation is lower than the one before by this share.
FALLING = 0.01
#: Share of tokens lost to truncation that is worth a remark.
LOST = 0.05


@dataclass(frozen=True)
class Bar:
    """A score with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Conclusion:
    """The result of an evaluation.

    Attributes:
        sentence: the model against the best baseline.
        outcome: "better", "worse", "equal", or "alone" where there is no baseline.
        metric: of the bars.
        bars: the model first, then its baselines.
        advice: what to try next, the most promising first; each names the number it rests on.
        decision: expected cost of the decisions of a scenario; None without one.
    """

    sentence: str
    outcome: str
    metric: str
    bars: tuple[Bar, ...]
    advice: tuple[str, ...]
    decision: DecisionReport | None = None


def conclude(
    report: ClassificationReport | RowReport | ForecastReport | RecommendReport | SegmentationReport,
    run: RunHandle,
    counts: Mapping[str, int],
) -> Conclusion:
    """The conclusion of a report that includes its baselines.

    Args:
        report: of the run.
        run: its history and settings say what to try next.
        counts: class → number of training rows.
    """
    metric = "f1" if isinstance(report, ClassificationReport) else report.main
    others: Any = report.baselines
    table = report.compare(others)
    bars = tuple(
        Bar(name, *(float(line[f"{metric}{end}"]) for end in ("", "_low", "_high")))
        for name, (_unused, line) in zip(("model", *others), table.iterrows(), strict=True)
    )
    outcome, sentence = against(table, list(others), metric, getattr(report, "better", 1))
    decision: DecisionReport | None = report.decision
    if decision is not None:  # costs are what counts; a scenario also says when to stop
        outcome = decision.outcome
    advice = () if decision is not None and decision.enough else advice_of(run, report, outcome, counts)
    return Conclusion(sentence, outcome, metric, bars, tuple(advice), decision)


def advice_of(
    run: RunHandle,
    report: ClassificationReport | RowReport | ForecastReport | RecommendReport | SegmentationReport,
    outcome: str,
    counts: Mapping[str, int],
) -> Iterator[str]:
    """What to try next, the most promising first."""
    summary, steps = run.info.summary, run.info.step
    losses = [
        record.value for record in run.store.records(run.id, split="validation") if record.name == "loss"
    ]
    if len(losses) >= 2 and losses[-1] == min(losses) and losses[-1] < (1 - FALLING) * losses[-2]:
        yield _(
            "Train for more epochs: the validation loss still fell at the last evaluation, from {before:.4g} to "
            "{after:.4g}.",
            before=losses[-2], after=losses[-1],
        )  # fmt: skip
    elif steps < FEW_STEPS:
        yield _("Train for more epochs: these were only {steps:,} steps.", steps=steps)
    elif len(losses) >= 3 and (best := losses.index(min(losses)) + 1) <= len(losses) // 2:
        yield _(
            "Train for fewer epochs or with more rows: the validation loss was lowest at evaluation {best} of {count}.",
            best=best, count=len(losses),
        )  # fmt: skip
    if (lost := (summary.get("truncation") or {}).get("lost", 0.0)) >= LOST:
        yield _("Raise max_length: {lost:.0%} of the tokens of long texts are cut off.", lost=lost)
    model = run.experiment.model
    if (
        outcome != "better"
        and not model.weights
        and any(preset.get("weights") for preset in model.PRESETS.values())
    ):
        yield _("Start from pretrained weights: this model started from random ones.")
    if isinstance(report, ClassificationReport) and (rare := _rare(counts)):
        yield _("Collect more rows of {names}: {count} in training.", names=", ".join(rare[:3]),
                count=", ".join(f"{counts[name]:,}" for name in rare[:3]))  # fmt: skip
    low, high = report.intervals.get("f1", (0.0, 0.0))
    if high - low >= WIDE and not isinstance(report, ForecastReport | RecommendReport | SegmentationReport):
        yield _(
            "Evaluate on more rows: with {rows:,} rows the confidence interval is {width:.2f} wide.",
            rows=int(report.counted.sum()), width=high - low,
        )  # fmt: skip


def _rare(counts: Mapping[str, int]) -> list[str]:
    return sorted((name for name, count in counts.items() if count < RARE), key=lambda name: counts[name])
