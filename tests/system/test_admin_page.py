"""The operators' page, in a real browser against the real service."""

import re
from collections.abc import AsyncGenerator
from typing import Any, Literal
from uuid import uuid4

import httpx
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, Request, expect
from redis.asyncio import Redis

from tests.support import images
from tests.support.browser import chromium, visit
from tests.support.peers import Listener
from tests.support.service import Servers, Service, begun, resume_decoders, settings_of, until

PHOTO = images.photo(160, 120)
DAMAGED = images.photo()[:5000]
KEY = "anne-0123456789abcdef"
SECRET = "0123456789abcdef" * 2


@pytest_asyncio.fixture(scope="module")
async def browser() -> AsyncGenerator[Browser]:
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(scope="module")
async def one(servers: Servers) -> AsyncGenerator[Service]:
    """One worker with one decoder, which a test may suspend."""
    async with Service.start(servers.environment(), decoders=1, redis_timeout_s=5, s3_timeout_s=12) as started:
        yield started


def row(page: Page, name: str) -> Any:
    return page.get_by_role("row").filter(has_text=name)


async def test_an_operator_watches_a_job_and_what_its_worker_is_at(one: Service, browser: Browser) -> None:
    async with visit(browser, f"{one.url}/admin") as page:
        await expect(page.get_by_role("heading", name="Operations")).to_be_visible()
        upload_id = await begun(one, filename="under-way.jpg")
        workers = page.get_by_role("region", name="Workers")
        await expect(workers).to_contain_text("decode, 10 %")
        await expect(row(page, "under-way.jpg").first).to_contain_text("decode, 10 %")
        resume_decoders(one.workers[0])
        await one.ended(upload_id)
        await expect(row(page, "under-way.jpg").first).to_contain_text("Done")
        await expect(workers).to_contain_text("idle")
        plot = page.get_by_role("img", name=re.compile(r"In the last hour \d+ jobs? accepted, \d+ done"))
        await expect(plot).to_be_visible()
        await page.get_by_text("As a table").click()
        await expect(page.get_by_role("row").filter(has=page.get_by_role("rowheader"))).not_to_have_count(0)


async def test_a_failure_is_found_by_its_code_read_and_retried(one: Service, browser: Browser) -> None:
    name = f"{uuid4().hex}.jpg"
    failed, done = await one.upload(DAMAGED, name), await one.upload(PHOTO, "fine.jpg")
    await one.ended(failed)
    await one.ended(done)
    async with visit(browser, f"{one.url}/admin") as page:
        await page.get_by_role("button", name=re.compile(r"decode_failed \d+")).click()
        await expect(page).to_have_url(re.compile(r"code=decode_failed"))
        await expect(row(page, name)).to_be_visible()
        await expect(row(page, "fine.jpg")).to_have_count(0)
        await row(page, name).get_by_role("button").click()
        story = page.get_by_role("dialog", name=name)
        await expect(story).to_contain_text("Failed: decode_failed, in attempt 1")
        await expect(story).to_contain_text("request_id=")
        await story.get_by_role("button", name="Retry").click()
        await expect(story).to_contain_text("Failed: decode_failed, in attempt 2")
        assert (await one.status(failed))["attempt"] == 2
        await page.keyboard.press("Escape")
        await expect(story).to_be_hidden()
        await page.reload()
        await expect(page.get_by_label("Failure")).to_have_value("decode_failed")
        await expect(row(page, name)).to_be_visible()


async def test_uploads_are_searched_by_name_status_and_owner(one: Service, browser: Browser) -> None:
    prefix = uuid4().hex
    for name, data in ((f"{prefix}-good.jpg", PHOTO), (f"{prefix}-bad.jpg", DAMAGED)):
        await one.ended(await one.upload(data, name))
    async with visit(browser, f"{one.url}/admin") as page:
        await page.get_by_label("File or id").fill(prefix.upper())
        await page.keyboard.press("Enter")
        await expect(page.locator("#uploads tbody tr")).to_have_count(2)
        await page.get_by_label("Status").select_option("Failed")
        await expect(page.locator("#uploads tbody tr")).to_have_count(1)
        await page.get_by_label("Owner").fill("nobody")
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("Nothing matches.")).to_be_visible()
        await page.get_by_role("button", name="Clear").click()
        await expect(page.get_by_text("Nothing matches.")).to_be_hidden()
        await expect(page).to_have_url(f"{one.url}/admin")


