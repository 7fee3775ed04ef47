// How users are coloured, and the legend that says so.

import { auditLegend } from "./audit.js";
import { coverageLayers, marks } from "./coverage.js";
import { driveLayers } from "./drive.js";
import { planned, state, station } from "./state.js";

const VIRIDIS = ["#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725"];
// cyclic: both ends are one colour, and any eye tells the way round by brightness and hue
const CYCLE = ["#301437", "#5e45a6", "#7ca2c2", "#e2d9e2", "#c6896c", "#8e2c50", "#2f1436"];
export const DEEPEST = -3; // log10 of the likelihood relative to the best cell below which nothing is drawn

/** A colour of the page's style sheet, which knows light from dark. */
export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Layer → label, colour of link i, legend. */
export const layers = {
  los: {
    label: "LOS",
    colours: ({ los }) => either(los, css("seen"), css("hidden")),
    legend: ({ los }) => [
      [css("seen"), `line of sight, ${percent(los, true)}`],
      [css("hidden"), `none, ${percent(los, false)}`],
    ],
  },
  path_loss: { label: "Path loss", ...ramped("path_loss_db", "dB", true) },
  beam: {
    label: "Best beam",
    // of a line of antennas the beams along −1 and 1 are neighbours, of a plane or a codebook they are the farthest
    colours: ({ beam }) => beam.map((one) => blend(cyclic() ? CYCLE : VIRIDIS, (station().beams.cosines[one] + 1) / 2)),
    legend: () => ({ ramp: cyclic() ? CYCLE : VIRIDIS, low: "cos −1", high: "1 along the array" }),
  },
  audit: { label: "Audit", colours: () => [], legend: () => auditLegend() },
  tested: {
    label: "Tested streets",
    colours: ({ tested }) => either(tested, css("tested"), css("learned")),
    legend: ({ tested }) => [
      [css("tested"), `kept for testing the heads, ${percent(tested, true)}`],
      [css("learned"), "learned from"],
    ],
  },
  none: { label: "Hide", colours: () => [], legend: () => [] },
};

/** Labels of a column on a ramp of colours; `less`: the small ones are the bright ones. */
function ramped(column, unit, less = false) {
  const ends = (values) => (less ? range(values).reverse() : range(values));
  return {
    colours({ [column]: values }) {
      const [dark, bright] = ends(values);
      return values.map((value) => ramp((value - dark) / (bright - dark || 1)));
    },
    legend({ [column]: values }) {
      const [low, high] = ends(values).map((value) => `${value.toFixed(0)} ${unit}`);
      return { ramp: VIRIDIS, low, high };
    },
  };
}

/** Layers of coverage, and of tasks that are not drawn in a way of their own, before those that are about no task. */
export function addLayers(tasks) {
  const { audit, tested, none, ...known } = layers;
  const covered = state.coverage ? { ...coverageLayers(), ...driveLayers() } : {};
  const drawn = planned() ? covered : { ...known, ...covered };
  for (const [name, { title, column, unit }] of Object.entries(tasks)) {
    if (column && !drawn[name]) drawn[name] = { label: title, ...ramped(column, unit) };
  }
  for (const name of Object.keys(layers)) delete layers[name];
  Object.assign(layers, drawn, planned() ? {} : { audit, tested, none });
}

/** The legend of a layer and of the map's marks, as HTML elements. */
export function legend(layer, links, overlay) {
  const about = layers[layer].legend(links);
  if (layers[layer].colour) {
    const user = mark("●", planned() ? "chosen user" : "user", "user");
    const people = layers[layer].prediction ? [] : marks();
    return [...about, ...people, user, ...(state.rays ? [mark("—", "traced rays", "ray")] : [])];
  }
  const parts = Array.isArray(about) ? about.map(([colour, text]) => swatch(colour, text)) : [bar(about)];
  if (overlay && layer !== "audit") {
    const stops = [css("likely-none"), css("likely-low"), css("likely-high")];
    parts.push(bar({ ramp: stops, low: "likelihood 10⁻³", high: "1 (best cell)" }));
  }
  parts.push(mark("●", "user", "user"), mark("×", "position head", "user"));
  if (overlay && layer !== "audit") parts.push(mark("◇", "likeliest cell", "likely-high"));
  if (state.rays) parts.push(mark("—", "traced rays", "ray"));
  if (state.why) {
    parts.push(mark("━", "read, and explained by the map", "explained"), mark("╌", "read, not explained", "unexplained"),
               mark("···", "should be seen", "soft"));
  }
  return parts;
}

export function swatch(colour, text) {
  const item = element("span", "swatch", text);
  const dot = element("i");
  dot.style.background = colour;
  item.prepend(dot);
  return item;
}

export function mark(sign, text, colour) {
  const item = element("span", "swatch", text);
  const shown = element("b", "", sign);
  shown.style.color = css(colour);
  item.prepend(shown);
  return item;
}

function bar({ ramp, low, high }) {
  const item = element("span", "swatch", high);
  const strip = element("i", "strip");
  strip.style.background = `linear-gradient(to right, ${ramp.join()})`;
  item.prepend(low, strip);
  return item;
}

/** An HTML element with text in it, whose numbers stay beside their units. */
export function element(tag, style = "", text = "") {
  const made = document.createElement(tag);
  if (style) made.className = style;
  made.textContent = text.replace(/(\d) (?=%|dB|m(?![a-z]))/g, "$1\u00a0");
  return made;
}

/** Viridis at t from 0 to 1. */
export const ramp = (t) => blend(VIRIDIS, t);

/** Along a list of colours, t from 0 to 1. */
function blend(colours, t) {
  const place = Math.min(Math.max(t, 0), 1) * (colours.length - 1);
  const i = Math.min(Math.floor(place), colours.length - 2);
  return mix(colours[i], colours[i + 1], place - i);
}

/** Between two colours of the form #rrggbb, as rgb(). */
export function mix(from, to, t) {
  const [a, b] = [from, to].map(channels);
  return `rgb(${a.map((value, i) => Math.round(value + (b[i] - value) * t)).join()})`;
}

export const channels = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));

const cyclic = () => station().beams.cyclic;

/** 2nd and 98th percentile: one deep shadow must not use up the colours. */
function range(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return [0.02, 0.98].map((q) => sorted[Math.round(q * (sorted.length - 1))]);
}

const either = (flags, yes, no) => flags.map((flag) => (flag ? yes : no));

const percent = (flags, value) =>
  `${Math.round((100 * flags.filter((flag) => flag === value).length) / flags.length)} %`;
