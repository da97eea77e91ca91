// A network that was compiled to WebAssembly. Such a module imports nothing and exports its memory,
// the function net_predict, and where in the memory its input, its output and its description lie.

import {fetchFile} from "./files.js";

/** Fetch, check and start the network of an entry of networks.json. */
export async function loadNetwork(entry, again) {
  const {content, fetched} = await fetchFile(entry, again);
  let exports;
  try {
    ({instance: {exports}} = await WebAssembly.instantiate(content));
  } catch (error) {
    throw new Error(`This browser cannot run ${entry.file}: ${error.message}`);
  }
  return new Network(exports, fetched);
}

export class Network {
  constructor(exports, fetched) {
    this.fetched = fetched;
    this.memory = exports.memory.buffer;
    this.run = exports.net_predict;
    this.about = JSON.parse(this.text(exports.net_about.value));
    const {dtype, outputs, input_shape, input, output} = this.about;
    const Numbers = {float32: Float32Array, int8: Int8Array}[dtype];
    const inputs = input_shape.reduce((product, length) => product * length, 1);
    this.input = new Numbers(this.memory, exports.net_input.value, inputs);
    this.output = new Numbers(this.memory, exports.net_output.value, outputs);
    // A pixel has one of 256 values: what the network's input is for each of them.
    this.levels = Array.from({length: 256}, (_, pixel) => {
      const x = Math.fround(pixel / 255);
      return input ? quantize(x, ...input) : x;
    });
    const [scale, zeroPoint] = output ?? [1, 0];
    this.logit = value => Math.fround(Math.fround(scale) * (value - zeroPoint));
  }

  /** Logits of an image of 784 bytes. */
  predict(pixels) {
    for (let i = 0; i < pixels.length; i++) this.input[i] = this.levels[pixels[i]];
    this.run();
    return Array.from(this.output, this.logit);
  }

  text(address) {
    const bytes = new Uint8Array(this.memory, address);
    return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
  }
}

/** A real number as int8; in 32 bits and rounded half to even, as NumPy does it. */
export function quantize(x, scale, zeroPoint) {
  const steps = Math.fround(x / Math.fround(scale));
  let rounded = Math.round(steps);
  if (rounded - steps === 0.5 && rounded % 2 !== 0) rounded -= 1;
  return Math.max(-128, Math.min(127, rounded + zeroPoint));
}

/** Logits as probabilities. */
export function softmax(logits) {
  const top = Math.max(...logits), powers = logits.map(logit => Math.exp(logit - top));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map(power => power / sum);
}

/** The digit with the largest number; the first one of equals. */
export const answer = numbers => numbers.indexOf(Math.max(...numbers));
