"""Where answers end in HTTP/1.1, however the bytes are split, and which bytes are refused."""

from __future__ import annotations

from itertools import pairwise

import pytest
from httpx2 import LocalProtocolError, RemoteProtocolError
from hypothesis import given
from hypothesis import strategies as st

from worker.backends.openai.http_framing import (
    MAX_EMPTY_BYTES,
    MAX_HEAD_BYTES,
    AnswerParser,
    Head,
    encode_request,
)

OK = b"HTTP/1.1 200 OK\r\n"
CODED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKS = b'5\r\nHello\r\n1;name="va;lue"\r\n \r\n0006 \t\r\nworld!\r\n00\r\nX-Trailer: 1\r\nB: 2\r\n\r\n'


def read(parser: AnswerParser, *parts: bytes) -> bytes:
    """The content in ``parts``, up to the answer's end."""
    return b"".join(parser.feed(part) for part in parts if part and not parser.ended)


def parsed(*parts: bytes, method: bytes = b"POST") -> AnswerParser:
    """A parser that was fed ``parts``."""
    parser = AnswerParser(method)
    read(parser, *parts)
    return parser


def every_split(raw: bytes) -> list[list[bytes]]:
    """In two parts at every place, and in single bytes."""
    halves = [[raw[:at], raw[at:]] for at in range(1, len(raw))]
    return [[raw], *halves, [raw[i : i + 1] for i in range(len(raw))]]


# Bodies


def test_chunked_body_split_anywhere_is_whole() -> None:
    """Chunks, extensions and trailers are distinguished wherever a read ended; trailers are no fields."""
    for parts in every_split(CHUNKS):
        parser = parsed(CODED)
        assert read(parser, *parts) == b"Hello world!", parts
        assert (parser.ended, parser.reusable) == (True, True), parts
        assert parser.head is not None
        assert parser.head.fields == [(b"Transfer-Encoding", b"chunked")], parts


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.lists(st.integers(0, 400)))
def test_chunked_body_of_any_bytes_is_whole(chunks: list[bytes], cuts: list[int]) -> None:
    """Content may look like framing."""
    raw = CODED + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    places = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    parser = AnswerParser(b"GET")
    assert read(parser, *(raw[a:b] for a, b in pairwise(places))) == b"".join(chunks)
    assert parser.ended


def test_chunked_body_is_passed_on_before_its_chunk_is_whole() -> None:
    """A token in a large chunk does not wait for the chunk's end."""
    parser = parsed(CODED)
    assert [parser.feed(part) for part in (b"8\r\nab", b"cd", b"efgh\r", b"\n1\r\ni")] == [b"ab", b"cd", b"efgh", b"i"]


@pytest.mark.parametrize("raw", [b"0\r\n\r\nHTTP", b"0\r\nA: b\r\n\r\n" + OK, b"2\r\nhi\r\n0\r\n\r\nx"])
@pytest.mark.parametrize("head", [CODED, OK + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"])
def test_answer_with_unsolicited_bytes_behind_it_ends_the_connection(head: bytes, raw: bytes) -> None:
    """They would be taken for the answer to the next request."""
    parser = parsed(head)
    assert parser.feed(raw) == (b"hi" if b"hi" in raw else b"")
    assert (parser.ended, parser.reusable) == (True, False)


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
        b"0\r\nno colon\r\n\r\n",
        b"0\r\nA: b\n\n",
    ],
)
def test_chunked_body_that_is_malformed_is_refused(raw: bytes) -> None:
    """Bare LF, signs, prefixes and lengths that do not fit are no chunked coding, however they are split."""
    for parts in every_split(raw):
        parser = parsed(CODED)
        with pytest.raises(RemoteProtocolError):
            read(parser, *parts)


@pytest.mark.parametrize("raw", [b"5;" + b"a" * MAX_EMPTY_BYTES, b"0\r\nA: " + b"a" * MAX_EMPTY_BYTES])
@pytest.mark.parametrize("size", [100, 2 * MAX_EMPTY_BYTES])
def test_chunked_body_with_endless_lines_is_refused(raw: bytes, size: int) -> None:
    """Extensions and trailers are bounded, also over many reads."""
    parser = parsed(CODED)
    with pytest.raises(RemoteProtocolError, match="more than"):
        read(parser, *(raw[at : at + size] for at in range(0, len(raw), size)))


def test_chunked_body_may_have_more_framing_than_content() -> None:
    """The limit is for bytes between two pieces of content, not for the whole answer."""
    extension = b"a" * (MAX_EMPTY_BYTES - 100)
    parts = [part for _ in range(3) for part in (b"1;" + extension, b"\r\nx\r\n")]
    assert read(parsed(CODED), *parts) == b"xxx"


def test_sized_body_ends_with_its_last_byte() -> None:
    """No more and no less than announced."""
    parser = parsed(OK + b"Content-Length: 5\r\n\r\n")
    assert [parser.feed(b"He"), parser.ended, parser.feed(b"llo"), parser.ended] == [b"He", False, b"llo", True]
    assert parser.reusable
    parser = parsed(OK + b"Content-Length: 2\r\n\r\n")
    assert (parser.feed(b"abc"), parser.ended, parser.reusable) == (b"ab", True, False)


def test_body_without_a_length_ends_with_the_connection() -> None:
    """As in HTTP/1.0."""
    parser = parsed(OK + b"\r\n")
    assert (parser.feed(b"ab"), parser.ended, parser.feed(b""), parser.ended) == (b"ab", False, b"", True)
    assert not parser.reusable


