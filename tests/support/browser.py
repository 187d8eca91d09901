"""A real Chromium, and the web page as its visitors find it: by roles, labels and names."""

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
    """Debian's Chromium: Playwright's own would be downloaded from outside the package registries."""
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
    """Opens a page for a new visitor. Errors and warnings in its console fail the test."""
    errors: list[str] = []
    context = await browser.new_context(permissions=permissions)
    context.set_default_timeout(DEADLINE_MS)
    try:
        page = await context.new_page()
        page.on("console", lambda message: errors.extend(_console_errors(message)))
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto(url)
        yield page
    finally:
        await context.close()
    assert not errors, "\n".join(errors)


def _console_errors(message: ConsoleMessage) -> list[str]:
    """Chromium itself logs requests that fail or are refused: those are no fault of the page."""
    is_request = message.text.startswith("Failed to load resource: ")
    return [message.text] if message.type in {"error", "warning"} and not is_request else []


def file(name: str, data: bytes) -> FilePayload:
    return {"name": name, "mimeType": "", "buffer": data}


async def add(page: Page, *files: FilePayload) -> None:
    await page.locator("input[type=file]").set_input_files(files)


def card(page: Page, name: str) -> Locator:
    """The card of the upload of that name."""
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name, exact=True))


async def thumbnail(page: Page, name: str) -> Locator:
    """The image's thumbnail, once it is loaded."""
    image = card(page, name).get_by_role("img", name=f"Open {name}")
    await expect(card(page, name).locator(".thumbnail.loaded")).to_be_visible()
    assert await image.evaluate("image => image.naturalWidth") > 0
    return image
