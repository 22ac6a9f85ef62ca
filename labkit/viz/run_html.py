"""A run as one piece of HTML that needs no kernel, no script and no trust: what stays in a saved notebook.

The curves are an SVG picture in an ``<img>``: Jupyter shows that in notebooks it does not trust too, where it drops
an ``<svg>`` element. The picture has colours for a light page; the style below turns them round on a dark one.
"""

from __future__ import annotations

import math
from typing import NamedTuple
from urllib.parse import quote

from labkit.core.text import escape
from labkit.i18n import translate
from labkit.runs.store import RunInfo
from labkit.viz.series import DRAWN, Series, second, thin, ticks
from labkit.viz.words import message, word

#: Most points of a series in the picture: it stays below 20 kB.
MOST = 240
#: Blue and vermilion of Okabe and Ito, which all kinds of colour vision tell apart; and dashes for validation.
COLOURS = {"train": "#0072b2", "validation": "#d55e00"}
#: On every element with text from outside: JupyterLab would typeset what stands between dollar signs.
LITERAL = "mathjax_ignore tex2jax_ignore"
_DASHES = {"train": "", "validation": ' stroke-dasharray="6 3"'}
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 400, 230, 44, 12, 26, 30

STYLE = """
.labkit-result{font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:13px;max-width:820px;padding:4px}
.labkit-result pre{white-space:pre-wrap;user-select:all;max-height:20em;overflow:auto}
.labkit-result table{border-collapse:collapse;font-variant-numeric:tabular-nums}
.labkit-result td,.labkit-result th{padding:1px 8px;text-align:right}
.labkit-warning{border-left:3px solid #b26a00;padding:1px 8px;margin:4px 0}
.labkit-error{border:2px solid #c62828;border-radius:3px;padding:4px 8px;margin:4px 0}
[data-jp-theme-light=false] .labkit-result img,.vscode-dark .labkit-result img{filter:invert(.93) hue-rotate(180deg)}
"""


def result(info: RunInfo, series: Series, code: str = "", language: str = "en") -> str:
    """The run as HTML: state, error and cure, curves, numbers, code (``code`` is HTML of :func:`code_section`)."""
    parts = [
        f"<style>{STYLE}</style>" + headline(info, language),
        error_box(problem_of(info), info.id, language),
        warning_box(info, language),
        f'<img alt="{escape(spoken(series, language))}" src="{data_url(picture(series, language))}"'
        ' style="width:100%;max-width:800px"/>',
        numbers(series, language),
        code,
    ]
    return f'<div class="labkit-result {LITERAL}">{"".join(parts)}</div>'


def headline(info: RunInfo, language: str = "en") -> str:
    """Name, status and how far the run is, in one line of HTML."""
    facts = [word(info.status, language), *facts_of(info, language)]
    return f"<div><strong>{escape(info.name)}</strong> {escape(' · '.join(facts))}</div>"


def facts_of(info: RunInfo, language: str = "en") -> list[str]:
    """How far a run is, how long it takes and how fast it is, each as a short phrase of plain text."""
    facts = [word("steps", language, step=info.step, steps=info.steps or "?")]
    if info.epochs:
        facts.append(word("epochs", language, epoch=min(info.epoch + (not info.over), info.epochs), epochs=info.epochs))
    speed = info.summary.get("steps_per_second")
    if info.over and info.started and info.ended:
        facts.append(word("took", language, time=duration(info.ended - info.started)))
    elif speed and info.steps and info.status != "paused":
        facts.append(word("left", language, time=duration((info.steps - info.step) / speed)))
    if examples := info.summary.get("examples_per_second"):
        facts.append(word("speed", language, number=f"{examples:.3g}" if examples < 100 else f"{examples:.0f}"))
    if info.compilations:
        facts.append(word("compilations", language, n=info.compilations))
    troubles = ("skipped", "gradient_alarms", "restarts", "quarantined")
    for key in (key for key in troubles if info.summary.get(key)):
        told = info.summary[key]
        facts.append(word(key, language, n=len(told) if isinstance(told, list) else told))
    if info.summary.get("unsaved"):
        facts.append(word("unsaved", language))
    return facts


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def measure(info: RunInfo) -> str:
    """What a run is shown by beside its loss, known before it has any number: F1 of classes, R² of numbers, accuracy of
    the rest."""
    task = info.settings("task").get("name", "classify")
    return {"classify": "f1", "multilabel": "f1", "regress": "r2"}.get(str(task), "accuracy")


