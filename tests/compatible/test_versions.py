"""The table of clients in docs/compatible.md names the versions that are pinned here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pytest

from tests.test_architecture import ROOT

COMPATIBLE = ROOT / "tests/compatible"
TABLE = (ROOT / "docs/compatible.md").read_text(encoding="utf-8")
NAMED: Mapping[str, tuple[str, str]] = {
    "openai (Python {}": ("../../requirements/test.txt", "openai"),
    "openai (Python 3.52, Node {}": ("node/package.json", "openai"),
    "langchain-openai {}": ("requirements.txt", "langchain-openai"),
    "`llm` {}": ("requirements.txt", "llm"),
    "openai-agents {} (Python)": ("requirements.txt", "openai-agents"),
    "pydantic-ai {}": ("requirements.txt", "pydantic-ai-slim"),
    "smolagents {}": ("requirements.txt", "smolagents"),
    "anthropic (Python {}": ("../../requirements/test.txt", "anthropic"),
    "anthropic (Python 2.14, Node {}": ("node/package.json", "@anthropic-ai/sdk"),
    "`ai` {} with `DefaultChatTransport`": ("node/package.json", "ai"),
    "`@workflow/ai` {}": ("node/package.json", "@workflow/ai"),
    "ollama (Python {}": ("requirements.txt", "ollama"),
    "JavaScript {}): chat": ("node/package.json", "ollama"),
    "mcp (Python {}": ("requirements.txt", "mcp"),
    "`@modelcontextprotocol/sdk` {}": ("node/package.json", "@modelcontextprotocol/sdk"),
    "`@ag-ui/client` {}": ("node/package.json", "@ag-ui/client"),
    "`@durable-streams/client` {}": ("node/package.json", "@durable-streams/client"),
    "openai-agents {} (Node)": ("node22/package.json", "@openai/agents"),
    "`ai` {} with `@ai-sdk/openai`": ("node22/package.json", "ai"),
    "`@ai-sdk/openai` {}": ("node22/package.json", "@ai-sdk/openai"),
    "`@ai-sdk/openai-compatible` {}": ("node22/package.json", "@ai-sdk/openai-compatible"),
    "haystack {}": ("environments/haystack.txt", "haystack-ai"),
    "LlamaIndex {}": ("environments/haystack.txt", "llama-index-core"),
    "semantic-kernel {}": ("environments/microsoft.txt", "semantic-kernel"),
    "agent-framework {}": ("environments/microsoft.txt", "agent-framework-core"),
    "LiteLLM {} (SDK)": ("environments/litellm.txt", "litellm"),
    "LiteLLM's proxy {}": ("environments/litellm.txt", "litellm"),
    "instructor {}": ("environments/instructor.txt", "instructor"),
    "aider {}": ("environments/aider.txt", "aider-chat"),
}
"""What the table says of each package, and the file that pins it."""


def pinned(file: str, package: str) -> str:
    """The version of the package."""
    path = (COMPATIBLE / file).resolve()
    if path.suffix == ".json":
        version: str = json.loads(path.read_text(encoding="utf-8"))["dependencies"][package]
        return version
    found = re.search(rf"^{re.escape(package)}==([^ \n]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert found, f"{path} does not pin {package}"
    return found[1]


@pytest.mark.parametrize("phrase", NAMED)
def test_table_names_the_pinned_version(phrase: str) -> None:
    """The version in the table is the beginning of the pinned one."""
    before, _, after = phrase.partition("{}")
    found = re.search(rf"{re.escape(before)}([0-9]+(?:\.[0-9]+)*){re.escape(after)}", TABLE)
    assert found, f"the table does not say {phrase}"
    version = pinned(*NAMED[phrase])
    assert f"{version}.".startswith(f"{found[1]}."), f"{phrase}: {found[1]} in the table, {version} pinned"
