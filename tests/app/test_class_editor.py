"""Classes in the step Prepare: suggested merges, renaming, dropping and undoing, in the state and in the code."""

from __future__ import annotations

import pytest

import labkit as lk
from labkit.app.state import State
from labkit.app.steps.prepare import Prepare


@pytest.fixture
def panel(tmp_path):
    labels = ["good"] * 30 + ["bad"] * 30 + ["Good", "goood", "<b>spam</b>"]
    lines = [f"text number {n} of this table,{label}" for n, label in enumerate(labels)]
    (tmp_path / "x.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    made = Prepare(lk.load(tmp_path / "x.csv"))
    yield made
    made.close()


def test_all_suggestions_are_merged_by_one_click(panel: Prepare):
    assert "Good (1) → good" in panel.classes.note.value and "spelt almost alike" in panel.classes.note.value
    panel.classes.merge_all.click()
    assert panel.state.steps == ({"do": "relabel", "names": {"Good": "good", "goood": "good"}},)
    assert panel.state.cleaned().spec.class_counts() == {"good": 32, "bad": 30, "<b>spam</b>": 1}
    assert panel.classes.note.value == "" and panel.classes.merge_all.layout.display == "none"
    assert 'rows = rows.relabel(names={"Good": "good", "goood": "good"})' in panel.code().replace("'", '"')


def test_a_label_is_renamed_merged_dropped_and_all_is_undone(panel: Prepare):
    editor = panel.classes
    editor.label.value, editor.target.value = "bad", " poor "
    editor.rename.click()
    editor.label.value = "<b>spam</b>"
    editor.drop.click()
    assert panel.state.steps == ({"do": "relabel", "names": {"bad": "poor"}, "drop": ["<b>spam</b>"]},)
    assert set(panel.state.cleaned().schema.classes) == {"good", "poor", "Good", "goood"}
    assert "&lt;b&gt;spam" in editor.table.value and "<b>spam" not in editor.table.value
    editor.reset.click()
    assert panel.state.steps == () and editor.table.value == "" and editor.reset.disabled


def test_what_the_state_has_is_shown_again(panel: Prepare):
    state = State(rows=panel.state.rows, steps=({"do": "relabel", "names": {"Good": "good"}},))
    again = Prepare(state=state)
    assert again.classes.names == {"Good": "good"} and "Good" in again.classes.table.value
    again.close()


def test_numbers_have_no_classes(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n" + "".join(f"{n},{n * 2}\n" for n in range(20)))
    made = Prepare(lk.load(tmp_path / "x.csv", features=True, number="b"))
    assert made.classes.root.layout.display == "none"
    made.close()
