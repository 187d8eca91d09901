"""The page at `/docs`, in a real browser: every operation is described there, and can be tried."""

import json
import shlex
from collections.abc import AsyncGenerator
from itertools import pairwise
from typing import Any, Literal

import orjson
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Locator, Page, expect

from imgsvc.api.openapi import document
from imgsvc.domain.presets import PRESETS
from tests.support import images
from tests.support.browser import chromium, file, visit
from tests.support.contract import METHODS
from tests.support.service import Servers, Service

DOCUMENT: dict[str, Any] = orjson.loads(orjson.dumps(document(1, PRESETS)))
PHOTO = images.photo()


@pytest_asyncio.fixture(scope="module")
async def browser() -> AsyncGenerator[Browser]:
    async with chromium() as started:
        yield started


def call(page: Page, operation_id: str) -> Locator:
    """The description of one operation."""
    return page.locator(f"article#{operation_id}")


async def form(page: Page, operation_id: str) -> Locator:
    """Opens the form to try an operation."""
    await call(page, operation_id).get_by_text("Try it", exact=True).click()
    return call(page, operation_id).locator("form")


async def send(try_form: Locator) -> None:
    await try_form.get_by_role("button", name="Send").click()


async def open_details(within: Locator) -> None:
    """Opens all details, nested ones too, once they are there."""
    await expect(within).to_be_visible()
    closed = within.locator("details:not([open])")
    while await closed.count():
        await closed.evaluate_all(
            """folds => Promise.all(folds.map(fold => new Promise(opened => {
                fold.addEventListener("toggle", opened);
                fold.open = true;
            })))"""
        )


async def test_every_call_is_shown_and_listed(service: Service, browser: Browser) -> None:
    calls = {
        operation["operationId"]: f"{method.upper()} {path}"
        for path, item in (DOCUMENT["paths"] | DOCUMENT["webhooks"]).items()
        for method, operation in item.items()
        if method in METHODS
    }
    async with visit(browser, f"{service.url}/docs") as page:
        await expect(page.locator("article")).to_have_count(len(calls))
        for operation_id, title in calls.items():
            await expect(call(page, operation_id).get_by_role("heading", level=3)).to_have_text(title)
        listed = page.get_by_role("navigation", name="Operations").locator("li")
        assert sorted(await listed.all_inner_texts()) == sorted(calls.values())
        await expect(page.get_by_role("row")).not_to_have_count(0)


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    return DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]


def words(schema: dict[str, Any]) -> list[str]:
    """What the page has to show of a schema: each value, range and member that it allows."""
    schema = resolved(schema)
    alternatives = schema.get("oneOf") or ([] if "type" in schema else schema.get("anyOf", []))
    found = [word for alternative in alternatives for word in words(alternative)]
    values = [*schema.get("enum", []), *([schema["const"]] if "const" in schema else [])]
    found += [json.dumps(value).strip('"') for value in values]
    if "minimum" in schema and "maximum" in schema:
        found.append(" to ".join(str(schema[end]).removesuffix(".0") for end in ("minimum", "maximum")))
    for name, member in schema.get("properties", {}).items():
        found += [name, *words(member)]
    return found + (words(schema["items"]) if "items" in schema else [])


async def test_every_kind_of_value_that_a_field_may_have_is_shown(service: Service, browser: Browser) -> None:
    fields = DOCUMENT["components"]["schemas"]["Variant"]["properties"]
    assert all(len(words(fields[name])) > 1 for name in ("gravity", "crop", "quality", "padding", "formats"))
    async with visit(browser, f"{service.url}/docs") as page:
        described = call(page, "derive_variants")
        await open_details(described)
        for name, schema in fields.items():
            member = described.locator(f"code.name:text-is('{name}')").first.locator("xpath=..")
            shown = await member.inner_text()
            missing = [word for word in words(schema) if word not in shown]
            assert missing == [], (name, shown)


async def test_fields_of_every_kind_are_filled_in_and_sent(service: Service, browser: Browser) -> None:
    filled = {
        "metadata": '{"order": "7"}',
        "focus": '{"x": 0.25, "y": 0.75}',
        "expires_in": "3600",
        "keep_location": "true",
    }
    async with visit(browser, f"{service.url}/docs") as page:
        try_form = await form(page, "upload")
        await try_form.locator("input[type=file]").set_input_files(file("tried.jpg", PHOTO))
        for name, value in filled.items():
            await try_form.get_by_label(f"{name} optional").fill(value)
        for name, value in {"preset": "default", "priority": "high"}.items():
            await try_form.get_by_label(f"{name} optional").select_option(value)
        sent = shlex.split(await try_form.locator(".command pre").inner_text())
        given = {f"{name}={value}" for name, value in (filled | {"preset": "default", "priority": "high"}).items()}
        assert {value for flag, value in pairwise(sent) if flag == "-F"} == {"file=@tried.jpg"} | given
        await send(try_form)
        await expect(try_form.locator(".response")).to_contain_text("202 Accepted")
        accepted = json.loads(await try_form.locator(".response > pre").inner_text())
        status = await service.ended(accepted["id"])
        assert (status["preset"], status["focus"], status["metadata"]) == (
            "default",
            {"x": 0.25, "y": 0.75},
            {"order": "7"},
        )
        assert status["expires_at"]

        try_form = await form(page, "change_upload")
        await expect(try_form.get_by_label("id path")).to_have_value(accepted["id"])
        await try_form.get_by_label("JSON").fill('{"focus": null}')
        await send(try_form)
        await expect(try_form.locator(".response")).to_contain_text("200 OK")
        assert (await service.status(accepted["id"]))["focus"] is None


