// A drawing as MNIST's digits were prepared: shrunk into 20 × 20 pixels, anti-aliased, its aspect
// ratio kept, and placed with its center of mass in the middle of 28 × 28 pixels. Pure functions on
// arrays of gray values (0 paper, 255 ink), row by row; nothing here knows the page.

export const SIZE = 28;
const BOX = 20;
// In MNIST the center of mass is at pixel 14 (counted from 0), give or take half a pixel.
const MIDDLE = 14;

/** The smallest rectangle that holds all ink, its right and bottom exclusive; null without ink. */
export function boundingBox(gray, width, height) {
  let left = width, top = height, right = 0, bottom = 0;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      if (gray[y * width + x] > 0) {
        if (x < left) left = x;
        if (x >= right) right = x + 1;
        if (y < top) top = y;
        bottom = y + 1;
      }
  return right > 0 ? {left, top, right, bottom} : null;
}

/** How much of each old pixel lies in each of `count` new ones: [[first, [share, …]], …]. */
function shares(begin, end, count) {
  const step = (end - begin) / count;
  return Array.from({length: count}, (_, i) => {
    const from = begin + i * step, to = from + step, first = Math.floor(from);
    const weights = [];
    for (let pixel = first; pixel < to; pixel++)
      weights.push((Math.min(to, pixel + 1) - Math.max(from, pixel)) / step);
    return [first, weights];
  });
}

/** The part of a picture inside a box in `columns` × `rows` pixels: each is the mean of its area. */
export function shrink(gray, width, box, columns, rows) {
  const across = shares(box.left, box.right, columns), down = shares(box.top, box.bottom, rows);
  const small = new Float32Array(columns * rows);
  down.forEach(([firstRow, rowShares], row) =>
    across.forEach(([firstColumn, columnShares], column) => {
      let sum = 0;
      rowShares.forEach((rowShare, y) => {
        const start = (firstRow + y) * width + firstColumn;
        let line = 0;
        for (let x = 0; x < columnShares.length; x++)
          if (columnShares[x] > 0) line += columnShares[x] * gray[start + x];
        if (rowShare > 0) sum += rowShare * line;
      });
      small[row * columns + column] = sum;
    }));
  return small;
}

/** The mean position of the ink, [x, y] in pixels counted from 0. */
export function centerOfMass(gray, columns, rows) {
  let mass = 0, x = 0, y = 0;
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      const ink = gray[row * columns + column];
      mass += ink;
      x += ink * column;
      y += ink * row;
    }
  return [x / mass, y / mass];
}

/** What the networks see of a drawing: 784 bytes, all zero if there is no ink. */
export function preprocess(gray, width, height) {
  const seen = new Uint8Array(SIZE * SIZE), box = boundingBox(gray, width, height);
  if (!box) return seen;
  const wide = box.right - box.left, high = box.bottom - box.top, scale = BOX / Math.max(wide, high);
  const columns = Math.max(1, Math.round(wide * scale)), rows = Math.max(1, Math.round(high * scale));
  const small = shrink(gray, width, box, columns, rows);
  const [x, y] = centerOfMass(small, columns, rows);
  const inside = (shift, length) => Math.max(0, Math.min(SIZE - length, Math.round(shift)));
  const left = inside(MIDDLE - x, columns), top = inside(MIDDLE - y, rows);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      seen[(top + row) * SIZE + left + column] = Math.round(small[row * columns + column]);
  return seen;
}
