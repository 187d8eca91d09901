"""A real nginx or HAProxy in front of a service."""

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from imgsvc.local.ports import free_port
from tests.support.service import DEADLINE_S, until

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

_CONFIGURATION = """\
daemon off;
{user}worker_processes 1;
pid {folder}/pid;
error_log stderr error;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 64m;
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_request_buffering off;
        {locations}
    }}
}}
"""


HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")

_HAPROXY_CONFIGURATION = """\
global
    maxconn 256
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend front
    bind 127.0.0.1:{port}
    default_backend service
backend service
    server service 127.0.0.1:{service_port}
"""


@asynccontextmanager
async def nginx(folder: Path, locations: str) -> AsyncGenerator[str]:
    """The URL of one with these `location` blocks."""
    if NGINX is None:
        pytest.skip("no nginx: apt-get install --no-install-recommends nginx")
    folder.mkdir()
    port = free_port()
    configuration = folder / "nginx.conf"
    user = "" if os.geteuid() else "user root;\n"  # or its workers may not write to a test's folder
    configuration.write_text(_CONFIGURATION.format(folder=folder, port=port, locations=locations, user=user))
    async with _running(port, NGINX, "-p", str(folder), "-c", str(configuration)):
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def haproxy(folder: Path, service_port: int) -> AsyncGenerator[int]:
    """The port of one that passes everything on to the service."""
    if HAPROXY is None:
        pytest.skip("no haproxy: apt-get install --no-install-recommends haproxy")
    folder.mkdir()
    port = free_port()
    configuration = folder / "haproxy.cfg"
    configuration.write_text(_HAPROXY_CONFIGURATION.format(port=port, service_port=service_port))
    async with _running(port, HAPROXY, "-db", "-f", str(configuration)):
        yield port


@asynccontextmanager
async def _running(port: int, program: str, *arguments: str) -> AsyncGenerator[None]:
    """The program, once it listens."""
    process = await asyncio.create_subprocess_exec(program, *arguments)

    async def listens() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            assert process.returncode is None, f"{program} has ended"
            return False
        writer.close()
        return True

    try:
        await until(listens)
        yield
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), DEADLINE_S)
