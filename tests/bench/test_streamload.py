"""The load generator against a server that cuts its answers anywhere."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import pytest

from bench.load import compiled
from tests.bench.serving import ASKED, HEAD, chunk, cut, event, read, serving

pytestmark = pytest.mark.skipif(compiled() is None, reason="no C compiler")


def test_tokens_cut_by_chunks_and_by_reads() -> None:
    """Every token counts once, wherever chunks and reads cut it, and its latency is from its stamp."""

    def answer(_head: bytes) -> Iterator[bytes]:
        body = b"retry: 5\nevent: attached\ndata: {}\n\n" + b"".join(map(event, range(1, 21)))
        chunks = HEAD + b"".join(map(chunk, cut(body, 1))) + b"0\r\n\r\n"
        yield from cut(chunks, 2)

    with serving(answer) as url:
        load = read(url)
    assert (load.delivered, load.complete, load.ended, load.errors, load.open) == (60, 3, 3, 0, 0)
    assert load.p50_ms >= 4.9


def test_several_stamps_behind_one_marker() -> None:
    """A text of several tokens is several tokens."""

    def answer(_head: bytes) -> Iterator[bytes]:
        stamp = b"%d " % (time.time_ns() // 1000)
        body = b'id: 1\ndata: {"text":"' + stamp * 20 + b'"}\n\n'
        yield b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        yield from cut(body, 3)

    with serving(answer) as url:
        load = read(url)
    assert (load.delivered, load.complete, load.ended, load.errors) == (60, 3, 3, 0)


@pytest.mark.parametrize("ids", [[1, 2, 4], [1, 1, 2], [2, 3, 4]])
def test_ids_that_do_not_go_up_by_one(ids: list[int]) -> None:
    """A missing or doubled id is an error."""

    def answer(_head: bytes) -> Iterator[bytes]:
        yield HEAD
        for number in ids:
            yield chunk(event(number))
        yield b"0\r\n\r\n"

    with serving(answer) as url:
        load = read(url, readers=1)
    assert load.missing_or_doubled == 1
    assert load.complete == 0


def test_an_answer_that_is_cut_is_an_error() -> None:
    """A chunked answer without its last chunk did not end."""

    def closed_early(_head: bytes) -> Iterator[bytes]:
        yield HEAD + chunk(event(1))

    with serving(closed_early) as url:
        load = read(url, readers=1)
    assert (load.delivered, load.closed_early, load.ended) == (1, 1, 0)


def test_a_refusal_is_an_error() -> None:
    """503 is no stream, and nor is nobody there."""

    def answer(_head: bytes) -> Iterator[bytes]:
        yield b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"

    with serving(answer) as url:
        load = read(url)
    assert (load.bad_status, load.ended) == (3, 0)
    assert read(url).refused == 3


def test_a_stream_that_stays_open_after_its_tokens_is_not_waited_for() -> None:
    """Once all have all their tokens, a second is left for them to end, and not the time that reading may take."""

    def answer(_head: bytes) -> Iterator[bytes]:
        yield HEAD + b"".join(chunk(event(number)) for number in range(1, 21))

    with serving(answer) as url:
        load = read(url, dataclasses.replace(ASKED, seconds=1000))
    assert (load.delivered, load.complete, load.open, load.errors) == (60, 3, 3, 0)


def test_a_reader_that_is_turned_away_comes_again() -> None:
    """From its last id, until it has all."""
    asked: list[bytes] = []

    def answer(head: bytes) -> Iterator[bytes]:
        asked.append(head.split(b"Last-Event-ID: ")[1].split()[0])
        body = b"retry: 1\nevent: unavailable\ndata: {}\n\n"
        if len(asked) == 1:
            body = b"".join(map(event, range(1, 6))) + body
        elif len(asked) == 3:
            body = b"".join(map(event, range(6, 21)))
        yield b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    with serving(answer) as url:
        load = read(url, dataclasses.replace(ASKED, again_s=0.01), readers=1)
    assert asked == [b"0", b"5", b"5"]
    assert (load.turned_away, load.delivered, load.complete, load.ended, load.errors) == (2, 20, 1, 1, 0)


def test_long_polling_asks_again_from_next() -> None:
    """It goes on after ``next`` on the same connection, and ends with ``ended``."""
    asked: list[bytes] = []

    def answer(head: bytes) -> Iterator[bytes]:
        after = int(head.split(b"after=")[1].split()[0])
        asked.append(head.split()[1])
        entries = b",".join(b'{"id":%d,"text":"%d "}' % (after + n, time.time_ns() // 1000) for n in range(1, 6))
        ended = b"true" if after == 15 else b"false"
        body = b'{"entries":[%b],"next":%d,"ended":%b}' % (entries, after + 5, ended)
        yield from cut(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body), after)

    with serving(answer) as url:
        load = read(url, dataclasses.replace(ASKED, ids=False, poll=True), readers=1)
    assert (load.delivered, load.complete, load.ended, load.errors, load.requests) == (20, 1, 1, 0, 4)
    assert asked == [b"/stream?x=1&after=%d" % after for after in (0, 5, 10, 15)]


def test_repeated_requests_stop_when_time_is_up() -> None:
    """The next one follows each answer, on the same connection; answers with another status are errors."""

    def answer(_head: bytes) -> Iterator[bytes]:
        yield b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n'

    asked = dataclasses.replace(ASKED, tokens=0, seconds=1.0, ids=False, repeat=True)
    with serving(answer) as url:
        load = read(url, dataclasses.replace(asked, status=304))
        refused = read(url, asked)
    assert load.answers > 3
    assert (load.open, load.errors, load.connections) == (3, 0, 3)
    assert (refused.bad_status, refused.answers) == (3, 0)
