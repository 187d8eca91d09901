"""`imgsvc token`: prints the URL that one upload can be sent to without the key."""

from collections.abc import Mapping
from typing import Any

import orjson

from imgsvc.cli.parser import SUCCEEDED
from imgsvc.cli.show import asked
from imgsvc.client.http import Client
from imgsvc.runtime.client_settings import ClientSettings


def token(terms: Mapping[str, Any], *, json: bool, settings: ClientSettings) -> int:
    """Has an upload token issued with these terms, and prints its URL. Returns the exit code."""

    async def ask(client: Client) -> int:
        document = await client.issue_token(terms)
        text = orjson.dumps(document).decode() if json else client.url(document["upload_url"])
        print(text)  # noqa: T201 (output for the user)
        return SUCCEEDED

    return asked(ask, settings)
