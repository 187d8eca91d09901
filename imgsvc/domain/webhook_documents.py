"""The documents about an upload's webhook: its state, and the attempts to deliver events to it."""

from typing import Annotated, Literal

from typing_extensions import TypedDict

from imgsvc.domain.addresses import MAX_URL_BYTES
from imgsvc.domain.described import UPLOAD_ID, Described, moment, number
from imgsvc.domain.states import Status

MAX_ATTEMPTS = 20
"""Attempts that are kept of an upload."""

_URL = "https://shop.example/hooks/images"

DeliveryState = Literal["pending", "delivered", "gave_up"]
EndEvent = Literal[
    "upload.succeeded", "upload.failed", "upload.cancelled", "upload.derived", "upload.derivation_failed"
]
END_EVENTS: dict[Status, EndEvent] = {
    Status.SUCCESS: "upload.succeeded",
    Status.FAILURE: "upload.failed",
    Status.CANCELLED: "upload.cancelled",
}
"""What a webhook calls each end of a job."""

DERIVATION_EVENTS: dict[Status, EndEvent] = {
    Status.SUCCESS: "upload.derived",
    Status.FAILURE: "upload.derivation_failed",
}
"""What a webhook calls the ends of a derivation. One that its client cancelled has no event: nothing has changed."""


class Webhook(TypedDict):
    """The state of the delivery of the newest end: of the job, or of a derivation."""

    url: Annotated[str, Described("Where to.", _URL, format="uri", maxLength=MAX_URL_BYTES)]
    state: Annotated[DeliveryState, Described("The delivery's state.", "delivered")]
    attempts: Annotated[int, number("Attempts so far.", 1)]
    last_status: Annotated[int | None, number("The receiver's last status.", 204, 100)]
    last_error: Annotated[str | None, Described("Why the last attempt got no answer.", None)]
    next_at: Annotated[str | None, moment("Time of the next attempt", None)]


class DeliveryAttempt(TypedDict):
    """One attempt to deliver an event."""

    at: Annotated[str, moment("When it began", "2026-11-25T10:35:00.310Z")]
    status: Annotated[int | None, number("The receiver's status; null if it did not answer.", 204, 100)]
    error: Annotated[str | None, Described("Why there was no answer.", None)]
    duration_ms: Annotated[int, number("How long it took.", 83)]


class EventDelivery(TypedDict):
    """One event, and the attempts to deliver it."""

    n: Annotated[
        int, number("What ended: 1 is the upload's own job, another number the derivation of this revision.", 1, 1)
    ]
    event: Annotated[EndEvent, Described("The event's type.", "upload.succeeded")]
    webhook_id: Annotated[
        str, Described("The `webhook-id` of all its attempts, also after a replay.", f"{UPLOAD_ID}_1795602900078")
    ]
    ended_at: Annotated[str, moment("When it ended", "2026-11-25T10:35:00.078Z")]
    state: Annotated[
        Literal["pending", "delivered", "gave_up", "superseded"],
        Described("The delivery's state; an event that a later one has `superseded` is not sent again.", "delivered"),
    ]
    next_at: Annotated[str | None, moment("Time of the next attempt", None)]
    attempts: Annotated[list[DeliveryAttempt], Described("The oldest first.", maxItems=MAX_ATTEMPTS)]


class Deliveries(TypedDict):
    """What was sent, or is to be sent, to an upload's webhook."""

    url: Annotated[str | None, Described("Where to; null without a webhook.", _URL, format="uri")]
    paused_until: Annotated[str | None, moment("Until when its host is left alone, since it has not answered", None)]
    deliveries: Annotated[
        list[EventDelivery], Described(f"The newest first; with the last {MAX_ATTEMPTS} attempts in all.")
    ]
