// Starts the page, and puts what is known where it is shown.

import { get, ServerGone, TokenNeeded, useToken } from "./api.js";
import { showAnswers, spoken } from "./answers.js";
import { allowAsking, fadeReply, listenToAsk } from "./ask.js";
import { askAudit, showAudit } from "./audit.js";
import * as buildings from "./buildings.js";
import { showChannel } from "./channel.js";
import { readCells, readRecast } from "./coverage.js";
import { readDrive } from "./drive.js";
import { offerFiles } from "./files.js";
import { showPlace } from "./hover.js";
import { addLayers, element, layers, legend } from "./layers.js";
import { draw } from "./map.js";
import { lookUp, showSectors, showUser, spokenUser } from "./plan.js";
import { listenTo } from "./pointing.js";
import { inquire } from "./questions.js";
import { showRays } from "./rays.js";
import { edited, listen, planned, state, update } from "./state.js";
import { showWhy } from "./why.js";

const AGAIN = 3000; // ms between looks for a server that is gone

const $ = (selector) => document.querySelector(selector);
const map = $("#map");

async function start() {
  const [site, found] = await Promise.all([get("site"), get("site/buildings")]);
  const coverage = site.coverage ? await get("coverage") : null;
  const original = found.buildings.map((one) => ({ ...one, holes: one.holes ?? [] }));
  const asked = new URLSearchParams(location.hash.slice(1));
  const plan = site.model === null || (site.plan && !asked.has("station"));
  update({ site, plan, coverage, streets: found.streets, original, buildings: original, history: [] });
  const parts = { model: !planned(), plan: planned(), coverage: coverage !== null };
  for (const part of document.querySelectorAll("[data-of]")) part.hidden = !parts[part.dataset.of];
  $("#name").textContent = site.name;
  offerViews(site);
  const by = planned() ? `coverage of ${coverage.sectors.length} sectors` : `answered by ${site.model}`;
  $("#about").textContent = `${site.size.toFixed(0)} m wide, ${original.length} buildings, ${by}`;
  $("#source").textContent = site.attribution.replace("(c)", "©");
  document.title = `${site.name}: UniAir site`;
  if (!planned()) allowAsking(site.assistant, site.tasks);
  if (coverage) {
    showSectors();
    offerFiles($("#export"), coverage.files, attempt);
  }
  update({ driven: await readDrive(), recast: await readRecast() });
  addLayers(site.tasks);
  const layer = planned() ? Object.keys(layers)[0] : "los";
  update({ layer });
  choices($("#layers"), "layer", Object.entries(layers).map(([name, { label }]) => [name, label]), switchLayer);
  if (planned()) {
    const sector = asked.has("sector") ? Number(asked.get("sector")) : null;
    offerSectors(coverage.sectors);
    await switchSector(coverage.sectors[sector] ? sector : null, Number(asked.get("user") ?? 0));
  } else {
    if (coverage) update({ people: await get("coverage/users") });
    choices($("#stations"), "station", site.stations.map(({ name }, i) => [i, name]), switchStation);
    const station = Number(asked.get("station"));
    await switchStation(site.stations[station] ? station : 0, Number(asked.get("link") ?? NaN));
  }
}

let turn = 0; // of layers and sectors: of several that are chosen quickly, the last one stands

async function switchLayer(layer) {
  const mine = ++turn;
  const cells = await readCells(layers[layer], state.sector);
  if (mine === turn) update({ layer, cells });
}

/** Loads a station's links; the chosen user is the given link, or else the one nearest to the user before. */
async function switchStation(station, link = NaN) {
  const before = state.links && state.links.ue[state.link];
  const links = await get(`site/links?station=${station}`);
  if (!links.ue.length) throw new Error(`${state.site.stations[station].name} has no links.`);
  if (!links.ue[link]) link = before ? closest(links, before) : Math.max(links.tested.indexOf(true), 0);
  $(`#stations input[value="${station}"]`).checked = true;
  update({ station, links, link, answers: {} });
  showRadio(state.site.stations[station]);
}

