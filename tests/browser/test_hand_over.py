"""The QR code of an answer, and the page that it opens on another device."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

from tests.browser.conftest import Jobs, Watched
from tests.browser.test_accessibility import is_as_wide_as_the_window, violations
from tests.stack import ROOT, Stack

_JSQR = ROOT / "tests" / "clients" / "js" / "node_modules" / "jsqr" / "dist" / "jsQR.js"
_DECODE = """async (picture) => {
    const image = new Image();
    image.src = 'data:image/png;base64,' + picture;
    await image.decode();
    // The decoder does not find every code at every size; a camera moves until it does.
    for (const scale of [1, 2, 1.5, 0.75, 3]) {
        const [width, height] = [image.width * scale, image.height * scale].map(Math.floor);
        const canvas = new OffscreenCanvas(width, height).getContext('2d');
        canvas.drawImage(image, 0, 0, width, height);
        const found = jsQR(canvas.getImageData(0, 0, width, height).data, width, height);
        if (found?.data) return found.data;
    }
    return null;
}"""


def decoded(watched: Watched) -> str:
    """The link of the code that is shown, as a camera would see it: from a picture of the page."""
    if not _JSQR.exists():
        pytest.skip("jsqr is not installed: make install-clients")
    picture = base64.b64encode(watched.page.locator("#phone-code").screenshot()).decode()
    watched.page.evaluate(_JSQR.read_text())
    return str(watched.page.evaluate(_DECODE, picture))


def open_job(watched: Watched, stack: Stack, job: str, entries: int) -> None:
    """The console with this job, once so many entries of it are read."""
    watched.page.goto(f"{stack.webs[0].url}/#job={job}")
    watched.until(
        f"Number(document.querySelector('[data-part=last]')?.textContent.replaceAll(',', '')) >= {entries}",
        f"{entries} entries",
    )


def open_code(watched: Watched) -> None:
    """Show the code."""
    watched.page.click("[data-part=hand-over]")
    watched.until("document.querySelector('#phone').open", "the code is shown")


def show_code(watched: Watched) -> str:
    """The link of the code, decoded."""
    open_code(watched)
    watched.page.set_viewport_size({"width": 1280, "height": 900})
    return decoded(watched)


@pytest.fixture
def phone(browser: Any) -> Any:
    """A page of a phone's size, in a browser without any session."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    watched = Watched(context.new_page())
    yield watched
    context.close()
    assert watched.complaints == []


def test_code_while_the_answer_grows(watched: Watched, phone: Watched, stack: Stack, jobs: Jobs) -> None:
    """The code opens the same answer on another device, at the same place, and the rest follows there."""
    job = jobs.submit(tokens=1500, rate=60)
    open_job(watched, stack, job, 100)
    # Not decoded: a picture of a page that scrolls is torn.
    open_code(watched)
    link = watched.page.inner_text("#phone-link")
    phone.page.goto(link)
    phone.until("document.querySelector('.block[data-mark]')", "the place is marked")
    place = int(link.split("place=")[1].split("&")[0])
    assert place > 0
    # The end of the answer was in sight there, so it is here, and stays.
    phone.until("document.querySelector('#status').dataset.status === 'succeeded'", "the answer is whole")
    assert phone.page.inner_text("#answer").split() == jobs.ended(job)["text"].split()


def test_code_of_a_place_in_the_middle(watched: Watched, phone: Watched, stack: Stack, jobs: Jobs) -> None:
    """A reader in the middle of a long answer is in the middle of it on the other device."""
    with stack.client() as client:
        job = jobs.ended(client.post("/jobs", json={"prompt": "x", "params": {"rate": 0}}).json()["id"])
    open_job(watched, stack, job["id"], job["last_entry"])
    watched.page.set_viewport_size({"width": 1280, "height": 300})
    middle = "[...document.querySelectorAll('.answer .block')].at(4)"
    bar = "document.querySelector('[data-part=bar]').offsetHeight"
    watched.page.evaluate(f"scrollBy(0, {middle}.getBoundingClientRect().top - {bar} + 12)")
    words, place = watched.page.evaluate(f"[{middle}.textContent, scrollY]")
    open_code(watched)
    assert watched.page.evaluate("scrollY") == place
    watched.page.set_viewport_size({"width": 1280, "height": 900})
    phone.page.goto(decoded(watched))
    phone.until("document.querySelector('.block[data-mark]')", "the place is marked")
    assert phone.page.evaluate("document.querySelector('.block[data-mark]').textContent") == words
    top = "document.querySelector('.block[data-mark]').getBoundingClientRect().top"
    phone.until(f"{top} > 0 && {top} < innerHeight / 2", "the place is in sight")
    assert violations(phone) == []
    assert is_as_wide_as_the_window(phone)