@pytest.mark.parametrize("raw", [b"", OK, CODED, CODED + b"3\r", OK + b"Content-Length: 5\r\n\r\nHell"])
def test_answer_that_the_connections_end_cuts_off_is_refused(raw: bytes) -> None:
    """A cut answer is no answer."""
    parser = parsed(raw)
    with pytest.raises(RemoteProtocolError, match="closed the connection"):
        parser.feed(b"")


# Heads

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
HEAD = HINTS + b"HTTP/1.1 200 All right\r\nA:  b c \r\nlong: one  two\t\r\nEmpty:\r\n\r\nbody"


def test_head_split_anywhere_is_whole() -> None:
    """Interim answers are dropped, and so is white space around values."""
    fields = [(b"A", b"b c"), (b"long", b"one  two"), (b"Empty", b"")]
    for parts in every_split(HEAD[:-4]):
        assert parsed(*parts).head == Head("1.1", 200, b"All right", fields), parts


def test_content_that_arrives_with_the_head_is_content() -> None:
    """One read may hold both."""
    assert read(AnswerParser(b"GET"), HEAD) == b"body"


@pytest.mark.parametrize("raw", [b"HTTP/1.0 200\n\n", b"HTTP/1.0 200 \nA: b\r\n\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_head_of_a_simple_server_is_read(raw: bytes) -> None:
    """No reason, and lines that end at LF alone."""
    for parts in every_split(raw):
        head = parsed(*parts).head
        assert head is not None
        assert head.status == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/0.9 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\x00c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rB: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"a" * MAX_HEAD_BYTES,
        b"HTTP/1.1 103 Hints\r\n\r\n" * (MAX_HEAD_BYTES // 20),
        b"\r\n" * MAX_HEAD_BYTES,
    ],
    ids=lambda raw: repr(raw[:40]),
)
def test_head_that_is_malformed_is_refused(raw: bytes) -> None:
    """Other protocols and endless heads are errors at once."""
    with pytest.raises(RemoteProtocolError):
        parsed(raw)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("raw", [b" " * 90_000 + b"\x00", b"a " * 45_000 + b"\x00", b"a" * 90_000 + b"\x00"])
def test_head_that_is_hostile_takes_no_longer(raw: bytes) -> None:
    """A malformed line costs no more than its length; with its square it would take minutes."""
    with pytest.raises(RemoteProtocolError):
        parsed(b"HTTP/1.1 200 OK\r\nA:" + raw + b"\r\n\r\n")
    with pytest.raises(LocalProtocolError):
        encode_request(b"GET", b"/", [(b"A", raw)], b"")


@pytest.mark.parametrize(
    ("raw", "method"),
    [
        (CODED, b"HEAD"),
        (OK + b"Content-Length: 5\r\n\r\nHello", b"HEAD"),
        (OK + b"\r\n", b"HEAD"),
        (b"HTTP/1.1 204 None\r\nTransfer-Encoding: chunked\r\n\r\n", b"GET"),
        (b"HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n", b"GET"),
        (OK + b"Content-Length: 0\r\n\r\n", b"GET"),
    ],
)
def test_answer_without_a_body_ends_with_its_head(raw: bytes, method: bytes) -> None:
    """Whatever its fields announce (RFC 9112, section 6.3)."""
    for parts in every_split(raw):
        parser = AnswerParser(method)
        assert read(parser, *parts) == b""
        assert parser.ended


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5\r\nContent-Length: 5",
        b"Content-Length: 5, 5",
        b"Content-Length: -5",
        b"Content-Length:",
        b"Content-Length: 99999999999999999999",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ],
)
def test_head_with_contradictory_lengths_is_refused(fields: bytes) -> None:
    """The answer's end is never a guess."""
    with pytest.raises(RemoteProtocolError):
        parsed(OK + fields + b"\r\n\r\n5\r\nHello")


@pytest.mark.parametrize(
    ("raw", "reusable"),
    [
        (OK + b"Content-Length: 0\r\n\r\n", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (OK + b"Connection: x, Close\r\nContent-Length: 0\r\n\r\n", False),
        (OK + b"Content-Length: 5\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", False),
        (OK + b"Transfer-Encoding: Chunked\r\nContent-Length: 5\r\n\r\n2\r\nhi\r\n0\r\n\r\n", False),
    ],
)
def test_connection_is_reusable_where_the_head_permits_it(raw: bytes, reusable: bool) -> None:
    """By version, by the server's word, and not after two framings at once, of which the chunks count."""
    parser = AnswerParser(b"GET")
    assert read(parser, raw) == (b"hi" if b"hi" in raw else b"")
    assert (parser.ended, parser.reusable) == (True, reusable)


# Requests


def test_request_is_one_piece_of_bytes() -> None:
    """Line, fields, content."""
    raw = encode_request(b"POST", b"/v1?a=b", [(b"Host", b"h"), (b"Content-Length", b"2")], b"hi")
    assert raw == b"POST /v1?a=b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi"


@pytest.mark.parametrize(("body", "coded"), [(b"hi", b"2\r\nhi\r\n0\r\n\r\n"), (b"", b"0\r\n\r\n")])
def test_request_without_a_length_is_chunked(body: bytes, coded: bytes) -> None:
    """For a client that does not know its length."""
    raw = encode_request(b"POST", b"/", [(b"Transfer-Encoding", b"Chunked")], body)
    assert raw.endswith(b"Transfer-Encoding: Chunked\r\n\r\n" + coded)


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
