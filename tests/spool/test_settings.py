"""Settings: what is read, what is refused, and that nothing secret shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from spool.errors import SettingsError
from spool.models import file as upstreams
from spool.settings import (
    RunSettings,
    Settings,
    WebSettings,
    WorkerSettings,
    known_variables,
)


def test_defaults_are_the_documented_ones() -> None:
    """Without any variable: loopback, port 8000, no keys, the demo alone."""
    settings = RunSettings.read({})
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert (settings.lease_s, settings.max_attempts, settings.job_ttl_s) == (10.0, 3, 86_400)
    assert settings.static_keys() == ()
    assert [model.name for model in settings.static_models()] == ["demo"]


def test_read_takes_each_variable_of_its_program() -> None:
    """Every program reads its own part of one environment; the other parts do not disturb it."""
    environ = {"SPOOL_PORT": "8123", "SPOOL_WORKER_CONCURRENCY": "7", "SPOOL_LEASE_S": "2.5", "HOME": "/x"}
    assert WebSettings.read(environ).port == 8123
    assert WorkerSettings.read(environ).worker_concurrency == 7
    assert Settings.read(environ).lease_s == 2.5


def test_read_of_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument, ``read`` reads the environment of this process."""
    monkeypatch.setenv("SPOOL_MAX_ATTEMPTS", "5")
    assert Settings.read().max_attempts == 5


def test_read_of_another_environment_is_isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of this process has no effect on it, nor on an object that is made directly."""
    monkeypatch.setenv("SPOOL_LEASE_S", "77")
    assert Settings.read({}).lease_s == Settings().lease_s == 10
    assert Settings.read({"SPOOL_LEASE_S": "5"}).lease_s == 5


def test_empty_variable_is_an_unset_one() -> None:
    """Compose files and shells make empty variables."""
    assert RunSettings.read({"SPOOL_PORT": "", "SPOOL_MODELS_FILE": ""}).port == 8000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SPOOL_PORT", "eighty"),
        ("SPOOL_PORT", "65536"),
        ("SPOOL_LEASE_S", "0"),
        ("SPOOL_LOG_LEVEL", "loud"),
        ("SPOOL_ALLOW_ANONYMOUS", "yep"),
        ("SPOOL_ALLOWED_ORIGINS", "https://app.example/path"),
        ("SPOOL_MEMORY_WATERMARK", "1.5"),
        ("SPOOL_MAX_ATTEMPTS", "2.5"),
    ],
)
def test_unusable_value_is_named_with_its_variable(name: str, value: str) -> None:
    """Every failure names the variable and the value."""
    with pytest.raises(SettingsError, match=f"{name}={value!r}: ".replace(".", r"\.")):
        RunSettings.read({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SPOOL_REDIS_URL", "http://user:hunter2hunter2@host"),
        ("SPOOL_UPSTREAM_URL", "ftp://user:hunter2hunter2@host"),
        ("SPOOL_API_KEYS", "alice:hunter2hunter2"),
        ("SPOOL_API_KEYS", "al ice=hunter2hunter2"),
        ("SPOOL_API_KEYS", "a=hunter2hunter2,b=hunter2hunter2"),
        ("SPOOL_API_KEYS", "a=hunter2hünter2"),
        ("SPOOL_API_KEYS", "a=hunter2\u200bhunter2"),
    ],
)
def test_unusable_secret_is_named_without_its_value(name: str, value: str) -> None:
    """A secret that cannot be used is in no message."""
    with pytest.raises(SettingsError, match=name) as caught:
        RunSettings.read({name: value})
    assert "hunter2" not in str(caught.value)


def test_repr_shows_no_secret() -> None:
    """Settings may be logged."""
    secrets = {
        "SPOOL_API_KEYS": "alice=hunter2hunter2",
        "SPOOL_UPSTREAM_API_KEY": "hunter2hunter2",
        "SPOOL_REDIS_URL": "redis://:hunter2hunter2@127.0.0.1:1",
        "SPOOL_BROKER_URL": "redis://:hunter2hunter2@127.0.0.1:1",
        "SPOOL_UPSTREAM_URL": "http://127.0.0.1:1/v1/",
    }
    settings = RunSettings.read(secrets)
    assert "hunter2" not in repr(settings) + str(settings) + repr(settings.upstreams())
    assert [(key.secret, key.owner) for key in settings.static_keys()] == [("hunter2hunter2", "alice")]
    assert settings.upstreams()[0].url == "http://127.0.0.1:1/v1"


def test_demo_can_be_switched_off_where_there_is_an_upstream() -> None:
    """Without the demo, what the upstreams serve is all there is."""
    environ = {"SPOOL_DEMO": "0", "SPOOL_UPSTREAM_URL": "http://127.0.0.1:1/v1"}
    assert RunSettings.read(environ).static_models() == ()


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, "SPOOL_DEMO=0 leaves no model: set SPOOL_UPSTREAM_URL"),
        ({"SPOOL_UPSTREAM_URL": "http://x/v1", "SPOOL_DEFAULT_MODEL": "demo"}, "SPOOL_DEFAULT_MODEL='demo'"),
    ],
)
def test_demo_that_is_switched_off_and_needed(environ: dict[str, str], message: str) -> None:
    """Without the demo and without an upstream nothing could be asked: no program starts."""
    for program in (WebSettings, WorkerSettings, RunSettings):
        with pytest.raises(SettingsError, match=message):
            program.read({"SPOOL_DEMO": "0", **environ})


def test_misspelt_variable_is_refused_with_a_suggestion() -> None:
    """A typo must not pass for an unset variable."""
    with pytest.raises(SettingsError, match=r"SPOOL_WORKER_PROCESES .* did you mean SPOOL_WORKER_PROCESSES\?"):
        WebSettings.read({"SPOOL_WORKER_PROCESES": "3"})


def test_known_variables_show_no_object() -> None:
    """Name and default of each variable, as text, as the README lists them."""
    known = known_variables()
    assert known["SPOOL_PORT"] == "8000"
    assert known["SPOOL_REDIS_URL"] == known["SPOOL_MODELS_FILE"] == ""
    assert all(name.startswith("SPOOL_") for name in known)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "spool.example"])
def test_exposure_beyond_loopback_without_keys_is_refused(host: str) -> None:
    """The error names what to set."""
    with pytest.raises(SettingsError, match=r"SPOOL_HOST=.*SPOOL_API_KEYS.*SPOOL_ALLOW_ANONYMOUS=1"):
        WebSettings.read({"SPOOL_HOST": host}).check_exposure()


@pytest.mark.parametrize(
    "environ",
    [
        {"SPOOL_HOST": "127.0.0.1"},
        {"SPOOL_HOST": "127.9.9.9"},
        {"SPOOL_HOST": "::1"},
        {"SPOOL_HOST": "localhost"},
        {"SPOOL_HOST": "0.0.0.0", "SPOOL_API_KEYS": "alice=12345678"},
        {"SPOOL_HOST": "0.0.0.0", "SPOOL_ALLOW_ANONYMOUS": "1"},
    ],
)
def test_exposure_that_is_harmless_or_meant_passes(environ: dict[str, str]) -> None:
    """Loopback, keys, or saying that everybody may."""
    WebSettings.read(environ).check_exposure()


def test_origins_are_a_clean_list() -> None:
    """Space and empty parts do not count."""
    settings = WebSettings.read({"SPOOL_ALLOWED_ORIGINS": "https://a.example, http://127.0.0.1:3000,"})
    assert settings.origins() == ["https://a.example", "http://127.0.0.1:3000"]


MODELS = """
[[upstream]]
name = "gpu"
url = "http://127.0.0.1:8001/v1/"
api_key_env = "GPU_KEY"

