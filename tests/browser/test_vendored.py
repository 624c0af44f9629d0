"""What others wrote is here as they published it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

VENDOR = Path(__file__).parent.parent.parent / "web" / "console" / "static" / "vendor"


def test_vendored_files_against_the_list() -> None:
    """Every script is listed with its digest, and has it."""
    text = (VENDOR / "VENDORED.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `([\w.]+\.js)` .*`([0-9a-f]{64})` \|$", text, re.MULTILINE))
    assert listed == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.glob("*.js")}
