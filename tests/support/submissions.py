"""What an API would hand to the queue: for tests in which there is none."""

from imgsvc.domain.presets import PRESETS
from imgsvc.jobs.record import Source, Submission


def submission(upload_id: str) -> Submission:
    return Submission(upload_id, "a.jpg", "default", PRESETS["default"], Source(9, "ab", "jpeg"), {"k": "v"})
