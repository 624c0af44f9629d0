"""Switches: which are possible, and their form in Redis."""

from __future__ import annotations

import pytest

from spool.errors import UndecodableRecord, WrongSwitch
from spool.switches.switch import Kind, Switch, checked, decoded


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("stop-submits", "all"),
        ("stop-submits", "model:org/a b:c"),
        ("stop-submits", "class:batch"),
        ("stop-submits", "owner:alice"),
        ("pause", "model:demo"),
        ("drain", "host-1/web:8000"),
        ("transport-off", "long-polling"),
    ],
)
def test_switch_is_read_as_it_was_written(kind: str, target: str) -> None:
    """Each form of a target survives Redis."""
    switch = checked(kind, target, reason="why: because").at(1_795_253_400_123, "root")
    assert list(decoded([switch.name.encode(), switch.encode()])) == [switch]


@pytest.mark.parametrize(
    ("kind", "target", "more", "field"),
    [
        ("stop", "all", {}, "kind"),
        ("stop-submits", "model:", {}, "target"),
        ("stop-submits", "model:a\nb", {}, "target"),
        ("stop-submits", "class:urgent", {}, "target"),
        ("stop-submits", "owner:a:b", {}, "target"),
        ("pause", "owner:alice", {}, "target"),
        ("drain", "a b", {}, "target"),
        ("drain", "all", {}, "target"),
        ("transport-off", "polling", {}, "target"),
        ("max-streams", "all", {}, "value"),
        ("notice", "all", {"reason": " "}, "reason"),
        ("max-streams", "all", {"value": -1}, "value"),
        ("pause", "all", {"value": 1}, "value"),
        ("pause", "all", {"reason": "x" * 501}, "reason"),
    ],
    ids=[
        "kind",
        "no-model",
        "line",
        "class",
        "owner",
        "pause",
        "instance",
        "all-instances",
        "poll",
        "none",
        "text",
        "low",
        "value",
        "reason",
    ],
)
def test_wrong_switch_is_refused(kind: str, target: str, more: dict[str, object], field: str) -> None:
    """The error names the field that is wrong."""
    with pytest.raises(WrongSwitch) as caught:
        checked(kind, target, **more)  # type: ignore[arg-type]
    assert caught.value.field == field


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"reason":"","value":"x","since_ms":1,"by":""}'])
def test_switch_that_cannot_be_read_is_left_out(raw: bytes) -> None:
    """A later version's kinds and damaged values leave the others in force."""
    good = Switch(Kind.PAUSE, "all")
    found = list(decoded([b"max-streams all", raw, b"reverse all", good.encode(), b"pause all", good.encode()]))
    assert found == [good]
    with pytest.raises(UndecodableRecord):
        Switch.decode(b"max-streams all", raw)
