"""Two applications that nobody here wrote, unmodified but for the base URL: LangChain's ChatOpenAI, and the ``llm``
command line. ``make install-clients`` installs both into ``.venv-clients``."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.compatible.applications import run
from tests.stack import Stack

# `make clients` runs them: each starts an interpreter with many packages.
pytestmark = pytest.mark.slow

LANGCHAIN = Path(__file__).with_name("apps") / "langchain_chat.py"
LANGCHAIN_CASES = (
    "invoke",
    "stream",
    "astream",
    "batch",
    "tool_call",
    "structured_output",
    "invoke_over_responses",
    "stream_over_responses",
    "tool_call_over_responses",
    "tool_call_on_the_server_s_conversation",
)
WEATHER = '''
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"18 degrees in {city}"
'''


@pytest.fixture(scope="module")
def langchain(stack: Stack) -> dict[str, str | None]:
    """What each of LangChain's cases came to: null, or what went wrong. They run in one process."""
    outcomes: dict[str, str | None] = json.loads(run(LANGCHAIN, stack.webs[0].url).stdout)
    assert set(outcomes) == set(LANGCHAIN_CASES)
    return outcomes


@pytest.mark.parametrize("case", LANGCHAIN_CASES)
def test_langchain(langchain: dict[str, str | None], case: str) -> None:
    """ChatOpenAI gets what its users expect of it; what that is says apps/langchain_chat.py."""
    assert langchain[case] is None, langchain[case]


class Llm:
    """The ``llm`` command line with a user directory of its own, in which each surface of Spool is a model."""

    def __init__(self, directory: Path, url: str) -> None:
        self.url = f"{url}/v1"
        self._home = directory
        common = {"model_name": "demo", "api_base": self.url, "supports_tools": True, "supports_schema": True}
        models = [{"model_id": "chat", **common}, {"model_id": "responses", "responses": True, **common}]
        (directory / "extra-openai-models.yaml").write_text(yaml.safe_dump(models))

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command, to its end."""
        return run("-m", "llm", *arguments, HOME=str(self._home), LLM_USER_PATH=str(self._home))


@pytest.fixture
def llm(tmp_path: Path, stack: Stack) -> Llm:
    """The command line, at the first web."""
    return Llm(tmp_path, stack.webs[0].url)


def test_llm_models(llm: Llm) -> None:
    """It lists the models that were named to it, and those that Spool has."""
    assert "OpenAI Chat: chat\n" in llm("models", "-m", "chat", "-m", "responses").stdout
    assert "demo" in llm("openai", "endpoint", llm.url, "--models").stdout.split()


def test_llm_conversation(llm: Llm, stack: Stack) -> None:
    """A streamed answer is printed, and ``-c`` goes on from it, whole: Spool got both turns and the answer between."""
    first = llm("-m", "chat", "What is a spool?", "-o", "max_tokens", "12").stdout
    assert first.startswith("## A demo answer")
    whole = llm("-c", "And a reel?", "--no-stream", "--json", "-o", "max_tokens", "34").stdout
    (second,) = json.loads(whole)
    assert "> And a reel?" in second["response"]
    assert second["output_tokens"] == 34
    job = second["response_json"]["id"].removeprefix("chatcmpl-")
    turns = stack.client(1).get(f"/v1/responses/resp_{job}/input_items", params={"order": "asc"}).json()["data"]
    said = [(turn["role"], turn["content"][0]["text"]) for turn in turns]
    assert said == [("user", "What is a spool?"), ("assistant", first.removesuffix("\n")), ("user", "And a reel?")]


@pytest.mark.parametrize("model", ["chat", "responses"])
def test_llm_tool_call(llm: Llm, model: str) -> None:
    """It calls the function that the model asks for, and prints the answer to its result."""
    prompt = "Ask get_weather about Oslo"
    done = llm("-m", model, "--functions", WEATHER, "--td", prompt, "-o", "max_tokens", "34")
    assert "Tool call: get_weather({'city': 'Oslo'})\n  18 degrees in Oslo" in done.stderr
    assert "> 18 degrees in Oslo" in done.stdout


def test_llm_schema_over_responses(llm: Llm) -> None:
    """A schema's answer streams over the Responses API, and its usage is known."""
    done = llm("-m", "responses", "--schema", "name, inhabitants int", "Name Lisbon", "--usage")
    assert json.loads(done.stdout) == {"name": "Lisbon", "inhabitants": 7}
    assert "Token usage: 2 input, 5 output" in done.stderr
