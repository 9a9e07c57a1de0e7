// Asks the server. docs/serve.md has the routes.

/** What the server, or the way to it, had against a request. `message` is for the person. */
class RequestError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * Get JSON.
 * @param {string} route such as "records"
 * @param {Iterable<[string, any]>} parameters name and value; empty values are left out
 * @param {AbortSignal} [signal] ends the request
 */
export async function get(route, parameters = [], signal = undefined) {
  return answerOf(await sent(address(route, parameters), { signal }));
}

/** Send JSON, get JSON. */
export async function post(route, body, parameters = []) {
  const headers = { "Content-Type": "application/json" };
  return answerOf(await sent(address(route, parameters), { method: "POST", headers, body: JSON.stringify(body) }));
}

/** Return the address of a route, for a link or an EventSource. */
export function address(route, parameters = []) {
  const query = new URLSearchParams();
  for (const [name, value] of parameters) if (value !== "" && value !== null && value !== undefined) query.append(name, value);
  const text = query.toString();
  return `/api/${route}${text ? `?${text}` : ""}`;
}

/** Say in words what went wrong. */
export function inWords(error) {
  return error instanceof RequestError ? error.message : `The page met an error: ${error.message}`;
}

/** Whether a request was ended by the page itself. */
export function wasEnded(error) {
  return error.name === "AbortError";
}

async function sent(url, options) {
  try {
    return await fetch(url, { credentials: "same-origin", cache: "no-store", ...options });
  } catch (error) {
    if (wasEnded(error)) throw error;
    throw new RequestError(0, "The server does not answer. Is `ipfs-logs serve` still running?");
  }
}

async function answerOf(response) {
  const told = await response.json().catch((error) => {
    if (wasEnded(error)) throw error;
    return null;
  });
  if (response.ok && told !== null) return told;
  throw new RequestError(response.status, sentenceOf(response, told?.error));
}

function sentenceOf(response, error) {
  if (!error) return `The server answered ${response.status} ${response.statusText}.`;
  const where = error.where ? `${error.where}: ` : "";
  const details = [
    error.expected ? `expected ${error.expected}` : "",
    error.found ? `found ${error.found}` : "",
  ].filter(Boolean);
  const hint = error.hint ? ` ${error.hint}` : "";
  return `${where}${error.message}${details.length ? ` (${details.join("; ")})` : ""}.${hint}`;
}
