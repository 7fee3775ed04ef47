// Requests to the server that the page came from. Every failure becomes an Error whose message is one line for people.

export class ServerGone extends Error {}
export class TokenNeeded extends Error {}
export class NotThere extends Error {} // 404: no such station, link or head

const RETRIES = 2; // of answers that say "busy"
const KEY = "uniair-token";

export const useToken = (token) => sessionStorage.setItem(KEY, token);

export const get = (path, signal) => request(path, { signal });

export const post = (path, body, signal) =>
  request(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });

/** A file's bytes. */
export const download = (path) => request(path, { headers: { Accept: "*/*" } }, RETRIES, true);

async function request(path, options, retries = RETRIES, file = false) {
  const token = sessionStorage.getItem(KEY);
  const headers = { Accept: "application/json", ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  let response, body;
  try {
    response = await fetch(path, { ...options, headers });
    if (file && response.ok) return await response.blob();
    body = await response.json().catch((error) => {
      if (error instanceof SyntaxError) return {};
      throw error;
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerGone("The server does not answer.");
  }
  if (response.ok) return body;
  if ([429, 503].includes(response.status) && retries) {
    await pause(1000 * (Number(response.headers.get("Retry-After")) || 1), options.signal);
    return request(path, options, retries - 1, file);
  }
  const line = typeof body.detail === "string" ? body.detail : `The server answered ${response.status} to ${path}.`;
  if (response.status === 401) throw new TokenNeeded(token ? line : "This server asks for a token.");
  if (response.status === 404) throw new NotThere(line);
  throw new Error(line);
}

/** Waits; throws an AbortError as soon as the signal says so. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new DOMException("aborted", "AbortError"));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
  });
}
