"""Follow a job over SSE: ``python sse.py JOB``. Needs httpx; SPOOL_URL and SPOOL_KEY are optional."""

import json
import os
import sys
import time

import httpx

URL = os.environ.get("SPOOL_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("SPOOL_KEY", "")
HEADERS = {"Accept": "text/event-stream"} | ({"Authorization": f"Bearer {KEY}"} if KEY else {})
ENDS = {"done", "failed", "cancelled"}


def lines(response):
    """Whole lines. (``iter_lines`` of httpx also splits at U+2028 and others, which a JSON text may contain.)"""
    rest = b""
    for chunk in response.iter_bytes():
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode() for line in whole)


def documents(client, job_id):
    """Entries and messages, each entry once and in order, until the log ends."""
    cursor, pause_s = "", 1.0
    while True:
        try:
            # A heartbeat comes every 15 s. After 40 s of silence, the connection is dead.
            headers = {"Last-Event-ID": cursor} if cursor else {}
            with client.stream("GET", f"/jobs/{job_id}/stream", headers=headers, timeout=40) as response:
                if response.status_code == 204:
                    return
                if response.status_code not in {429, 502, 503, 504}:
                    response.raise_for_status()
                    event_id, data = cursor, ""
                    # Spool writes each document on one data line, and ends lines with LF alone.
                    for line in lines(response):
                        field, _, value = line.partition(": ")
                        if field == "id":
                            event_id = value
                        elif field == "retry":
                            pause_s = int(value) / 1000
                        elif field == "data":
                            data = value
                        elif not line and data:
                            cursor, document, data = event_id, json.loads(data), ""
                            yield document
                            if document.get("kind") in ENDS:
                                return
        except httpx.TransportError:
            pass
        time.sleep(pause_s)


with httpx.Client(base_url=URL, headers=HEADERS) as session:
    for found in documents(session, sys.argv[1]):
        is_text = found.get("kind") == "token"
        print(found["text"] if is_text else f"\n[{found.get('kind') or found['type']}]\n", end="", flush=True)
