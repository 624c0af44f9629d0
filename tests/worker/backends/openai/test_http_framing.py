"""Where heads and bodies of HTTP/1.1 end, however the bytes are split, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import pytest
from httpx2 import LocalProtocolError, RemoteProtocolError
from hypothesis import given
from hypothesis import strategies as st

from worker.backends.openai.http_framing import (
    MAX_CHUNK_LINE_BYTES,
    MAX_HEAD_BYTES,
    Body,
    Chunked,
    Head,
    HeadReader,
    Sized,
    UntilClosed,
    encode_request,
)

CHUNKS = b'5\r\nHello\r\n1;name="va;lue"\r\n \r\n0006 \t\r\nworld!\r\n00\r\nX-Trailer: 1\r\nB: 2\r\n\r\n'


def read(body: Body, *parts: bytes) -> bytes:
    """The content in ``parts``, up to the body's end."""
    return b"".join(body.feed(part) for part in parts if part and not body.ended)


def head_of(*parts: bytes) -> tuple[Head, bytes] | None:
    """What the first parts that are enough make."""
    reader = HeadReader()
    return next((found for found in map(reader.feed, parts) if found), None)


def every_split(raw: bytes) -> list[list[bytes]]:
    """In two parts at every place, and in single bytes."""
    halves = [[raw[:at], raw[at:]] for at in range(1, len(raw))]
    return [[raw], *halves, [raw[i : i + 1] for i in range(len(raw))]]


# Bodies


@pytest.mark.parametrize("parts", every_split(CHUNKS), ids=len)
def test_chunked_body_split_anywhere_is_whole(parts: list[bytes]) -> None:
    """Chunks, extensions and trailers are told apart wherever a read ended; what ends is exactly the body."""
    body = Chunked()
    assert read(body, *parts) == b"Hello world!"
    assert (body.ended, body.excess) == (True, False)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.lists(st.integers(0, 400)))
def test_chunked_body_of_anything_is_whole(chunks: list[bytes], cuts: list[int]) -> None:
    """Content may hold what looks like framing."""
    raw = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    places = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    body = Chunked()
    assert read(body, *(raw[a:b] for a, b in pairwise(places))) == b"".join(chunks)
    assert body.ended


def test_chunked_body_is_handed_on_before_its_chunk_is_whole() -> None:
    """A token in a large chunk does not wait for the chunk's end."""
    body = Chunked()
    assert [body.feed(part) for part in (b"8\r\nab", b"cd", b"efgh\r", b"\n1\r\ni")] == [b"ab", b"cd", b"efgh", b"i"]


@pytest.mark.parametrize("raw", [b"0\r\n\r\nHTTP", b"0\r\nA: b\r\n\r\n\r\n"])
def test_chunked_body_with_more_behind_it_says_so(raw: bytes) -> None:
    """What nobody asked for is no answer to the next request."""
    body = Chunked()
    assert body.feed(raw) == b""
    assert (body.ended, body.excess) == (True, True)


@pytest.mark.parametrize(
    "raw",
    [
        b"x\r\n",
        b"0x5\r\nHello\r\n",
        b"+5\r\nHello\r\n",
        b"5\nHello\n",
        b"5;a=\nb\r\nHello",
        b"5\r\nHello!\r\n0\r\n\r\n",
        b"5\r\nHello\n0\r\n\r\n",
        b"-1\r\n\r\n",
        b"\r\n",
        b"11111111111111111\r\n",
        b"1 1\r\n",
    ],
)
def test_chunked_body_that_is_malformed_is_refused(raw: bytes) -> None:
    """Bare LF, signs, prefixes and lengths that do not fit are no chunked coding, however they are split."""
    for parts in every_split(raw):
        with pytest.raises(RemoteProtocolError):
            read(Chunked(), *parts)


@pytest.mark.parametrize("raw", [b"5;" + b"a" * MAX_CHUNK_LINE_BYTES, b"0\r\nA: " + b"a" * MAX_CHUNK_LINE_BYTES])
def test_chunked_body_with_endless_lines_is_refused(raw: bytes) -> None:
    """Extensions and trailers are bounded."""
    with pytest.raises(RemoteProtocolError, match="more than"):
        read(Chunked(), raw)


def test_sized_body_ends_with_its_last_byte() -> None:
    """No more and no less than announced."""
    body = Sized(5)
    assert [body.feed(b"He"), body.ended, body.feed(b"llo"), body.ended, body.excess] == [
        b"He",
        False,
        b"llo",
        True,
        False,
    ]
    body = Sized(2)
    assert (body.feed(b"abc"), body.ended, body.excess) == (b"ab", True, True)


def test_body_without_a_length_ends_with_the_connection() -> None:
    """As HTTP/1.0 had it."""
    body = UntilClosed()
    assert (body.feed(b"ab"), body.ended, body.feed(b""), body.ended) == (b"ab", False, b"", True)


@pytest.mark.parametrize("body", [Sized(5), Chunked()])
def test_body_that_the_connections_end_cuts_off_is_refused(body: Body) -> None:
    """A cut answer is no answer."""
    body.feed(b"3\r")
    with pytest.raises(RemoteProtocolError):
        body.feed(b"")


# Heads

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
HEAD = HINTS + b"HTTP/1.1 200 All right\r\nA:  b c \r\nlong: one\r\n  two\r\nEmpty:\r\n\r\nbody"


