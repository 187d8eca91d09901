"""The `webhook_url` of an upload: refused at once where it can be told that it would never be called."""

import logging
from collections.abc import Mapping

from imgsvc.api.context import Services
from imgsvc.api.errors import ProblemError
from imgsvc.outbound import UnreachableError, UrlNotAllowedError

log = logging.getLogger(__name__)


async def webhook_url(fields: Mapping[str, str], here: Services) -> str | None:
    url = fields.get("webhook_url")
    if url is None:
        return None
    if here.settings.webhook_key is None:
        detail = "This service has no secret to sign webhooks with. Its operator must set IMGSVC_WEBHOOK_SECRET."
        raise ProblemError("invalid_webhook_url", detail)
    try:
        await here.outbound.check(url)
    except UrlNotAllowedError as error:
        raise ProblemError("invalid_webhook_url", error.detail) from None
    except UnreachableError as error:  # there is time until the job ends, and the URL is judged again then
        log.info("a webhook's host cannot be resolved now: %r", error.__cause__)
    return url
