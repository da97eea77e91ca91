// One network's card: what it is, its ten probabilities, what it cost. Or why it is not there.

import {count, size} from "./files.js";
import {answer, softmax} from "./network.js";

/** Microseconds, short. */
export const duration = microseconds => `${microseconds < 10 ? microseconds.toFixed(1) : Math.round(microseconds)} µs`;

const percent = share => `${(100 * share).toFixed(1)} %`;

/** An element with attributes and children. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export class Card {
  /** @param entry of networks.json
   *  @param {(again: boolean) => void} load called when the reader asks for the network */
  constructor(entry, load) {
    this.entry = entry;
    this.load = load;
    const heading = `draw-${entry.name}`;
    this.content = make("div");
    this.element = make("section", {class: "network", "aria-labelledby": heading, "data-network": entry.name},
      make("p", {class: "name", id: heading}, entry.title), this.content);
  }

  /** A text, and a button that fetches the network. */
  offer(text, button, again) {
    const element = make("button", {type: "button"}, button);
    element.addEventListener("click", () => this.load(again));
    this.content.replaceChildren(text, element);
  }

  showRequest() {
    this.offer("", `Fetch it (${size(this.entry.bytes)})`, false);
  }

  showLoading() {
    this.content.replaceChildren(`Fetching ${size(this.entry.bytes)} …`);
  }

  showError(message) {
    this.offer(make("p", {class: "error", role: "alert"}, message), "Try again", true);
  }

  showNetwork(network) {
    this.bars = Array.from({length: 10}, (_, digit) => {
      const bar = make("span", {class: "height"}), share = make("span", {class: "visually-hidden"});
      return {bar, share, item: make("li", {}, make("span", {class: "track"}, bar), `${digit}`, share)};
    });
    this.best = make("span", {class: "answer"});
    this.sure = make("span", {class: "sure"});
    this.time = make("span", {class: "time"}, "…");
    this.content.replaceChildren(
      make("div", {class: "says"}, make("div", {}, this.best, this.sure),
        make("ol", {class: "bars"}, ...this.bars.map(({item}) => item))),
      make("p", {class: "facts"},
        make("span", {class: "fetched"}, `${count(network.fetched)} bytes`),
        make("span", {}, this.time, " a prediction"),
        make("span", {}, `${this.entry.test_error_percent.toFixed(2)} % test error`)));
  }

  /** @param {number[]} logits
   *  @param {boolean} drawn without a drawing there is nothing to answer
   *  @returns {string} the answer in words */
  showAnswer(logits, drawn) {
    const shares = softmax(logits), best = answer(logits);
    this.bars.forEach(({item, bar, share}, digit) => {
      item.classList.toggle("best", drawn && digit === best);
      bar.style.height = drawn ? `${100 * shares[digit]}%` : 0;
      share.textContent = drawn ? `: ${percent(shares[digit])}` : "";
    });
    this.best.textContent = drawn ? best : "–";
    this.sure.textContent = drawn ? percent(shares[best]) : "";
    return `${this.entry.title}: ${best}, ${percent(shares[best])}`;
  }

  showTime(microseconds) {
    this.time.textContent = duration(microseconds);
  }
}
