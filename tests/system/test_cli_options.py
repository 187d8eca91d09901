"""`imgsvc upload` with the options of an upload, and with URLs instead of files."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from imgsvc.cli.options import options_of
from imgsvc.cli.parser import parser
from imgsvc.domain.options import OPTIONS
from tests.support import images
from tests.support.command import Ended, imgsvc
from tests.support.peers import OK, Listener, Receiver
from tests.support.service import Servers, Service

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
PHOTO = images.photo()
GIVEN: dict[str, tuple[Sequence[str], Any]] = {
    "preset": (["default"], "default"),
    "variants": (['{"card": {"width": 9}}'], {"card": {"width": 9}}),
    "metadata": (["order=1234", "note=a=b"], {"order": "1234", "note": "a=b"}),
    "expires_in": (["600"], 600),
    "webhook_url": (["https://shop.example/hook"], "https://shop.example/hook"),
    "priority": (["high"], "high"),
    "focus": (['{"x": 0.25, "y": 1}'], {"x": 0.25, "y": 1}),
    "keep_location": (["true"], True),
    "filename": (["n\u00e4h.jpg"], "n\u00e4h.jpg"),
}
"""Each option as it is given on the command line, and the value that is sent."""


@dataclass
class Place:
    """A service that fetches from loopback, and a host there that has a photo."""

    service: Service
    host: Listener

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.host.port}/album/sunset.jpg?size=full"

    async def upload(self, folder: Path, *args: str, feed: bytes = b"") -> Ended:
        env = {"IMGSVC_SERVER": self.service.url}
        return await imgsvc("upload", *args, cwd=folder, env=env, feed=feed)


@pytest_asyncio.fixture(scope="module")
async def place(servers: Servers) -> AsyncGenerator[Place]:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PHOTO) + PHOTO
    settings: dict[str, Any] = {"outbound_allow": "127.0.0.1", "webhook_secret": SECRET}
    async with Listener.start(answer) as host, Service.start(servers.environment(), **settings) as service:
        yield Place(service, host)


def parsed(*args: str) -> dict[str, Any]:
    return options_of(parser().parse_args(["upload", "photo.jpg", *args]))


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_of_an_upload_is_an_argument(name: str) -> None:
    texts, value = GIVEN[name]
    flag = f"--{name.replace('_', '-')}"
    assert parsed(*(part for text in texts for part in (flag, text))) == {name: value}


async def test_the_options_given_are_those_of_the_upload(place: Place, folder: Path) -> None:
    async with Receiver.start(OK) as receiver:
        args = ("--metadata", "order=1234", "--metadata", '{"sku": "A-7"}', "--expires-in", "600")
        more = ("--webhook-url", receiver.url, "--filename", "n\u00e4h.jpg", "--variants", '{"card": {"width": 9}}')
        ended = await place.upload(folder, "photo.jpg", *args, *more, "--wait", "--json")
        assert ended.code == 0, ended.out
        (printed,) = ended.objects
        assert (await receiver.until_told()).event["data"]["id"] == printed["id"]
    status = await place.service.status(printed["id"])
    assert status["metadata"] == {"order": "1234", "sku": "A-7"}
    assert (status["filename"], status["preset"]) == ("n\u00e4h.jpg", "custom")
    assert status["expires_at"] is not None
    assert printed["result"]["variants"].keys() == {"card"}


async def test_a_url_is_uploaded_with_the_same_options_and_its_variants_are_saved(place: Place, folder: Path) -> None:
    (folder / "order.json").write_text('{"order": "1234"}')
    (folder / "card.json").write_text('{"card": {"width": 9, "format": "png"}}')
    args = ("--metadata", "@order.json", "--variants", "@card.json", "--expires-in", "600", "--save", "out", "--json")
    ended = await place.upload(folder, place.url, *args)
    assert (ended.code, ended.err) == (0, "")
    (printed,) = ended.objects
    assert (printed["file"], printed["status"]) == (place.url, "SUCCESS")
    assert printed["saved"] == {"card": "out/sunset_card.png"}
    assert (folder / "out/sunset_card.png").read_bytes() == await place.service.file(printed["id"], "card")
    status = await place.service.status(printed["id"])
    assert (status["filename"], status["metadata"]) == ("sunset.jpg", {"order": "1234"})
    assert status["expires_at"] is not None


async def test_files_urls_and_stdin_are_uploaded_together_and_one_failure_stops_none(
    place: Place, folder: Path
) -> None:
    refused = "http://169.254.169.254/latest/meta-data/"
    ended = await place.upload(folder, "photo.jpg", place.url, refused, "-", "--wait", "--json", feed=PHOTO)
    assert ended.code == 1
    results = {item["file"]: item for item in ended.objects}
    assert {name: item["status"] for name, item in results.items() if name != refused} == dict.fromkeys(
        ("photo.jpg", place.url, "-"), "SUCCESS"
    )
    assert results[refused]["error"]["code"] == "url_not_allowed"
    assert "Name a host" in results[refused]["error"]["message"]


async def test_a_url_whose_image_cannot_be_had_is_reported_with_the_reason(place: Place, folder: Path) -> None:
    async with Listener.start(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") as host:
        url = f"http://127.0.0.1:{host.port}/gone.jpg"
        ended = await place.upload(folder, url, "--wait")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith(f"imgsvc: {url}: ")


async def test_without_waiting_a_url_gets_its_status_url_and_may_have_another_name(place: Place, folder: Path) -> None:
    ended = await place.upload(folder, place.url, "--filename", "dawn.jpg")
    assert ended.code == 0
    status_url = ended.out.strip().removeprefix(f"{place.url}: ")
    assert (await place.service.client.get(status_url)).json()["filename"] == "dawn.jpg"


async def test_stdin_may_have_a_name(place: Place, folder: Path) -> None:
    ended = await place.upload(folder, "-", "--filename", "dawn.jpg", "--save", "out", "--json", feed=PHOTO)
    assert ended.objects[0]["saved"]["thumbnail"] == "out/dawn_thumbnail.jpeg"


async def test_an_option_that_the_service_refuses_is_reported_with_what_to_do(service: Service, folder: Path) -> None:
    env = {"IMGSVC_SERVER": service.url}
    preset = await imgsvc("upload", "photo.jpg", "--preset", "shop", cwd=folder, env=env)
    assert (preset.code, preset.err) == (1, "imgsvc: photo.jpg: There is no preset 'shop'. The presets are: default.\n")
    webhook = await imgsvc("upload", "photo.jpg", "--webhook-url", "https://x.example/", cwd=folder, env=env)
    assert webhook.code == 1
    assert "IMGSVC_WEBHOOK_SECRET" in webhook.err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--metadata", "order"), "argument --metadata: must be KEY=VALUE, a JSON object, or @FILE that holds one"),
        (("--metadata", "=1"), "argument --metadata: must be KEY=VALUE"),
        (("--metadata", '{"a": 1}'), "argument --metadata: must be a JSON object whose values are strings"),
        (("--metadata", "{"), "argument --metadata: is not JSON: "),
        (("--metadata", "a=1", "--metadata", "a=2"), "argument --metadata: 'a' is given twice"),
        (("--metadata", f"a={'x' * 5000}"), "argument --metadata: is longer than 4096 bytes"),
        (("--metadata", f"a={'x' * 3000}", "--metadata", f"b={'x' * 3000}"), "is longer than 4096 bytes"),
        (("--metadata", "@missing.json"), "argument --metadata: cannot read the file missing.json: "),
        (("--metadata", "a=\udcff"), "argument --metadata: must be UTF-8"),
        (("--filename", "\udcff"), "argument --filename: must be UTF-8"),
        (("--variants", "@photo.jpg"), "argument --variants: cannot read the file photo.jpg: "),
        (("--variants", '{"card": {"widht": 9}}'), "variants.card.widht is not a field of a variant (did you mean"),
        (("--preset", "a", "--variants", '{"card": {"width": 9}}'), "not allowed with argument --preset"),
        (("--expires-in", "1.5"), "argument --expires-in: must be a whole number of seconds from 1 to 316224000"),
        (("other.jpg", "--filename", "a.jpg"), "--filename names one image: give it with a single FILE or URL"),
    ],
)
async def test_an_option_that_is_wrong_is_named_before_anything_is_sent(
    folder: Path, args: tuple[str, ...], says: str
) -> None:
    ended = await imgsvc("upload", "photo.jpg", *args, cwd=folder)
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err
    assert "Traceback" not in ended.err
