// The audit of the map by a station's channels, as a layer: buildings that they contradict, and where something is missing.

import { pause, post } from "./api.js";
import { believed } from "./buildings.js";
import { css, element, ramp } from "./layers.js";
import { cross, label, stroke } from "./pens.js";
import { state, station, update } from "./state.js";

const CHANNELS = 60; // of the station, evenly over its links
const SETTLE = 400; // ms without a change of the map
const SURE = 5; // nats from which on a suspicion is told
const LISTED = 8;

let running = new AbortController();
let listed; // the audit whose list is shown

/** Asks the chosen station's channels about the map that is believed. */
export async function askAudit() {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  update({ audit: null });
  try {
    await pause(SETTLE, signal);
    const audit = await post("audit", { station: state.station, channels: CHANNELS, ...believed() }, signal);
    if (!signal.aborted) update({ audit });
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  }
}

/** How strongly a building is contradicted, in nats; undefined where it is not. */
export const against = (id) =>
  state.audit?.suspicions.filter(({ change, building }) => change !== "something here" && building === id)
    .reduce((most, { nats }) => Math.max(most ?? 0, nats), undefined);

/** Colour of so many nats: from dark to bright, whatever the eye. */
export const strength = (nats) => ramp((nats - SURE) / (Math.max(strongest() - SURE, 1)));

const strongest = () => Math.max(SURE + 1, ...(state.audit?.suspicions ?? []).map(({ nats }) => nats));

/** Cells of open ground where something may stand that the map lacks. */
export function drawCells(pen, at) {
  if (!state.audit) return;
  const { contradicted, cell } = state.audit;
  pen.globalAlpha = state.opacity;
  contradicted.forEach((row, j) =>
    row.forEach((nats, i) => {
      if (nats === null || nats < SURE) return;
      pen.fillStyle = strength(nats);
      pen.fillRect(at.x(i * cell), at.y((j + 1) * cell), cell * at.scale + 0.5, cell * at.scale + 0.5);
    }),
  );
  pen.globalAlpha = 1;
}

/** The numbers of the list, where each suspicion is. */
export function drawNumbers(pen, at) {
  (state.audit?.suspicions ?? []).slice(0, LISTED).forEach(({ place_m: [x, y], change }, i) => {
    if (change === "something here" || change === "elsewhere") {
      stroke(pen, css("ground"), css("ink"), () => cross(pen, at.x(x), at.y(y), 5));
    }
    label(pen, `${i + 1}`, at.x(x), at.y(y) - 8, true);
  });
}

export function auditLegend() {
  if (!state.audit?.suspicions.length) return [];
  const stops = [0, 0.25, 0.5, 0.75, 1].map(ramp);
  return { ramp: stops, low: `contradicted by ${SURE} nats`, high: `${Math.round(strongest())} nats` };
}

/** What the channels say, and a button a suspicion that selects its building. */
export function showAudit(about, list) {
  const { audit } = state;
  if (audit === listed) return; // a button that holds the focus stays
  listed = audit;
  if (!audit) {
    about.textContent = "asking the station's channels …";
    list.replaceChildren();
    return;
  }
  const rates = audit.calibrated ? "" : " Weighed by assumed rates: none were counted for these weights.";
  const none = audit.suspicions.length ? "" : " Nothing on the map is contradicted.";
  const explained = Math.round(100 * audit.explained_share);
  about.textContent = `${audit.channels} of ${audit.links} channels of ${station().name}; the map explains ${explained} % of ` +
    `their power.${none}${rates}`;
  list.replaceChildren(...audit.suspicions.slice(0, LISTED).map(entry));
}

function entry({ building, change, sentence }) {
  const item = element("li");
  const there = change !== "something here" && state.buildings.some(({ id }) => id === building);
  const shown = element(there ? "button" : "span", "", sentence);
  if (there) {
    shown.type = "button";
    shown.addEventListener("click", () => update({ building }));
  }
  item.append(shown);
  return item;
}
