"""Deliveries of webhooks that are due, given to one worker at a time."""

import orjson

from imgsvc.jobs.exchange import Exchange
from imgsvc.jobs.types import Delivery

WEBHOOK_CLAIM_S = 20.0
"""How long a worker has for one try of a webhook delivery, before another may take it."""


class Deliveries:
    def __init__(self, exchange: Exchange) -> None:
        self._run = exchange.run

    async def claim(self, limit: int) -> list[Delivery]:
        """Webhook deliveries that are due; each is the caller's for WEBHOOK_CLAIM_S."""
        rows = await self._run("claim_webhooks", round(WEBHOOK_CLAIM_S * 1000), limit)
        return [Delivery(name.decode(), int(end), attempt, bool(derived)) for name, end, attempt, derived in rows]

    async def ack(
        self, delivery: Delivery, state: str, status: int | None, error: str | None, delay_s: float = 0
    ) -> bool:
        """Records the outcome of a delivery; a pending one is due again. False if it was not the latest."""
        last = orjson.dumps([status, error])
        args = (delivery.id, delivery.end, delivery.attempt, state, last, round(delay_s * 1000))
        return bool(await self._run("ack_webhook", *args, int(delivery.of_derivation)))
