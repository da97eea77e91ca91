// What the page does with MNIST's test digits, once they are there: deal one, and run all networks on
// all of them.

import {duration, make} from "./card.js";
import {compare} from "./comparison.js";
import {count, fetchFile} from "./files.js";
import {SIZE} from "./preprocess.js";

const PIXELS = SIZE * SIZE;

export class TestDigits {
  /** @param page what this file needs of the page: its element, its cards and networks, the name of
   *  the network that the others are compared with, and functions to put an image on the board and
   *  to say something. */
  static async fetch(entry, again, page) {
    return new TestDigits((await fetchFile(entry, again)).content, page);
  }

  /** @param {Uint8Array} content 784 bytes an image, and after all images one byte a label */
  constructor(content, page) {
    this.content = content;
    this.count = content.length / (PIXELS + 1);
    this.page = page;
    this.running = null;
  }

  image(index) { return this.content.subarray(index * PIXELS, (index + 1) * PIXELS); }

  label(index) { return this.content[this.count * PIXELS + index]; }

  find(selector) { return this.page.figure.querySelector(selector); }

  title(name) { return this.page.cards.get(name).entry.title; }

  deal() { this.put(Math.floor(Math.random() * this.count)); }

  put(index) { this.page.put(this.image(index), `Test digit ${index}, labeled ${this.label(index)}.`); }

  async compare() {
    if (this.running) return this.running.abort();
    const button = this.find(".compare"), usual = button.textContent;
    this.running = new AbortController();
    const {signal} = this.running, {there, reference, say} = this.page;
    button.textContent = "Stop";
    this.find(".results").hidden = false;
    this.find(".differences").hidden = true;
    const results = await compare(new Map(there()), this, {
      reference, signal,
      progress: (done, results) => {
        this.find(".counter").textContent = `${count(done)} of ${count(this.count)} digits`;
        this.showTable(results);
      },
    });
    this.running = null;
    button.textContent = usual;
    if (signal.aborted) return say("Stopped.");
    this.showDifferences(results);
    say(Array.from(results, ([name, {errors}]) => `${this.title(name)}: ${errors} errors`).join("; "));
  }

  showTable(results) {
    const rows = Array.from(results, ([name, {errors, flips, microseconds}]) => make("tr", {"data-network": name},
      make("th", {scope: "row"}, this.title(name)),
      make("td", {class: "errors"}, `${errors}`),
      make("td", {class: "flips"}, flips === null ? "–" : `${flips}`),
      make("td", {}, duration(microseconds))));
    this.find(".results tbody").replaceChildren(...rows);
    this.find(".no-reference").hidden = results.has(this.page.reference);
  }

  /** The digits that at least one network gets wrong: to put on the board. */
  showDifferences(results) {
    const buttons = [];
    for (let index = 0; index < this.count; index++) {
      const label = this.label(index), wrong = [...results].filter(([, {answers}]) => answers[index] !== label);
      if (wrong.length) buttons.push(this.button(index, label, wrong));
    }
    this.find(".list").replaceChildren(...buttons);
    this.find(".differences").hidden = buttons.length === 0;
  }

  button(index, label, wrong) {
    const canvas = make("canvas", {width: SIZE, height: SIZE, "aria-hidden": "true"});
    const context = canvas.getContext("2d"), image = context.createImageData(SIZE, SIZE);
    this.image(index).forEach((ink, i) => image.data.set([255 - ink, 255 - ink, 255 - ink, 255], 4 * i));
    context.putImageData(image, 0, 0);
    const answers = new Set(wrong.map(([, {answers}]) => answers[index]));
    const says = wrong.map(([name, {answers}]) => `${this.title(name)} says ${answers[index]}`).join(", ");
    const text = `Test digit ${index}, labeled ${label}: ${says}`;
    const button = make("button", {type: "button", "aria-label": text, title: text, "data-index": index},
      canvas, make("span", {}, `${label} → ${[...answers].join(", ")}`));
    button.addEventListener("click", () => {
      this.put(index);
      this.find(".board").scrollIntoView({block: "nearest"});
    });
    return button;
  }
}
