"""The state that the steps share: what it makes of itself, and that the lab folder keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest

import labkit as lk
from labkit.app.state import FILE, State
from labkit.core.config import dumps
from labkit.tasks.lm import LanguageModel
from labkit.train.experiment import Training
from labkit.train.optimizer import Optimizer

REVIEWS = str(Path(__file__).parents[1] / "reviews.csv")


@pytest.fixture
def state(tiny, tmp_path: Path) -> State:
    return State(
        rows=lk.load(REVIEWS), model=tiny, folder=tmp_path, language="en",
        steps=({"do": "clean", "steps": ["html", "lowercase"]}, {"do": "dedupe"}),
        train=Training(epochs=2, optimizer=Optimizer(algorithm="lion")),
    )  # fmt: skip


def test_rows_bring_their_source(state: State):
    assert (state.source, state.options) == (REVIEWS, {})
    assert state.cleaned() is state.cleaned()
    assert state.cleaned()["train"]["text"][0] == state.rows["train"]["text"][0].lower()
    with pytest.raises(lk.LabkitError, match="no data yet"):
        State().cleaned()
    with pytest.raises(lk.LabkitError, match="created in Python"):
        State(rows=lk.load([{"text": "a b", "label": "x"}, {"text": "c d", "label": "y"}])).load()


def test_what_is_ready_is_what_the_experiment_says(state: State):
    rows, experiment = state.ready()
    assert set(rows.splits) == {"train", "validation", "test"}
    assert dumps(experiment) == dumps(state.experiment)
    state.steps = (*state.steps, {"do": "split", "validation": 0.2, "seed": 1})
    assert dumps(state.ready()[1]) == dumps(state.experiment)
    state.task = LanguageModel()
    state.steps, state.model = (), lk.models["gpt"](preset="mini")
    assert dumps(state.ready()[1]) == dumps(state.experiment)
    state.accept_leakage = True
    state.task = lk.panels.State().task
    assert dumps(state.ready()[1]) == dumps(state.experiment)


def test_rows_that_were_split_before_stay_so(tiny):
    rows = lk.load(REVIEWS).clean(("html",)).split(validation=0.2)
    state = State(rows=rows, model=tiny)
    assert [step["do"] for step in state.experiment.data.steps] == ["clean", "split"]
    assert dumps(state.ready()[1]) == dumps(state.experiment)


def test_the_code_makes_the_same_experiment(state: State, monkeypatch: pytest.MonkeyPatch):
    made = {}
    monkeypatch.setattr(
        lk, "fit", lambda rows, model, **options: made.update(rows=rows, model=model, options=options)
    )
    for task in (state.task, LanguageModel(max_length=64)):
        state.task = task
        if task.example_format.running:
            state.model = lk.models["gpt"](preset="mini", dropout=0.2)
        exec(state.code(), {})
        from labkit.planning import experiment_of

        experiment = experiment_of(made["rows"], made["model"], False, made["options"])[1]
        assert dumps(experiment) == dumps(state.experiment)


def test_code_grows_with_the_state():
    state = State(language="en")
    assert state.code() == ""
    state.rows = lk.load(REVIEWS)
    state.steps = ({"do": "dedupe"},)
    assert state.code(steps=False) == f"import labkit as lk\n\nrows = lk.load({REVIEWS!r})\n"
    assert state.code().endswith("rows = rows.dedupe()\nrows = rows.split()\n")
    with pytest.raises(lk.LabkitError, match="no model chosen"):
        state.experiment  # noqa: B018


def test_the_lab_folder_keeps_it(state: State, tmp_path: Path):
    kept = State.kept(tmp_path)
    for name in ("rows", "model", "steps", "train", "task"):
        setattr(kept, name, getattr(state, name))
    kept.language, kept.step = "zh", "model"
    again = State.kept(tmp_path)
    assert again.rows is None
    assert (again.language, again.step) == ("zh", "model")
    assert dumps(again.experiment.replace(data=kept.data)) == dumps(kept.experiment)
    again.rows = again.load()
    assert dumps(again.experiment) == dumps(kept.experiment)
    assert State.kept(tmp_path, language="en").language == "en"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no toml",
        'run = "gone"\nname = 3',
        '[model]\nname = "brt"\n[train]\nepochs = -1\n[data]\nsteps = 3',
    ],
)
def test_what_cannot_be_read_is_left_out(text: str, tmp_path: Path):
    (tmp_path / FILE).write_text(text)
    state = State.kept(tmp_path)
    assert (state.model, state.run, state.name, state.train) == (None, None, "", Training())
