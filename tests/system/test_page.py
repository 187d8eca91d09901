"""The web page, in a real browser against the real service."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any, Literal

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from PIL import Image
from playwright.async_api import Browser, Page, Request, expect

from imgsvc.imaging.placeholder import thumbhash
from tests.support import images
from tests.support.browser import add, card, chromium, file, thumbnail, visit
from tests.support.service import Servers, Service, decoders

PHOTO = images.photo()
DAMAGED = PHOTO[: len(PHOTO) // 2]
TIMES = "\N{MULTIPLICATION SIGN}"
MAX_UPLOADS = 3


@pytest_asyncio.fixture(scope="module")
async def browser() -> AsyncGenerator[Browser]:
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(scope="module")
async def single(servers: Servers) -> AsyncGenerator[Service]:
    """One worker with one decoder, for tests that stop either; its last worker is alive."""
    async with Service.start(servers.environment(), decoders=1, lease_s=1) as started:
        yield started


# From a file to its thumbnail


async def test_an_image_that_is_picked_is_seen_as_its_thumbnail(service: Service, browser: Browser) -> None:
    async with visit(browser, service.url, "clipboard-read", "clipboard-write") as page:
        await add(page, file("holiday.jpg", PHOTO))
        image = await thumbnail(page, "holiday.jpg")
        shown = str(await image.get_attribute("src"))
        assert shown.endswith("holiday_thumbnail.jpeg")
        mine = card(page, "holiday.jpg")
        await expect(mine).to_contain_text(f"480 {TIMES} 320 · JPEG · {len(PHOTO) // 1000} kB")
        await expect(mine).to_contain_text(f"200 {TIMES} 133 · JPEG")

        await mine.get_by_role("button", name="Copy URL of thumbnail of holiday.jpg").click()
        await expect(page.get_by_role("status")).to_contain_text("URL copied")
        assert await page.evaluate("navigator.clipboard.readText()") == service.url + shown
        async with page.expect_download() as downloading:
            await mine.get_by_role("link", name="Download thumbnail of holiday.jpg").click()
        download = await downloading.value
        assert download.suggested_filename == "holiday_thumbnail.jpeg"


async def test_a_copy_that_the_browser_refuses_is_shown(service: Service, browser: Browser) -> None:
    async with visit(browser, service.url) as page:
        await page.evaluate("void (navigator.clipboard.writeText = () => Promise.reject(new Error('refused')))")
        await add(page, file("not-copied.jpg", PHOTO))
        await thumbnail(page, "not-copied.jpg")
        await page.get_by_role("button", name="Copy URL of thumbnail of not-copied.jpg").click()
        await expect(card(page, "not-copied.jpg")).to_contain_text("The URL could not be copied.")
        await expect(page.get_by_role("status")).to_contain_text("URL not copied")


@pytest.mark.parametrize("how", ["drop", "paste"])
async def test_images_can_be_dropped_and_pasted(service: Service, browser: Browser, how: str) -> None:
    give = """([how, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([Uint8Array.from(bytes)], `${how}.jpg`, { type: "image/jpeg" }));
        const init = { bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data };
        document.body.dispatchEvent(new (how === "drop" ? DragEvent : ClipboardEvent)(how, init));
    }"""
    async with visit(browser, service.url) as page:
        await page.evaluate(give, [how, list(PHOTO)])
        await thumbnail(page, f"{how}.jpg")


async def test_a_blurred_picture_stands_in_until_the_thumbnail_is_loaded(service: Service, browser: Browser) -> None:
    size = (32, 21)
    small = images.scene().resize(size, Image.Resampling.BOX)
    decode = """async ([hash, width, height]) => {
        const { toRGBA } = await import("/static/page/thumbhash.js");
        return [...toRGBA(Uint8Array.from(hash), width, height)];
    }"""
    async with visit(browser, service.url) as page:
        hashed = thumbhash(size, small.convert("RGBA").tobytes())
        pixels: list[int] = await page.evaluate(decode, [list(hashed), *size])
        decoded = Image.frombytes("RGBA", size, bytes(pixels))
        assert images.distance(decoded, small) < 20  # a ThumbHash is more colourful than its image
        assert images.distance(decoded, small.transpose(Image.Transpose.ROTATE_180)) > 40
        assert decoded.getchannel("A").getextrema() == (255, 255)

        await add(page, file("blurred.jpg", PHOTO))
        await thumbnail(page, "blurred.jpg")
        canvas = await card(page, "blurred.jpg").locator("canvas").screenshot()
        assert len(Image.open(BytesIO(canvas)).convert("RGB").getcolors(1 << 20) or []) > 100, "it is painted"


async def test_thirty_images_at_once_are_all_done_and_few_are_sent_at_a_time(
    service: Service, browser: Browser
) -> None:
    small = images.photo(160, 120)
    names = [f"one-of-many-{number:02}.jpg" for number in range(30)]
    sending: set[Request] = set()
    most = 0

    def begins(request: Request) -> None:
        nonlocal most
        if request.method == "POST":
            sending.add(request)
            most = max(most, len(sending))

    async with visit(browser, service.url) as page:
        page.on("request", begins)
        # the next request may be reported before the end of this response
        page.on("response", lambda answer: sending.discard(answer.request))
        await add(page, *(file(name, small) for name in names))
        mine = page.locator(".card[data-state=done]").filter(has_text="one-of-many-")
        await expect(mine).to_have_count(len(names))
        shown = await mine.get_by_role("heading").all_inner_texts()
    assert sorted(shown) == names
    assert 1 < most <= MAX_UPLOADS


# What goes wrong


async def test_a_file_that_is_refused_says_why_and_is_not_offered_again(service: Service, browser: Browser) -> None:
    async with visit(browser, service.url) as page:
        await add(page, file("notes.jpg", b"nothing but words"), file("empty.jpg", b""))
        for name, data in (("notes.jpg", b"nothing but words"), ("empty.jpg", b"")):
            refused = await service.post(data, name)
            await expect(card(page, name)).to_contain_text(refused.json()["detail"])
            await expect(card(page, name).get_by_role("button", name=f"Retry {name}")).to_be_hidden()
        await card(page, "notes.jpg").get_by_role("button", name="Delete notes.jpg").dblclick()
        await expect(card(page, "notes.jpg")).to_have_count(0)


async def test_an_image_that_cannot_be_decoded_says_why_and_can_be_retried(service: Service, browser: Browser) -> None:
    async with visit(browser, service.url) as page:
        await add(page, file("damaged.jpg", DAMAGED))
        damaged = card(page, "damaged.jpg")
        await expect(damaged).to_contain_text("The file is damaged")
        async with page.expect_response(lambda answer: answer.url.endswith("/retry")) as answering:
            await damaged.get_by_role("button", name="Retry damaged.jpg").click()
        assert (await answering.value).status == 202
        await expect(damaged).to_contain_text("The file is damaged")


async def test_an_image_whose_result_could_not_be_fetched_can_be_retried(service: Service, browser: Browser) -> None:
    async with visit(browser, service.url) as page:
        await page.route("**/result", lambda route: route.fulfill(status=500))
        await add(page, file("no-result.jpg", PHOTO))
        retry = card(page, "no-result.jpg").get_by_role("button", name="Retry no-result.jpg")
        await expect(retry).to_be_visible()
        await page.unroute("**/result")
        await retry.click()
        await thumbnail(page, "no-result.jpg")


async def test_an_upload_is_sent_when_the_service_can_be_reached_again(service: Service, browser: Browser) -> None:
    async with visit(browser, service.url) as page:
        await expect(page.get_by_label("Preset")).to_have_value("default")
        await page.context.set_offline(True)
        async with page.expect_event("requestfailed"):
            await add(page, file("patient.jpg", PHOTO))
        await page.context.set_offline(False)
        await thumbnail(page, "patient.jpg")


async def test_a_job_whose_worker_is_killed_still_ends_well(single: Service, browser: Browser) -> None:
    doomed = single.workers[-1]
    async with suspended(single, browser, "survivor.jpg") as page:
        await doomed.kill()
        await single.start_worker()
        await thumbnail(page, "survivor.jpg")


async def test_a_job_can_be_cancelled_and_retried(single: Service, browser: Browser) -> None:
    async with suspended(single, browser, "second-thoughts.jpg") as page:
        mine = card(page, "second-thoughts.jpg")
        await mine.get_by_role("button", name="Cancel second-thoughts.jpg").click()
        await expect(mine).to_contain_text("Cancelled")
        await expect(mine.get_by_role("progressbar")).to_have_count(0)
        retry = mine.get_by_role("button", name="Retry second-thoughts.jpg")
        await expect(retry, "the focus is not lost with the button").to_be_focused()
        await retry.click()
        await thumbnail(page, "second-thoughts.jpg")


@asynccontextmanager
async def suspended(single: Service, browser: Browser, name: str) -> AsyncGenerator[Page]:
    """A page that shows a job while its decoder is suspended."""
    for decoder in decoders(single.workers[-1]):
        decoder.suspend()
    async with visit(browser, single.url) as page:
        await add(page, file(name, PHOTO))
        await expect(card(page, name)).to_contain_text("Processing, 10 %, reading the image")
        yield page


# For everybody


async def test_an_image_is_uploaded_and_deleted_by_keyboard_alone(service: Service, browser: Browser) -> None:
    async with visit(browser, service.url) as page:
        page.on("filechooser", lambda _: None)  # tells Chromium beforehand to open no window
        await tab_to(page, "Choose images")
        async with page.expect_file_chooser() as choosing:
            await page.keyboard.press("Enter")
        chosen = file("by-hand.jpg", PHOTO)
        await (await choosing.value).set_files(chosen)
        source = await (await thumbnail(page, "by-hand.jpg")).get_attribute("src")
        upload_id = str(source).split("/")[3]
        # several that end together are announced together
        await expect(page.get_by_role("status")).to_contain_text(re.compile(r"by-hand\.jpg: done|images: done"))

        await tab_to(page, "Delete by-hand.jpg")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Really delete? by-hand.jpg")).to_be_focused()
        assert (await service.status(upload_id))["status"] == "SUCCESS", "once is not enough"
        await page.keyboard.press("Enter")
        await expect(card(page, "by-hand.jpg")).to_have_count(0)
        await expect(page.locator("button:focus"), "the focus is not lost with the button").to_be_visible()
        assert (await service.client.get(f"/upload/{upload_id}")).status_code == 404


async def tab_to(page: Page, name: str) -> None:
    """Presses Tab until the control of that name has the focus, and sees to it that this can be seen."""
    wanted = page.get_by_role("button", name=name, exact=True)
    for _ in range(30):
        await page.keyboard.press("Tab")
        if await wanted.evaluate("control => control === document.activeElement"):
            assert await wanted.evaluate("control => getComputedStyle(control).outlineStyle") == "solid"
            return
    pytest.fail(f"no way to {name} by keyboard")


async def test_the_page_is_accessible_in_light_and_dark(service: Service, browser: Browser) -> None:
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    async with visit(browser, service.url) as page:
        await add(page, file("fine.jpg", PHOTO), file("broken.jpg", DAMAGED))
        await thumbnail(page, "fine.jpg")
        await expect(card(page, "broken.jpg")).to_contain_text("damaged, or is not")
        for scheme in schemes:
            await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            found: list[Any] = (await Axe().run(page)).response["violations"]
            assert [(scheme, rule["id"], rule["help"]) for rule in found] == []


async def test_nothing_stands_out_of_a_narrow_window(service: Service, browser: Browser) -> None:
    name = "a-very-long-name-" * 7 + ".jpg"
    async with visit(browser, service.url) as page:
        await add(page, file(name, PHOTO))
        await thumbnail(page, name)
        for width in (320, 390, 1280):
            await page.set_viewport_size({"width": width, "height": 800})
            assert await page.evaluate("document.documentElement.scrollWidth") == width


# What comes out of it


async def test_h13_a_file_that_is_a_page_or_a_script_too_does_nothing_in_a_browser(
    service: Service, browser: Browser
) -> None:
    script = b"<html><body><script>alert(1)</script><img src=x onerror=alert(2)>"
    moving = images.animation(2)
    hostile = {
        "page.png": images.encoded(images.plain("red"), "PNG")[:33]
        + images.png_chunk(b"tEXt", b"Comment\x00" + script)
        + images.encoded(images.plain("red"), "PNG")[33:],
        "page.jpg": images.encoded(images.scene(), "JPEG", comment=script),
        "script.gif": moving[:6] + b"/*" + moving[8:-1] + b"!\xfe\x0a*/=alert(1)\x00;",
        "<img src=x onerror=alert(3)>.jpg": PHOTO,
    }
    acted: list[str] = []
    files = {name: await made(service, name, data) for name, data in hostile.items()}
    context = await browser.new_context()
    page = await context.new_page()
    page.on("dialog", lambda dialog: acted.append(dialog.message))
    for url in files.values():
        await page.goto(url)
        assert await page.evaluate("document.images.length") == 1, "it is taken for an image"
        assert await page.evaluate("document.scripts.length") == 0
        assert b"alert(" not in (await service.client.get(url)).content
    await page.goto(service.url)
    await add(page, *(file(f"shown {name}", data) for name, data in hostile.items()))
    await expect(page.locator(".card[data-state=done]").filter(has_text="shown ")).to_have_count(len(hostile))
    await context.close()
    assert acted == []


async def made(service: Service, name: str, data: bytes) -> str:
    """Where the thumbnail is that the service makes of a file."""
    return service.url + (await service.result(await service.upload(data, name)))["result"]["thumbnail"]
