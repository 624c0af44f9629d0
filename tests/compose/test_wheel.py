"""The wheel: the image's own steps build it from the image's own files, and it runs where there is no checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.loopback import NO_CERTIFICATES
from tests.stack import Process, free_port, wait_for

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "compose" / "Dockerfile").read_text(encoding="utf-8")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SETTINGS = {"WEB_PROCESSES": "1", "WORKER_PROCESSES": "1", "DRAIN_S": "1", "WORKER_DRAIN_S": "1"}


def copied() -> list[str]:
    """The paths of the checkout that the image's build stage has."""
    lines = re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
    return [source.rstrip("/") for line in lines for source in line.split()[:-1]]


def test_image_has_the_files_of_the_wheel() -> None:
    """Every folder and file that pyproject.toml puts into the wheel is copied before the wheel is built, and the build
    hook, which gets the commit."""
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]
    wheel = hatch["build"]["targets"]["wheel"]
    assert {*wheel["packages"], *wheel["force-include"], "hatch_build.py"} <= set(copied())
    assert "BUILD_COMMIT=$COMMIT /opt/build/bin/hatchling build" in DOCKERFILE


def install(environment: Path, *arguments: str) -> None:
    """pip in a new virtual environment. Without a package index, the test is skipped."""
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = [
        str(environment / "bin/python"),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--no-deps",
    ]
    done = subprocess.run([*pip, *arguments], capture_output=True, text=True, check=False)
    if done.returncode and "--require-hashes" in arguments and not os.environ.get("CI"):
        pytest.skip(f"the locked requirements cannot be installed here: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and the locked requirements, and nothing of the checkout."""
    top = tmp_path_factory.mktemp("wheel")
    for source in copied():
        target = top / "src" / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, target)
    install(top / "build", "--require-hashes", "-r", str(ROOT / "requirements/build.txt"))
    install(top / "spool", "--require-hashes", "-r", str(ROOT / "requirements/run.txt"))
    hatchling = [str(top / "build/bin/hatchling"), "build", "-t", "wheel", "-d", str(top / "dist")]
    env = {**os.environ, "BUILD_COMMIT": COMMIT}
    subprocess.run(hatchling, cwd=top / "src", env=env, check=True, capture_output=True)
    (wheel,) = (top / "dist").glob("*.whl")
    install(top / "spool", "--no-index", str(wheel))
    return top / "spool"


@pytest.fixture
def running(installed: Path, tmp_path: Path) -> Iterator[tuple[Process, httpx.Client]]:
    """``spool run`` in an empty directory, and a client of it."""
    port = free_port()
    env = {name: value for name, value in os.environ.items() if not name.startswith(("SPOOL_", "PYTHON"))}
    env |= {f"SPOOL_{name}": value for name, value in SETTINGS.items()} | {"SPOOL_PORT": str(port)}
    env["SPOOL_DATA_DIR"] = str(tmp_path / "data")
    program = Process("spool", ["env", "-C", str(tmp_path), str(installed / "bin/spool"), "run"], env, tmp_path)
    program.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, verify=NO_CERTIFICATES) as client:
            wait_for(lambda: program.running and is_ready(client), f"spool run is ready: {program.output.read_text()}")
            yield program, client
    finally:
        program.close()


def is_ready(client: httpx.Client) -> bool:
    """Whether a submit would be accepted."""
    try:
        return client.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.slow  # `make faults`
@pytest.mark.timeout(600)
def test_wheel_runs_without_a_checkout(running: tuple[Process, httpx.Client]) -> None:
    """A job runs, the page and its modules are served, ``/version`` says the commit, and SIGTERM ends everything with
    status 0."""
    program, client = running
    body = {"prompt": "Hello", "params": {"tokens": 20, "rate": 0}}
    answer = client.post("/jobs", json=body, headers={"Prefer": "wait=20"}).json()
    assert answer["status"] == "succeeded"
    assert client.get("/version").json()["commit"] == COMMIT
    pages = ("/", "/docs", "/docs/transports/sse", "/openapi.json")
    for path in (*pages, "/static/client/src/index.js", "/static/client/markdown.js"):
        assert client.get(path).status_code == 200, path
    assert program.stop() == 0, program.output.read_text()
