"""The demo backend, offline and deterministic: the same prompt and params give the same text, marked as a demo."""

from __future__ import annotations

import hashlib
import random
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice

import gevent
from pydantic import ValidationError

from spool.models.demo_params import DemoParams
from worker.backends import BackendError, Finish, GenerationRequest, Piece, Reasoning, Text, ToolCall, Usage
from worker.backends.demo.json_answers import calls, wanted_json
from worker.backends.demo.whole_answers import whole_answer
from worker.backends.whole import is_whole
from worker.timer import PreciseTimer

_TOKENS = re.compile(r"\s*(?:[\u3040-\u30ff\u4e00-\u9fff]|[^\s\u3040-\u30ff\u4e00-\u9fff]+)|\s+$")
_PIECES = re.compile(r".{1,8}", re.DOTALL)
_YIELD_EVERY = 64
_SKIP_EVERY = 1000
_COUNTED_CHARACTERS = 64 * 1024
"""Part of a prompt whose words are counted before the greenlet yields to others."""
_STAMPS = 200
_EFFORTS = {"low": 2, "medium": 4, "high": 8, "xhigh": 16}
_QUOTED_CHARACTERS = 80

_OPENING = """## A demo answer

This is Spool's **demo** model. It runs offline, thinks nothing, and writes the same answer whenever it is asked \
the same way. You asked:

> {prompt}

"""

_PARAGRAPHS = (
    """Each word you see is an *entry* in this job's log. It was stored before it was sent, and it has a number. Cut the
connection, reload the page, or read from another server: the next entry you get is the one after the last you had.

""",
    """```python
def follow(log, cursor):
    \"\"\"Yield every entry after the cursor, once, in order.\"\"\"
    for entry in log.read(after=cursor):
        yield entry
        cursor = entry.id
```

""",
    """Text travels in every script, and arrives whole:

- Ελληνικά: ό,τι γράφτηκε μένει γραμμένο.
- 日本語：書かれたものは、書かれた順に届きます。
- العربية: ما كُتب يصل كما كُتب.
- हिन्दी: जो लिखा गया, वही पहुँचता है।
- Emoji: 🧵 → 📜 → 👀

""",
    """A spool, by the way, is an old word for this: output is wound up as it is made, and everybody unwinds it at
their own pace. A phone that sleeps, a proxy that cuts at sixty seconds, a deploy in the middle of a sentence:
none of them costs a letter.

""",
    """| what goes away | what you lose |
|---|---|
| your connection | nothing |
| the web process | nothing |
| the worker | nothing: the next attempt continues |

""",
)


class Demo:
    """The backend of the model ``demo``, controlled by ``DemoParams``. ``wall`` returns the epoch time of stamps."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._pacer = PreciseTimer()
        self._wall = wall

    def generate(self, request: GenerationRequest) -> Iterator[Piece]:
        """Yield the demo's pieces at their due times. Raises ``BackendError`` if ``fail_after`` requests it."""
        if is_whole(request.endpoint, request.params):
            yield from whole_answer(request, prompt_of(request.messages), partial(answer, endless=False))
            return
        params = _params(request)
        prompt = str(request.params["prompt"]) if request.endpoint else prompt_of(request.messages)
        schedule = _Schedule(params, self._pacer, self._wall)
        if not request.prefix:
            steps = params.reasoning or _EFFORTS.get(params.reasoning_effort or "", 0)
            for number in range(steps):
                schedule.wait_for(number)
                yield Reasoning(f"Step {number + 1} of {steps}. ")
            schedule.shift(steps)
        called = calls(params, request.messages, prompt)
        if called:
            yield from _call_pieces(called, request.job_id, schedule)
            yield Usage(input_tokens=_words_in(prompt), output_tokens=schedule.skipped)
            yield Finish("tool_calls")
            return
        made = 0
        for made, text in enumerate(self._texts(prompt, params, request.prefix, schedule), 1):  # noqa: B007
            yield Text(text)
        total = schedule.skipped + made
        if params.fail_after is not None and total >= params.fail_after:
            raise BackendError("demo_failure", f"failed after {total} tokens, as asked", retryable=True)
        yield Usage(input_tokens=_words_in(prompt), output_tokens=total)
        yield Finish("length" if params.tokens is not None or total == _most(params) else "stop")

    def _texts(self, prompt: str, params: DemoParams, prefix: str, schedule: _Schedule) -> Iterator[str]:
        """The remaining tokens, each at its due time."""
        texts = _stamps(schedule) if params.stamp else _answer_tokens(prompt, params)
        limits = [n for n in (params.tokens, params.fail_after, _most(params)) if n is not None]
        # A client may send a larger number than islice takes.
        most = min(*limits, sys.maxsize) if limits else (_STAMPS if params.stamp else None)
        if params.stamp:
            schedule.skipped = prefix.count(" ")
            numbered: Iterator[str] = islice(texts, max(0, (most or 0) - schedule.skipped))
        else:
            numbered = _after(islice(texts, most), prefix, schedule)
        for number, text in enumerate(numbered):
            if not params.stamp:
                schedule.wait_for(number)
            yield text


