// Takes the README's pictures of a running engine: node screenshot.mjs ADDRESS USER PASSWORD FOLDER
import { chromium } from "playwright-core";

const [address, user, password, folder] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
});
for (const [name, width, height] of [["phone", 390, 760], ["desk", 1180, 760]]) {
  const context = await browser.newContext({ viewport: { width, height }, deviceScaleFactor: 1.5 });
  const page = await context.newPage();
  await page.goto(address);
  await page.fill("input[name=username]", user);
  await page.fill("input[name=password]", password);
  await page.click("button[type=submit]");
  await page.waitForSelector("article");
  await page.waitForTimeout(1500); // for fonts and the first paint only; nothing is asserted
  await page.screenshot({ path: `${folder}/page-${name}.png` });
  await context.close();
}
await browser.close();
