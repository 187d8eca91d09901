// Where sharp crops: lines of JSON in ({ path, width, height, strategy }), lines of JSON out ({ left, top }).
//
// The crop has the size of the picture in one direction at least, so that nothing is scaled.
import { createInterface } from "node:readline";
import sharp from "sharp";

for await (const line of createInterface({ input: process.stdin })) {
  const { path, width, height, strategy } = JSON.parse(line);
  const { info } = await sharp(path)
    .resize(width, height, { fit: "cover", position: sharp.strategy[strategy] })
    .toBuffer({ resolveWithObject: true });
  console.log(JSON.stringify({ left: -info.cropOffsetLeft, top: -info.cropOffsetTop }));
}
