"use strict";
// The server sends the regions that have changed. Each is compared with what is shown, node by node, and only what differs is
// touched: focus, selection, ticks and scrolling stay where they are.
function patch(old, now) {
  if (old.nodeType !== now.nodeType || old.nodeName !== now.nodeName) {
    old.replaceWith(now.cloneNode(true));
  } else if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== now.data) old.data = now.data;
  } else if (old.nodeType === Node.ELEMENT_NODE) {
    for (const { name } of [...old.attributes]) {
      if (name !== "open" && !now.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const { name, value } of now.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const here = [...old.childNodes];
    const there = [...now.childNodes];
    here.slice(there.length).forEach((node) => node.remove());
    there.forEach((node, i) => (i < here.length ? patch(here[i], node) : old.append(node.cloneNode(true))));
  }
}

const link = document.getElementById("link");
const events = new EventSource("/events" + location.pathname + location.search);
events.onopen = () => { link.hidden = true; };
events.onerror = () => { link.hidden = false; };
events.onmessage = (event) => {
  for (const [id, html] of Object.entries(JSON.parse(event.data))) {
    const old = document.getElementById(id);
    if (!old) continue;
    const now = old.cloneNode(false);
    now.innerHTML = html;
    patch(old, now);
  }
};
