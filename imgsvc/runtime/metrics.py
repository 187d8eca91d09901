"""What a process counts and times, for Prometheus: the few figures that page somebody.

Nothing is registered when this is imported: each process, and each application of a test, has its own `ApiMetrics` or
`WorkerMetrics`. Labels are bounded: no ids, no paths, no names of clients.
"""

import platform
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from imgsvc.domain.problems import HTTP_PROBLEMS, JOB_FAILURES
from imgsvc.runtime.api_keys import Caller
from imgsvc.runtime.version import VERSION

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

STEPS = ("download", "fetch", "gate", "decode", "store")
JOB_ENDS = ("success", *JOB_FAILURES)
DECODER_ENDS = ("recycled", "cancelled", "timeout", "oom", "cpu_limit", "crashed", "bad_reply", "start_failed")

_CALL_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_STEP_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 60)
_REQUEST_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


@dataclass(frozen=True, slots=True)
class Depth:
    """How the queue stands. `oldest_waiting_s` is how long the first of those due has waited for a worker."""

    waiting: int
    leased: int
    delayed: int
    oldest_waiting_s: float
    workers: int
    webhooks: int
    fetches: Mapping[str, int]
    """Originals to be fetched, by state: waiting, under_way, delayed."""


class Dependency:
    """One server that this process needs: how long its calls take, how many fail, and whether it was there lately."""

    def __init__(self, seconds: Histogram, failures: Counter, up: Gauge) -> None:
        self._seconds = seconds
        self._failures = failures
        self._up = up
        up.set(1)  # until a call fails

    @contextmanager
    def call(self, failure: type[Exception], *, timed: bool = True) -> Generator[None]:
        """One exchange with it, which has failed where it raises `failure`. Other exceptions are not its failures."""
        begin = perf_counter()
        try:
            yield
        except failure:
            self.failed()
            raise
        if timed:
            self._seconds.observe(perf_counter() - begin)
        self._up.set(1)

    def failed(self) -> None:
        self._failures.inc()
        self._up.set(0)


class Metrics:
    """What every process has."""

    def __init__(self, role: str = "") -> None:
        values.ValueClass = values.MutexValue  # whatever PROMETHEUS_MULTIPROC_DIR is set to for the machine's programs
        disable_created_metrics()  # when a count began is of no use here, and doubles the lines
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._gauge("build_info", "Always 1; what this process is.", "version", "python", "role").labels(
            VERSION, platform.python_version(), role
        ).set(1)
        seconds = self._histogram(
            "dependency_seconds", "Seconds that a call took that succeeded.", _CALL_S, "dependency"
        )
        failures = self._counter("dependency_failures", "Calls that failed, or took too long.", "dependency")
        up = self._gauge("up", "Whether the last call to it succeeded.", "dependency")
        self.queue, self.storage = (
            Dependency(seconds.labels(name), failures.labels(name), up.labels(name)) for name in ("queue", "storage")
        )

    def _job_ends(self, *codes: str) -> Counter:
        """Each process counts the ends that it brings about."""
        ends = self._counter("jobs_ended", "Jobs that ended, by what came of them.", "code")
        _known(ends, codes)
        return ends

    def exposition(self) -> bytes:
        """All of it as CONTENT_TYPE."""
        return generate_latest(self.registry)

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        return Counter(f"imgsvc_{name}", help_, labels, registry=self.registry)

    def _gauge(self, name: str, help_: str, *labels: str) -> Gauge:
        return Gauge(f"imgsvc_{name}", help_, labels, registry=self.registry)

    def _histogram(self, name: str, help_: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"imgsvc_{name}", help_, labels, buckets=buckets, registry=self.registry)


