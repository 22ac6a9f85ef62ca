"""Doubtful labels in the step Prepare: found, kept or changed by a key or a click, in the state and in the code."""

from __future__ import annotations

import pytest

import labkit as lk
from labkit.app.state import State
from labkit.app.steps.prepare import Prepare

WORDS = {"good": "great lovely fine superb", "bad": "awful poor weak dull"}


@pytest.fixture
def panel(tmp_path):
    """60 texts, the first of them with the wrong label, and four without one."""
    lines = [f"{WORDS[('good', 'bad')[n % 2]]} number{n},{('good', 'bad')[n % 2]}" for n in range(60)]
    lines[0] = f"{WORDS['good']} <b>number0</b>,bad"
    lines += [f"{WORDS['bad']} unlabelled{n}," for n in range(4)]
    (tmp_path / "x.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    made = Prepare(lk.load(tmp_path / "x.csv", missing="keep"))
    yield made
    made.close()


def search(panel: Prepare, what: str = "") -> None:
    if what:
        panel.review.what.value = what
    panel.review.find.click()
    panel.settle()


def test_a_doubtful_label_is_changed_by_a_click_and_the_code_repeats_it(panel: Prepare):
    search(panel)
    review = panel.review
    assert "doubtful" in review.note.value
    assert review.list.places[0] == 0 and review.list.chosen == 0 and len(review.list.rows) == 50
    assert review.list.rows[0][2:4] == ["bad", "good"]
    assert "&lt;b&gt;number0" in review.text.value and "<b>number0" not in review.text.value
    review.take.click()
    step = {"do": "correct_labels", "labels": {"0": "good"}, "was": {"0": "bad"}}
    assert panel.state.steps == (step,)
    assert review.list.rows[0][0] == "→ good" and review.list.chosen == 1  # on to the next row
    code = panel.code()
    scope: dict = {}
    exec(code, scope)
    assert scope["rows"].fingerprint == panel.state.prepared().fingerprint
    assert panel.state.cleaned().spec.class_counts() == {"bad": 30, "good": 30}
    notes = panel.state.cleaned().report.of("repaired")
    assert [str(reason) for reason in notes] == ["label corrected"]


def test_keys_keep_choose_and_undo(panel: Prepare):
    search(panel)
    review, first = panel.review, panel.review.list.places[0]
    names = panel.state.rows.schema.classes
    assert review.list.hotkeys == ["k", "s", "u", "1", "2"] and names == ("bad", "good")
    review.list.pressed = [1, "k"]
    assert review.confirmed == [first] and review.list.chosen == 1
    second = review.list.places[1]
    review.list.pressed = [2, "1" if review._line["given_label"] == "good" else "2"]
    assert set(review.labels) == {second} and "1" in review.log.value
    review.list.chosen = 1
    review.list.pressed = [3, "u"]
    assert review.labels == {} and review.list.chosen == 1 and review.list.rows[1][0] == ""
    search(panel)
    assert first not in review.list.places  # confirmed: not listed again
    review.reset.click()
    assert panel.state.steps == () and review.reset.disabled


def test_rows_without_a_label_are_labelled_with_old_and_new_classes(panel: Prepare):
    search(panel, "new")
    review = panel.review
    assert sorted(review.list.places) == [60, 61, 62, 63] and review.keep.disabled
    rows = list(review.list.places)
    review.classes.children[0].click()
    review.other.value = " so so "
    review.give.click()
    step = panel.state.steps[0]
    assert step["labels"] == {str(rows[0]): "bad", str(rows[1]): "so so"} and step["add"] == ["so so"]
    assert step["was"] == {str(rows[0]): "", str(rows[1]): ""}
    made = panel.state.cleaned()
    assert made.schema.classes == ("bad", "good", "so so") and made.spec.unlabelled == {"train": 2}
    assert [button.description for button in review.classes.children] == ["1 bad", "2 good", "3 so so"]


def test_what_the_state_has_is_shown_again_and_stays_when_other_steps_change(panel: Prepare):
    step = {
        "do": "correct_labels",
        "labels": {"0": "good"},
        "confirmed": [3],
        "was": {"0": "bad", "3": "bad"},
    }
    again = Prepare(state=State(rows=panel.state.rows, steps=(step,)))
    assert again.review.labels == {0: "good"} and "1" in again.review.log.value
    again.copies.value = "exact"
    assert again.state.steps == (step, {"do": "dedupe"})
    again.close()


def test_numbers_have_no_labels_to_check_and_pictures_are_shown(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n" + "".join(f"{n},{n * 2}\n" for n in range(20)))
    made = Prepare(lk.load(tmp_path / "x.csv", features=True, number="b"))
    assert made.review.root.layout.display == "none"
    made.close()
    made = Prepare(lk.load("digits").sample(200))
    search(made)
    assert "<img" in made.review.text.value and made.review.encoder.layout.display == "none"
    made.close()
