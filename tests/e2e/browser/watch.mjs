// Drives Debian's chromium over the status page, for tests/page.rs: it reads
// steps as lines of JSON from standard input and answers each with a line of
// what it saw. It starts nothing but the browser, and the browser reaches
// nothing but the page.
//
//     node watch.mjs URL FOLDER_FOR_SCREENSHOTS

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const CHROMIUM = "/usr/bin/chromium";
const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const WIDE = { width: 1280, height: 800 };
const NARROW = { width: 360, height: 740 };
// What the page promises: a change is seen within this time.
const SEEN_MS = 10_000;
// The page asks again every 10 seconds at most.
const BACK_MS = 20_000;
const POLL_MS = 100;
// What axe-core finds is a failure, but for these impacts.
const TOLERATED = ["minor"];

const [url, folder] = process.argv.slice(2);

function ensure(holds, message) {
  if (!holds) throw new Error(message);
}

async function until(what, limit, question) {
  const start = Date.now();
  let seen;
  for (;;) {
    const answer = await question((now) => (seen = now));
    if (answer) return Date.now() - start;
    ensure(Date.now() - start < limit, `waited ${limit} ms in vain for ${what}; saw ${JSON.stringify(seen)}`);
    await new Promise((done) => setTimeout(done, POLL_MS));
  }
}

async function launch() {
  ensure(existsSync(CHROMIUM), `${CHROMIUM} is missing: install the package chromium`);
  return chromium.launch({
    executablePath: CHROMIUM,
    // Chromium's sandbox does not work for root.
    chromiumSandbox: process.getuid() !== 0,
    args: [
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      // Whatever else the browser would like to reach has no address.
      "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ],
  });
}

// Everything that a page's reader would find in the browser's console, and
// more: policy violations, requests that failed or left the appliance.
function faultsOf(page) {
  const faults = [];
  const { origin } = new URL(url);
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) faults.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => faults.push(`uncaught: ${error.message}`));
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== origin) faults.push(`request to elsewhere: ${request.url()}`);
  });
  page.on("requestfailed", (request) => {
    faults.push(`request failed: ${request.url()} (${request.failure()?.errorText})`);
  });
  page.on("response", (response) => {
    if (response.status() >= 400) faults.push(`answered ${response.status()}: ${response.url()}`);
  });
  return faults;
}

async function newPage(browser, options) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: WIDE, ...options });
  context.setDefaultTimeout(SEEN_MS);
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => {
      console.error(`policy violation: ${event.violatedDirective} by ${event.blockedURI}`);
    });
  });
  return context.newPage();
}

// What axe-core cannot decide by itself, such as text on a gradient: counted by
// rule and reason, for whoever reads the run.
function undecided(results) {
  const counts = {};
  for (const { id, nodes } of results) {
    for (const node of nodes) {
      const why = `${id}: ${node.any[0]?.data?.messageKey ?? node.none[0]?.message ?? "?"}`;
      counts[why] = (counts[why] ?? 0) + 1;
    }
  }
  return counts;
}

class Watch {
  constructor(browser) {
    this.browser = browser;
    this.unfolded = null;
  }

  // --- what the steps share ---

  shot(page, name) {
    return page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
  }

  text(selector, page = this.page) {
    return page.locator(selector).textContent();
  }

  // Whether it is the same document as at the beginning, and in order.
  async same() {
    const mark = await this.page.evaluate(() => window.mark);
    ensure(mark === this.mark, "the page was loaded again: what was set on its window is gone");
    ensure(this.faults.length === 0, this.faults.join("\n"));
    if (!this.unfolded) return;
    const held = await this.row(this.unfolded).evaluate((row) => ({
      open: row.open,
      focused: row.firstElementChild === document.activeElement,
    }));
    ensure(held.open, `the row of ${this.unfolded} was folded by an update`);
    ensure(held.focused, `the row of ${this.unfolded} lost the focus by an update`);
  }

  row(name) {
    const title = this.page.locator(".what > .name").getByText(name, { exact: true });
    return this.page.locator("#jobs .job").filter({ has: title });
  }

