"""What the service itself sends: Standard Webhooks (standardwebhooks.com)."""

from imgsvc.api.openapi.parts import Json, json


def webhooks() -> Json:
    return {"ended": {"post": _ended()}}


def _ended() -> Json:
    headers = {
        "webhook-id": ("The same each time one event is told: drop repeats by it.", "msg_3f0c4e52_1"),
        "webhook-timestamp": ("When it was sent, in seconds since the epoch.", "1795602900"),
        "webhook-signature": (
            "`v1,` and the base64 of the HMAC-SHA256 of `id.timestamp.body`.",
            "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
        ),
    }
    return {
        "operationId": "job_ended",
        "summary": "A job has ended",
        "description": "Sent to an upload's `webhook_url` until it is answered with any 2xx, later and later, for more "
        "than a day; at least once. 410 stops it, redirects are not followed, `Retry-After` is heeded.",
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
            "2XX": {"description": "It is taken."},
            "410": {"description": "Do not send anything here again."},
            "default": {"description": "It is sent again later."},
        },
        "security": [],
    }
