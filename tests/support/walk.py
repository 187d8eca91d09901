"""Every call once, and what can be refused of it: for what holds of any answer."""

from typing import Any
from uuid import uuid4

import httpx

from imgsvc.domain.tokens import UploadToken, issue
from imgsvc.local.ports import free_port
from tests.support import images
from tests.support.contract import Contract
from tests.support.peers import HOLD, Listener, Receiver
from tests.support.service import Servers, Service, begun, until
from tests.support.tus import PIECE, VERSION, Tus, checksum, described

PHOTO = images.photo()
_KEYS = {"IMGSVC_API_KEYS": "one:key-number-one-0123456789, two:key-number-two-0123456789"}
_SIGNING_SECRET = "of 32 characters or even more of them"
_WEBHOOK_SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
VARIANTS = '{"thumbnail": {"width": 200}, "hero": {"widths": [40, 80], "formats": ["webp", "jpeg"]}}'


async def walk(servers: Servers, contract: Contract, max_bytes: int) -> None:
    settings: dict[str, Any] = {
        "max_upload_bytes": max_bytes,
        "outbound_allow": "127.0.0.1",
        "webhook_secret": _WEBHOOK_SECRET,
        "signing_secret": _SIGNING_SECRET,
    }
    async with Service.start(servers.environment(), decoders=1, **settings) as service:
        service.client.event_hooks["response"].append(contract.check)
        await _uploads(service, max_bytes)
        await _tokens(service)
        await _urls(service)
        await _resumable(service)
        await _jobs(service)
        await _files(service)
        await _operators(service)
        await _the_rest(service)
    await _held(servers, contract)
    await _with_keys(servers, contract)
    await _outage(contract)


async def _held(servers: Servers, contract: Contract) -> None:
    """A job that the gate holds back is released."""
    async with Receiver.start(HOLD) as gate:
        settings: dict[str, Any] = {"gate_url": gate.url, "webhook_secret": _WEBHOOK_SECRET}
        async with Service.start(servers.environment(), decoders=1, **settings) as service:
            service.client.event_hooks["response"].append(contract.check)
            upload_id = await service.upload(PHOTO)

            async def held() -> bool:
                return (await service.status(upload_id))["step"] == "held"

            await until(held)
            for _ in range(2):
                await service.client.post(f"/upload/{upload_id}/release")
            await service.ended(upload_id)


