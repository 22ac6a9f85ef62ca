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
    "split_sizes": _("{sizes} rows"),
    "run_named": _("run {name}: {facts}"),
    "out_of_date": _("changed since this run: {what}"),
    "out_of_date_help": _(
        "This run was trained with other settings. Start a new run to use the present ones."
    ),
    "changed_data": _("data"),
    "changed_model": _("model"),
    "changed_settings": _("settings"),
    # restart of the kernel
    "restarted": _("The kernel was restarted. Run this cell to continue."),
    "interrupted_by_restart": _("Interrupted by a restart of the kernel at step {step}."),
    "interrupted_by_end": _("Interrupted at step {step}: the process that trained it has ended."),
    "press_resume": _("Press Resume to continue from its last checkpoint."),
    # several panels
    "conflict": _(
        "Another notebook has changed the settings of this lab folder. What you change here is not saved until "
        "you choose."
    ),
    "take_theirs": _("Use the settings of the other notebook"),
    "take_theirs_help": _("Replace data, model and settings of this panel by the saved ones"),
    "keep_mine": _("Keep the settings of this panel"),
    "keep_mine_help": _("Save data, model and settings of this panel over those of the other notebook"),
    # list of runs
    "delete_run": _("Delete run"),
    "delete_run_help": _("Delete this run with its checkpoints and model; it can be restored for a day"),
    "undo_delete": _("Undo"),
    "undo_delete_help": _("Restore the deleted run"),
    "undo_delete_of": _("Undo: restore {name}"),
    # dashboard
    "all_runs": _("All runs"),
    "cost_shown": _("Cost"),
    "comparable": _("Data and metric"),
    "validation_score": _("{metric}, validation of {data}"),
    "pareto_front": _("Pareto front"),
    "other_runs": _("other runs"),
    "no_scores": _("No run with a score and this cost yet."),
    "column_seconds": _("seconds"),
    "column_parameters": _("parameters"),
    # controls of a run
    "change_rate": _("Change learning rate to"),
    "confirm_rate": _(
        "{rate} is {times} times the present learning rate {present}. Press Set again to use it."
    ),
    "rate_set": _("Peak learning rate {rate} from step {step} on"),
    "saving_step": _("Saving the checkpoint of step {step} …"),
    "saved_step": _("Saved at step {step}"),
    "evaluate_run": _("Evaluate"),
    "evaluate_run_help": _("Evaluate this model on the test rows and compare it with simple baselines"),
    "predict_run": _("Predict"),
    "predict_run_help": _("Use this model for new examples"),
    # charts and facts of a run
    "step_at": _("step {step}"),
    "epoch": _("epoch"),
    "epoch_at": _("epoch {epoch}"),
    "system_charts": _("Learning rate, gradient norm, speed and memory"),
    "steps_help": _("Optimizer steps: each updates the parameters once, with one batch of training rows"),
    "epochs_help": _("An epoch is one pass over the training rows"),
    "left_help": _("Estimated from the present speed; evaluations and saving come on top"),
    "speed_help": _("Training rows per second, pauses excluded"),
    "compilations_help": _(
        "XLA compiles the training step once for each batch shape; the first steps wait for it"
    ),
    "gradient_alarms_help": _(
        "Steps whose gradient norm was far above the usual; a lower learning rate or gradient clipping helps "
        "if there are many"
    ),
    "skipped_help": _("Updates with a gradient that was not finite are not applied"),
    "restarts_help": _("How often the training process was restarted from its newest checkpoint"),
    "mark_done": _("Done with the present data and settings"),
    "mark_active": _("A run is active"),
    "mark_outdated": _("Out of date: data, model or settings have changed since this run"),
}
