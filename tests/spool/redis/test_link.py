"""The link to Redis: one place for its exceptions, one retry, bounded connections, and no password in any message."""

from __future__ import annotations

import inspect
import logging
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from redis import exceptions as theirs

from spool.errors import OutcomeUnknown, StoreFull, StoreReadOnly, StoreRefusesWrites, StoreUnavailable
from spool.jobs.scripts import script
from spool.redis.errors import ANSWERED, ScriptMissing, translated
from spool.redis.link import RedisLink
from spool.redis.pool import Call, Connections
from spool.redis.script import Script
from tests.by_hand import HandWorker
from tests.stack import ROOT, Redis, wait_for

ELSEWHERE = {
    theirs.NoScriptError: "the script is loaded and called again",
    theirs.ConnectionError: "retried once, then unavailable or with an unknown outcome",
    theirs.TimeoutError: "unavailable or with an unknown outcome",
}
"""What has a way of its own."""

JUST_UNAVAILABLE = {
    theirs.RedisError: "the root",
    theirs.ResponseError: "any other refusal",
    theirs.InvalidResponse: "not Redis's protocol",
    theirs.DataError: "an argument of a wrong type, which would be a bug of ours",
    theirs.ModuleError: "no modules are used",
    theirs.NoSuchFieldsetError: "that command is not used",
    theirs.AuthenticationWrongNumberOfArgsError: "an old server with a user name",
    theirs.ExecAbortError: "no MULTI",
    theirs.WatchError: "no WATCH",
    theirs.PubSubError: "only of their own pub/sub client",
    theirs.LockError: "only of their own locks",
    theirs.LockNotOwnedError: "only of their own locks",
    theirs.ClusterError: "the root of the cluster's",
    theirs.AskError: "a cluster, behind a URL of one server",
    theirs.MovedError: "a cluster, behind a URL of one server",
    theirs.ClusterCrossSlotError: "a cluster, behind a URL of one server",
}
"""What needs no name of its own: nothing was done, and a caller can but come back later."""

NEVER_RAISED = {
    theirs.ChildDeadlockedError: "only of their own pool",
    theirs.RedisClusterException: "only of their cluster client",
    theirs.SlotNotCoveredError: "only of their cluster client",
    theirs.CrossSlotTransactionError: "only of their cluster client",
    theirs.InvalidPipelineStack: "only of their cluster client",
    theirs.IncorrectPolicyType: "only of their cluster client",
}
"""What no connection raises, and is no RedisError."""

PASSWORD = "very-secret-0123456789"


def test_every_exception_of_the_library_is_accounted_for() -> None:
    """An exception that the library grows is looked at by somebody before it reaches a caller."""
    known = {*ANSWERED, *ELSEWHERE, *JUST_UNAVAILABLE, *NEVER_RAISED}
    classes = {
        cls
        for cls in vars(theirs).values()
        if inspect.isclass(cls) and issubclass(cls, Exception) and cls.__module__ == theirs.__name__
    }
    assert {cls.__name__ for cls in classes - known} == set()


@pytest.mark.parametrize("cls", [*ANSWERED, *JUST_UNAVAILABLE], ids=lambda cls: cls.__name__)
def test_exception_becomes_one_of_ours(cls: type[Exception]) -> None:
    """Whatever the library raises is one of Spool's errors for whoever calls, its message kept."""
    error = translated(cls("1 why:6379"))
    assert type(error) is ANSWERED.get(cls, StoreUnavailable)
    assert "why" in str(error)


def test_out_of_memory_within_a_script() -> None:
    """Redis being full is recognized within a script's error too."""
    assert type(translated(theirs.ResponseError("OOM command not allowed, script: x"))) is StoreFull


def test_server_that_refuses_writes(link: RedisLink, caplog: pytest.LogCaptureFixture) -> None:
    """It answers, so this is no outage; and no fault of Spool's, so that each call logs nothing."""
    link.call("CONFIG", "SET", "min-replicas-to-write", 1)
    try:
        with pytest.raises(StoreRefusesWrites, match="NOREPLICAS"):
            link.call("SET", "a", "b")
    finally:
        link.call("CONFIG", "SET", "min-replicas-to-write", 0)
    misconf = "MISCONF Errors writing to the AOF file: No space left on device"
    assert type(translated(theirs.ResponseError(misconf))) is StoreRefusesWrites
    assert caplog.records == []


