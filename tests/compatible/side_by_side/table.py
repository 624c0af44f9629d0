"""The table of the comparison, for ``docs/side-by-side.md``."""

from __future__ import annotations

from tests.compatible.side_by_side.comparison import CLIENTS
from tests.compatible.side_by_side.differences import DIFFERENCES, allowed
from tests.compatible.side_by_side.scenarios import KILLS, SCENARIOS
from tests.stack import ROOT

PAGE = ROOT / "docs/side-by-side.md"
MARKS = ("<!-- the table begins -->\n", "<!-- the table ends -->\n")
_AFTER = {"worker-early": "whole", "worker-later": "error", "web": "whole"}
"""What all clients see after a process was killed: the whole answer as without, or the text so far and an error."""


def table() -> str:
    """The table and its notes as Markdown. It says what ``test_side_by_side.py`` has compared."""
    titles = [client.title for client in CLIENTS.values()]
    lines = [["scenario", *titles], ["---"] * (len(titles) + 1)]
    for name, scenario in SCENARIOS.items():
        lines.append([scenario.title, *(_cell(client, name) for client in CLIENTS)])
    lines += [[KILLS[name].title, *[outcome] * len(titles)] for name, outcome in _AFTER.items()]
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = [f"{number}. {note.verdict}: {note.reason}" for number, note in enumerate(DIFFERENCES, 1)]
    return "\n".join([rows, "", *notes, ""])


def written() -> str:
    """The table as the page has it."""
    return PAGE.read_text(encoding="utf-8").partition(MARKS[0])[2].partition(MARKS[1])[0]


def write() -> None:
    """Write the table into the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
    PAGE.write_text(before + MARKS[0] + table() + MARKS[1] + rest.partition(MARKS[1])[2], encoding="utf-8")


def _cell(client: str, scenario: str) -> str:
    difference = allowed(client, scenario)
    return f"{difference.verdict} ({DIFFERENCES.index(difference) + 1})" if difference else "same"
