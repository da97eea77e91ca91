// The hidden units that fired most, as pictures of their incoming weights: where ink excites a unit,
// and where it calms it.

import {make} from "./card.js";
import {SIZE} from "./preprocess.js";

const SHOWN = 8;
const EXCITES = [47, 131, 200], CALMS = [213, 94, 0];

export class Strip {
  /** @param {HTMLElement} list that the pictures go into */
  constructor(list) {
    this.items = Array.from({length: SHOWN}, () => {
      const canvas = make("canvas", {width: SIZE, height: SIZE, "aria-hidden": "true"}), says = make("span");
      list.append(make("li", {}, canvas, says));
      return {canvas, says};
    });
  }

  /** @param layer as first_layer.js reads it
   *  @param {Uint8Array} pixels that the network has just seen; all zero: nothing is drawn
   *  @returns {number} how many units fire */
  show(layer, pixels) {
    const drawn = pixels.some(Boolean), fired = drawn ? layer.fire() : [];
    const order = [...fired.keys()].filter(unit => fired[unit] > 0).sort((a, b) => fired[b] - fired[a]);
    this.items.forEach(({canvas, says}, i) => {
      const unit = order[i];
      says.textContent = unit === undefined ? "" : `unit ${unit}: ${fired[unit].toFixed(1)}`;
      if (unit === undefined) canvas.getContext("2d").clearRect(0, 0, SIZE, SIZE);
      else picture(canvas, layer.row(unit), pixels);
    });
    return order.length;
  }
}

/** Weights in two colors on the image, which lies under them in gray. */
function picture(canvas, weights, pixels) {
  const context = canvas.getContext("2d"), image = context.createImageData(SIZE, SIZE);
  const largest = weights.reduce((most, weight) => Math.max(most, Math.abs(weight)), 1e-9);
  weights.forEach((weight, i) => {
    const share = Math.min(1, 1.4 * Math.abs(weight) / largest), color = weight > 0 ? EXCITES : CALMS;
    const paper = 255 - 0.28 * pixels[i];
    image.data.set([...color.map(channel => (1 - share) * paper + share * channel), 255], 4 * i);
  });
  context.putImageData(image, 0, 0);
}
