// sharp as its documentation shows it, asked as tests/bench/runner.py is: lines of JSON in, lines of JSON out.
//
// `node pixels.mjs mozjpeg` writes JPEGs as mozjpeg does.
//
// Each variant is made from the file itself, so that sharp can shrink while it decodes (JPEG and WebP).
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import sharp from "sharp";

sharp.concurrency(1); // one image at a time on one thread: the others' terms
sharp.cache(false);

const mozjpeg = process.argv[2] === "mozjpeg";

const ENCODERS = {
  jpeg: (pixels, quality) =>
    pixels.flatten({ background: "white" }).jpeg({ quality, mozjpeg, chromaSubsampling: "4:2:0" }),
  png: (pixels) => pixels.png(),
  webp: (pixels, quality) => pixels.webp({ quality }),
  avif: (pixels, quality) => pixels.avif({ quality, chromaSubsampling: "4:2:0" }),
  gif: (pixels) => pixels.gif(),
};

function render(source, { width, height, format, quality, frames }) {
  const pixels = sharp(source, { animated: frames === "all" })
    .autoOrient()
    .resize(width, height, { fit: "inside", withoutEnlargement: true });
  return ENCODERS[format](pixels, quality).toBuffer();
}

async function measure({ path, out, count, variants }) {
  const source = await readFile(path);
  let results;
  const begin = process.cpuUsage();
  for (let done = 0; done < count; done++) {
    results = [];
    for (const variant of variants) results.push(await render(source, variant));
  }
  const { user, system } = process.cpuUsage(begin);
  const files = variants.map(({ name, format }) => join(out, `${name}.${format}`));
  await Promise.all(files.map((file, at) => writeFile(file, results[at])));
  return { cpu_ms: (user + system) / 1000 / count, files };
}

for await (const line of createInterface({ input: process.stdin })) {
  const reply = await measure(JSON.parse(line)).catch((error) => ({ error: String(error) }));
  console.log(JSON.stringify(reply));
}
