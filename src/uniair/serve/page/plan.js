// A plan without a model: the chosen user's sectors, the sectors' table, figures and limits.

import { get, pause } from "./api.js";
import { element } from "./layers.js";
import { degrees, metres } from "./hover.js";
import { state, update, user } from "./state.js";

const SETTLE = 120; // ms without a move before anything is asked
const RECEIVED = [["rsrp_dbm", 1], ["path_loss_db", 1], ["los"], ["delay_spread_ns", 0], ["arrival_spread_deg", 0],
                  ["first_delay_ns", 0], ["beam", 0], ["beam_gain_db", 1]];

let running = new AbortController();

/** Asks what the sectors give the chosen user, and by which rays. */
export async function lookUp() {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  update({ answers: {}, busy: true });
  try {
    await pause(SETTLE, signal);
    const from = state.sector === null ? "" : `&sector=${state.sector}`;
    const [one, rays] = await Promise.all([
      get(`coverage/users/${state.link}`, signal), get(`coverage/rays?user=${state.link}${from}`, signal),
    ]);
    if (!signal.aborted) update({ answers: { user: one, rays }, busy: false });
  } catch (error) {
    if (error.name === "AbortError") return;
    update({ busy: false });
    throw error;
  }
}

export function showUser() {
  const { floor } = state.links;
  const inside = floor[state.link] < 0 ? "in the street" : `inside a building, floor ${floor[state.link]}`;
  document.querySelector("#user-title").textContent = `User ${state.link}`;
  document.querySelector("#user-about").textContent = [degrees(user()), metres(user()), `${inside}${told()}`].filter(Boolean).join("; ");
  const heard = (row) => row.rsrp_dbm ?? -Infinity;
  const rows = [...(state.answers.user?.sectors ?? [])].sort((a, b) => heard(b) - heard(a)); // the best server first
  document.querySelector("#received tbody").replaceChildren(...rows.map((row) => received(row, state.answers.user)));
}

/** ": K1-1 serves, SINR 20.3 dB, 398 Mbit/s" */
function told() {
  const one = state.answers.user;
  if (!one) return "";
  if (one.best_server === null) return ": no path from any sector";
  return `: ${one.best_server} serves, SINR ${number(one.sinr_db, 1)} dB, ${number(one.throughput_mbps, 0)} Mbit/s`;
}

export function spokenUser() {
  const rays = state.answers.rays?.rays.length;
  return `User ${state.link}${told()}${rays === undefined ? "" : `; ${rays} rays`}.`;
}

function received(row, { best_server: best }) {
  const line = element("tr", row.sector === best ? "best" : "");
  const head = element("th", "", row.sector);
  head.scope = "row";
  line.append(head, ...RECEIVED.map(([key, digits]) => element("td", "", shown(row[key], digits))));
  return line;
}

/** The sectors as they were put in, and whom they serve; figures and limits. */
export function showSectors() {
  const { sectors, lines, limits, drive_test: drive } = state.coverage;
  const told = [...lines, ...(drive?.lines ?? []).map((line) => `drive test: ${line}`)];
  document.querySelector("#figures").replaceChildren(...told.map((line) => element("li", "", line)));
  document.querySelector("#limits").replaceChildren(...[...limits, ...state.site.remarks].map((line) => element("li", "", line)));
  const rows = sectors.map((one) => {
    const line = element("tr");
    const head = element("th");
    const dot = element("i", "dot");
    dot.style.background = one.colour;
    head.append(dot, one.sector);
    head.scope = "row";
    const down = one.mechanical_tilt_deg + one.electrical_tilt_deg;
    const values = [[one.height_m, 1], [one.azimuth_deg, 0], [down, 0], [one.power_dbm, 0], [one.best_server, 0],
                    [one.median_rsrp_dbm, 1]];
    line.append(head, ...values.map(([value, digits]) => element("td", "", shown(value, digits))));
    return line;
  });
  document.querySelector("#sectors tbody").replaceChildren(...rows);
}

function shown(value, digits) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  return number(value, digits);
}

const number = (value, digits) => (value === null ? "–" : value.toFixed(digits).replace("-", "−"));