@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
@pytest.mark.parametrize("size", [(1280, 800), (390, 844), (320, 568)])
@pytest.mark.parametrize("readers", ["", "&and=long"])
def test_actions_at_every_place_of_the_answer(
    browser: Any, stack: Stack, jobs: Jobs, size: tuple[int, int], language: str, readers: str
) -> None:
    """The bar of a reader stays at the top of the window with its actions, and takes a third of a phone at most."""
    width, height = size
    context = browser.new_context(viewport={"width": width, "height": height}, locale=language)
    watched = Watched(context.new_page())
    job = jobs.submit(tokens=3000, rate=100)
    watched.page.goto(f"{stack.webs[0].url}/#job={job}{readers}")
    bar = "document.querySelector('[data-part=bar]')"
    watched.until(f"document.querySelector('.answer')?.offsetHeight > {2 * height}", "the answer is long")
    # Away from the end, with which the page scrolls along.
    watched.page.evaluate(f"scrollBy(0, document.querySelector('.pane').getBoundingClientRect().top + {height} / 2)")
    watched.until(f"{bar}.getBoundingClientRect().top === 0", "the bar is at the top")
    assert watched.page.evaluate(f"{bar}.offsetHeight") < height / 3
    place = watched.page.evaluate("scrollY")
    for action in ("cut", "cancel", "hand-over"):
        watched.page.locator(f"[data-part={action}]").first.click(trial=True)
    assert watched.page.evaluate("scrollY") == place
    assert is_as_wide_as_the_window(watched)
    watched.page.click("[data-part=cancel] >> nth=0")
    watched.until("document.querySelector('#status').dataset.status === 'cancelled'", "it is cancelled")
    context.close()
    assert watched.complaints == []


def test_link_reads_and_does_nothing_else(watched: Watched, stack: Stack, jobs: Jobs) -> None:
    """The code's token reads its job. It cancels nothing, submits nothing, and reads no other job."""
    job, other = jobs.submit(tokens=400, rate=20), jobs.submit(tokens=3, rate=0)
    open_job(watched, stack, job, 1)
    token = show_code(watched).split("token=")[1]
    with httpx.Client(base_url=stack.webs[0].url, headers={"Authorization": f"Bearer {token}"}) as holder:
        assert holder.get(f"/jobs/{job}").status_code == 200
        assert holder.post(f"/jobs/{job}/cancel").status_code == 403
        assert holder.post("/jobs", json={"prompt": "x"}).status_code == 403
        assert holder.get(f"/jobs/{other}").status_code == 403
    watched.page.click("#phone-done")
    assert watched.page.inner_text("#phone-link") == ""


def test_code_on_this_machine_only(watched: Watched, stack: Stack, jobs: Jobs) -> None:
    """An address that no phone reaches is said to be one."""
    open_job(watched, stack, jobs.submit(tokens=3, rate=0), 3)
    show_code(watched)
    assert "this machine only" in watched.page.inner_text("#phone-warning")
    assert violations(watched) == []


@pytest.mark.parametrize(("hash_", "said"), [("", "incomplete"), ("#job=j0-x&token=spool-bt-x&place=3", "has ended")])
def test_link_without_a_valid_token(phone: Watched, stack: Stack, hash_: str, said: str) -> None:
    """The page of a broken or expired link says so."""
    phone.page.goto(f"{stack.webs[0].url}/read{hash_}")
    phone.until(f"document.querySelector('#reader').innerText.includes('{said}')", "the page says why it is empty")
    phone.complaints[:] = [text for text in phone.complaints if "401" not in text]
