"""Foreign web pages: they reach nothing by a name of theirs, and write and learn nothing (rows H15 and H21)."""

from uuid import uuid4

import httpx
import pytest

from tests.support.callers import APP, PHOTO, assert_nothing_new, post, raw, refusal
from tests.support.service import Servers, Service, leftovers


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.7", ""],
)
async def test_h15_a_foreign_host_is_refused_while_open(service: Service, host: str) -> None:
    for path in ("/healthz", "/", f"/upload/{uuid4()}/status", "/files/processed/x"):
        assert refusal(await service.client.get(path, headers={"host": host})) == (403, "forbidden")
    assert refusal(await post(service, host=host)) == (403, "forbidden")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.8.9.1:80", "[::1]:8000", "[::1]"])
async def test_h15_loopback_is_known_by_all_its_names(service: Service, host: str) -> None:
    assert (await service.client.get("/healthz", headers={"host": host})).status_code == 200


async def test_h15_hosts_are_allowed_by_name(servers: Servers) -> None:
    async with Service.start(
        servers.environment(), workers=0, allowed_hosts="api, Images.example.com", host="0.0.0.0", allow_open=1
    ) as service:
        for host in ("api:8000", "images.example.com", "0.0.0.0"):
            assert (await service.client.get("/healthz", headers={"host": host})).status_code == 200
        for host in ("apis", "example.com", "x.images.example.com"):
            assert refusal(await service.client.get("/healthz", headers={"host": host})) == (403, "forbidden")


async def test_h15_every_host_is_allowed_by_a_star(servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=0, allowed_hosts="*") as service:
        assert (await service.client.get("/healthz", headers={"host": "any.example"})).status_code == 200


async def test_h15_one_host_and_no_more(service: Service) -> None:
    for hosts in ("", "Host: localhost\nHost: evil.example\n", "Host: localhost\nHost: localhost\n"):
        answer = await raw(service, f"GET /healthz HTTP/1.1\n{hosts}Connection: close\n\n")
        assert answer.startswith(("HTTP/1.1 403", "HTTP/1.1 400")), hosts


async def test_h15_no_header_and_no_absolute_uri_changes_a_link(service: Service, keyed: Service) -> None:
    forwarded = {
        "x-forwarded-host": "evil.example",
        "x-forwarded-proto": "https",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-prefix": "/evil",
        "forwarded": "host=evil.example;proto=https",
        "x-original-url": "/evil",
    }
    answer = await post(service, **forwarded)
    assert answer.headers["location"] == f"/upload/{answer.json()['id']}/status"
    assert "evil" not in answer.text
    assert refusal(await post(service, **forwarded, host="evil.example")) == (403, "forbidden")
    path = f"/upload/{answer.json()['id']}/status"
    absolute = await raw(service, f"GET http://evil.example{path} HTTP/1.1\nHost: localhost\nConnection: close\n\n")
    assert absolute.startswith("HTTP/1.1 400")
    assert "evil" not in absolute
    # with keys any Host will do, and still none gets into an answer
    for path in ("/upload/", "/healthz/", f"/upload/{uuid4()}"):
        answer = await keyed.client.get(path, headers=forwarded | {"host": "evil.example"})
        assert refusal(answer) == (404, "not_found")
        assert "location" not in answer.headers
        assert "evil" not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "https://evil.example", "sec-fetch-site": "same-origin"},
        {"origin": "https://evil.example", "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    ],
)
async def test_h21_a_foreign_page_can_write_nothing(service: Service, headers: dict[str, str]) -> None:
    mine = await service.upload(PHOTO)
    await service.ended(mine)
    before = leftovers(service.environment)
    form = {"file": ("a.jpg", PHOTO)}  # what a form can send without asking first
    for answer in (
        await service.client.post("/upload", files=form, headers=headers),
        await service.client.post(f"/upload/{mine}/retry", headers=headers),
        await service.client.post(f"/upload/{mine}/cancel", headers=headers),
        await service.client.delete(f"/upload/{mine}", headers=headers),
    ):
        assert refusal(answer) == (403, "forbidden")
        assert "access-control-allow-origin" not in answer.headers
    assert_nothing_new(service, before)
    assert (await service.status(mine))["status"] == "SUCCESS"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "same-origin"},
        {"origin": "http://LOCALHOST:80", "host": "localhost:80", "sec-fetch-site": "same-origin"},
    ],
)
async def test_h21_clients_and_the_services_own_page_can_write(service: Service, headers: dict[str, str]) -> None:
    assert (await post(service, **headers)).status_code == 202


async def test_h21_a_page_that_rebinds_its_name_reads_nothing(service: Service) -> None:
    """To the browser it is one origin with the service, so that only the Host tells."""
    headers = {"host": "evil.example:8000", "origin": "http://evil.example:8000", "sec-fetch-site": "same-origin"}
    assert refusal(await service.client.get(f"/upload/{uuid4()}", headers=headers)) == (403, "forbidden")
    assert refusal(await post(service, **headers)) == (403, "forbidden")


async def preflight(service: Service, origin: str, method: str = "POST") -> httpx.Response:
    asks = {"access-control-request-method": method, "access-control-request-headers": "authorization,idempotency-key"}
    headers = {"origin": origin, "sec-fetch-site": "cross-site"} | asks
    # a preflight carries no key
    return await service.client.options("/upload", headers=headers | {"authorization": ""})


async def test_h21_a_foreign_page_is_told_nothing_by_a_preflight(service: Service, keyed: Service) -> None:
    for target in (service, keyed):
        for origin in ("https://evil.example", "null", f"{APP}.evil.example", "http://app.example.com"):
            answer = await preflight(target, origin)
            assert answer.status_code in {401, 405}
            assert not [name for name in answer.headers if name.startswith("access-control-")]
        reading = await target.client.get("/healthz", headers={"origin": "https://evil.example"})
        assert not [name for name in reading.headers if name.startswith("access-control-allow-")]


async def test_an_origin_that_is_listed_may_call(keyed: Service, servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=0, cors_origins=f"http://localhost:3000, {APP}") as unkeyed:
        for target in (keyed, unkeyed):
            answer = await preflight(target, APP, "DELETE")
            assert answer.status_code == 200
            assert answer.headers["access-control-allow-origin"] == APP
            assert "DELETE" in answer.headers["access-control-allow-methods"]
            assert "idempotency-key" in answer.headers["access-control-allow-headers"]
            answer = await post(target, origin=APP, **{"sec-fetch-site": "cross-site"})
            assert answer.status_code == 202
            assert answer.headers["access-control-allow-origin"] == APP
            assert {"Location", "X-Request-Id", "Retry-After"} <= set(
                answer.headers["access-control-expose-headers"].split(", ")
            )
            assert "origin" in answer.headers["vary"].lower()
        refused = await keyed.client.get("/presets", headers={"origin": APP, "authorization": ""})
        assert refused.headers["access-control-allow-origin"] == APP, "a page may read why it was refused"
