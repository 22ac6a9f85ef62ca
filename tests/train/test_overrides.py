"""Settings by command: the last command given counts from its step on, whatever sessions were killed in between."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import labkit as lk
from labkit.runs.store import Store
from labkit.train.overrides import Overrides

LAST = 30  # steps of the runs here
STARTING = 1.0


class Model:
    """What must hold, said in another way: a run has a plan, one value for each step to come. A command replaces the
    rest of the plan; a kill changes nothing of it."""

    def __init__(self) -> None:
        self.plan = [STARTING] * (LAST + 1)

    def set(self, step: int, value: float) -> None:
        self.plan[step:] = [value] * (LAST + 1 - step)


class Simulated:
    """Sessions of a run with a real store, as the loop has them but without training: the state is the rate alone."""

    def __init__(self, store: Store):
        self.store, self.id = store, "a"
        store.create("a", "a")
        self.checkpoints: dict[int, float] = {0: STARTING}
        self.begin(0)

    def begin(self, step: int) -> None:
        self.step, self.rate = step, self.checkpoints[step]
        self.overrides = Overrides(self.store.settings(self.id))
        self._apply()

    def obey(self) -> None:
        for command in self.store.take(self.id, self.step):
            self.overrides.add(self.step, command.value)
        self._apply()

    def _apply(self) -> None:
        rate = self.overrides.learning_rate(self.step)
        self.rate = self.rate if rate is None else rate

    def call(self, most: int) -> list[tuple[int, float]]:
        """Several updates in one call, which ends where the rate may change; step and rate of each."""
        change = self.overrides.next_change(self.step)
        count = min(most, LAST - self.step, *([change - self.step] if change is not None else []))
        done = [(self.step + number, self.rate) for number in range(count)]
        self.step += count
        return done


ACTIONS = st.one_of(
    st.tuples(st.just("train"), st.integers(1, 8)),
    st.tuples(st.just("set"), st.floats(0, 10)),
    st.tuples(st.just("save"), st.none()),
    st.tuples(st.just("kill"), st.integers(0, 3)),  # and resume from the newest checkpoint, or one before it
    st.tuples(st.just("set, then kill"), st.floats(0, 10)),  # before the run takes the command
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ACTIONS, max_size=40))
def test_no_order_of_commands_and_kills_brings_an_outdated_value_back(tmp_path_factory, actions):
    run, model = Simulated(Store(tmp_path_factory.mktemp("lab"))), Model()
    for action, value in actions:
        if action == "train":
            for step, rate in run.call(value):
                assert rate == model.plan[step], (step, actions)
            run.obey()
        elif action == "save":
            run.checkpoints[run.step] = run.rate
        elif action == "set":
            run.store.command("a", "set", {"learning_rate": value})
            run.obey()
            model.set(run.step, value)
        else:
            if action == "set, then kill":
                run.store.command("a", "set", {"learning_rate": value})
            back = value if action == "kill" else 0
            step = sorted(run.checkpoints)[-1 - min(back, len(run.checkpoints) - 1)]
            run.checkpoints = {at: rate for at, rate in run.checkpoints.items() if at <= step}
            run.begin(step)
            run.obey()
            if action == "set, then kill":
                model.set(step, value)
        assert run.rate == model.plan[run.step], actions


def test_row_4_the_newer_of_two_settings_counts_although_it_was_taken_earlier():
    overrides = Overrides([(13, {"learning_rate": 5e-3}), (10, {"learning_rate": 2e-4})])
    assert [overrides.learning_rate(step) for step in (9, 10, 13, 99)] == [None, 2e-4, 2e-4, 2e-4]
    assert overrides.next_change(9) == 10 and overrides.next_change(13) is None


def test_settings_do_not_cancel_each_other():
    overrides = Overrides([(5, {"learning_rate": 0.5}), (7, {"keep": "last"}), (3, {"keep": "best"})])
    assert overrides.learning_rate(9) == 0.5 and overrides.keep == "best"
    assert Overrides().keep is None and Overrides().learning_rate(0) is None


def test_a_command_that_was_not_taken_before_the_end_waits_for_the_resume(tmp_path):
    store = Store(tmp_path)
    store.create("a", "a")
    for name, value in (("stop", None), ("set", {"keep": "last"}), ("pause", None)):
        store.command("a", name, value)
    assert [command.name for command in store.take("a", 4, but="set")] == ["stop", "pause"]
    assert store.settings("a") == [] and [command.name for command in store.take("a", 9)] == ["set"]
    assert store.settings("a") == [(9, {"keep": "last"})]


@pytest.mark.parametrize("rate", [True, -1e-9, float("nan"), float("inf"), 1e39])
def test_rates_that_are_none_are_refused(finished, rate):
    with pytest.raises(lk.LabkitError, match="it must be a number from 0 to 3e"):
        finished.set(learning_rate=rate)
