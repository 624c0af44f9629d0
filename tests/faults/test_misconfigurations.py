"""Twelve ways to misconfigure a deployment, each made for real: what the program says, and what ``spool doctor`` says.
docs/operations.md has both as a table."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from spool.jobs.job import SCHEMA
from spool.status.instances import Instance, Presence
from tests.compose.nginx import Nginx, needs_nginx
from tests.faults.disk import full_disk, needs_prlimit
from tests.faults.jobs import Jobs
from tests.faults.rewriting_proxy import RewritingProxy
from tests.faults.shifted import shifted, shim_in
from tests.loopback import NO_CERTIFICATES
from tests.stack import ROOT, Stack, free_port, running_stack, wait_for

pytestmark = pytest.mark.slow  # `make faults`

_MAIN = "from spool.cli import main; main()"
_WITHIN_S = 120
Argv = Sequence[str]
FEW_FILES = ("sh", "-c", 'ulimit -n 64; exec "$@"', "sh")


class Ended(NamedTuple):
    """How a program ended, what it printed to its output, and all that it printed."""

    code: int
    result: str
    output: str


class Found(NamedTuple):
    """One finding of the doctor."""

    level: str
    message: str


def spool(*arguments: str, env: Mapping[str, str], before: Argv = ()) -> Ended:
    """Run a command of Spool to its end. ``before``: a program that runs it."""
    argv = [*before, sys.executable, "-c", _MAIN, *arguments]
    done = subprocess.run(argv, env=dict(env), cwd=ROOT, capture_output=True, text=True, timeout=_WITHIN_S, check=False)
    return Ended(done.returncode, done.stdout, done.stdout + done.stderr)


def doctor(env: Mapping[str, str], *arguments: str, before: Argv = ()) -> dict[str, Found]:
    """Its findings that are wrong, by check."""
    ended = spool("doctor", "--json", *arguments, env=env, before=before)
    findings = json.loads(ended.result)["findings"]
    assert all(one["remedy"] for one in findings if one["level"] != "ok")
    return {one["check"]: Found(one["level"], one["message"]) for one in findings if one["level"] != "ok"}


def settings(stack: Stack, **changes: str) -> dict[str, str]:
    """The environment of a program of this stack, with other settings."""
    return {**stack.env, **{f"SPOOL_{name}": value for name, value in changes.items()}}


def get(stack: Stack, path: str) -> httpx.Response:
    """An answer of the web."""
    return httpx.get(f"{stack.webs[0].url}{path}", timeout=30, verify=NO_CERTIFICATES)


def submit(stack: Stack) -> httpx.Response:
    """The answer to a submit."""
    return httpx.post(f"{stack.webs[0].url}/jobs", json={"prompt": "x"}, timeout=30, verify=NO_CERTIFICATES)


def readiness_says(stack: Stack, name: str, words: str = "") -> bool:
    """Whether /readyz is 503, and says these words of the condition ``name``."""
    answer = get(stack, "/readyz")
    message = condition(answer, name)
    return answer.status_code == 503 and message != "" and words in message


def condition(answer: httpx.Response, name: str) -> str:
    """What /readyz says of a condition; empty if it does not hold."""
    return str(answer.json().get("checks", {}).get(name, {}).get("message", ""))


def lines_with(stack: Stack, word: str) -> int:
    """How many lines of the web's log have this word."""
    return stack.webs[0].output.read_text(encoding="utf-8").count(word)


def restart_web(stack: Stack, *, before: Argv = (), **changes: str) -> None:
    """Start the web again with other settings, or under another program; returns when it answers."""
    web = stack.webs[0]
    web.stop()
    web.env = {**web.env, **{f"SPOOL_{name}": value for name, value in changes.items()}}
    web.argv = [*before, *web.argv]
    web.start()
    wait_for(lambda: answers(stack), "the web answers")


def answers(stack: Stack) -> bool:
    """Whether the web answers at all."""
    try:
        return get(stack, "/livez").status_code == 200
    except httpx.TransportError:
        return False


def own_mounts() -> Argv:
    """A program that runs another one where mounts are its own; skips the test where that is not allowed."""
    unshare = shutil.which("unshare")
    before = (unshare or "", "--user", "--map-root-user", "--mount", "sh", "-c")
    probe = 'mount -t tmpfs none "$0"'
    if unshare is None or subprocess.run([*before, probe, "/mnt"], capture_output=True, check=False).returncode:
        pytest.skip("needs mounts of its own")
    return before


