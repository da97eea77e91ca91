// Ten digits that were drawn beforehand, for who does not draw. They go the way of a drawing: a pen
// follows their points, and the networks answer on the way.

const COORDINATES = 100; // samples.json counts from 0 at the left and the top to 100
const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

export async function loadSamples() {
  return (await fetch(new URL("samples.json", import.meta.url))).json();
}

/** Draw a sample on the board, point by point, or at once for who wants no motion. */
export function draw(sample, board) {
  const scale = board.size / COORDINATES;
  const strokes = sample.strokes.map(points => points.map(([x, y]) => [x * scale, y * scale]));
  board.clear();
  if (still()) {
    board.strokes = strokes;
    board.draw(true);
    return;
  }
  const rest = strokes.flatMap(points => points.map((point, i) => ({point, first: i === 0})));
  let stroke;
  const step = () => {
    // Somebody has cleared the board, or begun to draw.
    if (stroke && board.strokes.at(-1) !== stroke) return;
    const {point, first} = rest.shift();
    if (first) board.strokes.push(stroke = []);
    stroke.push(point);
    board.draw(rest.length === 0);
    if (rest.length) setTimeout(step, 35);
  };
  step();
}
