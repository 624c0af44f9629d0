"""Say how each job ends: ``python events.py [AFTER]``. Needs httpx; SPOOL_URL, SPOOL_KEY are optional.

``after`` is the id of the last event that was handled; without it, only what happens from now on counts.
"""

import os
import random
import sys
import time

import httpx

URL = os.environ.get("SPOOL_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("SPOOL_KEY", "")
TEMPORARY = {429, 502, 503, 504}


def events(client, after):
    """The events after ``after``, each once and in order; None where some are missing."""
    wait_s = 0 if after == "latest" else 25
    while True:
        pause_s = 0.5 + random.random()
        try:
            # The answer comes within 25 s. Without one in 40 s, the connection is dead.
            params = {"after": after, "wait": wait_s}
            response = client.get("/events", params=params, headers={"Accept": "application/json"}, timeout=40)
        except httpx.TransportError:
            time.sleep(pause_s)
            continue
        if response.status_code in TEMPORARY:
            time.sleep(max(pause_s, float(response.headers.get("Retry-After", 0))))
            continue
        response.raise_for_status()
        page = response.json()
        if page["gap"]:
            yield None
        yield from page["entries"]
        # The first answer only says where the events stand.
        after, wait_s = page["next"], 25


def main(after="latest"):
    """Print the ends of jobs and batches."""
    with httpx.Client(base_url=URL, headers={"Authorization": f"Bearer {KEY}"} if KEY else {}) as client:
        for event in events(client, after):
            if event is None or event["kind"] == "restarted":
                print("[events are missing: read GET /jobs again]", flush=True)
            elif event["kind"].endswith(("succeeded", "failed", "cancelled", "completed", "expired")):
                about = event.get("job") or event.get("batch")
                print(event["id"], event["kind"], about["id"], flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:2])
