// Streams a turn into the page and lets one stop it; without it the form is sent and answered whole.
(() => {
  "use strict";
  const form = document.querySelector("[data-playground]");
  if (!form || !window.ReadableStream) return;
  const { announce } = window.switchboard;
  const thread = form.querySelector("[data-thread]");
  const box = form.querySelector("[data-conversation]");
  const usage = form.querySelector("[data-usage]");
  const send = form.querySelector("[data-send]");
  const stop = form.querySelector("[data-stop]");
  const field = form.querySelector('textarea[name="message"]');
  const number = (value) => Number(value ?? 0).toLocaleString("en");
  let running = null;

  const add = (role, who, text) => {
    const article = document.createElement("article");
    article.className = `msg ${role}`;
    article.setAttribute("aria-label", who);
    const head = document.createElement("header");
    head.className = "who";
    const name = document.createElement("strong");
    name.textContent = who;
    head.append(name);
    const body = document.createElement("div");
    body.className = role === "tool" ? "call" : "body";
    body.dir = "auto";
    body.textContent = text;
    article.append(head, body);
    thread.append(article);
    box.scrollTop = 0;
    return { article, body };
  };

  // Server-sent events: blocks parted by an empty line, each with an event and lines of data.
  async function* events(stream) {
    const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
    let held = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      held = (held + value).replace(/\r\n?/g, "\n");
      let end;
      while ((end = held.indexOf("\n\n")) >= 0) {
        const event = { name: "message", data: "" };
        for (const line of held.slice(0, end).split("\n")) {
          if (line.startsWith("event:")) event.name = line.slice(6).trim();
          else if (line.startsWith("data:")) event.data += line.slice(5).replace(/^ /, "");
        }
        held = held.slice(end + 2);
        if (event.data) yield { name: event.name, data: JSON.parse(event.data) };
      }
    }
  }

  const fail = (answer, text) => {
    answer.article.classList.add("failed");
    answer.body.textContent += (answer.body.textContent ? "\n\n" : "") + text;
    announce(text);
  };

  const turn = async (text) => {
    running = new AbortController();
    send.disabled = true;
    stop.hidden = false;
    add("user", "User", text);
    let answer = add("assistant", "Agent", "");
    answer.article.classList.add("running");
    const began = performance.now();
    let first = 0;
    let finished = false;
    try {
      const body = new URLSearchParams(new FormData(form));
      body.set("message", text);
      const reply = await fetch(form.dataset.stream, { method: "POST", body, signal: running.signal, headers: { Accept: "text/event-stream" }, redirect: "manual" });
      if (!reply.ok || !(reply.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
        const problem = await reply.json().catch(() => ({}));
        throw new Error(problem.error ?? (reply.type === "opaqueredirect" ? "You were signed out. Sign in again in another tab; your message is kept here." : `The server answered ${reply.status}.`));
      }
      for await (const { name, data } of events(reply.body)) {
        if (name === "delta") {
          first ||= performance.now() - began;
          answer.body.textContent += data.text ?? "";
        } else if (name === "tool") {
          const call = add("tool", "Tool", `${data.name}: ${data.status}`);
          thread.insertBefore(call.article, answer.article);
        } else if (name === "done") {
          finished = true;
          answer.body.textContent = data.reply ?? answer.body.textContent;
          const used = data.usage ?? {};
          usage.textContent = `${number(used.input_tokens)} tokens in, ${number(used.output_tokens)} out · first token ${number(Math.round(first))} ms · ${number(Math.round(performance.now() - began))} ms`;
          announce("The answer is complete");
          if (data.pending_calls?.length) {
            const place = new URL(location.pathname, location.href);
            place.searchParams.set("user_id", data.user_id);
            place.searchParams.set("session_id", data.session_id);
            location.assign(place);
          }
        } else if (name === "error") throw new Error(data.error ?? "The turn failed.");
      }
      if (!finished) throw new Error("The connection ended before the answer did. Nothing was stored.");
      field.value = "";
    } catch (problem) {
      if (problem.name === "AbortError") fail(answer, "Stopped. Nothing of this turn was stored.");
      else fail(answer, problem.message);
    } finally {
      answer.article.classList.remove("running");
      running = null;
      send.disabled = false;
      stop.hidden = true;
      field.focus();
    }
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!running && form.reportValidity()) turn(field.value);
  });
  stop.addEventListener("click", () => running?.abort());
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
})();
