// Uploads by tus-js-client: `node tus.mjs PARAMETERS`, where PARAMETERS is JSON.
// Prints the upload's URL, the statuses of all responses, and how many bytes were said to be accepted at the end.

import { createReadStream } from "node:fs";
import { PassThrough } from "node:stream";
import { Upload } from "tus-js-client";

const { endpoint, file, options } = JSON.parse(process.argv[2]);
const statuses = {};
let accepted = 0;

// a stream that has no path has no known length either
const source = options.uploadLengthDeferred ? createReadStream(file).pipe(new PassThrough()) : createReadStream(file);

const upload = new Upload(source, {
  endpoint,
  retryDelays: Array(200).fill(20),
  chunkSize: Number.POSITIVE_INFINITY,
  ...options,
  onAfterResponse: (_, response) => {
    statuses[response.getStatus()] = (statuses[response.getStatus()] ?? 0) + 1;
  },
  onProgress: (bytes) => {
    accepted = bytes;
  },
  onSuccess: () => console.log(JSON.stringify({ url: upload.url, statuses, accepted })),
  onError: (error) => {
    console.error(String(error));
    process.exit(1);
  },
});
upload.start();
