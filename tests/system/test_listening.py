"""Where the API listens: one address or several, IPv4 through IPv6, a Unix socket; and what it says of that."""

import asyncio
import socket
import stat
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx
import pytest

from imgsvc.local.ports import free_port
from imgsvc.runtime.listening import listening
from imgsvc.runtime.loading import load
from imgsvc.runtime.local_settings import LocalSettings, SettingsError
from tests.support import images
from tests.support.command import imgsvc
from tests.support.service import DEADLINE_S, Servers, Service


def has_ipv6() -> bool:
    try:
        with closing(socket.create_server(("::1", 0), family=socket.AF_INET6)):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n"


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("IMGSVC_PORT", str(found := free_port()))
    return found


def reached(settings: LocalSettings) -> set[str]:
    """Through which of the loopback addresses something listens."""
    with listening(settings):
        return {address for address in ("127.0.0.1", "::1") if _accepts(address, settings.port)}


def _accepts(address: str, port: int) -> bool:
    try:
        with closing(socket.create_connection((address, port), timeout=5)):
            return True
    except OSError:
        return False


@needs_ipv6
@pytest.mark.parametrize(
    ("host", "families"),
    [
        ("127.0.0.1", {"127.0.0.1"}),
        ("::1", {"::1"}),
        ("[::1]", {"::1"}),
        ("localhost", {"127.0.0.1", "::1"}),
        ("::", {"127.0.0.1", "::1"}),
        ("0.0.0.0", {"127.0.0.1"}),
        ("::ffff:127.0.0.1", {"127.0.0.1"}),
    ],
)
def test_n4_a_host_is_listened_on_in_each_of_its_families(
    monkeypatch: pytest.MonkeyPatch, port: int, host: str, families: set[str]
) -> None:
    monkeypatch.setenv("IMGSVC_HOST", host)
    if host in {"::", "0.0.0.0"}:
        with pytest.raises(SettingsError, match=f"IMGSVC_HOST={host} would open the service to the network"):
            load(LocalSettings)
        monkeypatch.setenv("IMGSVC_ALLOW_OPEN", "1")
    settings = load(LocalSettings)
    assert settings.port == port
    assert reached(settings) == families


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("::1", "http://[::1]:8000"),
        ("::", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("localhost", "http://localhost:8000"),
        ("fe80::1%eth0", "http://[fe80::1%25eth0]:8000"),
    ],
)
def test_n4_the_url_that_is_shown_can_be_opened(monkeypatch: pytest.MonkeyPatch, host: str, url: str) -> None:
    monkeypatch.setenv("IMGSVC_HOST", host)
    monkeypatch.setenv("IMGSVC_ALLOW_OPEN", "1")
    assert load(LocalSettings).url == url


