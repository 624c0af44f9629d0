"""What the fault tests measure, for the table in docs/reliability.md."""

from __future__ import annotations

import json
import os
from pathlib import Path


def measured(row: str, **figures: object) -> None:
    """Say what was measured for a row of the table, and add it to the file that SPOOL_FAULTS_REPORT names, if any."""
    print(f"MEASURED {row} | " + " | ".join(f"{name} {value}" for name, value in figures.items()))
    report = os.environ.get("SPOOL_FAULTS_REPORT")
    if report:
        with Path(report).open("a") as lines:
            lines.write(json.dumps({"row": row, **figures}) + "\n")