class Problem(NamedTuple):
    """An error that a panel shows. ``text`` begins with the error's type."""

    text: str
    cure: str = ""
    traceback: str = ""


def problem_of(info: RunInfo) -> Problem | None:
    """What ended a run, if anything did."""
    if info.status not in ("failed", "lost"):
        return None
    return Problem(info.error or message(info.status), info.cure, info.traceback)


def error_box(problem: Problem | None, run_id: str, language: str = "en") -> str:
    """A problem as a red box of HTML, with its traceback to copy and the run it is of; empty where there is none."""
    if problem is None:
        return ""
    said = escape(translate(problem.cure, language))
    cure = f"<div>{escape(word('cure', language))}: {said}</div>" if problem.cure else ""
    trace = details(word("traceback", language), problem.traceback) if problem.traceback else ""
    run = f"<div><small>{escape(word('run_id', language))} {escape(run_id)}</small></div>" if run_id else ""
    text = f"<strong>{escape(translate(problem.text, language))}</strong>"
    return f'<div class="labkit-error {LITERAL}" role="alert">{text}{cure}{trace}{run}</div>'


def warning_box(info: RunInfo, language: str = "en") -> str:
    """What a run warns of, such as truncation, a paragraph each; empty where there is nothing."""
    texts = (translate(text, language) for text in info.summary.get("warnings", ()))
    paragraphs = "".join(f"<p>{escape(text)}</p>" for text in texts)
    return f'<div class="labkit-warning {LITERAL}" role="note">{paragraphs}</div>' if paragraphs else ""


def code_section(python: str, toml: str, language: str = "en") -> str:
    """The code that reproduces a run, folded; one click selects all of a block."""
    blocks = [(word("python", language), python), (word("toml", language), toml)]
    body = "".join(f"<div>{escape(title)}</div>{block(text)}" for title, text in blocks if text)
    return f"<details><summary>{escape(word('code', language))}</summary>{body}</details>" if body else ""


def download(name: str, text: str, title: str) -> str:
    """A link to a file that is in the page already."""
    address = "data:text/plain;charset=utf-8," + quote(text)
    return f'<a download="{escape(name)}" href="{address}">{escape(title)}</a>'


def details(title: str, text: str) -> str:
    """Text to copy, folded under a title."""
    return f"<details><summary>{escape(title)}</summary>{block(text)}</details>"


def block(text: str) -> str:
    """Text as it is, in a block that the keyboard reaches."""
    return f'<pre tabindex="0">{escape(text)}</pre>'


def numbers(series: Series, language: str = "en", rows: int = 12) -> str:
    """The last values of every series as a table of HTML, a row for each step that was evaluated."""
    keys = [f"{split}/{name}" for split, name in DRAWN if f"{split}/{name}" in series]
    if not keys:
        return f"<div>{escape(word('nothing', language))}</div>"
    steps = next((series[key][0] for key in keys if key.startswith("validation")), series[keys[0]][0])[-rows:]
    head = "".join(f"<th>{escape(title(key, language))}</th>" for key in keys)
    body = "".join(
        f"<tr><td>{step}</td>{''.join(f'<td>{_at(series[key], step)}</td>' for key in keys)}</tr>" for step in steps
    )
    table = f"<table><tr><th>{escape(word('step', language))}</th>{head}</tr>{body}</table>"
    return f"<details><summary>{escape(word('numbers', language))}</summary>{table}</details>"


def title(key: str, language: str = "en") -> str:
    """The name of a series, such as ``Loss, validation``."""
    split, name = key.split("/")
    return f"{word(name, language)}, {word(split, language)}"


def spoken(series: Series, language: str = "en") -> str:
    """The curves in words, for those who do not see them."""
    said = [
        word("last", language, what=title(key, language), value=f"{y[-1]:.4g}", step=x[-1])
        for key, (x, y) in series.items()
    ]
    return "; ".join(said) or word("nothing", language)


def _at(points: tuple[list[int], list[float]], step: int) -> str:
    """The value at a step, or the last before it."""
    before = [value for at, value in zip(*points, strict=True) if at <= step]
    return f"{before[-1]:.4f}" if before else ""


