"""A worker: runs jobs from the queue until SIGTERM or SIGINT."""

import asyncio
import logging
import signal
import socket
import sys
from functools import partial
from typing import Any

import uvloop

from imgsvc.decoder.pool import DecoderPool
from imgsvc.jobs.queue import Queue
from imgsvc.outbound import Outbound
from imgsvc.runtime import logs, startup
from imgsvc.runtime.hangup import on_hangup
from imgsvc.runtime.listening import listen_for_metrics
from imgsvc.runtime.loading import load
from imgsvc.runtime.local_settings import SettingsError
from imgsvc.runtime.metrics import WorkerMetrics
from imgsvc.runtime.owners import OwnersTable
from imgsvc.runtime.settings import Settings
from imgsvc.runtime.webhook_secrets import Keys
from imgsvc.storage import Storage
from imgsvc.worker.bulk import BulkRunner
from imgsvc.worker.exposition import exposed
from imgsvc.worker.fetch import Fetcher
from imgsvc.worker.fetching import FetchingWorker
from imgsvc.worker.gate import Gate
from imgsvc.worker.lease import LeasedWorker, new_name
from imgsvc.worker.memory import SharedMemory
from imgsvc.worker.overlays import Overlays
from imgsvc.worker.sweep import Sweeper
from imgsvc.worker.tasks import Processor
from imgsvc.worker.webhooks import AT_ONCE, WebhookSender

log = logging.getLogger("imgsvc.worker")

_SLOTS_BEYOND_DECODERS = 2  # so that originals are read and results stored while the decoders are busy


async def work(settings: Settings, listener: socket.socket | None) -> None:
    """Runs one worker; returns after SIGTERM or SIGINT, when its jobs are done or released.

    Its metrics are served at `listener`, if there is one.
    """
    metrics, owners = WorkerMetrics(), OwnersTable(settings)
    decoders = DecoderPool(
        processes=settings.decoder_processes,
        timeout_s=settings.decode_timeout_s,
        memory_bytes=settings.decoder_memory_bytes,
        total_memory_bytes=settings.total_decoder_memory_bytes,
        limits=settings.limits,
        sandbox=settings.sandbox,
        isolation=settings.isolation,
        on_death=metrics.decoder_died,
    )
    async with (
        Queue.open(settings, metrics.queue, owners) as queue,
        Storage.open(settings, metrics.storage) as storage,
        Outbound.open(settings, at_once=settings.fetches + AT_ONCE) as outbound,
        Gate.open(settings) as gate,
        decoders,
        exposed(metrics, listener),
    ):
        slots = settings.decoder_processes + _SLOTS_BEYOND_DECODERS
        processor = Processor(queue, storage, decoders, Overlays(storage), gate, metrics)
        memory = SharedMemory(settings.fetch_memory_bytes)
        limits = settings.max_upload_bytes, settings.fetch_timeout_s
        fetcher = Fetcher(queue, storage, outbound, memory, metrics, *limits)

        async def can_process() -> bool:
            return not decoders.is_broken and await storage.is_there()

        name = new_name()
        parts: dict[str, Any] = {
            "sandbox": decoders.sandbox_status,
            "settings": settings,
            "metrics": metrics,
            "name": name,
        }
        workers = (
            LeasedWorker(queue, processor, can_process, slots=slots, **parts),
            FetchingWorker(queue, fetcher, storage.is_there, slots=settings.fetches, **parts),
        )

        def stop() -> None:
            for worker in workers:
                worker.stop()

        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, stop)
        on_hangup(partial(asyncio.to_thread, owners.reload), stop)

        webhook_keys = settings.webhook_keys

        def keys_of(owner: str) -> Keys:
            return webhook_keys.of(owner, owners.current.of(owner).webhook_secrets)

        _warn_about_sandbox(decoders.sandbox_status)
        log.info(
            "ready: up to %d decoders, sandbox %s",
            *(settings.decoder_processes, decoders.sandbox_status),
            extra=logs.fields(worker=name),
        )
        async with asyncio.TaskGroup() as group:  # a task that fails ends the worker, visibly
            helpers = [
                group.create_task(Sweeper(queue, storage, settings.sweep_interval_s).run()),
                group.create_task(BulkRunner(queue.administration).run()),
            ]
            if settings.webhook_secret or settings.owners_file:
                helpers.append(group.create_task(WebhookSender(queue, outbound, keys_of, settings.file_urls).run()))
            async with asyncio.TaskGroup() as working:
                for worker in workers:
                    working.create_task(worker.main())
            for task in helpers:
                task.cancel()
    log.info("stopped")


def _warn_about_sandbox(sandbox_status: str) -> None:
    if sys.platform != "linux":
        log.warning("decoders run without their sandbox on this system, which has none: for development only")
    elif sandbox_status != "full":
        log.warning(
            "decoders run without all of their sandbox (%s): do not use it for untrusted images", sandbox_status
        )


def main() -> None:
    try:
        settings = load(Settings)
        listener = listen_for_metrics(settings)
    except SettingsError as error:
        sys.exit(f"imgsvc worker cannot start:\n{error}")
    startup.set_up(settings)
    # before `work` handles the signal there is nothing to finish; uvloop would report a failure
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    uvloop.run(work(settings, listener))
