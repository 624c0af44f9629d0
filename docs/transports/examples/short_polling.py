"""Follow a job by short polling: ``python short_polling.py JOB``. Needs httpx; SPOOL_URL and SPOOL_KEY are optional.

The record holds the whole text so far, so a lost request loses nothing.
"""

import os
import random
import sys
import time

import httpx

URL = os.environ.get("SPOOL_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("SPOOL_KEY", "")
TEMPORARY = {429, 502, 503, 504}


def records(client, job_id):
    """Each new state of the job's record, until the job has ended."""
    etag = ""
    while True:
        pause_s = 1 + random.random()
        try:
            response = client.get(f"/jobs/{job_id}", headers={"If-None-Match": etag} if etag else {})
        except httpx.TransportError:
            time.sleep(pause_s)
            continue
        if response.status_code not in {304, *TEMPORARY}:
            response.raise_for_status()
            etag = response.headers["ETag"]
            job = response.json()
            yield job
            if job["ended_at"]:
                return
        time.sleep(max(pause_s, float(response.headers.get("Retry-After", 0))))


def main(job_id):
    """Print the text as it grows. Text that is not a continuation means that the answer restarted."""
    shown, job = "", {}
    with httpx.Client(base_url=URL, headers={"Authorization": f"Bearer {KEY}"} if KEY else {}) as client:
        for job in records(client, job_id):
            if not job["text"].startswith(shown):
                print("\n[restarted]")
                shown = ""
            print(job["text"][len(shown) :], end="", flush=True)
            shown = job["text"]
    print(f"\n[{job['status']}] {job['error'] or ''}")


if __name__ == "__main__":
    main(sys.argv[1])
