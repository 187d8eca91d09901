"""Cheap questions to a server that may not be there yet, without a client library to import."""

import asyncio
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import reduce

LOOPBACK = "127.0.0.1"
PROBE_TIMEOUT_S = 1.0


async def ask(port: int, request: bytes) -> bytes:
    """Send `request` and return the answer until the server closes: empty when none comes in time."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                writer.write(request)
                return await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return b""


def s3_put(port: int, path: str, body: bytes, access_key_id: str, secret_access_key: str) -> bytes:
    """Make the HTTP request that writes an object, signed with AWS Signature Version 4.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
    """
    time = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{time[:8]}/us-east-1/s3/aws4_request"
    digest = hashlib.sha256(body).hexdigest()
    signed = {"host": f"{LOOPBACK}:{port}", "x-amz-content-sha256": digest, "x-amz-date": time}
    names = ";".join(signed)
    canonical = f"PUT\n{path}\n\n{_lines(signed)}\n{names}\n{digest}"
    text = f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = reduce(_hmac, scope.split("/"), f"AWS4{secret_access_key}".encode())
    headers = signed | {
        "authorization": f"AWS4-HMAC-SHA256 Credential={access_key_id}/{scope}, "
        f"SignedHeaders={names}, Signature={_hmac(key, text).hex()}",
        "content-length": str(len(body)),
        "connection": "close",
    }
    return f"PUT {path} HTTP/1.1\n{_lines(headers)}\n".replace("\n", "\r\n").encode() + body


def _lines(headers: Mapping[str, str]) -> str:
    return "".join(f"{name}:{value}\n" for name, value in headers.items())


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
