// What both processes need: where Redis and S3 are.
import { S3Client } from "@aws-sdk/client-s3";
import { Redis } from "ioredis";

const { REDIS_URL, S3_ENDPOINT, S3_ACCESS_KEY, S3_SECRET_KEY } = process.env;

export const BUCKET = process.env.S3_BUCKET;
export const QUEUE = "images";

export const redis = () => new Redis(REDIS_URL, { maxRetriesPerRequest: null });

export const s3 = new S3Client({
  endpoint: S3_ENDPOINT,
  region: "us-east-1",
  credentials: { accessKeyId: S3_ACCESS_KEY, secretAccessKey: S3_SECRET_KEY },
  forcePathStyle: true,
  // checksums beside the signature are AWS's own; without them the client has less to do
  requestChecksumCalculation: "WHEN_REQUIRED",
  responseChecksumValidation: "WHEN_REQUIRED",
});

/** Ends the process in order at SIGTERM. */
export function stopsWith(close) {
  process.once("SIGTERM", async () => {
    await close();
    process.exit(0);
  });
}
