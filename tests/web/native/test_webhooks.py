"""``/webhooks``: endpoints of an owner, their secrets and deliveries; and ``webhook`` in submits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest

from spool.keys import job as job_key
from tests.stack import Stack
from tests.web.problem_shape import assert_problem

URL = "https://app.example/hook?token=x"
NO_ENDPOINT = "we_0000000000000000"
CALLS: dict[str, Callable[[httpx.Client, str], httpx.Response]] = {
    "show": lambda client, webhook: client.get(f"/webhooks/{webhook}"),
    "rotate": lambda client, webhook: client.post(f"/webhooks/{webhook}/secret"),
    "enable": lambda client, webhook: client.post(f"/webhooks/{webhook}/enable"),
    "delete": lambda client, webhook: client.delete(f"/webhooks/{webhook}"),
    "replay": lambda client, webhook: client.post(f"/webhooks/deliveries/{webhook}/replay"),
}


def create(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    """A new webhook."""
    response = client.post("/webhooks", json={"url": URL, **fields})
    assert response.status_code == 201, response.text
    document: dict[str, Any] = response.json()
    assert response.headers["Location"] == f"/webhooks/{document['id']}"
    return document


@pytest.fixture
def webhook(bob: httpx.Client) -> dict[str, Any]:
    """A new webhook of bob, who has no other."""
    for each in bob.get("/webhooks").json()["webhooks"]:
        assert bob.delete(f"/webhooks/{each['id']}").status_code == 204
    return create(bob)


def test_secret_is_shown_once(bob: httpx.Client, webhook: dict[str, Any]) -> None:
    """The answers that make a secret show it; no other does."""
    secret, shown = webhook["secret"], {name: value for name, value in webhook.items() if name != "secret"}
    assert secret.startswith("whsec_")
    assert bob.get(f"/webhooks/{webhook['id']}").json() == shown
    assert bob.get("/webhooks").json() == {"webhooks": [shown], "dropped": 0}
    rotated = bob.post(f"/webhooks/{webhook['id']}/secret").json()
    assert rotated.pop("secret") not in (secret, "")
    assert rotated == shown
    assert bob.post(f"/webhooks/{webhook['id']}/enable").json() == shown
    first, second = (bob.post("/webhooks/secret").json()["secret"] for _ in range(2))
    assert first != second


@pytest.mark.parametrize("call", CALLS)
def test_unknown_and_foreign_webhooks_look_the_same(
    alice: httpx.Client, bob: httpx.Client, webhook: dict[str, Any], call: str
) -> None:
    """Another owner's webhook and an unknown one get the same 404, and so does an id that cannot be one."""
    foreign, unknown = CALLS[call](alice, webhook["id"]), CALLS[call](alice, NO_ENDPOINT)
    assert_problem(foreign, 404)
    assert foreign.text.replace(webhook["id"], NO_ENDPOINT) == unknown.text
    for name in ("nonsense", "%00", "x" * 3000, "we_0123456789abcdeF", "msg_j0-1_own", "🧵"):
        assert_problem(CALLS[call](alice, name), 404)
    assert bob.get(f"/webhooks/{webhook['id']}").status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": 7}, "url"),
        ({"url": "https://"}, "url"),
        ({"url": "http://app.example/"}, "url"),
        ({"url": "https://u:p@app.example/"}, "url"),
        ({"url": URL, "events": []}, "events"),
        ({"url": URL, "events": ["job.started"]}, "events"),
        ({"url": URL, "events": ["job.failed"] * 100}, "events"),
        ({"url": URL, "secret": "x"}, "secret"),
    ],
    ids=range(9),
)
def test_webhook_that_cannot_be_one(bob: httpx.Client, body: dict[str, Any], field: str) -> None:
    """A wrong URL, unknown events and other fields are 422, on /webhooks and in a submit."""
    problem = assert_problem(bob.post("/webhooks", json=body), 422)
    assert problem["errors"][0]["field"].startswith(field)
    problem = assert_problem(bob.post("/jobs", json={"prompt": "x", "webhook": body}), 422)
    assert problem["errors"][0]["field"].startswith(f"webhook.{field}")


