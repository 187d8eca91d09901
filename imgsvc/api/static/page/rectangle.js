/** Rectangles within an image, as fractions (0 to 1) of its sides. */

const LEAST = 0.01; // of a side

export const clamp = (value, low = 0, high = 1) => Math.min(high, Math.max(low, value));

/** The rectangle between two points. `ratio` is what its width is to its height, in fractions; null leaves it free. */
export function between(fixed, moving, ratio = null) {
  const [right, down] = [moving.x >= fixed.x, moving.y >= fixed.y];
  const room = { width: right ? 1 - fixed.x : fixed.x, height: down ? 1 - fixed.y : fixed.y };
  let width = clamp(Math.abs(moving.x - fixed.x), Math.min(LEAST, room.width), room.width);
  let height = clamp(Math.abs(moving.y - fixed.y), Math.min(LEAST, room.height), room.height);
  if (ratio !== null) {
    height = Math.min(Math.max(height, width / ratio), room.height, room.width / ratio);
    width = height * ratio;
  }
  return { x: right ? fixed.x : fixed.x - width, y: down ? fixed.y : fixed.y - height, width, height };
}

/** The rectangle moved, as far as there is room. */
export const moved = (rectangle, by) => ({
  ...rectangle,
  x: clamp(rectangle.x + by.x, 0, 1 - rectangle.width),
  y: clamp(rectangle.y + by.y, 0, 1 - rectangle.height),
});

/** The largest rectangle of a ratio around the centre of another, and within it. */
export function shaped({ x, y, width, height }, ratio) {
  const kept = Math.min(height, width / ratio);
  const size = { width: kept * ratio, height: kept };
  return { x: x + (width - size.width) / 2, y: y + (height - size.height) / 2, ...size };
}

/** The rectangle's part within the image. */
export function inside({ x, y, width, height }) {
  const [left, top] = [clamp(x, 0, 1 - LEAST), clamp(y, 0, 1 - LEAST)];
  return { x: left, y: top, width: clamp(width, LEAST, 1 - left), height: clamp(height, LEAST, 1 - top) };
}

/** In pixels of an image, with whole numbers. */
export function inPixels({ x, y, width, height }, image) {
  const [left, top] = [Math.round(x * image.width), Math.round(y * image.height)];
  return {
    x: Math.min(left, image.width - 1),
    y: Math.min(top, image.height - 1),
    width: clamp(Math.round(width * image.width), 1, image.width - left),
    height: clamp(Math.round(height * image.height), 1, image.height - top),
  };
}
