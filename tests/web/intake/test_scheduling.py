"""The fields of a submission that order the queue: what is accepted, what is refused, and where they are shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from spool.jobs.scheduling import UNSCHEDULED, Conversation, OnBusy, Scheduling
from web.intake.scheduling import SchedulingFields, scheduling_of
from web.intake.shapes import checked
from web.problems import Problem

NOW = 1_795_253_400.0
WEEK_S = 7 * 86_400


def at(seconds: float) -> str:
    """A time that many seconds after ``NOW``."""
    return datetime.fromtimestamp(NOW + seconds, UTC).isoformat()


def read(data: dict[str, Any]) -> Scheduling:
    """The scheduling of these fields, submitted at ``NOW``."""
    return scheduling_of(checked(SchedulingFields, data), clock=lambda: NOW)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, UNSCHEDULED),
        ({"fairness_key": "a" * 64, "fairness_weight": 0.1}, Scheduling("a" * 64, 0.1)),
        ({"fairness_weight": 10}, Scheduling(fairness_weight=10.0)),
        ({"start_within_s": 0.5}, Scheduling(start_within_s=0.5)),
        ({"not_before": at(WEEK_S)}, Scheduling(not_before=NOW + WEEK_S)),
        ({"not_before": at(-1)}, UNSCHEDULED),
        ({"conversation": {"id": "c"}}, Scheduling(conversation=Conversation("c", OnBusy.ENQUEUE))),
        (
            {"conversation": {"id": "c", "on_busy": "interrupt"}, "not_before": at(-1)},
            Scheduling(conversation=Conversation("c", OnBusy.INTERRUPT)),
        ),
        ({"fairness_key": None, "not_before": None, "conversation": None}, UNSCHEDULED),
    ],
    ids=["none", "key", "weight", "start", "week", "past", "conversation", "interrupt", "nulls"],
)
def test_accepted(data: dict[str, Any], expected: Scheduling) -> None:
    """Each field within its limits is taken as it is; a ``not_before`` that has passed is no condition."""
    assert read(data) == expected


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"fairness_key": ""}, "fairness_key"),
        ({"fairness_key": "a" * 65}, "fairness_key"),
        ({"fairness_key": "a\nb"}, "fairness_key"),
        ({"fairness_weight": 0.09}, "fairness_weight"),
        ({"fairness_weight": 10.1}, "fairness_weight"),
        ({"fairness_weight": float("nan")}, "fairness_weight"),
        ({"start_within_s": 0}, "start_within_s"),
        ({"start_within_s": float("inf")}, "start_within_s"),
        ({"not_before": at(WEEK_S + 1)}, "not_before"),
        ({"not_before": NOW}, "not_before"),
        ({"not_before": "2026-11-30T12:00:00"}, "not_before"),
        ({"not_before": "tomorrow"}, "not_before"),
        ({"conversation": "c"}, "conversation"),
        ({"conversation": {}}, "conversation.id"),
        ({"conversation": {"id": "c" * 201}}, "conversation.id"),
        ({"conversation": {"id": "c", "on_busy": "wait"}}, "conversation.on_busy"),
        ({"conversation": {"id": "c", "more": 1}}, "conversation.more"),
        ({"conversation": {"id": "c", "on_busy": "reject"}, "not_before": at(1)}, "conversation.on_busy"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused(data: dict[str, Any], field: str) -> None:
    """A field of another type, out of range or against another one is named by its path."""
    with pytest.raises(Problem) as caught:
        read(data)
    assert caught.value.status == 422
    assert [error["field"] for error in caught.value.extra["errors"]] == [field]


def test_shown_on_every_surface(alice: httpx.Client) -> None:
    """The fields of a job, of a batch's line, and of ``spool`` on ``/v1`` and ``/ai`` are in the job's document."""
    not_before = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    fields = {
        "fairness_key": "tenant",
        "fairness_weight": 2.0,
        "start_within_s": 60.0,
        "not_before": not_before.isoformat(),
        "conversation": {"id": "chat 1", "on_busy": "enqueue"},
    }
    message = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "x"}]}
    batch = alice.post("/batches", json=[{"prompt": "x", **fields}]).json()["id"]
    jobs = [
        alice.post("/jobs", json={"prompt": "x", **fields}).json()["id"],
        alice.get("/jobs", params={"batch": batch}).json()["jobs"][0]["id"],
        alice.post("/v1/responses", json={"input": "x", "background": True, "spool": fields}).headers["X-Spool-Job"],
    ]
    for path, body in (
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "stream": True}),
        ("/ai/chat", {"id": "c", "messages": [message]}),
    ):
        with alice.stream("POST", path, json={**body, "spool": fields}) as answer:
            jobs.append(answer.headers["X-Spool-Job"])
    shown = {**fields, "not_before": not_before.isoformat(timespec="milliseconds").replace("+00:00", "Z")}
    for job_id in jobs:
        job = alice.get(f"/jobs/{job_id}").json()
        assert {name: job[name] for name in fields} == shown


def test_refused_on_the_compatible_surfaces(alice: httpx.Client) -> None:
    """On ``/v1`` and ``/ai`` a wrong field is named below ``spool``."""
    body = {"model": "demo", "input": "x", "spool": {"fairness_weight": 11}}
    assert alice.post("/v1/responses", json=body).json()["error"]["param"] == "spool.fairness_weight"
    message = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "x"}]}
    answer = alice.post("/ai/chat", json={"id": "c", "messages": [message], "spool": {"more": 1}})
    assert answer.status_code == 422
    assert "spool.more" in answer.text


def test_openapi_describes_them(alice: httpx.Client) -> None:
    """The document has the fields with their limits, for submits, batches and the compatible surfaces."""
    schemas = alice.get("/openapi.json").json()["components"]["schemas"]
    assert schemas["Submission"]["properties"]["fairness_key"]["anyOf"][0]["maxLength"] == 64
    assert schemas["ConversationField"]["properties"]["on_busy"]["default"] == "enqueue"
    for name in ("ChatRequest", "ResponsesRequest", "UiChatRequest"):
        assert "SpoolFields" in str(schemas[name]["properties"]["spool"])


def test_continue_from_the_conversation(alice: httpx.Client) -> None:
    """``continue_from: conversation`` needs a conversation, and then no job that has ended."""
    answer = alice.post("/jobs", json={"prompt": "x", "continue_from": "conversation"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "continue_from")
    body = {"prompt": "x", "continue_from": "conversation", "conversation": {"id": "fresh"}}
    assert [alice.post("/jobs", json=body).status_code for _ in range(2)] == [202, 202]
