"""The model table: what can be asked, by which backend, within which limits. Data that web and worker both read.

The table is the static part (the demo, and what the models file names) plus what workers discovered at their
upstreams and published in Redis; web validates against it, a worker routes by it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

CONTINUE_STYLES = {
    "vllm": "a last assistant message, with continue_final_message: true and add_generation_prompt: false",
    "assistant": "a last assistant message, which the server goes on with by itself",
    "prefix": "a last assistant message with prefix: true",
    "mistral": "the same, at a server that says the message again before it goes on",
}
"""The ways in which servers are asked to go on from a partial answer: what ``continue`` in the models file may be."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model that can be asked.

    ``upstream`` names the entry of the models file that serves it (``default`` for ``SPOOL_UPSTREAM_URL``), and
    ``upstream_model`` what it is called there. ``max_running`` limits its running jobs over all workers (0: no
    limit). ``continues``: it can go on from a partial answer. ``continue_style`` is how an upstream's model is asked
    to, one of ``CONTINUE_STYLES``, or empty for never; such a model ``continues`` where a worker has seen that it
    does. Limits in seconds: ``start_s`` from submit to the first claim (None: a job may wait until its own deadline),
    ``first_token_s`` from claim to the first piece, ``between_tokens_s`` between two pieces, ``alive_s`` for either
    where the upstream sends comments meanwhile; the total is the job's own ``timeout_s``.
    """

    name: str
    backend: str
    upstream: str = ""
    upstream_model: str = ""
    max_running: int = 0
    continues: bool = False
    continue_style: str = ""
    start_s: float | None = None
    first_token_s: float = 120.0
    between_tokens_s: float = 60.0
    alive_s: float = 600.0

    def public(self) -> dict[str, Any]:
        """The model as ``GET /models`` shows it: nothing of where the upstream is."""
        return {
            "name": self.name,
            "backend": self.backend,
            "continues": self.continues,
            "limits": {
                "max_running": self.max_running or None,
                "start_s": self.start_s,
                "first_token_s": self.first_token_s,
                "between_tokens_s": self.between_tokens_s,
                "alive_s": self.alive_s,
            },
        }

    def to_dict(self) -> dict[str, Any]:
        """All fields, for publishing in Redis."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Model:
        """The opposite of ``to_dict``; fields that a later version added are left out."""
        known = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in data.items() if k in known})


@dataclass(frozen=True, slots=True)
class Upstream:
    """One OpenAI-compatible server. Its URL, which may hold a password, and its key stay out of ``repr``.

    ``kind`` is ``openai`` or ``azure``; ``api_version`` and ``deployment`` are Azure's. ``models`` empty: what
    the server lists is discovered.
    """

    name: str
    url: str
    api_key: str = ""
    kind: str = "openai"
    api_version: str = ""
    deployment: str = ""
    models: tuple[Model, ...] = ()

    def __repr__(self) -> str:
        return f"Upstream(name={self.name!r}, kind={self.kind!r})"


DEMO = Model(name="demo", backend="demo", continues=True)
