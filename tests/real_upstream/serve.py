"""Serves the tiny model with the OpenAI-compatible server of ``transformers``: an upstream that is not ours.

Install once, into an environment of its own (a CPU build of torch is enough):

    python -m venv .venv-upstream
    .venv-upstream/bin/pip install torch==2.13.0
    .venv-upstream/bin/pip install -r tests/real_upstream/requirements.txt

Then

    python tests/real_upstream/serve.py --port 8001 --data data/upstream

builds the model in the data directory if it is not there, prints ``ready http://127.0.0.1:8001/v1
spool/tiny`` once it answers (about 10 s), and serves until SIGTERM. Port 0 takes a free one. Any python will do:
without ``transformers`` it goes on as the one in ``.venv-upstream`` (or ``--python``). It asks no model hub.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOST = "127.0.0.1"
START_S = 120.0


def main() -> None:
    """Serve in the foreground."""
    args = _arguments()
    if importlib.util.find_spec("transformers") is None:
        _go_on_as(args.python)
    cache = args.data.resolve() / "models"
    os.environ |= {"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # so small a model is slower on several threads
    sys.path.insert(0, str(HERE))
    import make_tiny_model

    make_tiny_model.build(cache)
    port = args.port or _free_port()
    threading.Thread(target=_say_when_ready, args=(port, make_tiny_model.NAME), daemon=True).start()
    _serve(make_tiny_model.NAME, port)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Serve the tiny model.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--data", type=Path, required=True, help="where the model is kept")
    parser.add_argument("--python", type=Path, default=HERE.parents[1] / ".venv-upstream" / "bin" / "python")
    return parser.parse_args()


def _go_on_as(python: Path) -> None:
    if not python.exists() or "REAL_UPSTREAM_EXEC" in os.environ:
        sys.exit(f"{python} has no transformers; see the top of {Path(__file__).name}")
    os.environ["REAL_UPSTREAM_EXEC"] = "1"  # a python without transformers must not go round in circles
    os.execv(python, [str(python), *sys.argv])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _say_when_ready(port: int, name: str) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=1).close()
            print(f"ready http://{HOST}:{port}/v1 {name}", flush=True)
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
        else:
            return


def _serve(name: str, port: int) -> None:
    from transformers.cli.transformers import main as transformers

    sys.argv = ["transformers", "serve", name, "--host", HOST, "--port", str(port), "--device", "cpu"]
    sys.argv += ["--dtype", "float32", "--default-seed", "7"]
    transformers()


if __name__ == "__main__":
    main()
