# pyright: basic, reportMissingImports=false
# (fastapi, celery and minio are installed by the benchmark, beside the project)
"""The API: `uvicorn api:app`. FastAPI runs the handlers in threads, since the clients of S3 and Redis block."""

from contextlib import asynccontextmanager
from pathlib import PurePath
from uuid import uuid4

import settings
from fastapi import FastAPI, UploadFile
from fastapi.responses import JSONResponse
from tasks import app as celery
from tasks import process

STATUS = {"STARTED": "PROGRESS", "RETRY": "PROGRESS"}

store = settings.connect()


@asynccontextmanager
async def lifespan(_: FastAPI):
    if not store.bucket_exists(settings.BUCKET):
        store.make_bucket(settings.BUCKET)
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/upload", status_code=202)
def upload(file: UploadFile):
    upload_id = str(uuid4())
    filename = PurePath(file.filename or "image").name
    key = f"originals/{upload_id}"
    store.put_object(
        settings.BUCKET, key, file.file, file.size or -1, content_type=file.content_type or "application/octet-stream"
    )
    process.apply_async((key, filename), task_id=upload_id)
    return {
        "id": upload_id,
        "task_id": upload_id,
        "filename": filename,
        "status_url": f"/upload/{upload_id}/status",
        "result_url": f"/upload/{upload_id}/result",
        "message": "File uploaded successfully. Processing started in the background.",
    }


@app.get("/upload/{upload_id}/status")
def status(upload_id: str):
    state = celery.AsyncResult(upload_id).state
    return {"id": upload_id, "task_id": upload_id, "status": STATUS.get(state, state)}


@app.get("/upload/{upload_id}/result")
def result(upload_id: str):
    task = celery.AsyncResult(upload_id)
    state = STATUS.get(task.state, task.state)
    if not task.ready():
        return JSONResponse({"status": state, "result": None}, status_code=202)
    return {"status": state, "result": task.result if task.successful() else None}


@app.get("/healthz")
def healthz():
    return {"status": "ok"}
