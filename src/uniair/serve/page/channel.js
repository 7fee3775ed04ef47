// The channel of the chosen link by angle and delay, with its traced paths and those that the model read.

import { css, ramp } from "./layers.js";
import { cross, stroke } from "./pens.js";
import { state } from "./state.js";

const FLOOR = -40; // dB below the peak
const BIN = 1 / (64 * 720e3); // s
const LIGHT = 299792458; // m/s
const EDGE = { left: 34, bottom: 20, top: 4, right: 6 }; // room for the axes, px

export function showChannel(canvas, about) {
  const { detail } = state.answers;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const sharp = window.devicePixelRatio || 1;
  [canvas.width, canvas.height] = [Math.round(width * sharp), Math.round(height * sharp)];
  const pen = canvas.getContext("2d");
  pen.setTransform(sharp, 0, 0, sharp, 0, 0);
  if (!detail) {
    about.textContent = "";
    return;
  }
  const power = detail.csi_db;
  const delays = power[0].length;
  const box = { x: EDGE.left, y: EDGE.top, w: width - EDGE.left - EDGE.right, h: height - EDGE.top - EDGE.bottom };
  pen.imageSmoothingEnabled = false;
  pen.drawImage(picture(power, delays), box.x, box.y, box.w, box.h);
  drawPaths(pen, box, detail, delays * BIN);

  pen.font = "11px system-ui, sans-serif";
  pen.fillStyle = css("soft");
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  for (const c of [1, 0, -1]) pen.fillText(`${c}`.replace("-", "−"), box.x - 5, box.y + ((1 - c) / 2) * box.h);
  pen.textAlign = "center";
  for (let tick = 0; tick * 1e-6 <= delays * BIN; tick += 0.25) {
    const x = box.x + ((tick * 1e-6) / (delays * BIN)) * box.w;
    pen.fillText(tick ? `${tick}` : "0 µs", x, height - 8);
  }

  const { row, column } = peak(power);
  const metres = (column * BIN * LIGHT).toFixed(0);
  about.textContent =
    `Power by direction cosine along the array (up) and delay (right), ${-FLOOR} dB from dark to bright. ` +
    `Strongest: cosine ${cosine(row, power.length).toFixed(2).replace("-", "−")}, a path of about ${metres} m. ` +
    `○ ${detail.paths.length} traced paths of that range, × what the model read.`;
  canvas.setAttribute("aria-label", about.textContent);
}

/** Traced paths as rings, what the model read as crosses; the weaker the smaller. */
function drawPaths(pen, box, { paths, read }, longest) {
  const place = ({ cosine: c, delay_ns: delay }) =>
    [box.x + ((1e-9 * delay) / longest) * box.w, box.y + ((1 - c) / 2) * box.h];
  const within = ({ delay_ns: delay }) => delay >= 0 && 1e-9 * delay < longest;
  const size = ({ gain_db: gain }) => 2.2 + 3.2 * Math.max(1 + gain / -FLOOR, 0);
  for (const one of paths.filter(within)) {
    const [x, y] = place(one);
    stroke(pen, "#000000", "#ffffff", () => pen.arc(x, y, size(one), 0, 2 * Math.PI), 1.4);
  }
  for (const one of read.filter(within)) {
    const [x, y] = place(one);
    stroke(pen, "#000000", css("ray"), () => cross(pen, x, y, 0.8 * size(one)), 1.6);
  }
}

/** Direction cosine of a row of the picture, from −1 to 1. */
const cosine = (row, rows) => (((2 * row) / rows + 1) % 2) - 1;

function picture(power, delays) {
  const canvas = document.createElement("canvas");
  const rows = power.length;
  [canvas.width, canvas.height] = [delays, rows];
  const pen = canvas.getContext("2d");
  power.forEach((row, beam) => {
    // direction cosine 1 at the top; the beam along −1 stands for both ends
    const y = Math.round(((1 - cosine(beam, rows)) / 2) * rows) - 1;
    row.forEach((db, x) => {
      pen.fillStyle = ramp(1 - db / FLOOR);
      pen.fillRect(x, y, 1, 1);
    });
  });
  return canvas;
}

function peak(power) {
  let found = { row: 0, column: 0 };
  power.forEach((values, row) =>
    values.forEach((db, column) => {
      if (db > power[found.row][found.column]) found = { row, column };
    }),
  );
  return found;
}