def _params(request: GenerationRequest) -> DemoParams:
    """The params, without the other fields of a body that is a whole request. Raises ``BackendError``."""
    given = dict(request.params)
    if request.endpoint:
        given = {name: value for name, value in given.items() if name in DemoParams.model_fields}
    try:
        return DemoParams.model_validate(given)
    except ValidationError as exc:
        raise BackendError("invalid_params", str(exc.errors()[0]["msg"]), retryable=False) from exc


def _most(params: DemoParams) -> int | None:
    return params.max_completion_tokens or params.max_tokens


def _answer_tokens(prompt: str, params: DemoParams) -> Iterator[str]:
    """The tokens of the answer, as JSON or as text."""
    document = wanted_json(params, prompt)
    if document is not None:
        return iter(_PIECES.findall(document))
    return answer(prompt, params.seed, endless=params.tokens is not None)


def _call_pieces(called: Sequence[tuple[str, str]], job_id: str, schedule: _Schedule) -> Iterator[Piece]:
    """The pieces of these tool calls, each at its due time, counted as output."""
    for index, (name, arguments) in enumerate(called):
        schedule.wait_for(schedule.skipped)
        yield ToolCall(index, f"call_{job_id}_{index}", name, "")
        for piece in _PIECES.findall(arguments):
            schedule.skipped += 1
            schedule.wait_for(schedule.skipped)
            yield ToolCall(index, None, None, piece)


class _Schedule:
    """The due time of each token: evenly spaced from the attempt's start. Catches up after a delay."""

    def __init__(self, params: DemoParams, pacer: PreciseTimer, wall: Callable[[], float]) -> None:
        self._pacer = pacer
        self._wall = wall
        self._interval_s = 1 / params.rate if params.rate else 0.0
        now = time.monotonic()
        self._first_at = now + params.first_token_s
        self._epoch_s = wall() - now
        self.skipped = 0

    def shift(self, pieces: int) -> None:
        """Delay the first token by ``pieces`` intervals."""
        self._first_at += pieces * self._interval_s

    def wait_for(self, number: int) -> float:
        """Sleep until token ``number`` (from 0) of this attempt is due. Returns its due time as epoch time."""
        due = self._first_at + number * self._interval_s
        if not self._pacer.wait_until(due) and number % _YIELD_EVERY == 0:
            gevent.sleep(0)
        return due + self._epoch_s if self._interval_s else self._wall()


def _stamps(schedule: _Schedule) -> Iterator[str]:
    number = 0
    while True:
        yield f"{round(schedule.wait_for(number) * 1e6)} "
        number += 1


def _after(texts: Iterator[str], prefix: str, schedule: _Schedule) -> Iterator[str]:
    """The tokens after ``prefix``, which is the concatenation of the first ones."""
    length = 0
    for text in texts:
        if length < len(prefix):
            length += len(text)
            schedule.skipped += 1
            if schedule.skipped % _SKIP_EVERY == 0:
                gevent.sleep(0)
            continue
        yield text


def answer(prompt: str, seed: int, *, endless: bool) -> Iterator[str]:
    """The tokens of the demo's answer to ``prompt``; ``endless`` repeats its paragraphs for ever."""
    # N words have at least N characters, so this split suffices.
    quoted = " ".join(prompt.split(None, _QUOTED_CHARACTERS)[:_QUOTED_CHARACTERS])
    if len(quoted) > _QUOTED_CHARACTERS:
        quoted = quoted[:_QUOTED_CHARACTERS].rstrip() + "…"
    yield from _TOKENS.findall(_OPENING.format(prompt=quoted))
    digest = hashlib.sha256(f"{seed}\n{prompt}".encode()).digest()
    chance = random.Random(digest)
    while True:
        for paragraph in chance.sample(_PARAGRAPHS, len(_PARAGRAPHS)):
            yield from _TOKENS.findall(paragraph)
        if not endless:
            return


def prompt_of(messages: Sequence[object]) -> str:
    """The text of the last message, parts joined; empty if there is none."""
    content = messages[-1].get("content") if messages and isinstance(messages[-1], dict) else None
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(_part_text(part) for part in content if isinstance(part, dict)).strip()
    return ""


def _part_text(part: dict[str, object]) -> str:
    text = part.get("text", "")
    return str(text) if isinstance(text, str | int | float) else ""


def _words_in(prompt: str) -> int:
    """The number of words in the prompt; yields to other jobs between parts."""
    count, joined = 0, False
    for at in range(0, len(prompt), _COUNTED_CHARACTERS):
        if at > 0:
            # Not before the first part: so the job's last entries and its end go to Redis in one commit.
            gevent.sleep(0)
        part = prompt[at : at + _COUNTED_CHARACTERS]
        # A word that crosses the border was counted in the part before.
        count += len(part.split()) - (joined and not part[0].isspace())
        joined = not part[-1].isspace()
    return count