async def _uploads(service: Service, max_bytes: int) -> None:
    post = service.client.post
    key = {"idempotency-key": str(uuid4())}
    form = {"file": ("sample.jpg", PHOTO)}
    for file in (form, {"file": ("other.jpg", images.photo(64, 48))}):  # accepted, then a mismatch
        await post("/upload", files=file, headers=key)
    raw = {"preset": "default", "metadata": '{"a": "b"}', "expires_in": "3600", "filename": "raw.jpg"}
    await post("/upload", content=PHOTO, headers={"content-type": "image/jpeg"}, params=raw)
    await post("/upload", files=form, data={"variants": '{"card": {"width": 64}}'})
    for refused in (
        {"preset": "none"},
        {"variants": "{}"},
        {"webhook_url": "http://10.0.0.1/"},
        {"expires_in": "soon"},
        {"other": "1"},
    ):
        await post("/upload", files=form, data=refused)
    await post("/upload", content=PHOTO, headers={"idempotency-key": "a b"})
    await post("/upload", content=PHOTO * (max_bytes // len(PHOTO) + 2))
    await post("/upload", content=b"no image")
    await post("/upload", content=b"")
    await post("/upload", content=b"{}", headers={"content-type": "application/json"})
    await post("/upload", content=PHOTO, headers={"content-type": "multipart/form-data"})
    await post("/upload", files=[("file", ("a.jpg", PHOTO)), ("file", ("b.jpg", PHOTO))])
    await post("/upload", files={"preset": (None, "default")})


async def _tokens(service: Service) -> None:
    post = service.client.post
    document = (await post("/tokens", json={"preset": "default", "max_bytes": len(PHOTO)})).json()
    url, query = document["upload_url"], {"token": document["token"]}
    await post(url, content=PHOTO, headers={"repr-digest": "sha-256=:AAAA:"})
    await post(url, content=PHOTO, headers={"content-digest": f"sha-256=:{'A' * 43}=:"})
    for data in (PHOTO, PHOTO, images.photo(16, 16), PHOTO * 2):
        await post(url, content=data)
    await post(url, files={"file": ("a.jpg", PHOTO)}, data={"preset": "default"})
    for part in ("status", "result", "events"):
        await service.client.get(f"/upload/{document['id']}/{part}", params=query)
    await service.client.get("/uploads", params=query)
    await service.client.get("/uploads", params={"token": "altered"})
    expired = issue(UploadToken(document["id"], "", 1), _SIGNING_SECRET.encode())
    for method, path in (("POST", "/upload"), ("GET", f"/upload/{document['id']}/status")):
        await service.client.request(method, path, params={"token": expired})
    await post(f"/upload/{document['id']}/cancel", params=query)
    for refused in ({"other": 1}, {"valid_for": 1}, {"preset": "none"}, {"variants": {}}, [], {"webhook_url": "x"}):
        await post("/tokens", json=refused)
    await post("/tokens", content=b"{", headers={"content-type": "application/json"})
    await post("/tokens", content=b"{}", headers={"content-type": "text/plain"})
    await post("/tokens", json={"preset": "x" * 40_000})


async def _urls(service: Service) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(PHOTO), PHOTO)
    async with Listener.start(answer) as host:
        url = f"http://127.0.0.1:{host.port}/photo.jpg"
        taken = await service.client.post("/upload/url", json={"url": url, "metadata": {"a": "b"}, "webhook_url": url})
        await service.ended(taken.json()["id"])
        await service.client.get(f"/upload/{taken.json()['id']}")
        await _deliveries(service, taken.json()["id"])
    for refused in ({"url": "http://10.0.0.1/"}, {"url": url, "other": 1}, [], {"url": url, "filename": "x" * 40_000}):
        await service.client.post("/upload/url", json=refused)
    await service.client.post("/upload/url", content=b"{", headers={"content-type": "application/json"})
    await service.client.post("/upload/url", content=b"{}", headers={"content-type": "text/plain"})
    await service.client.get("/upload/url")


async def _deliveries(service: Service, upload_id: str) -> None:
    path = f"/upload/{upload_id}/deliveries"

    async def delivered() -> bool:
        return (await service.client.get(path)).json()["deliveries"][0]["state"] == "delivered"

    await until(delivered)
    await service.client.post(f"{path}/1/replay")
    for number in (2, 3):  # soon, while it is under way, and what there is none of
        await service.client.post(f"{path}/{number}/replay")
    await service.client.post(f"{path}/1/replay", params={"other": "1"})


async def _resumable(service: Service) -> None:
    tus = Tus(service.client)
    path = await tus.begun(None, filename="a.jpg")
    await tus.call("HEAD", path)
    await tus.patch(path, 0, PHOTO, upload_checksum=checksum(b"other"))
    await tus.patch(path, 0, PHOTO[:100])
    await tus.patch(path, 0, PHOTO[:100])
    await tus.patch(path, 100, PHOTO[100:], upload_length=str(len(PHOTO)))
    whole = await tus.create(len(PHOTO), PHOTO, upload_metadata=described(filename="a.jpg"))
    for method in ("HEAD", "PATCH", "DELETE", "HEAD"):
        piece = {"upload_offset": str(len(PHOTO)), **{name.replace("-", "_"): kind for name, kind in PIECE.items()}}
        await tus.call("POST", whole.headers["location"], b"", x_http_method_override=method, **piece)
    await tus.call("DELETE", path)
    await tus.call("DELETE", path)
    await tus.patch(path, 0, PHOTO)
    await tus.create(0)
    await tus.create(len(PHOTO), b"no image")
    await tus.create(10**12)
    await tus.create(9, upload_metadata=described(preset="none"))
    await tus.call("POST", "/tus")
    await service.client.post("/tus")
    await service.client.post("/tus?x=1", headers=VERSION)


async def _jobs(service: Service) -> None:
    async def around(upload_id: str) -> None:
        for path in ("", "/status", "/result"):
            await service.client.get(f"/upload/{upload_id}{path}")
        await service.client.post(f"/upload/{upload_id}/retry")

    good = await service.upload(PHOTO, variants=VARIANTS)
    bad = await service.upload(PHOTO[: len(PHOTO) // 2])
    for upload_id in (good, bad):
        await service.ended(upload_id)
        await service.client.post(f"/upload/{upload_id}/cancel")
        await around(upload_id)
    await service.ended(bad)
    under_way = await begun(service)
    await around(under_way)
    await service.client.post(f"/upload/{under_way}/cancel")
    await around(under_way)
    passing = await service.upload(PHOTO, expires_in="1")

    async def expired() -> bool:
        return (await service.client.get(f"/upload/{passing}/status")).status_code == 410

    await until(expired)
    await around(passing)
    await _events(service, good)
    await _derivations(service, good, bad)
    await service.client.get("/uploads")
    await service.client.get("/uploads", params={"status": "SUCCESS", "limit": 1})
    await service.client.get("/uploads", params={"cursor": "made up"})
    await service.client.get(f"/upload/{good}/result", headers={"prefer": "wait=1"})
    await service.client.get(f"/upload/{good}/status", params={"wait": "long"})
    for method, action in (("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")):
        await service.client.request(method, f"/upload/{good}{action}", params={"other": "1"})
    await service.client.delete(f"/upload/{good}")
    await service.client.delete(f"/upload/{uuid4()}")
    await around(str(uuid4()))


async def _operators(service: Service) -> None:
    get, post = service.client.get, service.client.post
    await get("/admin")
    await get("/admin", headers={"if-none-match": "*"})
    await get("/admin/stats")
    (row,) = (await get("/admin/uploads", params={"limit": 1})).json()["uploads"]
    await get("/admin/uploads", params={"status": "none"})
    await get(f"/admin/uploads/{row['id']}")
    await get(f"/admin/uploads/{uuid4()}")
    await get("/admin/count", params={"status": "FAILURE"})
    await get("/admin/count", params={"code": "none"})
    for action in ("retry", "cancel"):
        begun = (await post(f"/admin/{action}", json={"where": {"q": "nothing has this name"}})).json()
        for refused in ({}, {"where": {"status": "SUCCESS"}}, {"where": {}, "other": 1}, []):
            await post(f"/admin/{action}", json=refused)
        await post(f"/admin/{action}", content=b"{}", headers={"content-type": "text/plain"})
    await get("/admin/actions")
    await get(f"/admin/actions/{begun['id']}")
    await get(f"/admin/actions/{uuid4()}")
    await post(f"/admin/actions/{begun['id']}/cancel")
    await post(f"/admin/actions/{begun['id']}/cancel", params={"other": "1"})
    await post(f"/admin/actions/{uuid4()}/cancel")


async def _derivations(service: Service, good: str, bad: str) -> None:
    post = service.client.post
    for upload_id, body in (
        *((good, refused) for refused in ({"preset": "none"}, {"variants": {}}, {"preset": "default", "only": []}, [])),
        *((upload_id, {"preset": "default", "only": ["thumbnail"]}) for upload_id in (bad, str(uuid4()), good)),
    ):
        await post(f"/upload/{upload_id}/variants", json=body)
    patch = service.client.patch
    for upload_id, point in ((good, {"x": 2}), (bad, {"x": 0.5, "y": 0.3}), (str(uuid4()), None)):
        await patch(f"/upload/{upload_id}", json={"focus": point})
    for path in ("/status?wait=30", "/result", ""):
        await service.client.get(f"/upload/{good}{path}")
    square = {"width": 9, "height": 9, "fit": "cover", "gravity": "focus"}
    await post(f"/upload/{good}/variants", json={"variants": {"square": square}})
    await service.client.get(f"/upload/{good}/status?wait=30")
    await patch(f"/upload/{good}", json={"focus": {"x": 0.5, "y": 0.3}})
    await patch(f"/upload/{good}", json={"focus": None, "other": 1})
    await patch(f"/upload/{good}", content=b"{}")
    await post(f"/upload/{good}/variants", json={"preset": "default", "other": 1})
    await post(f"/upload/{good}/variants", content=b"{}", headers={"content-type": "text/plain"})
    await post(f"/upload/{good}/variants", json={"preset": "x" * 40_000})


async def _events(service: Service, ended: str) -> None:
    """All of a stream that has come to its end, and what one is told who comes again."""
    stream = (await service.client.get(f"/upload/{ended}/events")).text
    last = next(line for line in stream.splitlines() if line.startswith("id: "))
    await service.client.get(f"/upload/{ended}/events", headers={"last-event-id": last.removeprefix("id: ")})


async def _files(service: Service) -> None:
    path = (await service.result(await service.upload(PHOTO)))["result"]["thumbnail"]
    etag = (await service.client.get(path, params={"download": "1"})).headers["etag"]
    for headers in (
        {"range": "bytes=0-9"},
        {"range": "bytes=999999-"},
        {"if-none-match": etag},
        {"if-match": '"other"'},
    ):
        await service.client.get(path, headers=headers)
        await service.client.head(path, headers=headers)
    for call in (service.client.get, service.client.head):
        await call(f"/files/processed/{uuid4()}/x.jpeg")


async def _the_rest(service: Service) -> None:
    for path in ("/presets", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/", "/nowhere"):
        etag = (await service.client.get(path)).headers.get("etag")
        await service.client.get(path, headers={"if-none-match": etag or '"other"'})
        await service.client.put(path)
    await service.client.get("/presets", params={"x": "x" * 20_000})
    await service.client.get("/presets", headers={"x-long": "x" * 40_000})
    await service.client.get("/presets", headers={"host": "elsewhere.example"})


async def _with_keys(servers: Servers, contract: Contract) -> None:
    environment = servers.environment() | _KEYS
    settings: dict[str, Any] = {
        "rate_limit": 2,
        "max_upload_bytes": len(PHOTO),
        "quota_bytes": len(PHOTO),
        "signing_secret": _SIGNING_SECRET,
        "signed_url_ttl_s": 2,
    }
    async with Service.start(environment, decoders=1, **settings) as service:
        service.client.event_hooks["response"].append(contract.check)
        await service.client.get("/presets")
        service.client.headers["authorization"] = "Bearer key-number-two-0123456789"
        for _ in range(3):
            await service.client.post("/upload", content=images.photo(16, 16))
        service.client.headers["authorization"] = "Bearer key-number-one-0123456789"
        path = (await service.result(await service.upload(PHOTO)))["result"]["thumbnail"]
        await service.client.post("/upload", content=PHOTO)
        await service.client.get(path)
        await service.client.get(path.partition("?")[0])

        async def expired() -> bool:
            return (await service.client.get(path)).status_code == 403

        await until(expired)


async def _outage(contract: Contract) -> None:
    """While Redis and S3 are away."""
    away = free_port()
    environment = {
        "IMGSVC_REDIS_URL": f"redis://127.0.0.1:{away}/0",
        "IMGSVC_S3_ENDPOINT_URL": f"http://127.0.0.1:{away}",
        "IMGSVC_S3_ACCESS_KEY_ID": "key",
        "IMGSVC_S3_SECRET_ACCESS_KEY": "secret",
    }
    service = Service(environment)
    try:
        await service.start_api()
        await until(lambda: _is_alive(service))
        service.client.event_hooks["response"].append(contract.check)
        for path in ("/readyz", f"/upload/{uuid4()}/status", f"/files/processed/{uuid4()}/x.jpeg"):
            await service.client.get(path)
        await service.client.post("/upload", content=PHOTO)
    finally:
        await service.stop()


async def _is_alive(service: Service) -> bool:
    try:
        return (await service.client.get("/healthz")).status_code == 200
    except httpx.TransportError:
        return False
