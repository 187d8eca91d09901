/** What a job can fail with, as in imgsvc/domain/problems.py; tests/test_admin.py compares the two. */

export const FAILURE_CODES = [
  "decode_failed",
  "image_too_large",
  "too_many_frames",
  "unsupported_format",
  "crop_outside",
  "decode_timeout",
  "decoder_oom",
  "decoder_crashed",
  "encode_failed",
  "source_missing",
  "source_corrupt",
  "overlay_missing",
  "overlay_corrupt",
  "overlay_invalid",
  "rejected",
  "gate_unavailable",
  "fetch_failed",
  "storage_unavailable",
  "attempts_exhausted",
  "internal_error",
];
