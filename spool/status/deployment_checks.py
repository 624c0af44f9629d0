"""Checks of what runs: workers, versions, clocks, models, switches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from spool.settings import RunSettings, is_loopback
from spool.status.deployment import Deployment
from spool.status.finding import Finding, error, ok, warning
from spool.status.instances import Instance, running

_SKEW_MS = 2000
_FEW_FILES = 1024
_SECRET_CHARACTERS = 16


def check_deployment(found: Deployment) -> Iterator[Finding]:
    """All checks of what runs."""
    yield _check_workers(found)
    yield check_versions(found.instances)
    yield check_clocks(found.instances)
    yield _check_webs(found.instances)
    yield from _check_queues(found)
    yield _check_switches(found)
    if found.set_aside:
        yield warning(
            "damaged-records",
            f"{found.set_aside} jobs are set aside, because their records are damaged",
            "see the errors of the webs and workers; the jobs must be submitted again",
        )


def _check_workers(found: Deployment) -> Finding:
    if found.workers:
        return ok("workers", f"{found.workers} live, {found.free_slots} of {found.slots} slots free")
    waiting = sum(queue.waiting for queue in found.queues)
    return error("workers", f"no worker lives; {waiting} jobs wait", "start `spool worker`, and read its first lines")


def check_versions(instances: Sequence[Instance]) -> Finding:
    """Whether the versions that run may run side by side: schemas differ by one at most."""
    versions = running(instances)
    shown = ", ".join(f"{one.processes} {one.program} {one.version} (schema {one.schema})" for one in versions)
    schemas = {one.schema for one in versions}
    if len({(one.version, one.commit) for one in versions}) <= 1:
        return ok("versions", shown or "no process has published itself")
    remedy = "finish the upgrade: webs first, then workers"
    if max(schemas) - min(schemas) > 1:
        return error(
            "versions",
            f"versions that are more than one apart run side by side: {shown}; older ones leave newer jobs alone",
            "stop the oldest processes, or " + remedy,
        )
    return warning("versions", f"several versions run: {shown}", remedy)


def check_clocks(instances: Sequence[Instance]) -> Finding:
    """Whether the clocks of all processes agree with Redis's."""
    off = [one for one in instances if abs(one.skew_ms) > _SKEW_MS]
    if not off:
        return ok("clocks", "all processes agree with Redis's clock")
    shown = ", ".join(f"{one.instance} by {one.skew_ms / 1000:+.0f} s" for one in off[:5])
    return warning("clocks", f"clocks differ from Redis's: {shown}", "synchronise the clocks of these hosts")


def _check_webs(instances: Sequence[Instance]) -> Finding:
    webs = [one for one in instances if one.program == "web"]
    few = [one for one in webs if 0 < one.files < _FEW_FILES]
    if not webs:
        return error("webs", "no web runs", "start `spool web`, and read its first lines")
    if few:
        return warning(
            "webs",
            f"{few[0].instance} may open only {few[0].files} files, so it takes {max(1, (few[0].files - 50) // 2)} "
            "streams at most",
            "raise its limit of open files (ulimit -Hn, LimitNOFILE)",
        )
    return ok("webs", f"{len(webs)} processes with {sum(one.streams for one in webs)} streams")


def _check_queues(found: Deployment) -> Iterator[Finding]:
    workers = [one for one in found.instances if one.program == "worker"]
    served = {model for one in workers for model in one.models}
    for queue in found.queues:
        if workers and queue.waiting and queue.model not in served:
            yield error(
                "models",
                f"{queue.waiting} jobs wait for the model {queue.model!r}, which no worker serves",
                "give the workers the models file of the webs, or set SPOOL_UPSTREAM_URL there",
            )
    for name, closed in found.closed.items():
        yield warning(
            "upstream",
            f"the upstream of the model {name!r} refuses jobs: {closed.reason}",
            "check that server and its key; its jobs wait",
        )


def _check_switches(found: Deployment) -> Finding:
    if not found.switches:
        return ok("switches", "none is on")
    names = ", ".join(switch.name for switch in found.switches[:10])
    return warning("switches", f"on: {names}", "`spool switch off` takes one back")


def check_exposure(settings: RunSettings) -> Iterator[Finding]:
    """Whether callers from the network need good keys."""
    if settings.allow_anonymous and not settings.needs_credential() and not is_loopback(settings.host):
        yield warning(
            "keys",
            f"SPOOL_HOST={settings.host!r} answers everybody (SPOOL_ALLOW_ANONYMOUS=1)",
            "set SPOOL_REQUIRE_KEY=1 and create keys with `spool keys create`",
        )
    elif short := [key.owner for key in settings.static_keys() if len(key.secret) < _SECRET_CHARACTERS]:
        yield warning(
            "keys",
            f"SPOOL_API_KEYS has secrets of fewer than {_SECRET_CHARACTERS} characters, of {', '.join(short[:5])}",
            "use `openssl rand -hex 24`, or `spool keys create`",
        )
    else:
        yield ok("keys", "are needed" if settings.needs_credential() else "are not needed on loopback")
