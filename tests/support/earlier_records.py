"""Records as versions before 0.1.0 wrote them: what their queue, driven through each of its moves, left in Redis.

Times are ms from the moment of the snapshot. The first of these versions kept each job's body beside the record; the
last one had none, and the name of the request in the record.
"""

from dataclasses import dataclass
from time import time
from typing import Any, Literal
from uuid import uuid4

from redis.asyncio import Redis

Version = Literal["first", "last"]

_BODY = b'{"f":"process","a":[],"k":{"request_id":"a-request"},"t":null,"et":1795769706167}'
_SUBMITTED = {
    "filename": "a.jpg",
    "preset": "default",
    "variants": '{"resized_compressed":{"width":1024,"height":1024,"quality":85},'
    '"thumbnail":{"width":200,"height":200,"quality":85}}',
    "metadata": '{"k":"v"}',
    "source": '[9,"ab","jpeg"]',
}


@dataclass(frozen=True)
class Snapshot:
    """`fields` of the record, and its scores in sorted `sets`. A number is a time."""

    fields: dict[str, str | int]
    sets: dict[str, int]

    async def play(self, redis: Redis, version: Version) -> str:
        """Writes it, as if it was taken now. Returns the upload's id."""
        upload_id, now_ms = str(uuid4()), round(time() * 1000)
        fields = {key: now_ms + value if isinstance(value, int) else value for key, value in self.fields.items()}
        client: Any = redis
        if "created_at" in fields and "finished_at" not in fields:
            if version == "last":
                fields["request_id"] = "a-request"
            else:
                await client.set(f"arq:job:{upload_id}", _BODY)
        await client.hset(f"imgsvc:upload:{upload_id}", mapping=fields)
        for name, score in self.sets.items():
            await client.zadd(f"imgsvc:{name}", {upload_id: now_ms + score})
        return upload_id


SNAPSHOTS = {
    "reserved": Snapshot({"status": "RESERVED", "belongs_to": "shop", "key": "k1"}, {"sweep": 29984}),
    "pending": Snapshot(
        _SUBMITTED | {"created_at": -1, "belongs_to": "shop", "status": "PENDING"},
        {"list:PENDING:shop": -1, "queue": -1},
    ),
    "leased": Snapshot(
        _SUBMITTED
        | {
            "created_at": -30,
            "belongs_to": "shop",
            "started_at": -28,
            "step": "decode",
            "attempt": "1",
            "progress": "10",
            "deliveries": "1",
            "owner": "w1:1",
            "status": "PROGRESS",
        },
        {"queue": 15000, "list:PROGRESS:shop": -30},
    ),
    "lapsed": Snapshot(
        _SUBMITTED
        | {
            "created_at": -1133,
            "belongs_to": "shop",
            "started_at": -1131,
            "step": "decode",
            "attempt": "1",
            "progress": "10",
            "deliveries": "1",
            "owner": "w1:1",
            "status": "PROGRESS",
        },
        {"queue": -111, "list:PROGRESS:shop": -1133},
    ),
    "lapsed_open": Snapshot(
        _SUBMITTED
        | {
            "created_at": -1112,
            "started_at": -1112,
            "step": "decode",
            "attempt": "1",
            "progress": "10",
            "deliveries": "1",
            "owner": "w1:1",
            "status": "PROGRESS",
        },
        {"queue": -111, "list:PROGRESS:": -1112},
    ),
    "released": Snapshot(
        _SUBMITTED
        | {
            "created_at": -2,
            "belongs_to": "shop",
            "started_at": -2,
            "attempt": "1",
            "deliveries": "0",
            "status": "PROGRESS",
        },
        {"list:PROGRESS:shop": -2, "queue": -1},
    ),
    "success": Snapshot(
        _SUBMITTED
        | {
            "created_at": -13,
            "belongs_to": "shop",
            "success": '[4,3,1,[["thumbnail",4,3,9,"ab","jpeg"]],["YJqGPQw7sFlslqhFafSE","#7a6b52"]]',
            "started_at": -12,
            "attempt": "1",
            "progress": "100",
            "webhook": "https://example.com/hook",
            "webhook_state": "pending",
            "status": "SUCCESS",
            "webhook_next": -5,
            "finished_at": -5,
        },
        {"webhooks": -5, "list:SUCCESS:shop": -13},
    ),
    "failure": Snapshot(
        _SUBMITTED
        | {
            "created_at": -4,
            "belongs_to": "shop",
            "started_at": -3,
            "attempt": "1",
            "failure": '["decode_failed","broken"]',
            "status": "FAILURE",
            "finished_at": -2,
        },
        {"list:FAILURE:shop": -4},
    ),
    "cancelled": Snapshot(
        _SUBMITTED
        | {
            "created_at": -9,
            "sweeping": "1",
            "belongs_to": "shop",
            "started_at": -6,
            "attempt": "1",
            "status": "CANCELLED",
            "finished_at": -4,
        },
        {"sweep": 1996, "list:CANCELLED:shop": -9},
    ),
    "swept": Snapshot(
        _SUBMITTED
        | {
            "created_at": -19,
            "belongs_to": "shop",
            "started_at": -16,
            "attempt": "1",
            "status": "CANCELLED",
            "finished_at": -14,
        },
        {"list:CANCELLED:shop": -19},
    ),
    "aborted": Snapshot({"status": "ABANDONED"}, {"sweep": 1999}),
}
