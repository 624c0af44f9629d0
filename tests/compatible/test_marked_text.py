"""Refusals and annotations survive on every surface, whole and streamed."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from tests.compatible.chats import asked, chunks_of, text_of
from tests.compatible.scripts import ANNOTATION, PICTURE, SOUND
from tests.scripted_upstream import ScriptedUpstream
from tests.stack import Stack

CITATION = {"type": "url_citation", **ANNOTATION["url_citation"]}  # type: ignore[dict-item]


@pytest.fixture(scope="module")
def stack(stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]]) -> Stack:
    """A Spool before a model that refuses or cites."""
    return stack_and_upstreams[0]


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[OpenAI]:
    """The SDK, as its users have it."""
    with OpenAI(base_url=f"{stack.webs[0].url}/v1", api_key="none") as sdk:
        yield sdk


def messages(prompt: str) -> Any:
    """A prompt as chat messages."""
    return [{"role": "user", "content": prompt}]


def test_refusal_in_chat(client: OpenAI) -> None:
    """A refusal is the message's ``refusal``, and comes in deltas of that name."""
    message = client.chat.completions.create(model="marks", messages=messages("refuse")).choices[0].message
    assert (message.content, message.refusal) == (None, "I cannot.")
    chunks = client.chat.completions.create(model="marks", messages=messages("refuse"), stream=True)
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join([delta.refusal or "" for delta in deltas]) == "I cannot."
    assert not any(delta.content for delta in deltas)


def test_annotations_in_chat(client: OpenAI) -> None:
    """Annotations are the message's, and come in a delta."""
    message = client.chat.completions.create(model="marks", messages=messages("cite")).choices[0].message
    assert message.content == "See A."
    assert [annotation.to_dict() for annotation in message.annotations or ()] == [ANNOTATION]
    chunks = client.chat.completions.create(model="marks", messages=messages("cite"), stream=True)
    extras = [chunk.choices[0].delta.to_dict().get("annotations") for chunk in chunks]
    assert [extra for extra in extras if extra] == [[ANNOTATION]]


def test_refusal_in_a_response(client: OpenAI) -> None:
    """A refusal is a part of its own, with events of its own."""
    events: list[Any] = list(client.responses.create(model="marks", input="refuse", stream=True))
    deltas = [event.delta for event in events if event.type == "response.refusal.delta"]
    assert deltas == ["I ", "cannot."]
    (done,) = [event for event in events if event.type == "response.refusal.done"]
    part = events[-1].response.output[0].content[0]
    assert (done.refusal, part.type, part.refusal) == ("I cannot.", "refusal", "I cannot.")
    assert client.responses.create(model="marks", input="refuse").output[0].content[0].refusal == "I cannot."  # type: ignore[union-attr]


def test_annotations_in_a_response(client: OpenAI) -> None:
    """Annotations have events, and stand in the text's part."""
    events: list[Any] = list(client.responses.create(model="marks", input="cite", stream=True))
    (added,) = [event for event in events if event.type == "response.output_text.annotation.added"]
    assert added.to_dict()["annotation"] == CITATION
    part = events[-1].response.output[0].content[0]
    assert part.text == "See A."
    assert [annotation.to_dict() for annotation in part.annotations] == [CITATION]
    again = client.responses.retrieve(events[-1].response.id)
    assert again.output == events[-1].response.output


def test_in_other_surfaces(stack: Stack) -> None:
    """The AI SDK gets sources, Anthropic's clients a stop reason, and a bare text has its words."""
    client = stack.client(0)
    chunks = chunks_of(client.post("/ai/chat", json=asked("cite", {}, model="marks")).text)
    assert text_of(chunks) == "See A."
    (source,) = [chunk for chunk in chunks if chunk["type"] == "source-url"]
    assert (source["url"], source["title"]) == ("http://a.example/", "A")
    body = {"model": "marks", "max_tokens": 9, "messages": messages("refuse")}
    message = client.post("/v1/messages", json=body).json()
    assert (message["stop_reason"], message["content"][0]["text"]) == ("refusal", "I cannot.")
    assert '"stop_reason":"refusal"' in client.post("/v1/messages", json={**body, "stream": True}).text
    bare = client.post("/jobs", json={"prompt": "cite", "model": "marks"}, headers={"Accept": "text/plain"})
    assert bare.text == "See A."
    assert client.get(bare.headers["Location"]).json()["text"] == "See A."


