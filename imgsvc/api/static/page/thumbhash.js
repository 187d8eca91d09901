/** Decodes a ThumbHash (https://evanw.github.io/thumbhash/): the lowest frequencies of an image's cosine transform. */

const SATURATION = 1.25; // compensates for quantization

/** Fills a small canvas with the image that a hash, in base64, describes. */
export function paint(canvas, hash) {
  const image = new ImageData(canvas.width, canvas.height);
  const bytes = Uint8Array.from(atob(hash), (char) => char.charCodeAt(0));
  image.data.set(toRGBA(bytes, canvas.width, canvas.height));
  canvas.getContext("2d").putImageData(image, 0, 0);
}

export function toRGBA(hash, width, height) {
  const header = hash[0] | (hash[1] << 8) | (hash[2] << 16);
  const header2 = hash[3] | (hash[4] << 8);
  const hasAlpha = header >> 23;
  const [long, short] = [hasAlpha ? 5 : 7, Math.max(3, header2 & 7)];
  const [columns, rows] = header2 >> 15 ? [long, short] : [short, long];
  const nibbles = nibblesOf(hash.subarray(hasAlpha ? 6 : 5));
  const light = channel(nibbles, (header & 63) / 63, ((header >> 18) & 31) / 31, columns, rows);
  const yellow = channel(nibbles, ((header >> 6) & 63) / 31.5 - 1, (SATURATION * ((header2 >> 3) & 63)) / 63, 3, 3);
  const red = channel(nibbles, ((header >> 12) & 63) / 31.5 - 1, (SATURATION * ((header2 >> 9) & 63)) / 63, 3, 3);
  const alpha = hasAlpha ? channel(nibbles, (hash[5] & 15) / 15, (hash[5] >> 4) / 15, 5, 5) : () => 1;

  const rgba = new Uint8ClampedArray(width * height * 4);
  for (let y = 0, offset = 0; y < height; y++) {
    for (let x = 0; x < width; x++, offset += 4) {
      const position = [((x + 0.5) / width) * Math.PI, ((y + 0.5) / height) * Math.PI];
      const [l, p, q] = [light(...position), yellow(...position), red(...position)];
      const b = l - (2 / 3) * p;
      const r = (3 * l - b + q) / 2;
      rgba.set([255 * r, 255 * (r - q), 255 * b, 255 * alpha(...position)], offset);
    }
  }
  return rgba;
}

function* nibblesOf(bytes) {
  for (const byte of bytes) yield* [byte & 15, byte >> 4];
}

/** A colour channel as a function of a position, 0 to pi on either axis. Reads its coefficients from the nibbles. */
function channel(nibbles, mean, scale, columns, rows) {
  const coefficients = [];
  for (let cy = 0; cy < rows; cy++) {
    for (let cx = cy ? 0 : 1; cx * rows < columns * (rows - cy); cx++) {
      coefficients.push([cx, cy, 2 * scale * (nibbles.next().value / 7.5 - 1)]);
    }
  }
  return (x, y) =>
    coefficients.reduce((sum, [cx, cy, coefficient]) => sum + coefficient * Math.cos(cx * x) * Math.cos(cy * y), mean);
}
