"""The records of the model table: models with their backends and limits, and upstreams.

The table has a static part, the demo and the models file. Workers discover the other part at their upstreams and
publish it in Redis. Web validates requests against the table; workers route jobs by it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

CONTINUE_STYLES = {
    "vllm": "a last assistant message, with continue_final_message: true and add_generation_prompt: false",
    "assistant": "a last assistant message, which the server continues without a parameter",
    "prefix": "a last assistant message with prefix: true",
    "mistral": "the same, for a server that repeats the message before it continues",
}
"""The styles of request that continue a partial answer: the values of ``continue`` in the models file."""

REASONING_OFF = "off"
REASONING_STYLES = ("reasoning_content", "reasoning", REASONING_OFF)
"""The fields in which a server wants the reasoning of earlier turns: the values of ``reasoning`` in the models file."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model for jobs.

    ``upstream`` is the entry of the models file that serves it (``default`` for ``SPOOL_UPSTREAM_URL``).
    ``upstream_model`` is its name there. ``max_running`` limits its running jobs over all workers, ``rpm`` and
    ``tpm`` the requests and tokens that its jobs begin with a minute (0: no limit).
    ``continues``: it can continue a partial answer. ``continue_style`` is the style of request for that, one of
    ``CONTINUE_STYLES``, or empty for never. A model with a style ``continues`` once a worker has verified it.

    ``reasoning``: how the reasoning of earlier turns goes back to it, one of ``REASONING_STYLES``. Empty: as
    ``reasoning_content`` of messages with tool calls, and not at all to OpenAI and Azure.

    ``streams``: it can be asked for a stream. Otherwise its answers come as a whole.

    Limits, in seconds: ``start_s`` from submit to the first claim (None: a job may wait until its own deadline),
    ``first_token_s`` from claim to the first piece, ``between_tokens_s`` between two pieces. ``alive_s`` replaces the
    last two while the upstream sends comments. The job's own ``timeout_s`` limits the total.
    """

    name: str
    backend: str
    upstream: str = ""
    upstream_model: str = ""
    max_running: int = 0
    rpm: int = 0
    tpm: int = 0
    continues: bool = False
    continue_style: str = ""
    reasoning: str = ""
    streams: bool = True
    start_s: float | None = None
    first_token_s: float = 120.0
    between_tokens_s: float = 60.0
    alive_s: float = 600.0

    @property
    def keeps_reasoning(self) -> bool:
        """Whether it wants the reasoning of all earlier turns."""
        return self.reasoning not in ("", REASONING_OFF)

    def to_dict(self) -> dict[str, Any]:
        """All fields, for publishing in Redis."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Model:
        """The inverse of ``to_dict``. Fields of later versions are ignored."""
        known = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in data.items() if k in known})


@dataclass(frozen=True, slots=True)
class Upstream:
    """One OpenAI-compatible server. ``repr`` omits its URL, which may contain a password, and its key.

    ``kind`` is ``openai`` or ``azure``; ``api_version`` and ``deployment`` apply to Azure. If ``models`` is empty,
    workers discover the models that the server lists.
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
