// Where the pointer is, or else the chosen user: degrees where they are known, metres, and what is shown there.

import { valueAt } from "./coverage.js";
import { spotAt } from "./drive.js";
import { layers } from "./layers.js";
import { state, user } from "./state.js";

const DIGITS = 6; // of degrees: 0.1 m

export function showPlace(line) {
  const place = state.hover ?? user().slice(0, 2);
  const layer = state.coverage && layers[state.layer];
  const value = layer ? (layer.prediction ? spotAt : valueAt)(place, layer) : "";
  const where = [degrees(place), metres(place)].filter(Boolean).join("; ");
  line.textContent = [state.hover ? where : `User at ${where}`, value].filter(Boolean).join(" · ");
}

/** "48.411950° N, 15.602730° E", or nothing. */
export function degrees([x, y]) {
  const corners = state.site.corners_deg; // south-west, south-east, north-west, north-east
  if (!corners) return "";
  const [u, v] = [x / state.site.size, y / state.site.size];
  // a square of a kilometre bends by less than the digits that are shown
  const [longitude, latitude] = [0, 1].map(
    (k) => (1 - v) * ((1 - u) * corners[0][k] + u * corners[1][k]) + v * ((1 - u) * corners[2][k] + u * corners[3][k]),
  );
  return `${angle(latitude, "N", "S")}, ${angle(longitude, "E", "W")}`;
}

const angle = (value, plus, minus) => `${Math.abs(value).toFixed(DIGITS)}° ${value < 0 ? minus : plus}`;

export const metres = ([x, y]) => `${x.toFixed(1)} m east, ${y.toFixed(1)} m north`;
