// What the page knows. One object; whoever changes it says what, and whoever shows it listens.

export const state = {
  site: null, // GET /site
  plan: false, // whether a plan's coverage is shown, and not what a model answers
  streets: [], // of GET /site/buildings
  original: [], // buildings as the site has them
  buildings: [], // buildings that the zero-shot model is told of
  history: [], // earlier `buildings`, for undo
  coverage: null, // GET /coverage
  people: null, // GET /coverage/users, by the best server or the chosen sector
  driven: null, // GET /coverage/drive_test, where a log was laid over the plan
  recast: null, // `people` as that calibrates what they get
  cells: {}, // GET /coverage/map: values of the layer that is shown, and `best`
  links: null, // GET /site/links of the chosen station; of a plan, where no model was asked, its people
  station: 0,
  sector: null, // number of the chosen one; null: the best server of each
  link: 0, // the chosen user
  building: null, // id of the selected one
  layer: "los",
  overlay: true,
  shown: true, // the users of a plan
  rays: true,
  why: true, // whether the paths that were read are drawn
  audit: null, // POST /audit of the chosen station and the map that is believed; null before the answer
  opacity: 0.85,
  hover: null, // metres east and north under the pointer
  answers: {}, // of the chosen link: detail, why, believed, positions, likelihood, by the name of each task; of a plan's: user, rays
  busy: false,
};

const listeners = [];

/** Calls `listener(changed)` after each update, with the set of keys that it touched. */
export function listen(listener) {
  listeners.push(listener);
}

export function update(changes) {
  Object.assign(state, changes);
  const changed = new Set(Object.keys(changes));
  for (const listener of listeners) listener(changed);
}

/** Whether a plan's coverage is shown; else what a model answers about the site. */
export const planned = () => state.plan;
export const edited = () => state.buildings !== state.original;
export const station = () => state.site.stations[state.station];
export const user = () => state.links.ue[state.link];

/** Whether a task's head reads map and positions, or else the channel; null where the site has no such head. */
export function reads(task) {
  const inputs = state.site.tasks[task]?.inputs ?? [];
  return inputs.includes("environment") ? "environment" : (inputs[0] ?? null);
}
