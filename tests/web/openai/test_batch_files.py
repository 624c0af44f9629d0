"""The files of batches: their sizes are counted once, and they are in lists of their own."""

from __future__ import annotations

import httpx
import orjson
import pytest

from spool.batches.line import job_id_of
from spool.keys import prefix
from tests.by_hand import HandWorker, done
from tests.stack import Stack


@pytest.fixture
def batch(alice: httpx.Client, worker: HandWorker) -> str:
    """A batch that has ended, with one line that succeeded and one that was cancelled."""
    found = str(alice.post("/batches", json=[{"prompt": "x"}, {"prompt": "y"}]).json()["id"])
    claim = worker.take_job(job_id_of(found, 0))
    usage = {"input_tokens": 1, "output_tokens": 2}
    worker.append(claim, 2, [done(2)], ending=orjson.dumps({"status": "succeeded", "usage": usage}))
    alice.post(f"/batches/{found}/cancel")
    return found


def test_size_is_counted_once(alice: httpx.Client, guarded: Stack, batch: str) -> None:
    """The first look at a file of an ended batch counts its bytes; later ones read what was kept."""
    for kind in ("output", "errors"):
        file = alice.get(f"/v1/files/file-{batch}-{kind}").json()
        assert file["bytes"] == len(alice.get(f"/v1/files/{file['id']}/content").content) > 0
        assert file["expires_at"] > file["created_at"]
        key = f"{prefix(0)}batch:{batch}"
        assert int(guarded.redis.link.call("HGET", key, f"{kind}_bytes")) == file["bytes"]
        guarded.redis.link.call("HSET", key, f"{kind}_bytes", 7)
        assert alice.get(f"/v1/files/file-{batch}-{kind}").json()["bytes"] == 7


def test_size_while_the_batch_runs_is_not_kept(alice: httpx.Client, guarded: Stack) -> None:
    """A file that still grows has the size that it has now."""
    running = alice.post("/batches?on_bad_line=skip", json=[{"prompt": "x"}, {}]).json()["id"]
    assert alice.get(f"/v1/files/file-{running}-output").json()["bytes"] == 0
    assert not guarded.redis.link.call("HEXISTS", f"{prefix(0)}batch:{running}", "output_bytes")
    alice.post(f"/batches/{running}/cancel")


def test_list_of_files_of_batches(alice: httpx.Client, bob: httpx.Client, batch: str) -> None:
    """The files of ended batches are listed page by page, newest first, and for their owner alone."""
    query = {"purpose": "batch_output", "limit": "1"}
    first = alice.get("/v1/files", params=query).json()
    assert ([file["id"] for file in first["data"]], first["has_more"]) == ([f"file-{batch}-output"], True)
    second = alice.get("/v1/files", params={**query, "after": first["last_id"]}).json()
    assert [file["id"] for file in second["data"]] == [f"file-{batch}-errors"]
    after = {"purpose": "batch_output", "after": second["last_id"]}
    assert batch not in alice.get("/v1/files", params=after).text
    assert batch not in bob.get("/v1/files", params={"purpose": "batch_output"}).text


@pytest.mark.parametrize("limit", [1, 2, 10])
def test_list_of_all_files(alice: httpx.Client, bob: httpx.Client, batch: str, limit: int) -> None:
    """Uploads and files of batches are in one list, newest first, each once on pages of any size."""
    for name in ("first", "last"):
        alice.post("/v1/files", data={"purpose": "batch"}, files={"file": (name, b"{}")}).raise_for_status()
    whole = alice.get("/v1/files").json()["data"]
    names = [file["filename"] for file in whole]
    assert names[:4] == ["last", "first", f"batch_output_{batch}.jsonl", f"batch_error_{batch}.jsonl"]
    found, after = list[str](), ""
    while True:
        page = alice.get("/v1/files", params={"limit": limit, "after": after}).json()
        found += [file["id"] for file in page["data"]]
        if not page["has_more"]:
            break
        after = page["last_id"]
    assert found == [file["id"] for file in whole]
    assert batch not in bob.get("/v1/files").text
    assert batch not in alice.get("/v1/files?order=asc").text


@pytest.mark.parametrize("wrong", [{"order": "asc"}, {"after": "file-x"}], ids=["order", "after"])
def test_wrong_list_of_files_of_batches(alice: httpx.Client, wrong: dict[str, str]) -> None:
    """Their list has one order, and pages behind one of them."""
    assert alice.get("/v1/files", params={"purpose": "batch_output", **wrong}).status_code in (400, 422)
