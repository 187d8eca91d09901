// The API: takes uploads into S3, queues a job for each, and says how far it is.
import { randomUUID } from "node:crypto";
import { basename } from "node:path";
import { CreateBucketCommand, HeadBucketCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import multipart from "@fastify/multipart";
import { Job, Queue } from "bullmq";
import Fastify from "fastify";
import { BUCKET, QUEUE, redis, s3, stopsWith } from "./common.mjs";

const STATUS = { completed: "SUCCESS", failed: "FAILURE", active: "PROGRESS", unknown: "PENDING" };

const queue = new Queue(QUEUE, {
  connection: redis(),
  defaultJobOptions: { attempts: 3, removeOnComplete: { age: 3600 }, removeOnFail: { age: 3600 } },
});
const app = Fastify();
await app.register(multipart, { limits: { fileSize: 64 * 1024 * 1024, files: 1 } });

app.post("/upload", async (request, reply) => {
  const part = await request.file();
  const id = randomUUID();
  const filename = basename(part.filename);
  const key = `originals/${id}`;
  const body = await part.toBuffer(); // S3 wants the length first; in memory that is one PUT
  await s3.send(new PutObjectCommand({ Bucket: BUCKET, Key: key, Body: body, ContentType: part.mimetype }));
  await queue.add("process", { key, filename }, { jobId: id });
  return reply.code(202).send({
    id,
    task_id: id,
    filename,
    status_url: `/upload/${id}/status`,
    result_url: `/upload/${id}/result`,
    message: "File uploaded successfully. Processing started in the background.",
  });
});

app.get("/upload/:id/status", async ({ params: { id } }) => {
  const state = await queue.getJobState(id);
  return { id, task_id: id, status: STATUS[state] ?? "PENDING" };
});

app.get("/upload/:id/result", async ({ params: { id } }, reply) => {
  const [job, state] = await Promise.all([Job.fromId(queue, id), queue.getJobState(id)]);
  if (state !== "completed" && state !== "failed") {
    return reply.code(202).send({ status: STATUS[state] ?? "PENDING", result: null });
  }
  return { status: STATUS[state], result: job.returnvalue ?? null };
});

app.get("/healthz", async () => ({ status: "ok" }));

await s3
  .send(new HeadBucketCommand({ Bucket: BUCKET }))
  .catch(() => s3.send(new CreateBucketCommand({ Bucket: BUCKET })));
await app.listen({ host: "127.0.0.1", port: Number(process.env.PORT) });
stopsWith(async () => {
  await app.close();
  await queue.close();
});
