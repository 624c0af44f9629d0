"""``/v1/files``: files that clients upload, for batches and as data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Annotated, Any, Literal

from flask import Blueprint, Response, request
from pydantic import Field
from typing_extensions import TypedDict

from spool.errors import SpoolError, TooManyStreams
from spool.files.file import StoredFile, is_file_id, new_file_id
from web import auth
from web.arguments import DIGITS, Query, query
from web.auth import scope
from web.contract import Answer, Content, Contract, json_content
from web.delivery.building import building
from web.intake.multipart import Form
from web.json_response import json_response
from web.metrics import STREAMS
from web.openai.all_files import all_files
from web.openai.batch_files import BATCH_OUTPUT, batch_file, files_of_batches
from web.openai.batch_resource import batch_of_file
from web.openai.file_document import FileDocument, document
from web.openai.file_form import FileForm, check_first_fields, description_of
from web.problems import Problem, field_problem, retry_after
from web.ranges import CONTENT_RANGE, RANGE, UNSATISFIABLE, requested_range
from web.request_ids import say
from web.server.peer import cut
from web.services import State, state

blueprint = Blueprint("openai_files", __name__)

_LISTED = 10_000


class FileList(TypedDict):
    """Some of the caller's files."""

    object: Literal["list"]
    data: list[FileDocument]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(TypedDict):
    """The file is deleted."""

    id: str
    object: Literal["file"]
    deleted: bool


class FilesQuery(Query):
    """Which files to list."""

    after: Annotated[str, Field(max_length=100)] = Field("", description="The id of the last file of the page before.")
    limit: Annotated[int, Field(ge=1, le=_LISTED), DIGITS] = Field(_LISTED, description="The most files.")
    order: Literal["asc", "desc"] = Field("desc", description="`asc`: oldest first.")
    purpose: Annotated[str, Field(max_length=100)] = Field("", description="Only files of this purpose.")


_EXAMPLE = StoredFile(
    id=f"{new_file_id(1795253400123)[:16]}{'0' * 26}",
    owner="anonymous",
    filename="prompts.jsonl",
    purpose="batch",
    size=120,
    created_ms=1795253400123,
    expires_ms=1797845400123,
    place="redis",
)
_FILE = json_content(FileDocument, lambda: document(_EXAMPLE))


@blueprint.post("/v1/files")
@scope("batches")
@Contract(
    body=[Content("multipart/form-data", FileForm, example=lambda: {"file": "…", "purpose": "batch"})],
    answers={200: Answer("The file.", [_FILE])},
    errors=[413, 415, 422, 429, 503],
)
def create() -> Response:
    """Upload a file. It is stored while it arrives; an upload that does not end leaves nothing."""
    services, owner = state(), auth.owner()
    services.refuse_when_full()
    form = Form("file", services.settings.max_file_bytes)
    with ExitStack() as held:
        try:
            held.enter_context(services.file_uploads.one(owner))
        except TooManyStreams as exc:
            detail = f"{services.file_uploads.limit} files are being uploaded to this process, the most that it takes"
            headers = retry_after(exc.retry_after_s)
            raise Problem(503, "Too many uploads", f"{detail}; retry", headers=headers) from exc
        ttl_s = services.settings.file_ttl_s
        file = services.files.create(owner, _while_not_full(services, form), lambda: description_of(form, ttl_s))
    say("file_uploaded", file=file.id, owner=owner, bytes=file.size)
    return json_response(document(file))


def _while_not_full(services: State, form: Form) -> Iterator[bytes]:
    for number, piece in enumerate(form.content()):
        if not number:
            check_first_fields(form)
        services.refuse_when_full()
        yield piece


@blueprint.get("/v1/files")
@scope("batches")
@Contract(
    query=FilesQuery,
    answers={200: Answer("A page of files.", [json_content(FileList, lambda: _page([_EXAMPLE], has_more=False))])},
    errors=[404, 409, 422, 429, 503],
)
def listing() -> Response:
    """List the caller's own files, newest first unless ``order=asc``: uploads, and the output and error files of
    batches that have ended, each at the time of its batch's creation. ``purpose=batch_output`` lists the latter alone;
    a list with ``order=asc`` has uploads alone."""
    asked = query(FilesQuery)
    with building():
        return _listed(asked)


