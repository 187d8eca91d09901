"""What the page offers for an image that is done: before and after, its focus, and crops; in a real browser."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Literal

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Locator, Page, expect

from tests.support import images
from tests.support.browser import add, card, chromium, file, thumbnail, visit
from tests.support.service import Service

PHOTO = images.photo()
HEIGHT = 320
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
TIMES = "\N{MULTIPLICATION SIGN}"


@pytest_asyncio.fixture(scope="module")
async def browser() -> AsyncGenerator[Browser]:
    async with chromium() as started:
        yield started


async def opened(page: Page, button: str, name: str) -> Locator:
    """Uploads an image of that name and opens one of its dialogs."""
    await add(page, file(name, PHOTO))
    await thumbnail(page, name)
    await card(page, name).get_by_role("button", name=f"{button} {name}").click()
    return page.get_by_role("dialog")


async def result_of(service: Service, page: Page, name: str) -> Mapping[str, Any]:
    """The result as the service answers it, when the card is done again."""
    mine = card(page, name)
    await expect(mine.locator("progress")).to_be_hidden()
    url = str(await mine.get_by_role("img", name=f"Open {name}").get_attribute("src"))
    return await service.result(url.split("/")[3])


async def violations(page: Page) -> list[Any]:
    """What axe finds, by rule and element, when nothing moves any more."""
    await page.evaluate("Promise.all(document.getAnimations().map((animation) => animation.finished))")
    found: list[Any] = (await Axe().run(page)).response["violations"]
    return [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found]


async def test_an_image_is_compared_with_its_version(service: Service, browser: Browser) -> None:
    async with visit(browser, service.url) as page:
        dialog = await opened(page, "Compare", "compared.jpg")
        await expect(dialog).to_contain_text(f"Original · 480 {TIMES} 320 · JPEG")
        await expect(dialog).to_contain_text("% smaller")
        after = dialog.locator("img.after")
        clip = "image => getComputedStyle(image).clipPath"
        assert await after.evaluate(clip) == "inset(0px 0px 0px 50%)"
        divider = dialog.get_by_role("slider")
        await expect(divider).to_be_focused()
        await divider.press("Home")
        assert await after.evaluate(clip) == "inset(0px 0px 0px 0%)"
        await dialog.get_by_role("combobox").select_option("thumbnail")
        await expect(dialog).to_contain_text(f"thumbnail · 200 {TIMES} 133 · JPEG")
        await dialog.get_by_role("button", name="Close").click()
        await expect(dialog).to_be_hidden()


async def test_what_was_uploaded_earlier_has_no_before(service: Service, browser: Browser) -> None:
    await service.ended(await service.upload(PHOTO, "earlier-one.jpg"))
    async with visit(browser, service.url) as page:
        await thumbnail(page, "earlier-one.jpg")
        earlier = card(page, "earlier-one.jpg")
        await expect(earlier.get_by_role("button", name="Adjust earlier-one.jpg")).to_be_visible()
        await expect(earlier.get_by_role("button", name="Compare earlier-one.jpg")).to_be_hidden()


async def test_the_focus_is_set_by_a_click_or_by_numbers(service: Service, browser: Browser) -> None:
    async with visit(browser, service.url) as page:
        dialog = await opened(page, "Adjust", "focused.jpg")
        stage = dialog.locator(".stage")
        box = await stage.bounding_box()
        assert box
        await stage.click(position={"x": box["width"] / 4, "y": box["height"] * 3 / 4})
        across, down = dialog.get_by_label("Across"), dialog.get_by_label("Down")
        assert float(await across.input_value()) == pytest.approx(25, abs=1)
        assert float(await down.input_value()) == pytest.approx(75, abs=1)
        await down.fill("10")
        async with page.expect_response(lambda answer: answer.request.method == "PATCH") as answering:
            await down.press("Enter")
        answer = await answering.value
        assert answer.ok
        sent: Any = answer.request.post_data_json
        assert sent["focus"]["y"] == 0.1
        await expect(card(page, "focused.jpg")).to_contain_text("The focus is saved.")
        await card(page, "focused.jpg").get_by_role("button", name="Adjust").click()
        assert float(await down.input_value()) == 10, "it is what the service has"


async def test_a_rectangle_that_is_drawn_becomes_a_version(service: Service, browser: Browser) -> None:
    async with visit(browser, service.url) as page:
        dialog = await opened(page, "Adjust", "cut.jpg")
        await dialog.get_by_label("Crop").check()
        box = await dialog.locator(".stage").bounding_box()
        assert box
        corner = {side: float(await dialog.get_by_label(side, exact=True).input_value()) for side in ("Left", "Top")}
        at = box["x"] + box["width"] * corner["Left"] / 100, box["y"] + box["height"] * corner["Top"] / 100
        await page.mouse.move(*at)
        await page.mouse.down()
        await page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=5)
        await page.mouse.up()
        assert float(await dialog.get_by_label("Left", exact=True).input_value()) == pytest.approx(50, abs=1)
        assert float(await dialog.get_by_label("Width", exact=True).input_value()) == pytest.approx(40, abs=1)
        await dialog.get_by_label("Shape").select_option("1 : 1")
        await dialog.get_by_role("button", name="Create version").click()
        await expect(card(page, "cut.jpg").get_by_role("button", name="Copy URL of crop of cut.jpg")).to_be_visible()
        variants = (await result_of(service, page, "cut.jpg"))["variants"]
        assert variants.keys() == {"resized_compressed", "thumbnail", "crop"}
        assert variants["crop"]["width"] == pytest.approx(HEIGHT * 0.4, abs=2)
        assert variants["crop"]["width"] == variants["crop"]["height"]


async def test_the_dialogs_are_accessible_in_light_and_dark(service: Service, browser: Browser) -> None:
    async with visit(browser, service.url) as page:
        dialog = await opened(page, "Compare", "accessible-too.jpg")
        for scheme in SCHEMES:
            await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            assert await violations(page) == []
        await dialog.get_by_role("button", name="Close").click()
        await card(page, "accessible-too.jpg").get_by_role("button", name="Adjust").click()
        for mode in ("Focus", "Crop"):
            await dialog.get_by_label(mode).check()
            for scheme in SCHEMES:
                await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                assert await violations(page) == []
