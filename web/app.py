"""The web application, assembled from its parts, one line each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask

from spool.settings import WebSettings, in_local_demo
from web import access_lines, auth, cors, error_handlers, loopback_hosts, no_content, openapi, operations, request_spans
from web.admin import keys, switches
from web.ag_ui import runs as ag_ui_runs
from web.ai_sdk import chat as ai_sdk_chat
from web.ai_sdk import workflow as ai_sdk_workflow
from web.anthropic import errors as anthropic_errors
from web.anthropic import messages as anthropic_messages
from web.anthropic import models as anthropic_models
from web.console import demo, page, session
from web.docs import pages as docs_pages
from web.durable_streams import streams as durable_streams
from web.mcp import endpoint as mcp_endpoint
from web.mcp import messages as mcp_messages
from web.native import (
    batch_log,
    batch_retry,
    batches,
    events,
    jobs,
    links,
    models,
    open_batch,
    stream,
    tokens,
    usage,
    webhooks,
    websocket,
    websocket_batch,
)
from web.native import entries as long_polling
from web.native import websocket_mux as websocket_many
from web.ollama import errors as ollama_errors
from web.ollama import generation as ollama_generation
from web.ollama import models as ollama_models
from web.openai import batches as openai_batches
from web.openai import chat as openai_chat
from web.openai import compaction as openai_compaction
from web.openai import completions as openai_completions
from web.openai import conversations as openai_conversations
from web.openai import embeddings as openai_embeddings
from web.openai import errors as openai_errors
from web.openai import files as openai_files
from web.openai import images as openai_images
from web.openai import models as openai_models
from web.openai import response_socket as openai_socket
from web.openai import responses as openai_responses
from web.openai.azure_paths import AzurePaths
from web.request_ids import RequestIds
from web.services import State

_ROUTES = (
    jobs,
    long_polling,
    stream,
    batches,
    batch_log,
    batch_retry,
    open_batch,
    events,
    models,
    links,
    tokens,
    usage,
    webhooks,
    openai_responses,
    openai_compaction,
    openai_conversations,
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_images,
    openai_models,
    openai_files,
    openai_batches,
    ai_sdk_chat,
    ai_sdk_workflow,
    anthropic_messages,
    anthropic_models,
    ollama_generation,
    ollama_models,
    mcp_endpoint,
    ag_ui_runs,
    durable_streams,
    keys,
    switches,
    operations,
    openapi,
    docs_pages,
    page,
    session,
)
"""The modules of routes."""


class _Application(Flask):
    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Flask calls this for each hook of each request, to find out whether it is a coroutine function. None is: a
        look at all of them was 6 % of a submit's CPU."""
        return func


def create_app(settings: WebSettings | None = None) -> Flask:
    """The web application of one process, ready to be served."""
    settings = settings or WebSettings.read()
    settings.check_exposure()
    app = _Application("web", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.extensions["spool"] = State.build(settings)
    # Paths are taken literally. Redirects would lose a POST's body, and the second slash of a chat's id.
    app.url_map.merge_slashes = False
    app.wsgi_app = RequestIds(AzurePaths(anthropic_models.ModelPaths(app.wsgi_app)))  # type: ignore[method-assign]
    access_lines.install(app, app.extensions["spool"].authenticator)
    request_spans.install(app)
    no_content.install(app)
    cors.install(app, settings)
    error_handlers.install(app)
    openai_errors.install()
    anthropic_errors.install(app)
    ollama_errors.install()
    mcp_messages.install()
    loopback_hosts.install(app, settings)
    auth.install(app, app.extensions["spool"].authenticator)
    for module in _ROUTES:
        app.register_blueprint(module.blueprint)
    if in_local_demo():
        app.register_blueprint(demo.blueprint)
    websocket.install(app)
    websocket_batch.install(app)
    websocket_many.install(app)
    openai_socket.install(app)
    auth.check_every_route_has_a_scope(app)
    return app
