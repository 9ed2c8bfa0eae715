// The page: sign-in, the day's deliveries, filters, and changes as they come.

import * as api from "./api.js";
import { Card, outcomeLabel } from "./card.js";

const byId = (id) => document.getElementById(id);
const cards = new Map();
let date = new Date();
let filter = "all";
let stopFollowing = () => {};
let loading = 0;

// --- signing in and out ---

async function start() {
  try {
    const person = await api.me();
    byId("me").textContent = person.display_name ?? "";
    document.body.dataset.role = person.role;
    byId("sign-in").hidden = true;
    byId("home").hidden = false;
    await load();
  } catch (error) {
    failed(error);
  }
}

function showSignIn() {
  stopFollowing();
  clear();
  byId("home").hidden = true;
  byId("sign-in").hidden = false;
  byId("username").focus();
}

byId("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.target.querySelector("button");
  byId("sign-in-error").textContent = "";
  button.disabled = true;
  try {
    await api.signIn(byId("username").value, byId("password").value);
    byId("password").value = "";
    await start();
  } catch (error) {
    byId("sign-in-error").textContent = sentence(error.message);
    byId("password").select();
  } finally {
    button.disabled = false;
  }
});

byId("sign-out").addEventListener("click", async () => {
  try {
    await api.signOut();
    showSignIn();
  } catch (error) {
    failed(error);
  }
});

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.…!]$/.test(text) ? "" : ".");

function failed(error) {
  if (error instanceof api.SignedOut) {
    showSignIn();
    return;
  }
  byId("home").hidden = false;
  byId("notice").textContent = sentence(error.message);
  byId("notice").hidden = false;
}

// --- the day ---

const isoDay = (day) =>
  `${day.getFullYear()}-${String(day.getMonth() + 1).padStart(2, "0")}-${String(day.getDate()).padStart(2, "0")}`;

function dayName(day) {
  const away = Math.round((new Date(isoDay(day)) - new Date(isoDay(new Date()))) / 86_400_000);
  const near = { "-1": "Yesterday", 0: "Today", 1: "Tomorrow" };
  return near[away] ?? day.toLocaleDateString([], { weekday: "short", day: "numeric", month: "short" });
}

function moveDay(days) {
  date = new Date(date.getFullYear(), date.getMonth(), date.getDate() + days);
  load().catch(failed);
}

byId("day-before").addEventListener("click", () => moveDay(-1));
byId("day-after").addEventListener("click", () => moveDay(1));

function clear() {
  for (const card of cards.values()) {
    card.player.audio.pause();
  }
  cards.clear();
  byId("list").replaceChildren();
}

async function load() {
  const turn = ++loading;
  byId("day").textContent = dayName(date);
  const { items, lastEvent } = await api.day(isoDay(date));
  if (turn !== loading) {
    return; // another day was asked for meanwhile
  }
  stopFollowing();
  clear();
  byId("notice").hidden = true;
  for (const view of items) {
    put(view);
  }
  arrange();
  stopFollowing = api.follow(lastEvent, { onEvent: changed, onReset: () => load().catch(failed), onState: connection });
}

function put(view) {
  let card = cards.get(view.id);
  if (!card) {
    card = new Card(arrange);
    cards.set(view.id, card);
  }
  card.update(view);
  return card;
}

// --- changes as they come ---

const stale = new Set();
const NEWS = new Set(["call.done", "recording.ready", "transcript.done", "transcript.no_speech"]);
const news = new Set();
let refreshing = 0;

function connection(isOn, error) {
  if (error) {
    failed(error);
    return;
  }
  byId("live").textContent = isOn ? "Live" : "Reconnecting…";
  byId("live").classList.toggle("on", isOn);
}

// Several events of one delivery come together: it is read again once.
function changed(event) {
  if (!event.delivery_id) {
    return;
  }
  stale.add(event.delivery_id);
  if (NEWS.has(event.kind)) {
    news.add(event.delivery_id);
  }
  refreshing ||= setTimeout(refresh, 120);
}

async function refresh() {
  refreshing = 0;
  const turn = loading;
  const ids = [...stale];
  stale.clear();
  for (const id of ids) {
    try {
      const view = await api.delivery(id);
      if (turn !== loading) {
        return;
      }
      show(view);
    } catch (error) {
      failed(error);
    }
  }
}

function show(view) {
  if (isoDay(new Date(view.eta)) !== isoDay(date)) {
    cards.get(view.id)?.root.remove();
    cards.delete(view.id);
    arrange();
    return;
  }
  const isNew = !cards.has(view.id);
  const card = put(view);
  arrange();
  if (news.delete(view.id) || isNew) {
    card.highlight();
    const words = card.find(".said").textContent;
    byId("announce").textContent = `${view.customer_name}: ${card.find(".badge").textContent}. ${words}`;
  }
}

// --- order and filters ---

const matches = (card, name) => {
  const call = card.view.call;
  return (
    name === "all" ||
    (name === "new" && (card.unplayed || card.justHeard)) ||
    (name === "open" && call !== null && call.state !== "done") ||
    name === `outcome:${call?.outcome}`
  );
};

function arrange() {
  const all = [...cards.values()].sort(
    (a, b) => new Date(a.view.eta) - new Date(b.view.eta) || a.view.id.localeCompare(b.view.id),
  );
  const list = byId("list");
  all.forEach((card, place) => {
    if (list.children[place] !== card.root) {
      list.insertBefore(card.root, list.children[place] ?? null);
    }
    card.root.hidden = !matches(card, filter);
    if (card.root.hidden) {
      card.root.classList.remove("fresh"); // else it would glow again when it comes back
    }
  });
  showFilters(all);
  const shown = all.filter((card) => !card.root.hidden).length;
  const unplayed = all.filter((card) => card.unplayed).length;
  const many = (count, one, more) => `${count} ${count === 1 ? one : more}`;
  byId("summary").textContent = all.length
    ? many(all.length, "delivery", "deliveries") + (unplayed ? `, ${many(unplayed, "message", "messages")} to hear` : "")
    : "";
  byId("empty").hidden = shown > 0;
  byId("empty").textContent = all.length ? "None of the deliveries match." : `No deliveries ${dayName(date).toLowerCase()}.`;
}

function showFilters(all) {
  const outcomes = [...new Set(all.map((card) => card.view.call?.outcome).filter(Boolean))].sort();
  const names = ["all", "new", "open", ...outcomes.map((outcome) => `outcome:${outcome}`)];
  if (!names.includes(filter)) {
    names.push(filter); // the last of its kind has changed; the choice stays until it is taken back
  }
  const labels = { all: "All", new: "To hear", open: "Still to call" };
  const focused = document.activeElement?.dataset?.filter;
  const chips = names.map((name) => {
    const chip = document.createElement("button");
    const count = document.createElement("b");
    chip.className = "chip";
    chip.dataset.filter = name;
    chip.setAttribute("aria-pressed", String(name === filter));
    chip.textContent = labels[name] ?? outcomeLabel(name.slice("outcome:".length));
    count.textContent = String(all.filter((card) => matches(card, name)).length);
    chip.append(count);
    chip.addEventListener("click", () => {
      filter = name;
      cards.forEach((card) => (card.justHeard = false));
      arrange();
    });
    return chip;
  });
  byId("filters").replaceChildren(...chips);
  chips.find((chip) => chip.dataset.filter === focused)?.focus();
}

start();
