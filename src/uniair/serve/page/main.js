// Starts the page, and puts what is known where it is shown.

import { get, ServerGone, TokenNeeded, useToken } from "./api.js";
import { showAnswers, spoken } from "./answers.js";
import { allowAsking, fadeReply, listenToAsk } from "./ask.js";
import * as buildings from "./buildings.js";
import { showChannel } from "./channel.js";
import { addLayers, element, layers, legend } from "./layers.js";
import { draw } from "./map.js";
import { listenTo } from "./pointing.js";
import { inquire } from "./questions.js";
import { edited, listen, state, update } from "./state.js";

const AGAIN = 3000; // ms between looks for a server that is gone

const $ = (selector) => document.querySelector(selector);
const map = $("#map");

async function start() {
  const [site, found] = await Promise.all([get("site"), get("site/buildings")]);
  const original = found.buildings.map((one) => ({ ...one, holes: one.holes ?? [] }));
  update({ site, original, buildings: original, history: [] });
  $("#name").textContent = site.name;
  $("#about").textContent = `${site.size.toFixed(0)} m wide, ${original.length} buildings, answered by ${site.model}`;
  $("#radio").textContent = `Radio: ${site.radio_text}`;
  $("#remarks").replaceChildren(...site.remarks.map((remark) => element("li", "", remark)));
  $("#remarks").hidden = !site.remarks.length;
  $("#source").textContent = site.attribution.replace("(c)", "©");
  document.title = `${site.name}: UniAir site`;
  allowAsking(site.assistant, site.tasks);
  addLayers(site.tasks);
  choices($("#layers"), "layer", Object.entries(layers).map(([name, { label }]) => [name, label]), (layer) =>
    update({ layer }),
  );
  choices($("#stations"), "station", site.stations.map(({ name }, i) => [i, name]), switchStation);
  const asked = new URLSearchParams(location.hash.slice(1));
  const station = Number(asked.get("station"));
  await switchStation(site.stations[station] ? station : 0, Number(asked.get("link") ?? NaN));
}

/** Loads a station's links; the chosen user is the given link, or else the one nearest to the user before. */
async function switchStation(station, link = NaN) {
  const before = state.links && state.links.ue[state.link];
  const links = await get(`site/links?station=${station}`);
  if (!links.ue.length) throw new Error(`${state.site.stations[station].name} has no links.`);
  if (!links.ue[link]) link = before ? closest(links, before) : Math.max(links.tested.indexOf(true), 0);
  $(`#stations input[value="${station}"]`).checked = true;
  update({ station, links, link, answers: {} });
}

function closest({ ue }, [x, y]) {
  const far = ue.map(([ux, uy]) => Math.hypot(ux - x, uy - y));
  return far.indexOf(Math.min(...far));
}

/** A radio button each. */
function choices(fieldset, name, options, choose) {
  fieldset.querySelectorAll("label").forEach((old) => old.remove());
  for (const [value, text] of options) {
    const input = element("input");
    Object.assign(input, { type: "radio", name, value, checked: state[name] === value });
    input.addEventListener("change", async () => {
      await attempt(() => choose(value));
      // where that failed, what was chosen before still holds
      fieldset.querySelector(`input[value="${state[name]}"]`).checked = true;
    });
    const label = element("label");
    label.append(input, element("span", "", text));
    fieldset.append(label);
  }
}

listen((changed) => {
  if (!state.links) return;
  if (["station", "links", "link"].some((key) => changed.has(key))) {
    history.replaceState(null, "", `#station=${state.station}&link=${state.link}`);
    fadeReply(state.link);
    attempt(() => inquire());
  } else if (changed.has("buildings")) {
    attempt(() => inquire(true));
  }
  if (changed.has("busy")) {
    $("#busy").hidden = !state.busy;
    if (state.busy) $("main").ariaBusy = true; // and no longer once the answers are drawn
    if (!state.busy) $("#spoken").textContent = spoken();
  }
  if (changed.has("buildings") || changed.has("building")) showEdits();
  redraw();
});

function showEdits() {
  const chosen = state.building === null ? null : buildings.find(state.building);
  $("#delete").disabled = !chosen;
  $("#undo").disabled = !state.history.length;
  $("#reset").disabled = !edited();
  const selected = chosen && `Building ${chosen.id}, ${chosen.height.toFixed(0)} m high`;
  $("#edits").replaceChildren(
    ...(selected ? [element("span", "", `${selected}. `)] : []),
    ...(edited() ? [element("strong", "", `The model believes a wrong map: ${buildings.summary()}.`)] : []),
  );
}

let waiting = false;

/** Draws everything once before the next frame, however many changes there were. */
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    if (!state.links) return;
    draw(map);
    $("#legend").replaceChildren(...legend(state.layer, state.links, state.overlay));
    showAnswers();
    showChannel($("#channel"), $("#channel-about"));
    $("main").ariaBusy = state.busy;
  });
}

/** Runs what may fail, and shows how it failed. */
async function attempt(task) {
  try {
    await task();
    problem("");
  } catch (error) {
    fail(error);
  }
}

function fail(error) {
  if (error.name === "AbortError") return;
  if (error instanceof TokenNeeded) {
    $("#token").hidden = false;
    $("#token-text").focus();
  }
  problem(error instanceof ServerGone ? `${error.message} Trying again; what is shown may be old.` : error.message);
  if (error instanceof ServerGone) comeBack();
}

function problem(line) {
  $("#problem").textContent = line;
  $("#problem").hidden = !line;
}

let looking = false;

async function comeBack() {
  if (looking) return;
  looking = true;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, AGAIN));
    if (await get("health").then(() => true, (error) => !(error instanceof ServerGone))) break;
  }
  looking = false;
  attempt(() => (state.links ? inquire() : start()));
}

listenTo(map);
listenToAsk(fail);
$("#overlay").addEventListener("change", ({ target }) => update({ overlay: target.checked }));
$("#previous").addEventListener("click", () => state.links && buildings.selectNext(-1));
$("#next").addEventListener("click", () => state.links && buildings.selectNext(1));
$("#delete").addEventListener("click", () => {
  buildings.remove(state.building);
  map.focus(); // the button can no longer hold the focus
});
$("#undo").addEventListener("click", buildings.undo);
$("#reset").addEventListener("click", buildings.reset);
$("#token").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken($("#token-text").value);
  $("#token").hidden = true;
  attempt(start);
});
new ResizeObserver(redraw).observe(map);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
attempt(start);
