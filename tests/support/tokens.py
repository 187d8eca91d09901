"""Upload tokens as an application issues them, and their bearers."""

from typing import Any

import httpx

from tests.support.callers import JPEG, PHOTO, SHOP, by
from tests.support.service import Service, leftovers


async def issued(service: Service, *, key: str = SHOP, **terms: Any) -> dict[str, str]:
    """The document of a new token."""
    answer = await service.client.post("/tokens", json=terms, headers=by(key))
    assert answer.status_code == 201, answer.text
    return answer.json()


async def ask(service: Service, method: str, url: str, **more: Any) -> httpx.Response:
    """A call of somebody who has no key."""
    # without TLS; certificates would take longer to load than the call
    async with httpx.AsyncClient(base_url=service.url, timeout=30, verify=False) as client:
        return await client.request(method, url, **more)


async def send(service: Service, url: str, data: Any = PHOTO, **headers: str) -> httpx.Response:
    """Uploads a file as the body."""
    return await ask(service, "POST", url, content=data, headers=JPEG | headers)


async def send_form(service: Service, url: str, data: bytes = PHOTO, kind: str = "", **fields: str) -> httpx.Response:
    """Uploads a file in a form."""
    return await ask(service, "POST", url, files={"file": ("photo.jpg", data, kind)}, data=fields)


def kept_of(service: Service, upload_id: str) -> list[str]:
    """What there is of an upload: keys and objects."""
    return [name for names in leftovers(service.environment).values() for name in names if upload_id in name]
