"""Object storage: originals and results in one S3 bucket. The only place that knows S3.

Every call has a deadline and ends in our own words: StorageError for what may pass, None for what is not there.
Nothing else leaves this package, whatever S3, or what answers in its place, says or does not say.

    client    how the S3 client is set up, apart from the machine's own AWS settings
    errors    what a failure means, and what an operator can do about it
    calls     the deadline and the errors of one exchange with S3
    retry     which failures are tried again, and when
    body      request bodies as they are sent
    parts     streams cut into parts, and uploads of several parts
    reads     objects and spans of them
    clear     removes what is stored under a prefix
    bucket    all of it for one bucket
"""

from imgsvc.storage.bucket import Storage
from imgsvc.storage.errors import StorageError
from imgsvc.storage.parts import PART_BYTES, Digest
from imgsvc.storage.reads import ObjectInfo

__all__ = ["PART_BYTES", "Digest", "ObjectInfo", "Storage", "StorageError"]
