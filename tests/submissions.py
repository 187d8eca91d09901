"""What an API would hand to the queue: for tests in which there is none."""

from imgsvc.jobs.record import Source, Submission
from imgsvc.presets import PRESETS


def submission(upload_id: str) -> Submission:
    return Submission(upload_id, "a.jpg", "default", PRESETS["default"], Source(9, "ab", "jpeg"), {"k": "v"})
