// The spots of a drive test: how far apart what was measured there is from what was predicted.

import { get } from "./api.js";
import { css, element, mark, swatch } from "./layers.js";
import { cross } from "./pens.js";
import { state } from "./state.js";

const NEAR = 10; // m from a spot at which it is told

/** A layer for `layers.js` of each prediction that a log was laid over. */
export function driveLayers() {
  const { drive_test: scale } = state.coverage;
  if (!scale) return {};
  const layer = (prediction, label) => ({ label, prediction, scale, colour: () => null, legend: () => legend(scale) });
  const out = { drive_planned: layer("planned", "Measured − planned") };
  return scale.calibrated ? { ...out, drive_calibrated: layer("calibrated", "Measured − calibrated") } : out;
}

export const readDrive = async () => (state.coverage?.drive_test ? get("coverage/drive_test") : null);

/** Numbers of the measurements that are shown: of each spot the strongest sector's, or those of the chosen sector. */
function shown() {
  const { spot, sector, measured } = state.driven;
  if (state.sector !== null) return [...spot.keys()].filter((i) => sector[i] === state.sector);
  const strongest = new Map();
  spot.forEach((one, i) => {
    if (!strongest.has(one) || measured[i] > measured[strongest.get(one)]) strongest.set(one, i);
  });
  return [...strongest.values()];
}

/** Measured less predicted, dB; null where no path leads to, undefined where none was traced. */
function residual(i, { prediction }) {
  const { half, measured } = state.driven;
  if (half[i] !== "learned" && half[i] !== "tested") return undefined;
  const predicted = state.driven[prediction][i];
  return predicted === null ? null : measured[i] - predicted;
}

/** Spots that the prediction was tested on large and ringed, those that were learned from small. */
export function drawSpots(pen, at, layer) {
  const { edges, colours } = layer.scale;
  const radius = Math.min(Math.max(at.scale * 1.6, 2.8), 5);
  for (const i of shown()) {
    const [x, y] = state.driven.place[i];
    const [px, py, apart] = [at.x(x), at.y(y), residual(i, layer)];
    const tested = state.driven.half[i] === "tested";
    pen.beginPath();
    if (apart === null) {
      cross(pen, px, py, radius);
      Object.assign(pen, { lineWidth: 1.8, strokeStyle: css("hole") });
    } else {
      pen.arc(px, py, apart === undefined ? 1.5 : tested ? radius : 0.65 * radius, 0, 2 * Math.PI);
      pen.fillStyle = apart === undefined ? css("wall") : colours[edges.filter((edge) => apart >= edge).length];
      pen.fill();
      Object.assign(pen, { lineWidth: tested ? 1 : 0.4, strokeStyle: css("ink") });
    }
    if (apart !== undefined) pen.stroke();
  }
}

const legend = ({ title, unit, colours, texts }) => [
  element("strong", "", `${title}, ${unit}`), ...colours.map((colour, i) => swatch(colour, texts[i])),
  mark("●", "tested on", "ink"), mark("•", "learned from", "ink"), mark("·", "neither", "wall"),
  mark("×", "no path there", "hole"),
];

/** "K1-1, measured −85.2 dBm, +3.1 dB from planned, tested": the nearest spot that is shown. */
export function spotAt([x, y], layer) {
  const far = (i) => Math.hypot(state.driven.place[i][0] - x, state.driven.place[i][1] - y);
  const near = shown().filter((i) => far(i) < NEAR).sort((a, b) => far(a) - far(b))[0];
  if (near === undefined) return "";
  const { sector, measured, half } = state.driven;
  const apart = residual(near, layer);
  const said = apart === undefined ? "not traced" : apart === null ? "no path there" : `${signed(apart)} dB from ${layer.prediction}`;
  return `${state.coverage.sectors[sector[near]].sector}, measured ${number(measured[near])} dBm, ${said}, ${half[near]}`;
}

const number = (value) => value.toFixed(1).replace("-", "−");

function signed(value) {
  const tenths = Math.round(10 * value) / 10 + 0; // no negative zero
  return `${tenths < 0 ? "" : "+"}${number(tenths)}`;
}
