"""Takes the console's pictures for the README, of a local demo that has no jobs yet and needs no key:
``SPOOL_DATA_DIR=$(mktemp -d) make run``, then ``python -m tests.browser.pictures http://127.0.0.1:8000 docs/images``.

The page that shows them has a limit (``test_page_weight.py``): reduce them to 256 colours, as Pillow's MAXCOVERAGE
does, which leaves a third of their bytes.
"""

from __future__ import annotations

import base64
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import sync_playwright

from tests.browser.conftest import Watched

PROMPT = "Why should a dropped connection never cost me an answer?"
QUESTIONS = (
    ("Why is the sky blue?", {"tokens": 120, "rate": 40}),
    ("Translate the release notes into Chinese", {"tokens": 60, "rate": 30}),
    ("What changed between RFC 7230 and RFC 9112?", {"tokens": 150, "rate": 60}),
    ("Summarise the attached minutes in five points", {"fail_after": 20, "rate": 30}),
    ("Write a haiku about a patient queue", {"tokens": 20, "rate": 8}),
)
_STATUS = "document.querySelector('#status')?.dataset.status"


class Pictures:
    """A browser before one server, and the folder for its pictures."""

    def __init__(self, browser: Any, base: str, folder: Path) -> None:
        self.browser, self.base, self.folder = browser, base, folder
        self.api = httpx.Client(base_url=base, timeout=30)

    def submit(self, prompt: str, **params: Any) -> str:
        """A job of the demo."""
        body = {"prompt": prompt, "metadata": {"prompt": prompt}, "params": params}
        return str(self.api.post("/jobs", json=body).raise_for_status().json()["id"])

    def page(self, width: int, height: int, scheme: str = "light", **options: Any) -> Watched:
        """A page in a browser of its own, without motion."""
        viewport = {"width": width, "height": height}
        context = self.browser.new_context(viewport=viewport, color_scheme=scheme, reduced_motion="reduce", **options)
        return Watched(context.new_page())

    def save(self, watched: Watched, name: str) -> None:
        """The window as it is."""
        watched.page.screenshot(path=str(self.folder / f"{name}.png"))

    def job_at_the_top(self, watched: Watched) -> None:
        """Scrolls to the open job."""
        watched.page.evaluate("scrollTo(0, document.querySelector('#job').getBoundingClientRect().top + scrollY - 10)")

    def kills(self) -> str:
        """An answer during which the worker, a web and Redis are killed. The job."""
        job = self.submit(PROMPT, tokens=700, rate=25, seed=3)
        watched = self.page(1280, 940)
        watched.page.goto(f"{self.base}/#job={job}")
        watched.until("document.querySelector('.answer')?.textContent.length > 150", "the answer has begun")
        for times, part in enumerate(("worker", "web", "redis"), 1):
            watched.page.evaluate(f"document.querySelector('[data-kill={part}]').click()")
            resumed = "[...document.querySelectorAll('#history li')].filter(one => /gap/.test(one.textContent)).length"
            watched.until(f"{resumed} === {times}", f"the text continues after the {part}")
            watched.page.wait_for_timeout(1500)
        watched.until(f"{_STATUS} === 'succeeded'", "it has succeeded", 180)
        self.job_at_the_top(watched)
        self.save(watched, "kills")
        return job

    def two_readers(self, job: str) -> None:
        """The same job over two transports, dark."""
        watched = self.page(1280, 640, "dark")
        watched.page.goto(f"{self.base}/#job={job}&via=sse&and=websocket")
        watched.until("!document.querySelector('#comparison').hidden", "both have read it")
        self.job_at_the_top(watched)
        self.save(watched, "two_readers")

    def phone(self, job: str) -> None:
        """The QR code beside the page that it opens."""
        watched = self.page(1280, 800)
        watched.page.goto(f"{self.base}/#job={job}")
        watched.until(f"{_STATUS} === 'succeeded'", "it is read")
        # Away from the scripts of which not every machine has a font.
        # Away from the scripts of which not every machine has a font.
        block = (
            "[...document.querySelectorAll('.answer .block')].find((one, n, all) => n > 4 && [-1, 0, 1, 2].every("
            "(by) => all[n + by] && !/[^\\0-\\u02ff\\u2000-\\u206f]/.test(all[n + by].textContent)))"
        )
        bar = "document.querySelector('[data-part=bar]').offsetHeight"
        watched.until(block, "its code is drawn")
        watched.page.evaluate(f"scrollBy(0, {block}.getBoundingClientRect().top - {bar} + 12)")
        watched.page.click("[data-part=hand-over]")
        watched.until("document.querySelector('#phone').open", "the code is shown")
        link = watched.page.inner_text("#phone-link")
        # Without the warning, which is about this machine.
        watched.page.evaluate("document.querySelector('#phone-warning').hidden = true")
        code = watched.page.locator("#phone").screenshot()
        handset = self.page(390, 620, is_mobile=True, has_touch=True)
        handset.page.goto(link)
        handset.until("document.querySelector('.block[data-mark]')", "the place is marked")
        handset.page.wait_for_timeout(500)
        both = self.page(960, 680)
        shown = "".join(
            f'<img style="border-radius:16px;box-shadow:0 2px 16px #0003" '
            f'src="data:image/png;base64,{base64.b64encode(picture).decode()}">'
            for picture in (code, handset.page.screenshot())
        )
        style = (
            "margin:0;height:100vh;display:flex;gap:44px;align-items:center;justify-content:center;background:#e8e3d8"
        )
        both.page.set_content(f'<body style="{style}">{shown}')
        self.save(both, "phone")

    def jobs(self) -> None:
        """The list of jobs after half a minute of them."""
        for n in range(18):
            prompt, params = QUESTIONS[n % len(QUESTIONS)]
            self.submit(prompt, **params)
            time.sleep(1.7)
        running = self.submit("Compare three ways to resume a stream", rate=12)
        watched = self.page(1280, 800)
        watched.page.goto(f"{self.base}/#/jobs")
        watched.until(f"document.querySelector('[data-job=\"{running}\"] [data-status=running]')", "a job runs")
        watched.until("document.querySelector('#jobs-connection').dataset.connection === 'live'", "the page is live")
        watched.page.wait_for_timeout(3000)
        self.save(watched, "jobs")

    def system(self) -> None:
        """The system while more jobs come than its workers run, with readers on four transports."""
        watched = self.page(1280, 940)
        watched.page.goto(f"{self.base}/#/system")
        leave = threading.Event()
        readers = []
        for n in range(110):
            job = self.submit("load", tokens=40 + 15 * (n % 9), rate=9)
            if n % 6 == 0:
                readers.append(threading.Thread(target=self._read, args=(job, n // 6 % 3, leave), daemon=True))
                readers[-1].start()
            watched.page.wait_for_timeout(280)
        self.save(watched, "system")
        leave.set()

    def _read(self, job: str, transport: int, leave: threading.Event) -> None:
        headers = {"Accept": ("text/event-stream", "application/x-ndjson", "text/plain")[transport]}
        with httpx.stream("GET", f"{self.base}/jobs/{job}/stream", headers=headers, timeout=60) as answer:
            for _piece in answer.iter_raw():
                if leave.is_set():
                    return


def main(base: str, folder: str) -> None:
    """All pictures, in an order in which each finds the jobs that it shows."""
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        pictures = Pictures(browser, base, Path(folder))
        pictures.jobs()
        pictures.system()
        job = pictures.kills()
        pictures.two_readers(job)
        pictures.phone(job)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
