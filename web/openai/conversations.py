"""``/v1/conversations``: OpenAI's conversations, whose items responses read and add to."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Blueprint, Response, request
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from spool.conversations.conversation import Conversation
from spool.errors import ItemNotFound
from web import auth
from web.arguments import DIGITS, Query, query
from web.auth import scope
from web.contract import Answer, Contract, json_content
from web.delivery.building import building
from web.intake.body import job_body, json_body, parse_json
from web.intake.shapes import Metadata, checked
from web.json_response import json_response
from web.openai.conversation_items import documents, new_items
from web.openai.conversation_turns import conversation_of, readable_items
from web.openai.listed_items import page_of
from web.server.peer import presence
from web.services import State, state

blueprint = Blueprint("openai_conversations", __name__)

_ITEMS_AT_ONCE = 20
_ERRORS = [404, 409, 503]


class Asked(BaseModel):
    """A body. Other fields are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, defer_build=True)


NewItems = Annotated[list[dict[str, Any]], Field(max_length=_ITEMS_AT_ONCE)]


class ConversationRequest(Asked):
    """What a new conversation has."""

    items: NewItems | None = None
    metadata: Metadata | None = None


class MetadataRequest(Asked):
    """The metadata that replaces a conversation's."""

    metadata: Metadata


class ItemsRequest(Asked):
    """Items that are added at the end."""

    items: Annotated[NewItems, Field(min_length=1)]


class ConversationItemsQuery(Query):
    """Which items to list."""

    order: Literal["asc", "desc"] = Field("desc", description="`asc`: oldest first.")
    after: str | None = Field(None, description="The id of the last item of the page before.")
    limit: Annotated[int, Field(ge=1, le=100), DIGITS] = Field(20, description="The most items.")


class ConversationDocument(TypedDict):
    """A conversation."""

    id: str
    object: Literal["conversation"]
    created_at: int
    metadata: dict[str, str]


class ConversationDeleted(TypedDict):
    """The conversation is deleted. Its responses stay."""

    id: str
    object: Literal["conversation.deleted"]
    deleted: bool


