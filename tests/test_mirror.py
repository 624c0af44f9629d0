"""Tests mirror the tree: a module is tested by the test module of its name in the folder of its name."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.syntax import tree_of
from tests.test_architecture import ROOT

PACKAGES = ("spool", "web", "worker")

TESTED_BY: Mapping[str, str] = {
    "spool/__init__.py": "spool/test_cli.py",
    "spool/__main__.py": "faults/test_stopped_webs.py",
    "spool/cli/programs.py": "spool/test_cli.py",
    "spool/conversations/conversation.py": "spool/conversations/test_store.py",
    "spool/errors.py": "spool/redis/test_link.py web/test_bad_input.py",
    "spool/following/doorbell.py": "spool/following/test_follower.py",
    "spool/following/encoder.py": "spool/following/test_feed.py",
    "spool/jobs/claims.py": "spool/jobs/test_claim_script.py worker/test_claiming.py",
    "spool/jobs/class_shares.py": "spool/jobs/test_fair_queue.py",
    "spool/jobs/log.py": "spool/following/test_reader.py",
    "spool/jobs/packed_log.py": "spool/jobs/test_packer.py",
    "spool/jobs/packed_text.py": "spool/jobs/test_packer.py",
    "spool/jobs/submission.py": "spool/jobs/test_submit_script.py",
    "spool/models/demo_params.py": "web/test_bad_input.py",
    "spool/models/table.py": "spool/models/test_model.py",
    "spool/redis/errors.py": "spool/redis/test_link.py",
    "spool/redis/pool.py": "spool/redis/test_link.py",
    "spool/redis/script.py": "spool/jobs/test_scripts.py",
    "spool/webhooks/delivery.py": "spool/webhooks/test_delivery_store.py",
    "spool/webhooks/endpoint.py": "spool/webhooks/test_endpoint_store.py",
    "spool/toml_file.py": "spool/models/test_file.py spool/owners/test_file.py",
    "spool/run/programs.py": "spool/test_cli.py web/test_loopback_hosts.py",
    "spool/run/server_binary.py": "spool/run/test_embedded.py",
    "spool/cli/one_line_errors.py": "spool/cli/test_keys.py spool/cli/test_switch.py",
    "web/access/audit.py": "web/admin/test_keys.py",
    "web/limits/transports.py": "web/admin/test_switches.py",
    "web/access/jwt_settings.py": "web/access/test_jwts.py",
    "web/access/shown.py": "web/native/test_tokens.py web/console/test_session.py",
    "web/ai_sdk/chat.py": "compatible/test_ai_sdk.py",
    "web/openai/chat_audio.py": "compatible/test_marked_text.py",
    "web/ag_ui/runs.py": "compatible/test_ag_ui.py",
    "web/durable_streams/streams.py": "compatible/test_durable_streams.py",
    "web/ai_sdk/chat_request.py": "compatible/test_ai_sdk.py compatible/test_workflow_node.py",
    "web/ai_sdk/ui_parts.py": "web/ai_sdk/test_ui_messages.py",
    "web/ai_sdk/workflow.py": "compatible/test_workflow_node.py",
    "web/anthropic/errors.py": "compatible/test_anthropic.py",
    "web/anthropic/messages.py": "compatible/test_anthropic.py",
    "web/app.py": "web/test_openapi.py",
    "web/checkpoints.py": "web/test_translated_stream.py",
    "web/condition_gauge.py": "web/test_operations.py",
    "web/background.py": "web/test_operations.py web/test_queue_gauges.py",
    "web/console/demo.py": "faults/test_local_demo.py web/test_auth.py",
    "web/console/page.py": "web/test_auth.py browser/test_page.py",
    "web/contract.py": "web/test_openapi.py",
    "web/cors.py": "web/test_origin_check.py",
    "web/delivery/building.py": "web/test_folds.py faults/test_silent_readers.py",
    "web/delivery/streaming.py": "web/test_negotiation.py web/test_no_content.py web/test_limits.py",
    "web/examples.py": "web/test_openapi.py",
    "web/gunicorn.conf.py": "web/test_slow_requests.py web/test_operations.py",
    "web/entry_translation.py": "web/test_translated_stream.py",
    "web/intake/answering.py": "compatible/test_openai_chat.py compatible/test_failures.py",
    "web/intake/batch.py": "web/test_batches_bad_input.py",
    "web/intake/body.py": "web/server/test_body.py web/test_bad_input.py",
    "web/intake/draft.py": "web/intake/test_accept.py",
    "web/intake/earlier_reasoning.py": "compatible/test_reasoning.py web/openai/test_response_items.py",
    "web/intake/errors_after_acceptance.py": "compatible/test_openai_chat.py",
    "web/intake/webhook.py": "web/native/test_webhooks.py",
    "web/limits/bodies.py": "web/test_bad_input.py",
    "web/metrics.py": "web/test_operations.py faults/test_metrics.py",
    "web/mcp/messages.py": "web/mcp/test_endpoint.py",
    "web/mcp/batch_tools.py": "compatible/test_mcp.py",
    "web/mcp/tool.py": "web/mcp/test_endpoint.py",
    "web/mcp/tools.py": "web/mcp/test_endpoint.py compatible/test_mcp.py",
    "web/native/signed_links.py": "web/native/test_links.py",
    "web/docs/shell.py": "web/docs/test_pages.py",
    "web/intake/piece.py": "web/native/test_open_batch.py",
    "web/native/batch_lines.py": "web/native/test_open_batch.py",
    "web/native/batch_options.py": "web/native/test_open_batch.py",
    "web/native/batches.py": "web/test_batches_bad_input.py web/test_wrong_ids.py",
    "web/native/entry_document.py": "web/native/test_entries.py",
    "web/native/jobs.py": "web/test_bad_input.py web/test_wrong_ids.py",
    "web/native/stream_contract.py": "web/test_cursors.py",
    "web/native/socket_messages.py": "web/test_openapi.py",
    "web/native/stream.py": "web/test_cursors.py",
    "web/native/submission.py": "web/test_bad_input.py",
    "web/native/readable_batch.py": "web/native/test_batch_log.py web/native/test_websocket_batch.py",
    "web/native/socket_session.py": "web/test_wrong_ids.py web/test_cursors.py",
    "web/native/websocket.py": "web/test_wrong_ids.py web/test_cursors.py",
    "web/native/websocket_follow.py": "web/delivery/test_websocket.py",
    "web/native/websocket_mux.py": "web/delivery/test_websocket.py web/test_websocket_bad_input.py",
    "web/openai/all_files.py": "web/openai/test_batch_files.py",
    "web/openai/batch_request.py": "compatible/test_openai_batches.py",
    "web/openai/batches.py": "compatible/test_openai_batches.py",
    "web/openai/file_document.py": "web/openai/test_files.py compatible/test_openai_files.py",
    "web/openai/file_form.py": "web/openai/test_files.py",
    "web/ollama/errors.py": "web/ollama/test_models.py compatible/test_ollama.py",
    "web/ollama/generation.py": "compatible/test_ollama.py",
    "web/openai/chat.py": "compatible/test_openai_chat.py",
    "web/openai/client_calls.py": "web/openai/test_client_tools.py web/openai/test_response_items.py",
    "web/openai/listed_items.py": "web/openai/test_response_items.py",
    "web/openai/chat_request.py": "compatible/test_openai_chat.py compatible/test_any_input.py",
    "web/openai/completions.py": "compatible/test_openai_endpoints.py",
    "web/openai/endpoint_requests.py": "compatible/test_openai_endpoints.py web/openai/test_lines.py",
    "web/openai/embeddings.py": "compatible/test_openai_endpoints.py",
    "web/openai/images.py": "compatible/test_openai_endpoints.py",
    "web/openai/whole_results.py": "compatible/test_openai_endpoints.py",
    "web/openai/compaction.py": "compatible/test_compaction.py",
    "web/openai/conversations.py": "compatible/test_openai_conversations.py web/test_wrong_ids.py",
    "web/openai/conversation_items.py": "compatible/test_openai_conversations.py",
    "web/openai/conversation_turns.py": "compatible/test_openai_conversations.py",
    "web/openai/sealed_reasoning.py": "compatible/test_reasoning.py",
    "web/openai/response_draft.py": "compatible/test_openai_responses.py",
    "web/openai/errors.py": "compatible/test_openai_chat.py",
    "web/openai/fields.py": "compatible/test_any_input.py",
    "web/openai/models.py": "compatible/test_openai_chat.py",
    "web/openai/response_events.py": "web/test_translated_stream.py compatible/test_openai_responses.py",
    "web/openai/response_fold.py": "compatible/test_openai_responses.py",
    "web/openai/response_output.py": "compatible/test_openai_responses.py",
    "web/openai/response_socket.py": "compatible/test_response_socket.py",
    "web/openai/response_request.py": "compatible/test_openai_responses.py compatible/test_any_input.py",
    "web/openai/response_resource.py": "compatible/test_open_responses.py",
    "web/openai/responses.py": "compatible/test_openai_responses.py",
    "web/openapi_document.py": "web/test_openapi.py",
    "web/problem_kinds.py": "web/test_openapi.py",
    "web/problems.py": "web/test_bad_input.py",
    "web/error_handlers.py": "web/test_bad_input.py",
    "web/server/client_socket.py": "web/limits/test_unsent.py",
    "web/server/request.py": "web/test_slow_requests.py web/server/test_gunicorn_worker.py",
    "web/server/sockets.py": "web/limits/test_unsent.py",
    "web/server/source.py": "web/server/test_head.py web/server/test_body.py",
    "web/services.py": "web/test_limits.py web/test_operations.py",
    "worker/__main__.py": "worker/test_celery.py system/test_jobs.py",
    "worker/assembly.py": "worker/quarantine/test_pool.py system/test_jobs.py",
    "worker/attempt.py": "worker/test_ownership.py worker/test_coalescing.py",
    "worker/backends/demo/backend.py": "worker/test_backends.py",
    "worker/backends/openai/calls.py": "worker/backends/openai/test_whole_answers.py",
    "worker/backends/openai/connection.py": "worker/backends/openai/test_transport.py",
    "worker/backends/openai/continuation_probe.py": "worker/backends/openai/test_continuing.py",
    "worker/backends/openai/errors.py": "worker/backends/openai/test_backend.py",
    "worker/backends/openai/rejected_key.py": "worker/backends/openai/test_backend.py",
    "worker/bell_consumer.py": "worker/test_celery.py faults/test_broker.py",
    "worker/metrics.py": "worker/test_attempt_events.py faults/test_metrics.py",
    "worker/process.py": "worker/quarantine/test_pool.py faults/test_worker_loss.py",
    "worker/quarantine/__main__.py": "worker/quarantine/test_pool.py",
}
"""Modules without a test module of their name, and the tests that would fail without each: of the surface or of the
neighbours that show what it does. A module leaves this list when it gets its own."""

NOT_OF_A_MODULE: Mapping[str, str] = {
    "spool/jobs/test_damaged_records.py": "records and ledger entries that are damaged, under every script",
    "spool/jobs/test_fair_queue.py": "lua/lib/fair.lua and queue.lua: the order of claims over flows and classes",
    "spool/jobs/test_fair_queue_model.py": "the policy of the queue against a model in Python, over all scripts",
    "spool/jobs/test_holds.py": "jobs that wait for their time or turn, over submit, claim and keep",
    "spool/jobs/test_job_model.py": "the state machine of a job over all scripts",
    "spool/jobs/test_limit_model.py": "limits of owners against a model in Python, over all scripts",
    "spool/jobs/test_limit_scopes.py": "lua/lib/owner_limits.lua: limits of the owners file, over claims and ends",
    "spool/jobs/test_old_ledger.py": "the ledger of an earlier version, taken over by the scripts",
    "spool/jobs/test_rates.py": "lua/lib/limits.lua: requests and tokens a minute, over claim and the ends of attempts",
    "spool/jobs/test_rewinds.py": "a Redis that comes back with older data, under every script",
    "spool/jobs/test_staged_batches.py": "a batch over stage_batch, seal_batch and the keeper",
    "spool/jobs/test_start_within.py": "near start_within_s: the order of a flow, over submit, keep and claim",
    "spool/jobs/test_takeover.py": "lua/lib/takeover.lua: the queue of an earlier version",
    "spool/webhooks/test_outbox.py": "lua/lib/outbox.lua: the events of ends, over all scripts that end a job",
    "web/console/test_words.py": "the words of the page, which are in JavaScript",
    "web/test_bad_input.py": "invalid input to all routes of one job",
    "web/test_batches_bad_input.py": "invalid input to all routes of batches",
    "web/test_broken_requests.py": "requests that are no HTTP, to a real web",
    "web/test_credentials.py": "keys and hosts on every route",
    "web/test_cursors.py": "cursors on every transport",
    "web/test_damaged_jobs.py": "damaged records as callers see them",
    "web/test_fuzz.py": "any input to any route",
    "web/test_limits.py": "a full queue and full streams on every route",
    "web/test_owner_limits.py": "an owner's limits on every route",
    "web/test_shared_turns.py": "earlier turns of a conversation, on every surface",
    "web/test_slow_requests.py": "clients that send slowly or stop, to a real web",
    "web/test_websocket_bad_input.py": "invalid messages to both WebSockets",
    "web/test_wrong_ids.py": "unknown, foreign and deleted ids on every route",
}
"""Test modules that are about more than one module, and what each is about."""


def own_test(module: Path) -> Path:
    """The test module of a module, both relative to the checkout. A package's ``__init__`` is named for the package."""
    if module.name == "__init__.py":
        return Path("tests", *module.parts[:-2], f"test_{module.parts[-2]}.py")
    name = module.stem.strip("_").replace(".", "_")
    return Path("tests", *module.parts[:-1], f"test_{name}.py")


