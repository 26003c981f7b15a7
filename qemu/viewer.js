// The page of viewer.py: a button for each guest that runs, and its screen, or the text on its console where it has none.
import RFB from "./novnc/core/rfb.js";

const LOOK = 1000; // milliseconds between two looks at what runs

const encoded = (name) => name.split("/").map(encodeURIComponent).join("/");
const part = (id) => document.getElementById(id);
let guests = [];
let chosen = null; // a name
let rfb = null;

function say(text) {
  part("state").textContent = text;
}

function leave() {
  if (rfb) {
    rfb.disconnect();
    rfb = null;
  }
}

function choose(name) {
  leave();
  chosen = name;
  part("console").textContent = "";
  show();
}

function connect(name) {
  const address = new URL(`screen/${encoded(name)}`, location.href);
  address.protocol = "ws:";
  const mine = new RFB(part("screen"), address.href);
  mine.scaleViewport = true;
  mine.addEventListener("connect", () => {
    say(`${name}: connected; keys and mouse go to it`);
    mine.focus();
  });
  mine.addEventListener("disconnect", () => {
    if (rfb === mine) {
      rfb = null;
      say(`${name}: not connected`);
    }
  });
  rfb = mine;
}

async function readConsole(name) {
  const text = await (await fetch(`console/${encoded(name)}`)).text();
  const box = part("console");
  const atEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 4;
  if (chosen === name && box.textContent !== text) {
    box.textContent = text;
    if (atEnd) box.scrollTop = box.scrollHeight;
  }
}

function show() {
  const buttons = guests.map((guest) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = guest.name;
    button.setAttribute("aria-pressed", guest.name === chosen);
    button.addEventListener("click", () => choose(guest.name));
    return button;
  });
  part("guests").replaceChildren(...buttons);
  const guest = guests.find((one) => one.name === chosen);
  part("screen").hidden = !guest?.screen;
  part("keys").hidden = !guest?.screen;
  part("console").hidden = !guest || guest.screen;
  if (!guest) {
    leave();
    say(chosen ? `${chosen}: does not run any more` : "no guest runs yet");
  } else if (guest.screen) {
    if (!rfb) connect(guest.name);
  } else {
    say(`${guest.name}: has no screen; this is its console`);
    readConsole(guest.name);
  }
}

async function look() {
  try {
    const found = await (await fetch("guests.json")).json();
    const changed = JSON.stringify(found) !== JSON.stringify(guests);
    guests = found;
    chosen ??= guests.find((guest) => guest.screen)?.name ?? null;
    const guest = guests.find((one) => one.name === chosen);
    if (changed || !guest || !guest.screen || !rfb) show();
  } catch {
    leave();
    say("wsklab has ended");
  }
  setTimeout(look, LOOK);
}

part("keys").addEventListener("click", () => {
  rfb?.sendCtrlAltDel();
  rfb?.focus();
});
look();
