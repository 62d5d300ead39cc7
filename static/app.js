// What every page gains with a script: times in the reader's zone, copying, the theme without a
// reload, choosing rows, and what a chart says under the pointer. Each page works without it.
(() => {
  "use strict";
  const announce = (text) => {
    const box = document.getElementById("announce");
    if (box) box.textContent = text;
  };

  const formats = {
    moment: { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" },
    date: { day: "numeric", month: "short", year: "numeric" },
    day: { day: "numeric", month: "short" },
    clock: { hour: "2-digit", minute: "2-digit" },
  };
  // The page's language is English; only the zone is the reader's, and days come before months.
  const writers = {};
  const writer = (style) =>
    (writers[style] ??= new Intl.DateTimeFormat("en-GB", { ...formats[style], hourCycle: "h23" }));
  const ago = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "long" });
  const steps = [[60, "second"], [60, "minute"], [24, "hour"], [30, "day"], [12, "month"], [Infinity, "year"]];
  const relative = (moment) => {
    let amount = (moment - Date.now()) / 1000;
    if (Math.abs(amount) < 45) return "just now";
    for (const [size, unit] of steps) {
      if (Math.abs(amount) < size) return ago.format(Math.round(amount), unit);
      amount /= size;
    }
    return "";
  };
  const writeTimes = (root = document) => {
    for (const element of root.querySelectorAll("time[data-time]")) {
      const moment = new Date(element.dateTime);
      if (Number.isNaN(moment.getTime())) continue;
      const style = element.dataset.time;
      element.textContent = style === "relative" ? relative(moment) : writer(formats[style] ? style : "moment").format(moment);
      // A relative time keeps its local reading too; UTC is on hover for every one.
      element.dataset.utc ??= element.title;
      element.title = style === "relative" ? `${writer("moment").format(moment)} here, ${element.dataset.utc}` : element.dataset.utc;
    }
  };

  const showScripted = (root = document) => {
    for (const element of root.querySelectorAll("[data-copy][hidden], [data-select-all][hidden], [data-hint][hidden]")) element.hidden = false;
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = document.querySelector(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
      announce("Copied");
      button.classList.add("primary");
      setTimeout(() => button.classList.remove("primary"), 1200);
    } catch {
      getSelection().selectAllChildren(source);
      announce("Press Ctrl and C to copy");
    }
  });

  document.addEventListener("submit", (event) => {
    const form = event.target.closest("[data-theme-switch]");
    if (!form || !event.submitter) return;
    event.preventDefault();
    const theme = event.submitter.value;
    const body = new URLSearchParams(new FormData(form, event.submitter));
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    for (const button of form.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.value === theme));
    fetch(form.action, { method: "POST", body, redirect: "manual" }).catch(() => {});
  });

  for (const form of document.querySelectorAll("[data-select-form]")) {
    const boxes = [...form.querySelectorAll('input[name="user_id"]')];
    const all = form.querySelector("[data-select-all] input");
    const count = form.querySelector("[data-select-count]");
    if (!boxes.length || !all) continue;
    const show = () => {
      const chosen = boxes.filter((box) => box.checked).length;
      all.checked = chosen === boxes.length;
      all.indeterminate = chosen > 0 && chosen < boxes.length;
      if (count) count.textContent = chosen ? `${chosen} selected` : "";
      for (const button of form.querySelectorAll("[data-select-needs]")) button.disabled = !chosen;
    };
    all.addEventListener("change", () => {
      for (const box of boxes) box.checked = all.checked;
      show();
    });
    let last = null;
    for (const box of boxes) {
      box.addEventListener("click", (event) => {
        if (event.shiftKey && last) {
          const [from, to] = [boxes.indexOf(last), boxes.indexOf(box)].sort((a, b) => a - b);
          for (const between of boxes.slice(from, to + 1)) between.checked = box.checked;
        }
        last = box;
        show();
      });
    }
    addEventListener("pageshow", show);
    show();
  }

  // A chart's bucket says its figures under the pointer; the table beside it says them to all.
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true");
  const showTip = (hit) => {
    const area = hit.closest("[data-chart]");
    const head = document.createElement("strong");
    head.textContent = writer("moment").format(new Date(Number(hit.dataset.at)));
    tip.replaceChildren(head, hit.dataset.text.replace(/^.*? UTC: /, ""));
    area.append(tip);
    tip.hidden = false;
    const box = area.getBoundingClientRect();
    const mark = hit.getBoundingClientRect();
    const left = mark.left + mark.width / 2 - box.left - tip.offsetWidth / 2;
    tip.style.left = `${Math.max(0, Math.min(left, box.width - tip.offsetWidth))}px`;
    tip.style.top = `${-tip.offsetHeight / 2}px`;
  };
  document.addEventListener("pointerover", (event) => {
    const hit = event.target.closest?.(".hit");
    if (hit) {
      // The browser's own tooltip would stand beside ours.
      const title = hit.querySelector("title");
      if (title) {
        hit.dataset.text = title.textContent;
        title.remove();
      }
      showTip(hit);
    } else tip.hidden = true;
  });

  // "/" goes to the search field, as in other consoles, unless one is writing.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable]")) return;
    const field = document.querySelector('input[type="search"]');
    if (field) {
      event.preventDefault();
      field.focus();
      field.select();
    }
  });

  window.switchboard = { announce, writeTimes, showScripted };
  showScripted();
  writeTimes();
  setInterval(() => writeTimes(), 30000);
})();
