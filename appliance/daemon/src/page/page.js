// Keeps the status page true while it is open: listens for changes, fetches
// the live part, and puts only the differences into the page, so that scroll,
// focus, selection and opened rows stay. Says plainly when it cannot.
// It sends nothing but these requests and stores nothing.
(() => {
  "use strict";

  const PAUSE_MS = 1_000; // between two fetches, at least
  const ANSWER_MS = 8_000; // until a fetch counts as lost
  const ACTIVE_MS = 10_000; // fetch without an event while something goes on,
  const IDLE_MS = 30_000; // and while nothing does
  const RETRY_MS = [1_000, 2_000, 5_000, 10_000]; // until the stream is opened again

  const main = document.getElementById("live");
  const link = document.getElementById("link");
  const linkText = document.getElementById("link-text");

  let stream = null;
  let opened = false;
  let failures = 0;
  let retry = 0;
  let fetching = false;
  let again = false;
  let next = 0;
  let confirmed = Date.now();
  let lostAt = null;
  let skew = Number(main.dataset.now) - Date.now(); // appliance's clock − ours

  // --- words; the same as those of words.rs ---

  const two = (number) => String(number).padStart(2, "0");

  function span(ms) {
    const seconds = Math.max(0, Math.floor(ms / 1_000));
    const minutes = Math.floor(seconds / 60);
    const hours = Math.floor(minutes / 60);
    if (seconds < 60) return `${seconds} s`;
    if (minutes < 60) return `${minutes} min ${two(seconds % 60)} s`;
    if (hours < 24) return `${hours} h ${two(minutes % 60)} min`;
    return `${Math.floor(hours / 24)} d ${hours % 24} h`;
  }

  function clock(ms) {
    const at = new Date(ms);
    const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
    const today = new Date().toDateString() === at.toDateString();
    const date = at.toLocaleDateString(undefined, { day: "numeric", month: "short" });
    return today ? time : `${date} ${time}`;
  }

  function put(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  // Brings every time on the page up to now.
  function tick() {
    const now = (lostAt ?? Date.now()) + skew; // what is not known does not go on
    for (const time of main.querySelectorAll("time[data-at]")) {
      const at = Number(time.dataset.at);
      if (!time.title) time.title = new Date(at).toLocaleString();
      switch (time.dataset.show) {
        case "clock": put(time, clock(at)); break;
        case "age": put(time, `${span(now - at)} ago`); break;
        case "span": put(time, span(now - at)); break;
      }
    }
    for (const bar of main.querySelectorAll("rect[data-deadline]")) {
      const since = Number(bar.dataset.since);
      const whole = Math.max(1, Number(bar.dataset.deadline) - since);
      const part = Math.min(100, Math.max(0, ((now - since) / whole) * 100));
      bar.setAttribute("width", `${part.toFixed(2)}%`);
    }
  }

  // --- the difference between two trees ---

  function morph(from, to) {
    for (const { name } of [...from.attributes]) {
      // Opened rows are the reader's; titles are put on by tick().
      if (name !== "open" && name !== "title" && !to.hasAttribute(name)) from.removeAttribute(name);
    }
    for (const { name, value } of to.attributes) {
      if (from.getAttribute(name) !== value) from.setAttribute(name, value);
    }
    const wanted = new Set();
    for (const child of to.children) if (child.id) wanted.add(child.id);
    const known = new Map();
    for (const child of [...from.children]) {
      if (!child.id) continue;
      if (wanted.has(child.id)) known.set(child.id, child);
      else child.remove();
    }
    let at = from.firstChild;
    for (const child of [...to.childNodes]) {
      const same = child.id
        ? known.get(child.id)
        : at && !at.id && at.nodeName === child.nodeName ? at : undefined;
      if (!same) {
        from.insertBefore(child, at);
        continue;
      }
      if (same === at) at = at.nextSibling;
      else from.insertBefore(same, at);
      if (same.nodeType === Node.ELEMENT_NODE) morph(same, child);
      else if (same.nodeValue !== child.nodeValue) same.nodeValue = child.nodeValue;
    }
    while (at) {
      const after = at.nextSibling;
      at.remove();
      at = after;
    }
  }

  // --- whether what stands here is true ---

  function say() {
    const live = opened && lostAt === null;
    link.className = live ? "link on" : lostAt === null ? "link" : "link off";
    document.body.classList.toggle("stale", lostAt !== null);
    if (live) put(linkText, "live");
    else if (lostAt !== null) put(linkText, `not live since ${clock(lostAt)} — reconnecting`);
    else put(linkText, "connecting");
  }

  function lost(since) {
    lostAt ??= since;
    say();
  }

  async function refresh() {
    if (fetching || document.hidden) {
      again = true;
      return;
    }
    fetching = true;
    again = false;
    clearTimeout(next);
    const cancel = new AbortController();
    const timer = setTimeout(() => cancel.abort(), ANSWER_MS);
    const asked = Date.now();
    try {
      const answer = await fetch("/live", { cache: "no-store", signal: cancel.signal });
      if (!answer.ok) throw new Error(`the appliance answered ${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("live");
      if (!fresh) throw new Error("the answer has no live part");
      morph(main, fresh);
      confirmed = Date.now();
      skew = Number(main.dataset.now) - confirmed;
      document.title = main.dataset.title;
      if (opened) lostAt = null;
      tick();
      say();
    } catch {
      lost(confirmed);
    } finally {
      clearTimeout(timer);
      fetching = false;
    }
    // A slow link is asked less often.
    const pause = Math.max(PAUSE_MS, 4 * (Date.now() - asked));
    const wait = "active" in main.dataset ? ACTIVE_MS : IDLE_MS;
    next = setTimeout(refresh, again ? pause : Math.max(wait, pause));
  }

  let changed = 0;
  // Several events in a row are one fetch, and never more than one per pause.
  function change() {
    if (fetching) {
      again = true;
      return;
    }
    if (changed) return;
    changed = setTimeout(() => {
      changed = 0;
      refresh();
    }, Math.max(0, confirmed + PAUSE_MS - Date.now()));
  }

  function listen() {
    if (stream || document.hidden) return;
    clearTimeout(retry);
    stream = new EventSource("/events");
    stream.onopen = () => {
      opened = true;
      failures = 0;
      refresh();
    };
    stream.addEventListener("change", change);
    stream.onerror = () => {
      const since = opened ? Date.now() : confirmed;
      close();
      lost(since);
      retry = setTimeout(listen, RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]);
      failures += 1;
    };
  }

  function close() {
    clearTimeout(retry);
    stream?.close();
    stream = null;
    opened = false;
  }

  // Over HTTP/1.1 a browser opens six connections to one place: with a stream
  // for each hidden tab, the seventh tab would wait for ever.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return close();
    say();
    listen();
  });
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => {
    if (event.persisted) listen();
  });

  setInterval(() => {
    if (!document.hidden) tick();
  }, 1_000);
  tick();
  say();
  listen();
})();
