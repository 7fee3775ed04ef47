// What several drawings on the map have in common: lines, discs and texts that are seen on any ground.

import { css } from "./layers.js";

/** A line with a rim. */
export function stroke(pen, rim, colour, trace, width = 2.2) {
  for (const [wide, style] of [[width + 2.8, rim], [width, colour]]) {
    pen.lineWidth = wide;
    pen.strokeStyle = style;
    pen.beginPath();
    trace();
    pen.stroke();
  }
}

export function disc(pen, x, y, radius, colour, rim) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.fillStyle = colour;
  pen.fill();
  pen.lineWidth = 2;
  pen.strokeStyle = rim;
  pen.stroke();
}

export function cross(pen, x, y, size) {
  for (const way of [-1, 1]) {
    pen.moveTo(x - size, y - size * way);
    pen.lineTo(x + size, y + size * way);
  }
}

export function label(pen, text, x, y, strong) {
  pen.font = font(strong);
  pen.textAlign = "center";
  pen.lineWidth = 3.5;
  pen.lineJoin = "round";
  pen.strokeStyle = css("ground");
  pen.strokeText(text, x, y);
  pen.fillStyle = css("ink");
  pen.fillText(text, x, y);
}

export const font = (strong, size = 12) => `${strong ? 600 : 400} ${size}px system-ui, sans-serif`;