  async fits(page, name) {
    const wider = await page.evaluate(() => {
      const { scrollWidth, clientWidth } = document.documentElement;
      if (scrollWidth <= clientWidth) return null;
      const out = [...document.body.querySelectorAll("*")].filter(
        (element) => element.getBoundingClientRect().right > clientWidth + 0.5,
      );
      return { scrollWidth, clientWidth, by: out.slice(0, 5).map((element) => element.outerHTML.slice(0, 120)) };
    });
    ensure(!wider, `${name} scrolls sideways: ${JSON.stringify(wider)}`);
  }

  async axe(page, name) {
    const { violations, incomplete } = await page.evaluate(() =>
      window.axe.run(document, { resultTypes: ["violations", "incomplete"] }),
    );
    const told = ({ id, impact, help, nodes }) =>
      `${impact}: ${id}: ${help}: ` +
      nodes.slice(0, 5).map((node) => `${node.target.join(" ")} (${node.any[0]?.message ?? ""})`).join("; ");
    const bad = violations.filter(({ impact }) => !TOLERATED.includes(impact));
    ensure(bad.length === 0, `${name}: ${bad.map(told).join("\n")}`);
    return { tolerated: violations.map(told), undecided: undecided(incomplete) };
  }

  // --- the steps ---

  // The page as it is first met: over TLS, with nobody waiting.
  async open({ sleds }) {
    this.page = await newPage(this.browser, { colorScheme: "light" });
    this.faults = faultsOf(this.page);
    const answer = await this.page.goto(url);
    ensure(answer.status() === 200, `the page answered ${answer.status()}`);
    const { protocol } = await answer.securityDetails();
    ensure(/^TLS 1\.[23]$/.test(protocol), `the page came over ${protocol}`);
    const policy = answer.headers()["content-security-policy"] ?? "";
    ensure(policy.includes("default-src 'none'") && !policy.includes("unsafe"), `the policy is: ${policy}`);
    this.mark = await this.page.evaluate(() => (window.mark = Math.random()));
    const live = await until("the page to be live", SEEN_MS, async (saw) => saw(await this.text("#link-text")) === "live");
    await this.empty(this.page, sleds);
    await this.same();

    const plain = await newPage(this.browser, { javaScriptEnabled: false });
    await plain.goto(url);
    await this.empty(plain, sleds);
    const said = await this.text("#link-text", plain);
    ensure(said.startsWith("as of "), `without its script the page says: ${said}`);
    await plain.context().close();

    // axe-core is inline script, which the policy forbids: these two may.
    this.looked = [];
    for (const colorScheme of ["light", "dark"]) {
      const page = await newPage(this.browser, { bypassCSP: true, colorScheme });
      await page.goto(url);
      await page.addScriptTag({ path: AXE });
      this.looked.push({ colorScheme, page });
    }
    return { protocol, live_ms: live, version: this.browser.version() };
  }

  async empty(page, sleds) {
    const names = await page.locator("#rack .unit .name").allTextContents();
    ensure(names.join() === sleds.join(), `the rack shows: ${names}`);
    const states = await page.locator("#rack .unit .state").allTextContents();
    ensure(states.every((state) => state === "Off"), `the sleds are: ${states}`);
    const jobs = await this.text("#jobs .empty", page);
    ensure(jobs.startsWith("No jobs yet"), `an empty page says: ${jobs}`);
    const title = await page.title();
    ensure(title.startsWith("idle · Musher "), `the window's title is: ${title}`);
  }

  // A job's row stands in one of these states.
  async job({ name, states, holds = "" }) {
    let state;
    const ms = await until(`${name} to be ${states.join(" or ")}`, SEEN_MS, async (saw) => {
      const row = this.row(name);
      if ((await row.count()) !== 1) return saw(null);
      state = await row.locator("summary .state").textContent();
      const proof = await row.locator("summary .proof").textContent();
      saw(`${state}: ${proof}`);
      return states.includes(state) && proof.includes(holds);
    });
    await this.same();
    return { state, ms };
  }

  // A job waits in the queue, and a reason is given.
  async waiting({ name }) {
    const item = this.page.locator("#queue .waiting li").filter({ hasText: name });
    const ms = await until(`${name} to wait`, SEEN_MS, async () => (await item.count()) === 1);
    const reasons = this.page.locator("#queue :is(.why, .reason)");
    ensure((await reasons.count()) > 0, `the page does not say why ${name} waits`);
    await this.same();
    return { ms, reason: await reasons.first().textContent() };
  }