# --- the picture ----------------------------------------------------------------------------------------------


def data_url(svg: str) -> str:
    """An SVG as the address of an image."""
    return "data:image/svg+xml," + quote(svg, safe=" =:/;,.-()'*+!?@")


def picture(series: Series, language: str = "en") -> str:
    """Loss and F1 (or accuracy) over steps, side by side, as an SVG document."""
    width = 2 * _WIDTH
    plots = [
        f"<g transform='translate({i * _WIDTH} 0)'>{_plot(series, name, language)}</g>"
        for i, name in enumerate(("loss", second(series)))
    ]
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {_HEIGHT}' width='{width}' height='{_HEIGHT}'"
        f" font-family='sans-serif' font-size='11' fill='#333'><rect width='{width}' height='{_HEIGHT}' fill='#fff'/>"
        f"{''.join(plots)}</svg>"
    )


def _plot(series: Series, name: str, language: str) -> str:
    lines = {split: series[f"{split}/{name}"] for split in COLOURS if f"{split}/{name}" in series}
    finite = [v for _, values in lines.values() for v in values if math.isfinite(v)]
    ys = [0.0, 0.25, 0.5, 0.75, 1.0] if name != "loss" else ticks(min(finite, default=0.0), max(finite, default=1.0))
    xs = ticks(0, max([1, *(steps[-1] for steps, _ in series.values())]))
    frame = _Frame(xs[-1], ys[0], ys[-1])
    parts = [_grid(frame, xs, ys), f"<text x='{_LEFT}' y='15' font-weight='bold'>{escape(word(name, language))}</text>"]
    for number, (split, points) in enumerate(lines.items()):
        at = 105 + 145 * number  # clear of "Accuracy", the longest of the titles
        stroke = f"stroke='{COLOURS[split]}' stroke-width='1.6' fill='none'{_DASHES[split]}"
        parts.append(f"<path d='M{at} 11h22' {stroke}/>")
        parts.append(f"<text x='{at + 26}' y='15'>{escape(word(split, language))} {points[1][-1]:#.4g}</text>")
        parts.append(f"<path d='{_path(frame, *thin(*points, MOST))}' {stroke} stroke-linejoin='round'/>")
        if len(points[0]) <= 40:
            parts += [_marker(frame, split, x, y) for x, y in zip(*points, strict=True) if math.isfinite(y)]
    return "".join(parts)


class _Frame(NamedTuple):
    """The plotted range: steps from 0 to ``right``, values from ``low`` to ``high``."""

    right: float
    low: float
    high: float

    def x(self, step: float) -> str:
        return f"{_LEFT + (_WIDTH - _LEFT - _RIGHT) * step / self.right:.1f}"

    def y(self, value: float) -> str:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return f"{_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share:.1f}"


def _grid(frame: _Frame, xs: list[float], ys: list[float]) -> str:
    end = _WIDTH - _RIGHT
    lines = "".join(f"M{_LEFT} {frame.y(y)}H{end}" for y in ys)
    left = "".join(f"<text x='{_LEFT - 6}' y='{float(frame.y(y)) + 4:.1f}'>{y:g}</text>" for y in ys)
    below = "".join(f"<text x='{frame.x(x)}' y='{_HEIGHT - _BOTTOM + 16}'>{x:g}</text>" for x in xs)
    return (
        f"<path d='{lines}' stroke='#ddd' fill='none'/><g text-anchor='end'>{left}</g>"
        f"<g text-anchor='middle'>{below}</g>"
    )


def _path(frame: _Frame, steps: list[int], values: list[float]) -> str:
    """Line commands; a value that is not finite leaves a gap."""
    parts, pen = [], "M"
    for step, value in zip(steps, values, strict=True):
        if math.isfinite(value):
            parts.append(f"{pen}{frame.x(step)} {frame.y(value)}")
            pen = "L"
        else:
            pen = "M"
    return "".join(parts)


def _marker(frame: _Frame, split: str, step: float, value: float) -> str:
    """A dot for train, a square for validation."""
    x, y = float(frame.x(step)), float(frame.y(value))
    if split == "train":
        return f"<circle cx='{x}' cy='{y}' r='2.5' fill='{COLOURS[split]}'/>"
    return f"<path d='M{x - 3:.1f} {y - 3:.1f}h6v6h-6z' fill='{COLOURS[split]}'/>"
