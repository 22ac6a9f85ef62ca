"""Texts of the context line, the step Train, the list of runs and the dashboard."""

from __future__ import annotations

from labkit.i18n import Message, _

#: key → English text.
TABLE: dict[str, Message] = {
    # context line
    "no_data_yet": _("no data yet"),
    "no_model_yet": _("no model yet"),
    "no_run_yet": _("no run yet"),
    "python_rows": _("rows from Python"),
    "rows_of": _("{sizes} rows"),
    "run_named": _("run {name}: {facts}"),
    "out_of_date": _("changed since this run: {what}"),
    "out_of_date_help": _(
        "This run was trained with other settings. Start a new run to use the present ones."
    ),
    "changed_data": _("data"),
    "changed_model": _("model"),
    "changed_settings": _("settings"),
    "mark_done": _("Done with the present data and settings"),
    "mark_active": _("A run is active"),
    "mark_outdated": _("Out of date: data, model or settings have changed since this run"),
}