def test_read_only_replica(link: RedisLink) -> None:
    """A replica's refusal of a write is what it says."""
    link.call("REPLICAOF", "127.0.0.1", 1)
    try:
        with pytest.raises(StoreReadOnly):
            link.call("SET", "a", "b")
    finally:
        link.call("REPLICAOF", "NO", "ONE")


def test_full_redis(link: RedisLink) -> None:
    """A Redis without memory refuses new jobs by name, and lets what runs end."""
    link.call("CONFIG", "SET", "maxmemory", 1)
    try:
        with pytest.raises(StoreFull):
            link.run(script("open_batch"), 0, "b0-x", "alice", 1, 60, 60)
        assert HandWorker(link).beat() == []
    finally:
        link.call("CONFIG", "SET", "maxmemory", 0)


@pytest.fixture
def own(redis: Redis) -> Iterator[RedisLink]:
    """A link of the test's own, with a name by which its connection can be found."""
    link = RedisLink(redis.url, connections=1, timeout_s=30, name="own")
    yield link
    link.close()


def kill_connections_of(redis: Redis, name: str) -> None:
    """Redis closes the connections of that name."""
    for line in redis.clients():
        fields = dict(part.partition("=")[::2] for part in line.split())
        if fields["name"] == name:
            redis.link.call("CLIENT", "KILL", "ID", fields["id"])


def test_killed_connection(redis: Redis, own: RedisLink) -> None:
    """A call whose connection is gone is sent once more, and nobody notices."""
    for number in range(3):
        own.call("SET", "a", number)
        kill_connections_of(redis, "own")
        assert own.call("GET", "a") == b"%d" % number


def test_scripts_flushed(redis: Redis, own: RedisLink) -> None:
    """Scripts that Redis has forgotten are loaded again."""
    for _ in range(2):
        redis.link.call("SCRIPT", "FLUSH")
        assert HandWorker(own).beat() == []
        assert own.run_many(script("look"), 0, [("x", 0), ("y", 1)]) == [None, None]


@dataclass(frozen=True)
class FlushedOnce(Script):
    """A script that is flushed between its first load and the call: another text is loaded."""

    loads: ClassVar[int] = 0

    def on_run(self, run_id: str) -> Script:
        """The script; at first with a text that has another digest."""
        type(self).loads += 1
        found = super().on_run(run_id)
        return replace(found, text=f"{found.text} --") if self.loads == 1 else found


def test_script_flushed_between_its_load_and_its_call(own: RedisLink) -> None:
    """It is loaded again: a caller sees nothing of it."""
    FlushedOnce.loads = 0
    assert own.run(FlushedOnce.of("once", "#!lua\nreturn 'ran'"), 0) == b"ran"
    assert FlushedOnce.loads == 2


RUN = Script.of("run", "#!lua\nreturn '--[[RUN_ID]]'")


def run_id_of(link: RedisLink) -> bytes:
    """What the server itself says."""
    lines = link.call("INFO", "server").splitlines()
    return next(line.removeprefix(b"run_id:") for line in lines if line.startswith(b"run_id:"))


def test_script_knows_the_run_of_the_server(directory: Path) -> None:
    """A script runs with the run id of the server that runs it, also on the first call after a restart."""
    redis, seen = Redis(directory, aof=False), set()
    for _ in range(3):
        redis.start()
        wait_for(redis.is_ready, "Redis answers")
        # Two links: one finds the script loaded by the other.
        for link in (redis.link, RedisLink(redis.url)):
            assert link.run(RUN, 0) == run_id_of(redis.link)
        seen.add(run_id_of(redis.link))
        redis.kill()
    assert len(seen) == 3


