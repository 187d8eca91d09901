/** Pixels of a ThumbHash (https://evanw.github.io/thumbhash/): the lowest frequencies of an image's cosine transform. */

const SATURATION = 1.25; // makes up for what quantization has taken

/** `hash` is base64. Fills a canvas of a few pixels a side. */
export function paint(canvas, hash) {
  const image = new ImageData(canvas.width, canvas.height);
  image.data.set(
    toRGBA(
      Uint8Array.from(atob(hash), (char) => char.charCodeAt(0)),
      canvas.width,
      canvas.height,
    ),
  );
  canvas.getContext("2d").putImageData(image, 0, 0);
}

export function toRGBA(hash, width, height) {
  const head = hash[0] | (hash[1] << 8) | (hash[2] << 16);
  const tail = hash[3] | (hash[4] << 8);
  const hasAlpha = head >> 23;
  const [most, fewer] = [hasAlpha ? 5 : 7, Math.max(3, tail & 7)];
  const [across, down] = tail >> 15 ? [most, fewer] : [fewer, most];
  const nibbles = unpack(hash.subarray(hasAlpha ? 6 : 5));
  const light = waves(nibbles, (head & 63) / 63, ((head >> 18) & 31) / 31, across, down);
  const yellow = waves(nibbles, ((head >> 6) & 63) / 31.5 - 1, (SATURATION * ((tail >> 3) & 63)) / 63, 3, 3);
  const red = waves(nibbles, ((head >> 12) & 63) / 31.5 - 1, (SATURATION * ((tail >> 9) & 63)) / 63, 3, 3);
  const alpha = hasAlpha ? waves(nibbles, (hash[5] & 15) / 15, (hash[5] >> 4) / 15, 5, 5) : () => 1;

  const rgba = new Uint8ClampedArray(width * height * 4);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at += 4) {
      const place = [((x + 0.5) / width) * Math.PI, ((y + 0.5) / height) * Math.PI];
      const [l, p, q] = [light(...place), yellow(...place), red(...place)];
      const b = l - (2 / 3) * p;
      const r = (3 * l - b + q) / 2;
      rgba.set([255 * r, 255 * (r - q), 255 * b, 255 * alpha(...place)], at);
    }
  }
  return rgba;
}

function* unpack(bytes) {
  for (const byte of bytes) yield* [byte & 15, byte >> 4];
}

/** A channel as a function of a place, each coordinate from 0 to pi. Takes its factors from the nibbles. */
function waves(nibbles, mean, scale, across, down) {
  const factors = [];
  for (let cy = 0; cy < down; cy++) {
    for (let cx = cy ? 0 : 1; cx * down < across * (down - cy); cx++) {
      factors.push([cx, cy, 2 * scale * (nibbles.next().value / 7.5 - 1)]);
    }
  }
  return (x, y) => factors.reduce((sum, [cx, cy, factor]) => sum + factor * Math.cos(cx * x) * Math.cos(cy * y), mean);
}
