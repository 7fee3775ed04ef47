// The traced paths of the chosen user in the street, as a drawing and as a list.

import { css, element } from "./layers.js";
import { stroke } from "./pens.js";
import { planned, state } from "./state.js";

const FAINT = 35; // dB below the strongest, where a ray is hardly seen
const ROWS = 25;

/** What is known of the chosen user's rays: rays, not_drawn; undefined before the answer. */
export const found = () => (planned() ? state.answers.rays : state.answers.detail);

export function drawRays(pen, at) {
  const answer = found();
  if (!state.rays || !answer?.rays?.length) return;
  const strongest = answer.rays[0].gain_db;
  for (const { points, gain_db: gain, events } of [...answer.rays].reverse()) {
    const share = Math.max(1 - (strongest - gain) / FAINT, 0.12);
    pen.globalAlpha = share;
    pen.setLineDash(events.includes("diffracted") ? [6, 3] : []);
    stroke(pen, css("ground"), css("ray"), () => {
      points.forEach(([x, y], i) => (i ? pen.lineTo(at.x(x), at.y(y)) : pen.moveTo(at.x(x), at.y(y))));
    }, 0.8 + 2 * share);
    pen.setLineDash([]);
    for (const [x, y] of points.slice(1, -1)) {
      pen.beginPath();
      pen.arc(at.x(x), at.y(y), 2.4, 0, 2 * Math.PI);
      pen.fillStyle = css("ray");
      pen.fill();
    }
  }
  pen.globalAlpha = 1;
  if (answer.spot && (answer.spot[0] !== answer.ue[0] || answer.spot[1] !== answer.ue[1])) {
    // through the wall to a user inside, where nothing is traced
    pen.setLineDash([2, 4]);
    stroke(pen, css("ground"), css("user"), () => {
      pen.moveTo(at.x(answer.spot[0]), at.y(answer.spot[1]));
      pen.lineTo(at.x(answer.ue[0]), at.y(answer.ue[1]));
    });
    pen.setLineDash([]);
  }
}

export function showRays(about, body) {
  const answer = found();
  const rays = answer?.rays ?? [];
  about.textContent = answer ? summary(answer) : "";
  body.replaceChildren(...rays.slice(0, ROWS).map(row));
}

function summary({ rays, not_drawn: lost, sector }) {
  if (planned() && !rays.length && !lost) return "No path reaches this user: a hole.";
  const from = sector ? ` from ${sector}` : "";
  const missing = lost ? ` ${lost} more can't be drawn: the buildings kept here don't give their corners.` : "";
  const more = rays.length > ROWS ? ` The ${ROWS} strongest are listed.` : "";
  return `${rays.length} traced paths${from}, isotropic antennas, strongest first; dashed where diffracted.${more}${missing}`;
}

function row({ gain_db: gain, delay_ns: delay, events }) {
  const line = element("tr");
  line.append(element("th", "", way(events)), element("td", "", number(gain)), element("td", "", delay.toFixed(0)));
  line.firstChild.scope = "row";
  return line;
}

/** "reflected twice, diffracted" */
function way(events) {
  if (!events.length) return "direct";
  const counts = new Map();
  for (const event of events) counts.set(event, (counts.get(event) ?? 0) + 1);
  const times = (n) => (n === 1 ? "" : n === 2 ? " twice" : ` ${n} times`);
  return [...counts].map(([event, n]) => `${event}${times(n)}`).join(", ");
}

const number = (value) => value.toFixed(1).replace("-", "−");