def test_script_of_another_run_is_not_called(redis: Redis) -> None:
    """A link that knows an earlier run binds the script anew, whatever the server has loaded for other links."""
    link, other = RedisLink(redis.url), RedisLink(redis.url)
    link._loaded[RUN.sha] = RUN.on_run("an earlier run").sha
    assert other.run(RUN, 0) == link.run(RUN, 0) == run_id_of(redis.link)
    link.close()
    other.close()


def test_script_without_a_run_id_is_as_it_is() -> None:
    """A script that does not name the run is the same on every run."""
    assert script("look").on_run("r") is script("look")


def test_call_that_binds_is_sent_alone() -> None:
    """A call that asks for the run id neither takes others along nor is taken along: its commands come later."""
    connections = Connections(1, 5.0)
    first, binding, third = Call([("PING",)]), Call((), lambda run_id: [("ECHO", run_id)]), Call([("PING",)])
    assert connections.take(first) == [first]
    with ThreadPoolExecutor(2) as threads:
        bound = threads.submit(connections.take, binding)
        wait_for(lambda: len(connections._waiting) == 1, "the first call waits")
        plain = threads.submit(connections.take, third)
        wait_for(lambda: len(connections._waiting) == 2, "the second call waits")
        connections.give(None)
        assert bound.result(5) == [binding]
        connections.give(None)
        assert plain.result(5) == [third]


def test_script_that_cannot_be_kept(own: RedisLink) -> None:
    """A script that is gone again at once is an error that is named, and no endless loop."""
    text = script("look")
    broken = type(text)(text.name, text.text, "0" * 40)
    with pytest.raises(ScriptMissing):
        own.run(broken, 0, "x", 0)


def test_error_in_the_middle_of_a_pipeline(link: RedisLink) -> None:
    """One error leaves no reply behind that a later call would take for its own."""
    with pytest.raises(StoreUnavailable):
        link.pipeline([("SET", "a", 1), ("INCRBY", "a", "x"), ("LPUSH", "a", 1), ("GET", "a")])
    assert link.call("GET", "a") == b"1"
    assert link.call("ECHO", "mine") == b"mine"


def test_pipeline_of_nothing(own: RedisLink) -> None:
    """No commands are no round trip."""
    assert own.pipeline([]) == []


def test_connections_are_bounded(redis: Redis) -> None:
    """However many call at once, no more connections are open than allowed."""
    link = RedisLink(redis.url, connections=3, timeout_s=60, name="bounded")
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda n: link.call("ECHO", n), range(200))) == [b"%d" % n for n in range(200)]
    assert 1 <= sum("name=bounded" in line for line in redis.clients()) <= 3
    link.close()


def test_nobody_there(short_dir: object) -> None:
    """Where nothing listens, nothing was sent, and the outcome is known."""
    with pytest.raises(StoreUnavailable) as caught:
        RedisLink(f"unix://{short_dir}/nobody.sock", timeout_s=1).call("SET", "a", "b")
    assert not isinstance(caught.value, OutcomeUnknown)


