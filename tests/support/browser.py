"""A real Chromium, and the web page as its visitors meet it: by roles, labels and names."""

import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, ConsoleMessage, FilePayload, Locator, Page, async_playwright, expect

from tests.support.service import DEADLINE_S

CHROMIUM = shutil.which("chromium")
DEADLINE_MS = DEADLINE_S * 1000

expect.set_options(timeout=DEADLINE_MS)


@asynccontextmanager
async def chromium() -> AsyncGenerator[Browser]:
    """The one that Debian packages: Playwright's own would come from elsewhere than all else does."""
    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install --no-install-recommends chromium")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def visit(browser: Browser, url: str, *permissions: str) -> AsyncGenerator[Page]:
    """Opens a page for a new visitor. Whatever it then complains of in its console fails the test."""
    complaints: list[str] = []
    context = await browser.new_context(permissions=permissions)
    context.set_default_timeout(DEADLINE_MS)
    try:
        page = await context.new_page()
        page.on("console", lambda message: complaints.extend(_complaint(message)))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(url)
        yield page
    finally:
        await context.close()
    assert not complaints, "\n".join(complaints)


def _complaint(message: ConsoleMessage) -> list[str]:
    """Requests that fail or are refused are told by Chromium itself, and no fault of the page."""
    told = message.text.startswith("Failed to load resource: ")
    return [message.text] if message.type in {"error", "warning"} and not told else []


def file(name: str, data: bytes) -> FilePayload:
    return {"name": name, "mimeType": "", "buffer": data}


async def add(page: Page, *files: FilePayload) -> None:
    await page.locator("input[type=file]").set_input_files(files)


def card(page: Page, name: str) -> Locator:
    """What the page shows of the upload of that name."""
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name, exact=True))


async def thumbnail(page: Page, name: str) -> Locator:
    """The image's thumbnail, once it is seen."""
    image = card(page, name).get_by_role("img", name=f"Open {name}")
    await expect(card(page, name).locator(".thumbnail.loaded")).to_be_visible()
    assert await image.evaluate("image => image.naturalWidth") > 0
    return image
