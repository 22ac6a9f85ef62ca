"""Texts of panels by key: runs here, lab steps in words_steps.py, words_train.py and words_evaluate.py."""

from __future__ import annotations

import dataclasses
import locale
import os

from labkit.core.errors import ConfigError, nearest
from labkit.i18n import LANGUAGES, Message, _, ngettext, pgettext, translate
from labkit.i18n.labels import LABELS
from labkit.viz import words_evaluate, words_steps, words_train

#: key → English text. Places in braces are filled by :func:`word`.
RUNS: dict[str, Message] = {
    # what a run is doing: labkit.runs.store.STATUSES
    "created": _("created"),
    "preparing": _("preparing"),
    "compiling": _("compiling"),
    "running": _("running"),
    "evaluating": _("evaluating"),
    "saving": _("saving"),
    "paused": _("paused"),
    "finished": _("finished"),
    "stopped": _("stopped"),
    "failed": _("failed"),
    "lost": _("interrupted"),
    # numbers
    "loss": _("Loss"),
    "f1": _("F1"),
    "miou": _("Mean IoU"),
    "accuracy": _("Accuracy"),
    "r2": _("R²"),
    "train": _("train"),
    "validation": _("validation"),
    "step": _("step"),
    "steps": _("step {step} of {steps}"),
    "epochs": pgettext("setting", "epoch {epoch} of {epochs}"),
    "left": _("{time} left"),
    "took": _("took {time}"),
    "speed": _("{number} examples/s"),
    "compilations": ngettext("{n} compilation", "{n} compilations"),
    "skipped": ngettext("{n} update skipped", "{n} updates skipped"),
    "gradient_alarms": ngettext("{n} gradient spike", "{n} gradient spikes"),
    "restarts": ngettext("restarted {n} time", "restarted {n} times"),
    "quarantined": ngettext("{n} damaged checkpoint quarantined", "{n} damaged checkpoints quarantined"),
    "checkpoint_error": _("the last checkpoint could not be saved"),
    "rate": _("learning rate {number}"),
    "epsilon_so_far": _("ε so far {number}"),
    "progress": _("progress of the run"),
    "nothing": _("no numbers yet"),
    "last": _("{what}: {value} at step {step}"),
    "numbers": pgettext("table", "Numbers"),
    # controls
    "pause": _("Pause"),
    "resume": _("Resume"),
    "stop": _("Stop"),
    "save": _("Save now"),
    "learning_rate": _("Learning rate"),
    "set": _("Set"),
    "pause_help": _("Pause the run before the next step"),
    "resume_help": _("Resume training"),
    "stop_help": _("Stop the run before the next step; the best model is saved"),
    "save_help": _("Save a checkpoint before the next step"),
    "set_help": _("Peak learning rate from the next step on"),
    "asked": _("{what}: requested; takes effect at the next step"),
    "not_a_number": _("{value} is not a learning rate. Give a number of 0 or more, such as 2e-5."),
    # errors and code
    "cure": _("What to do"),
    "traceback": _("Traceback"),
    "run_id": _("run"),
    "code": _("Code that reproduces this run"),
    "python": _("Python"),
    "toml": _("Experiment file, for `labkit train`"),
    # exercises of the course: labkit.course.lesson, labkit.course.progress
    "exercise_waiting": _("{name}: waiting for your answer"),
    "exercise_right": _("{name}: correct ✓"),
    "exercise_wrong": _("{name}: not yet. {what} Hint: {hint}"),
    "exercise_solution": ngettext(
        "{name}: the solution is shown after {n} more wrong answer, or a right one",
        "{name}: the solution is shown after {n} more wrong answers, or a right one",
    ),
    "course_lesson": _("Lesson"),
    "course_solved": _("Exercises solved"),
    "course_all": _("all"),
    "course_figure": pgettext("table", "Figure"),
    "course_quick": _("quick size (this run)"),
    "course_full": _("real size (this run)"),
    "course_real": _("real size (stored)"),
    "course_unmeasured": _("not yet measured"),
    "course_measured": _(
        "Stored real size: {minutes} min on {cores} CPU cores, {date}. Repeat it with {command}"
    ),
    "placeholder": _("run {name}: `run.show()` shows its panel"),
}
TABLE = {**RUNS, **words_steps.TABLE, **words_evaluate.TABLE, **words_train.TABLE}


chosen_language: str | None = None


def choose(name: str | None = None) -> str:
    """Choose the language of panels that are opened from now on, and return it: "en" or "zh".

    Without a name nothing changes. It is :func:`labkit.language`.

    Raises:
        ConfigError: the language is not supported.
    """
    global chosen_language
    if name is not None:
        chosen_language = language(name)
    return language()


def language(name: str | None = None) -> str:
    """The language of panels: ``name``, else the one chosen, else LABKIT_LANGUAGE, else Chinese in a notebook
    that is called NAME.zh.ipynb, else the locale's if there is a table for it.

    Raises:
        ConfigError: the language is not supported.
    """
    asked = name or chosen_language or os.environ.get("LABKIT_LANGUAGE")
    if asked:
        short = asked.replace("_", "-").lower().split("-")[0]
        if short not in LANGUAGES:
            known = ", ".join(LANGUAGES)
            raise ConfigError(
                _("language {language!r} is not supported. Available: {known}."), language=asked, known=known
            )
        return short
    if os.environ.get("JPY_SESSION_NAME", "").endswith(
        ".zh.ipynb"
    ):  # JPY_SESSION_NAME holds the path of the notebook
        return "zh"
    known = os.environ.get("LC_ALL") or os.environ.get("LANG") or locale.getlocale()[0] or ""
    return "zh" if known.lower().startswith(("zh", "chinese")) else "en"


def message(key: str, **places: object) -> Message:
    """The words of ``key``, with its places filled, for any language."""
    if key not in TABLE:
        raise KeyError(f"no words for {key!r}.{nearest(key, TABLE)}")
    return TABLE[key].fill(**places)


def word(key: str, language: str = "en", **places: object) -> str:
    """The words of ``key`` in a language, with its places filled. Plain text: escape before it becomes HTML."""
    return translate(message(key, **places), language)


def title_of(noun: str, name: str, language: str = "en") -> str:
    """What a registered ``noun`` ("task", "model") is called; one of a user's own by its name."""
    return word(f"{noun}_{name}", language) if f"{noun}_{name}" in TABLE else name.replace("_", " ")


def label_of(field: str, language: str = "en") -> str:
    """What a setting is called."""
    return translate(LABELS[field], language) if field in LABELS else field.replace("_", " ")


def help_of(field: dataclasses.Field, language: str = "en") -> str:
    """What a setting does, in a sentence."""
    return translate(field.metadata.get("help", ""), language)
