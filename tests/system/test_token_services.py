"""Upload tokens of services of their own: secrets that are replaced, limits, logs, metrics (rows U7, U10 and U11)."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncGenerator
from typing import Any

from tests.support.callers import ENVIRONMENT, JPEG, KEYS, PHOTO, SHOP, by, refusal, with_keys
from tests.support.service import UNHURRIED, Servers, Service
from tests.support.tokens import ask, issued, send

PAGE = "https://shop.example.org"
SECRET, NEXT = "a secret of 32 characters or more", "another secret of 32 characters or more"


async def test_u10_a_secret_is_replaced_without_a_gap(servers: Servers) -> None:
    environment = servers.environment() | {"IMGSVC_API_KEYS": KEYS}
    tokens: list[dict[str, str]] = []
    files: list[str] = []
    for secrets in (SECRET, f"{NEXT}, {SECRET}", NEXT):
        async with Service.start(environment, signing_secret=secrets, **UNHURRIED) as service:
            service.client.headers["authorization"] = f"Bearer {SHOP}"
            tokens.append(await issued(service))
            upload_id = await service.upload(PHOTO)
            files.append((await service.result(upload_id))["result"]["thumbnail"])
            good = [(await ask(service, "GET", file)).status_code == 200 for file in files]
            known = [
                (await ask(service, "GET", f"{token['status_url']}?token={token['token']}")).status_code == 404
                for token in tokens
            ]
            assert good == known
            assert good == {1: [True], 2: [True, True], 3: [False, True, True]}[len(tokens)]


async def test_u11_a_token_is_in_no_log_line_and_no_metric(servers: Servers, tmp_path_factory: Any) -> None:
    log = tmp_path_factory.mktemp("log") / "api.log"
    service = Service(
        servers.environment() | ENVIRONMENT, log_level="debug", log_format="json", log_filenames=1, **UNHURRIED
    )
    with log.open("wb") as file:
        command = [sys.executable, "-m", "imgsvc", "api"]
        api = await asyncio.create_subprocess_exec(*command, env=_environment(service), stdout=file, stderr=file)
        try:
            await service.until_ready(0)
            document = await issued(service, origin=PAGE)
            query = f"?token={document['token']}"
            await send(service, document["upload_url"])
            await send(service, document["upload_url"], PHOTO[:-1])
            await ask(service, "GET", f"{document['status_url']}{query}&filename={document['token']}")
            await ask(service, "GET", f"/uploads{query}")
            await ask(service, "GET", f"/nowhere/{document['token']}{query}")
            await ask(service, "GET", "/presets", headers=by(document["token"]))
            await ask(service, "GET", "/presets" + "?" + "x" * 20_000 + document["token"])
            await ask(
                service, "GET", f"/upload/{document['token']}/status{query}", headers={"x-request-id": "ours-1234"}
            )
            metrics = await service.client.get("/metrics", headers=by(SHOP))
        finally:
            api.terminate()
            await api.wait()
            await service.client.aclose()
    lines = log.read_text()
    assert '"key_id":"token"' in lines, "that it was a token is told"
    assert 'key_id="token"' in metrics.text
    parts = re.split(r"\.", document["token"])[1:]
    assert not [part for part in parts if part in lines or part in metrics.text]


def _environment(service: Service) -> dict[str, str]:
    return os.environ | service.environment


async def test_u11_a_token_counts_in_its_owners_limits(servers: Servers) -> None:
    async with with_keys(
        servers, workers=0, rate_limit=2, quota_bytes=10 * len(PHOTO), max_upload_bytes=9 * len(PHOTO)
    ) as service:
        documents = [await issued(service) for _ in range(3)]
        answers = [await send(service, document["upload_url"]) for document in documents]
        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert refusal(answers[2]) == (429, "rate_limited")
        again = await send(service, documents[0]["upload_url"])
        assert again.status_code == 202, "what is there already is counted once"
        other = await service.client.post("/upload", content=PHOTO, headers=JPEG)
        assert refusal(other) == (429, "rate_limited")


async def test_u7_the_services_own_limit_stays(servers: Servers) -> None:
    async with with_keys(servers, workers=0, max_upload_bytes=len(PHOTO) - 1, **UNHURRIED) as service:
        document = await issued(service, max_bytes=2**40)
        assert refusal(await send(service, document["upload_url"], _pieces())) == (413, "upload_too_large")


async def _pieces() -> AsyncGenerator[bytes]:
    yield PHOTO[:999]
    yield PHOTO[999:]