class ConversationItems(TypedDict):
    """Items of a conversation."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


_EXAMPLE = Conversation(f"conv_{'0' * 32}", "anonymous", 1795253400123, {"topic": "sky"}, 1)
_ITEM = {"type": "message", "role": "user", "content": "Why is the sky blue?"}
_CONVERSATION = json_content(ConversationDocument, lambda: _document(_EXAMPLE))
_LIST = json_content(ConversationItems, lambda: _page([], has_more=False))


@blueprint.post("/v1/conversations")
@scope("jobs:write")
@Contract(
    body=[json_content(ConversationRequest, lambda: {"items": [_ITEM], "metadata": {"topic": "sky"}})],
    body_required=False,
    answers={200: Answer("The conversation.", [_CONVERSATION])},
    errors=[413, 415, 422, 429, 503],
)
def create() -> Response:
    """Create a conversation. It is kept as long as a job, from the last item that was added."""
    services, raw = state(), job_body()
    asked = checked(ConversationRequest, parse_json(raw, "body") if raw else {})
    items = new_items(asked.items or [])
    services.refuse_when_full()
    return json_response(_document(services.conversations.create(auth.owner(), asked.metadata or {}, items)))


@blueprint.get("/v1/conversations/<conversation_id>")
@scope("jobs:read")
@Contract(answers={200: Answer("The conversation.", [_CONVERSATION])}, errors=_ERRORS)
def retrieve(conversation_id: str) -> Response:
    """Show a conversation, without its items."""
    return json_response(_document(state().conversations.get(conversation_id, auth.owner())))


@blueprint.post("/v1/conversations/<conversation_id>")
@scope("jobs:write")
@Contract(
    body=[json_content(MetadataRequest, lambda: {"metadata": {"topic": "sky"}})],
    answers={200: Answer("The conversation.", [_CONVERSATION])},
    errors=[404, 409, 413, 415, 422, 503],
)
def update(conversation_id: str) -> Response:
    """Replace the metadata of a conversation."""
    services, owner = state(), auth.owner()
    conversation = services.conversations.get(conversation_id, owner)
    services.conversations.set_metadata(conversation, checked(MetadataRequest, json_body()).metadata)
    return json_response(_document(services.conversations.get(conversation_id, owner)))


@blueprint.delete("/v1/conversations/<conversation_id>")
@scope("jobs:write")
@Contract(
    answers={200: Answer("It is deleted.", [json_content(ConversationDeleted, lambda: _deleted(_EXAMPLE.id))])},
    errors=_ERRORS,
)
def delete(conversation_id: str) -> Response:
    """Delete a conversation and its items. Its responses stay, and one that runs goes on."""
    state().conversations.delete(conversation_id, auth.owner())
    return json_response(_deleted(conversation_id))


@blueprint.get("/v1/conversations/<conversation_id>/items")
@scope("jobs:read")
@Contract(query=ConversationItemsQuery, answers={200: Answer("The items.", [_LIST])}, errors=[404, 409, 422, 503])
def list_items(conversation_id: str) -> Response:
    """The items of a conversation, newest first unless ``order=asc``: also those of its last response, if that has
    ended."""
    asked = query(ConversationItemsQuery)
    with building():
        items = _items(state(), conversation_id)
        if asked.order != "asc":
            items.reverse()
        page, has_more = page_of(items, asked.after, asked.limit)
        return json_response(_page(page, has_more=has_more))


@blueprint.post("/v1/conversations/<conversation_id>/items")
@scope("jobs:write")
@Contract(
    body=[json_content(ItemsRequest, lambda: {"items": [_ITEM]})],
    answers={200: Answer("The items, with their ids.", [_LIST])},
    errors=[404, 409, 413, 415, 422, 429, 503],
)
def add_items(conversation_id: str) -> Response:
    """Add items at the end, at most 20 at a time."""
    services = state()
    conversation = conversation_of(services, conversation_id, auth.owner(), presence(request.environ))
    items = new_items(checked(ItemsRequest, json_body()).items)
    services.refuse_when_full()
    services.conversations.add(conversation, items)
    return json_response(_page(documents(items), has_more=False))


@blueprint.get("/v1/conversations/<conversation_id>/items/<item_id>")
@scope("jobs:read")
@Contract(
    answers={200: Answer("The item.", [json_content(dict[str, Any], lambda: {"id": "msg_0", **_ITEM})])}, errors=_ERRORS
)
def retrieve_item(conversation_id: str, item_id: str) -> Response:
    """Show one item."""
    with building():
        for item in _items(state(), conversation_id):
            if item["id"] == item_id:
                return json_response(item)
    raise ItemNotFound(item_id)


@blueprint.delete("/v1/conversations/<conversation_id>/items/<item_id>")
@scope("jobs:write")
@Contract(answers={200: Answer("The conversation.", [_CONVERSATION])}, errors=_ERRORS)
def delete_item(conversation_id: str, item_id: str) -> Response:
    """Delete one item. Later responses do not read it."""
    services = state()
    conversation = conversation_of(services, conversation_id, auth.owner(), presence(request.environ))
    services.conversations.delete_item(conversation, item_id)
    return json_response(_document(conversation))


def _items(services: State, conversation_id: str) -> list[dict[str, Any]]:
    return documents(readable_items(services, conversation_id, auth.owner(), presence(request.environ)))


def _document(conversation: Conversation) -> ConversationDocument:
    return {
        "id": conversation.id,
        "object": "conversation",
        "created_at": conversation.created_ms // 1000,
        "metadata": dict(conversation.metadata),
    }


def _deleted(conversation_id: str) -> ConversationDeleted:
    return {"id": conversation_id, "object": "conversation.deleted", "deleted": True}


def _page(items: list[dict[str, Any]], *, has_more: bool) -> ConversationItems:
    return {
        "object": "list",
        "data": items,
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
        "has_more": has_more,
    }