async def test_an_upload_is_made_and_asked_about_from_the_page(service: Service, browser: Browser) -> None:
    async with visit(browser, f"{service.url}/docs", "clipboard-read", "clipboard-write") as page:
        try_form = await form(page, "upload")
        await try_form.locator("input[type=file]").set_input_files(file("tried.jpg", PHOTO))
        await try_form.get_by_label("metadata optional").fill('{"order": "7"}')
        await try_form.get_by_role("button", name="Copy").click()
        command = await page.evaluate("navigator.clipboard.readText()")
        assert "-F file=@tried.jpg" in command
        assert command.endswith(f"{service.url}/upload")
        await send(try_form)
        await expect(try_form.locator(".response")).to_contain_text("202 Accepted")
        accepted = json.loads(await try_form.locator(".response > pre").inner_text())
        assert accepted["filename"] == "tried.jpg"
        assert (await service.ended(accepted["id"]))["metadata"] == {"order": "7"}

        try_form = await form(page, "get_events")
        await expect(try_form.get_by_label("id path")).to_have_value(accepted["id"])
        await send(try_form)
        await expect(try_form.locator(".response > pre")).to_contain_text("event: status")


async def test_a_command_is_copied_where_the_browser_gives_no_clipboard(service: Service, browser: Browser) -> None:
    """Over plain HTTP it only does on localhost."""
    async with visit(browser, f"{service.url}/docs", "clipboard-read", "clipboard-write") as page:
        await page.evaluate("window.kept = navigator.clipboard")
        await page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
        try_form = await form(page, "get_health")
        await try_form.get_by_role("button", name="Copy").click()
        await expect(try_form.get_by_role("button", name="Copied")).to_be_visible()
        assert await page.evaluate("kept.readText()") == f"curl {service.url}/healthz"


async def test_a_refusal_is_shown_as_it_comes(service: Service, browser: Browser) -> None:
    async with visit(browser, f"{service.url}/docs") as page:
        try_form = await form(page, "list_uploads")
        await try_form.get_by_label("limit query").fill("0")
        await send(try_form)
        await expect(try_form.locator(".response")).to_contain_text("422")
        await expect(try_form.locator(".response > pre")).to_contain_text('"code": "invalid_field"')


async def test_sending_again_aborts_the_request_before(servers: Servers, browser: Browser) -> None:
    async with (
        Service.start(servers.environment(), workers=0) as service,
        visit(browser, f"{service.url}/docs") as page,
    ):
        upload_id = await service.upload(PHOTO)
        try_form = await form(page, "get_status")
        await try_form.get_by_label("id path").fill(upload_id)
        await try_form.get_by_label("wait query").fill("60")
        async with page.expect_request(f"**/{upload_id}/status?wait=60"):
            await send(try_form)
        await try_form.get_by_label("wait query").fill("")
        async with page.expect_event("requestfailed"):
            await send(try_form)
        await expect(try_form.locator(".response")).to_contain_text("200 OK")
        await expect(try_form.locator(".response")).to_contain_text("PENDING")
        await expect(try_form.get_by_role("button", name="Stop")).to_be_hidden()


async def test_the_page_is_accessible_in_light_and_dark(service: Service, browser: Browser) -> None:
    checked = ("upload_url", "get_result")
    # the other calls are made of the same parts
    others = {"exclude": [["article" + "".join(f":not(#{name})" for name in checked)]]}
    contrast: dict[str, Any] = {"runOnly": ["color-contrast"]}  # all that a scheme changes
    schemes: tuple[tuple[Literal["light", "dark"], dict[str, Any]], ...] = (("light", {}), ("dark", contrast))
    async with visit(browser, f"{service.url}/docs") as page:
        for operation_id in checked:
            await open_details(call(page, operation_id))
        try_form = call(page, "get_result").locator("form")
        await try_form.get_by_label("id path").fill("none")
        await send(try_form)
        await expect(try_form.locator(".response > pre")).to_contain_text("not_found")
        for scheme, rules in schemes:
            await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            found: list[Any] = (await Axe().run(page, others, rules)).response["violations"]
            assert [(scheme, rule["id"], rule["help"]) for rule in found] == []


async def test_nothing_stands_out_of_a_narrow_window(service: Service, browser: Browser) -> None:
    async with visit(browser, f"{service.url}/docs") as page:
        for operation_id in ("upload", "upload_url"):
            await form(page, operation_id)
        for width in (320, 390, 1280):
            await page.set_viewport_size({"width": width, "height": 800})
            assert await page.evaluate("document.documentElement.scrollWidth") == width
