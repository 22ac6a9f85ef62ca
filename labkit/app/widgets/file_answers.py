"""Predictions for the rows of an uploaded file: the same file with answer columns, to download."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import ipywidgets as widgets

from labkit.app.widgets.controls import hear_while_busy
from labkit.app.widgets.download import Download
from labkit.app.widgets.uploads import FileDrop, file_name
from labkit.app.wording import in_panel_words
from labkit.core import html
from labkit.core.archive import unpack
from labkit.core.cache import fingerprint, write_atomic
from labkit.core.errors import LabkitError
from labkit.core.text import visible
from labkit.data.io.compressed import OPENERS
from labkit.data.io.files import READERS
from labkit.data.io.load import read_table
from labkit.data.model_input import ENDINGS
from labkit.i18n import translate
from labkit.inference.answer_files import Answered, write_answers
from labkit.tasks.base import ProblemType

if TYPE_CHECKING:
    from labkit.app.panel import Panel
    from labkit.inference.predictor import Predictor

#: Rows that could not be read that are listed.
LISTED = 5
#: Formats that are offered, by their endings.
FORMATS = (".csv", ".xlsx", ".jsonl", ".parquet")


class Upload(NamedTuple):
    """An uploaded table or pictures: a name for the answers, and the files by name."""

    name: str
    files: dict[str, bytes]


class FileOutcome(NamedTuple):
    """What predicting for a file gave: the written file, or an error and the columns to choose a text from."""

    out: Path
    found: Answered
    error: LabkitError | None = None
    columns: tuple[str, ...] = ()


class FileAnswers:
    """Upload, output format, progress and result. ``root`` is the widget.

    Args:
        panel: that shows it.
        unsure: the slider of the threshold.
    """

    def __init__(self, panel: Panel, unsure: widgets.FloatSlider):
        self.panel, self.unsure = panel, unsure
        self.predictor: Predictor | None = None
        self.given: Upload | None = None
        self.written: Path | None = None
        self.done: tuple[int, int] | None = None
        self.upload = widgets.FileUpload(description=panel.word("answer_file"), multiple=True)
        self.upload.layout.width = "auto"
        self.upload.tooltip = panel.word("answer_file_help")
        self.format = widgets.Dropdown(
            options=[(ending.removeprefix(".").upper(), ending) for ending in FORMATS],
            description=panel.word("output_format"),
        )
        self.format.layout.width, self.format.style.description_width = "auto", "auto"
        self.column = widgets.Dropdown(options=[("", "")], value="", description=panel.word("text_of_file"))
        self.column.layout.width, self.column.style.description_width = "auto", "auto"
        panel.on_change(self.column, lambda _: self.start())
        self.again = panel.button("answer_again", self.start)
        self.said, self.download = panel.html(), Download()
        hear_while_busy(self.upload)
        panel.on_change(self.upload, lambda _: self._uploaded())
        panel.on_change(self.format, lambda _: self.outdated())
        row = widgets.HBox([self.upload, FileDrop(label=panel.word("drop_file")), self.format, self.again])
        row.add_class("lk-form")
        title = panel.html(html.heading(panel.word("answer_file_title"), 4))
        self.about = panel.html()
        self.root = widgets.VBox([title, self.about, row, self.said, self.column, self.download])
        self.show(None)

    def show(self, predictor: Predictor | None) -> None:
        """Use another model; without one the section is hidden."""
        self.predictor, self.given, self.done = predictor, None, None
        self.root.layout.display = "none" if predictor is None else ""
        self.said.value = ""
        self.download.clear()
        self.again.layout.display = "none"
        self._forget_column()
        if predictor is None:
            return
        kind = predictor.processor.modality
        self.upload.accept = ",".join(
            (*READERS, *OPENERS, *((*ENDINGS[kind], ".zip") if kind in ENDINGS else ()))
        )
        self.about.value = html.paragraph(self.panel.word(f"answer_file_{kind}"), "quiet")

    # --- the file -------------------------------------------------------------------------------------------------

    def _uploaded(self) -> None:
        if not self.upload.value:
            return
        files = {file_name(one["name"]): bytes(one["content"]) for one in self.upload.value}
        first = next(iter(files))
        self.given = Upload(first if len(files) == 1 else self.panel.word("answer_files"), files)
        self._forget_column()
        with self.panel.filling():
            self.upload.value = ()
            ending = Path(first).suffix.lower()
            self.format.value = ending if ending in FORMATS else ".jsonl" if ending == ".ndjson" else ".csv"
        self.start()

    def _forget_column(self) -> None:
        """The next file has other columns."""
        with self.panel.filling():
            self.column.options, self.column.value = [("", "")], ""
        self.column.layout.display = "none"

    def outdated(self) -> None:
        """Take away answers that no longer belong to the settings."""
        self.download.clear()
        if self.given is not None:
            self.said.value = html.paragraph(self.panel.word("answers_outdated"), "quiet")

    def _settings(self) -> dict[str, Any]:
        """What the answers depend on, besides the file."""
        assert self.predictor is not None
        sure = self.predictor.problem_type is not ProblemType.NUMBER and self.unsure.value > 0
        return {"unsure_below": self.unsure.value if sure else None, "column": self.column.value or None}

    def start(self) -> None:
        """Predict for the uploaded file; in a thread."""
        predictor, given = self.predictor, self.given
        if predictor is None or given is None:
            return
        self.download.clear()
        self.again.layout.display = ""
        self.done = (0, 0)
        self.refresh()
        settings, ending = self._settings(), self.format.value
        out, place = self._out(given, ending), self.panel.state.store.folder / "uploads"

        def work() -> FileOutcome:
            source: Path | None = None
            try:
                source = _kept(given, place)
                written = write_answers(
                    predictor, source, out, encoding="utf-8-sig", on_bad="skip", progress=self._progress,
                    relative_to=source if source.is_dir() else None, **settings,
                )  # fmt: skip
            except LabkitError as error:
                return FileOutcome(out, Answered(), error, _text_columns(predictor, source))
            except BaseException:  # the panel shows it
                self.done, self.said.value = None, ""
                raise
            return FileOutcome(out, written)

        def show(found: FileOutcome) -> None:
            self.done = None
            if given is not self.given:
                return
            if (settings, ending) != (self._settings(), self.format.value):
                return self.outdated()
            self._show(given, found)

        self.panel.later("answer_file", work, show)

    def _out(self, given: Upload, ending: str) -> Path:
        """A new file beside the notebook; one that this panel has written for the same upload is replaced."""
        stem = Path(given.name).name.split(".")[0] or "file"
        for number in range(1, 1000):
            out = Path(f"{stem}-predictions{'' if number == 1 else f'-{number}'}{ending}")
            if not out.exists() or out == self.written:
                break
        return out

    def _progress(self, done: int, rows: int) -> None:
        self.done = done, rows

    def refresh(self) -> None:
        """Show how far the prediction is; called by the panel's thread."""
        if self.done is not None:
            done, rows = self.done
            told = f" {done:,} / {rows:,}" if rows else ""
            self.said.value = html.paragraph(f"{self.panel.word('answering')}{told} …", "quiet")

    def _show(self, given: Upload, outcome: FileOutcome) -> None:
        out, found, error, columns = outcome
        language = self.panel.state.language
        if error is not None:
            said = translate(in_panel_words(error), language)
            self.said.value = html.note(f"{visible(given.name, 80)}: {said}", "bad")
            with self.panel.filling():
                self.column.options = [("", ""), *((visible(name, 60), name) for name in columns)]
                self.column.value = ""
            self.column.layout.display = "" if columns else "none"
            return
        self.written = out
        count = f"{found.rows - len(found.problems):,}"
        parts = [
            html.note(self.panel.word("answered_file", file=visible(given.name, 80), rows=count), "good")
        ]
        if found.unsure:
            share = f"{found.unsure / max(found.rows, 1):.0%}"
            parts.append(
                html.paragraph(self.panel.word("answered_unsure", count=f"{found.unsure:,}", share=share))
            )
        if found.problems:
            parts.append(html.note(self._unread(found), "warn"))
        parts += [html.note(translate(note, language), "warn") for note in found.notes]
        self.said.value = html.joined(*parts)
        self.download.label = self.panel.word("download_file", file=out.name)
        self.download.offer(out)

    def _unread(self, found: Answered) -> str:
        language = self.panel.state.language
        each = [f"{row}: {translate(said, language)}" for row, said in list(found.problems.items())[:LISTED]]
        more = ["…"] if len(found.problems) > LISTED else []
        return self.panel.word(
            "rows_unread", count=f"{len(found.problems):,}", rows="; ".join([*each, *more])
        )


def _kept(given: Upload, place: Path) -> Path:
    """Write an upload into the lab folder, by its content; a zip file or several files become a folder."""
    folder = place / fingerprint(*given.files, *given.files.values())[:8]
    (name, content), *more = given.files.items()
    if name.lower().endswith(".zip"):
        target = folder / name[: -len(".zip")]
        if not target.exists():
            unpack(
                content, target, (*READERS, *(ending for endings in ENDINGS.values() for ending in endings))
            )
        return target
    target = folder / "files" if more else folder / name
    if not target.exists():
        (target if more else folder).mkdir(parents=True, exist_ok=True)
        for each, bytes_ in given.files.items():
            write_atomic((target if more else folder) / each, bytes_)
    return target


def _text_columns(predictor: Predictor, source: Path | None) -> tuple[str, ...]:
    """Columns of a table in which the text of a model of single texts may be; none where it cannot be read."""
    if (
        source is None
        or source.is_dir()
        or predictor.processor.modality != "text"
        or len(predictor.columns) > 1
    ):
        return ()
    try:
        return tuple(read_table(source).table.column_names)
    except LabkitError:
        return ()
