// What is asked of the model when a user is chosen, or the map that it believes changes.

import { get, NotThere, pause, post } from "./api.js";
import * as map from "./buildings.js";
import { edited, reads, state, update, user } from "./state.js";

const SETTLE = 120; // ms without a move before anything is asked
const REST = 300; // ms more before the fine likelihood map, which takes the server longest
const COARSE = 16; // cells across the coarse map,
const CALIBRATED = 32; // and where sets of positions are calibrated in so many
const FINE = 90; // most cells across the fine one,
const LEAST = 4; // m, and how narrow they are at least

let running = new AbortController();

/**
 * Asks everything about the chosen link; whatever an earlier call still waits for is aborted.
 *
 * `onlyMap`: the link is the same and the map changed, so only what depends on the believed map is asked again.
 */
export async function inquire(onlyMap = false) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  // an aborted round may have left gaps: those are asked again
  const kept = onlyMap ? { ...state.answers, believed: undefined, why: undefined } : {};
  update({ answers: kept, busy: true });
  try {
    await pause(SETTLE, signal);
    const about = { station: state.station, link: state.link };
    const believed = { ...about, ...map.believed() };
    // an answer that is there before anything was received is worth more than one read off the channel
    const of = (task) => (reads(task) === "environment" ? { station: state.station, ue: [user()] } : about);
    const questions = {
      detail: () => get(`site/links/${about.station}/${about.link}`, signal),
      los: () => post("los", about, signal), // with nothing tuned, whatever heads there are
    };
    for (const task of Object.keys(state.site.tasks)) questions[task] ??= () => post(task, of(task), signal);
    const open = Object.entries(questions).filter(([name]) => state.answers[name] === undefined);
    open.push(["why", () => post("explain", believed, signal)]);
    if (edited()) open.push(["believed", () => post("los", believed, signal)]);
    await Promise.all(open.map(([name, question]) => answer(name, question, signal)));
    const { size } = state.site;
    const likelihood = (step) => () => post("likelihood", { ...believed, step }, signal);
    await answer("likelihood", likelihood(size / (state.site.calibrated ? CALIBRATED : COARSE)), signal);
    if (!signal.aborted) update({ answers: { ...state.answers, positions: state.answers.likelihood } });
    await pause(REST, signal);
    await answer("likelihood", likelihood(Math.max(LEAST, size / FINE)), signal);
    update({ busy: false });
  } catch (error) {
    if (error.name === "AbortError") return; // a later call shows its own state
    running.abort(); // one question failed: the others of this round would say the same
    update({ busy: false });
    throw error;
  }
}

async function answer(name, question, signal) {
  let found;
  try {
    found = await question();
  } catch (error) {
    if (!(error instanceof NotThere)) throw error;
    found = { none: error.message }; // the site has no such head
  }
  if (!signal.aborted) update({ answers: { ...state.answers, [name]: found } });
}