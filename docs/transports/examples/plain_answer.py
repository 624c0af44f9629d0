"""One plain answer: ``python plain_answer.py PROMPT [KEY]``. Needs httpx; SPOOL_URL and SPOOL_KEY are optional.

The Idempotency-Key makes the request safe to repeat: the same key is the same job, whatever was lost before.
"""

import os
import random
import sys
import time
import uuid

import httpx

URL = os.environ.get("SPOOL_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("SPOOL_KEY", "")
TEMPORARY = {429, 502, 503, 504}


def answer(client, prompt, idempotency_key):
    """The record of the job, once it has ended."""
    headers = {"Idempotency-Key": idempotency_key, "Prefer": "wait=50"}
    while True:
        pause_s = 1 + random.random()
        try:
            response = client.post("/jobs", json={"prompt": prompt}, headers=headers, timeout=65)
        except httpx.TransportError:
            time.sleep(pause_s)
            continue
        if response.status_code not in TEMPORARY:
            response.raise_for_status()
            job = response.json()
            if job["ended_at"]:
                return job
        # 202, or 200 for a repetition: the job still runs. The same request waits for it again.
        time.sleep(max(pause_s, float(response.headers.get("Retry-After", 0))))


def main(prompt, idempotency_key=""):
    """Print the answer. The key goes first, so that this command can be repeated after an interrupt."""
    idempotency_key = idempotency_key or uuid.uuid4().hex
    print(f"[key {idempotency_key}]", file=sys.stderr)
    with httpx.Client(base_url=URL, headers={"Authorization": f"Bearer {KEY}"} if KEY else {}) as client:
        job = answer(client, prompt, idempotency_key)
    print(job["text"])
    print(f"[{job['id']} {job['status']}] {job['error'] or ''}", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
