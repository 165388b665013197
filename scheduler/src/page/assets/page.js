// Renews what lives on the page, and knows keys. The page works without it.
"use strict";
(() => {
  const EVERY_MS = 2000;
  const PART = "polarway-part";
  const root = document.documentElement;
  const by = (id) => document.getElementById(id);
  const say = (text) => { by("say").textContent = text; };
  const kept = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
  const keep = (name, value) => { try { localStorage.setItem(name, value); } catch { /* not allowed: for this page only */ } };

  // Renewing

  let paused = kept("polarway-paused") === "yes";
  let timer = 0;
  let asking = null;
  let failures = 0;

  // Keeps where the reader is: what is focused, which details are open, how far parts are scrolled.
  function replace(old, fresh) {
    if (old.innerHTML === fresh.innerHTML) return;
    const focused = old.contains(document.activeElement) ? mark(document.activeElement) : null;
    const open = new Map([...old.querySelectorAll("details[id]")].map((one) => [one.id, one.open]));
    const scrolled = [...old.querySelectorAll(".wide, pre")].map((one) => [one.scrollLeft, one.scrollTop]);
    old.replaceChildren(...fresh.childNodes);
    for (const one of old.querySelectorAll("details[id]")) {
      if (open.has(one.id)) one.open = open.get(one.id);
    }
    [...old.querySelectorAll(".wide, pre")].forEach((one, place) => {
      if (scrolled[place]) [one.scrollLeft, one.scrollTop] = scrolled[place];
    });
    if (focused) {
      const again = [...old.querySelectorAll("a, button, summary, [tabindex]")].find((one) => mark(one) === focused);
      if (again) again.focus({ preventScroll: true });
    }
  }

  function mark(element) {
    const form = element.closest("form");
    const place = element.getAttribute("href") || (form && form.action) || element.getAttribute("aria-label") || "";
    const details = element.closest("details[id]");
    return [element.tagName, place, details ? details.id : ""].join(" ");
  }

  async function renew(address = location.href) {
    if (asking) asking.abort();
    const mine = (asking = new AbortController());
    try {
      const answer = await fetch(address, { headers: { [PART]: "main" }, signal: mine.signal });
      if (!answer.ok) throw new Error(answer.statusText);
      const part = new DOMParser().parseFromString(await answer.text(), "text/html");
      const before = stateOf(document);
      for (const old of document.querySelectorAll("main [data-live]")) {
        const fresh = part.querySelector(`[data-live="${CSS.escape(old.dataset.live)}"]`);
        if (fresh) replace(old, fresh);
      }
      const after = stateOf(document);
      if (before && after && before !== after) say(`The query is ${after}.`);
      if (failures > 1) say("The server answers again.");
      failures = 0;
    } catch (error) {
      if (error.name === "AbortError") return;
      failures += 1;
      if (failures === 2) say("The server does not answer. What is shown is not new.");
    } finally {
      if (asking === mine) asking = null;
    }
    by("pause").classList.toggle("late", failures > 1);
    show();
  }

  // Of one query's page.
  function stateOf(page) {
    const state = page.querySelector('[data-live="facts"] .state');
    return state && state.textContent;
  }

  function next() {
    clearTimeout(timer);
    if (paused || document.hidden || !document.querySelector("main [data-live]")) return;
    timer = setTimeout(async () => { await renew(); next(); }, EVERY_MS);
  }

  function show() {
    const button = by("pause");
    button.setAttribute("aria-pressed", String(paused));
    button.textContent = paused ? "Paused" : failures > 1 ? "No answer" : "Live";
  }

  function pause() {
    paused = !paused;
    keep("polarway-paused", paused ? "yes" : "no");
    say(paused ? "The page is not renewed any more." : "The page is renewed every two seconds.");
    show();
    if (!paused) renew();
    next();
  }

  // Colours: a cookie, so that the server's first answer has them.

  const THEMES = ["system", "light", "dark"];
  const theme = () => root.dataset.theme || "system";

  function paint() {
    by("theme").textContent = `Theme: ${theme()}`;
  }

  function turn() {
    const chosen = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length];
    if (chosen === "system") delete root.dataset.theme;
    else root.dataset.theme = chosen;
    const age = chosen === "system" ? 0 : 31536000;
    document.cookie = `polarway-theme=${chosen}; Path=/; Max-Age=${age}; SameSite=Strict`;
    paint();
    say(`Colours: ${chosen}.`);
  }

  // Searching as one types; the address says what is shown, so that it can be kept and sent.

  function search() {
    const form = document.querySelector("form.search");
    if (!form) return;
    let typing = 0;
    const look = async () => {
      const fields = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ""));
      const address = fields.size ? `${form.action}?${fields}` : form.action;
      history.replaceState(null, "", address);
      await renew(address);
      const found = document.querySelector('[data-live="queries"] .note');
      if (found) say(found.firstChild.textContent.split(" queries")[0] + " queries.");
      next();
    };
    form.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(look, 200); });
    form.addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(typing); look(); });
  }

  // Keys

  let going = 0;
  const PLACES = { c: "/", q: "/queries", s: "/streams" };

  function step(by) {
    const links = [...document.querySelectorAll(".queries .statement a")];
    if (!links.length) return;
    const at = links.indexOf(document.activeElement);
    const to = at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(Math.max(at + by, 0), links.length - 1);
    links[to].focus();
  }

  function help() {
    const dialog = by("keys");
    if (dialog.open) dialog.close();
    else dialog.showModal();
  }

  function key(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select, textarea") || !by("keys-on").checked) return;
    if (by("keys").open && event.key !== "?") return;
    if (Date.now() - going < 1500 && PLACES[event.key]) {
      going = 0;
      location.assign(PLACES[event.key]);
      return;
    }
    going = 0;
    const acts = {
      "?": help,
      "/": () => by("q") ? by("q").focus() : location.assign("/queries"),
      g: () => { going = Date.now(); },
      j: () => step(1),
      k: () => step(-1),
      p: pause,
      t: turn,
    };
    const act = acts[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  document.querySelector(".tools").hidden = false;
  by("pause").addEventListener("click", pause);
  by("theme").addEventListener("click", turn);
  by("help").addEventListener("click", help);
  by("keys-on").checked = kept("polarway-keys") !== "off";
  by("keys-on").addEventListener("change", (event) => keep("polarway-keys", event.target.checked ? "on" : "off"));
  document.addEventListener("keydown", key);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && !paused) renew(); next(); });
  paint();
  show();
  search();
  next();
})();