class ApiMetrics(Metrics):
    """`callers` are those that there are keys of: by key, so that one is seen to be out of use before it is removed."""

    def __init__(self, callers: Iterable[Caller] = ()) -> None:
        super().__init__("api")
        self._problems = self._counter("http_problems", "Requests that were refused or failed, by code.", "code")
        _known(self._problems, tuple(HTTP_PROBLEMS))
        self._calls = self._counter(
            "key_requests",
            "Requests with a known key or upload token.",
            "owner",
            "key_id",
        )
        self.may_call(callers)
        self._requests = self._histogram(
            "http_request_seconds",
            "Seconds from a request's headers to its answer's end.",
            _REQUEST_S,
            "route",
            "status",
        )
        self._ends = self._job_ends("cancelled")
        self.uploads = self._gauge("uploads_in_flight", "Uploads that are being received.")
        self.depth: Depth | None = None
        """As of this scrape; None while the queue is away."""
        self.registry.register(_DepthCollector(self))

    def request(self, route: str, status: int, seconds: float) -> None:
        """`route` is one of the application's templates; a status of 0 is that of a request without an answer."""
        self._requests.labels(route, f"{status // 100}xx" if status else "none").observe(seconds)

    def problem(self, code: str) -> None:
        """A request was answered with this code of HTTP_PROBLEMS."""
        self._problems.labels(code).inc()

    def may_call(self, callers: Iterable[Caller]) -> None:
        """There are keys of these now. Those of earlier ones stay counted."""
        for caller in callers:
            self._calls.labels(caller.owner, caller.key_id)

    def called(self, caller: Caller) -> None:
        """A request came with a key."""
        self._calls.labels(caller.owner, caller.key_id).inc()

    def cancelled(self) -> None:
        """A client has cancelled a job."""
        self._ends.labels("cancelled").inc()


class WorkerMetrics(Metrics):
    def __init__(self) -> None:
        super().__init__("worker")
        self.jobs = self._gauge("jobs_in_flight", "Jobs that this worker is at.")
        self.fetches = self._gauge("fetches_in_flight", "Originals that this worker is fetching from URLs.")
        steps = self._histogram("job_step_seconds", "Seconds that a job spent in a step.", _STEP_S, "step")
        self._steps = {name: steps.labels(name) for name in STEPS}
        self._starts = self._counter(
            "job_starts", "Jobs begun: for the first time, or again after a worker's end or an outage.", "attempt"
        )
        self._ends = self._job_ends(*JOB_ENDS)
        self._decoders = self._counter("decoder_restarts", "Decoders that were replaced, by what ended them.", "cause")
        # named from the start, since a rate does not see a series' first value
        _known(self._starts, ("first", "again"))
        _known(self._decoders, DECODER_ENDS)

    def started(self, attempt: int) -> None:
        self._starts.labels("first" if attempt == 1 else "again").inc()

    def step(self, name: str, seconds: float) -> None:
        self._steps[name].observe(seconds)

    def ended(self, code: str) -> None:
        self._ends.labels(code).inc()

    def decoder_died(self, cause: str) -> None:
        self._decoders.labels(cause).inc()


class _DepthCollector(Collector):
    """Exports the newest depth, or nothing: an old one would look like a queue that stands still."""

    def __init__(self, metrics: ApiMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        depth = self._metrics.depth
        if depth is None:
            return
        jobs = GaugeMetricFamily("imgsvc_queue_jobs", "Jobs that have not ended, by state.", labels=("state",))
        for state in ("waiting", "leased", "delayed"):
            jobs.add_metric((state,), getattr(depth, state))
        yield jobs
        fetches = GaugeMetricFamily("imgsvc_fetches", "Originals to be fetched from URLs, by state.", labels=("state",))
        for state, count in depth.fetches.items():
            fetches.add_metric((state,), count)
        yield fetches
        yield GaugeMetricFamily(
            "imgsvc_queue_oldest_waiting_seconds",
            "How long the first of the waiting jobs has been due.",
            depth.oldest_waiting_s,
        )
        yield GaugeMetricFamily("imgsvc_workers", "Workers that renewed their leases lately.", depth.workers)
        yield GaugeMetricFamily("imgsvc_webhooks", "Webhook deliveries that are due or waiting.", depth.webhooks)


def _known(counter: Counter, values: tuple[str, ...]) -> None:
    for value in values:
        counter.labels(value)