async def test_all_that_match_are_retried_once_their_number_is_confirmed(one: Service, browser: Browser) -> None:
    prefix = uuid4().hex
    ids = [await one.upload(DAMAGED, f"{prefix}-{number}.jpg") for number in range(3)]
    for upload_id in ids:
        await one.ended(upload_id)
    async with visit(browser, f"{one.url}/admin?q={prefix}") as page:
        await expect(page.locator("#uploads tbody tr")).to_have_count(3)
        await page.get_by_role("button", name="Retry all that match").click()
        confirm = page.get_by_role("dialog", name="Retry all that match")
        await expect(confirm).to_contain_text("3 uploads")
        await confirm.get_by_role("button", name="Back").click()
        assert [(await one.status(upload_id))["attempt"] for upload_id in ids] == [1, 1, 1]
        await page.get_by_role("button", name="Retry all that match").click()
        await expect(confirm.get_by_role("button", name="Retry")).to_be_focused()
        await page.keyboard.press("Enter")
        actions = page.get_by_role("region", name="Bulk actions")
        await expect(actions).to_contain_text("3 of 3")
        await expect(actions).to_contain_text("done")

        async def are_done() -> bool:
            return [(await one.status(upload_id))["attempt"] for upload_id in ids] == [2, 2, 2]

        await until(are_done)
        await page.get_by_label("Status").select_option("Done")
        await expect(page.get_by_role("button", name="Cancel all that match")).to_be_disabled()


async def test_ten_thousand_jobs_are_a_page_of_fifty_and_no_long_task(servers: Servers, browser: Browser) -> None:
    environment = servers.environment()
    async with Service.start(environment, workers=0) as service:
        await service.upload(PHOTO, "the-newest.jpg")
        async with Redis.from_url(settings_of(environment).redis_url) as redis:
            (key,) = await redis.keys("imgsvc:upload:*")
            record = await redis.hgetall(key)  # pyright: ignore[reportGeneralTypeIssues]
            now = int(record[b"created_at"])
            for at in range(0, 10_000, 1000):
                async with redis.pipeline(transaction=False) as pipe:
                    for number in range(at, at + 1000):
                        upload_id = str(uuid4())
                        mine = {b"created_at": now - 1000 - number, b"filename": f"one-of-many-{number}.jpg"}
                        pipe.hset(f"imgsvc:upload:{upload_id}", mapping={**record, **mine, b"status": "CANCELLED"})
                        pipe.zadd("imgsvc:all", {upload_id: now - 1000 - number})
                    await pipe.execute()
        async with visit(browser, "about:blank") as page:
            await page.add_init_script(
                "window.longTasks = [];"
                "new PerformanceObserver((list) => longTasks.push(...list.getEntries().map((task) => task.duration)))"
                '.observe({ type: "longtask", buffered: true });'
            )
            await page.goto(f"{service.url}/admin")
            rows = page.locator("#uploads tbody tr")
            await expect(rows).to_have_count(50)
            await page.evaluate("longTasks.length = 0")  # what loading takes
            for _ in range(10):
                first = await rows.first.inner_text()
                await page.get_by_role("button", name="Older").click()
                await expect(rows.first).not_to_have_text(first)
                await expect(rows).to_have_count(50)
            await page.get_by_label("File or id").fill("one-of-many-9999")
            await page.keyboard.press("Enter")
            await expect(rows).to_have_count(1)
            size: int = await page.evaluate("document.querySelectorAll('*').length")
            long_tasks: list[float] = await page.evaluate("longTasks")
    print(f"{size} elements, long tasks: {long_tasks}")
    assert size < 1500
    assert max(long_tasks, default=0) < 200


