"""Debian's chromium, driven by Playwright: a browser for the tests of the page."""

import os
import shutil

import pytest

CHROMIUM = shutil.which("chromium")
# The page is drawn as soon as it knows its width, which the browser tells it in its first frame: that is over in the second.
DRAWN = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture(scope="session")
def browser():
    """The browser; tests that want it are left out where it is not installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested where playwright is installed")
    if CHROMIUM is None:
        pytest.skip("the page is tested where chromium is installed: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, tmp_path):
    """``opened(explanation, width=..., color_scheme=...)`` is the page, which must neither ask for anything nor complain."""
    pages, heard = [], []

    def open_page(explanation, width=1280, height=900, **options):
        path = tmp_path / "page.html"
        explanation.save(path, digits=9)
        page = browser.new_page(viewport={"width": width, "height": height}, **options)
        page.set_default_timeout(5000)
        page.on("request", lambda request: heard.append(request.url))
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.goto(path.as_uri())
        page.evaluate(DRAWN)
        assert heard == [path.as_uri()]
        heard.clear()
        pages.append(page)
        return page

    yield open_page
    folder = os.environ.get("GLASSPROP_SCREENSHOTS")  # to be looked at
    for number, page in enumerate(pages):
        if folder:
            page.screenshot(path=f"{folder}/{os.environ['PYTEST_CURRENT_TEST'].split('::')[1].split(' ')[0]}-{number}.png")
        page.close()
    assert heard == []
