// The page in Chromium. tests/page.rs starts the site and says where it is in CALLAHEAD_ADDRESS.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const address = process.env.CALLAHEAD_ADDRESS;
const password = process.env.CALLAHEAD_PASSWORD;
const key = process.env.CALLAHEAD_KEY;
const shots = process.env.CALLAHEAD_SHOTS;
const PHONE = { width: 390, height: 844 };
const DESK = { width: 1280, height: 800 };

let browser;
let page;
const problems = [];
const audioAnswers = [];

before(async () => {
  assert.ok(address && password && key, "start this test by `cargo test --test page`");
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  const context = await browser.newContext({ viewport: PHONE, timezoneId: "UTC", locale: "en-GB", hasTouch: true });
  page = await context.newPage();
  page.setDefaultTimeout(15_000);
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => {
    const expected = message.location().url.endsWith("/api/v1/session"); // 401 before and during signing in
    if (message.type() === "error" && !expected) {
      problems.push(message.text());
    }
  });
  page.on("response", (response) => {
    if (response.url().endsWith("/audio.wav")) {
      audioAnswers.push({ status: response.status(), range: response.request().headers().range });
    }
  });
});

after(() => browser?.close());

const card = (name) => page.locator(".card", { hasText: name });
const audioTime = () => card("Ada Lovelace").locator("audio").evaluate((audio) => audio.currentTime);

async function api(method, path, body) {
  const response = await fetch(address + path, {
    method,
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json" },
    body: body && JSON.stringify(body),
  });
  assert.ok(response.ok, `${method} ${path}: ${response.status} ${await response.clone().text()}`);
  return response;
}

async function shot(name) {
  if (shots) {
    await page.screenshot({ path: `${shots}/${name}.png` });
  }
}

const noSideways = async () => {
  const [inner, outer] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  assert.ok(inner <= outer, `the page is ${inner} px wide in a window of ${outer} px`);
};

test("a wrong password is refused in words", async () => {
  await page.goto(address);
  await page.getByLabel("Name").fill("grace");
  await page.getByLabel("Password").fill("wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").filter({ hasText: "wrong" }).waitFor();
  await shot("sign-in-phone");
});

test("signs in and shows the deliveries", async () => {
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await card("Ada Lovelace").waitFor();
  assert.equal(await page.locator(".card:visible").count(), 4);
  assert.match(await card("Ada Lovelace").locator(".badge").textContent(), /Instructions/);
  assert.match(await card("Charles Babbage").locator(".badge").textContent(), /Busy/);
  assert.match(await card("George Boole").locator(".badge").textContent(), /Calling now/);
  assert.ok(await card("Charles Babbage").locator(".player").isHidden(), "nothing to play, no player");
  assert.ok(await card("Ada Lovelace").locator(".dot").isVisible());
  assert.ok(await card("Charles Babbage").locator(".wire").isHidden(), "SIP messages are for admins");
  await page.locator(".live.on").waitFor();
  await noSideways();
});

test("how a customer was called, and why over that trunk", async () => {
  const attempts = card("Charles Babbage").locator(".attempts");
  await attempts.getByText("How it was called").click();
  const line = attempts.locator("li");
  await line.waitFor();
  const expected = /over main: busy; chosen for 0.008 a minute; passed over spare: 30 calls are running/;
  assert.match(await line.textContent(), expected);
  await noSideways();
});

test("a transcript appears without a reload, as text", async () => {
  await page.evaluate(() => { window.sameDocument = true; });
  await api("POST", "/test/finish");
  const said = card("Ada Lovelace").locator(".said");
  await said.filter({ hasText: "behind the <b>blue</b> bin" }).waitFor();
  assert.equal(await said.locator("b").count(), 0, "markup in a transcript is only text");
  assert.ok(await card("Ada Lovelace").evaluate((root) => root.classList.contains("fresh")));
  assert.ok(await page.evaluate(() => window.sameDocument));
  await shot("fresh-phone");
});

test("plays from where the customer speaks, and the dot goes", async () => {
  const play = card("Ada Lovelace").getByRole("button", { name: "Play what Ada Lovelace said" });
  const box = await play.boundingBox();
  assert.ok(box.width >= 60 && box.height >= 60, "as big as a thumb");
  await play.click();
  const audio = card("Ada Lovelace").locator("audio");
  await audio.evaluate((element) => new Promise((resolve) => {
    const enough = () => element.currentTime > 2.2 && resolve();
    element.addEventListener("timeupdate", enough);
    enough();
  }));
  const first = await audioTime();
  assert.ok(first > 2.2 && first < 10, `at ${first}`);
  await page.waitForFunction((was) => document.querySelector(".card audio").currentTime > was, first);
  await card("Ada Lovelace").locator(".dot").waitFor({ state: "hidden" });
  await shot("playing-phone");
});

