// Loads earlier messages when one scrolls up to them; without it the same link opens a page.
(() => {
  "use strict";
  const { writeTimes, announce } = window.switchboard;
  const load = async (link) => {
    if (link.dataset.busy) return;
    link.dataset.busy = "1";
    link.textContent = "Loading…";
    try {
      const answer = await fetch(link.href, { redirect: "manual" });
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector("[data-thread]");
      const earlier = fresh?.querySelector("[data-earlier]");
      const messages = [...(fresh?.querySelectorAll(".msg") ?? [])].map((item) => document.adoptNode(item));
      // The list is anchored at its end, so what is put in front does not move what one reads.
      link.after(...messages);
      if (earlier) {
        const next = document.adoptNode(earlier);
        link.replaceWith(next);
        watch(next);
      } else link.remove();
      for (const message of messages) writeTimes(message);
      announce(`${messages.length} earlier messages`);
    } catch {
      delete link.dataset.busy;
      link.textContent = "Earlier messages could not be loaded. Try again";
    }
  };
  const watch = (link) => {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      load(link);
    });
    const box = link.closest("[data-conversation]");
    if (!box) return;
    new IntersectionObserver((entries, observer) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      load(link);
    }, { root: box, rootMargin: "200px 0px" }).observe(link);
  };
  document.querySelectorAll("[data-conversation] [data-earlier]").forEach(watch);
})();