def _listed(asked: FilesQuery) -> Response:
    if asked.purpose == BATCH_OUTPUT:
        return _outputs(asked)
    if asked.after and not is_file_id(asked.after) and not batch_of_file(asked.after):
        raise field_problem("after", "must be the id of a file")
    if not asked.purpose and asked.order == "desc":
        found, has_more = all_files(state(), auth.owner(), limit=asked.limit, after=asked.after)
        return json_response(_list(found, has_more=has_more))
    if batch_of_file(asked.after):
        raise field_problem("after", "must be the id of an upload: this list has no files of batches")
    page = state().files.newest(
        auth.owner(),
        limit=asked.limit,
        after=asked.after,
        oldest_first=asked.order == "asc",
        purpose=asked.purpose,
    )
    return json_response(_page(page.files, has_more=page.has_more))


def _outputs(asked: FilesQuery) -> Response:
    if asked.order == "asc":
        raise field_problem("order", "must be desc for files of batches")
    if asked.after and not batch_of_file(asked.after):
        raise field_problem("after", "must be the id of a batch's file")
    found, has_more = files_of_batches(state(), auth.owner(), limit=asked.limit, after=asked.after)
    return json_response(_list(found, has_more=has_more))


def _page(files: list[StoredFile], *, has_more: bool) -> FileList:
    return _list([document(file) for file in files], has_more=has_more)


def _list(files: list[FileDocument], *, has_more: bool) -> FileList:
    return {
        "object": "list",
        "data": files,
        "first_id": files[0]["id"] if files else None,
        "last_id": files[-1]["id"] if files else None,
        "has_more": has_more,
    }


@blueprint.get("/v1/files/<file_id>")
@scope("batches")
@Contract(answers={200: Answer("The file.", [_FILE])}, errors=[404, 409, 429, 503])
def retrieve(file_id: str) -> Response:
    """Show one file, without its content."""
    services, owner = state(), auth.owner()
    of_batch = batch_file(services, file_id, owner)
    return json_response(of_batch.document() if of_batch else document(services.files.get(file_id, owner)))


@blueprint.delete("/v1/files/<file_id>")
@scope("batches")
@Contract(
    answers={200: Answer("The file is deleted.", [json_content(FileDeleted, lambda: _deleted(_EXAMPLE.id))])},
    errors=[404, 409, 503],
)
def delete(file_id: str) -> Response:
    """Delete a file. The output of a batch is deleted with the batch."""
    if batch_file(state(), file_id, auth.owner()):
        raise Problem(409, "Not deleted", "this file is the output of a batch: it is deleted with the batch")
    state().files.delete(file_id, auth.owner())
    return json_response(_deleted(file_id))


def _deleted(file_id: str) -> FileDeleted:
    return {"id": file_id, "object": "file", "deleted": True}


@blueprint.get("/v1/files/<file_id>/content")
@scope("batches")
@Contract(
    headers=[RANGE],
    answers={
        200: Answer("The content.", [Content("application/octet-stream", example=lambda: b"{}\n")]),
        206: Answer("A part of it.", [Content("application/octet-stream", example=lambda: b"{}")], [CONTENT_RANGE]),
    },
    errors=[404, 409, UNSATISFIABLE, 429, 503],
)
def content(file_id: str) -> Response:
    """The content of a file, or the one range of it that ``Range`` asks for. Takes a stream slot."""
    services, owner = state(), auth.owner()
    services.refuse_streams(owner)
    of_batch = batch_file(services, file_id, owner)
    if of_batch is not None:
        return _answer(services, of_batch.content(), of_batch.filename)
    file = services.files.get(file_id, owner)
    asked = requested_range(file.size, f'"{file.id}"')
    response = _answer(services, services.files.read(file, asked.start, asked.stop), file.filename)
    asked.apply(response)
    return response


def _answer(services: State, blocks: Iterator[bytes], filename: str) -> Response:
    held = ExitStack()
    if request.method != "HEAD":
        held.enter_context(services.slots.one(auth.owner()))
        held.enter_context(STREAMS.labels("file content").track_inprogress())
    response = Response(_pieces(blocks, request.environ), mimetype="application/octet-stream")
    response.call_on_close(held.close)
    # Never a page of this origin, whatever a client has uploaded.
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.set("Content-Disposition", "attachment", filename=filename)
    response.headers["Cache-Control"] = "private, no-store"
    return response


def _pieces(blocks: Iterator[bytes], environ: Any) -> Iterator[bytes]:
    """The blocks, each sent before the next. Without the rest of the content, the connection is cut."""
    try:
        # Whole: what a slow client leaves is then counted as unsent.
        yield from blocks
    except SpoolError:
        cut(environ)
