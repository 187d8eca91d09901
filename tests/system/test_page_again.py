"""The web page over time and with keys: uploads made earlier, and who sees them."""

from collections.abc import AsyncGenerator

import pytest_asyncio
from playwright.async_api import Browser, Page, Request, expect

from tests.support import images
from tests.support.browser import add, card, chromium, file, thumbnail, visit
from tests.support.service import Servers, Service, begun, decoders

SMALL = images.photo(160, 120)
KEY = "anne-0123456789abcdef"
SECRET = "0123456789abcdef" * 2
PAGE = 12


@pytest_asyncio.fixture(scope="module")
async def browser() -> AsyncGenerator[Browser]:
    async with chromium() as started:
        yield started


async def test_earlier_uploads_are_listed_page_by_page_newest_first(servers: Servers, browser: Browser) -> None:
    names = [f"{number:02}.jpg" for number in range(PAGE + 3)]
    async with Service.start(servers.environment(), decoders=1) as service:
        for upload_id in [await service.upload(SMALL, name) for name in names]:
            await service.ended(upload_id)
        async with visit(browser, service.url) as page:
            await expect(page.locator(".thumbnail.loaded")).to_have_count(PAGE)
            assert await shown(page) == names[: -PAGE - 1 : -1]
            await page.get_by_role("button", name="Show older").click()
            await expect(page.locator(".thumbnail.loaded")).to_have_count(len(names))
            assert await shown(page) == names[::-1]
            await expect(page.get_by_role("button", name="Show older")).to_be_hidden()

        running = await begun(service)
        async with visit(browser, service.url) as page:  # a visitor who comes in the middle of it
            await expect(card(page, "sample.jpg")).to_contain_text("Processing")
            for decoder in decoders(service.workers[0]):
                decoder.resume()
            await thumbnail(page, "sample.jpg")
            await service.client.delete(f"/upload/{running}")


async def test_a_visitor_watches_by_a_stream_and_does_not_poll(service: Service, browser: Browser) -> None:
    asked: list[str] = []
    async with visit(browser, service.url) as page:
        page.on("request", lambda request: asked.append(path(request)))
        await add(page, file("streamed.jpg", SMALL))
        await thumbnail(page, "streamed.jpg")
    assert len([requested for requested in asked if requested.endswith("/events")]) == 1
    assert not [requested for requested in asked if requested.endswith("/status")]


async def test_a_page_that_could_not_load_its_data_says_so_and_can_try_again(
    service: Service, browser: Browser
) -> None:
    async with visit(browser, "about:blank") as page:
        await page.route("**/presets", lambda route: route.abort())
        await page.goto(service.url)
        await expect(page.get_by_role("alert").first).to_contain_text("The service could not be reached.")
        await page.unroute("**/presets")
        await page.get_by_role("button", name="Try again").click()
        await expect(page.get_by_label("Preset")).to_have_value("default")
        await expect(page.get_by_role("button", name="Try again")).to_be_hidden()
        await expect(page.get_by_role("alert").first).to_be_empty()


async def test_the_key_is_asked_for_once_and_never_stands_in_a_url(servers: Servers, browser: Browser) -> None:
    urls: list[str] = []
    async with (
        Service.start(servers.environment(), api_keys=f"anne:{KEY}", signing_secret=SECRET) as service,
        visit(browser, service.url) as page,
    ):
        page.on("request", lambda request: urls.append(request.url))
        dialog = page.get_by_role("dialog", name="API key")
        await dialog.get_by_label("Key").fill("a-key-that-nobody-has")
        await page.keyboard.press("Enter")
        await expect(dialog).to_contain_text("not valid")
        await dialog.get_by_label("Key").fill(KEY)
        await page.keyboard.press("Enter")
        await expect(dialog).to_be_hidden()

        await add(page, file("mine.jpg", SMALL), file("mine-too.jpg", SMALL))
        shown = await thumbnail(page, "mine.jpg")
        assert "sig=" in str(await shown.get_attribute("src"))
        async with page.expect_download() as downloading:
            await page.get_by_role("link", name="Download thumbnail of mine.jpg").click()
        assert await (await downloading.value).failure() is None

        await page.reload()
        await expect(page.get_by_label("Preset")).to_have_value("default")
        await expect(dialog).to_be_hidden()
        await page.get_by_role("button", name="Remove API key").click()
        await expect(dialog).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("alert").first).to_contain_text("Send an API key")
        await expect(page.get_by_role("button", name="Enter API key")).to_be_visible()
    assert not [url for url in urls if KEY in url]


def path(request: Request) -> str:
    return request.url.partition("?")[0]


async def shown(page: Page) -> list[str]:
    return await page.get_by_role("heading", level=3).all_inner_texts()
