"""Limits the number of connections, in all and per client.

Health checks are answered beyond the limit too: a balancer without an answer would take the process for dead. So a few
more connections are read as far as the head of their first request.
"""

import logging
from collections import Counter
from enum import Enum
from time import monotonic

from imgsvc.api.http.budget import client_holder
from imgsvc.api.http.peer import client_network
from imgsvc.runtime import logs
from imgsvc.runtime.api_keys import UNIX_PEER
from imgsvc.runtime.metrics import ApiMetrics
from imgsvc.runtime.settings import Settings

log = logging.getLogger(__name__)

_RESERVE = 64
"""Connections beyond the limit that may ask for the process's health at the same time."""

_RESERVE_PER_CLIENT = 8
"""How many of them one client may have, so that it cannot keep others from asking."""

_QUIET_S = 60.0
"""Refusals are logged once in this many seconds."""


class Verdict(Enum):
    """What a new connection may be used for."""

    SERVE = "serve"
    HEALTH_ONLY = "health only"
    REFUSE = "refuse"


class Connections:
    """Every open connection of this process, counted by client."""

    def __init__(self, settings: Settings, metrics: ApiMetrics) -> None:
        self._max = settings.max_connections
        self._max_per_client = max(1, int(settings.max_connections * settings.client_share))
        self._proxies = settings.known_proxies
        self._metrics = metrics
        self._clients: Counter[str] = Counter()
        self._served = 0
        self._reserved: Counter[str] = Counter()
        self._refused = 0
        self._quiet_until = 0.0

    def open(self, address: str) -> Verdict:
        """Counts a new connection, for which `close` must be called with its verdict."""
        client = client_network(address)
        is_shared = self._is_shared(address)
        if self._served < self._max and (is_shared or self._clients[client] < self._max_per_client):
            self._served += 1
            self._clients[client] += 1
            return Verdict.SERVE
        if self._reserved.total() < _RESERVE and (is_shared or self._reserved[client] < _RESERVE_PER_CLIENT):
            self._reserved[client] += 1
            return Verdict.HEALTH_ONLY
        return Verdict.REFUSE

    def close(self, address: str, verdict: Verdict) -> None:
        client = client_network(address)
        if verdict is Verdict.HEALTH_ONLY:
            _decrement(self._reserved, client)
        elif verdict is Verdict.SERVE:
            self._served -= 1
            _decrement(self._clients, client)

    def holders(self, address: str) -> tuple[str, ...]:
        """The holders that a connection's memory counts for in the budget; none where clients share the address."""
        return () if self._is_shared(address) else (client_holder(address),)

    def _is_shared(self, address: str) -> bool:
        """Whether many clients share the address."""
        return address == UNIX_PEER or address in self._proxies

    def refused(self, code: str, address: str) -> None:
        """Counts a request that is refused below the application; those for overload are logged once a minute."""
        self._metrics.problem(code)
        if code != "overloaded":
            log.info("refused", extra=logs.fields(code=code, client=address))
            return
        self._refused += 1
        if monotonic() >= self._quiet_until:
            extra = logs.fields(refused=self._refused, open=self._served, client=address)
            log.warning("too many connections, in all or from one client: refusing more", extra=extra)
            self._refused, self._quiet_until = 0, monotonic() + _QUIET_S


def _decrement(counts: Counter[str], client: str) -> None:
    counts[client] -= 1
    if not counts[client]:
        del counts[client]
