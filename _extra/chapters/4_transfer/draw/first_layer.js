// The first layer of a network, read from the memory of its WebAssembly module. networks.json says at
// which addresses the compiler has put the arrays; their names are those of the C file.

const PIXELS = 784;

/** @returns {{units: number, row(unit): ArrayLike<number>, fire(): number[]}} the weights that lead to
 *  a unit, and how strongly every unit fires for what is in the network's input. */
export function firstLayer({memory, input}, at) {
  const {units} = at, float = !at.multiplier;
  const array = (Numbers, address, length) => new Numbers(memory, address, length);
  const weights = float ? transposed(array(Float32Array, at.weights, PIXELS * units), units)
    : at.gaps ? dense(memory, at) : array(Int8Array, at.weights, PIXELS * units);
  const bias = array(float ? Float32Array : Int32Array, at.bias, units);
  // What a sum of integers stands for: the multiplier and the shift of its unit, and the layer's scale.
  const multiplier = float ? null : array(Int32Array, at.multiplier, units);
  const exponent = float ? null : array(Int8Array, at.exponent, units);
  const real = unit => float ? 1 : multiplier[unit] * 2 ** (exponent[unit] - 31) * at.scale;
  return {
    units,
    row: unit => weights.subarray(unit * PIXELS, (unit + 1) * PIXELS),
    fire: () => Array.from({length: units}, (_, unit) => {
      let sum = bias[unit];
      for (let i = 0, start = unit * PIXELS; i < PIXELS; i++) sum += weights[start + i] * input[i];
      return Math.max(0, sum * real(unit));
    }),
  };
}

/** Pixel after pixel → unit after unit. */
function transposed(weights, units) {
  return Float32Array.from(weights, (_, i) => weights[(i % PIXELS) * units + Math.floor(i / PIXELS)]);
}

/** Gaps and values → all weights, zeros included. */
function dense(memory, {units, weights, gaps, counts}) {
  const rows = new Int8Array(units * PIXELS), many = new Uint16Array(memory, counts, units);
  const value = new Int8Array(memory, weights), gap = new Uint8Array(memory, gaps);
  for (let unit = 0, n = 0; unit < units; unit++)
    for (let i = unit * PIXELS, end = n + many[unit]; n < end; n++) {
      i += gap[n];
      rows[i] += value[n]; // A bridge over a long gap has the value 0.
    }
  return rows;
}
