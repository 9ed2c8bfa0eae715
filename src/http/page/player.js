// A card's player: one big button, a seek bar, and the lock screen's controls. One plays at a time.

import * as api from "./api.js";

let current = null;

const clock = (seconds) => {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
};

// A little before the customer's first word.
const LEAD_IN = 0.4;

export class Player {
  constructor(root, onListened) {
    this.root = root;
    this.onListened = onListened;
    this.audio = root.querySelector("audio");
    this.button = root.querySelector(".play");
    this.seek = root.querySelector(".seek");
    this.recording = null;
    this.button.addEventListener("click", () => this.toggle());
    this.seek.addEventListener("input", () => this.jump(Number(this.seek.value)));
    for (const kind of ["play", "pause", "ended", "timeupdate", "durationchange", "seeked"]) {
      this.audio.addEventListener(kind, () => this.show());
    }
    this.audio.addEventListener("playing", () => this.heard());
    this.audio.addEventListener("error", () => this.broke());
  }

  // Sets or keeps the recording; a recording that plays is not disturbed.
  set(recording, customer) {
    this.customer = customer;
    this.root.hidden = recording?.state !== "ready";
    if (this.root.hidden || this.recording?.id === recording.id) {
      return;
    }
    this.recording = recording;
    this.begun = false;
    this.audio.pause();
    this.audio.src = api.audioUrl(recording.id);
    this.seek.setAttribute("aria-label", `Position in what ${customer} said`);
    this.show();
  }

  get length() {
    return Number.isFinite(this.audio.duration) ? this.audio.duration : (this.recording?.duration_ms ?? 0) / 1000;
  }

  async toggle() {
    if (!this.audio.paused) {
      this.audio.pause();
      return;
    }
    if (current && current !== this) {
      current.audio.pause();
    }
    current = this;
    if (!this.begun) {
      this.begun = true;
      this.audio.currentTime = Math.max(0, this.recording.answer_start_ms / 1000 - LEAD_IN);
    }
    this.lockScreen();
    await this.audio.play().catch(() => this.show());
  }

  jump(seconds) {
    this.begun = true;
    this.audio.currentTime = seconds;
    this.show();
  }

  show() {
    const playing = !this.audio.paused && !this.audio.ended;
    const length = this.length;
    const at = Math.min(this.audio.currentTime, length);
    this.button.classList.toggle("playing", playing);
    this.button.setAttribute("aria-label", `${playing ? "Pause" : "Play"} what ${this.customer} said`);
    this.seek.max = String(length);
    this.seek.value = String(at);
    this.seek.style.setProperty("--done", `${length > 0 ? (at / length) * 100 : 0}%`);
    this.seek.setAttribute("aria-valuetext", `${clock(at)} of ${clock(length)}`);
    this.root.querySelector(".at").textContent = clock(at);
    this.root.querySelector(".length").textContent = clock(length);
  }

  async heard() {
    if (this.recording.listened) {
      return;
    }
    this.recording.listened = true;
    try {
      await api.listened(this.recording.id);
      this.onListened();
    } catch {
      this.recording.listened = false; // the dot stays, and the next play tries again
    }
  }

  broke() {
    this.root.querySelector(".at").textContent = "This recording cannot be played.";
    this.button.classList.remove("playing");
  }

  lockScreen() {
    if (!("mediaSession" in navigator)) {
      return;
    }
    const session = navigator.mediaSession;
    session.metadata = new MediaMetadata({ title: this.customer, artist: "Callahead" });
    session.setActionHandler("play", () => this.toggle());
    session.setActionHandler("pause", () => this.audio.pause());
    session.setActionHandler("seekbackward", () => this.jump(Math.max(0, this.audio.currentTime - 5)));
    session.setActionHandler("seekforward", () => this.jump(Math.min(this.length, this.audio.currentTime + 5)));
  }
}
