// The ask box: English in; an answer, a declined line or a question back out.

import { post } from "./api.js";
import { element } from "./layers.js";
import { state } from "./state.js";

const DECLINED = "Which modulation should I use?"; // not one of the tasks: shows how it declines

let running = new AbortController();

/** `fail` shows what went wrong. */
export function listenToAsk(fail) {
  const form = document.querySelector("#ask");
  const field = document.querySelector("#instruction");
  const reply = document.querySelector("#reply");

  const ask = async (instruction) => {
    running.abort();
    running = new AbortController();
    const { signal } = running;
    const { station, link } = state;
    reply.replaceChildren(element("p", "hint", "asking …"));
    try {
      const found = await post("ask", { instruction, station, link }, signal);
      reply.replaceChildren(...shown(instruction, link, found));
    } catch (error) {
      if (error.name === "AbortError") return;
      reply.replaceChildren();
      fail(error);
    }
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (field.value.trim()) ask(field.value);
  });
  document.querySelector("#examples").addEventListener("click", ({ target }) => {
    if (target.tagName !== "BUTTON") return;
    field.value = target.textContent;
    ask(field.value);
  });
}

/** A question a task, as examples; a server may be started without the language model. */
export function allowAsking(assistant, tasks) {
  const examples = [...Object.values(tasks).map(({ example }) => example), DECLINED];
  const buttons = examples.map((example) => Object.assign(element("button", "", example), { type: "button" }));
  document.querySelector("#examples").replaceChildren(...buttons);
  document.querySelectorAll("#ask *, #examples button").forEach((one) => (one.disabled = !assistant));
  const why = element("p", "hint", "This server was started without what reads English.");
  document.querySelector("#reply").replaceChildren(...(assistant ? [] : [why]));
}

function shown(instruction, link, { declined, question, text }) {
  const asked = element("p", "hint", `${instruction} (user ${link})`);
  const answer = element("p", declined ? "declined" : question ? "question" : "answer", text);
  const why = question ? "Asked back" : declined === "missing_input" ? "Something is missing" : "Declined";
  if (declined || question) answer.prepend(element("strong", "", `${why}. `));
  return [asked, answer];
}

/** An earlier answer is not about the user that was chosen since: it says so by its question, and fades. */
export function fadeReply(link) {
  const reply = document.querySelector("#reply");
  reply.classList.toggle("old", reply.childElementCount > 1 && !reply.textContent.includes(`(user ${link})`));
}
