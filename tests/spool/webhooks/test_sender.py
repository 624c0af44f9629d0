"""Sending one delivery: to real receivers, and never to an address that is not allowed."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from spool.webhooks.addresses import AllowedAddresses
from spool.webhooks.sender import Answer, Sender, SendFailed
from tests.tls import certificate
from tests.webhook_receiver import receiving

LOOPBACK = AllowedAddresses.parse("127.0.0.1")
HEADERS = {"webhook-id": "msg_1"}
BODY = b'{"type":"job.succeeded"}'


class Lookups:
    """A resolver whose answers change: each look-up gets the next one."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.hosts: list[str] = []

    def __call__(self, host: str, port: int, timeout_s: float) -> Sequence[str]:  # noqa: ARG002
        """The next answer."""
        self.hosts.append(host)
        return self.answers.pop(0)


@contextmanager
def answering(data: bytes) -> Iterator[str]:
    """The URL of a server that sends these bytes, whatever it is asked, and then waits."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            # The sender leaves as soon as it has seen enough.
            with connection, suppress(OSError):
                connection.sendall(data)
                connection.settimeout(10)
                while connection.recv(4096):
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        thread.join()


def test_request_arrives_as_it_was_sent() -> None:
    """The receiver gets the path, the headers and the body; the sender gets its status."""
    with receiving() as receiver:
        assert Sender(LOOPBACK).post(f"{receiver.url}?a=b", HEADERS, BODY) == Answer(204)
    (got,) = receiver.received
    assert (got.path, got.body) == ("/hook?a=b", BODY)
    assert got.headers["webhook-id"] == "msg_1"
    assert got.headers["host"] == urlsplit(receiver.url).netloc


def test_redirect_is_not_followed() -> None:
    """A redirect is an answer like any other: its location gets no request."""
    with receiving() as receiver, receiving() as other:
        receiver.status, receiver.location = 307, other.url
        assert Sender(LOOPBACK).post(receiver.url, HEADERS, BODY) == Answer(307)
    assert other.received == []


def test_name_that_leads_to_a_private_address_on_the_second_lookup() -> None:
    """Each request looks its host up once, and connects to the address that it checked, to no other."""
    with receiving() as public, receiving("127.0.0.2", urlsplit(public.url).port or 0) as private:
        lookups = Lookups(["127.0.0.1"], ["127.0.0.2"])
        sender = Sender(LOOPBACK, lookups)
        url = f"http://receiver.test:{urlsplit(public.url).port}/hook"
        assert sender.post(url, HEADERS, BODY) == Answer(204)
        assert lookups.hosts == ["receiver.test"]
        with pytest.raises(SendFailed, match="no address that webhooks may be sent to"):
            sender.post(url, HEADERS, BODY)
    assert (len(public.received), len(private.received)) == (1, 0)


def test_allowed_address_is_chosen_among_forbidden_ones() -> None:
    """Of several addresses only the allowed ones are tried."""
    with receiving() as public:
        url = f"http://receiver.test:{urlsplit(public.url).port}/hook"
        assert Sender(LOOPBACK, Lookups(["10.0.0.1", "127.0.0.1", "::1"])).post(url, HEADERS, BODY) == Answer(204)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0.0.0.0", "localhost"]
)
def test_this_machine_is_forbidden_in_any_form(host: str) -> None:
    """A receiver on this machine gets nothing unless it is allowed, however its address is written."""
    refused = r"no address that webhooks may be sent to|cannot be resolved"
    with receiving() as receiver, pytest.raises(SendFailed, match=refused):
        Sender(AllowedAddresses()).post(f"http://{host}:{urlsplit(receiver.url).port}/", HEADERS, BODY)
    assert receiver.received == []


def test_certificate_is_checked_with_the_name(tmp_path: Path) -> None:
    """The connection goes to the address, and TLS verifies the name of the URL."""
    cert, key = certificate(tmp_path, "DNS:receiver.test")
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(cert, key)
    trusting = ssl.create_default_context(cafile=str(cert))
    with receiving(context=serving) as receiver:
        port = urlsplit(receiver.url).port
        sender = Sender(LOOPBACK, lambda *_: ["127.0.0.1"], trusting)
        assert sender.post(f"https://receiver.test:{port}/", HEADERS, BODY) == Answer(204)
        with pytest.raises(SendFailed, match=r"^TLS: Hostname mismatch"):
            sender.post(f"https://other.test:{port}/", HEADERS, BODY)
        with pytest.raises(SendFailed, match=r"^TLS: self-signed certificate"):
            Sender(LOOPBACK, lambda *_: ["127.0.0.1"]).post(f"https://receiver.test:{port}/", HEADERS, BODY)
    assert len(receiver.received) == 1


def test_informational_answers_are_skipped() -> None:
    """The first answer that is not 1xx counts, with its Retry-After."""
    with answering(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 429 No\r\nRetry-After: 7\r\n\r\n") as url:
        assert Sender(LOOPBACK).post(url, HEADERS, BODY) == Answer(429, retry_after_s=7)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"HTTP/1.1 200 OK\r\nA: b\r\n", "no answer within 0.2 s"),
        (b"", "no answer within 0.2 s"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 4000 + b"\r\n", "at most 16 KiB"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not HTTP/1.1"),
    ],
    ids=["half a head", "nothing", "too long", "not HTTP"],
)
def test_answer_that_is_none(data: bytes, message: str) -> None:
    """An answer that does not come, is too long or is no HTTP is a failure."""
    with answering(data) as url, pytest.raises(SendFailed, match=message):
        Sender(LOOPBACK, timeout_s=0.2 if "within" in message else 10).post(url, HEADERS, BODY)


def test_receiver_that_is_down() -> None:
    """A refused connection, a name that cannot be resolved and a damaged URL are failures."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(SendFailed, match="Connection refused"):
        Sender(LOOPBACK).post(f"http://127.0.0.1:{port}/", HEADERS, BODY)
    with pytest.raises(SendFailed, match=r"cannot be resolved"):
        Sender(LOOPBACK).post(f"http://{'a' * 64}.invalid/", HEADERS, BODY)
    with pytest.raises(SendFailed, match=r"^the URL must begin with https"):
        Sender(LOOPBACK).post("gopher://x", HEADERS, BODY)
