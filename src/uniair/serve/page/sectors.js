// Masts and their sectors: a wedge in each azimuth, as wide as the main lobe of TR 38.901's pattern.

import { css } from "./layers.js";
import { disc } from "./pens.js";
import { state } from "./state.js";

const HALF = (32.5 * Math.PI) / 180;
const MANY = 24; // from which on masts alone are named
const WITHIN = 0.72; // of the radius, for the next sector of the same azimuth

/** Sectors of a plan, with their names. */
export function drawSectors(pen, at, texts) {
  const { sectors } = state.coverage;
  const largest = Math.min(Math.max(at.side / 15, 22), 46);
  const seen = new Map();
  const tips = sectors.map((one) => {
    const place = [at.x(one.x_m), at.y(one.y_m)];
    const key = [place, Math.round(one.azimuth_deg / 10) % 36].join();
    const radius = largest * WITHIN ** (seen.get(key) ?? 0);
    seen.set(key, (seen.get(key) ?? 0) + 1);
    const chosen = state.sector === null || state.sector === one.number;
    const middle = ((one.azimuth_deg - 90) * Math.PI) / 180; // canvas angles run clockwise from east
    const round = one.pattern === "isotropic" && one.rows * one.columns === 1;
    pen.beginPath();
    if (!round) pen.moveTo(...place);
    pen.arc(...place, radius, round ? 0 : middle - HALF, round ? 2 * Math.PI : middle + HALF);
    pen.closePath();
    pen.globalAlpha = chosen ? 0.9 : 0.35;
    pen.fillStyle = one.colour;
    pen.fill();
    pen.globalAlpha = chosen ? 1 : 0.5;
    pen.lineWidth = state.sector === one.number ? 3 : 1.4;
    pen.strokeStyle = css("ink");
    pen.stroke();
    pen.globalAlpha = 1;
    const far = radius + 12;
    return { name: one.sector, mast: one.site, place, tip: [place[0] + far * Math.cos(middle), place[1] + far * Math.sin(middle)] };
  });
  const masts = new Map(tips.map(({ mast, place }) => [mast, place]));
  for (const place of masts.values()) {
    disc(pen, ...place, 3.5, css("ink"), css("ground"));
    texts.keep(...place, 8);
  }
  if (sectors.length > MANY) masts.forEach(([x, y], mast) => texts.put(mast, x, y - 14));
  else tips.forEach(({ name, tip }) => texts.put(name, ...tip));
}
