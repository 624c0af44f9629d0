"""schemathesis over ``/openapi.json``, in ``.venv-fuzz``: ``python -m tests.fuzz.openapi --seed 1``. Fails for server
errors, for answers that the description does not have (status, media type, schema), for what the web logs, and for what
the probe measures."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.target import fuzzed_stack
from tests.stack import ROOT

_PROGRAM = ROOT / ".venv-fuzz/bin/schemathesis"
_CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
_AT_MOST_S = 900


def main() -> int:
    """Run it; 1 if anything was wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--examples", type=int, default=20, help="of each call")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory, fuzzed_stack(Path(directory)) as (stack, target):
        target.prepare(stack)
        argv = [str(_PROGRAM), "run", f"{stack.webs[0].url}/openapi.json", "--checks", _CHECKS, "--no-color"]
        argv += ["--seed", str(asked.seed), "--max-examples", str(asked.examples), "--request-timeout", "10"]
        argv += ["--warnings", "off", "--exclude-path-regex", "/ws$"]
        environ = {**os.environ, "SCHEMATHESIS_HOOKS": str(ROOT / "tests/fuzz/schemathesis_hooks.py")}
        status = subprocess.run(argv, cwd=directory, env=environ, check=False, timeout=_AT_MOST_S).returncode
        wrong = target.noticed()
    for line in wrong:
        print(f"FAILED {line}")
    print(f"schemathesis, seed {asked.seed}: exit status {status}; {len(wrong)} failures beside")
    return 1 if status or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
