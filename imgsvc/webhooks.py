"""What a webhook says, and how its receiver knows that we said it: Standard Webhooks (standardwebhooks.com).

webhook-id:        the same each time one event is told, so that a receiver can drop repeats
webhook-timestamp: seconds since the epoch, when it was sent; a receiver refuses an old one, against replays
webhook-signature: v1,<base64 of the HMAC-SHA256 of "id.timestamp.body">
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One event; `id` contains no dot, since a dot parts what is signed."""

    id: str
    body: bytes

    def headers(self, key: bytes, sent_at_s: int) -> dict[str, str]:
        """Those of one request that tells it, signed with `key`."""
        signed = b"%s.%d.%s" % (self.id.encode(), sent_at_s, self.body)
        signature = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        return {
            "content-type": "application/json",
            "webhook-id": self.id,
            "webhook-timestamp": str(sent_at_s),
            "webhook-signature": f"v1,{signature}",
        }
