// Requests to the server that this page came from. The token stands in the page's address and nowhere else.

const token = new URLSearchParams(location.search).get("token") ?? "";

/** What the server refused, with its sentence; `status` is 0 where it did not answer. */
export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

export async function get(path, query = {}) {
  return ask(`${path}?${new URLSearchParams(query)}`, { headers: { "X-Token": token } });
}

export async function post(path, content) {
  const headers = { "X-Token": token, "Content-Type": "application/json" };
  return ask(path, { method: "POST", headers, body: JSON.stringify(content) });
}

async function ask(address, options) {
  let response;
  try {
    response = await fetch(address, { ...options, credentials: "omit" });
  } catch {
    throw new Refused(0, "the server does not answer");
  }
  const content = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, content.error ?? `status ${response.status}`);
  return content;
}

/** The address of an item's picture: small, large or full. */
export const picture = (row, size) => `/image/${row}?size=${size}&token=${encodeURIComponent(token)}`;