def test_url_of_redis(directory: Path) -> None:
    """A wrong scheme ends every program in one line; behind a right one there may be nobody."""
    with running_stack(directory, webs=1, workers=0) as stack:
        wrong = settings(stack, REDIS_URL="http://127.0.0.1:6379")
        for program in ("web", "worker", "run"):
            ended = spool(program, env=wrong)
            assert (ended.code, ended.output.count("\n")) == (2, 1), ended.output
            assert "SPOOL_REDIS_URL: must begin with redis://" in ended.output
        assert doctor(wrong)["settings"].level == "error"
        nobody = f"redis://127.0.0.1:{free_port()}/0"
        restart_web(stack, REDIS_URL=nobody)
        wait_for(lambda: readiness_says(stack, "redis_away"), "readiness says so")
        assert (submit(stack).status_code, get(stack, "/livez").status_code) == (503, 200)
        assert "refused" in doctor(settings(stack, REDIS_URL=nobody))["redis_away"].message


def test_password_of_redis(directory: Path) -> None:
    """It is said with Redis's words, once, and the password that was wrong is nowhere."""
    with running_stack(directory, webs=1, workers=0) as stack:
        stack.redis.link.call("CONFIG", "SET", "requirepass", "the-right-one")
        wrong = stack.redis.url.replace("unix://", "unix://:the-wrong-one@")
        restart_web(stack, REDIS_URL=wrong)
        wait_for(lambda: readiness_says(stack, "redis_away"), "readiness says so")
        assert submit(stack).status_code == 503
        assert lines_with(stack, "redis_away") == 1
        found = doctor(settings(stack, REDIS_URL=wrong))["redis_away"]
        assert found.level == "error"
        said = stack.webs[0].output.read_text(encoding="utf-8") + get(stack, "/readyz").text + found.message
        assert "invalid username-password" in said
        assert "the-wrong-one" not in said


