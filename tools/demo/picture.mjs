// Takes the README's picture of the status page from a demo that runs: reads what
// the demo prints, to learn the page's address, and waits for a moment that shows
// a sled at work, one on its way, a job that waits and two that are done.
//
//     musher-demo --jobs 5 | node picture.mjs FILE.png

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const browsers = new URL("../../tests/e2e/browser/package.json", import.meta.url);
const { chromium } = createRequire(browsers)("playwright-core");
const MOMENT_MS = 300_000;

function isTheMoment() {
  const texts = (selector) => [...document.querySelectorAll(selector)].map((it) => it.textContent);
  const states = texts("#rack .unit .state");
  const jobs = texts("#jobs summary .state");
  return (
    document.querySelector("#link-text").textContent === "live" &&
    states.includes("Running") &&
    states.includes("Netbooting") &&
    document.querySelector("#queue .waiting li") !== null &&
    jobs.includes("running") &&
    jobs.filter((state) => state === "completed").length === 2
  );
}

async function take(url, path) {
  const browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    // Chromium's sandbox does not work for root.
    chromiumSandbox: process.getuid() !== 0,
  });
  const page = await browser.newPage({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 800 } });
  await page.goto(url);
  await page.waitForFunction(isTheMoment, undefined, { timeout: MOMENT_MS, polling: 100 });
  await page.screenshot({ path, fullPage: true });
  await browser.close();
  console.log(`taken: ${path}`);
}

const [path] = process.argv.slice(2);
let taken;
// To the end, so that the demo is not cut off.
for await (const line of createInterface({ input: process.stdin })) {
  console.log(line);
  const page = line.match(/^status page: (\S+)/);
  if (page) {
    taken = take(page[1], path);
    taken.catch(() => {});
  }
}
if (!taken) throw new Error("the demo named no status page");
await taken;
