"""The lines of a native batch: each submission becomes a job, or an error with its number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from spool.batches.batch import OnBadLine
from spool.batches.line import BadLine, Line
from spool.jobs.job import Priority
from web.intake.accept import new_job
from web.intake.body import parse_json
from web.intake.idempotency import LinesDigest
from web.intake.references import References
from web.native.submission import BatchLine, draft_of
from web.problems import Problem, field_problem
from web.request_ids import origin
from web.services import State
from web.time_slices import in_slices


def lines_of(
    services: State,
    owner: str,
    texts: Iterable[tuple[str, bytes | memoryview | None]],
    on_bad_line: OnBadLine,
    digest: LinesDigest,
    first: int = 0,
) -> Iterator[Line | BadLine]:
    """The lines of these texts, all of which go into ``digest``; ``first`` is the index of the first one."""
    references, came_with = References(services, owner), origin()
    for at, (place, text) in enumerate(in_slices(texts)):
        digest.add(text or b"")
        try:
            if text is None:
                raise field_problem(place, "is too large for one job", status=413)
            data = parse_json(text, place)
            draft = draft_of(
                data,
                owner,
                references,
                surface="batches",
                coalesce_ms=services.settings.batch_coalesce_ms,
                priority=Priority.BATCH,
                place=f"[{at}].",
                origin=came_with,
                shape=BatchLine,
            )
            custom_id = data.get("custom_id") or ""
            yield Line(first + at, new_job(services, draft, in_batch=True), custom_id)
        except Problem as problem:
            if on_bad_line is OnBadLine.REFUSE:
                raise
            yield _bad_line(first, at, place, problem)


def _bad_line(first: int, at: int, place: str, problem: Problem) -> BadLine:
    digits = place.removeprefix("line ")
    number = int(digits) if digits.isdigit() else at + 1
    errors: list[Mapping[str, Any]] = problem.extra.get("errors") or []
    param = str(errors[0]["field"]).removeprefix(f"[{at}].") if errors else ""
    code = "invalid_json_line" if param == place and problem.status == 422 else "invalid_request"
    return BadLine(first + at, number, code, problem.detail, "" if param == place else param)