def test_eviction_policy(directory: Path) -> None:
    """A Redis that evicts jobs takes none, and workers claim none."""
    with running_stack(directory, webs=1, workers=1) as stack:
        stack.redis.link.call("CONFIG", "SET", "maxmemory", "200mb")
        stack.redis.link.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        wait_for(lambda: readiness_says(stack, "redis_unfit", "allkeys-lru"), "readiness says so")
        assert submit(stack).status_code == 503
        assert doctor(stack.env)["redis_unfit"].level == "error"
        stack.redis.link.call("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
        wait_for(lambda: get(stack, "/readyz").status_code == 200, "it is fit again")
        assert doctor(stack.env)["eviction_possible"].level == "warning"


def test_port_is_taken(directory: Path) -> None:
    """The line names the setting, and the doctor tells a stranger from a Spool."""
    with socket.create_server(("127.0.0.1", 0)) as taken, running_stack(directory, webs=1, workers=0) as stack:
        port = str(taken.getsockname()[1])
        ended = spool("web", env=settings(stack, PORT=port))
        assert (ended.code, ended.output.count("\n")) == (2, 1), ended.output
        assert f"SPOOL_PORT={port} is taken on 127.0.0.1" in ended.output
        assert doctor(settings(stack, PORT=port))["port"].level == "error"
        assert "port" not in doctor(settings(stack, PORT=str(stack.webs[0].port)))


def test_directory_that_cannot_be_written(directory: Path) -> None:
    """A data directory on a read-only file system: ``run`` ends in one line."""
    mounts = own_mounts()
    place = directory / "data"
    place.mkdir()
    before = [*mounts, f'mount -t tmpfs -o ro none "{place}" && exec "$@"', "sh"]
    with running_stack(directory, webs=1, workers=0) as stack:
        env = settings(stack, DATA_DIR=str(place / "spool"), PORT=str(free_port()), REDIS_URL="")
        ended = spool("run", env=env, before=before)
        assert (ended.code, ended.output.count("\n")) == (2, 1), ended.output
        assert f"SPOOL_DATA_DIR='{place}/spool': Read-only file system" in ended.output
        assert doctor(env, before=before)["data-directory"].level == "error"


def test_64_files(directory: Path) -> None:
    """A web that may open few files takes few streams, refuses the next one in order, and goes on answering."""
    with running_stack(directory, webs=1, workers=1) as stack:
        restart_web(stack, before=FEW_FILES)
        jobs = Jobs(stack)
        job = jobs.submit("x", tokens=3000, rate=10)
        with stack.client() as client:
            streams, lines, first_lines = [], [], []
            for _ in range(20):
                request = client.build_request("GET", f"/jobs/{job}/stream", headers={"Accept": "text/event-stream"})
                streams.append(client.send(request, stream=True))
                # Kept, because a stream ends with its iterator.
                lines.append(streams[-1].iter_lines())
                first_lines.append(next(line for line in lines[-1] if line.startswith("event:")))
            assert first_lines[:7] == ["event: attached"] * 7
            assert set(first_lines[7:]) == {"event: unavailable"}
            assert get(stack, "/livez").status_code == 200
            assert submit(stack).status_code == 202
            for stream in streams:
                stream.close()
        assert doctor(stack.env)["webs"].level == "warning"
        assert doctor(stack.env, before=FEW_FILES)["open-files"].level == "warning"


def test_no_worker(directory: Path) -> None:
    """Jobs wait and say for what; the condition names it."""
    with running_stack(directory, webs=1, workers=0) as stack:
        job = submit(stack).json()["id"]
        wait_for(lambda: condition(get(stack, "/readyz"), "no_live_worker"), "readiness names it")
        assert get(stack, f"/jobs/{job}").json()["waiting_for"]["reason"] == "no_worker"
        found = doctor(stack.env)["workers"]
        assert (found.level, "1 jobs wait" in found.message) == ("error", True)


def test_clock_is_off(directory: Path, tmp_path: Path) -> None:
    """Jobs go by Redis's clock; the doctor sees its own machine's clock, and those of the processes elsewhere."""
    shim = shim_in(tmp_path)
    with running_stack(directory, webs=1, workers=1, worker_env={0: shifted(shim, -300)}) as stack:
        jobs = Jobs(stack)
        job = jobs.submit("x", tokens=3, rate=0)
        jobs.wait_for_end([job])
        assert get(stack, f"/jobs/{job}").json()["status"] == "succeeded"
        wait_for(lambda: "clocks" in doctor(stack.env), "the doctor has seen the worker's clock")
        assert "worker" in doctor(stack.env)["clocks"].message
        here = doctor({**stack.env, **shifted(shim, -300)})["clock"]
        assert (here.level, "300 s behind" in here.message) == ("warning", True)


def test_old_redis(directory: Path) -> None:
    """A server that says it is of version 6.2 is not used."""
    with running_stack(directory, webs=1, workers=0) as stack, RewritingProxy(stack.redis.socket_path) as proxy:
        restart_web(stack, REDIS_URL=proxy.redis_url)
        wait_for(lambda: readiness_says(stack, "redis_unfit", "needs 7.0 or newer"), "readiness says so")
        assert submit(stack).status_code == 503
        found = doctor(settings(stack, REDIS_URL=proxy.redis_url))["redis_unfit"]
        assert (found.level, "6.2" in found.message) == ("error", True)


@needs_nginx
def test_proxy_that_buffers(directory: Path) -> None:
    """compose's proxy passes the doctor's stream on; the same proxy with buffering does not."""
    # nginx passes chunks on as they come, but its gzip waits for more.
    ignoring = "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering; gzip on; gzip_proxied any;"
    ignoring += "gzip_types text/event-stream; gzip_min_length 1;"
    with running_stack(directory, webs=2, workers=1) as stack:
        ports = [web.port for web in stack.webs]
        for changes, is_wrong in (({}, False), ({"proxy_buffering off;": ignoring}, True)):
            place = directory / f"nginx-{is_wrong}"
            place.mkdir()
            nginx = Nginx(place, *ports, **changes)
            try:
                found: Any = doctor(stack.env, "--url", f"http://127.0.0.1:{nginx.port}").get("stream")
            finally:
                nginx.close()
            assert bool(found) == is_wrong, found
            assert not is_wrong or (found.level, "buffers" in found.message) == ("error", True)


def test_versions_that_are_two_apart(directory: Path) -> None:
    """A process that publishes a schema two before this one is an error, one before it a warning."""
    with running_stack(directory, webs=1, workers=1) as stack:
        wait_for(lambda: "webs" not in doctor(stack.env), "the web has published itself")
        own = Instance.of_this_process("old", "worker")
        for before, level in ((1, "warning"), (2, "error")):
            Presence(stack.redis.link, replace(own, version="0.0.1", schema=SCHEMA - before)).publish()
            found = doctor(stack.env)["versions"]
            assert (found.level, f"schema {SCHEMA - before}" in found.message) == (level, True)


@needs_prlimit
def test_no_space(directory: Path) -> None:
    """Redis refuses writes: readiness says so, and submits are 503. The doctor also looks at the disk itself."""
    with running_stack(directory, webs=1, workers=0, aof=True) as stack:
        stack.redis.argv = ["sh", "-c", 'trap "" XFSZ; exec "$@"', "sh", *stack.redis.argv]
        stack.redis.restart()
        wait_for(lambda: submit(stack).status_code == 202, "submits are taken")
        with full_disk(stack):
            wait_for(lambda: submit(stack).status_code == 503, "submits are refused")
            assert submit(stack).json()["title"] == "Store refuses writes"
            wait_for(lambda: readiness_says(stack, "persistence_failing", "cannot write its files"), "it is named")
            assert doctor(stack.env)["persistence_failing"].level == "warning"
        wait_for(lambda: submit(stack).status_code == 202, "submits are taken again")
        place = directory / "small"
        place.mkdir()
        before = [*own_mounts(), f'mount -t tmpfs -o size=64m none "{place}" && exec "$@"', "sh"]
        small = settings(stack, REDIS_URL="", DATA_DIR=str(place / "spool"), PORT=str(free_port()))
        assert doctor(small, before=before)["disk-space"].level == "error"
