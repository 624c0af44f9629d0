"""Runs ``spool`` as a person or a script would: under a terminal, or with pipes."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

from tests.stack import ROOT, wait_for

SPOOL = [sys.executable, "-c", "from spool_client.commands import main; main()"]
"""The client's own program: some commands of the server's have the same names."""


def environment(url: str, **more: str) -> dict[str, str]:
    """The variables of a user, without those of the machine."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SPOOL_")}
    path = os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")])
    return {**kept, "PYTHONPATH": path, "SPOOL_URL": url, "HOME": "/nonexistent", "COLUMNS": "100", **more}


def piped(url: str, *arguments: str, given: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """The command with pipes."""
    return subprocess.run(
        [*SPOOL, *arguments],
        input=given,
        env=environment(url, **more),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


class Terminal:
    """A running command. ``screen``: everything that it has shown. ``stdout``: a file in place of the terminal."""

    def __init__(self, url: str, *arguments: str, stdout: IO[bytes] | int | None = None) -> None:
        ours, theirs = pty.openpty()
        self._terminal = ours
        self._shown = bytearray()
        self._process = subprocess.Popen(
            [*SPOOL, *arguments],
            env=environment(url),
            stdin=theirs,
            stdout=stdout if stdout is not None else theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def screen(self) -> str:
        """What it has shown, with plain line ends."""
        return self._shown.decode(errors="replace").replace("\r\n", "\n")

    def until(self, text: str, within_s: float = 60.0) -> None:
        """Until the screen has this text."""
        wait_for(lambda: text in self.screen, f"{text!r} is on the screen: {self.screen[-500:]!r}", within_s)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def end(self, within_s: float = 60.0) -> int:
        """Its exit code."""
        code = self._process.wait(within_s)
        self._thread.join(10)
        return code

    def close(self) -> None:
        """It is gone."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)
        self._thread.join(10)
        os.close(self._terminal)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._terminal, 65_536)
            except OSError:
                # A terminal whose programs have all gone reports an error, not an end.
                return
            if not data:
                return
            self._shown += data


def appended(path: Path) -> IO[bytes]:
    """A file as the shell's ``>>`` opens it."""
    return path.open("ab")
