# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
# (celery and minio are installed by the benchmark, beside the project)
"""The worker: `celery -A tasks worker`, one prefork process a core."""

from io import BytesIO
from pathlib import PurePath

import settings
from celery import Celery
from PIL import Image, ImageOps

app = Celery("tasks", broker=settings.REDIS_URL, backend=settings.REDIS_URL)
app.conf.update(
    task_acks_late=True,  # a worker that dies loses no job
    worker_prefetch_multiplier=1,
    task_track_started=True,
    result_expires=3600,
)

VARIANTS = {"resized_compressed": (1024, 1024), "thumbnail": (200, 200)}

store = settings.connect()  # connects when it is first used, so after the fork


@app.task(bind=True)
def process(self, key: str, filename: str) -> dict[str, str]:
    response = store.get_object(settings.BUCKET, key)
    try:
        data = response.read()
    finally:
        response.close()
        response.release_conn()
    image = Image.open(BytesIO(data))
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode != "RGB":
        image = image.convert("RGB")
    stem = PurePath(filename).stem
    result = {}
    for name, box in VARIANTS.items():
        variant = ImageOps.contain(image, box, Image.Resampling.LANCZOS)
        file = BytesIO()
        variant.save(file, "JPEG", quality=85)
        size = file.tell()
        file.seek(0)
        path = f"processed/{self.request.id}/{stem}_{name}.jpeg"
        store.put_object(settings.BUCKET, path, file, size, content_type="image/jpeg")
        result[name] = f"/files/{path}"
    return result
