// The API as the page uses it. Errors are problem details; `SignedOut` means: show the sign-in.

const BASE = "/api/v1";

export class SignedOut extends Error {}

async function ask(method, path, body) {
  const options = { method, credentials: "same-origin", headers: {} };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const response = await fetch(BASE + path, options);
  if (response.ok) {
    return response.status === 204 ? null : response.json();
  }
  const problem = await response.json().catch(() => ({ detail: `The server answered ${response.status}.` }));
  if (response.status === 401 && problem.code === "unauthenticated") {
    throw new SignedOut(problem.detail);
  }
  throw new Error(problem.detail);
}

export const me = () => ask("GET", "/session");
export const signIn = (username, password) => ask("POST", "/session", { username, password });
export const signOut = () => ask("DELETE", "/session");
export const delivery = (id) => ask("GET", `/deliveries/${id}`);
export const call = (id) => ask("GET", `/calls/${id}`);
export const listened = (recording) => ask("POST", `/recordings/${recording}/listened`);
export const trace = (call, numbers) => ask("GET", `/calls/${encodeURIComponent(call)}/trace?numbers=${numbers}`);
export const captureUrl = (call) => `${BASE}/calls/${encodeURIComponent(call)}/trace.pcap`;
export const audioUrl = (recording) => `${BASE}/recordings/${recording}/audio.wav`;

// All deliveries of a day, and the number of the last event before they were read.
export async function day(date) {
  const items = [];
  let lastEvent = null;
  let after = "";
  do {
    const page = await ask("GET", `/deliveries?limit=200&day=${date}${after && `&after=${encodeURIComponent(after)}`}`);
    items.push(...page.items);
    lastEvent ??= page.last_event;
    after = page.next;
  } while (after);
  return { items, lastEvent };
}

// Follows the event log from `after` on. The browser reconnects and resumes by itself, except after an error answer.
export function follow(after, { onEvent, onReset, onState }) {
  let source = null;
  let seen = after;
  let timer = 0;
  let stopped = false;

  function open() {
    source = new EventSource(`${BASE}/events?after=${seen}`);
    source.addEventListener("open", () => onState(true));
    source.addEventListener("message", (message) => {
      seen = Number(message.lastEventId);
      onEvent(JSON.parse(message.data));
    });
    source.addEventListener("reset", onReset); // the log no longer reaches back to what we saw last
    source.addEventListener("error", () => {
      onState(false);
      if (source.readyState === EventSource.CLOSED && !stopped) {
        timer = setTimeout(reopen, 3000);
      }
    });
  }

  async function reopen() {
    try {
      await me();
    } catch (error) {
      if (error instanceof SignedOut) {
        onState(false, error);
        return;
      }
    }
    if (!stopped) {
      open();
    }
  }

  open();
  return () => {
    stopped = true;
    clearTimeout(timer);
    source.close();
  };
}
