"""The switches as a process knows them."""

from __future__ import annotations

import pytest

from spool.errors import StoreUnavailable
from spool.redis.link import RedisLink
from spool.switches.board import Board
from spool.switches.store import SWITCHES, Known, SwitchStore
from spool.switches.switch import Transport, checked


def test_board_answers_what_is_on(link: RedisLink) -> None:
    """Each question is answered by the switches of its kind and target, after the next look."""
    store = SwitchStore(link)
    board = Board(SwitchStore(link))
    for kind, target in [
        ("stop-submits", "model:a"),
        ("stop-submits", "class:batch"),
        ("stop-submits", "owner:bob"),
        ("pause", "model:a"),
        ("drain", "h/web:1"),
        ("transport-off", "sse"),
    ]:
        store.turn_on(checked(kind, target), by="cli")
    store.turn_on(checked("max-streams", "all", value=0), by="cli")
    assert not board.all()
    board.look()
    stopped = [
        board.stop_of(*job) is not None
        for job in [
            ("a", "interactive", "x"),
            ("b", "batch", "x"),
            ("b", "interactive", "bob"),
            ("b", "interactive", "x"),
        ]
    ]
    assert stopped == [True, True, True, False]
    assert (board.stop_of_model("a") is not None, board.stop_of_model("b")) == (True, None)
    assert (board.pauses("a"), board.pauses("b")) == (True, False)
    assert (board.drain_of("h/web:1") is not None, board.drain_of("h/web:2")) == (True, None)
    assert (board.off(Transport.SSE) is not None, board.off(Transport.TEXT)) == (True, None)
    assert board.max_streams == 0
    assert board.kinds() == ["drain", "max-streams", "pause", "stop-submits", "transport-off"]
    store.turn_on(checked("pause", "all"), by="cli")
    board.look()
    assert board.pauses("b")


class Away(SwitchStore):
    """A Redis that can be away."""

    def __init__(self) -> None:
        self.is_away = True

    def read(self) -> Known:
        """One switch."""
        if self.is_away:
            raise StoreUnavailable("away")
        return Known(1, (checked("pause", "all"),))


def test_switches_stay_in_force_while_redis_is_away() -> None:
    """What was read last holds until Redis answers again; a change is noticed once."""
    store, changes = Away(), list[int]()
    board = Board(store, lambda: changes.append(1))
    board.look_or_leave()
    assert not board.pauses("demo")
    store.is_away = False
    board.look()
    store.is_away = True
    board.look_or_leave()
    board.look_if_new()
    assert board.pauses("demo")
    assert changes == [1]


def test_switches_are_restored_after_redis_lost_them(link: RedisLink, caplog: pytest.LogCaptureFixture) -> None:
    """A process that knows them writes them again, once, and logs it; a switch that was taken back stays off."""
    store, changes = SwitchStore(link), list[int]()
    boards = [Board(SwitchStore(link), lambda: changes.append(1)) for _ in range(2)]
    store.turn_on(checked("pause", "model:a", reason="moved"), by="cli")
    before = link.call("DUMP", SWITCHES)
    store.turn_on(checked("stop-submits", "all"), by="cli")
    store.turn_off(checked("pause", "model:a"))
    for board in boards:
        board.look()
    # Redis comes back from before the last two changes, and then without anything.
    link.call("RESTORE", SWITCHES, 0, before, "REPLACE")
    for _ in range(2):
        for board in boards:
            board.look()
        assert [switch.name for switch in store.all()] == ["stop-submits all"]
        assert not any(board.pauses("a") for board in boards)
        link.call("FLUSHALL")
    lines = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert lines == ["Redis lost the last changes of the switches; restored: stop-submits all"] * 2
    assert changes == [1, 1]


def test_last_switch_that_is_taken_back_is_not_restored(link: RedisLink) -> None:
    """Without any switch, the number of changes remains."""
    store, board = SwitchStore(link), Board(SwitchStore(link))
    store.turn_on(checked("pause", "all"), by="cli")
    board.look()
    store.turn_off(checked("pause", "all"))
    board.look()
    board.look()
    assert not board.pauses("a")
    assert store.all() == []
