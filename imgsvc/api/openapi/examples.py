"""One upload, as it appears in all examples."""

import orjson

from imgsvc.api.receive.upload import MESSAGE
from imgsvc.domain.presets import PRESETS, document
from imgsvc.domain.problems import JOB_FAILURES, WARNINGS
from imgsvc.jobs.record import Status

ID = "3f0c4e52-6a3b-4b0e-9d53-0a2c1f7be001"
_PATH = f"/upload/{ID}"
_FILE_PATH = f"/files/processed/{ID}/sample_thumbnail.jpeg"
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

VARIANT = {"width": 640, "height": 480, "fit": "cover", "gravity": "entropy", "format": "webp", "quality": 80}
METADATA = {"order": "1234"}
UPLOAD_URL = {
    "url": "https://example.com/photo.jpg",
    "preset": "default",
    "metadata": METADATA,
    "expires_in": 86_400,
}
ACCEPTED = {
    "id": ID,
    "task_id": ID,
    "filename": "sample.jpg",
    "status_url": f"{_PATH}/status",
    "result_url": f"{_PATH}/result",
    "events_url": f"{_PATH}/events",
    "url": _PATH,
    "message": MESSAGE,
}
JOB_ERROR = {"code": "decode_failed", "message": JOB_FAILURES["decode_failed"]}
PROGRESS = {
    "id": ID,
    "task_id": ID,
    "status": Status.PROGRESS,
    "progress": 60,
    "step": "encode:thumbnail",
    "filename": "sample.jpg",
    "preset": "default",
    "attempt": 1,
    "created_at": "2026-11-25T10:35:00.000Z",
    "started_at": "2026-11-25T10:35:00.004Z",
    "finished_at": None,
    "expires_at": None,
    "error": None,
    "metadata": METADATA,
}
_END = {"step": None, "finished_at": "2026-11-25T10:35:00.078Z"}
SUCCEEDED = PROGRESS | _END | {"status": Status.SUCCESS, "progress": 100}
FAILED = PROGRESS | _END | {"status": Status.FAILURE, "progress": 10, "error": JOB_ERROR}
FILE_NAME = _FILE_PATH.rpartition("/")[2]
FILE = {
    "url": _FILE_PATH,
    "width": 200,
    "height": 163,
    "bytes": 9399,
    "content_type": "image/jpeg",
    "sha256": _SHA256,
}
ORIGINAL = {
    "width": 2725,
    "height": 2225,
    "bytes": 829_183,
    "content_type": "image/jpeg",
    "sha256": _SHA256,
    "frames": 1,
}
PLACEHOLDER = {"thumbhash": "3OcRJYB4d3h/iIeHeEh3eIhw+j2w", "color": "#7a6b52"}
WARNING = {"code": "truncated", "message": WARNINGS["truncated"]}
SUCCESS = {
    "status": Status.SUCCESS,
    "result": {"thumbnail": _FILE_PATH},
    "variants": {"thumbnail": FILE},
    "original": ORIGINAL,
    "placeholder": PLACEHOLDER,
    "warnings": [],
}
ENDED = {"status": Status.FAILURE, "result": None, "error": JOB_ERROR}
UPLOAD = {
    "id": ID,
    "status": SUCCEEDED,
    "result": SUCCESS,
    "links": {
        "self": _PATH,
        "status": f"{_PATH}/status",
        "result": f"{_PATH}/result",
        "events": f"{_PATH}/events",
    },
}
WEBHOOK = {
    "url": "https://shop.example/hooks/images",
    "state": "delivered",
    "attempts": 1,
    "last_status": 204,
    "last_error": None,
    "next_at": None,
}
EVENT = {"type": "upload.succeeded", "timestamp": "2026-11-25T10:35:00.078Z", "data": UPLOAD}
PRESETS_DOCUMENT = {
    "presets": {name: {variant.name: document(variant) for variant in preset} for name, preset in PRESETS.items()}
}
READY = {
    "status": "ready",
    "checks": {
        "queue": {"ok": True, "latency_ms": 0.4},
        "storage": {"ok": True, "latency_ms": 1.7},
        "workers": {"ok": True, "alive": 2, "queued": 0, "sandbox": "full"},
    },
}
STREAM_EVENT = {"id": "4be1f0a7c2d9e835", "event": "status", "data": orjson.dumps(PROGRESS).decode()}
METRICS = "# TYPE imgsvc_uploads_in_flight gauge\nimgsvc_uploads_in_flight 2.0\n"
