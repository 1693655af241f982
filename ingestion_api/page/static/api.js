// Asks the collector's API, with the key that somebody has typed in where it wants one.

const KEY = "wattlake-api-key";

/** An answer that is no success: its HTTP status, and what the problem details say. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export const storedKey = () => sessionStorage.getItem(KEY);
export const storeKey = (key) => sessionStorage.setItem(KEY, key);
export const forgetKey = () => sessionStorage.removeItem(KEY);

/** The JSON of a call. Throws as `fetched` does. */
export async function ask(path, options) {
  const answer = await fetched(path, options);
  return answer.status === 204 ? null : answer.json();
}

/** The answer of a call. Throws Problem, or TypeError where the collector does not answer. */
export async function fetched(path, { method = "GET", body } = {}) {
  const headers = {};
  if (storedKey()) headers.Authorization = `Bearer ${storedKey()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-cache", // asks each time; what has an ETag is sent only if it is another
    signal: AbortSignal.timeout(15_000),
  });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw new Problem(answer.status, problem.detail ?? `the collector answered ${answer.status}`);
}

/** What went wrong, for a person. */
export function said(error) {
  if (error instanceof Problem) return error.message;
  return "the collector does not answer";
}
