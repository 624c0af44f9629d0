"""The OpenAPI document of declared contracts: apispec assembles it, pydantic describes the shapes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from apispec import APISpec
from pydantic import TypeAdapter

import spool
from web.contract import RETRY_AFTER, Answer, Content, Contract, Parameter, contract_of
from web.problem_kinds import KINDS
from web.problems import response_at, schema_at
from web.time_slices import Slices

_PARAMETER = re.compile(r"<(?:[a-z]+:)?([a-z_]+)>")
_REF = "#/components/schemas/{model}"
_ANY = (400, 408, 414, 417, 431, 501)
"""The statuses of requests that any call can refuse: they are not HTTP, too slow, too long, or ask for what is not
supported."""
_WITH_KEY = (401, 403)
_TEMPORARY = (429, 503)
_PATHS = {
    "job_id": "The id of a job.",
    "batch_id": "The id of a batch.",
    "conversation_id": "The id of a conversation: `conv_` and 32 digits and letters.",
    "item_id": "The id of an item of the conversation.",
    "file_id": "The id of a file: `file-` and 37 digits and letters.",
    "key_id": "The id of a key: 12 letters and digits.",
    "kind": "The kind of a switch, such as `pause`.",
    "target": "The target of a switch, such as `model:demo`.",
    "webhook_id": "The id of a webhook.",
    "delivery_id": "The id of a delivery, which is its `webhook-id`.",
    "response_id": "The id of a response: `resp_` and the job's id.",
    "chat_id": "The id of the chat, which the client chose.",
    "name": "The model's name. It may contain slashes.",
}


class Document:
    """The document, built call by call. It yields to other requests between two shapes."""

    def __init__(self) -> None:
        self._spec = APISpec(
            title="Spool",
            version=spool.__version__,
            openapi_version="3.1.0",
            info={"license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        )
        self._spec.components.security_scheme("key", {"type": "http", "scheme": "bearer"})
        self._slices = Slices()
        self._schemas: dict[str, Any] = {}
        self._made: dict[tuple[Any, Any], dict[str, Any]] = {}

    def add(self, rule: str, method: str, view: Any, summary: str) -> None:
        """Add one call. Raises ``ValueError`` for a view without a contract."""
        contract = contract_of(view)
        if contract is None:
            raise ValueError(f"{method} {rule} declares no contract")
        path, scope = _PARAMETER.sub(r"{\1}", rule), view.scope
        operation: dict[str, Any] = {
            "operationId": re.sub(r"\W+", "_", f"{method.lower()}_{rule}").strip("_"),
            "summary": summary,
            "x-scope": scope,
            "parameters": [*self._parameters(rule, contract)],
            "responses": {**self._answers(contract), **self._problems(path, contract, scope)},
        }
        if scope != "public":
            operation["security"] = [{"key": []}]
        if contract.body:
            operation["requestBody"] = {"required": contract.body_required, "content": self._contents(contract.body)}
        if contract.sends:
            operation["x-websocket"] = {
                "receives": [self._schema(shape, "validation") for shape in contract.receives],
                "sends": [self._schema(shape, "serialization") for shape in contract.sends],
            }
        self._spec.path(path=path, operations={method.lower(): operation})

    def as_dict(self) -> dict[str, Any]:
        """The whole document."""
        for name, schema in sorted(self._schemas.items()):
            if name not in self._spec.components.schemas:
                self._spec.components.schema(name, schema)
        return self._spec.to_dict()

    def _parameters(self, rule: str, contract: Contract) -> Iterable[dict[str, Any]]:
        for name in _PARAMETER.findall(rule):
            described: dict[str, Any] = {"type": "string", "minLength": 1}
            yield {"name": name, "in": "path", "required": True, "schema": described, "description": _PATHS[name]}
        if contract.query is not None:
            for name, described in self._inline(contract.query)["properties"].items():
                description = described.pop("description", "")
                yield {"name": name, "in": "query", "schema": described, "description": description}
        for header in contract.headers:
            yield {"name": header.name, "in": "header", **self._header(header)}

    def _header(self, header: Parameter) -> dict[str, Any]:
        return {"schema": self._inline(header.shape), "description": header.description}

    def _answers(self, contract: Contract) -> dict[str, Any]:
        return {str(status): self._answer(answer) for status, answer in contract.answers.items()}

    def _answer(self, answer: Answer) -> dict[str, Any]:
        described: dict[str, Any] = {"description": answer.description}
        if answer.headers:
            described["headers"] = {header.name: self._header(header) for header in answer.headers}
        if answer.content:
            described["content"] = self._contents(answer.content, "serialization")
        return described

    def _contents(self, contents: Sequence[Content], mode: Any = "validation") -> dict[str, Any]:
        return {content.media_type: self._content(content, mode) for content in contents}

    def _content(self, content: Content, mode: Any) -> dict[str, Any]:
        described: dict[str, Any] = {"schema": {"type": "string"}}
        if content.shape is not None:
            described["schema"] = self._schema(content.shape, mode)
        if content.item is not None:
            item = self._schema(content.item, mode)
            if content.media_type == "text/event-stream":
                described["schema"] = _event(item, content.last)
            else:
                # OpenAPI 3.1 has no word for the items of a stream; 3.2 calls it itemSchema.
                described["x-itemSchema"] = item
        if content.example is not None:
            example = content.example()
            described["example"] = example.decode() if isinstance(example, bytes) else example
        return described

    def _problems(self, path: str, contract: Contract, scope: str) -> dict[str, Any]:
        """The problems by the status that this path answers with, which may differ from the problem's own."""
        examples: dict[int, dict[str, Any]] = defaultdict(dict)
        statuses = {*_ANY, *contract.errors, *(_WITH_KEY if scope != "public" else ())}
        media_type = ""
        for kind in KINDS:
            if kind.status in statuses:
                problem = kind.problem()
                response = response_at(path, problem)
                media_type = response.mimetype or ""
                examples[response.status_code][kind.name] = {"value": response.get_json(force=True)}
        return {
            str(status): self._problem(path, status, media_type, of_status)
            for status, of_status in sorted(examples.items())
        }

    def _problem(self, path: str, status: int, media_type: str, examples: Mapping[str, Any]) -> dict[str, Any]:
        schema = schema_at(path)
        name = f"{schema.__name__}{status}"
        if name not in self._spec.components.responses:
            self._spec.components.response(
                name,
                {
                    "description": ", ".join(examples),
                    "headers": {RETRY_AFTER.name: self._header(RETRY_AFTER)} if status in _TEMPORARY else {},
                    "content": {
                        media_type: {"schema": self._schema(schema, "serialization"), "examples": dict(examples)}
                    },
                },
            )
        return {"$ref": f"#/components/responses/{name}"}

    def _schema(self, shape: Any, mode: Any) -> dict[str, Any]:
        """The schema of a shape: a reference, with the schema and its parts among the components."""
        schema = self._made.get((shape, mode))
        if schema is None:
            schema = self._inline(shape, mode)
            if "title" in schema and "properties" in schema:
                schema = {"$ref": _REF.format(model=self._named(schema["title"], schema))}
            self._made[shape, mode] = schema
        return schema

    def _inline(self, shape: Any, mode: Any = "validation") -> dict[str, Any]:
        """The schema of a parameter, with its parts among the components."""
        self._slices.check()
        schema = TypeAdapter(shape).json_schema(ref_template=_REF, mode=mode)
        self._hoist(schema)
        return schema

    def _hoist(self, schema: dict[str, Any]) -> None:
        for name, part in schema.pop("$defs", {}).items():
            self._named(name, part)

    def _named(self, name: str, schema: dict[str, Any]) -> str:
        """Put the schema among the components. Raises ``ValueError`` for another one of the same name."""
        if self._schemas.setdefault(name, schema) != schema:
            raise ValueError(f"two shapes are named {name}: {self._schemas[name]} and {schema}")
        return name


def _event(item: dict[str, Any], last: str) -> dict[str, Any]:
    """The schema of a server-sent event, which stands for each event of a stream. ``last``: the data of its last one,
    if that is no ``item``."""
    data: dict[str, Any] = {"type": "string", "contentMediaType": "application/json", "contentSchema": item}
    return {
        "type": "object",
        "required": ["data"],
        "properties": {
            "data": {"anyOf": [data, {"const": last}]} if last else data,
            "event": {"type": "string"},
            "id": {"type": "string"},
            "retry": {"type": "integer"},
        },
    }
