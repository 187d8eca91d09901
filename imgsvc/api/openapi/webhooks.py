"""What the service itself sends: Standard Webhooks (standardwebhooks.com)."""

from imgsvc.api.openapi.parts import Json, json


def webhooks() -> Json:
    return {"ended": {"post": _ended()}}


def _ended() -> Json:
    headers = {
        "webhook-id": ("The same for each delivery of one event: use it to drop duplicates.", "msg_3f0c4e52_1"),
        "webhook-timestamp": ("When it was sent, in seconds since the epoch.", "1795602900"),
        "webhook-signature": (
            "`v1,` and the base64 of the HMAC-SHA256 of `id.timestamp.body`, by each of the secrets of the upload's "
            "owner, with spaces between them.",
            "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
        ),
    }
    return {
        "operationId": "job_ended",
        "summary": "A job has ended",
        "description": "Sent to an upload's `webhook_url` until it is answered with any 2xx, with increasing delays, "
        "for more than a day; at least once. Each attempt has 20 seconds. 410 stops it, redirects are not followed, "
        "`Retry-After` is respected.",
        "parameters": [
            {
                "name": name,
                "in": "header",
                "required": True,
                "description": description,
                "schema": {"type": "string"},
                "example": example,
            }
            for name, (description, example) in headers.items()
        ],
        "requestBody": {"required": True, "content": json("Event")},
        "responses": {
            "2XX": {"description": "Delivered."},
            "410": {"description": "Stops further deliveries."},
            "default": {"description": "Sent again later."},
        },
        "security": [],
    }
