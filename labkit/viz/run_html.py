"""Static HTML of a run for saved notebooks: no kernel, no scripts.

 The curves are an SVG picture in an ``<img>``: Jupyter shows that in notebooks it does not trust too, where
it drops an ``<svg>`` element. The picture has colours for a light page; the style below turns them round on a
dark one.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote

from labkit.core import html
from labkit.core.html import Html
from labkit.core.text import escape
from labkit.core.units import duration
from labkit.i18n import Message, translate
from labkit.runs.store import RunInfo
from labkit.viz import curves, svg
from labkit.viz.series import DRAWN, Series
from labkit.viz.words import TABLE, message, word

STYLE = """
.labkit-result{font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:13px;max-width:820px;padding:4px}
.labkit-result pre{white-space:pre-wrap;user-select:all;max-height:20em;overflow:auto}
.labkit-result table{border-collapse:collapse;font-variant-numeric:tabular-nums}
.labkit-result td,.labkit-result th{padding:1px 8px}
.labkit-result .lk-number{text-align:right}
.labkit-warning{border-left:3px solid #b26a00;padding:1px 8px;margin:4px 0}
.labkit-advice{border-left:3px solid #0072b2;padding:1px 8px;margin:4px 0}
.labkit-error{border:2px solid #c62828;border-radius:3px;padding:4px 8px;margin:4px 0}
[data-jp-theme-light=false] .labkit-result img,.vscode-dark .labkit-result img{filter:invert(.93) hue-rotate(180deg)}
"""


def result(info: RunInfo, series: Series, code: str = "", language: str = "en") -> str:
    """The run as HTML: state, error and cure, curves, numbers, code (``code`` is HTML of
    :func:`code_section`)."""
    figure = curves.of_run(series, language, curves.baseline(info.summary, language))
    parts = [
        f"<style>{STYLE}</style>" + headline(info, language),
        error_box(problem_of(info), info.id, language),
        interruption_box(info, language),
        warning_box(info, language),
        advice_box(info, language),
        f'<img alt="{escape(figure.alt)}" src="{data_url(svg.document(figure))}" style="width:100%;max-width:800px"/>',
        numbers(series, language),
        code,
    ]
    return f'<div class="labkit-result {html.LITERAL}">{"".join(parts)}</div>'


def headline(info: RunInfo, language: str = "en") -> str:
    """Name, status and how far the run is, in one line of HTML."""
    facts = [word(info.status, language), *facts_of(info, language)]
    return f"<div><strong>{escape(info.name)}</strong> {escape(' · '.join(facts))}</div>"


def facts_of(info: RunInfo, language: str = "en") -> list[str]:
    """How far a run is, how long it takes and how fast it is, each as a short phrase of plain text."""
    return [fact for fact, _ in explained_facts(info, language)]


def explained_facts(info: RunInfo, language: str = "en") -> list[tuple[str, str]]:
    """The facts of :func:`facts_of`, each with a sentence that explains it, or ""."""
    facts = [(word("steps", language, step=info.step, steps=info.steps or "?"), word("steps_help", language))]

    def add(key: str, **places: object) -> None:
        explanation = word(f"{key}_help", language) if f"{key}_help" in TABLE else ""
        facts.append((word(key, language, **places), explanation))

    if info.epochs:
        ended = info.steps > 0 and info.over and info.step >= info.steps
        add("epochs", epoch=info.epochs if ended else min(info.epoch + 1, info.epochs), epochs=info.epochs)
    speed = info.summary.get("steps_per_second")
    if info.over and info.started and info.ended:
        add("took", time=duration(info.ended - info.started))
    elif speed and info.steps and info.status != "paused":
        add("left", time=duration((info.steps - info.step) / speed))
    if examples := info.summary.get("examples_per_second"):
        add("speed", number=f"{examples:.3g}" if examples < 100 else f"{examples:.0f}")
    if info.compilations:
        add("compilations", n=info.compilations)
    troubles = ("skipped", "gradient_alarms", "restarts", "quarantined")
    for key in (key for key in troubles if info.summary.get(key)):
        told = info.summary[key]
        add(key, n=len(told) if isinstance(told, list) else told)
    if info.summary.get("checkpoint_error"):
        add("checkpoint_error")
    return facts


def measure(info: RunInfo) -> str:
    """Metric of a run shown in addition to its loss, known before training: F1 of classes, R² of numbers,
    accuracy of the rest."""
    task = info.settings("task").get("name", "classify")
    return {
        "classify": "f1", "distill": "f1", "multilabel": "f1", "regress": "r2", "forecast": "mae", "segment": "miou",
        "asr": "cer", "generate-images": "mse",
    }.get(str(task), "accuracy")  # fmt: skip


class Problem(NamedTuple):
    """An error that a panel shows. ``text`` begins with the error's type."""

    text: str
    cure: str = ""
    traceback: str = ""


def problem_of(info: RunInfo) -> Problem | None:
    """What ended a run, if anything did."""
    if info.status not in ("failed", "lost") or interruption(info):
        return None
    return Problem(info.error or message(info.status), info.cure, info.traceback)


def interruption(info: RunInfo) -> Message | None:
    """What interrupted a run that did not fail: its process has ended."""
    if info.status != "lost" or info.error:
        return None
    kernel = str(info.environment.get("command", "")).startswith("ipykernel")
    return message("interrupted_by_restart" if kernel else "interrupted_by_end", step=info.step)


def interruption_box(info: RunInfo, language: str = "en", cure: str = "") -> str:
    """That a run was interrupted, and how it goes on (by default, in code); empty for others."""
    told = interruption(info)
    if told is None:
        return ""
    said = f"{translate(told, language)} {cure or translate(info.cure, language)}"
    return f'<div class="labkit-warning {html.LITERAL}" role="status"><p>{escape(said)}</p></div>'


def error_box(problem: Problem | None, run_id: str, language: str = "en") -> str:
    """A problem as a red box of HTML, with its traceback to copy and the run it is of; empty where there is
    none."""
    if problem is None:
        return ""
    said = escape(translate(problem.cure, language))
    cure = f"<div>{escape(word('cure', language))}: {said}</div>" if problem.cure else ""
    trace = (
        html.details(word("traceback", language), html.block(problem.traceback)) if problem.traceback else ""
    )
    run = f"<div><small>{escape(word('run_id', language))} {escape(run_id)}</small></div>" if run_id else ""
    text = f"<strong>{escape(translate(problem.text, language))}</strong>"
    return f'<div class="labkit-error {html.LITERAL}" role="alert">{text}{cure}{trace}{run}</div>'


def warning_box(info: RunInfo, language: str = "en") -> str:
    """What a run warns of, such as truncation, a paragraph each; empty where there is nothing."""
    texts = (translate(text, language) for text in info.summary.get("warnings", ()))
    paragraphs = "".join(f"<p>{escape(text)}</p>" for text in texts)
    return f'<div class="labkit-warning {html.LITERAL}" role="note">{paragraphs}</div>' if paragraphs else ""


def advice_box(info: RunInfo, language: str = "en") -> str:
    """How the next run could be better, by the losses of this one; empty where nothing is known."""
    texts = (translate(text, language) for text in info.summary.get("advice", ()))
    told = "".join(f"<p>{escape(text)}</p>" for text in texts)
    return f'<div class="labkit-advice {html.LITERAL}" role="note">{told}</div>' if told else ""


def code_section(python: str, toml: str, language: str = "en") -> str:
    """The code that reproduces a run, folded; one click selects all of a block."""
    blocks = [(word("python", language), python), (word("toml", language), toml)]
    parts = [Html(f"<div>{escape(title)}</div>{html.block(text)}") for title, text in blocks if text]
    return html.details(word("code", language), *parts) if parts else ""


def download(name: str, text: str, title: str) -> str:
    """A link to a file that is in the page already."""
    address = "data:text/plain;charset=utf-8," + quote(text)
    return f'<a download="{escape(name)}" href="{address}">{escape(title)}</a>'


def numbers(series: Series, language: str = "en", rows: int = 12) -> str:
    """The last values of every series as a table of HTML, a row for each step that was evaluated."""
    keys = [f"{split}/{name}" for split, name in DRAWN if f"{split}/{name}" in series]
    if not keys:
        return f"<div>{escape(word('nothing', language))}</div>"
    steps = next((series[key][0] for key in keys if key.startswith("validation")), series[keys[0]][0])[-rows:]
    head = [word("step", language), *(curves.title(key, language) for key in keys)]
    lines = [[step, *(_at(series[key], step) for key in keys)] for step in steps]
    return html.details(word("numbers", language), html.table(head, lines, numeric=range(len(head))))


def _at(points: tuple[list[int], list[float]], step: int) -> str:
    """The value at a step, or the last before it."""
    before = [value for at, value in zip(*points, strict=True) if at <= step]
    return f"{before[-1]:.4f}" if before else ""


def data_url(svg: str) -> str:
    """An SVG as the address of an image."""
    return "data:image/svg+xml," + quote(svg, safe=" =:/;,.-()'*+!?@")
