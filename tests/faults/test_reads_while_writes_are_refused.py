"""Redis answers, and refuses writes: every GET is answered as ever."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from spool.keys import prefix
from spool.settings import WebSettings
from tests.faults.jobs import let_pass
from tests.stack import Stack, free_port, running_stack, wait_for
from web.app import create_app

P = prefix(0)
SECRET = "alice-secret-0123456789"
FAST = {"tokens": 2, "rate": 0, "first_token_s": 0}
LINE = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "demo", "messages": []}}
NEEDS_WRITES = {"/readyz"}
"""Whether the process takes requests: it does not."""


@contextmanager
def configured(stack: Stack, name: str, value: object, normal: object) -> Iterator[None]:
    """Redis with this value of a setting."""
    stack.redis.link.call("CONFIG", "SET", name, value)
    try:
        yield
    finally:
        stack.redis.link.call("CONFIG", "SET", name, normal)


@contextmanager
def replica(stack: Stack) -> Iterator[None]:
    """A replica whose primary is gone."""
    stack.redis.link.call("REPLICAOF", "127.0.0.1", free_port())
    try:
        yield
    finally:
        stack.redis.link.call("REPLICAOF", "NO", "ONE")


FAULTS: Mapping[str, Callable[[Stack], Any]] = {
    "without replicas": lambda stack: configured(stack, "min-replicas-to-write", 1, 0),
    "replica": replica,
    "full": lambda stack: configured(stack, "maxmemory", 1, 0),
}


class Prepared:
    """One of everything that a GET reads, each with something that a read would tidy up: a list has a name without a
    record, a conversation the turn of its ended response, a file a size that was never counted."""

    def __init__(self, stack: Stack) -> None:
        self._client = stack.client(headers={"Authorization": f"Bearer {SECRET}"})
        link = stack.redis.link
        self.arguments: dict[str, str] = {"name": "demo", "chat_id": "chat", "item_id": "msg_x", "kind": "notice"}
        self.arguments["job_id"] = job = self._post("/jobs", {"prompt": "x", "params": FAST})
        self.arguments["response_id"] = f"resp_{job}"
        self._post("/ai/chat", {"id": "chat", "messages": [_ui_message()], "params": FAST}, read="")
        batch = self._post("/batches", [{"prompt": "x", "params": FAST}])
        self.arguments["batch_id"] = batch
        self.output = f"file-{batch}-output"
        file = {"file": ("a.jsonl", json.dumps(LINE).encode())}
        self.arguments["file_id"] = self._client.post("/v1/files", files=file, data={"purpose": "batch"}).json()["id"]
        self._client.get("/events", params={"wait": 0}, headers={"Accept": "application/json"})
        self.arguments["conversation_id"] = self._conversation()
        self.arguments["webhook_id"] = self._post("/webhooks", {"url": "https://app.example/hook"})
        self.arguments["key_id"] = self._post("/admin/keys", {"owner": "alice"})
        for name, gone in GONE.items():
            link.call("ZADD", f"{P}{name}", 10**15, gone)
        for path in (f"/jobs/{job}", f"/batches/{batch}"):
            wait_for(lambda path=path: self._client.get(path).json().get("ended_at"), f"{path} has ended")  # type: ignore[misc]

    def _post(self, path: str, body: Any, read: str = "id") -> str:
        answer = self._client.post(path, json=body)
        assert answer.status_code < 300, answer.text
        return str(answer.json()[read]) if read else ""

    def _conversation(self) -> str:
        item = {"role": "user", "content": "first"}
        conversation = self._post("/v1/conversations", {"items": [item]})
        asked = {"model": "demo", "input": "x", "conversation": conversation, "tokens": 2, "rate": 0}
        self._post("/v1/responses", asked)
        return conversation

    def paths(self) -> list[str]:
        """Every GET of the application, with these ids."""
        app = create_app(WebSettings(redis_url=SecretStr("redis://127.0.0.1:1")))
        rules = [rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ()) and _is_read(rule.rule)]
        paths = [rule.build({**self.arguments, **(rule.defaults or {})}, append_unknown=False) for rule in rules]
        assert None not in paths, "an argument of a route is missing"
        named = [path for _host, path in filter(None, paths)]
        return [
            *named,
            f"/v1/files/{self.output}",
            f"/v1/files/{self.output}/content",
            "/v1/files?purpose=batch_output",
        ]

    def get(self, path: str) -> httpx.Response:
        """The answer of a GET that waits for nothing."""
        headers = {"Accept": "application/json"} if path == "/events" else {}
        query = {} if "?" in path else {"wait": "0", "after": ""} if path == "/events" else {"wait": "0"}
        return self._client.get(path, params=query or None, headers=headers)

    def answers(self) -> dict[str, int]:
        """The status of each."""
        return {path: self.get(path).status_code for path in self.paths()}

    def items(self) -> list[str]:
        """The texts of the conversation."""
        listed = self.get(f"/v1/conversations/{self.arguments['conversation_id']}/items").json()["data"]
        return [item["content"][0]["text"] for item in listed]


def _is_read(rule: str) -> bool:
    return not rule.startswith(("/demo/", "/openai/")) and rule not in NEEDS_WRITES


def _ui_message() -> dict[str, Any]:
    return {"id": "m", "role": "user", "parts": [{"type": "text", "text": "x"}]}


GONE = {
    "batches:alice": f"b0-{'0' * 26}",
    "deliveries:alice": "msg_x",
    "owner-endpoints:alice": "we_0000000000000000",
    "keys": "a" * 12,
}
"""Names of what is gone, by the lists that still have them."""


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_every_read_works_while_writes_are_refused(directory: Path, fault: str) -> None:
    """Each GET has the status that it has when all is well, and a conversation shows its last turn. What a read would
    tidy up, a later one does."""
    with running_stack(directory, webs=1, workers=1, LEASE_S=30, API_KEYS=f"alice:*+admin={SECRET}") as stack:
        prepared, link = Prepared(stack), stack.redis.link
        with FAULTS[fault](stack):
            let_pass(0.5)
            while_refused, items = prepared.answers(), prepared.items()
            # A full Redis still takes what deletes.
            assert fault == "full" or all(link.call("ZSCORE", f"{P}{name}", gone) for name, gone in GONE.items())
        wait_for(lambda: prepared.get("/readyz").status_code == 200, "writes are accepted", 30)
        assert while_refused == prepared.answers()
        assert {path for path, status in while_refused.items() if status >= 500} == set()
        assert items == prepared.items()
        assert len(items) == 3
        for name, gone in GONE.items():
            assert link.call("ZSCORE", f"{P}{name}", gone) is None, name
