// The table of what the model says of the chosen user, beside what was traced or measured, and how far to trust it.

import { element } from "./layers.js";
import { edited, reads, state, station, user } from "./state.js";

const UNSURE = { los: 0.8, beam: 0.5 }; // below this probability the answer is marked
const MOST = 0.9; // of the likelihood, whose region is measured

/** A row: question, method, model's answer (text, and probability for a bar), truth, verdict (null: nothing to say). */
const ROWS = [los, beam, pathLoss, head, likeliest];

export function showAnswers() {
  const { link, links } = state;
  const [x, y] = user();
  document.querySelector("#user-title").textContent = `User ${link}`;
  const far = Math.hypot(x - station().x, y - station().y);
  document.querySelector("#user-about").textContent =
    `${place([x, y])} of the corner, ${far.toFixed(0)} m from ${station().name}`;
  document.querySelector("#answers tbody").replaceChildren(...ROWS.map((row) => tableRow(row(state.answers))));
  document.querySelector("#trust").textContent = links.tested[link]
    ? "The heads were tested on this street: they never saw its labels."
    : "The heads learned from this street: trust their figures on test streets, not their error here.";
}

/** The answers in one sentence, for those who hear the page. */
export function spoken() {
  const said = ROWS.map((row) => row(state.answers)).filter((row) => row.answer && !row.none);
  return `User ${state.link}: ${said.map((row) => `${row.question} ${row.answer}`).join("; ")}.`;
}

function los({ los: own, believed }) {
  const row = { question: "Line of sight", method: "zero-shot, nothing tuned" };
  if (!own) return row;
  const [p] = own.probability_of_los;
  const seen = state.links.los[state.link];
  Object.assign(row, {
    answer: chance(p), probability: p, unsure: Math.max(p, 1 - p) < UNSURE.los,
    truth: seen ? "yes" : "no", right: p > 0.5 === seen,
  });
  if (edited()) {
    row.believed = believed ? `${chance(believed.probability_of_los[0])} on your map` : "…";
  }
  return row;
}

function beam({ beam: found }) {
  const row = { question: "Best beam", method: method("beam", ({ top1 }) => `${percent(top1)} right`) };
  if (!found || found.none) return { ...row, none: found?.none };
  const [one] = found.answers;
  const truth = state.links.beam[state.link];
  const answer = `${one.beam}, ${chance(one.probability)}`;
  const unsure = one.probability < UNSURE.beam;
  return { ...row, answer, probability: one.probability, unsure, truth: `${truth}`, right: one.beam === truth };
}

function pathLoss({ pathLoss: found }) {
  const row = { question: "Path loss", method: method("path_loss", ({ rmse_db: e }) => `${e.toFixed(1)} dB RMSE`) };
  if (!found || found.none) return { ...row, none: found?.none };
  const [{ path_loss_db: said }] = found.answers;
  const truth = state.links.path_loss_db[state.link];
  const off = said - truth;
  const error = `${off < 0 ? "−" : "+"}${Math.abs(off).toFixed(1)} dB`;
  return { ...row, answer: `${said.toFixed(1)} dB`, truth: `${truth.toFixed(1)} dB`, error };
}

function head({ position: found }) {
  const row = {
    question: "Position",
    method: method("position", ({ median_m: half }) => `half within ${half.toFixed(0)} m`),
  };
  if (!found || found.none) return { ...row, none: found?.none };
  const [{ x_m: x, y_m: y }] = found.answers;
  return { ...row, answer: place([x, y]), ...distance([x, y]) };
}

function likeliest({ likelihood: found }) {
  const row = { question: "Likeliest cell", method: "zero-shot" };
  if (!found || found.none) return { ...row, none: found?.none };
  const { area, open } = region(found);
  const shown = [area, open].map((value) => Math.round(value).toLocaleString("en"));
  row.method += `; ${percent(MOST)} lies on ${shown[0]} of ${shown[1]} m² outdoors`;
  return { ...row, answer: place(found.best), ...distance(found.best) };
}

/** Ground, m², of the smallest region that holds `MOST` of a likelihood, and of all open cells. */
export function region({ x, log10 }) {
  const cell = (x.length > 1 ? x[1] - x[0] : state.site.size) ** 2;
  const weights = log10.flat().filter((value) => value !== null).map((value) => 10 ** value).sort((a, b) => b - a);
  let left = MOST * weights.reduce((sum, weight) => sum + weight, 0);
  let cells = 0;
  while (left > 0 && cells < weights.length) left -= weights[cells++];
  return { area: cells * cell, open: weights.length * cell };
}

function tableRow({ question, method, answer, none, probability, unsure, believed, truth, right, error }) {
  const row = element("tr");
  const head = element("th", "", question);
  head.scope = "row";
  head.append(element("small", "", method));
  const said = element("td", "", answer ?? (none ? "–" : state.busy ? "…" : "–"));
  if (none) said.append(element("small", "", none));
  if (unsure) said.append(" ", element("em", "", "unsure"));
  if (probability !== undefined) {
    const bar = element("span", "probability");
    bar.append(element("i"));
    bar.firstChild.style.width = `${100 * probability}%`;
    said.append(bar);
  }
  if (believed) said.append(element("strong", "believed", believed));
  const known = element("td", "", truth ?? "");
  if (right !== undefined) known.append(" ", element("span", right ? "right" : "wrong", right ? "✓" : "✗"));
  if (right !== undefined) known.lastChild.setAttribute("aria-label", right ? "right" : "wrong");
  if (error) known.append(element("small", "", error));
  row.append(head, said, known);
  return row;
}

/** A head with its figure on the streets that it did not learn from. */
function method(task, words) {
  const inputs = reads(task);
  const figures = state.site.figures?.[station().name]?.[task]?.[inputs];
  const from = inputs === "environment" ? "head, from its place" : "head, from its channel";
  return figures ? `${from}; ${words(figures)} on test streets` : from;
}

const distance = ([x, y]) => ({
  truth: `${Math.hypot(x - user()[0], y - user()[1]).toFixed(1)} m off`,
});

/** A probability without the false certainty of 0 or 100 %. */
export const chance = (p) => (p > 0.995 ? "> 99 %" : p < 0.005 ? "< 1 %" : percent(p));

const percent = (share) => `${Math.round(100 * share)} %`;

const place = ([x, y]) => `${x.toFixed(1)} m east, ${y.toFixed(1)} m north`;