async def test_a_page_that_nobody_sees_asks_for_nothing(service: Service, browser: Browser) -> None:
    asked: list[Request] = []
    async with visit(browser, f"{service.url}/admin") as page:
        await expect(page.locator("#updated")).to_contain_text("As of")
        hide = """hidden => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
        await page.evaluate(hide, True)
        # what was under way has ended by then
        await page.wait_for_timeout(2500)
        page.on("request", lambda request: asked.append(request))
        await page.wait_for_timeout(5000)
        assert asked == []
        async with page.expect_request("**/admin/stats"):
            await page.evaluate(hide, False)


async def test_a_page_whose_service_is_away_says_so_and_goes_on_when_it_is_back(
    service: Service, browser: Browser
) -> None:
    async with visit(browser, f"{service.url}/admin") as page:
        await expect(page.locator("#updated")).to_contain_text("As of")
        await page.route("**/admin/stats", lambda route: route.abort())
        await expect(page.get_by_role("alert").first).to_contain_text("could not be reached")
        await expect(page.get_by_role("heading", name="Workers")).to_be_visible()
        await page.unroute("**/admin/stats")
        await expect(page.get_by_role("alert").first).to_be_empty()


async def test_who_is_no_operator_is_told_how_to_become_one(servers: Servers, browser: Browser) -> None:
    async with (
        Service.start(servers.environment(), api_keys=f"anne:{KEY}", signing_secret=SECRET, workers=0) as service,
        visit(browser, f"{service.url}/admin") as page,
    ):
        dialog = page.get_by_role("dialog", name="API key")
        await dialog.get_by_label("Key").fill(KEY)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert").first).to_contain_text("IMGSVC_OWNERS_FILE")
        await expect(page.get_by_role("heading", name="Workers")).to_be_hidden()
        await expect(page.get_by_role("button", name="Remove API key")).to_be_visible()


async def test_the_page_is_accessible_in_light_and_dark_and_in_every_dialog(one: Service, browser: Browser) -> None:
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    failed = await one.upload(DAMAGED, "broken.jpg")
    await one.ended(failed)
    async with visit(browser, f"{one.url}/admin?q=broken") as page:
        await expect(row(page, "broken.jpg").first).to_contain_text("decode_failed")
        await page.get_by_text("As a table").click()

        async def check(what: str) -> None:
            for scheme in schemes:
                await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                found: list[Any] = (await Axe().run(page)).response["violations"]
                assert [(what, scheme, rule["id"], rule["help"]) for rule in found] == []

        await check("the page")
        await row(page, "broken.jpg").first.get_by_role("button").click()
        await expect(page.get_by_role("dialog")).to_contain_text("Submitted")
        await check("a story")
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="Retry all that match").click()
        await expect(page.get_by_role("dialog")).to_contain_text(re.compile(r"\d+ uploads?"))
        await check("the question")


async def test_nothing_stands_out_of_a_narrow_window(one: Service, browser: Browser) -> None:
    await one.ended(await one.upload(PHOTO, "a-very-long-name-" * 7 + ".jpg"))
    async with visit(browser, f"{one.url}/admin") as page:
        await expect(row(page, "a-very-long-name").first).to_be_visible()
        for width in (320, 390, 1280):
            await page.set_viewport_size({"width": width, "height": 800})
            assert await page.evaluate("document.documentElement.scrollWidth") == width


async def test_the_page_asks_no_other_host(service: Service, browser: Browser) -> None:
    asked: list[str] = []
    async with visit(browser, "about:blank") as page:
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(f"{service.url}/admin")
        await expect(page.locator("#updated")).to_contain_text("As of")
    assert all(url.startswith(service.url) for url in asked)
    async with httpx.AsyncClient() as client:
        policy = (await client.get(f"{service.url}/admin")).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


async def test_what_a_webhook_was_sent_is_shown_and_sent_again(servers: Servers, browser: Browser) -> None:
    settings: dict[str, Any] = {
        "outbound_allow": "127.0.0.1",
        "webhook_secret": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3",
    }
    async with (
        Listener.start(b"HTTP/1.1 204 No Content\r\n\r\n") as receiver,
        Service.start(servers.environment(), decoders=1, **settings) as service,
    ):
        hook = f"http://127.0.0.1:{receiver.port}/hook"
        upload_id = await service.upload(PHOTO, "hooked.jpg", webhook_url=hook)
        await service.ended(upload_id)
        async with visit(browser, f"{service.url}/admin") as page:
            await row(page, "hooked.jpg").get_by_role("button").click()
            sent = page.get_by_role("dialog").get_by_role("region", name="Webhook")
            await expect(sent).to_contain_text("upload.succeeded")
            await expect(sent).to_contain_text("delivered")
            await expect(sent.get_by_text(": 204, after")).to_have_count(1)
            await sent.get_by_role("button", name="Send upload.succeeded again").click()
            await expect(sent.get_by_text(": 204, after")).to_have_count(2)
