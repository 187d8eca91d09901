"""`GET /admin/stats`: the service at a glance."""

from collections import Counter
from itertools import groupby
from operator import attrgetter

from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.admin.access import for_operators
from imgsvc.api.http.context import Document, services_of
from imgsvc.domain.admin_documents import AdminStats, AdminWorker, WorkerJob
from imgsvc.domain.admin_documents import Minute as MinuteDocument
from imgsvc.jobs.overview import Leased, Overview
from imgsvc.jobs.rows import optional_timestamp, timestamp

_by_worker = attrgetter("worker")


@for_operators
async def stats(request: Request) -> Response:
    services = services_of(request)
    overview = await services.queue.administration.overview()
    checks = await services.health.checks()
    failed = sum((Counter(minute.failed) for minute in overview.minutes), Counter[str]())
    normal = None if overview.low is None else max(0, overview.waiting - overview.low)
    document: AdminStats = {
        "at": timestamp(overview.at),
        "queue": {
            "waiting": overview.waiting,
            "lanes": {"normal": normal, "low": overview.low},
            "leased": overview.leased,
            "delayed": overview.delayed,
            "oldest_waiting_ms": overview.oldest_waiting_ms,
            "max_queued": services.settings.max_queued,
            "webhooks": overview.webhooks,
        },
        "checks": checks,
        "minutes": _minutes(overview),
        "failed": dict(failed.most_common()),
        "duration": {"p50_ms": overview.duration_ms(0.5), "p95_ms": overview.duration_ms(0.95)},
        "workers": _workers(overview),
    }
    return Document(document)


def _minutes(overview: Overview) -> list[MinuteDocument]:
    """The depth of the queue in the past follows from what has come and gone since."""
    queued, found = overview.waiting + overview.leased + overview.delayed, list[MinuteDocument]()
    for minute in reversed(overview.minutes):
        found.append(
            {
                "at": timestamp(minute.at),
                "accepted": minute.accepted,
                "done": minute.done,
                "cancelled": minute.cancelled,
                "failed": dict(minute.failed),
                "queued": max(0, queued),
            }
        )
        queued += minute.ended - minute.accepted
    return found[::-1]


def _workers(overview: Overview) -> list[AdminWorker]:
    """Those alive, and those that have jobs and are not."""
    leases = {name: list(jobs) for name, jobs in groupby(sorted(overview.leases, key=_by_worker), key=_by_worker)}
    return [
        {
            "name": name,
            "alive": name in overview.workers,
            "sandbox": overview.workers.get(name),
            "jobs": [_job(job) for job in leases.get(name, [])],
        }
        for name in sorted(overview.workers.keys() | leases.keys())
    ]


def _job(job: Leased) -> WorkerJob:
    return {
        "id": job.id,
        "owner": job.owner,
        "filename": job.filename,
        "revision": job.revision,
        "attempt": job.attempt,
        "step": job.step,
        "progress": job.progress,
        "started_at": optional_timestamp(job.started_at),
    }