@pytest.mark.parametrize("host", ["203.0.113.1", "nowhere.invalid", "2001:db8::1", "fe80::1%nowhere0"])
def test_an_address_of_elsewhere_is_no_fault_of_its_port(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("IMGSVC_HOST", host)
    monkeypatch.setenv("IMGSVC_ALLOW_OPEN", "1")
    with (
        pytest.raises(SettingsError, match="set IMGSVC_HOST to an address of this machine") as caught,
        listening(load(LocalSettings)),
    ):
        pass
    assert "Unknown error" not in str(caught.value)


@needs_ipv6
def test_n4_a_port_taken_in_one_family_is_taken(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setenv("IMGSVC_HOST", "localhost")
    with (
        closing(socket.create_server(("::1", port), family=socket.AF_INET6)),
        pytest.raises(SettingsError, match=f"cannot listen on localhost port {port} .*set IMGSVC_PORT to a free one"),
        listening(load(LocalSettings)),
    ):
        pass
    assert not _accepts("127.0.0.1", port), "nothing is left behind"


async def answer(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], host: bytes) -> int:
    reader, writer = connection
    writer.write(HEALTH % host)
    async with asyncio.timeout(DEADLINE_S):
        status = int((await reader.read()).split()[1])
    writer.close()
    return status


@needs_ipv6
async def test_n4_an_open_service_for_both_families_still_asks_who_is_called(servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=0, host="::", allow_open=1) as service:
        for address, host in (("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("127.0.0.1", "[::ffff:127.0.0.1]")):
            name = f"{host}:{service.port}".encode()
            assert await answer(await asyncio.open_connection(address, service.port), name) == 200
            rebound = f"evil.example:{service.port}".encode()
            assert await answer(await asyncio.open_connection(address, service.port), rebound) == 403
            other = f"10.1.2.3:{service.port}".encode()
            assert await answer(await asyncio.open_connection(address, service.port), other) == 403


class UnixService(Service):
    """Called through its Unix socket, and no port."""

    def __init__(self, environment: Mapping[str, str], **settings: object) -> None:
        super().__init__(environment, **settings)
        self.path = self.environment["IMGSVC_UNIX_SOCKET"]
        transport = httpx.AsyncHTTPTransport(uds=self.path)
        self.client = httpx.AsyncClient(base_url="http://localhost", transport=transport, timeout=DEADLINE_S)


@asynccontextmanager
async def on_socket(servers: Servers, path: Path, **settings: object) -> AsyncGenerator[UnixService]:
    environment = servers.environment() | {"IMGSVC_UNIX_SOCKET": str(path)}
    async with UnixService.start(environment, **settings) as service:  # pyright: ignore[reportArgumentType]
        assert isinstance(service, UnixService)
        yield service


async def test_n5_a_photo_goes_through_a_unix_socket(servers: Servers, tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    async with on_socket(servers, path, workers=1, host="0.0.0.0") as service:  # open to nobody on the network
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert await service.file(await service.upload(images.photo()), "thumbnail")
        assert not _accepts("127.0.0.1", service.port)
        assert (await service.client.get("/healthz", headers={"host": "evil.example"})).status_code == 403
        assert (await service.client.get("/healthz", headers={"host": "127.0.0.1:80"})).status_code == 200
        refused = await imgsvc("api", cwd=tmp_path, env=service.environment)
        assert refused.code == 1
        assert f"cannot listen on {path}: a running process listens there" in refused.err
        assert (await service.client.get("/healthz")).status_code == 200, "it was not disturbed"
    assert not path.exists()


async def test_n5_the_socket_of_a_killed_process_is_replaced(servers: Servers, tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    async with on_socket(servers, path, workers=0) as service:
        await service.api.kill()
        assert path.exists()
        await service.start_api()
        await service.until_ready(0)
    assert not path.exists()


def test_n5_what_is_no_socket_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for name in ("file", "link", "."):
        monkeypatch.setenv("IMGSVC_UNIX_SOCKET", str(tmp_path / name))
        with pytest.raises(SettingsError, match="is no socket"), listening(load(LocalSettings)):
            pass
    assert (tmp_path / "file").read_text() == "mine"


def test_n5_a_folder_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IMGSVC_UNIX_SOCKET", str(tmp_path / "no" / "api.sock"))
    says = r"No such file or directory.*set IMGSVC_UNIX_SOCKET"
    with pytest.raises(SettingsError, match=says), listening(load(LocalSettings)):
        pass


def test_n5_a_path_that_no_socket_can_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGSVC_UNIX_SOCKET", "/tmp/" + "x" * 200)
    with pytest.raises(SettingsError, match=r"IMGSVC_UNIX_SOCKET is wrong: its path has 205 bytes"):
        load(LocalSettings)


def test_n5_of_two_that_start_at_once_one_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(path))
    monkeypatch.setenv("IMGSVC_UNIX_SOCKET", str(path))
    settings = load(LocalSettings)
    with listening(settings):
        with pytest.raises(SettingsError, match="a running process listens there"), listening(settings):
            pass
        with closing(socket.socket(socket.AF_UNIX)) as client:
            client.connect(str(path))
    assert not path.exists()
