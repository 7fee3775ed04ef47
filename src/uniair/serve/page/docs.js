// What openapi.json says, for people: every path with its parameters, an example of a request and of an answer.

import { get, TokenNeeded, useToken } from "./api.js";

const TAGS = { site: "The site", coverage: "Coverage", ask: "Questions to the model and its heads", server: "The server" };
const SHOWN = 3; // items of a list in an example

const $ = (selector) => document.querySelector(selector);

async function start() {
  const api = await get("openapi.json");
  $("#name").textContent = `${api.info.title} ${api.info.version}: API`;
  $("#about").textContent = api.info.description;
  const found = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, about]) => ({ path, method: method.toUpperCase(), ...about })),
  );
  const tags = new Set([...Object.keys(TAGS), ...found.map((one) => one.tags?.[0])]);
  const sections = [...tags].map((tag) => section(TAGS[tag] ?? tag, found.filter((one) => one.tags?.[0] === tag), api));
  $("#paths").replaceChildren(...sections.filter(Boolean));
  if (location.hash) document.getElementById(location.hash.slice(1))?.setAttribute("open", "");
}

function section(title, operations, api) {
  if (!operations.length) return null;
  const made = node("section");
  made.append(node("h2", title), ...operations.map((one) => operation(one, api)));
  return made;
}

function operation({ path, method, description, parameters = [], requestBody: body, responses }, api) {
  const made = node("details");
  made.id = `${method}${path}`.replace(/[^\w]+/g, "-");
  const head = node("summary");
  head.append(node("code", `${method} ${path}`), ` ${(description ?? "").split("\n")[0]}`);
  made.append(head);
  const own = parameters.filter(({ description: said }) => !said?.startsWith("Beside a .npy"));
  if (own.length) made.append(node("h3", "Parameters"), table(own, api));
  const asked = body?.content["application/json"]?.example;
  if (asked) made.append(node("h3", "Request"), node("pre", `curl -X POST ${address(path)} \\\n  -H "content-type: application/json" -d '${text(asked)}'`));
  else made.append(node("h3", "Request"), node("pre", `curl "${address(path.replace(/{(\w+)}/g, "0"))}${query(own)}"`));
  const kinds = Object.keys(body?.content ?? {});
  if (kinds.length > 1) made.append(node("p", `The body may be ${kinds.join(", ")}.`));
  const [kind, answer] = Object.entries(responses[200]?.content ?? {})[0] ?? [];
  made.append(node("h3", "Answer"));
  if (answer?.example !== undefined) made.append(node("pre", text(answer.example)), node("p", "Made-up numbers; long lists are cut."));
  else if (kind) made.append(node("p", kind));
  made.append(node("h3", "Errors"), errors(responses));
  return made;
}

const address = (path) => new URL(path.slice(1), document.baseURI).href;

const query = (parameters) => {
  const asked = parameters.filter(({ in: where, required }) => where === "query" && required);
  return asked.length ? `?${asked.map(({ name }) => `${name}=0`).join("&")}` : "";
};

function table(parameters, api) {
  const made = node("table");
  made.className = "text";
  for (const { name, in: where, required, schema, description } of parameters) {
    const row = node("tr");
    const about = [kind(schema, api), required ? "" : `may be left out${schema.default === undefined ? "" : `: ${schema.default}`}`, description];
    row.append(node("th", name), node("td", where), node("td", about.filter(Boolean).join("; ")));
    made.append(row);
  }
  return made;
}

function kind(schema, api) {
  if (schema.$ref) return kind(schema.$ref.split("/").slice(1).reduce((at, key) => at[key], api), api);
  if (schema.anyOf) return schema.anyOf.map((one) => kind(one, api)).filter((one) => one !== "null").join(" or ");
  return schema.type ?? "any";
}

function errors(responses) {
  const made = node("ul");
  for (const [status, { description }] of Object.entries(responses)) {
    if (status !== "200") made.append(node("li", `${status}: ${description}`));
  }
  return made;
}

/** JSON with long lists cut. */
const text = (value) => JSON.stringify(cut(value), null, 1).replaceAll('"…"', "…").replace(/\n\s+(?=[-\d.\]…])/g, " ");

function cut(value) {
  if (Array.isArray(value)) return [...value.slice(0, SHOWN).map(cut), ...(value.length > SHOWN ? ["…"] : [])];
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, cut(one)]));
}

function node(tag, words = "") {
  return Object.assign(document.createElement(tag), { textContent: words });
}

async function attempt() {
  try {
    await start();
    $("#problem").hidden = true;
  } catch (error) {
    $("#token").hidden = !(error instanceof TokenNeeded);
    Object.assign($("#problem"), { textContent: error.message, hidden: false });
  }
}

$("#token").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken($("#token-text").value);
  attempt();
});
attempt();
