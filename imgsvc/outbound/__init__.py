"""Guarded HTTP to addresses that clients name: webhooks, and images to fetch.

A client's URL must not become our way into the network that we stand in. Of each URL, and of each redirect anew:

* its form is judged, then its host is resolved, once, and every address that it has is judged (domain/addresses.py);
  what leads back to this machine counts as private, whatever its number;
* the connection goes to one of these very addresses, so that a name which means something else a moment later (DNS
  rebinding) gains nothing; `Host` and TLS keep the name;
* resolving, connecting, silence and the whole have deadlines, and what is read has a bound.

No proxy, cookie, credential or pooled connection is shared with anybody.

    client      requests, their redirects and deadlines
    errors      why a request fails
    urls        the form of a URL
    hosts       resolving a name, and whether an address is this machine's own
    protocol    bounds on what an answer may cost the event loop
"""

from imgsvc.outbound.client import Answer, Outbound, Timeouts
from imgsvc.outbound.errors import TooLongError, UnreachableError, UrlNotAllowedError
from imgsvc.outbound.urls import parse_url

__all__ = [
    "Answer",
    "Outbound",
    "Timeouts",
    "TooLongError",
    "UnreachableError",
    "UrlNotAllowedError",
    "parse_url",
]
