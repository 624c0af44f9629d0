"""The worker's grip on Celery and kombu, against the installed versions."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

from celery.app.task import Task
from celery.worker.consumer import Consumer
from celery.worker.request import Request

from spool.bell import celery_app
from tests.stack import ROOT

PROGRAM = """
import kombu.utils.functional as functional, time
assert functional.sleep is time.sleep, functional.sleep
import gevent, inspect
import worker.celery as program
assert functional.sleep is gevent.sleep, functional.sleep
assert " sleep(" in inspect.getsource(functional.retry_over_time)
assert program.bell.backend is program.bell.backend is program.app.backend
assert program.bell.Request is program.Heard
from celery.platforms import check_privileges
check_privileges(program.app.conf.accept_content)
"""


STARTED = """
import sys
import worker.__main__ as program
assert sys.modules["gevent.monkey"].is_module_patched("socket")
assert not {"celery.bin.celery", "prompt_toolkit", "click_repl"} & {*sys.modules}
assert callable(program.app.Worker)
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    """A Python program with the environment of a worker."""
    env = {**os.environ, "SPOOL_REDIS_URL": "redis://127.0.0.1:1"}
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=env, capture_output=True, text=True)


def test_worker_starts_without_celerys_command_line() -> None:
    """The program patches first, and loads none of Celery's commands, nor the shell that they bring."""
    done = run(STARTED)
    assert (done.returncode, done.stderr) == (0, "")


def test_waits_for_a_lost_broker_are_gevents() -> None:
    """kombu waits by a ``sleep`` of its module, which it imports before gevent patches; the worker replaces it. The
    task's backend and its class of requests are set. A worker of root prints no warning."""
    done = run(PROGRAM)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_settings_whose_future_default_celery_warns_of_are_set() -> None:
    """A consumer that loses its connection logs no warning of a default: both settings say what is wanted."""
    conf = celery_app("redis://127.0.0.1:1").conf
    assert conf.worker_cancel_long_running_tasks_on_connection_loss is True
    assert conf.broker_connection_retry_on_startup is True
    assert conf.task_acks_late is False


def test_request_acknowledges_by_one_method() -> None:
    """The worker overrides it; renamed, each bell would cost an acknowledgement again."""
    assert [*inspect.signature(Request.acknowledge).parameters] == ["self"]
    assert Request.acknowledged is False
    assert isinstance(inspect.getattr_static(Task, "backend"), property)


def test_consumer_has_the_methods_that_back_off() -> None:
    """``BellConsumer`` overrides them, and Celery calls them with these arguments."""
    for name, parameters in {
        "ensure_connected": ["self", "conn"],
        "on_connection_error_before_connected": ["self", "exc"],
        "on_connection_error_after_connected": ["self", "exc"],
    }.items():
        assert [*inspect.signature(getattr(Consumer, name)).parameters] == parameters, name
