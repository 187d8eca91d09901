"""The embedded S3 server's gRPC, whose ports every user of the machine can reach: it answers its own parts alone."""

import asyncio
import os
import socket
import ssl
from contextlib import closing, suppress
from pathlib import Path

import pytest

from imgsvc.local import servers as servers_module
from imgsvc.local.certificates import Certificates
from imgsvc.local.ports import GRPC_OFFSET
from imgsvc.local.process import EmbeddedError
from imgsvc.local.servers import Seaweed, SeaweedPorts
from tests.support.service import DEADLINE_S, Servers

# what an HTTP/2 client begins with (RFC 9113, 3.4): the preface, and its SETTINGS, of which there are none
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
SETTINGS = 4


def tls(certificates: Certificates | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # a stranger takes whatever answers
    context.set_alpn_protocols(["h2"])
    if certificates:
        context.load_cert_chain(certificates.cert, certificates.key)
    return context


def speaks(where: int | Path, context: ssl.SSLContext | None) -> bool:
    """Whether it is answered in HTTP/2, by a SETTINGS frame."""
    with closing(socket.socket(socket.AF_INET if isinstance(where, int) else socket.AF_UNIX)) as plain:
        plain.settimeout(DEADLINE_S)
        plain.connect(("127.0.0.1", where) if isinstance(where, int) else str(where))
        with suppress(OSError), context.wrap_socket(plain) if context else plain as stream:
            stream.sendall(PREFACE)
            frame = stream.recv(9)
            return len(frame) == 9 and frame[3] == SETTINGS
    return False


def test_n13_grpc_answers_who_has_a_certificate_and_nobody_else(servers: Servers, tmp_path: Path) -> None:
    seaweed = servers.seaweed
    own, forged = Certificates.within(seaweed.folder), Certificates.within(tmp_path)
    ports = seaweed.ports
    doors = [port + GRPC_OFFSET for port in (ports.master, ports.volume, ports.filer, ports.s3, ports.admin)]
    for door in [*doors, *ports.sockets]:
        assert speaks(door, tls(own)), f"else this test would see nothing: {door}"
        assert not speaks(door, None), door
        assert not speaks(door, tls(None)), door
        assert not speaks(door, tls(forged)), door


def test_n13_the_key_is_for_this_user_alone_and_its_authority_is_gone(servers: Servers) -> None:
    folder = servers.seaweed.folder
    for path in Certificates.within(folder):
        assert path.stat().st_mode & 0o077 == 0
    keys = [path.name for path in folder.glob("*.pem") if "PRIVATE KEY" in path.read_text()]
    assert keys == ["grpc-key.pem"]


async def test_n7_a_tmp_without_room_for_sockets_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers_module, "SOCKETS", tmp_path / "missing")
    async with asyncio.timeout(5):
        with pytest.raises(EmbeddedError, match=r"cannot keep its sockets in .*: No such file or directory; make it"):
            await Seaweed(tmp_path / "s3").start()


def test_n7_ports_whose_sockets_another_user_has_taken_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers_module, "SOCKETS", tmp_path)
    ports = SeaweedPorts.free()
    ports.sockets[2].touch()
    assert ports.are_free, "what we left there is removed by the next start"
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert not ports.are_free
