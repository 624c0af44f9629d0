"""The API's description: it has every call, and what it says comes from the shapes and the code of the views."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, Response
from pydantic import BaseModel

from spool.settings import WebSettings
from tests.test_architecture import ROOT
from web.app import create_app
from web.arguments import Query
from web.auth import scope
from web.contract import Answer, Content, Contract, Parameter, contract_of, json_content
from web.openapi import calls, document
from web.problem_kinds import KINDS


@pytest.fixture(scope="module")
def app() -> Flask:
    """The application, whose Redis does not answer."""
    return create_app(WebSettings(redis_url="redis://127.0.0.1:1"))


@pytest.fixture(scope="module")
def described(app: Flask) -> dict[str, Any]:
    """Its description."""
    with app.test_request_context("/"):
        return document(app)


def call(described: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    """One call of the description."""
    found: dict[str, Any] = described["paths"][path][method.lower()]
    return found


def references(node: Any) -> Iterator[str]:
    """Every reference in it."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for part in node.values():
            yield from references(part)
    elif isinstance(node, list):
        for part in node:
            yield from references(part)


def one_view(**contract: Any) -> dict[str, Any]:
    """The description of an application with one view, which has this contract."""
    app = Flask("one", static_folder=None)

    @app.post("/one")
    @scope("public")
    @Contract(**contract)
    def one() -> Response:
        """One call."""
        return Response()

    with app.test_request_context("/"):
        found: dict[str, Any] = document(app)
    return found


def test_every_call_is_there(app: Flask, described: dict[str, Any]) -> None:
    """Every route and method declares a contract, and its declared answers are in the description."""
    for rule, method, view in calls(app):
        contract, path = contract_of(view), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)
        assert contract is not None, rule
        assert {str(status) for status in contract.answers} <= call(described, method, path)["responses"].keys()


def test_every_query_can_be_wrong(app: Flask, described: dict[str, Any]) -> None:
    """A call with arguments says how it answers to wrong ones: 422, or 400 where all of them are places in a log. A
    WebSocket closes instead."""
    for rule, method, view in calls(app):
        contract, path = contract_of(view), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)
        if contract is None or contract.query is None or contract.sends:
            continue
        is_place = contract.query.model_fields.keys() <= {"after"} or 400 in contract.errors
        assert ("400" if is_place else "422") in call(described, method, path)["responses"], rule


def test_last_event_that_is_no_json(described: dict[str, Any]) -> None:
    """A stream that ends with a text of its own says so."""
    for path, method in (("/ai/chat/{chat_id}/stream", "get"), ("/v1/chat/completions", "post")):
        content = call(described, method, path)["responses"]["200"]["content"]["text/event-stream"]
        assert {"const": "[DONE]"} in content["schema"]["properties"]["data"]["anyOf"]


def test_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    """What the description refers to is in it."""
    found = set(references(described))
    assert len(found) > 50
    for reference in found:
        node: Any = described
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_every_form_of_a_body_has_an_example(described: dict[str, Any]) -> None:
    """Bodies, answers and problems have examples, except pages, files and the description itself."""
    for path, of_path in described["paths"].items():
        for operation in of_path.values():
            bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
            for body in bodies:
                for media_type, content in body.get("content", {}).items():
                    assert "example" in content or media_type == "text/html" or path == "/openapi.json", path


def test_field_of_a_model_is_described() -> None:
    """A field that is added to a body's or a query's model, or to an answer's, appears with its limits."""

    class Before(BaseModel):
        """A shape."""

        name: str

    class After(Before):
        """A shape with one field more."""

        added: int = 3

    class Asked(Query):
        """A query."""

        limit: int = 7

    contract = {"answers": {200: Answer("One.", [json_content(After)])}, "query": Asked}
    found = one_view(body=[json_content(After)], headers=[Parameter("X-One", str, "A header.")], **contract)
    assert found["components"]["schemas"]["After"]["properties"]["added"]["default"] == 3
    assert "added" not in one_view(body=[json_content(Before)])["components"]["schemas"]["Before"]["properties"]
    parameters = {(one["in"], one["name"]): one["schema"] for one in call(found, "post", "/one")["parameters"]}
    assert parameters["query", "limit"]["default"] == 7
    assert ("header", "X-One") in parameters


def test_two_shapes_of_one_name_are_refused() -> None:
    """Two shapes of the same name would hide each other, so they are an error."""

    def shape(field: str) -> Any:
        return type("Same", (BaseModel,), {"__annotations__": {field: int}})

    with pytest.raises(ValueError, match="two shapes are named Same"):
        one_view(body=[json_content(shape("one"))], answers={200: Answer("One.", [json_content(shape("other"))])})


