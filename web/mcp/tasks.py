"""Tasks: a job under the name that MCP has for it. Every job of the caller is a task, and its id the task's.

There are two protocols. Revision 2025-11-25 has tasks in its core: a client asks for one with a call, and fetches its
result. Later ones have the extension ``io.modelcontextprotocol/tasks``: a client declares with each request that it
knows tasks, and the server chooses; Spool answers a task in place of a wait. Not there: notifications, and input.

https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/tasks
https://modelcontextprotocol.github.io/ext-tasks/specification/2026-07-28/tasks.html
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from spool.errors import SpoolError
from spool.jobs.entries import rfc3339
from spool.jobs.job import Job, Status
from web import auth
from web.delivery.building import building
from web.delivery.waiting import wait_for_end
from web.error_problems import problem_of
from web.mcp.messages import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, RpcRefused
from web.mcp.tool import Tool, failed_result, tool_result
from web.mcp.tools import check_scope, document, with_text
from web.problems import Problem
from web.services import State, state

_CORE, _WITH_EXTENSION = "2025-11-25", "2026-07-28"
_EXTENSION: Mapping[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
_RELATED = "io.modelcontextprotocol/related-task"
_MISSING_CAPABILITY = -32021
_POLL_MS = 1000
_PAGE = 50
_CURSOR = re.compile(r"[0-9]{1,18}")

Answer = Mapping[str, Any]
Method = Callable[[State, Mapping[str, Any]], Answer]


class Tasks:
    """A revision without tasks; and what the others have in common."""

    def described(self, tool: Tool) -> Mapping[str, Any]:  # noqa: ARG002 - the revisions' shape
        """What ``tools/list`` tells of the tool."""
        return {}

    def check(self, params: Mapping[str, Any], tool: Tool) -> None:
        """Raise ``RpcRefused`` if this tool cannot be called so."""

    def is_wanted(self, params: Mapping[str, Any], arguments: Any) -> bool:  # noqa: ARG002 - the revisions' shape
        """Whether a task is the answer to this call."""
        return False

    def begun(self, job: Job) -> Answer:
        """The answer to a call that became a task."""
        raise NotImplementedError

    def refused(self, params: Mapping[str, Any], problem: Problem) -> Answer:  # noqa: ARG002 - the revisions' shape
        """The answer to a call that failed. Raises ``RpcRefused`` where that must be an error of the protocol."""
        return failed_result(problem)

    def answer(self, services: State, method: str, params: Mapping[str, Any]) -> Answer:
        """The answer to a method of tasks. Raises ``RpcRefused``."""
        run = self._methods().get(method)
        if run is None:
            raise RpcRefused(METHOD_NOT_FOUND, f"no method {method!r}")
        try:
            return run(services, params)
        except Problem as problem:
            raise _refusal(problem) from problem
        except SpoolError as exc:
            raise _refusal(problem_of(exc)) from exc

    def _methods(self) -> Mapping[str, Method]:
        return {}


class CoreTasks(Tasks):
    """Revision 2025-11-25: the client asks for a task."""

    def described(self, tool: Tool) -> Mapping[str, Any]:
        """Whether the client may ask for one."""
        return {"execution": {"taskSupport": "forbidden" if tool.begin is None else "optional"}}

    def check(self, params: Mapping[str, Any], tool: Tool) -> None:
        """Only tools with a job."""
        if "task" in params and tool.begin is None:
            raise RpcRefused(METHOD_NOT_FOUND, f"{str(params['name'])!r} cannot be called as a task")

    def is_wanted(self, params: Mapping[str, Any], arguments: Any) -> bool:  # noqa: ARG002 - the revisions' shape
        """By the client's word."""
        return "task" in params

    def begun(self, job: Job) -> Answer:
        """The task alone; its result has a method."""
        return {"task": self._task(job)}

    def refused(self, params: Mapping[str, Any], problem: Problem) -> Answer:
        """Without a task, its client expects an error of the protocol."""
        if "task" in params:
            raise _refusal(problem)
        return failed_result(problem)

    def _methods(self) -> Mapping[str, Method]:
        return {
            "tasks/get": lambda services, params: self._task(_job_of(services, params)),
            "tasks/result": _result,
            "tasks/cancel": self._cancel,
            "tasks/list": self._list,
        }

    def _cancel(self, services: State, params: Mapping[str, Any]) -> Answer:
        check_scope("jobs:write")
        job = _job_of(services, params)
        if job.ended:
            raise RpcRefused(INVALID_PARAMS, f"task {job.id!r} has ended: {_status_of(job)}")
        return self._task(services.store.cancel(job.id, auth.owner(), text_bytes=0))

    def _list(self, services: State, params: Mapping[str, Any]) -> Answer:
        cursor = params.get("cursor")
        if cursor is not None and not (isinstance(cursor, str) and _CURSOR.fullmatch(cursor)):
            raise RpcRefused(INVALID_PARAMS, "cursor: must be the nextCursor of a page")
        with building():
            page = services.store.newest(auth.owner(), limit=_PAGE, cursor=cursor)
            following = {} if page.cursor is None else {"nextCursor": page.cursor}
            return {"tasks": [self._task(job) for job in page.jobs], **following}

    def _task(self, job: Job) -> dict[str, Any]:
        return {**_task(job), "status": _status_of(job), "ttl": _ttl_ms(job), "pollInterval": _POLL_MS}


