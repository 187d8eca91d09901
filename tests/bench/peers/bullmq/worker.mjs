// The worker: one job a core at a time, pixels by sharp in libuv's threads.
import { availableParallelism } from "node:os";
import { parse } from "node:path";
import { GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { Worker } from "bullmq";
import sharp from "sharp";
import { BUCKET, QUEUE, redis, s3, stopsWith } from "./common.mjs";

const VARIANTS = { resized_compressed: 1024, thumbnail: 200 };

sharp.concurrency(1); // the jobs are the parallelism
sharp.cache(false); // no file is seen twice

async function make(source, id, filename, [name, box]) {
  const body = await sharp(source)
    .autoOrient()
    .resize(box, box, { fit: "inside", withoutEnlargement: true })
    .flatten({ background: "white" })
    .jpeg({ quality: 85 })
    .toBuffer();
  const key = `processed/${id}/${parse(filename).name}_${name}.jpeg`;
  await s3.send(new PutObjectCommand({ Bucket: BUCKET, Key: key, Body: body, ContentType: "image/jpeg" }));
  return [name, `/files/${key}`];
}

async function processImage({ id, data: { key, filename } }) {
  const { Body } = await s3.send(new GetObjectCommand({ Bucket: BUCKET, Key: key }));
  const source = await Body.transformToByteArray();
  return Object.fromEntries(await Promise.all(Object.entries(VARIANTS).map((v) => make(source, id, filename, v))));
}

const worker = new Worker(QUEUE, processImage, { connection: redis(), concurrency: availableParallelism() });
worker.on("error", console.error);
worker.on("failed", (_job, error) => console.error(error));
stopsWith(() => worker.close());