def test_view_without_contract_is_refused() -> None:
    """A view that declares nothing has no place in the description."""
    app = Flask("one", static_folder=None)
    app.add_url_rule("/one", view_func=scope("public")(lambda: Response()))
    with app.test_request_context("/"), pytest.raises(ValueError, match="declares no contract"):
        document(app)


def test_streams_are_described(described: dict[str, Any]) -> None:
    """A stream has its media types, the shape of its items, and an example that its format made."""
    for method, path in (("get", "/jobs/{job_id}/stream"), ("post", "/jobs")):
        content = call(described, method, path)["responses"]["200"]["content"]
        assert {"text/event-stream", "application/x-ndjson", "text/plain"} <= content.keys()
        assert content["text/event-stream"]["example"].startswith("id: 1\nevent: started\ndata: {")
        assert content["text/plain"]["example"] == "Blue light."
        assert content["application/x-ndjson"]["x-itemSchema"]["anyOf"]
    for path in ("/v1/chat/completions", "/v1/responses", "/ai/chat"):
        content = call(described, "post", path)["responses"]["200"]["content"]["text/event-stream"]
        assert "Blue" in content["example"]
        data = content["schema"]["properties"]["data"]
        assert data.get("anyOf", [data])[0]["contentSchema"]["$ref"].startswith("#/components/schemas/")


def test_problems_have_the_shape_of_their_surface(described: dict[str, Any]) -> None:
    """The native API has problem documents; ``/v1`` its own errors and statuses: 400 for wrong input."""
    assert "application/problem+json" in described["components"]["responses"]["ProblemDocument422"]["content"]
    native, v1 = (call(described, "post", path)["responses"] for path in ("/jobs", "/v1/responses"))
    assert native["422"] == {"$ref": "#/components/responses/ProblemDocument422"}
    assert v1["400"] == {"$ref": "#/components/responses/ErrorDocument400"}
    examples = described["components"]["responses"]["ErrorDocument400"]["content"]["application/json"]["examples"]
    assert "404" in call(described, "get", "/v1/models/{name}")["responses"]
    assert examples["invalid-input"]["value"]["error"]["type"] == "invalid_request_error"


def test_websockets_are_described(described: dict[str, Any]) -> None:
    """A WebSocket has its upgrade, its subprotocols and the shapes of its messages."""
    found = call(described, "get", "/ws")
    assert "101" in found["responses"]
    assert {"$ref": "#/components/schemas/Submit"} in found["x-websocket"]["receives"]
    single = call(described, "get", "/jobs/{job_id}/ws")
    assert "Sec-WebSocket-Protocol" in {one["name"] for one in single["parameters"]}
    assert single["x-websocket"]["sends"]


def test_limits_are_those_of_the_code(described: dict[str, Any]) -> None:
    """Parameters have the limits that they are checked with."""
    parameters = {one["name"]: one["schema"] for one in call(described, "get", "/jobs/{job_id}/entries")["parameters"]}
    assert parameters["limit"] == {"default": 500, "maximum": 1000, "minimum": 1, "title": "Limit", "type": "integer"}
    headers = {one["name"]: one["schema"] for one in call(described, "post", "/jobs")["parameters"]}
    assert headers["Idempotency-Key"]["maxLength"] == 255


def names(node: Any) -> Iterator[str]:
    """Every name in it, but those in examples and of properties."""
    if isinstance(node, dict):
        for name, part in node.items():
            yield name
            yield from names([*part.values()] if name == "properties" else part if "example" not in name else None)
    elif isinstance(node, list):
        for part in node:
            yield from names(part)


def test_no_limit_is_lost(described: dict[str, Any]) -> None:
    """Limits are in words of JSON Schema: pydantic leaves those that stand after a validator in its own."""
    assert not {"ge", "gt", "le", "lt", "max_length", "min_length"} & set(names(described))


def test_every_kind_of_problem_is_listed() -> None:
    """Each problem that the code raises by status and title has its kind, with an example."""
    listed = {(kind.status, kind.title) for kind in KINDS}
    raised = set[tuple[int, str]]()
    for path in (ROOT / "web").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Problem":
                values = [value.value for value in node.args[:2] if isinstance(value, ast.Constant)]
                if len(values) == 2:
                    raised.add((values[0], values[1]))
    assert len(raised) > 20
    assert raised - listed <= {(499, "Client left"), (400, "Bad Request")}


def test_examples_are_made_on_demand() -> None:
    """An example is made when the description is asked for, by the code that makes the answer."""
    made: list[int] = []
    content = Content("text/plain", example=lambda: made.append(1) or b"one")
    assert not made
    found = one_view(answers={200: Answer("One.", [content])})
    assert call(found, "post", "/one")["responses"]["200"]["content"]["text/plain"]["example"] == "one"
