"""Operations on what an upload's webhook was sent."""

from imgsvc.api.openapi.operations import operation
from imgsvc.api.openapi.parts import Json, answer, json, parameter
from imgsvc.api.openapi.problems import RATE_LIMIT

_TAG = "Jobs"
_LOST = ("not_found", "expired", "queue_unavailable", "storage_unavailable")


def paths() -> Json:
    of_one = [parameter("Id")]
    return {
        "/upload/{id}/deliveries": {"parameters": of_one, "get": _deliveries()},
        "/upload/{id}/deliveries/{n}/replay": {"parameters": [*of_one, _N], "post": _replay()},
    }


_N = {
    "name": "n",
    "in": "path",
    "required": True,
    "description": "The `n` of the event.",
    "schema": {"type": "integer", "minimum": 1},
    "example": 1,
}


def _deliveries() -> Json:
    return operation(
        _TAG,
        "get_deliveries",
        "See what an upload's webhook was sent",
        "Each event, with the attempts to deliver it and their answers. A host that does not answer is left alone for "
        "5 seconds, then for longer, up to 5 minutes; meanwhile its deliveries wait and lose no attempt.",
        answers={200: answer("The events.", json("Deliveries"))},
        refusals=_LOST,
    )


def _replay() -> Json:
    return operation(
        _TAG,
        "replay_delivery",
        "Send an event again",
        "At once, whether it was delivered, was given up or waits for its next attempt; then with all its attempts. It "
        "has the same `webhook-id` as before, so that a receiver which has it already can drop it, and the upload's "
        "present document. Counts as an upload in the rate limit. An event cannot be sent again once a later one has "
        "superseded it, nor while an attempt is under way.",
        answers={202: answer("It is queued.", json("Deliveries"), RATE_LIMIT)},
        refusals=("unknown_field", "conflict", "rate_limited", *_LOST),
    )
