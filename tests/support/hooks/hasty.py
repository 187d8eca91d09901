"""`python -m tests.support.hooks.hasty`: our worker, with its calls' pauses and deadlines shortened."""

from unittest.mock import patch

from imgsvc.outbound import Timeouts
from imgsvc.worker.__main__ import main

BACKOFF_S = (0.2, 0.4, 0.8)
HOLD_S = 4.0
PAUSE_S = 0.2
FETCH_DEADLINE_S = 2.0

if __name__ == "__main__":
    patch("imgsvc.worker.webhooks.BACKOFF_S", BACKOFF_S).start()
    patch("imgsvc.worker.webhooks.TIMEOUTS", Timeouts(total_s=3, idle_s=3)).start()
    patch("imgsvc.jobs.deliveries.WEBHOOK_CLAIM_S", HOLD_S).start()
    patch("imgsvc.jobs.deliveries.FIRST_PAUSE_S", PAUSE_S).start()
    patch("imgsvc.worker.fetch.DEADLINE_S", FETCH_DEADLINE_S).start()
    main()
