"""Acceptance: what is checked before a job is written, and what a draft's defaults become."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from flask import Flask, g

from spool.access.caller import ANONYMOUS, Kind
from spool.access.limits import KeyLimits
from spool.errors import OwnerStreamsFull, StoreUnavailable, TooManyStreams
from spool.jobs.conversation_blocks import BLOCK_BYTES
from spool.jobs.job import NewJob, OnWorkerLoss
from spool.settings import WebSettings
from web.intake.accept import accept, new_job
from web.intake.draft import Draft
from web.intake.references import Turns
from web.limits.streams import Slot
from web.problems import Problem
from web.services import State

MESSAGES = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def services() -> State:
    """Services whose Redis does not answer, with one stream slot and small prompts."""
    return State.build(WebSettings(redis_url="redis://127.0.0.1:1", max_streams=1, max_prompt_bytes=20_000))


def draft(**fields: Any) -> Draft:
    """A draft with these fields."""
    return Draft(**{"surface": "jobs", "owner": "alice", "messages": MESSAGES, **fields})


def refused(services: State, draft: Draft) -> Problem:
    """The problem with which the draft is refused."""
    with pytest.raises(Problem) as info:
        new_job(services, draft)
    return info.value


def test_job_with_defaults(services: State) -> None:
    """What a draft leaves out comes from the settings and from its model."""
    job = new_job(services, draft())
    assert (job.model, job.ttl_s, job.timeout_s) == (
        "demo",
        services.settings.job_ttl_s,
        services.settings.job_timeout_s,
    )
    assert job.input == {"messages": MESSAGES, "params": {}}


@pytest.mark.parametrize(
    ("fields", "on_worker_loss"),
    [
        ({}, OnWorkerLoss.RESTART),
        ({"streams_text": True}, OnWorkerLoss.FAIL),
        ({"streams_text": True, "on_worker_loss": OnWorkerLoss.RESTART}, OnWorkerLoss.RESTART),
    ],
)
def test_worker_loss_where_text_is_streamed(
    services: State, fields: dict[str, Any], on_worker_loss: OnWorkerLoss
) -> None:
    """A job whose first reader cannot retract text fails instead of restarting, unless the caller says otherwise."""
    assert new_job(services, draft(**fields)).on_worker_loss is on_worker_loss


def test_unknown_params_of_the_demo(services: State) -> None:
    """Unknown params are refused with their path; where params stand beside the other fields, the demo ignores them."""
    params = {"tokens": 3, "top_p": 0.5}
    assert refused(services, draft(params=params, place="[2].")).extra["errors"][0]["field"] == "[2].params.top_p"
    assert new_job(services, draft(params=params, params_field="")).input["params"] == {"tokens": 3}


def test_size_with_earlier_turns(services: State) -> None:
    """The earlier turns count, and the problem names the field of the messages."""
    earlier = Turns([{"role": "user", "content": "x" * 20_000}], 20_000, new_job(services, draft()).divided)
    problem = refused(services, draft(earlier=earlier, messages_field="prompt", place="[1]."))
    assert (problem.status, problem.extra["errors"][0]["field"]) == (413, "[1].prompt")


def test_unknown_model_has_its_place(services: State) -> None:
    """An unknown model is refused with the path of the field, and with the known models."""
    problem = refused(services, draft(model="none", place="[3]."))
    assert (problem.extra["errors"][0]["field"], problem.extra["known_models"]) == ("[3].model", ["demo"])


def test_deep_nesting(services: State) -> None:
    """An input that could not be written as JSON is refused."""
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]
    assert refused(services, draft(messages=[{"role": "user", "content": deep}])).detail == "body: is nested too deeply"


def test_earlier_turns_are_shared(services: State) -> None:
    """Jobs of a surface whose clients send all turns share the blocks of the earlier ones."""
    turns = [{"role": role, "content": "x" * BLOCK_BYTES} for role in ("user", "assistant", "user")]

    def divided(**fields: Any) -> NewJob:
        return new_job(services, draft(messages=turns, **fields))

    assert divided(sends_all_turns=True).divided.count == 2
    assert divided().divided.count == 0


def test_stream_slot_comes_before_the_write(services: State) -> None:
    """Without a free slot nothing is written: the refusal comes although Redis does not answer."""
    with Flask("test").app_context(), Slot(services.slots) as slot:
        g.caller = ANONYMOUS
        with pytest.raises(StoreUnavailable):
            accept(services, draft(), slot)
        with pytest.raises(TooManyStreams):
            accept(services, draft(), Slot(services.slots))
    assert services.slots.taken == 0


def test_limit_of_a_key_comes_before_the_write(services: State) -> None:
    """A key that has as many streams open as it may gets no job, and no slot."""
    caller = replace(ANONYMOUS, kind=Kind.KEY, credential="k", limits=KeyLimits(streams=1))
    let_go = services.authenticator.tenures.hold(caller, lambda: None)
    with Flask("test").app_context(), Slot(services.slots) as slot:
        g.caller = caller
        with pytest.raises(OwnerStreamsFull, match="this key"):
            accept(services, draft(), slot)
        assert services.slots.taken == 0
        let_go()
        with pytest.raises(StoreUnavailable):
            accept(services, draft(), slot)
