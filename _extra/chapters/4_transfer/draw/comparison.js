// All networks on all test digits, a few at a time, so that the page stays alive in between.

import {answer} from "./network.js";
import {pause} from "./timing.js";

const SLICE = 20; // digits: a few milliseconds, less than from one picture of the screen to the next

/** @param {Map<string, Network>} networks by name
 *  @param digits as digits.js gives them
 *  @param {string} reference the name of the network whose answers count as unflipped
 *  @param {AbortSignal} signal ends it early
 *  @param {(done: number, results: Map) => void} progress
 *  @returns {Promise<Map<string, {answers, errors, flips, microseconds}>>} flips: null if the
 *  reference is not among the networks */
export async function compare(networks, digits, {reference, signal, progress}) {
  const results = new Map();
  for (const name of networks.keys())
    results.set(name, {answers: new Uint8Array(digits.count), errors: 0, flips: 0, ms: 0});
  for (let done = 0; done < digits.count && !signal.aborted;) {
    // A slice goes through one network after the other: the clock is too coarse for a single digit.
    const begin = done, end = Math.min(digits.count, begin + SLICE);
    for (const [name, network] of networks) {
      const result = results.get(name), begun = performance.now();
      for (let i = begin; i < end; i++) result.answers[i] = answer(network.predict(digits.image(i)));
      result.ms += performance.now() - begun;
    }
    done = end;
    for (const result of results.values())
      for (let i = begin; i < end; i++) {
        result.errors += result.answers[i] !== digits.label(i);
        const right = results.get(reference);
        result.flips = right ? result.flips + (result.answers[i] !== right.answers[i]) : null;
      }
    for (const result of results.values()) result.microseconds = 1000 * result.ms / done;
    progress(done, results);
    await pause();
  }
  return results;
}
