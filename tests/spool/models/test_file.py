"""The models file: its fields, and that each mistake is named with its file, place and value."""

from __future__ import annotations

from pathlib import Path

import pytest

from spool.errors import SettingsError
from spool.models.file import load

GOOD = """
[[upstream]]
name = "gpu"
url = "http://127.0.0.1:8001/v1/"
api_key = "very-secret"

[[upstream.model]]
name = "small"
upstream_model = "org/small-1b"
max_running = 8
rpm = 600
tpm = 50_000
continue = true
first_token_s = 5

[[upstream.model]]
name = "large"

[[upstream]]
name = "cloud"
url = "https://cloud.example"
kind = "azure"
api_version = "2024-10-21"
deployment = "d"
"""


@pytest.fixture
def models_file(tmp_path: Path) -> Path:
    """The path of the file."""
    return tmp_path / "models.toml"


def failure(path: Path, text: str) -> str:
    """The message about a file with this content."""
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(path)
    assert "SPOOL_MODELS_FILE" in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_file_is_read(models_file: Path) -> None:
    """Each field arrives in the records."""
    models_file.write_text(GOOD)
    gpu, cloud = load(models_file)
    assert (gpu.name, gpu.url, gpu.api_key) == ("gpu", "http://127.0.0.1:8001/v1", "very-secret")
    small, large = gpu.models
    assert (small.upstream_model, small.max_running, small.continue_style, small.first_token_s) == (
        "org/small-1b",
        8,
        "vllm",
        5,
    )
    assert (small.rpm, small.tpm, large.rpm, large.tpm) == (600, 50_000, 0, 0)
    assert (large.upstream_model, large.max_running, large.continue_style, large.upstream) == ("large", 0, "", "gpu")
    assert not small.continues, "it is not proven yet"
    assert (cloud.kind, cloud.api_version, cloud.deployment, cloud.models) == ("azure", "2024-10-21", "d", ())


@pytest.mark.parametrize(
    ("value", "style"),
    [
        ("true", "vllm"),
        ("false", ""),
        ('"vllm"', "vllm"),
        ('"assistant"', "assistant"),
        ('"prefix"', "prefix"),
        ('"mistral"', "mistral"),
    ],
)
def test_style_of_continuing(models_file: Path, value: str, style: str) -> None:
    """``continue`` is the style of the request; ``true`` is vLLM's."""
    models_file.write_text(GOOD.replace("continue = true", f"continue = {value}"))
    assert load(models_file)[0].models[0].continue_style == style


def test_file_that_is_empty(models_file: Path) -> None:
    """An empty file has no upstreams."""
    models_file.write_text("")
    assert load(models_file) == ()


def test_file_that_is_not_there(models_file: Path) -> None:
    """A file that cannot be read is named."""
    with pytest.raises(SettingsError, match="No such file"):
        load(models_file)
    with pytest.raises(SettingsError, match="directory"):
        load(models_file.parent)


