"""What the page makes of kinds of entry that the demo does not produce; its log is scripted, over long polling."""

from __future__ import annotations

import json
from typing import Any

from tests.browser.conftest import Watched
from tests.stack import Stack

_JOB = "j0-0123456789abcdef0123456789"
_AT = "2026-11-21T09:30:00.000Z"


class ScriptedLog:
    """Answers for one job in the web's place. ``until``: how many of its entries are there yet."""

    def __init__(self, watched: Watched, *entries: dict[str, Any]) -> None:
        self.entries = [{"id": number, "at": _AT, **entry} for number, entry in enumerate(entries, 1)]
        self.until = len(entries)
        self.gap: dict[str, int | None] | None = None
        self.ended_at: str | None = None
        watched.page.route(f"**/jobs/{_JOB}", lambda route: route.fulfill(json=self._job()))
        watched.page.route(f"**/jobs/{_JOB}/entries?*", self._answer)

    def _job(self) -> dict[str, Any]:
        status = "succeeded" if self.ended_at else "running"
        return {
            "id": _JOB,
            "status": status,
            "metadata": {},
            "text": "",
            "last_entry": -1,
            "created_at": _AT,
            "ended_at": self.ended_at,
        }

    def _answer(self, route: Any) -> None:
        after = int(route.request.url.partition("after=")[2].partition("&")[0])
        fresh = [entry for entry in self.entries[: self.until] if entry["id"] > after]
        ended = self.ended_at is not None or (bool(fresh) and fresh[-1]["kind"] == "done")
        following = fresh[-1]["id"] if fresh else after
        page = {"entries": fresh, "next": following, "ended": ended, "status": "running", "gap": self.gap}
        route.fulfill(body=json.dumps(page), content_type="application/json")


def _open(watched: Watched, stack: Stack) -> None:
    # Short polling: a scripted answer never waits.
    watched.page.goto(f"{stack.webs[0].url}/#job={_JOB}&via=short")


def _until_text(watched: Watched, selector: str, text: str) -> None:
    watched.until(f"document.querySelector('{selector}')?.textContent.includes({text!r})", f"{selector} says {text!r}")


def test_page_when_the_job_is_restarted(watched: Watched, stack: Stack) -> None:
    """The earlier attempt's text goes, and the page says why."""
    log = ScriptedLog(
        watched,
        {"kind": "started", "attempt": 1, "model": "m"},
        {"kind": "token", "text": "Too early"},
        {"kind": "restarted", "attempt": 2, "reason": "worker_lost"},
        {"kind": "token", "text": "Just right"},
        {"kind": "done", "finish_reason": "stop"},
    )
    log.until = 2
    _open(watched, stack)
    _until_text(watched, ".answer", "Too early")
    log.until = 5
    _until_text(watched, ".answer", "Just right")
    _until_text(watched, "#notes", "Attempt 2 restarted (worker_lost)")
    assert "Too early" not in watched.page.inner_text(".answer")


def test_page_when_the_model_refuses_for_now(watched: Watched, stack: Stack) -> None:
    """Waiting is shown with its reason and until when, and goes when the answer does."""
    log = ScriptedLog(
        watched,
        {"kind": "started", "attempt": 1, "model": "m"},
        {"kind": "waiting", "reason": "rate limited", "retry_at": "2026-11-21T09:31:00.000Z"},
        {"kind": "token", "text": "At last"},
        {"kind": "done", "finish_reason": "stop"},
    )
    log.until = 2
    _open(watched, stack)
    _until_text(watched, "#notes", "rate limited")
    log.until = 4
    _until_text(watched, ".answer", "At last")
    assert watched.page.inner_text("#notes") == ""


def test_page_when_the_model_thinks_and_calls_tools(watched: Watched, stack: Stack) -> None:
    """Reasoning and tool calls are shown beside the answer, put together from their pieces."""
    ScriptedLog(
        watched,
        {"kind": "started", "attempt": 1, "model": "m"},
        {"kind": "reasoning", "text": "Let me "},
        {"kind": "reasoning", "text": "look."},
        {"kind": "tool_call", "index": 0, "call_id": "c1", "name": "weather", "arguments": '{"city":'},
        {"kind": "tool_call", "index": 0, "arguments": '"Ulm"}'},
        {"kind": "usage", "input_tokens": 3, "output_tokens": 4},
        {"kind": "done", "finish_reason": "tool_calls"},
    )
    _open(watched, stack)
    _until_text(watched, "[data-part=reasoning]", "Let me look.")
    _until_text(watched, ".tool-calls strong", "weather")
    assert watched.page.inner_text(".tool-calls code") == '{"city":"Ulm"}'
    assert "3 tokens in, 4 out" in watched.page.inner_text("#usage")


def test_page_when_entries_are_gone(watched: Watched, stack: Stack) -> None:
    """A gap is said and counted, and what is left is shown."""
    log = ScriptedLog(
        watched,
        *({"kind": "token", "text": "lost "} for _ in range(4)),
        {"kind": "token", "text": "left"},
        {"kind": "done", "finish_reason": "stop"},
    )
    del log.entries[:4]
    log.until = 2
    log.gap = {"requested": 1, "earliest": 5, "latest": 6}
    _open(watched, stack)
    _until_text(watched, ".answer", "left")
    _until_text(watched, "[data-part=irregular]", "4")
    _until_text(watched, "[data-part=note]", "Part of this job's log is missing")


def test_page_when_an_attempt_jumps_ahead(watched: Watched, stack: Stack) -> None:
    """After Redis lost history the ids jump to a restart, which is no gap."""
    log = ScriptedLog(
        watched,
        {"kind": "started", "attempt": 1, "model": "m"},
        {"kind": "restarted", "attempt": 2, "reason": "history_lost"},
        {"kind": "token", "text": "Anew"},
        {"kind": "done", "finish_reason": "stop"},
    )
    for entry in log.entries[1:]:
        entry["id"] += 1_000_000
    _open(watched, stack)
    _until_text(watched, ".answer", "Anew")
    _until_text(watched, "[data-part=connection]", "ended")
    assert watched.page.inner_text("[data-part=irregular]") == "0"


def test_page_when_nothing_of_an_ended_log_is_left(watched: Watched, stack: Stack) -> None:
    """It says so, and does not ask for ever."""
    log = ScriptedLog(watched)
    log.ended_at = _AT
    log.gap = {"requested": 1, "earliest": None, "latest": None}
    _open(watched, stack)
    _until_text(watched, "[data-part=connection]", "ended")
    _until_text(watched, "[data-part=note]", "Part of this job's log is missing")
