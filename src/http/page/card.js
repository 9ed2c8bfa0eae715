// A delivery as a card. Everything from the API goes in as text, never as markup.

import * as api from "./api.js";
import { Player } from "./player.js";

const OUTCOMES = {
  instructions: ["Instructions", "good"],
  home: ["At home", "good"],
  confirmed: ["Confirmed", "good"],
  neighbour: ["With a neighbour", "good"],
  reschedule: ["Another day", "warn"],
  no_response: ["Said nothing", "warn"],
  silence: ["Said nothing", "warn"],
  no_answer: ["No answer", "warn"],
  busy: ["Busy", "warn"],
  machine: ["Voicemail", "warn"],
  screener: ["Call screener", "warn"],
  expired: ["Not reached", "warn"],
  rejected: ["Declined", "bad"],
  opt_in: ["Calls are fine", "good"],
  opt_out: ["No calls please", "bad"],
  invalid_number: ["Wrong number", "bad"],
  trunk_error: ["Line trouble", "bad"],
  network_error: ["Line trouble", "bad"],
  unknown: ["Not known", "bad"],
  cancelled: ["Cancelled", "calm"],
};

const time = (at) => new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

const sentence = (word) => {
  const text = word.replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
};

export const outcomeLabel = (word) => OUTCOMES[word]?.[0] ?? sentence(word);

// What the badge says, and its tone.
function standing(call) {
  if (!call) {
    return ["No call", "calm"];
  }
  if (call.state === "active") {
    return ["Calling now", "live-call"];
  }
  if (call.state === "done") {
    return [outcomeLabel(call.outcome), OUTCOMES[call.outcome]?.[1] ?? "good"];
  }
  if (call.waiting) {
    return [sentence(call.waiting), "warn"];
  }
  return [call.attempts_made > 0 ? `Again at ${time(call.due_at)}` : `Calls at ${time(call.due_at)}`, "calm"];
}

// What stands under the player: the words, or why there are none yet.
function said(view) {
  const { transcript, recording } = view;
  switch (transcript?.state) {
    case "done":
      return [transcript.text, false];
    case "no_speech":
      return ["Nothing was said.", true];
    case "failed":
      return ["The words could not be written down. Listen instead.", true];
    case "queued":
    case "running":
      return ["Writing down what was said…", true];
    default:
      return [recording?.state === "recording" ? "Recording…" : "", true];
  }
}

// One attempt in words: when, over which trunk, how it ended, and why it went there.
function attemptInWords(attempt) {
  const end = attempt.cause ? outcomeLabel(attempt.cause).toLowerCase() : sentence(attempt.state).toLowerCase();
  const detail = attempt.reason ? ` (${attempt.reason})` : "";
  const words = [`${time(attempt.dialing_at)} over ${attempt.trunk}: ${end}${detail}`];
  const why = attempt.route_why;
  if (why && !why.skipped) {
    words.push(why.reason); // a telephone of the house: no trunk was chosen
  } else if (why) {
    words.push(`chosen for ${why.reason}`);
    words.push(...why.skipped.map((skip) => `passed over ${skip.trunk}: ${skip.reason}`));
  }
  return words.join("; ");
}

export class Card {
  constructor(onListened) {
    this.root = document.getElementById("card").content.firstElementChild.cloneNode(true);
    this.player = new Player(this.find(".player"), () => {
      this.view.recording.listened = true;
      this.justHeard = true; // a card does not vanish from "To hear" under the thumb that plays it
      this.find(".dot").hidden = true;
      onListened();
    });
    this.find(".attempts").addEventListener("toggle", () => this.showAttempts());
    this.root.addEventListener("animationend", () => this.root.classList.remove("fresh"));
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  get unplayed() {
    const silent = this.view.transcript?.state === "no_speech";
    return this.view.recording?.state === "ready" && !silent && !this.view.recording.listened;
  }

  update(view) {
    this.view = view;
    const [label, tone] = standing(view.call);
    const [words, aside] = said(view);
    this.root.dataset.id = view.id;
    this.find(".eta").textContent = time(view.eta);
    this.find(".stop").textContent = view.stop ? `Stop ${view.stop}` : view.order_ref;
    this.find(".badge").textContent = label;
    this.find(".badge").className = `badge ${tone}`;
    this.find(".customer").textContent = view.customer_name;
    this.find(".address").textContent = view.address;
    this.find(".said").textContent = words;
    this.find(".said").classList.toggle("aside", aside);
    this.find(".note").textContent = view.instructions && `With the order: ${view.instructions}`;
    this.find(".wire").hidden = !view.call?.attempts_made;
    this.find(".wire a").href = `/trace?call=${view.call?.id ?? ""}`;
    this.player.set(view.recording, view.customer_name);
    this.find(".dot").hidden = !this.unplayed;
    this.find(".attempts").hidden = !view.call || (view.call.attempts_made === 0 && view.call.state === "pending");
    this.showAttempts();
  }

  // Asked for when somebody wants to see them, and again when the delivery changes meanwhile.
  async showAttempts() {
    const { call } = this.view;
    if (!this.find(".attempts").open || !call) {
      return;
    }
    let lines;
    try {
      lines = (await api.call(call.id)).attempts.map(attemptInWords);
    } catch (error) {
      lines = [error.message];
    }
    this.find(".attempts ol").replaceChildren(...lines.map((line) => {
      const item = document.createElement("li");
      item.textContent = line;
      return item;
    }));
  }

  highlight() {
    this.root.classList.remove("fresh");
    void this.root.offsetWidth; // restarts the animation
    this.root.classList.add("fresh");
  }
}
