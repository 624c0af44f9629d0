"""Log lines, in a process of their own: ``configure`` changes the process's logging."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.stack import ROOT

SAYS = """
import logging, sys
from spool.logs import configure
configure(*sys.argv[1:])
logging.getLogger("httpx").info("a request")
log = logging.getLogger("spool.web")
log.debug("a detail")
log.info("%d streams", 3)
try:
    raise ValueError("wrong")
except ValueError:
    log.exception("it failed")
"""


TELLS = """
import sys
from spool.logs import configure, event
configure("info", sys.argv[1], content=sys.argv[2] == "1")
event("job_ended", job="j1", note='a "quoted" line\\nlevel=x', code=None, content={"text": "a secret"})
"""


def lines(*arguments: str, program: str = SAYS) -> list[str]:
    """What such a process writes to stderr."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_json() -> None:
    """Each event is one line of JSON with its time, level and logger; an exception is in its line."""
    found = [json.loads(line) for line in lines("info", "json")]
    assert [(one["level"], one["logger"], one["event"]) for one in found] == [
        ("info", "spool.web", "3 streams"),
        ("error", "spool.web", "it failed"),
    ]
    assert all(one["timestamp"].endswith("Z") for one in found)
    assert "ValueError: wrong" in found[1]["exception"]


def test_text() -> None:
    """The readable form has the same words and no colours."""
    found = "\n".join(lines("debug", "text"))
    assert "a detail" in found
    assert "3 streams" in found
    assert "\033" not in found


@pytest.mark.parametrize(("level", "count"), [("warning", 1), ("debug", 3)])
def test_level(level: str, count: int) -> None:
    """Events below the level are dropped; libraries that log each request stay silent below a warning."""
    found = lines(level, "json")
    assert len(found) == count
    assert not [line for line in found if "a request" in line]


@pytest.mark.parametrize("log_format", ["json", "auto"])
def test_event_as_json(log_format: str) -> None:
    """An event is one line with its fields, without those that are None; so is the default, without a terminal."""
    (line,) = lines(log_format, "0", program=TELLS)
    found = json.loads(line)
    assert (found.pop("timestamp")[-1], found.pop("pid") > 0) == ("Z", True)
    shown = {"event": "job_ended", "job": "j1", "note": 'a "quoted" line\nlevel=x'}
    assert found == {**shown, "level": "info", "logger": "spool.event"}


def test_event_as_text() -> None:
    """The readable form is one line, too: no value ends it or begins another field."""
    (line,) = lines("text", "0", program=TELLS)
    assert r'[info] job_ended job="j1" note="a \"quoted\" line\nlevel=x" pid=' in line


@pytest.mark.parametrize(("content", "shown"), [("0", False), ("1", True)])
def test_content_of_an_event(content: str, shown: bool) -> None:
    """Texts are in a line only if that is asked for."""
    (line,) = lines("json", content, program=TELLS)
    assert ("a secret" in line) is shown
