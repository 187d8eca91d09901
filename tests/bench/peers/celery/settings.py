# pyright: basic, reportMissingImports=false
# (minio is installed by the benchmark, beside the project)
"""What both processes of the peer need: where Redis and S3 are."""

import os

from minio import Minio

REDIS_URL = os.environ["REDIS_URL"]
BUCKET = os.environ["S3_BUCKET"]


def connect() -> Minio:
    return Minio(
        os.environ["S3_ENDPOINT"].removeprefix("http://"),
        access_key=os.environ["S3_ACCESS_KEY"],
        secret_key=os.environ["S3_SECRET_KEY"],
        region="us-east-1",  # else it asks the bucket first
        secure=False,
    )
