"""What programs saw directly at a vendor's API and through Spool, and how that compares."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from tests.compatible.node_runtime import DIRECTORY, DIRECTORY_22, run_node
from tests.compatible.side_by_side.python_programs import PROGRAMS, Seen
from tests.compatible.side_by_side.scenarios import SCENARIOS, Answers, Scenario
from tests.scripted_upstream import Call, ScriptedUpstream
from tests.stack import Stack, wait_for

_AT_ONCE = 6
"""A crowd would make the clients' timeouts a matter of the machine's speed."""
_LEFT_WITHIN_S = 45.0
"""Spool's grace for a reader that left, with some time to notice."""

Outcome = dict[str, Any]


@dataclass(frozen=True)
class Client:
    """One SDK on one surface. ``script`` is Node's, in ``directory``; empty: it is Python's."""

    title: str
    script: str = ""
    directory: Any = DIRECTORY


CLIENTS: dict[str, Client] = {
    "openai-python-chat": Client("openai (Python), chat"),
    "openai-python-responses": Client("openai (Python), responses"),
    "anthropic-python": Client("anthropic (Python)"),
    "openai-node-chat": Client("openai (Node), chat", "side_by_side.mjs"),
    "openai-node-responses": Client("openai (Node), responses", "side_by_side.mjs"),
    "anthropic-node": Client("anthropic (Node)", "side_by_side.mjs"),
    "ai6-chat": Client("`ai` 6, chat", "side_by_side_ai.mjs"),
    "ai6-responses": Client("`ai` 6, responses", "side_by_side_ai.mjs"),
    "ai6-compatible": Client("`ai` 6, compatible", "side_by_side_ai.mjs"),
    "ai7-chat": Client("`ai` 7, chat", "side_by_side_ai.mjs", DIRECTORY_22),
    "ai7-responses": Client("`ai` 7, responses", "side_by_side_ai.mjs", DIRECTORY_22),
    "ai7-compatible": Client("`ai` 7, compatible", "side_by_side_ai.mjs", DIRECTORY_22),
}


def model_of(client: str, scenario: str) -> str:
    """The model by which the upstream, and a job's record, know both."""
    return f"{client}.{scenario}"


class Upstream(ScriptedUpstream):
    """A vendor whose models are the scenarios of some clients."""

    def __init__(self, clients: Iterable[str], scenarios: Mapping[str, Scenario] = SCENARIOS) -> None:
        self.clients, self.scenarios = list(clients), scenarios
        self.answers = {
            model_of(client, name): Answers(scenario) for client in self.clients for name, scenario in scenarios.items()
        }
        super().__init__(self._answer)

    def _answer(self, call: Call) -> None:
        self.answers[call.body["model"]](call)

    def models_file(self) -> str:
        """The models file of a Spool before it."""
        return "\n".join(line for number, model in enumerate(self.answers) for line in self._entry(number, model))

    def _entry(self, number: int, model: str) -> list[str]:
        # Each model is an upstream by itself, since a rejected key closes all models of one.
        entry = ["[[upstream]]", f'name = "vendor-{number}"', f'url = "{self.url}"', f'api_key = "{number}"']
        return [*entry, "[[upstream.model]]", f'name = "{model}"']

    def outcome(self, model: str, seen: Seen) -> Outcome:
        """What was seen, with what the vendor saw of it: how often it was asked, and whether a stop arrived."""
        calls = self.answers[model].calls
        outcome = {**seen, "asked": len(calls)}
        if model.endswith(".stop"):
            wait_for(lambda: calls[0].gone_at, f"{model} is stopped", _LEFT_WITHIN_S)
            outcome["stopped"] = True
        return outcome


def run(upstream: Upstream, url: str) -> dict[str, Outcome]:
    """Run the programs of the upstream's clients at ``url``, those of each runtime at the same time."""
    runtimes = {(CLIENTS[name].script, CLIENTS[name].directory) for name in upstream.clients}
    with ThreadPoolExecutor(len(runtimes)) as pool:
        found = list(pool.map(lambda runtime: _run(upstream, url, *runtime), sorted(runtimes)))
    return {model: upstream.outcome(model, seen) for part in found for model, seen in part.items()}


def _run(upstream: Upstream, url: str, script: str, directory: Any) -> dict[str, Seen]:
    clients = [n for n in upstream.clients if (CLIENTS[n].script, CLIENTS[n].directory) == (script, directory)]
    cases = [
        {"client": client, "program": scenario.program, "model": model_of(client, name)}
        for client in clients
        for name, scenario in upstream.scenarios.items()
    ]
    if script:
        found: dict[str, Seen] = run_node(script, url, json.dumps(cases), directory=directory, timeout_s=300)
        return found
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        seen = pool.map(lambda case: PROGRAMS[case["client"]](url, case["program"], case["model"]), cases)
        return dict(zip((case["model"] for case in cases), seen, strict=True))


def jobs_of(stack: Stack) -> Mapping[str, int]:
    """How many jobs there are of each model."""
    counts: dict[str, int] = {}
    page: dict[str, Any] = {"cursor": None}
    client: httpx.Client = stack.client(0)
    while True:
        after = {"cursor": page["cursor"]} if page["cursor"] else {}
        page = client.get("/jobs", params={"limit": 200, **after}).json()
        for job in page["jobs"]:
            counts[job["model"]] = counts.get(job["model"], 0) + 1
        if not page["cursor"]:
            return counts