[[upstream.model]]
name = "small"
upstream_model = "org/small-1b"
max_running = 8
continue = true
first_token_s = 30
"""


@pytest.fixture
def models_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models file with one upstream and one model."""
    monkeypatch.setenv("GPU_KEY", "hunter2hunter2")
    path = tmp_path / "models.toml"
    path.write_text(MODELS, encoding="utf-8")
    return path


def test_models_file_is_read(models_file: Path) -> None:
    """All of it arrives in the model table; the key comes from its variable and shows in no repr."""
    settings = Settings.read({"SPOOL_MODELS_FILE": str(models_file)})
    upstream = settings.upstreams()[0]
    model = settings.static_models()[0]
    assert (upstream.name, upstream.url, upstream.api_key) == ("gpu", "http://127.0.0.1:8001/v1", "hunter2hunter2")
    assert (model.name, model.upstream, model.upstream_model) == ("small", "gpu", "org/small-1b")
    assert (model.max_running, model.continue_style, model.first_token_s) == (8, "vllm", 30.0)
    assert "hunter2" not in repr(upstream)


def test_single_upstream_comes_before_the_file(models_file: Path) -> None:
    """``SPOOL_UPSTREAM_URL`` and a models file may be given together."""
    environ = {"SPOOL_MODELS_FILE": str(models_file), "SPOOL_UPSTREAM_URL": "http://127.0.0.1:1/v1"}
    assert [u.name for u in Settings.read(environ).upstreams()] == ["default", "gpu"]


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        (
            "max_running = 8",
            'max_running = "8"',
            r"upstream\[0\]\.model\[0\]\.max_running='8': must be a valid integer",
        ),
        ("max_running = 8", "max_running = -8", r"model\[0\]\.max_running=-8"),
        ("continue = true", "continue = 1", r"model\[0\]\.continue=1: must be true"),
        ("max_running = 8", "max_runing = 8", r"model\[0\]\.max_runing: unknown"),
        ('name = "small"', "", r"model\[0\]\.name: is missing"),
        ('name = "small"', 'name = "demo"', "model 'demo' is defined twice"),
        ("http://127", "127", r"upstream\[0\]\.url: must"),
        ("GPU_KEY", "NO_SUCH_KEY", "api_key_env='NO_SUCH_KEY'"),
        ("[[upstream]]", "[[upstream", "SPOOL_MODELS_FILE="),
        ("[[upstream]]", "[upstream]", "SPOOL_MODELS_FILE="),
    ],
)
def test_models_file_with_a_fault_names_its_place(models_file: Path, old: str, new: str, place: str) -> None:
    """Whatever is wrong in the file, the message leads there."""
    models_file.write_text(MODELS.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SettingsError, match=place) as caught:
        upstreams.load(models_file)
    assert "SPOOL_MODELS_FILE" in str(caught.value)


def test_models_file_that_is_missing_is_named(tmp_path: Path) -> None:
    """A wrong path is a SettingsError."""
    with pytest.raises(SettingsError, match="SPOOL_MODELS_FILE="):
        Settings.read({"SPOOL_MODELS_FILE": str(tmp_path / "none.toml")}).static_models()