class ExtensionTasks(Tasks):
    """The extension: the server answers a task to clients that know tasks. ``is_known``: this one does."""

    def __init__(self, *, is_known: bool) -> None:
        self._is_known = is_known

    def is_wanted(self, params: Mapping[str, Any], arguments: Any) -> bool:  # noqa: ARG002 - the revisions' shape
        """In place of a wait."""
        return self._is_known and arguments.wait_s > 0

    def begun(self, job: Job) -> Answer:
        """The task, marked as such."""
        return {**self._task(job), "resultType": "task"}

    def answer(self, services: State, method: str, params: Mapping[str, Any]) -> Answer:
        """Refused also for clients that do not declare the extension."""
        if method in self._methods() and not self._is_known:
            data = {"requiredCapabilities": _EXTENSION}
            raise RpcRefused(_MISSING_CAPABILITY, "Missing required client capability", data)
        return super().answer(services, method, params)

    def _methods(self) -> Mapping[str, Method]:
        return {"tasks/get": self._get, "tasks/update": self._update, "tasks/cancel": self._cancel}

    def _get(self, services: State, params: Mapping[str, Any]) -> Answer:
        job = _job_of(services, params)
        task = self._task(job)
        return {**task, "result": _result_of(services, job)} if task["status"] == "completed" else task

    def _update(self, services: State, params: Mapping[str, Any]) -> Answer:
        # No task asks for input, and answers that nobody asked for are ignored.
        _job_of(services, params)
        return {}

    def _cancel(self, services: State, params: Mapping[str, Any]) -> Answer:
        check_scope("jobs:write")
        services.store.cancel(_id_of(params), auth.owner(), text_bytes=0)
        return {}

    def _task(self, job: Job) -> dict[str, Any]:
        return {**_task(job), "status": self._status_of(job), "ttlMs": _ttl_ms(job), "pollIntervalMs": _POLL_MS}

    def _status_of(self, job: Job) -> str:
        # ``failed`` is for errors of the protocol: a failed job is a result that says so.
        status = _status_of(job)
        return "completed" if status == "failed" else status


_WITHOUT, _OF_CORE = Tasks(), CoreTasks()
_OF_EXTENSION = {is_known: ExtensionTasks(is_known=is_known) for is_known in (True, False)}


def tasks_of(version: str, params: Mapping[str, Any]) -> Tasks:
    """The tasks of a request in this revision."""
    if version == _CORE:
        return _OF_CORE
    if version != _WITH_EXTENSION:
        return _WITHOUT
    match params:
        case {"_meta": {"io.modelcontextprotocol/clientCapabilities": {"extensions": {**extensions}}}}:
            return _OF_EXTENSION["io.modelcontextprotocol/tasks" in extensions]
    return _OF_EXTENSION[False]


def capabilities_of(version: str) -> Mapping[str, Any]:
    """What the server declares in this revision."""
    if version == _CORE:
        return {"tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}}
    return _EXTENSION if version == _WITH_EXTENSION else {}


def _result(services: State, params: Mapping[str, Any]) -> Answer:
    job = _job_of(services, params)
    if not job.ended:
        wait_for_end(services, job, math.inf)
        job = _job_of(services, params)
        if not job.ended:
            raise RpcRefused(INTERNAL_ERROR, f"task {job.id!r} goes on, and this server stops; ask again")
    return {**_result_of(services, job), "_meta": {_RELATED: {"taskId": job.id}}}


def _result_of(services: State, job: Job) -> dict[str, Any]:
    return tool_result(document(with_text(services, job.id)), is_error=job.status is not Status.SUCCEEDED)


def _job_of(services: State, params: Mapping[str, Any]) -> Job:
    return services.store.look(_id_of(params), auth.owner())


def _id_of(params: Mapping[str, Any]) -> str:
    match params:
        case {"taskId": str(task_id)} if 0 < len(task_id) <= 64:
            return task_id
    raise RpcRefused(INVALID_PARAMS, "taskId: must be the id of a task")


def _status_of(job: Job) -> str:
    match job.status:
        case Status.SUCCEEDED:
            return "completed"
        case Status.FAILED:
            return "failed"
        case Status.CANCELLED:
            return "cancelled"
    # A job whose cancel is written ends so, whatever comes after.
    return "working" if job.cancel_requested_at is None else "cancelled"


def _task(job: Job) -> dict[str, Any]:
    changed_at = job.ended_at or job.cancel_requested_at or job.started_at or job.created_at
    said = job.error["message"] if job.error else job.status.value
    times = {"createdAt": rfc3339(job.created_at), "lastUpdatedAt": rfc3339(changed_at)}
    return {"taskId": job.id, "statusMessage": said, **times}


def _ttl_ms(job: Job) -> int:
    """Until the job expires, or would if it ended at its deadline."""
    ends_at = job.deadline_at if job.ended_at is None else job.ended_at
    return round((ends_at - job.created_at + state().settings.job_ttl_s) * 1000)


def _refusal(problem: Problem) -> RpcRefused:
    is_params = problem.status < 500 and problem.status != 429
    return RpcRefused(INVALID_PARAMS if is_params else INTERNAL_ERROR, f"{problem.title}: {problem.detail}")
