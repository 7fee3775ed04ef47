// The table of what the model says of the chosen user, beside what was traced or measured, and how far to trust it.

import { degrees } from "./hover.js";
import { element } from "./layers.js";
import { edited, reads, state, station, user } from "./state.js";
import { doubtOf } from "./why.js";

const UNSURE = { los: 0.8, beam: 0.5 }; // below this probability the answer is marked
const MOST = 0.9; // of the likelihood, whose region is measured
const LONGEST = 80; // letters of a sentence; of a longer one what stands before its colon is shown
const DRAWN = { los, beam, path_loss: pathLoss, position }; // tasks with a row of their own kind

/** Rows: question, method, model's answer (text, and probability for a bar), truth, verdict (null: nothing to say). */
function rows() {
  const { tasks } = state.site;
  const drawn = Object.keys(DRAWN).filter((task) => tasks[task] || task === "los"); // which needs no head
  const others = Object.keys(tasks).filter((task) => !DRAWN[task]);
  return [...drawn.map((task) => DRAWN[task](state.answers)), ...others.map(plain), likeliest(state.answers)];
}

export function showAnswers() {
  const { link, links } = state;
  const [x, y] = user();
  document.querySelector("#user-title").textContent = `User ${link}`;
  const far = Math.hypot(x - station().x, y - station().y);
  document.querySelector("#user-about").textContent =
    [degrees([x, y]), `${place([x, y])} of the corner, ${far.toFixed(0)} m from ${station().name}`].filter(Boolean).join("; ");
  document.querySelector("#answers tbody").replaceChildren(...rows().map(tableRow));
  document.querySelector("#trust").textContent = links.tested[link]
    ? "The heads were tested on this street: they never saw its labels."
    : "The heads learned from this street: trust their figures on test streets, not their error here.";
}

/** The answers in one sentence, for those who hear the page. */
export function spoken() {
  const said = rows().filter((row) => row.answer && !row.none);
  return `User ${state.link}: ${said.map((row) => `${row.question} ${row.answer}`).join("; ")}.`;
}

function los({ los: own, believed }) {
  const row = { question: "Line of sight", method: "zero-shot, nothing tuned" };
  if (!own) return row;
  row.doubt = doubtOf("los");
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
  const row = { question: "Best beam", method: method("beam") };
  if (!found || found.none) return { ...row, none: found?.none };
  const [one] = found.answers;
  const truth = state.links.beam[state.link];
  const answer = `${one.beam}, ${chance(one.probability)}`;
  const unsure = one.probability < UNSURE.beam;
  const doubt = doubtOf("beam", one.probability);
  return { ...row, answer, probability: one.probability, unsure, doubt, truth: `${truth}`, right: one.beam === truth };
}

function pathLoss({ path_loss: found }) {
  const row = { question: "Path loss", method: method("path_loss") };
  if (!found || found.none) return { ...row, none: found?.none };
  const [{ path_loss_db: said }] = found.answers;
  const truth = state.links.path_loss_db[state.link];
  const off = said - truth;
  const error = `${off < 0 ? "−" : "+"}${Math.abs(off).toFixed(1)} dB`;
  return { ...row, answer: `${said.toFixed(1)} dB`, doubt: doubtOf("path_loss"), truth: `${truth.toFixed(1)} dB`, error };
}

function position({ position: found }) {
  const row = { question: "Position", method: method("position") };
  if (!found || found.none) return { ...row, none: found?.none };
  const [{ x_m: x, y_m: y }] = found.answers;
  return { ...row, answer: place([x, y]), doubt: doubtOf("position"), ...distance([x, y]) };
}

/** Any task, from what the API says of it: its title, the answer's sentence and the label. */
function plain(task) {
  const { title, column, classes, unit } = state.site.tasks[task];
  const row = { question: title, method: method(task) };
  const found = state.answers[task];
  if (!found || found.none) return { ...row, none: found?.none };
  const { text } = found;
  const label = column && state.links[column][state.link];
  const answer = text.length > LONGEST ? `${text.slice(0, LONGEST).split(":")[0]} …` : text;
  row.doubt = doubtOf(task, found.answers[0]?.probability);
  if (!column) return { ...row, answer };
  const truth = classes === 2 ? (label ? "yes" : "no") : classes ? `${label}` : `${label.toFixed(1)} ${unit}`;
  return { ...row, answer, truth };
}

function likeliest({ likelihood: found }) {
  const row = { question: "Likeliest cell", method: "zero-shot" };
  if (!found || found.none) return { ...row, none: found?.none };
  const { area, open } = region(found);
  const shown = [area, open].map((value) => Math.round(value).toLocaleString("en"));
  row.method += `; ${percent(MOST)} lies on ${shown[0]} of ${shown[1]} m² outdoors`;
  return { ...row, answer: place(found.best), doubt: doubtOf("likelihood"), ...distance(found.best) };
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

function tableRow({ question, method, answer, none, probability, unsure, doubt, believed, truth, right, error }) {
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
  if (doubt) said.append(element("small", "doubt", doubt));
  if (believed) said.append(element("strong", "believed", believed));
  const known = element("td", "", truth ?? "");
  if (right !== undefined) known.append(" ", element("span", right ? "right" : "wrong", right ? "✓" : "✗"));
  if (right !== undefined) known.lastChild.setAttribute("aria-label", right ? "right" : "wrong");
  if (error) known.append(element("small", "", error));
  row.append(head, said, known);
  return row;
}

/** A head with its first figure on the streets that it did not learn from. */
function method(task) {
  const inputs = reads(task);
  const figures = state.site.figures?.[station().name]?.[task]?.[inputs];
  const from = inputs === "environment" ? "head, from its place" : "head, from its channel";
  const metric = state.site.tasks[task]?.metrics.find(({ key }) => figures?.[key] !== undefined);
  if (!metric) return from;
  const { key, name, unit, scale, digits } = metric;
  return `${from}; ${name} ${(scale * figures[key]).toFixed(digits)} ${unit}`.trimEnd() + " on test streets";
}

const distance = ([x, y]) => ({
  truth: `${Math.hypot(x - user()[0], y - user()[1]).toFixed(1)} m off`,
});

/** A probability without the false certainty of 0 or 100 %. */
export const chance = (p) => (p > 0.995 ? "> 99 %" : p < 0.005 ? "< 1 %" : percent(p));

const percent = (share) => `${Math.round(100 * share)} %`;

const place = ([x, y]) => `${x.toFixed(1)} m east, ${y.toFixed(1)} m north`;
