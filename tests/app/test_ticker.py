"""One thread refreshes all, and lives no longer than it must."""

from __future__ import annotations

import threading
import time

from labkit.app.ticker import LEAST, TRIES, Ticker


class Member:
    def __init__(self, times: int):
        self.left, self.calls, self.done = times, 0, threading.Event()

    def refresh(self) -> bool:
        self.calls += 1
        if self.calls >= self.left:
            self.done.set()
        return self.calls < self.left


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "labkit panels"]


def test_members_share_a_thread_that_ends_with_the_last():
    before = len(threads())
    ticker, members = Ticker(), [Member(2), Member(3)]
    for member in members:
        ticker.add(member)
    assert len(threads()) == before + 1
    assert all(member.done.wait(10) for member in members)
    end = time.monotonic() + 10
    while len(threads()) > before and time.monotonic() < end:
        time.sleep(0.01)
    assert len(threads()) == before
    assert [member.calls for member in members] == [2, 3]


def test_a_member_that_is_added_again_is_refreshed_again():
    ticker, member = Ticker(), Member(1)
    for _ in range(3):
        member.done.clear()
        ticker.add(member)
        assert member.done.wait(10)


def test_asking_is_answered_at_once_but_not_without_limit():
    ticker, member = Ticker(), Member(10**9)
    begin = time.monotonic()
    while time.monotonic() - begin < 1:
        ticker.add(member)
        time.sleep(0.001)
    ticker.discard(member)
    assert 4 <= member.calls <= 1 / LEAST + 1


def test_a_member_that_fails_is_tried_again_and_does_not_stop_the_others():
    class Failing(Member):
        def refresh(self) -> bool:
            if self.calls < self.left - 1:
                self.calls += 1
                raise ValueError("a store that is busy")
            return super().refresh()

    ticker, failing, other = Ticker(), Failing(3), Member(2)
    ticker.add(failing)
    ticker.add(other)
    assert other.done.wait(10) and failing.done.wait(10)


def test_a_member_that_always_fails_is_left_out(monkeypatch):
    class Failing(Member):
        def refresh(self) -> bool:
            self.calls += 1
            raise ValueError("a panel that cannot be shown")

    monkeypatch.setattr("labkit.app.ticker.PERIOD", LEAST)
    ticker, failing = Ticker(), Failing(0)
    ticker.add(failing)
    end = time.monotonic() + 20
    while failing.calls < TRIES and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(5 * LEAST)
    assert TRIES <= failing.calls <= TRIES + 1
