from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def chromium():
    """Debian's Chromium, driven by Playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Opened:
    """A page with everything that it complained of."""

    def __init__(self, page) -> None:
        self.page, self.complaints, self.requests = page, [], []
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("dialog", lambda dialog: (self.complaints.append("dialog"), dialog.dismiss()))

    def goto(self, path: Path, anchor: str = "") -> None:
        self.page.goto(f"{path.as_uri()}{anchor}")
        self.until("document.documentElement.dataset.ready === 'yes'")

    def until(self, expression: str, seconds: float = 60) -> None:
        """Wait until something holds; Playwright's own way needs eval, which the page's policy forbids."""
        end = time.monotonic() + seconds
        while not self.page.evaluate(expression):
            assert time.monotonic() < end, f"never: {expression}"
            self.page.wait_for_timeout(50)

    def scroll(self) -> None:
        """Bring everything into sight once, so that it is drawn."""
        height = self.page.evaluate("document.documentElement.scrollHeight")
        for place in range(0, height, 600):
            self.page.evaluate(f"window.scrollTo(0, {place})")
            self.page.wait_for_timeout(60)
        self.until("[...document.querySelectorAll('[data-chart]')].every((one) => one.dataset.drawn)")


@pytest.fixture
def opened(chromium):
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    context.set_default_timeout(60_000)
    page = Opened(context.new_page())
    yield page
    context.close()


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Path:
    from helpers.small_runs import small_run

    return small_run(tmp_path_factory.mktemp("small") / "small").root


@pytest.fixture(scope="session")
def bad(tmp_path_factory) -> Path:
    from helpers.small_runs import small_run

    return small_run(tmp_path_factory.mktemp("bad") / "bad", bad=True).root
