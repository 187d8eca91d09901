/** The states of a job, as in imgsvc/jobs/record.py; tests/test_states.py compares the two. */

export const Status = Object.freeze({
  PENDING: "PENDING",
  PROGRESS: "PROGRESS",
  SUCCESS: "SUCCESS",
  FAILURE: "FAILURE",
  CANCELLED: "CANCELLED",
});
export const TERMINAL = new Set([Status.SUCCESS, Status.FAILURE, Status.CANCELLED]);
export const RETRYABLE = new Set([Status.FAILURE, Status.CANCELLED]);
