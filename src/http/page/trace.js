// A call's SIP messages as a ladder. Everything from the API goes in as text, never as markup.

import * as api from "./api.js";

const byId = (id) => document.getElementById(id);
const call = new URLSearchParams(location.search).get("call") ?? "";
let numbers = false;

const copy = (id) => byId(id).content.firstElementChild.cloneNode(true);
const milliseconds = (us) => (us / 1000).toLocaleString("en", { maximumFractionDigits: us < 100_000 ? 1 : 0, useGrouping: false });

function ordinal(n) {
  const ending = n % 100 > 10 && n % 100 < 14 ? "th" : (["th", "st", "nd", "rd"][n % 10] ?? "th");
  return `${n}${ending}`;
}

// How a status is coloured: a question for a password is no failure.
function tone(status) {
  if (status === null) {
    return "request";
  }
  if (status < 300) {
    return "good";
  }
  return status < 400 || status === 401 || status === 407 ? "warn" : "bad";
}

function drawStep(step, view, several) {
  const root = copy("step");
  root.classList.add(step.direction, tone(step.status));
  root.classList.toggle("again", step.nth > 1);
  root.querySelector(".ms").textContent = milliseconds(step.offset_us);
  const nth = step.nth > 1 ? ` (${ordinal(step.nth)} time)` : "";
  const peer = several ? `${step.peer + 1} · ` : "";
  // The method stands out; the address behind it may be long.
  const [method, ...address] = step.status === null ? step.what.split(" ") : [step.what];
  const uri = document.createElement("small");
  uri.textContent = address.length ? ` ${address.join(" ")}` : "";
  root.querySelector(".what").replaceChildren(peer + method, uri, nth);
  const again = step.again_us.map((at, index) => `${milliseconds(at)} ms (${ordinal(step.nth + 1 + index)} time)`);
  const notes = again.length ? [...step.notes, `again at ${again.join(", ")}`] : step.notes;
  const lines = notes.map((note) => {
    const line = document.createElement("span");
    line.textContent = note;
    return line;
  });
  root.querySelector(".notes").replaceChildren(...lines);
  root.querySelector("pre").textContent = view.messages[step.message].text.replaceAll("\r\n", "\n");
  return root;
}

function drawAttempt(view) {
  const root = copy("attempt");
  const { attempt, ladder } = view;
  root.querySelector("h2").textContent = `Attempt ${attempt.ordinal} over ${attempt.trunk}`;
  root.querySelector(".badge").textContent = (attempt.cause ?? attempt.state).replaceAll("_", " ");
  root.querySelector(".why").textContent = [attempt.reason && `${attempt.reason}.`, view.explanation].filter(Boolean).join(" ");
  const began = ladder.steps.length ? new Date(ladder.began_us / 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" }) : null;
  root.querySelector(".began").textContent = began
    ? `${began}, times in milliseconds, Call-ID ${view.sip_call_id}`
    : "No messages are kept of this attempt, or it has just begun.";
  const several = ladder.peers.length > 1;
  const peers = ladder.peers.map((peer, index) => `${several ? `${index + 1} · ` : ""}${peer.address} ${peer.transport}`);
  root.querySelector(".peer").textContent = peers.join(", ");
  root.querySelector(".ends").hidden = !began;
  root.querySelector(".ladder").append(...ladder.steps.map((step) => drawStep(step, view, several)));
  root.querySelector(".dropped").textContent = view.dropped ? `${view.dropped} more dropped: a call keeps its first messages.` : "";
  return root;
}

async function load() {
  byId("notice").hidden = true;
  try {
    const trace = await api.trace(call, numbers);
    byId("call").textContent = `Call to ${trace.number}`;
    byId("attempts").replaceChildren(...trace.attempts.map(drawAttempt));
    if (trace.attempts.length === 0) {
      throw new Error("This call has not been tried yet.");
    }
  } catch (error) {
    byId("notice").textContent = error instanceof api.SignedOut ? "Sign in first: go to the deliveries." : error.message;
    byId("notice").hidden = false;
  }
}

byId("pcap").href = api.captureUrl(call);
byId("numbers").addEventListener("click", (event) => {
  numbers = !numbers;
  event.target.setAttribute("aria-pressed", String(numbers));
  load();
});
load();
