"""`imgsvc deliveries`: prints what an upload's webhook was sent, or sends it again."""

import orjson

from imgsvc.cli.parser import SUCCEEDED
from imgsvc.cli.show import asked, printable
from imgsvc.client.http import Client
from imgsvc.domain.documents import Deliveries
from imgsvc.runtime.client_settings import ClientSettings


def deliveries(upload_id: str, *, replay: int | None, json: bool, settings: ClientSettings) -> int:
    """Prints each event with its attempts; after it was sent again where `replay` is its number."""

    async def show(client: Client) -> int:
        document = await (client.deliveries(upload_id) if replay is None else client.replay(upload_id, replay))
        print(orjson.dumps(document).decode() if json else printable_lines(document))  # noqa: T201 (output for the user)
        return SUCCEEDED

    return asked(show, settings)


def printable_lines(document: Deliveries) -> str:
    """Returns lines for people: one of each event, and below it one of each attempt."""
    lines = [f"{document['url'] or 'no webhook'}"]
    if document["paused_until"]:
        lines.append(f"its host has not answered, and is left alone until {document['paused_until']}")
    for event in document["deliveries"]:
        due = f", next attempt {event['next_at']}" if event["next_at"] else ""
        lines.append(f"{event['n']}  {event['ended_at']}  {event['event']}  {event['state']}{due}")
        lines += [
            f"   {attempt['at']}  {attempt['status'] or attempt['error']}  {attempt['duration_ms']} ms"
            for attempt in event["attempts"]
        ]
    return "\n".join(map(printable, lines))
