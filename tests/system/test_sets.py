"""The HTML of a responsive set in a real browser, which chooses by the width and the density of its screen."""

import re
from collections.abc import AsyncGenerator
from html import escape
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.support import images
from tests.support.browser import card, chromium, thumbnail, visit
from tests.support.service import Servers, Service, until

NAME = 'a "b", <c> & d\'s 2x.jpg'
VARIANTS = '{"hero": {"widths": [200, 400, 800, 1600], "formats": ["jpeg", "webp", "avif"], "background": "white"}}'


@pytest_asyncio.fixture(scope="module")
async def browser() -> AsyncGenerator[Browser]:
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(scope="module", params=["public", "signed"])
async def service_with_sets(request: pytest.FixtureRequest, servers: Servers) -> AsyncGenerator[Service]:
    settings: dict[str, Any] = {"files": request.param, "signing_secret": "a secret of 32 characters or more"}
    async with Service.start(servers.environment(), **settings) as started:
        yield started


@pytest_asyncio.fixture(scope="module")
async def html(service_with_sets: Service) -> str:
    upload_id = await service_with_sets.upload(images.photo(1600, 1200), NAME, variants=VARIANTS)
    return (await service_with_sets.result(upload_id))["variants"]["hero"]["html"]


async def show(page: Page, service: Service, html: str) -> None:
    """Opens a page with the HTML, on the service's origin."""
    url = f"{service.url}/a-page"
    body = f"<!doctype html><body style='margin:0'>{html}</body>"
    await page.route(url, lambda route: route.fulfill(body=body, content_type="text/html"))
    await page.goto(url)


async def chosen_of(page: Page) -> str:
    """Which file the browser chose, once it is shown."""

    async def loaded() -> bool:
        return await page.evaluate("document.images[0].complete && document.images[0].naturalWidth > 0")

    await until(loaded)
    return re.sub(r".*_hero-|\?.*", "", await page.evaluate("document.images[0].currentSrc"))


@pytest.mark.parametrize(
    ("width", "density", "chosen"),
    [(390, 1, "400.avif"), (390, 2, "800.avif"), (150, 1, "200.avif"), (1200, 1, "1600.avif"), (1280, 2, "1600.avif")],
)
async def test_a_browser_chooses_the_file_that_suits_its_screen(
    browser: Browser, service_with_sets: Service, html: str, width: int, density: int, chosen: str
) -> None:
    context = await browser.new_context(viewport={"width": width, "height": 800}, device_scale_factor=density)
    try:
        page = await context.new_page()
        await show(page, service_with_sets, html)
        assert await chosen_of(page) == chosen
        box = await page.locator("img").bounding_box()
        assert box
        assert (box["width"], box["height"]) == (min(width, 1600), pytest.approx(min(width, 1600) * 0.75, abs=1))
        assert await page.locator("picture > *").count() == 3
    finally:
        await context.close()


async def test_a_browser_that_lacks_the_smaller_formats_gets_the_safest(
    browser: Browser, service_with_sets: Service, html: str
) -> None:
    for media_type in ("image/avif", "image/webp"):
        html = html.replace(f'type="{media_type}"', 'type="image/of-the-future"')
    page = await browser.new_page(viewport={"width": 390, "height": 800})
    try:
        await show(page, service_with_sets, html)
        assert await chosen_of(page) == "400.jpeg"
    finally:
        await page.close()


async def test_the_place_is_kept_and_coloured_before_the_image_is_there(
    browser: Browser, service_with_sets: Service, html: str
) -> None:
    page = await browser.new_page(viewport={"width": 400, "height": 800})
    try:
        await page.route(re.compile("/files/"), lambda route: route.abort())
        await show(page, service_with_sets, html)
        colour = re.search(r"background:(#[0-9a-f]{6})", html)
        assert colour
        found = await page.evaluate("getComputedStyle(document.images[0]).backgroundColor")
        assert found == f"rgb({', '.join(str(level) for level in bytes.fromhex(colour[1][1:]))})"
        box = await page.locator("img").bounding_box()
        assert box
        assert box["height"] == pytest.approx(box["width"] * 0.75, abs=1)
        assert escape(NAME) not in html
    finally:
        await page.close()


async def test_the_page_shows_a_set_by_its_fallback(browser: Browser, servers: Servers, tmp_path: Path) -> None:
    presets = tmp_path / "presets.toml"
    presets.write_text(
        '[shop.hero]\nwidths = [320, 640]\nformats = ["avif", "jpeg"]\nwidth = 16\nheight = 9\nfit = "cover"'
    )
    async with Service.start(servers.environment(), presets_file=str(presets)) as service:
        await service.upload(images.photo(), "photo.jpg", preset="shop")
        async with visit(browser, service.url) as page:
            image = await thumbnail(page, "photo.jpg")
            assert "photo_hero-480.jpeg" in (await image.get_attribute("src") or "")
            assert "hero" in await card(page, "photo.jpg").inner_text()
            await page.get_by_label("Preset").select_option("shop")
            assert "cover 320, 640 wide of 16:9, AVIF, JPEG" in await page.locator("#preset-variants").inner_text()
