"""The switches as a process knows them."""

from __future__ import annotations

from spool.errors import StoreUnavailable
from spool.redis.link import RedisLink
from spool.switches.board import Board
from spool.switches.store import SwitchStore
from spool.switches.switch import Switch, Transport, checked


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

    def all(self) -> list[Switch]:
        """One switch."""
        if self.is_away:
            raise StoreUnavailable("away")
        return [checked("pause", "all")]


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
