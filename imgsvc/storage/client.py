"""Sets up the S3 client, by IMGSVC_* alone.

The machine's own AWS settings (profiles, endpoints, checksums, certificates, …) are meant for other programs. Only its
credentials are used, and only if the settings contain none.
"""

import asyncio
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConfigValueStore, ConstantProvider
from botocore.credentials import ReadOnlyCredentials
from botocore.handlers import add_expect_header
from botocore.httpsession import create_urllib3_context, get_cert_path
from yarl import URL

from imgsvc.runtime.settings import MIB, Settings
from imgsvc.storage.body import send_in_slices
from imgsvc.storage.errors import AnswerError, NoCredentialsError
from imgsvc.storage.retry import disable_redirects, retry_delay_s

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

_CONNECTIONS = 64
_MAX_DOCUMENT_BYTES = 8 * MIB
"""A listing of 1000 keys of 1024 bytes, each byte escaped, takes less."""


@asynccontextmanager
async def open_client(settings: Settings) -> AsyncGenerator["S3Client"]:
    """Creates a client, which takes 100 ms and more. It connects and looks for credentials when it is first used."""
    own_server = settings.s3_endpoint_url is not None
    config = AioConfig(
        connect_timeout=settings.s3_timeout_s,
        read_timeout=3 * settings.s3_timeout_s,  # the deadline of Calls is shorter
        max_pool_connections=_CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": 1},  # `retry_delay_s` decides
        s3={"addressing_style": settings.s3_addressing or ("path" if own_server else "auto")},
        # newer botocore adds checksums that many S3 servers do not support
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        ignore_configured_endpoint_urls=True,
        proxies=_proxies(settings),
        http_session_cls=_HttpSession,
    )
    session = aioboto3.Session(botocore_session=_session(settings), region_name=settings.s3_region)
    verify = str(settings.s3_ca_file) if settings.s3_ca_file else True
    opening = cast(Any, session).client("s3", endpoint_url=settings.s3_endpoint_url, config=config, verify=verify)
    async with opening as client:
        # a silent server may hold the 100-continue for ever, past any read timeout
        client.meta.events.unregister("before-call.s3", add_expect_header)
        client.meta.events.register("before-call.s3", disable_redirects)
        client.meta.events.register("before-send.s3", send_in_slices)
        client.meta.events.register("needs-retry.s3", retry_delay_s)
        yield client


def _session(settings: Settings) -> AioSession:
    """Returns a session that reads neither AWS's environment variables nor its files."""
    session = AioSession()
    variables: dict[str, tuple[Any, ...]] = BOTOCORE_DEFAUT_SESSION_VARIABLES
    unset = {"config_file": None, "credentials_file": None}
    defaults = {name: ConstantProvider(unset.get(name, row[2])) for name, row in variables.items() if name not in unset}
    session.register_component("config_store", ConfigValueStore(mapping=defaults))
    key, secret = settings.s3_access_key_id, settings.s3_secret_access_key
    if key and secret:
        session.set_credentials(key.get_secret_value(), secret.get_secret_value())
    else:
        cast(Any, session)._credentials = _MachineCredentials()
    return session


def _proxies(settings: Settings) -> dict[str, str] | None:
    """Returns the proxies by scheme; None means those of the environment, which an own S3 server never uses."""
    if settings.s3_proxy_url is not None:
        url = settings.s3_proxy_url.get_secret_value()
        return {"http": url, "https": url}
    return {} if settings.s3_endpoint_url else None


class _MachineCredentials(AioCredentials):
    """The machine's credentials (environment, profile, container, instance), looked up again until some are found."""

    def __init__(self) -> None:
        super().__init__("", "")
        self._found: Any = None
        self._looking = asyncio.Lock()

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        try:
            async with self._looking:
                if self._found is None:
                    self._found = await AioSession().get_credentials()
            frozen = self._found and await self._found.get_frozen_credentials()
        except Exception as error:  # each provider raises its own kinds, and ValueError for its settings
            raise NoCredentialsError("the machine's AWS settings are broken") from error
        if not frozen:
            raise NoCredentialsError("the machine has no AWS credentials")
        return frozen


class _HttpSession(AIOHTTPSession):
    """Follows no redirect, since botocore signs requests for one host; checks certificates behind a proxy too."""

    async def _get_session(self, proxy_url: str | None) -> Any:
        session = await cast(Any, super())._get_session(proxy_url)
        return SimpleNamespace(request=partial(_request, session))

    def _create_connector(self, proxy_url: str | None) -> Any:
        connector = cast(Any, super())._create_connector(proxy_url)
        verify = cast(Any, self)._verify
        if verify and proxy_url:  # aiobotocore would check no certificate then
            context = create_urllib3_context()
            context.load_verify_locations(get_cert_path(verify))
            connector._ssl = context
        return connector


async def _request(
    session: aiohttp.ClientSession, method: str, url: URL, proxy: str | None, proxy_headers: Any, **options: Any
) -> aiohttp.ClientResponse:
    """Sends a request; a proxy's user and password go into a header, since aiohttp's errors quote the proxy's URL."""
    if proxy and (proxy_url := URL(proxy)).raw_user is not None:
        credentials = f"{proxy_url.user or ''}:{proxy_url.password or ''}"
        # a proxy that forwards reads the request's own headers, and one that tunnels those of CONNECT
        headers = options["headers"] if url.scheme == "http" else proxy_headers
        headers["Proxy-Authorization"] = f"Basic {b64encode(credentials.encode()).decode()}"
        proxy = str(proxy_url.with_user(None))
    response = await session.request(
        method, url, proxy=proxy, proxy_headers=proxy_headers, allow_redirects=False, **options
    )
    cast(Any, response).read = partial(_read_document, response)  # how aiobotocore reads all but objects
    return response


async def _read_document(response: aiohttp.ClientResponse) -> bytes:
    """Reads an answer that is not an object: an error, a listing.

    Raises:
        AnswerError: it is longer than any that S3 gives.
    """
    body = bytearray()
    try:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > _MAX_DOCUMENT_BYTES:
                break
    finally:
        response.close()  # does nothing after a complete answer, whose connection is back in the pool
    if len(body) > _MAX_DOCUMENT_BYTES:
        raise AnswerError("an answer is longer than any of S3's")
    return bytes(body)
