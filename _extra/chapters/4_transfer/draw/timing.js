// How long a prediction takes. A browser's clock is coarse, on purpose: one prediction is far shorter
// than a tick. So many are timed together, until they take 5 ms.

const LONG_ENOUGH = 5, ROUNDS = 5;

/** Let the browser draw and listen. */
export const pause = () => new Promise(resolve => setTimeout(resolve));

/** @param {() => void} run one prediction
 *  @returns {Promise<number>} microseconds: the median of five rounds */
export async function microseconds(run) {
  let times = 1;
  const round = () => {
    const begun = performance.now();
    for (let i = 0; i < times; i++) run();
    return performance.now() - begun;
  };
  while (round() < LONG_ENOUGH) times *= 2;
  const rounds = [];
  for (let i = 0; i < ROUNDS; i++) {
    await pause();
    rounds.push(round() / times);
  }
  return 1000 * rounds.sort((a, b) => a - b)[ROUNDS >> 1];
}
