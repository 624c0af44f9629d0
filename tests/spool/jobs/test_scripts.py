"""What all scripts share: the transition table, the clock's format, the end of a job. The rest is in
``test_submit_script``, ``test_claim_script``, ``test_append_script`` and ``test_keeper``."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import resources
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spool.errors import StoreUnavailable
from spool.jobs.entries import rfc3339
from spool.jobs.job import ENDED, TRANSITIONS, Status
from spool.jobs.linker import library_names, linked
from spool.jobs.scripts import arguments, script
from spool.keys import job as job_key
from spool.keys import prefix
from spool.models.model import DEMO
from spool.redis.link import RedisLink
from tests.by_hand import HandWorker, keep, submit
from tests.stack import Redis

NAMES = sorted(
    path.name.removesuffix(".lua")
    for path in (resources.files("spool.jobs") / "lua").iterdir()
    if path.name.endswith(".lua")
)


@pytest.mark.parametrize("name", NAMES)
def test_script_loads(link: RedisLink, name: str) -> None:
    """Every script is one that Redis takes, under the digest that it is called by. With a run of its own: a script that
    is loaded without one would serve all later calls of this server."""
    of_run = script(name).on_run("a-run")
    assert link.call("SCRIPT", "LOAD", of_run.text).decode() == of_run.sha


@pytest.mark.parametrize("name", NAMES)
def test_script_says_what_it_is_for(name: str) -> None:
    """Every script begins with its flags and a sentence of prose."""
    text = (resources.files("spool.jobs") / "lua" / f"{name}.lua").read_text(encoding="utf-8")
    assert re.match(r"#!lua(?: flags=[a-z,-]+)?\n-- [A-Z]", text)


def test_arguments_of_a_script_from_python() -> None:
    """Arguments are ordered as the script declares them, whatever the order in the call."""
    assert arguments("watch", ["a", "b"], grace_ms=7) == [7, "a", "b"]
    assert arguments("cancel", owner="alice", id="j") == ["j", "alice"]


@pytest.mark.parametrize("names", [{"id": "j"}, {"id": "j", "owner": "alice", "other": 1}])
def test_arguments_that_a_script_does_not_declare(names: dict[str, object]) -> None:
    """A missing or unknown argument is an error before the call."""
    with pytest.raises(TypeError, match=r"cancel\.lua declares id, owner"):
        arguments("cancel", **names)


def test_scripts_address_nothing_by_number() -> None:
    """Arguments and fields have names in every script but ``append``, which runs for every token."""
    for path in (resources.files("spool.jobs") / "lua").iterdir():
        if path.name.endswith(".lua") and path.name != "append.lua":
            assert not re.findall(r"(?:ARGV|record)\[\d+\]", path.read_text(encoding="utf-8")), path.name


def test_scripts_define_no_name_of_the_library() -> None:
    """A name means one thing: a script does not define again what the library defines."""
    for name in NAMES:
        body = (resources.files("spool.jobs") / "lua" / f"{name}.lua").read_text(encoding="utf-8")
        assert not set(re.findall(r"^local (?:function )?(\w+)", body, re.MULTILINE)) & library_names()


def test_jobs_can_end_and_not_begin_when_redis_is_full() -> None:
    """Only what takes on new work is refused when Redis is out of memory; what ends it runs."""
    refused = {name for name in NAMES if "allow-oom" not in script(name).text.split("\n")[0]}
    readers = {"look", "look_queue", "conversation", "select", "closed_models", "list_batches"}
    writers = {"replay_delivery"}
    assert refused == {"submit", "open_batch", "seal_batch", "create_batch", "append_lines"} | writers | readers


@pytest.mark.parametrize(("source", "target"), list(product(Status, Status)))
def test_transition_by_the_table(link: RedisLink, source: Status, target: Status) -> None:
    """A job changes from one state to another if and only if the one table says so."""
    job = submit(link)
    key = job_key(job.id)
    link.call("HSET", key, "status", source.value)
    text = linked(
        "return move(ARGV[1], fields(ARGV[1], 'status', 'batch', 'owner', 'model', 'output_at_most'), ARGV[2])"
    )
    if target in TRANSITIONS[source]:
        link.call("EVAL", text, 1, prefix(0), job.id, target.value)
        assert link.call("HGET", key, "status").decode() == target
    else:
        with pytest.raises(StoreUnavailable, match="no way from"):
            link.call("EVAL", text, 1, prefix(0), job.id, target.value)
        assert link.call("HGET", key, "status").decode() == source


def test_ended_states_lead_nowhere() -> None:
    """A terminal state never changes again."""
    assert {Status.SUCCEEDED, Status.FAILED, Status.CANCELLED} == ENDED


@settings(max_examples=30, deadline=None)
@given(times=st.lists(st.integers(0, 4_102_444_800_000), min_size=1, max_size=100))
def test_time_in_lua_equals_python(redis: Redis, times: list[int]) -> None:
    """A time that a script writes looks as one that Python writes."""
    text = linked("local out = {} for i = 1, #ARGV do out[i] = rfc3339(tonumber(ARGV[i])) end return out")
    shown = redis.link.call("EVAL", text, 1, prefix(0), *times)
    assert [raw.decode() for raw in shown] == [rfc3339(ms / 1000) for ms in times]


@pytest.mark.parametrize("ms", [0, 951_782_399_999, 951_782_400_000, 1_709_164_800_000, 1_735_689_599_999])
def test_time_in_lua_around_leap_days(link: RedisLink, ms: int) -> None:
    """The last day of February and the last moment of a year come out right."""
    text = linked("return rfc3339(tonumber(ARGV[1]))")
    assert link.call("EVAL", text, 1, prefix(0), ms).decode() == rfc3339(ms / 1000)


def commands(link: RedisLink) -> int:
    """The number of commands since the last look, those of scripts included."""
    stats = link.call("INFO", "commandstats").decode()
    link.call("CONFIG", "RESETSTAT")
    return sum(int(calls) for calls in re.findall(r"calls=(\d+)", stats))


def costs(link: RedisLink) -> tuple[int, int]:
    """The commands of one submit, and of one round of the keeper after it."""
    commands(link)
    submit(link)
    of_submit = commands(link)
    keep(link, lease_ms=60_000)
    return of_submit, commands(link)


def test_models_of_earlier_jobs_cost_nothing(link: RedisLink) -> None:
    """A submit and a round of the keeper cost the same with 1 and with 300 models that jobs were submitted for."""
    worker = HandWorker(link)
    submit(link)
    keep(link, lease_ms=60_000)
    with_one = costs(link)
    models = [replace(DEMO, name=f"model-{n}") for n in range(300)]
    for model in models:
        submit(link, model=model.name)
        worker.finish(worker.take(model))
    # The first round notices that they have no jobs any more.
    keep(link, lease_ms=60_000)
    costs(link)
    with_many = costs(link)
    assert with_many[0] == with_one[0]
    assert with_many[1] <= with_one[1] + 30  # the ledger's sweep looks at a bounded number of jobs per round