def has_code(path: Path) -> bool:
    """Whether a module holds more than a docstring."""
    body = tree_of(path).body
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body)


def modules(root: Path) -> Iterator[Path]:
    """Every module with code, and every script, relative to ``root``."""
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            if has_code(path):
                yield path.relative_to(root)


def untested(root: Path) -> set[str]:
    """The modules that have no test module of their own."""
    return {str(module) for module in modules(root) if not (root / own_test(module)).exists()}


def without_a_module(root: Path) -> set[str]:
    """The test modules below the packages' folders that have no module. ``test_claim_script`` is ``claim.lua``'s."""
    mirrored = {own_test(module) for module in modules(root)}
    for script in (root / "spool/jobs/lua").glob("*.lua"):
        mirrored.add(Path("tests/spool/jobs", f"test_{script.stem}_script.py"))
    found = (path.relative_to(root) for package in PACKAGES for path in (root / "tests" / package).rglob("test_*.py"))
    return {str(path) for path in found if path not in mirrored}


def test_every_module_has_its_test_module() -> None:
    """A module has the test module of its name, or stands in ``TESTED_BY``; what has one does not stand there."""
    assert untested(ROOT) == set(TESTED_BY)


def test_every_test_module_has_its_module() -> None:
    """A test module has the module of its name, or stands in ``NOT_OF_A_MODULE``."""
    assert without_a_module(ROOT) == {f"tests/{name}" for name in NOT_OF_A_MODULE}


@pytest.mark.parametrize("module", TESTED_BY)
def test_other_tests_of_a_module_exist(module: str) -> None:
    """The tests that are named instead of a module's own are there."""
    missing = [name for name in TESTED_BY[module].split() if not (ROOT / "tests" / name).exists()]
    assert not missing


def test_what_is_missing_is_found(tmp_path: Path) -> None:
    """A planted module without a test, and a planted test without a module, are found; a package of a docstring alone
    needs none."""
    for name, text in {
        "spool/jobs/job.py": "x = 1",
        "spool/jobs/log.py": "x = 1",
        "spool/jobs/__init__.py": '"""Jobs."""',
        "spool/jobs/lua/claim.lua": "",
        "web/__init__.py": "x = 1",
        "tests/spool/jobs/test_job.py": "",
        "tests/spool/jobs/test_claim_script.py": "",
        "tests/spool/jobs/test_other.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert untested(tmp_path) == {"spool/jobs/log.py", "web/__init__.py"}
    assert without_a_module(tmp_path) == {"tests/spool/jobs/test_other.py"}
