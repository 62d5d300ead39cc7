// Keeps an open overview current: fetches the same address and swaps the marked parts in place,
// so that scroll, focus, open tables and the address stay as the reader left them.
(() => {
  "use strict";
  const root = document.querySelector("[data-live]");
  if (!root || !window.DOMParser) return;
  const every = Number(root.dataset.live) * 1000;
  const toggle = document.querySelector("[data-live-toggle]");
  const { writeTimes, showScripted, announce } = window.switchboard;
  let paused = false;
  let failures = 0;

  const swap = (page) => {
    for (const part of document.querySelectorAll("[data-live-part]")) {
      const fresh = page.querySelector(`[data-live-part="${part.dataset.livePart}"]`);
      // What one is reading with the keyboard or the pointer is left alone this time.
      if (!fresh || part.contains(document.activeElement) || part.matches(":hover:has(.hit:hover)")) continue;
      const open = [...part.querySelectorAll("details[open][data-keep]")].map((item) => item.dataset.keep);
      const scrolled = [...part.querySelectorAll(".data-scroll")].map((item) => item.scrollTop);
      part.replaceChildren(...document.adoptNode(fresh).childNodes);
      for (const item of part.querySelectorAll("details[data-keep]")) item.open = open.includes(item.dataset.keep);
      part.querySelectorAll(".data-scroll").forEach((item, index) => { item.scrollTop = scrolled[index] ?? 0; });
      writeTimes(part);
      showScripted(part);
    }
  };

  const refresh = async () => {
    if (paused || document.hidden) return;
    try {
      const answer = await fetch(location.href, { headers: { "X-Live-Refresh": "1" }, redirect: "manual" });
      if (!answer.ok) throw new Error(String(answer.status));
      swap(new DOMParser().parseFromString(await answer.text(), "text/html"));
      failures = 0;
    } catch {
      failures += 1;
      const clock = document.querySelector('[data-live-part="clock"]');
      if (clock && failures === 2) {
        clock.append(" · could not be refreshed, trying again");
        announce("The overview could not be refreshed");
      }
    }
  };

  if (toggle) {
    toggle.hidden = false;
    toggle.addEventListener("click", () => {
      paused = !paused;
      toggle.lastElementChild.textContent = paused ? "Go on refreshing" : "Pause";
      announce(paused ? "Refreshing is paused" : "Refreshing goes on");
      if (!paused) refresh();
    });
  }
  setInterval(refresh, every);
  document.addEventListener("visibilitychange", refresh);
})();
