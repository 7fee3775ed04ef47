// Texts on the map, none of which covers another.

import { css } from "./layers.js";
import { font, label } from "./pens.js";

const STREETS = 14; // names at most
const RINGS = [0, 16, 28, 44]; // px about its point at which a text looks for room
const TURNS = [-90, 0, 180, 90, -45, -135, 45, 135].map((degrees) => (degrees * Math.PI) / 180);

/** Places of texts on a canvas of `side` CSS pixels; they are written at the end, over everything else. */
export function placer(pen, side) {
  const taken = [];
  const written = [];
  const free = (box) =>
    box.x0 >= 2 && box.y0 >= 2 && box.x1 <= side - 2 && box.y1 <= side - 2 &&
    !taken.some((other) => box.x0 < other.x1 && other.x0 < box.x1 && box.y0 < other.y1 && other.y0 < box.y1);

  return {
    taken,
    keep: (x, y, half) => taken.push({ x0: x - half, y0: y - half, x1: x + half, y1: y + half }),

    write: () => written.forEach((one) => one()),

    /** A text near a point, as close as there is room; without any, none. */
    put(text, x, y, strong = true) {
      pen.font = font(strong);
      const half = pen.measureText(text).width / 2 + 3;
      for (const ring of RINGS) {
        for (const turn of ring ? TURNS : [0]) {
          const [cx, cy] = [x + 1.6 * ring * Math.cos(turn), y + ring * Math.sin(turn)];
          const box = { x0: cx - half, y0: cy - 9, x1: cx + half, y1: cy + 9 };
          if (!free(box)) continue;
          taken.push(box);
          written.push(() => label(pen, text, cx, cy + 4, strong));
          return;
        }
      }
    },

    /** A text along a line where there is room, in the direction in which one reads. */
    along(text, points) {
      pen.font = font(false, 11);
      const wide = pen.measureText(text).width / 2 + 3;
      for (const share of [0.5, 0.3, 0.7]) {
        const { x, y, turn } = on(points, share);
        const [half, tall] = [Math.abs(Math.cos(turn)), Math.abs(Math.sin(turn))];
        const box = { x0: x - wide * half - 7 * tall, x1: x + wide * half + 7 * tall,
                      y0: y - wide * tall - 7 * half, y1: y + wide * tall + 7 * half };
        if (!free(box)) continue;
        taken.push(box);
        written.push(() => turned(pen, text, x, y, turn));
        return;
      }
    },
  };
}

function turned(pen, text, x, y, turn) {
  pen.save();
  pen.translate(x, y);
  pen.rotate(turn);
  Object.assign(pen, { font: font(false, 11), textAlign: "center", lineWidth: 3, lineJoin: "round" });
  Object.assign(pen, { strokeStyle: css("ground"), fillStyle: css("soft") });
  pen.strokeText(text, 0, 4);
  pen.fillText(text, 0, 4);
  pen.restore();
}

/** The longest piece of each named street, the longest first. */
export function named(streets) {
  const found = new Map();
  for (const { name, line } of streets) {
    if (name && !(length(found.get(name)) > length(line))) found.set(name, line);
  }
  return [...found].sort((a, b) => length(b[1]) - length(a[1])).slice(0, STREETS);
}

const length = (line) =>
  line ? line.slice(1).reduce((sum, [x, y], i) => sum + Math.hypot(x - line[i][0], y - line[i][1]), 0) : 0;

/** A point at a share of a line, and how the line runs there, −90° to 90°. */
function on(points, share) {
  let left = share * length(points);
  for (let i = 1; i < points.length; i++) {
    const [[x0, y0], [x1, y1]] = [points[i - 1], points[i]];
    const piece = Math.hypot(x1 - x0, y1 - y0);
    if (left <= piece || i === points.length - 1) {
      const part = piece ? Math.min(left / piece, 1) : 0;
      const turn = Math.atan2(y1 - y0, x1 - x0);
      const upright = Math.abs(turn) > Math.PI / 2 ? turn - Math.sign(turn) * Math.PI : turn;
      return { x: x0 + part * (x1 - x0), y: y0 + part * (y1 - y0), turn: upright };
    }
    left -= piece;
  }
  return { x: points[0][0], y: points[0][1], turn: 0 };
}
