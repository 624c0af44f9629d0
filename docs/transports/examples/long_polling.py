"""Follow a job by long polling: ``python long_polling.py JOB [AFTER]``. Needs httpx; SPOOL_URL, SPOOL_KEY are optional.

``after`` is the id of the last entry that was handled. After a lost request, the same ``after`` is sent again.
"""

import os
import random
import sys
import time

import httpx

URL = os.environ.get("SPOOL_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("SPOOL_KEY", "")
TEMPORARY = {429, 502, 503, 504}


def entries(client, job_id, after):
    """The entries after ``after``, each once and in order, until the log ends."""
    while True:
        pause_s = 0.5 + random.random()
        try:
            # The answer comes within 25 s. Without one in 40 s, the connection is dead.
            response = client.get(f"/jobs/{job_id}/entries", params={"after": after, "wait": 25}, timeout=40)
        except httpx.TransportError:
            time.sleep(pause_s)
            continue
        if response.status_code in TEMPORARY:
            time.sleep(max(pause_s, float(response.headers.get("Retry-After", 0))))
            continue
        response.raise_for_status()
        page = response.json()
        if page["gap"]:
            print(f"\n[entries are missing: {page['gap']}]")
        yield from page["entries"]
        after = page["next"]
        if page["ended"]:
            return


def main(job_id, after=0):
    """Print the text, and how the job ends."""
    with httpx.Client(base_url=URL, headers={"Authorization": f"Bearer {KEY}"} if KEY else {}) as client:
        for entry in entries(client, job_id, after):
            if entry["kind"] == "token":
                print(entry["text"], end="", flush=True)
            elif entry["kind"] == "restarted":
                print("\n[restarted: the text so far no longer counts]")
            elif entry["kind"] in {"done", "failed", "cancelled"}:
                print(f"\n[{entry['kind']} at entry {entry['id']}] {entry.get('error') or ''}")


if __name__ == "__main__":
    main(sys.argv[1], *sys.argv[2:3])
