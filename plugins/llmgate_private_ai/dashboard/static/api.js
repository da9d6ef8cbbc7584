// The API of the same origin, below /api. The session is an HttpOnly cookie: no script ever sees it.

export class ApiError extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

const signedIn = () => document.body.classList.contains("signed-in");

// The session has ended: sign in again, and come back here.
function signInAgain() {
  const next = location.pathname === "/" ? "" : `?next=${encodeURIComponent(location.pathname)}`;
  location.replace(`/auth/login${next}`);
  return new Promise(() => {});
}

// Resolves to the JSON of the answer (null where it has none); rejects with an ApiError whose message can be shown.
export async function call(method, path, body) {
  const options = { method, headers: {}, credentials: "same-origin" };
  if (body instanceof URLSearchParams) {
    options.body = body;
  } else if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(`/api${path}`, options);
  } catch {
    throw new ApiError(0, "The server cannot be reached. Check your connection and try again.");
  }
  if (response.status === 401 && signedIn()) return signInAgain();
  const text = await response.text();
  let value = null;
  try {
    value = text ? JSON.parse(text) : null;
  } catch {
    throw new ApiError(response.status, `The server gave an answer that is not JSON (status ${response.status}).`);
  }
  if (response.ok) return value;
  const retry = response.headers.get("Retry-After");
  const detail = value?.detail ?? value?.error?.message ?? `The server answered with status ${response.status}.`;
  throw new ApiError(response.status, retry ? `${detail} Try again in ${retry} s.` : detail);
}

export const get = (path, query) => call("GET", query ? `${path}?${new URLSearchParams(query)}` : path);
export const post = (path, body = {}) => call("POST", path, body);
export const put = (path, body = {}) => call("PUT", path, body);
export const del = (path) => call("DELETE", path);
