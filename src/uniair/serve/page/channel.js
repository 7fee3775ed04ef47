// The channel of the chosen link by angle and delay.

import { BEAMS, cosine, css, ramp } from "./layers.js";
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
    `Strongest: cosine ${cosine(row).toFixed(2).replace("-", "−")}, a path of about ${metres} m.`;
  canvas.setAttribute("aria-label", about.textContent);
}

function picture(power, delays) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [delays, BEAMS];
  const pen = canvas.getContext("2d");
  power.forEach((row, beam) => {
    // direction cosine 1 at the top; the beam along −1 stands for both ends
    const y = Math.round(((1 - cosine(beam)) / 2) * BEAMS) - 1;
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
