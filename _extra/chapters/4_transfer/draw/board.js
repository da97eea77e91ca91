// The drawing board: strokes of a pen, perhaps on top of a test digit, all of it tilted if wanted.
// Strokes are kept as points; so the pen can change afterwards. The canvas holds ink in its alpha
// channel, 0 where there is paper.

import {SIZE} from "./preprocess.js";

const PIXELS = 560; // along a side: 20 for each of the 28 pixels of a test digit
const MIDDLE = PIXELS / 2;

export class Board {
  /** @param {HTMLCanvasElement} canvas
   *  @param {(finished: boolean) => void} changed called at most once a picture of the screen */
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.pen = 44;
    this.tilt = 0;
    canvas.width = canvas.height = PIXELS;
    this.context = canvas.getContext("2d", {willReadFrequently: true});
    this.empty();
    this.listen();
  }

  empty() {
    this.strokes = [];
    this.digit = null;
    this.stroke = null;
  }

  clear() {
    this.empty();
    this.draw(true);
  }

  undo() {
    if (!this.strokes.pop()) this.digit = null;
    this.draw(true);
  }

  /** Put a test digit on the board, in place of what is there. */
  show(pixels) {
    this.empty();
    const image = new ImageData(SIZE, SIZE);
    pixels.forEach((ink, i) => { image.data[4 * i + 3] = ink; });
    const digit = Object.assign(document.createElement("canvas"), {width: SIZE, height: SIZE, pixels});
    digit.getContext("2d").putImageData(image, 0, 0);
    this.digit = digit;
    this.draw(true);
  }

  get isEmpty() { return !this.digit && !this.strokes.length; }

  /** The test digit's own pixels, as long as nothing has been done to it. */
  get untouched() { return this.digit && !this.strokes.length && !this.tilt ? this.digit.pixels : null; }

  /** Draw soon. */
  draw(finished = false) {
    this.finished ||= finished;
    this.waiting ??= requestAnimationFrame(() => {
      const done = this.finished;
      this.waiting = this.finished = null;
      this.paint();
      this.changed(done);
    });
  }

  paint() {
    const {context} = this;
    context.resetTransform();
    context.clearRect(0, 0, PIXELS, PIXELS);
    context.translate(MIDDLE, MIDDLE);
    context.rotate(this.tilt * Math.PI / 180);
    context.translate(-MIDDLE, -MIDDLE);
    if (this.digit) {
      context.imageSmoothingEnabled = false; // One sees the pixels.
      context.drawImage(this.digit, 0, 0, PIXELS, PIXELS);
    }
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = this.pen;
    for (const points of this.strokes) {
      const [first, ...others] = points, last = points[points.length - 1];
      context.beginPath();
      context.moveTo(...first);
      // A smooth curve through the middles between the points.
      others.forEach(([x, y], i) => context.quadraticCurveTo(
        ...points[i], (points[i][0] + x) / 2, (points[i][1] + y) / 2));
      context.lineTo(...last);
      context.stroke();
    }
  }

  /** How much ink is where: 560 × 560 bytes. */
  get ink() {
    const {data} = this.context.getImageData(0, 0, PIXELS, PIXELS), ink = new Uint8Array(PIXELS ** 2);
    for (let i = 0; i < ink.length; i++) ink[i] = data[4 * i + 3];
    return ink;
  }

  get size() { return PIXELS; }

  listen() {
    const {canvas} = this;
    const point = event => {
      const box = canvas.getBoundingClientRect(), angle = -this.tilt * Math.PI / 180;
      const x = (event.clientX - box.left) / box.width * PIXELS - MIDDLE;
      const y = (event.clientY - box.top) / box.height * PIXELS - MIDDLE;
      return [x * Math.cos(angle) - y * Math.sin(angle) + MIDDLE, x * Math.sin(angle) + y * Math.cos(angle) + MIDDLE];
    };
    canvas.addEventListener("pointerdown", event => {
      if (!event.isPrimary || event.button !== 0) return;
      event.preventDefault();
      canvas.setPointerCapture(event.pointerId);
      this.stroke = [point(event)];
      this.strokes.push(this.stroke);
      this.draw();
    });
    canvas.addEventListener("pointermove", event => {
      if (!event.isPrimary || !this.stroke) return;
      // All places that the pen has been at since the last event.
      const events = event.getCoalescedEvents?.() ?? [];
      this.stroke.push(...(events.length ? events : [event]).map(point));
      this.draw();
    });
    const end = event => {
      if (!event.isPrimary || !this.stroke) return;
      this.stroke = null;
      this.draw(true);
    };
    for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, end);
  }
}
