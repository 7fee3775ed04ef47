// Why the model answers so about the chosen user: the paths that it read, what on the map explains each, and how sure it is.

import { css, element } from "./layers.js";
import { stroke } from "./pens.js";
import { state, station } from "./state.js";

const REACH = 1 / 5; // of the map's side, how far a path that nothing explains is drawn
const SURE = "0.9"; // the coverage whose sets are told
const WALLS = 1; // buildings in the heading of a row

const found = () => state.answers.why;

/** Matched paths along their walls, unexplained ones dashed from the station, missing ones dotted. */
export function drawWhy(pen, at) {
  const why = found();
  if (!why || !state.why) return;
  const along = (line) => () =>
    line.forEach(([x, y], i) => (i ? pen.lineTo(at.x(x), at.y(y)) : pen.moveTo(at.x(x), at.y(y))));
  pen.lineJoin = "round";
  pen.setLineDash([1, 5]);
  for (const number of why.missing) {
    stroke(pen, css("ground"), css("soft"), along(corners(why.candidates[number])), 2);
  }
  for (const { share, explained_by: by, azimuths_rad: azimuths } of [...why.paths].reverse()) {
    const width = 1.6 + 3.4 * share;
    pen.setLineDash(by === null ? [7, 5] : []);
    if (by !== null) {
      stroke(pen, css("ground"), css("explained"), along(corners(why.candidates[by])), width);
      continue;
    }
    const { x, y } = station();
    for (const azimuth of azimuths) {
      const reach = REACH * state.site.size;
      const end = [x + reach * Math.cos(azimuth), y + reach * Math.sin(azimuth)];
      stroke(pen, css("ground"), css("unexplained"), along([[x, y], end]), width);
    }
  }
  pen.setLineDash([]);
}

/** Where a way runs, as far as its corners are known: of many reflections the last leg. */
const corners = ({ line, whole }) => (whole ? line : line.slice(-2));

/** The sentence, how sure the answer is, and a row a path. */
export function showWhy({ sentence, doubt, list, remarks }) {
  const why = found();
  sentence.textContent = why ? why.sentence : state.busy ? "…" : "";
  doubt.textContent = why ? surely(why) : "";
  list.replaceChildren(...(why ? why.paths.map((path) => row(path, why)) : []));
  const own = why ? why.remarks.filter((line) => !state.site.remarks.includes(line)) : [];
  remarks.replaceChildren(...own.map((line) => element("li", "", line)));
  remarks.hidden = !own.length;
}

function surely({ doubt, fitted_share: fitted, explained_share: explained }) {
  const { wrong, in_range: inside, signals } = doubt;
  const parts = [
    wrong === null ? "How often such answers are wrong was not calibrated for these weights" : `LOS answer wrong with ${percent(wrong)}`,
    `the map explains ${percent(explained)} of the paths' power`, `the paths make up ${percent(fitted)} of the channel's`,
    `restored to ${number(signals.restored)} dB`, `fits its place by a cosine of ${signals.fit.toFixed(2)}`,
    inside ? "radio and place lie within what was learned" : "radio or place lie outside of what was learned",
  ];
  return `${parts.join("; ")}.`;
}

/** How sure the answer to a question is, for the table of answers; an empty string before it is known. */
export function doubtOf(question, probability) {
  const why = found();
  if (!why) return "";
  const { wrong, in_range: inside, los_sets: sets } = why.doubt;
  const outside = inside ? "" : "; outside of what was learned";
  if (question === "los") {
    if (wrong === null) return `doubt: not calibrated${outside}`;
    const held = sets[SURE] ? `; ${sets[SURE].join(" or ")} holds with ${percent(Number(SURE))}` : "";
    return `doubt: wrong with ${percent(wrong)}${held}${outside}`;
  }
  if (question === "likelihood") {
    const { positions } = state.answers;
    if (!positions?.sets) return `doubt: not calibrated${outside}`;
    return `doubt: within ${area(positions)} m² with ${percent(Number(SURE))}${outside}`;
  }
  const own = probability === undefined ? "see its error on test streets" : `wrong with ${percent(1 - probability)} by its own word`;
  return `doubt: ${own}; not calibrated${outside}`;
}

/** Ground, m², of the set of positions that holds the user as often as promised. */
function area({ x, log10, sets }) {
  const cell = (x[1] - x[0]) ** 2;
  const inside = log10.flat().filter((value) => value !== null && value >= sets[SURE]).length;
  return Math.round(inside * cell).toLocaleString("en");
}

function row({ length_m: length, share, explained_by: by, effect }, { candidates }) {
  const line = element("tr");
  line.append(
    element("th", by === null ? "unexplained" : "", by === null ? "nothing on the map explains it" : way(candidates[by])),
    element("td", "", number(length)), element("td", "", percent(share)), element("td", "", number(effect.place)),
    element("td", "", number(effect.los)),
  );
  line.firstChild.scope = "row";
  return line;
}

/** "reflected off building 3" */
function way({ kind, buildings }) {
  if (!kind) return "straight line";
  const walls = buildings.filter((one) => one >= 0).slice(-WALLS);
  const where = walls.length ? ` building ${walls.join(", ")}` : "";
  if (kind === "over") return `over the roof of${where}`;
  if (kind === "R") return `reflected off${where}`;
  if (kind === "D") return `around a corner of${where}`;
  const times = (n) => ["", "once", "twice", "three times"][n] ?? `${n} times`;
  const mirrored = [...kind].filter((letter) => letter === "R").length;
  return `reflected ${times(mirrored)}${kind.includes("D") ? " and around a corner" : ""}, last at${where}`;
}

const number = (value) => value.toFixed(1).replace("-", "−");
const percent = (share) => (share > 0 && share < 0.005 ? "< 1 %" : `${Math.round(100 * share)} %`);