@pytest.fixture
def server() -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """A server that does with each connection what the test says; its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def serve(handle: Callable[[socket.socket], None]) -> str:
        def run() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    handle(connection)

        threads.append(threading.Thread(target=run))
        threads[0].start()
        return f"redis://user:{PASSWORD}@127.0.0.1:{listener.getsockname()[1]}/0"

    yield serve
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for thread in threads:
        thread.join(60)


def answer_until(last: bytes) -> Callable[[socket.socket], None]:
    """Answers OK to every command, and hangs up after the one with ``last`` in it."""

    def handle(connection: socket.socket) -> None:
        while data := connection.recv(65_536):
            if last in data:
                return
            connection.sendall(b"+OK\r\n" * data.count(b"*"))

    return handle


def test_connection_lost_after_a_write(server: Callable[..., str]) -> None:
    """Where the connection is lost after a write was sent, twice, nobody knows what became of it."""
    link = RedisLink(server(answer_until(b"SECOND")), timeout_s=30)
    assert link.call("SET", "a", "FIRST") == b"OK"
    with pytest.raises(OutcomeUnknown) as caught:
        link.call("SET", "a", "SECOND")
    assert PASSWORD not in str(caught.value)
    link.close()


def test_server_that_says_nothing(server: Callable[..., str]) -> None:
    """Where no answer comes in time, nobody knows what became of it either; it is not sent again."""
    commands: list[bytes] = []

    def swallow(connection: socket.socket) -> None:
        while data := connection.recv(65_536):
            if b"\r\nSET\r\n" in data:
                commands.append(data)
            else:
                connection.sendall(b"+OK\r\n" * data.count(b"*"))

    link = RedisLink(server(swallow), timeout_s=0.3)
    with pytest.raises(OutcomeUnknown):
        link.call("SET", "a", "b")
    assert len(commands) == 1
    link.close()


def test_pool_exhausted(server: Callable[..., str]) -> None:
    """A call waits for a free connection for a bounded time, then says so."""
    busy, over = threading.Event(), threading.Event()

    def drip(connection: socket.socket) -> None:
        while data := connection.recv(65_536):
            if b"\r\nGET\r\n" not in data:
                connection.sendall(b"+OK\r\n" * data.count(b"*"))
                continue
            connection.sendall(b"$1000\r\n")
            busy.set()
            # Each byte comes in time, and the whole answer does not come before the test has seen enough.
            sent = 0
            while not over.wait(0.05):
                connection.sendall(b"x")
                sent += 1
            connection.sendall(b"x" * (1000 - sent) + b"\r\n")

    link = RedisLink(server(drip), connections=1, timeout_s=2)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(link.call, "GET", "a")
        busy.wait(60)
        with pytest.raises(StoreUnavailable, match="in use"):
            link.call("PING")
        over.set()
        assert first.result(60) == b"x" * 1000
    assert link.call("PING") == b"OK"
    link.close()


class Gate:
    """A server that answers each packet with OKs when it is let, and tells what was asked in each."""

    def __init__(self) -> None:
        self.packets: list[list[bytes]] = []
        self.go_on = threading.Semaphore(0)
        self.cuts = False

    def __call__(self, connection: socket.socket) -> None:
        while data := connection.recv(65_536):
            names = re.findall(rb"GET\r\n\$\d+\r\n(\w+)", data)
            if names:
                self.packets.append(names)
                self.go_on.acquire(timeout=60)
                if self.cuts:
                    self.cuts = False
                    return
            connection.sendall(b"+OK\r\n" * data.count(b"*"))


def gather(gate: Gate, link: RedisLink, pool: ThreadPoolExecutor, count: int) -> list[Future[Any]]:
    """A call that holds the only connection, and so many that wait for it, in order."""
    calls = [pool.submit(link.call, "GET", "first")]
    wait_for(lambda: gate.packets, "the connection is taken")
    for number in range(count):
        calls.append(pool.submit(link.call, "GET", f"n{number}"))
        wait_for(lambda: len(link._connections._waiting) == number + 1, "it waits")  # noqa: B023 - called at once
    return calls


def test_those_who_wait_go_together(server: Callable[..., str]) -> None:
    """Whoever waits for a connection goes with the first of them, in the order of coming, and gets its own reply."""
    gate = Gate()
    link = RedisLink(server(gate), connections=1, timeout_s=60)
    with ThreadPoolExecutor(5) as pool:
        calls = gather(gate, link, pool, 4)
        for _ in range(2):
            gate.go_on.release()
        assert [call.result(60) for call in calls] == [b"OK"] * 5
    assert gate.packets == [[b"first"], [b"n0", b"n1", b"n2", b"n3"]]
    assert len(link._connections._idle) == 1
    link.close()


def test_large_calls_go_alone(server: Callable[..., str]) -> None:
    """A pipeline of many commands carries nobody, and is not carried: nobody waits for another's long answer."""
    gate = Gate()
    link = RedisLink(server(gate), connections=1, timeout_s=60)
    with ThreadPoolExecutor(5) as pool:
        calls = gather(gate, link, pool, 1)
        large = pool.submit(link.pipeline, [("GET", f"m{number}") for number in range(100)])
        wait_for(lambda: len(link._connections._waiting) == 2, "it waits")
        for _ in range(3):
            gate.go_on.release()
        assert [call.result(60) for call in calls] == [b"OK"] * 2
        assert large.result(60) == [b"OK"] * 100
    assert [len(names) for names in gate.packets] == [1, 1, 100]
    link.close()


