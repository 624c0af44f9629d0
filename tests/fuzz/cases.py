"""One case of the fuzz: the bytes that a client sends, made from a seed alone and the ids of three jobs."""

from __future__ import annotations

import base64
import random
import struct
from dataclasses import dataclass, field

from tests.fuzz import examples, routes
from tests.fuzz.mutations import broken, mutated

Rng = random.Random
_ODD_VALUES = ["x" * 7000, "," * 4000, ";q=" * 2000, '"' * 999, "\x80\xff\xfe", "=", "a/b;c=d;" * 700, "0" * 5000]
_CLOSES = [b"", b"\x03", *(struct.pack("!H", code) + b"\xff" for code in (1000, 0, 1005, 4999, 65_535))]
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10


@dataclass(frozen=True, slots=True)
class Known:
    """Jobs that there are, and the address of the web."""

    host: str
    ended: str
    running: str
    cancelled: str

    @property
    def jobs(self) -> list[str]:
        """Their ids."""
        return [self.ended, self.running, self.cancelled]


@dataclass(slots=True)
class Case:
    """``request`` goes out at once, and ``frames`` after an upgrade."""

    name: str
    request: bytes
    frames: list[bytes] = field(default_factory=list)


def case_of(seed: int, number: int, known: Known) -> Case:
    """The case of that seed and number."""
    rng = random.Random(f"{seed}:{number}")
    kind = rng.random()
    if kind < 0.5:
        return _post(rng, known)
    if kind < 0.58:
        return _batch(rng, known)
    if kind < 0.7:
        return _socket(rng, known)
    return _other(rng, known)


def _post(rng: Rng, known: Known) -> Case:
    route = rng.choice(list(routes.POSTS))
    body = mutated(rng, rng.choice(routes.POSTS[route](known.ended)))
    headers = {"Content-Type": "application/json", **_headers(rng, rng.choice((0, 0, 0, 1, 2)))}
    return _request(rng, known, "POST", route, headers, body)


def _batch(rng: Rng, known: Known) -> Case:
    items = [rng.choice(examples.jobs(known.ended)) for _ in range(rng.choice((0, 1, 2, 5)))]
    if rng.random() < 0.5:
        return _request(rng, known, "POST", "/batches", {"Content-Type": "application/json"}, mutated(rng, items))
    lines = [mutated(rng, item) for item in items]
    body = b"\n".join(lines) + rng.choice((b"", b"\n", b"\n" * 30_000, b"\r\n\0", b"\n{}" * 12_000))
    return _request(rng, known, "POST", "/batches", {"Content-Type": "application/x-ndjson"}, body)


def _other(rng: Rng, known: Known) -> Case:
    method, route = rng.choice(routes.OTHERS)
    if rng.random() < 0.1:
        method = rng.choice(examples.METHODS)
    return _request(rng, known, method, route, _headers(rng, rng.choice((0, 1, 1, 2, 4))), b"")


def _request(rng: Rng, known: Known, method: str, route: str, headers: dict[str, str], body: bytes) -> Case:
    # What ended stays for other cases.
    jobs = [known.cancelled] if method == "DELETE" else known.jobs
    path = route.replace("{id}", rng.choice([*jobs, *jobs, *examples.IDS])) + _query(rng)
    length = {"Content-Length": str(len(body))} if body or method == "POST" else {}
    if rng.random() < 0.02:
        length = {"Content-Length": rng.choice(["-1", "x", "", "1, 1", str(len(body) // 2), "9" * 30])}
    fields = {"Host": known.host, "Connection": "close", **length, **headers}
    lines = [f"{name}: {value}\r\n" for name, value in fields.items()]
    if rng.random() < 0.05:
        # Twice, with the same value or another one.
        name = rng.choice(list(fields))
        lines.insert(rng.randrange(len(lines) + 1), f"{name}: {rng.choice([fields[name], 'x', '1', ''])}\r\n")
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(lines)
    return Case(f"{method} {path[:80]}", head.encode("latin-1", "replace") + b"\r\n" + body)


def _headers(rng: Rng, number: int) -> dict[str, str]:
    chosen = rng.sample(list(examples.HEADERS), number)
    return {name: _value(rng, examples.HEADERS[name]) for name in chosen}


def _value(rng: Rng, usual: list[str]) -> str:
    if rng.random() < 0.8:
        return rng.choice(usual)
    return rng.choice(_ODD_VALUES)


def _query(rng: Rng) -> str:
    if rng.random() < 0.4:
        return ""
    names = [rng.choice(list(examples.QUERIES)) for _ in range(rng.choice((1, 1, 2, 3)))]
    pairs = [f"{name}={rng.choice(examples.QUERIES[name])}" for name in names]
    if rng.random() < 0.1:
        pairs.append(rng.choice(["&" * 3000, "=", "x" * 3000, "%", "a[]=1", "after", ";"]))
    return ("?" + "&".join(pairs)).replace(" ", "%20")[:3900]


def _socket(rng: Rng, known: Known) -> Case:
    route = rng.choice(["/ws", "/jobs/{id}/ws", "/batches/{id}/ws", "/v1/responses"]).replace(
        "{id}", rng.choice([*known.jobs, *known.jobs, *examples.IDS])
    )
    headers = {
        "Host": known.host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(rng.randbytes(16)).decode(),
    }
    if rng.random() < 0.3:
        name = rng.choice(list(examples.SOCKET_HEADERS))
        headers[name] = rng.choice(examples.SOCKET_HEADERS[name])
    query = f"?after={rng.choice(examples.QUERIES['after'])}".replace(" ", "%20") if rng.random() < 0.3 else ""
    head = f"GET {route}{query} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    frames = [_frame(rng, known) for _ in range(rng.choice((1, 2, 4)))]
    return Case(f"WS {route[:80]}", head.encode("latin-1", "replace") + b"\r\n", frames)


def _frame(rng: Rng, known: Known) -> bytes:
    payload = mutated(rng, rng.choice(examples.socket_messages(known.ended)))[:200_000]
    kind = rng.random()
    if kind < 0.7:
        return framed(_TEXT, payload)
    return rng.choice(
        [
            lambda: framed(_BINARY, payload),
            lambda: framed(_TEXT, broken(rng, payload)),
            lambda: framed(_TEXT, payload, mask=False),
            lambda: framed(_TEXT, payload[:9], final=False) + framed(0, payload[9:]),
            lambda: framed(_TEXT, payload, final=False),
            lambda: framed(0, payload),
            lambda: framed(_PING, payload[: rng.choice((0, 125, 126))]),
            lambda: framed(_PONG, b""),
            lambda: framed(_CLOSE, rng.choice(_CLOSES)),
            lambda: framed(rng.choice([3, 7, 11, 15]), payload),
            lambda: bytes([framed(_TEXT, b"x")[0] | 0x40]) + framed(_TEXT, payload)[1:],
            lambda: b"\x81\xff" + b"\xff" * 8 + b"mask",
            lambda: rng.randbytes(50),
        ]
    )()


def framed(opcode: int, payload: bytes, *, final: bool = True, mask: bool = True) -> bytes:
    """One frame of a client, RFC 6455 section 5.2. Its mask is zero, which leaves the payload as it is."""
    bit = 0x80 if mask else 0
    size = len(payload)
    if size < 126:
        length = bytes([bit | size])
    elif size < 65_536:
        length = bytes([bit | 126]) + size.to_bytes(2)
    else:
        length = bytes([bit | 127]) + size.to_bytes(8)
    return bytes([(0x80 if final else 0) | opcode]) + length + (bytes(4) if mask else b"") + payload