def test_owner_has_a_limit_of_webhooks(alice: httpx.Client) -> None:
    """The 21st webhook is a 409 that says what to do."""
    made = [create(alice)["id"] for _ in range(20)]
    assert "delete one first" in assert_problem(alice.post("/webhooks", json={"url": URL}), 409)["detail"]
    for each in made:
        alice.delete(f"/webhooks/{each}")


def test_submit_with_a_webhook_posts_its_end(guarded: Stack, bob: httpx.Client, webhook: dict[str, Any]) -> None:
    """A job's end is a delivery to the webhook that it names and to the owner's; both can be listed and replayed. The
    job does not show the URL."""
    own = {"url": "https://own.example/", "events": ["job.succeeded", "job.cancelled"]}
    job = bob.post("/jobs", json={"prompt": "x", "webhook": own}).json()["id"]
    stored = orjson.loads(guarded.redis.link.call("HGET", job_key(job), "webhook"))
    assert (stored["url"], stored["events"]) == (own["url"], "job.succeeded job.cancelled")
    assert "own.example" not in bob.get(f"/jobs/{job}").text
    bob.post(f"/jobs/{job}/cancel")
    page = bob.get("/webhooks/deliveries?limit=2").json()["deliveries"]
    assert {(each["webhook"], each["url"]) for each in page} == {(None, own["url"]), (webhook["id"], None)}
    assert {(each["subject"], each["type"], each["state"]) for each in page} == {(job, "job.cancelled", "pending")}
    (only,) = bob.get(f"/webhooks/deliveries?webhook={webhook['id']}&state=pending").json()["deliveries"]
    replayed = bob.post(f"/webhooks/deliveries/{only['id']}/replay")
    assert (replayed.status_code, replayed.json()) == (202, only)
    assert_problem(bob.get("/webhooks/deliveries?state=lost"), 422)
    assert_problem(bob.get("/webhooks/deliveries?cursor=x"), 422)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"input": "x", "background": True}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "stream": True}),
    ],
)
def test_other_surfaces_name_a_webhook_below_spool(
    guarded: Stack, bob: httpx.Client, path: str, body: dict[str, Any]
) -> None:
    """``spool.webhook`` is stored with the job, and wrong input names it."""
    own = {"url": "https://own.example/", "events": None}
    with bob.stream("POST", path, json={**body, "model": "demo", "spool": {"webhook": own}}) as response:
        assert response.status_code == 200
    (raw,) = guarded.redis.link.call("ZREVRANGE", "spool:{0}:owner:bob", 0, 0)
    assert b"own.example" in guarded.redis.link.call("HGET", job_key(raw.decode()), "webhook")
    wrong = {**body, "model": "demo", "spool": {"webhook": {"url": "http://own.example/"}}}
    response = bob.post(path, json=wrong)
    assert response.status_code in (400, 422)
    assert "spool.webhook.url" in response.text


def test_line_of_a_batch_names_a_webhook(guarded: Stack, bob: httpx.Client) -> None:
    """A line of a batch may name one as well."""
    own = {"url": "https://own.example/"}
    batch = bob.post("/batches", json=[{"prompt": "x", "webhook": own}]).json()["id"]
    job = bob.get(f"/jobs?batch={batch}").json()["jobs"][0]["id"]
    assert b"own.example" in guarded.redis.link.call("HGET", job_key(job), "webhook")


def test_batch_names_a_webhook_in_headers(guarded: Stack, bob: httpx.Client) -> None:
    """The headers of a batch name the receiver of its end; wrong ones are 422 and name the header, and nothing is
    stored."""
    headers = {"X-Spool-Webhook": "https://own.example/", "X-Spool-Webhook-Events": "batch.failed, batch.cancelled"}
    batch = bob.post("/batches", json=[{"prompt": "x"}], headers=headers).json()["id"]
    stored = orjson.loads(guarded.redis.link.call("HGET", f"spool:{{0}}:batch:{batch}", "webhook"))
    assert (stored["url"], stored["events"]) == ("https://own.example/", "batch.failed batch.cancelled")
    for name, value in {"X-Spool-Webhook": "http://own.example/", "X-Spool-Webhook-Events": "batch.begun"}.items():
        problem = assert_problem(bob.post("/batches", json=[{"prompt": "x"}], headers={**headers, name: value}), 422)
        assert problem["errors"][0]["field"].startswith("X-Spool-Webhook")