def test_picture(client: OpenAI, stack: Stack) -> None:
    """A picture is a file of its caller's: the text of each surface links to it, and clients that know files get it."""
    http = stack.client(0)
    asked_for = {"model": "marks", "messages": messages("draw")}

    def file_in(text: str) -> str:
        before, _, rest = text.partition("![picture](/v1/files/")
        assert before == "Look: "
        return rest.removesuffix("/content)")

    message = client.chat.completions.create(**asked_for).choices[0].message  # type: ignore[call-overload]
    named = message.annotations[0].to_dict()["file_path"]
    assert file_in(message.content) == named["file_id"]
    assert named["media_type"] == "image/png"
    assert client.files.content(named["file_id"]).read() == PICTURE

    part: Any = client.responses.create(model="marks", input="draw").output[0].content[0]  # type: ignore[union-attr]
    (annotation,) = part.annotations
    assert (annotation.type, annotation.file_id) == ("file_path", file_in(part.text))

    chunks = chunks_of(
        http.post("/ai/chat", json=asked("draw", {}, {"type": "text", "text": "draw"}, model="marks")).text
    )
    (file,) = [chunk for chunk in chunks if chunk["type"] == "file"]
    assert (file["mediaType"], http.get(file["url"]).content) == ("image/png", PICTURE)

    anthropic = http.post("/v1/messages", json={**asked_for, "max_tokens": 9}).json()["content"][0]["text"]
    ollama = http.post("/api/chat", json={**asked_for, "stream": False}).json()["message"]["content"]
    job = http.post("/jobs", json={"prompt": "draw", "model": "marks"}, headers={"Accept": "text/plain"})
    for text in (anthropic, ollama, job.text, http.get(job.headers["Location"]).json()["text"]):
        assert http.get(f"/v1/files/{file_in(text)}/content").content == PICTURE


@pytest.mark.parametrize("kind", ["wav", "pcm16"])
def test_audio(client: OpenAI, stack: Stack, kind: str) -> None:
    """Audio is a file of its caller's behind its transcript, on each surface; a whole chat completion has it as
    OpenAI's has."""
    http, asked_for = stack.client(0), {"model": "marks", "messages": messages("speak")}
    more: Any = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": kind}}

    message = client.chat.completions.create(**asked_for, **more).choices[0].message  # type: ignore[call-overload]
    assert base64.b64decode(message.audio.data) == SOUND
    assert message.audio.transcript == "Hello there."
    assert message.content == f"Hello there. [audio](/v1/files/{message.audio.id}/content)"
    assert client.files.content(message.audio.id).read() == SOUND
    assert client.files.retrieve(message.audio.id).filename.endswith(".wav")

    streamed = list(client.chat.completions.create(**asked_for, **more, stream=True))  # type: ignore[call-overload]
    deltas = [chunk.choices[0].delta for chunk in streamed]
    (annotation,) = [delta.annotations[0] for delta in deltas if getattr(delta, "annotations", None)]
    assert annotation["file_path"]["media_type"] == "audio/wav"
    assert "".join(delta.content or "" for delta in deltas).startswith("Hello there. [audio](/v1/files/file-")

    part: Any = client.responses.create(model="marks", input="speak").output[0].content[0]  # type: ignore[union-attr]
    assert client.files.content(part.annotations[0].file_id).read() == SOUND

    chunks = chunks_of(
        http.post("/ai/chat", json=asked("speak", {}, {"type": "text", "text": "speak"}, model="marks")).text
    )
    (file,) = [chunk for chunk in chunks if chunk["type"] == "file"]
    assert (file["mediaType"], http.get(file["url"]).content) == ("audio/wav", SOUND)

    asked_natively = {"prompt": "speak", "model": "marks", "params": more}
    job = http.post("/jobs", json=asked_natively, headers={"Accept": "text/plain"})
    assert job.text.startswith("Hello there. [audio](/v1/files/file-")
    url = job.text.partition("(")[2].removesuffix(")")
    assert http.get(url).content == SOUND
    entries = http.get(job.headers["Location"] + "/entries").json()["entries"]
    assert [entry["annotations"][0]["file_path"]["url"] for entry in entries if "annotations" in entry] == [url]


def test_audio_whose_file_is_deleted(client: OpenAI) -> None:
    """A repeated request for the answer has the text alone."""
    asked_for: Any = {"model": "marks", "messages": messages("speak"), "extra_headers": {"Idempotency-Key": "audio-1"}}
    message = client.chat.completions.create(**asked_for).choices[0].message
    client.files.delete(message.audio.id)
    again = client.chat.completions.create(**asked_for).choices[0].message
    assert (again.content, again.audio) == (message.content, None)
