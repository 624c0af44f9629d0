"""Modules of the JavaScript client and of the console by themselves: ``unit/*.test.mjs``, by Node's own test runner."""

from __future__ import annotations

import hashlib
import re
import subprocess

import orjson
import pytest

from tests.clients.js.node_reader import HERE, node
from tests.stack import ROOT

CLIENT = ROOT / "clients" / "js"
UNITS = sorted(path.name for path in (HERE / "unit").glob("*.test.mjs"))


@pytest.mark.parametrize("name", UNITS)
def test_unit(name: str) -> None:
    """Every test of the file passes."""
    done = subprocess.run([*node(), "--test", str(HERE / "unit" / name)], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")


def test_vendored_files_against_the_list() -> None:
    """What others wrote is there as they published it: every script is listed with its digest, and has it."""
    vendor = CLIENT / "vendor"
    text = (vendor / "VENDORED.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `([\w./-]+\.js)` .*`([0-9a-f]{64})` \|$", text, re.MULTILINE))
    found = {str(path.relative_to(vendor)): path for path in vendor.rglob("*.js")}
    assert listed == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items()}


def test_package_is_publishable_as_it_is() -> None:
    """What the package exports is there, with its types, and no file imports anything that is not."""
    package = orjson.loads((CLIENT / "package.json").read_bytes())
    for target in package["exports"].values():
        for path in [target] if isinstance(target, str) else target.values():
            assert (CLIENT / path).is_file(), path
    assert {"README.md", "LICENSE"} <= set(package["files"])
    for script in CLIENT.rglob("*.js"):
        for imported in re.findall(r'^import .*from "([^"]+)";$', script.read_text(encoding="utf-8"), re.MULTILINE):
            if imported.startswith("."):
                assert (script.parent / imported).is_file(), f"{script}: {imported}"
            else:
                assert imported in package["peerDependencies"], f"{script}: {imported}"


def test_files_are_of_a_readable_size() -> None:
    """No module of the client is longer than 200 lines, and no line than 120 characters."""
    for script in [*CLIENT.glob("*.js"), *(CLIENT / "src").rglob("*.js")]:
        lines = script.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 200, script
        assert max(map(len, lines)) <= 120, script