def test_connection_lost_under_those_who_go_together(server: Callable[..., str]) -> None:
    """Each of them is sent once more, as it would be alone."""
    gate = Gate()
    link = RedisLink(server(gate), connections=1, timeout_s=60)
    with ThreadPoolExecutor(5) as pool:
        calls = gather(gate, link, pool, 3)
        gate.go_on.release()
        assert calls[0].result(60) == b"OK"
        wait_for(lambda: len(gate.packets) == 2, "they are on their way")
        gate.cuts = True
        for _ in range(5):
            gate.go_on.release()
        assert [call.result(60) for call in calls[1:]] == [b"OK"] * 3
    assert sorted(name for names in gate.packets[2:] for name in names) == [b"n0", b"n1", b"n2"]
    assert len(link._connections._idle) == 1
    link.close()


def test_waiter_that_is_killed_takes_nothing_with_it(redis: Redis) -> None:
    """A greenlet that is killed while it waits leaves the connection to the next."""
    code = """
from gevent import monkey; monkey.patch_all()
import sys, gevent
from spool.redis.link import RedisLink
link, other = (RedisLink(sys.argv[1], connections=1, timeout_s=60) for _ in range(2))
holds = gevent.spawn(link.call, "BLPOP", "held", "60")
gevent.sleep(0)
waiting = [gevent.spawn(link.call, "PING") for _ in range(3)]
while len(link._connections._waiting) < 3:
    gevent.sleep(0)
waiting[0].kill()
other.call("LPUSH", "held", "go on")
holds.join()
waiting[1].kill()
assert waiting[2].get(timeout=60) == b"PONG"
assert link.call("PING") == b"PONG"
assert not link._connections._waiting and len(link._connections._idle) == 1
"""
    argv = [sys.executable, "-c", code, redis.url]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "answer",
    [b"-WRONGPASS invalid username-password pair\r\n", b"-NOAUTH no\r\n", b"-LOADING wait\r\n", b"rubbish\r\n"],
)
def test_server_that_refuses(server: Callable[..., str], caplog: pytest.LogCaptureFixture, answer: bytes) -> None:
    """A server that refuses us is unavailable, and no message or log line carries the password."""

    def refuse(connection: socket.socket) -> None:
        while connection.recv(65_536):
            connection.sendall(answer)

    link = RedisLink(server(refuse), timeout_s=30)
    with caplog.at_level(logging.DEBUG), pytest.raises(StoreUnavailable) as caught:
        link.call("PING")
    assert PASSWORD not in str(caught.value)
    assert PASSWORD not in repr(link)
    assert PASSWORD not in caplog.text
    link.close()


def test_subscription_that_is_closed(redis: Redis) -> None:
    """A subscription whose connection is killed raises one of Spool's errors."""
    subscription = RedisLink(redis.url, name="subscribed").subscription()
    subscription.connect()
    subscription.send("SUBSCRIBE", "channel")
    assert next(subscription.messages()) == [[b"subscribe", b"channel", 1]]
    redis.link.call("CLIENT", "KILL", "TYPE", "pubsub")
    with pytest.raises(StoreUnavailable):
        next(subscription.messages())
    subscription.close()


def test_subscriptions_beyond_any_pool(redis: Redis) -> None:
    """A process may lose its doorbell any number of times."""
    for _ in range(150):
        subscription = redis.link.subscription()
        subscription.connect()
        subscription.close()


def test_pipeline_with_an_error_in_it(link: RedisLink) -> None:
    """Each reply stands in its place, the errors too; the connection is good for the next call."""
    link.call("SET", "text", "no stream")
    first, error, last = link.pipeline_each([("GET", "text"), ("XRANGE", "text", "-", "+"), ("PING",)])
    assert (first, last) == (b"no stream", b"PONG")
    assert "WRONGTYPE" in str(error)
    assert link.call("PING") == b"PONG"