/** Shows what one sector of a plan gives, or the best server of each place where it is null. */
async function switchSector(sector, link = state.link) {
  const mine = ++turn;
  if (state.links) update({ busy: true });
  const of = sector === null ? "" : `sector=${sector}`;
  const [people, recast, cells] = await Promise.all([
    get(`coverage/users${of && `?${of}`}`), readRecast(of && `&${of}`), readCells(layers[state.layer], sector),
  ]);
  if (mine !== turn) return;
  $("#sector").value = sector ?? "";
  update({ sector, cells, people, recast, links: people, link: people.ue[link] ? link : 0, answers: {} });
}

/** A plan that a model reads has two views: what its sectors give, and what the model answers. */
function offerViews(site) {
  $("#views").hidden = !(site.plan && site.model !== null);
  $("#unasked").hidden ||= site.model !== null;
  for (const link of document.querySelectorAll("#views a")) {
    link.ariaCurrent = (link.id === "view-plan") === planned() ? "page" : null;
    link.onclick = () => {
      location.hash = link.hash;
      location.reload();
      return false;
    };
  }
}

/** The radio of what is asked, and what of it lies within what the weights learned from. */
function showRadio({ radio_text: radio, within, remarks }) {
  $("#radio").textContent = `Radio: ${radio}`;
  const verdicts = ["in range", "extrapolated", "unknown"].map((one) => [one, Object.keys(within).filter((part) => within[part] === one)]);
  const lines = verdicts.filter(([, parts]) => parts.length).map(([one, parts]) => `${one}: ${parts.join(", ")}`);
  $("#within").textContent = `What the weights learned from: ${lines.join("; ")}`;
  $("#remarks").replaceChildren(...remarks.map((remark) => element("li", "", remark)));
  $("#remarks").hidden = !remarks.length;
}

function offerSectors(sectors) {
  const option = (value, text) => Object.assign(element("option", "", text), { value });
  $("#sector").replaceChildren(option("", "all"), ...sectors.map(({ sector }, i) => option(i, sector)));
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
  if (changed.has("hover") && changed.size === 1) {
    showPlace($("#hover"));
    return;
  }
  if (["station", "links", "link"].some((key) => changed.has(key))) {
    history.replaceState(null, "", address());
    if (!planned()) fadeReply(state.link);
    attempt(() => (planned() ? lookUp() : inquire()));
  } else if (changed.has("buildings")) {
    attempt(() => inquire(true));
  }
  if (state.layer === "audit" && ["layer", "links", "buildings"].some((key) => changed.has(key))) askAudit().catch(fail);
  if (changed.has("busy")) {
    $("#busy").hidden = !state.busy || planned();
    if (state.busy) $("main").ariaBusy = true; // and no longer once the answers are drawn
    if (!state.busy) $("#spoken").textContent = planned() ? spokenUser() : spoken();
  }
  if (changed.has("buildings") || changed.has("building")) showEdits();
  redraw();
});

function address() {
  if (!planned()) return `#station=${state.station}&link=${state.link}`;
  return `#user=${state.link}${state.sector === null ? "" : `&sector=${state.sector}`}`;
}

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

const why = {
  sentence: $("#why-sentence"), doubt: $("#why-doubt"), list: $("#why-list tbody"), remarks: $("#why-remarks"),
};
let waiting = false;

/** Draws everything once before the next frame, however many changes there were. */
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    if (!state.links) return;
    draw(map);
    showPlace($("#hover"));
    $("#legend").replaceChildren(...legend(state.layer, state.links, state.overlay));
    showRays($("#rays-about"), $("#rays-list tbody"));
    if (planned()) {
      showUser();
    } else {
      showAnswers();
      showWhy(why);
      $("#audit").hidden = state.layer !== "audit";
      showAudit($("#audit-about"), $("#audit-list"));
      showChannel($("#channel"), $("#channel-about"));
    }
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
  attempt(() => (state.links ? (planned() ? lookUp() : inquire()) : start()));
}

listenTo(map);
listenToAsk(fail);
$("#sector").addEventListener("change", async ({ target }) => {
  await attempt(() => switchSector(target.value === "" ? null : Number(target.value)));
  target.value = state.sector ?? "";
});
$("#overlay").addEventListener("change", ({ target }) => update({ overlay: target.checked }));
$("#people").addEventListener("change", ({ target }) => update({ shown: target.checked }));
$("#rays").addEventListener("change", ({ target }) => update({ rays: target.checked }));
$("#why").addEventListener("change", ({ target }) => update({ why: target.checked }));
$("#opacity").addEventListener("input", ({ target }) => update({ opacity: target.value / 100 }));
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
