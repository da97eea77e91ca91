// The page "Draw a digit": what is on it, and what happens when. Everything that computes or fetches
// is in the files beside this one.

import {Board} from "./board.js";
import {Card, make} from "./card.js";
import {size} from "./files.js";
import {firstLayer} from "./first_layer.js";
import {loadNetwork} from "./network.js";
import {keepForOffline} from "./offline.js";
import {preprocess, SIZE} from "./preprocess.js";
import {draw, loadSamples} from "./samples.js";
import {Strip} from "./strip.js";
import {microseconds} from "./timing.js";

const QUIET = 700; // ms
const figure = document.getElementById("draw");
const find = selector => figure.querySelector(selector);

const board = new Board(find(".board"), look);
const strip = new Strip(find(".units"));
const cards = new Map(), layers = new Map(); // by the network's name
const networks = new Map(); // the same, in the order of the list, null until it is there
let seen = new Uint8Array(SIZE * SIZE), note = "", chosenLayer = null, waiting;

async function start() {
  // Asked for anew each time: it says which files go together.
  const list = new URL("networks.json", import.meta.url);
  const response = await fetch(list, {cache: "no-cache"}).catch(() => null);
  if (!response?.ok) {
    find(".before").textContent = "The list of the networks cannot be fetched. Reload the page to try again.";
    return;
  }
  const listed = await response.json();
  for (const entry of listed.networks) {
    const card = new Card(entry, again => load(entry, again));
    cards.set(entry.name, card);
    networks.set(entry.name, null);
    find(".networks").append(card.element);
    if (entry.on_request) card.showRequest();
  }
  listen();
  offerTestDigits(listed);
  figure.classList.add("started");
  const atOnce = listed.networks.filter(entry => !entry.on_request);
  await Promise.all([...atOnce.map(entry => load(entry)), offerSamples()]);
  figure.classList.add("ready");
  await keepForOffline(listed.version, message => { find(".offline").textContent = message; });
}

// ---- The board -----------------------------------------------------------------------------------

function listen() {
  for (const name of ["pen", "tilt"])
    find(`.${name}`).addEventListener("input", () => {
      readSliders();
      board.draw(true);
    });
  find(".clear").addEventListener("click", clear);
  find(".undo").addEventListener("click", () => board.undo());
  readSliders();
}

function readSliders() {
  board.pen = Number(find(".pen").value);
  board.tilt = Number(find(".tilt").value);
  find(".pen + output").textContent = board.pen;
  find(".tilt + output").textContent = `${board.tilt}°`;
}

function clear() {
  note = "";
  find(".tilt").value = 0;
  readSliders();
  board.clear();
}

async function offerSamples() {
  for (const sample of await loadSamples().catch(() => [])) {
    const button = make("button", {type: "button", "aria-label": `Draw a ${sample.digit}`}, `${sample.digit}`);
    button.addEventListener("click", () => { clear(); draw(sample, board); });
    find(".samples").append(button);
  }
}

/** Show 784 bytes on a canvas of 28 × 28 pixels, ink white. */
function picture(canvas, pixels) {
  const context = canvas.getContext("2d"), image = context.createImageData(SIZE, SIZE);
  pixels.forEach((ink, i) => image.data.set([ink, ink, ink, 255], 4 * i));
  context.putImageData(image, 0, 0);
}

// ---- The networks --------------------------------------------------------------------------------

/** [name, network] of those that have been fetched. */
const there = () => [...networks].filter(([, network]) => network);

async function load(entry, again) {
  const card = cards.get(entry.name);
  card.showLoading();
  try {
    const network = await loadNetwork(entry, again);
    networks.set(entry.name, network);
    card.showNetwork(network);
    if (entry.first_layer) offerLayer(entry, firstLayer(network, entry.first_layer));
    answer();
    card.showTime(await microseconds(network.run));
  } catch (error) {
    card.showError(error.message);
  }
}

/** The drawing has changed: what do the networks see now? */
function look(finished) {
  if (!board.digit) note = "";
  seen = board.untouched ?? preprocess(board.ink, board.size, board.size);
  picture(find(".seen"), seen);
  find(".note").textContent = note;
  const strokes = `${board.strokes.length} stroke${board.strokes.length === 1 ? "" : "s"}`;
  find(".board").setAttribute("aria-label", `Drawing board: ${board.isEmpty ? "empty" : `${note} ${strokes}`}`);
  answer(finished);
}

/** @param {boolean} finished the stroke is: say the answers to who listens to the page, and measure
 *  the times, once nothing has changed for a while */
function answer(finished) {
  const drawn = seen.some(Boolean);
  const says = there().map(([name, network]) => cards.get(name).showAnswer(network.predict(seen), drawn));
  showLayer();
  clearTimeout(waiting);
  if (finished) waiting = setTimeout(() => { say(drawn ? says.join("; ") : ""); time(); }, QUIET);
}

async function time() {
  for (const [name, network] of there()) cards.get(name).showTime(await microseconds(network.run));
}

function say(message) {
  find(".status").textContent = message;
}

// ---- The first layer -----------------------------------------------------------------------------

/** One more network whose hidden units can be shown. The smallest one, which is listed last, is. */
function offerLayer({name, title}, layer) {
  layers.set(name, layer);
  const names = [...cards.keys()].filter(name => layers.has(name));
  chosenLayer = names.at(-1);
  find(".layers").replaceChildren(find(".layers legend"), ...names.map(name => {
    const radio = make("input", {type: "radio", name: "draw-layer", value: name});
    radio.checked = name === chosenLayer;
    radio.addEventListener("change", () => { chosenLayer = name; showLayer(); });
    return make("label", {}, radio, ` ${cards.get(name).entry.title}`);
  }));
}

function showLayer() {
  if (!chosenLayer) return;
  const layer = layers.get(chosenLayer), firing = strip.show(layer, seen);
  find(".firing").textContent = firing ? `${firing} of ${layer.units} units fire.` : "";
}

// ---- Test digits ---------------------------------------------------------------------------------

/** Their code comes with them, when the reader asks. */
function offerTestDigits(listed) {
  const reference = listed.networks.find(entry => entry.reference)?.name;
  let digits = null;
  const put = (pixels, text) => {
    clear();
    note = text;
    board.show(pixels);
  };
  for (const action of ["deal", "compare"]) {
    const button = find(`.${action}`), error = find(".comparison .error");
    button.append(make("span", {class: "size"}, ` (fetches ${size(listed.digits.bytes)})`));
    button.addEventListener("click", async () => {
      try {
        const {TestDigits} = await import("./test_digits.js");
        digits ??= await TestDigits.fetch(listed.digits, error.textContent !== "", {figure, cards, there, reference, put, say});
        error.textContent = "";
        figure.querySelectorAll(".size").forEach(part => part.remove());
      } catch (problem) {
        error.textContent = problem.message;
        return;
      }
      await digits[action]();
    });
  }
}

start();
