"""The secrets that webhooks are signed with, in the form of Standard Webhooks: `whsec_` and a key in base64.

Each owner has keys of its own: those in the owners file, or else one derived from each secret of the service. A webhook
that one owner has sent to the receiver of another is signed with a key that this receiver does not know. An open
service has no owners, and signs with its own secrets.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass, field

Keys = tuple[bytes, ...]
"""The newest first; a webhook has a signature by each of them, so that receivers can change over one by one."""


@dataclass(frozen=True, slots=True)
class WebhookKeys:
    """Those of all owners; `service` are the service's own."""

    service: Keys = field(default=(), repr=False)

    def of(self, owner: str, own: Keys) -> Keys:
        """Returns the keys of an owner who may have his `own`; no key where his webhooks cannot be signed."""
        if own or not owner:
            return own or self.service
        return tuple(_derived(key, owner) for key in self.service)


def secret_of(key: bytes) -> str:
    """Returns the key as its receivers are given it."""
    return "whsec_" + base64.b64encode(key).decode()


def _derived(key: bytes, owner: str) -> bytes:
    return hmac.digest(key, b"webhook:" + owner.encode(), hashlib.sha256)