  // Opens a job's row by keyboard; from now on it must stay open and focused.
  async unfold({ name }) {
    await this.row(name).locator("summary").focus();
    await this.page.keyboard.press("Enter");
    this.unfolded = name;
    await this.same();
    return {};
  }

  // Looks at everything there is to see: both schemes, both widths, all rows
  // opened.
  async look({ name }) {
    const seen = {};
    for (const { colorScheme, page } of this.looked) {
      for (const [width, viewport] of Object.entries({ wide: WIDE, narrow: NARROW })) {
        const view = `${name}-${colorScheme}-${width}`;
        await page.setViewportSize(viewport);
        await page.evaluate(() => document.querySelectorAll("details").forEach((row) => (row.open = false)));
        await this.fits(page, view);
        await this.shot(page, view);
        await page.evaluate(() => document.querySelectorAll("details").forEach((row) => (row.open = true)));
        await this.fits(page, `${view}, all opened`);
        seen[view] = await this.axe(page, view);
        await this.shot(page, `${view}-opened`);
      }
    }
    await this.shot(this.page, `${name}-reader`);
    return seen;
  }

  // The appliance is gone, and the page says so. What it showed stays.
  async lost() {
    for (const page of [this.page, ...this.looked.map((it) => it.page)]) {
      await until("the page to say that it is not live", SEEN_MS, async (saw) =>
        /^not live since .+ — reconnecting$/.test(saw(await this.text("#link-text", page))),
      );
    }
    ensure((await this.page.locator("body.stale #rack .unit").count()) > 0, "the page is not marked as stale");
    // Requests that fail are what this is about.
    this.faults.length = 0;
    await this.same();
    return { says: await this.text("#link-text") };
  }

  async back() {
    const ms = await until("the page to be live again", BACK_MS, async (saw) => saw(await this.text("#link-text")) === "live");
    ensure((await this.page.locator("body.stale").count()) === 0, "the page is live but marked as stale");
    this.faults.length = 0;
    await this.same();
    return { ms };
  }

  // Ten more tabs with the page, each hidden behind the next: a browser opens
  // six connections to one place, and the last tab must be live all the same.
  async tabs() {
    const context = (await newPage(this.browser, {})).context();
    for (let tab = 1; tab <= 10; tab += 1) {
      const page = await context.newPage();
      await page.goto(url);
      await until(`tab ${tab} to be live`, SEEN_MS, async (saw) => saw(await this.text("#link-text", page)) === "live");
      // Without a screen, every tab counts as seen.
      await page.evaluate(() => {
        Object.defineProperty(document, "hidden", { value: true, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
      });
    }
    const [, first] = context.pages();
    await first.evaluate(() => {
      delete document.hidden;
      document.dispatchEvent(new Event("visibilitychange"));
    });
    const ms = await until("the first tab to be live again", SEEN_MS, async (saw) => saw(await this.text("#link-text", first)) === "live");
    await context.close();
    return { ms };
  }

  // Does what the policy forbids: it is enforced, and a violation is noticed
  // by what watches for them.
  async forbidden() {
    const page = await newPage(this.browser, {});
    const faults = faultsOf(page);
    await page.goto(url);
    await page.evaluate(() => {
      const script = document.createElement("script");
      script.textContent = "window.injected = true";
      document.body.append(script);
      document.body.setAttribute("style", "outline: 1px solid");
    });
    const injected = await page.evaluate(() => window.injected);
    ensure(injected === undefined, "inline script runs in the page");
    for (const directive of ["script-src", "style-src"]) {
      await until(`a violation of ${directive}`, SEEN_MS, async (saw) =>
        saw(faults).some((fault) => fault.startsWith(`console: policy violation: ${directive}`)),
      );
    }
    await page.context().close();
    return {};
  }
}

const answer = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

let browser;
try {
  browser = await launch();
  const watch = new Watch(browser);
  for await (const line of createInterface({ input: process.stdin })) {
    const { step, ...given } = JSON.parse(line);
    try {
      answer({ step, ...(await watch[step](given)) });
    } catch (error) {
      if (watch.page) await watch.shot(watch.page, `failed-${step}`).catch(() => {});
      throw error;
    }
  }
} catch (error) {
  answer({ error: error.message });
  process.exitCode = 1;
} finally {
  await browser?.close();
  process.stdin.destroy();
}
