"""Text of an answer that restarts: correct in a file, reported on a pipe."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from pathlib import Path

import httpx
import pytest

from spool_client import Client
from spool_client.commands.exits import Interrupted, ending
from spool_client.commands.tail import follow_to_end
from tests.clients.python.play import done, event, token

LOG = [
    token(1, "old "),
    token(2, "text "),
    {"id": 3, "kind": "restarted", "at": "", "attempt": 2},
    token(4, "new "),
    token(5, "words"),
    done(6),
]


def client(caught_up_at: int) -> Client:
    """A client of a server whose log had so many entries when the command began."""

    def handle(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/stream"):
            return httpx.Response(200, json={"id": "j", "last_entry": caught_up_at, "status": "running"})
        after = int(request.url.params["after"])
        events = b"".join(event(entry) for entry in LOG if int(str(entry["id"])) > after)
        return httpx.Response(200, content=events, headers={"content-type": "text/event-stream"})

    return Client("http://spool", http_transport=httpx.MockTransport(handle))


def run(one: Client, after: int = 0, *, as_json: bool = False) -> tuple[int, str]:
    """The exit code of the command, and how it says to come back."""
    interrupted = Interrupted()
    with one, pytest.raises(SystemExit) as ended, ending(interrupted):
        follow_to_end(one, "j", after, interrupted, as_json=as_json)
    code = ended.value.code
    assert isinstance(code, int)
    return code, interrupted.hint


@pytest.mark.parametrize("caught_up_at", [0, 2, 4, 6])
def test_file_has_only_the_text_that_counts(tmp_path: Path, caught_up_at: int) -> None:
    """Text that was written before the restart is taken back, and nothing else of the file is."""
    path = tmp_path / "answer.txt"
    with path.open("w", encoding="utf-8") as file, redirect_stdout(file):
        file.write("of an earlier command\n")
        assert run(client(caught_up_at)) == (0, "spool tail j --after 6")
    assert path.read_text(encoding="utf-8") == "of an earlier command\nnew words"


def test_restart_in_a_pipe_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """What a pipe has cannot be taken back, so the command ends with code 6 and says how to read the answer again."""
    assert run(client(0))[0] == 6
    shown = capsys.readouterr()
    assert shown.out == "old text "
    assert "Again: spool tail j" in shown.err


def test_restart_in_the_past_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe gets only what counts, where the restart lies in the past."""
    assert run(client(5))[0] == 0
    assert capsys.readouterr().out == "new words"


def test_resume_behind_the_restart(capsys: pytest.CaptureFixture[str]) -> None:
    """``--after`` writes what follows; a restart among it makes what an earlier command has written void."""
    assert run(client(6), after=4)[0] == 0
    assert capsys.readouterr().out == "words"
    assert run(client(6), after=1)[0] == 6


def test_entries_as_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json each entry is a line, as the server sent it."""
    assert run(client(6), as_json=True) == (0, "spool tail j --json --after 6")
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == LOG
