"""What an API would hand to the queue: for tests in which there is none."""

from imgsvc.domain.options import Options
from imgsvc.jobs.record import Source, Submission


def submission(upload_id: str) -> Submission:
    return Submission(upload_id, Options(metadata={"k": "v"}, filename="a.jpg"), Source(9, "ab", "jpeg"))
