"""References to earlier jobs: each is read once for a request, and what they add up to is refused before it is made."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from spool.batches.line import job_id_of
from spool.redis.link import RedisLink
from tests.by_hand import HandWorker
from tests.stack import Stack, running_stack

PROMPT_BYTES, BODY_BYTES = 20_000, 65_536


@pytest.fixture(scope="module")
def bounded(short_dir: Path) -> Iterator[Stack]:
    """One web with small limits, and no worker."""
    directory = Path(tempfile.mkdtemp(prefix="bounded-", dir=short_dir))
    with running_stack(directory, webs=1, workers=0, MAX_BODY_BYTES=BODY_BYTES, MAX_PROMPT_BYTES=PROMPT_BYTES) as stack:
        yield stack


@pytest.fixture(scope="module")
def client(bounded: Stack) -> httpx.Client:
    """A client of it."""
    return bounded.client()


@pytest.fixture
def link(bounded: Stack) -> RedisLink:
    """Its Redis, where nothing waits."""
    bounded.redis.link.call("FLUSHALL")
    return bounded.redis.link


def ended(client: httpx.Client, link: RedisLink, *texts: str, prompt: str = "x") -> str:
    """A job that has answered with these tokens, and ended."""
    job = str(client.post("/jobs", json={"prompt": prompt}).json()["id"])
    hand = HandWorker(link, lease_s=300)
    claim = hand.take_job(job)
    hand.say(claim, *texts)
    hand.finish(claim)
    return job


def jobs_of(link: RedisLink) -> int:
    """How many jobs are stored."""
    return len(link.call("KEYS", "*job:*:input"))


def reads_of(link: RedisLink, command: str) -> int:
    """How often Redis has run this command."""
    lines = link.call("INFO", "commandstats").decode().splitlines()
    found = [line.partition("calls=")[2] for line in lines if line.startswith(f"cmdstat_{command}:")]
    return int(found[0].partition(",")[0]) if found else 0


def lines_from(job: str, count: int) -> list[dict[str, Any]]:
    """Submissions that go on from it."""
    return [{"prompt": f"line {n}", "continue_from": job} for n in range(count)]


def test_batch_that_goes_on_from_one_conversation(client: httpx.Client, link: RedisLink) -> None:
    """A conversation is read once for all lines of a batch that go on from it, and each line has it."""
    job = ended(client, link, "answer", prompt="p" * 1000)
    before = reads_of(link, "get")
    answer = client.post("/batches", json=lines_from(job, 40))
    assert answer.status_code == 202, answer.text
    assert reads_of(link, "get") - before < 40
    made = job_id_of(answer.json()["id"], 39)
    items = client.get(f"/v1/responses/resp_{made}/input_items").json()["data"]
    assert [item["content"][0]["text"] for item in items] == ["line 39", "answer", "p" * 1000]


def test_batch_whose_turns_add_up(client: httpx.Client, link: RedisLink) -> None:
    """A batch whose lines go on from more than its body may have is refused before anything is written; the line is
    named."""
    job = ended(client, link, "a" * 500, prompt="p" * 14_500)
    fits = BODY_BYTES // 15_300
    answer = client.post("/batches", json=lines_from(job, fits + 1))
    assert answer.status_code == 413, answer.text
    assert answer.json()["errors"][0]["field"] == f"[{fits}].continue_from"
    assert jobs_of(link) == 1
    assert client.post("/batches", json=lines_from(job, fits)).status_code == 202


@pytest.mark.parametrize("surface", ["/jobs", "/batches", "/v1/responses"])
def test_conversation_that_is_too_long(client: httpx.Client, link: RedisLink, surface: str) -> None:
    """A conversation that is longer than a prompt may be is refused by its size, and not read."""
    job = ended(client, link, "a" * PROMPT_BYTES)
    body: Any = {"prompt": "and?", "continue_from": job}
    field = "continue_from"
    if surface == "/batches":
        body, field = [body], "[0].continue_from"
    elif surface == "/v1/responses":
        body, field = {"input": "and?", "previous_response_id": f"resp_{job}"}, "previous_response_id"
    answer = client.post(surface, json=body)
    assert answer.status_code == 413, answer.text
    said = answer.json()
    assert field == (said["error"]["param"] if surface == "/v1/responses" else said["errors"][0]["field"])
    assert jobs_of(link) == 1


def test_many_references_to_one_job(client: httpx.Client, link: RedisLink) -> None:
    """The log of a job is read once for a request, however often the request refers to it."""
    job = ended(client, link, *(["t"] * 1200))
    before = reads_of(link, "xrange")
    items = [{"type": "item_reference", "id": f"msg_{job}_0"}] * 10
    answer = client.post("/v1/responses", json={"input": items, "background": True})
    assert answer.status_code == 200, answer.text
    assert reads_of(link, "xrange") - before <= 4
    listed = client.get(f"/v1/responses/{answer.json()['id']}/input_items").json()["data"]
    assert [item["content"][0]["text"] for item in listed] == ["t" * 1200] * 10


def test_references_that_add_up(client: httpx.Client, link: RedisLink) -> None:
    """References whose items are more than a prompt may have are refused at the first that is too much."""
    job = ended(client, link, "t" * 1200)
    items = [{"type": "item_reference", "id": f"msg_{job}_0"}] * 60
    answer = client.post("/v1/responses", json={"input": items, "background": True})
    assert answer.status_code == 413, answer.text
    assert answer.json()["error"]["param"] == f"input[{PROMPT_BYTES // 1200}].id"
    assert jobs_of(link) == 1


def test_references_to_long_logs(client: httpx.Client, link: RedisLink) -> None:
    """References to logs with more entries than a prompt may have bytes are refused before these are read."""
    job = ended(client, link, "t")
    key = f"spool:{{0}}:job:{job}:log"
    # As a log of many entries would be, which the record need not know.
    lua = "for n = 100, 100 + ARGV[1] do redis.call('XADD', KEYS[1], n .. '-0', 'entry', '{}') end"
    link.call("EVAL", lua, 1, key, PROMPT_BYTES)
    before = reads_of(link, "xrange")
    body = {"input": [{"type": "item_reference", "id": f"msg_{job}_0"}], "background": True}
    answer = client.post("/v1/responses", json=body)
    assert answer.status_code == 413, answer.text
    # The follower may look once more at a log that had a reader; the whole log would be 40 pages.
    assert reads_of(link, "xrange") - before < 20