@pytest.mark.parametrize("parts", every_split(HEAD[:-4]), ids=len)
def test_head_split_anywhere_is_whole(parts: list[bytes]) -> None:
    """Interim answers are dropped, folded lines joined, white space around values removed."""
    found = head_of(*parts)
    assert found == (Head(1, 200, b"All right", [(b"A", b"b c"), (b"long", b"one two"), (b"Empty", b"")]), b"")


def test_head_leaves_what_follows_it() -> None:
    """The body's first bytes come with the head."""
    found = head_of(HEAD)
    assert found is not None
    assert found[1] == b"body"


@pytest.mark.parametrize("raw", [b"HTTP/1.0 200\n\n", b"HTTP/1.0 200 \nA: b\r\n\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_head_of_a_simple_server_is_read(raw: bytes) -> None:
    """No reason, and lines that end at LF alone."""
    found = head_of(raw)
    assert found is not None
    assert found[0].status == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/2 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\x00c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rB: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"a" * MAX_HEAD_BYTES,
        b"HTTP/1.1 103 Hints\r\n\r\n" * (MAX_HEAD_BYTES // 20),
    ],
    ids=lambda raw: repr(raw[:40]),
)
def test_head_that_is_malformed_is_refused(raw: bytes) -> None:
    """What is not HTTP/1, and what is too long, is an error at once."""
    with pytest.raises(RemoteProtocolError):
        head_of(raw)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("raw", [b" " * 90_000 + b"\x00", b"a " * 45_000 + b"\x00", b"a" * 90_000 + b"\x00"])
def test_head_that_is_hostile_takes_no_longer(raw: bytes) -> None:
    """A line that does not match costs no more than its length: with its square it would take minutes."""
    with pytest.raises(RemoteProtocolError):
        head_of(b"HTTP/1.1 200 OK\r\nA:" + raw + b"\r\n\r\n")


def framed(*fields: tuple[bytes, bytes], method: bytes = b"POST", status: int = 200) -> Body:
    """The body that a head announces."""
    return Head(1, status, b"", list(fields)).body(method)


CODED = (b"Transfer-Encoding", b"Chunked")


def test_body_is_what_the_head_says() -> None:
    """In the order of RFC 9112, section 6.3."""
    assert type(framed()) is UntilClosed
    assert type(framed(CODED, (b"Content-Length", b"5"))) is Chunked
    assert not framed((b"content-length", b"5, 5"), (b"Content-Length", b"5")).ended
    for empty in (framed(CODED, method=b"HEAD"), framed(CODED, status=204), framed((b"Content-Length", b"0"))):
        assert empty.ended


@pytest.mark.parametrize(
    "fields",
    [
        [(b"Content-Length", b"5"), (b"Content-Length", b"6")],
        [(b"Content-Length", b"-5")],
        [(b"Content-Length", b"")],
        [(b"Transfer-Encoding", b"gzip, chunked")],
        [(b"Transfer-Encoding", b"identity")],
        [CODED, CODED],
    ],
)
def test_body_with_contradictory_lengths_is_refused(fields: list[tuple[bytes, bytes]]) -> None:
    """Nobody guesses where an answer ends."""
    with pytest.raises(RemoteProtocolError):
        framed(*fields)


@pytest.mark.parametrize(
    ("head", "keeps"),
    [
        (Head(1, 200, b"", []), True),
        (Head(0, 200, b"", []), False),
        (Head(1, 200, b"", [(b"Connection", b"x, Close")]), False),
        (Head(1, 200, b"", [CODED, (b"Content-Length", b"5")]), False),
    ],
)
def test_connection_is_kept_where_the_head_lets_it(head: Head, keeps: bool) -> None:
    """By version, by the server's word, and not after two framings at once."""
    assert head.keeps_connection is keeps


# Requests


def test_request_is_one_piece_of_bytes() -> None:
    """Line, fields, content."""
    raw = encode_request(b"POST", b"/v1?a=b", [(b"Host", b"h"), (b"Content-Length", b"2")], b"hi")
    assert raw == b"POST /v1?a=b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi"


@pytest.mark.parametrize(("body", "coded"), [(b"hi", b"2\r\nhi\r\n0\r\n\r\n"), (b"", b"0\r\n\r\n")])
def test_request_without_a_length_is_chunked(body: bytes, coded: bytes) -> None:
    """Where the client could not say how long it is."""
    assert encode_request(b"POST", b"/", [CODED], body).endswith(b"Transfer-Encoding: Chunked\r\n\r\n" + coded)


@pytest.mark.parametrize(
    ("method", "target", "name", "value"),
    [
        (b"PO ST", b"/", b"A", b"b"),
        (b"GET", b"/a b", b"A", b"b"),
        (b"GET", b"/\r\nX:", b"A", b"b"),
        (b"GET", b"/", b"A b", b"b"),
        (b"GET", b"/", b"", b"b"),
        (b"GET", b"/", b"A", b"secret\n"),
        (b"GET", b"/", b"A", b"secret\r\nB: c"),
        (b"GET", b"/", b"A", b" secret"),
        (b"GET", b"/", b"A", b"sec\x00ret"),
    ],
)
def test_request_that_is_illegal_is_refused_without_a_quote(
    method: bytes, target: bytes, name: bytes, value: bytes
) -> None:
    """No request can be smuggled into another; and a value may be a key."""
    with pytest.raises(LocalProtocolError) as caught:
        encode_request(method, target, [(name, value)], b"")
    assert "secret" not in str(caught.value)
