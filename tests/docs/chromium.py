"""Opens a page in a browser."""

import shutil
from concurrent.futures import ThreadPoolExecutor

from needed import missing


def visit(url, look):
    """Open *url*, and call *look* with the page; give the paths it loaded.

    It has a thread of its own, as Playwright can be started once per thread,
    and other tests may have it open.
    """
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        missing("there is no Chromium: apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed: pip install playwright")

    def run():
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path)
            page = browser.new_page()
            page.set_default_timeout(90_000)
            errors, loaded = [], []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("response", lambda response: loaded.append(response.url))
            page.goto(url)
            look(page)
            browser.close()
        assert errors == []
        return loaded

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def is_too_wide(page):
    """Tell whether there is something at the side of the page to scroll to."""
    return page.evaluate(
        """() => {
          const { scrollWidth, clientWidth } = document.scrollingElement;
          return scrollWidth > clientWidth;
        }"""
    )


def cuts_code(page):
    """Tell whether a block of code is wider than its place."""
    return page.locator("pre").evaluate_all(
        "all => all.some((pre) => pre.scrollWidth > pre.clientWidth)"
    )
