"""Object storage: originals and results in one S3 bucket. The only place that knows S3.

Every call has a deadline. It raises StorageError for failures that may be temporary, and returns None for what does not
exist. Nothing else leaves this package, whatever S3, or a server in its place, answers.

    client    how the S3 client is set up, apart from the machine's own AWS settings
    errors    the meaning of a failure, and its remedy
    calls     the deadline and the errors of a call to S3
    retry     which failures are retried, and when
    body      request bodies as they are sent
    parts     streams cut into parts, and uploads of several parts
    resumable uploads of several parts that several processes go on with
    reads     objects and spans of them
    clear     removes what is stored under a prefix
    bucket    all operations on a bucket
"""

from imgsvc.storage.bucket import Storage
from imgsvc.storage.errors import StorageError
from imgsvc.storage.parts import PART_BYTES, Digest
from imgsvc.storage.reads import ObjectInfo
from imgsvc.storage.resumable import RESUMABLE_PART_BYTES, ResumableUpload

__all__ = ["PART_BYTES", "RESUMABLE_PART_BYTES", "Digest", "ObjectInfo", "ResumableUpload", "Storage", "StorageError"]