test("seeks by a range request", async () => {
  const seek = card("Ada Lovelace").getByRole("slider");
  await seek.evaluate((input) => {
    input.value = "9";
    input.dispatchEvent(new Event("input", { bubbles: true }));
  });
  await page.waitForFunction(() => document.querySelector(".card audio").currentTime >= 9);
  assert.ok(audioAnswers.some(({ status, range }) => status === 206 && range), JSON.stringify(audioAnswers));
  const part = await page.evaluate(async () => {
    const response = await fetch(document.querySelector(".card audio").src, { headers: { Range: "bytes=100000-100009" } });
    return [response.status, (await response.arrayBuffer()).byteLength];
  });
  assert.deepEqual(part, [206, 10]);
  await card("Ada Lovelace").getByRole("button", { name: /Pause/ }).click();
  await card("Ada Lovelace").getByRole("button", { name: /Play/ }).waitFor();
});

test("a new delivery appears without a reload", async () => {
  const noon = `${new Date().toISOString().slice(0, 10)}T16:30:00Z`;
  await api("POST", "/api/v1/deliveries", {
    order_ref: "A5", stop: "9", customer_name: "Katherine Johnson-Featherstonehaugh of Llanfairpwllgwyngyll",
    phone: "+442071838751", eta: noon, agent: "grace", address: "1 Long Street With A Very Long Name, Hampton",
  });
  await card("Katherine").waitFor();
  assert.ok(await page.evaluate(() => window.sameDocument));
  await noSideways();
});

test("filters by outcome", async () => {
  await page.getByRole("button", { name: /^Busy/ }).click();
  assert.deepEqual(await page.locator(".card:visible .customer").allTextContents(), ["Charles Babbage"]);
  await page.getByRole("button", { name: /^All/ }).click();
  assert.equal(await page.locator(".card:visible").count(), 5);
});

test("fits phones, desks, light and dark", async () => {
  for (const width of [320, 375, 390]) {
    await page.setViewportSize({ width, height: 700 });
    await noSideways();
  }
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize(PHONE);
    await page.evaluate(() => window.scrollTo(0, 0));
    await shot(`phone-${colorScheme}`);
    await page.setViewportSize(DESK);
    await noSideways();
    await shot(`desk-${colorScheme}`);
  }
});

test("signs out", async () => {
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Name").waitFor();
  assert.equal(await page.locator(".card").count(), 0);
  await page.emulateMedia({ colorScheme: "light" });
  await shot("sign-in-desk");
});

test("an admin sees a call's SIP messages, on a phone and on a desk", async () => {
  await page.setViewportSize(PHONE);
  await page.getByLabel("Name").fill("ada");
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await card("Charles Babbage").getByRole("link", { name: "SIP messages" }).click();
  const step = page.locator(".step", { hasText: "486 Busy Here" });
  await step.waitFor();
  assert.equal(await page.locator(".step").count(), 7, "the second INVITE is folded when it goes again");
  assert.match(await page.locator(".step").nth(3).textContent(), /again at 519 ms \(2nd time\)/);
  assert.match(await page.locator(".why").textContent(), /on the phone/);
  await noSideways();
  await shot("trace-phone");
  await step.locator("summary").click();
  await step.locator("pre", { hasText: "SIP/2.0 486 Busy Here" }).waitFor();
  assert.doesNotMatch(await page.locator("main").textContent(), /2071838750/);
  await noSideways();
  await shot("trace-phone-open");
  await page.getByRole("button", { name: "Show numbers" }).click();
  await page.locator(".what", { hasText: "+442071838750" }).first().waitFor();
  await page.setViewportSize({ width: 320, height: 700 });
  await noSideways();
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize(DESK);
    await shot(`trace-desk-${colorScheme}`);
  }
  const [status, start] = await page.evaluate(async () => {
    const response = await fetch(document.getElementById("pcap").href);
    return [response.status, [...new Uint8Array(await response.arrayBuffer())].slice(0, 2)];
  });
  assert.equal(status, 200);
  assert.ok([0xa1, 0xd4].includes(start[0]), "a capture");
});

test("the console had nothing to complain about", () => {
  assert.deepEqual(problems, []);
});