def test_key_from_the_environment(models_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key can be in a variable, which has to be there."""
    monkeypatch.setenv("GPU_KEY", "from outside")
    models_file.write_text('[[upstream]]\nname = "gpu"\nurl = "http://x"\napi_key_env = "GPU_KEY"')
    assert load(models_file)[0].api_key == "from outside"
    monkeypatch.delenv("GPU_KEY")
    assert "GPU_KEY" in failure(models_file, models_file.read_text())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[upstream", "Expected"),
        ("upstream = 7", ": upstream=7: must be a valid list"),
        ("colour = 7", ": colour: unknown; known are upstream"),
        ('upstream = ["x"]', "upstream[0]: must be a table"),
        ('[[upstream]]\nurl = "http://x"', "upstream[0].name: is missing"),
        ('[[upstream]]\nname = "a"', "upstream[0].url: is missing"),
        ('[[upstream]]\nname = ""\nurl = "http://x"', "upstream[0].name='': must have at least 1"),
        ('[[upstream]]\nname = "a"\nurl = "ftp://x"', "upstream[0].url: must"),
        ('[[upstream]]\nname = "a"\nurl = 7', "upstream[0].url: must be a valid string"),
        ('[[upstream]]\nname = "a"\nurl = "http://x"\nkind = "x"', "upstream[0].kind='x'"),
        ('[[upstream]]\nname = "a"\nurl = "http://x"\nmodels = []', "upstream[0].models: unknown; known are name, url"),
        ("[[upstream]]\nname = 7", "upstream[0].name=7: must be a valid string; upstream[0].url: is missing"),
        ('[[upstream]]\nname = "a"\nurl = "http://x"\n[[upstream.model]]\n', "model[0].name: is missing"),
        (
            '[[upstream]]\nname = "a"\nurl = "http://x"\n[[upstream.model]]\nname = "m"\nmax_running = -1',
            "model[0].max_running=-1",
        ),
        (
            '[[upstream]]\nname = "a"\nurl = "http://x"\n[[upstream.model]]\nname = "m"\nmax_running = true',
            "model[0].max_running=True: must be a valid integer",
        ),
        (
            '[[upstream]]\nname = "a"\nurl = "http://x"\n[[upstream.model]]\nname = "m"\ncontinue = 1',
            "model[0].continue=1: must be true, false or one of",
        ),
        (
            '[[upstream]]\nname = "a"\nurl = "http://x"\n[[upstream.model]]\nname = "m"\nalive_s = nan',
            "model[0].alive_s=nan: must be a finite number",
        ),
        (
            '[[upstream]]\nname = "a"\nurl = "http://x"\n[[upstream.model]]\nname = "m"\ncontinue = ["vllm"]',
            "model[0].continue: must be true, false or one of",
        ),
        (
            '[[upstream]]\nname = "a"\nurl = "http://x"\n[[upstream.model]]\nname = "m"\ncontinue = "yes"',
            "model[0].continue='yes': must be true, false or one of 'vllm', 'assistant', 'prefix', 'mistral'",
        ),
        (
            '[[upstream]]\nname = "a"\nurl = "http://x"\n[[upstream.model]]\nname = "m"\ncontinue = ""',
            "model[0].continue='': must be",
        ),
        (
            '[[upstream]]\nname = "a"\nurl = "http://x"\n[[upstream]]\nname = "a"\nurl = "http://y"',
            "upstream 'a' is defined twice",
        ),
        (
            '[[upstream]]\nname = "a"\nurl = "http://x"\n[[upstream.model]]\nname = "demo"',
            "model 'demo' is defined twice",
        ),
    ],
    ids=lambda value: value[-30:],
)
def test_file_that_is_wrong(models_file: Path, text: str, said: str) -> None:
    """Each mistake is named with its place."""
    assert said in failure(models_file, text)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ('api_key = "very-secret"', 'api_kee = "very-secret"'),
        ('api_key = "very-secret"', 'api_key = ["very-secret"]'),
        ("http://127.0.0.1:8001/v1/", "ftp://user:very-secret@host"),
        ("max_running = 8", "colour = 7"),
    ],
)
def test_mistake_shows_no_key(models_file: Path, good: str, bad: str) -> None:
    """A message about a mistake shows no key, whatever is wrong."""
    assert "very-secret" not in failure(models_file, GOOD.replace(good, bad))


def test_model_that_does_not_stream(models_file: Path) -> None:
    """``stream = false`` says that a model's answers come as a whole; unset, it is asked for a stream."""
    head = '[[upstream]]\nname = "u"\nurl = "http://u"\n'
    models_file.write_text(f'{head}[[upstream.model]]\nname = "a"\nstream = false\n[[upstream.model]]\nname = "b"\n')
    assert [(model.name, model.streams) for model in load(models_file)[0].models] == [("a", False), ("b", True)]
    assert "stream" in failure(models_file, f'{head}[[upstream.model]]\nname = "a"\nstream = "no"\n')
