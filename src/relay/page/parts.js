// SPDX-License-Identifier: ISC
// What the page is built from: elements, texts, graphs, forms. All text from outside goes into text nodes and attributes, never into HTML.

// Characters that are invisible or change the direction of what follows. A sender can put them into an address or a Message-ID.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

export function clean(text) {
    return String(text).replace(HIDDEN, "\ufffd");
}

// Make an element. children: elements and texts; false, null and "" are left out.
export function element(name, attributes = {}, ...children) {
    const e = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
        if (key === "onclick") {
            e.addEventListener("click", value);
        } else if (value === true) {
            e.setAttribute(key, "");
        } else if (value !== false && value !== null) {
            e.setAttribute(key, value);
        }
    }
    e.append(...children.flat().filter((c) => c !== false && c !== null && c !== "").map((c) => (c instanceof Node ? c : clean(c))));
    return e;
}

const two = (n) => String(n).padStart(2, "0");

// A time in seconds since 1970, in the browser's time zone; without the date if that is today.
export function time(seconds) {
    if (seconds === null || seconds === undefined) {
        return "";
    }
    const t = new Date(seconds * 1000);
    const clock = `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}`;
    if (t.toDateString() === new Date().toDateString()) {
        return clock;
    }
    return `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())} ${clock}`;
}

// A duration in the largest unit in which it is at least 2, as splitctl status has it.
export function age(seconds) {
    const s = Math.max(0, Math.round(seconds));
    if (s >= 2 * 86400) {
        return `${Math.floor(s / 86400)} d`;
    }
    if (s >= 2 * 3600) {
        return `${Math.floor(s / 3600)} h`;
    }
    return s >= 120 ? `${Math.floor(s / 60)} min` : `${s} s`;
}

export function size(bytes) {
    for (const [unit, least] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
        if (bytes >= least) {
            return `${(bytes / least).toFixed(bytes >= 10 * least ? 0 : 1)} ${unit}`;
        }
    }
    return `${bytes} B`;
}

export function count(n) {
    return String(n).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

const SVG = "http://www.w3.org/2000/svg";

function shape(name, attributes) {
    const e = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) {
        e.setAttribute(key, value);
    }
    return e;
}

// The numbers of the last minute: those of the last complete periods.
export function lastMinute(periods, seconds) {
    const n = Math.max(1, Math.round(60 / seconds));
    return periods.slice(-n - 1, -1).reduce((sum, x) => sum + x, 0);
}

// A graph of what arrived (dashed) and what was delivered (filled), one point for each period. The last period is not over and is left out.
export function graph(arrived, sent, seconds) {
    const width = arrived.length - 2;
    const highest = Math.max(1, ...arrived.slice(0, -1), ...sent.slice(0, -1));
    const points = (periods) => periods.slice(0, -1).map((n, i) => `${i},${(20 - (19 * n) / highest).toFixed(2)}`).join(" ");
    const svg = shape("svg", { class: "graph", viewBox: `0 0 ${width} 20`, preserveAspectRatio: "none", role: "img" });
    const text = `In the last minute ${lastMinute(arrived, seconds)} arrived and ${lastMinute(sent, seconds)} were delivered; `
        + `the highest value of the graph is ${Math.round((highest * 60) / seconds)} a minute`;
    svg.setAttribute("aria-label", text);
    svg.append(shape("polygon", { class: "sent", points: `0,20 ${points(sent)} ${width},20` }));
    svg.append(shape("polyline", { class: "arrived", points: points(arrived) }));
    return svg;
}

// Give tables their roles: the style for telephones shows rows as blocks, and browsers would then not call them tables.
export function tableRoles(table) {
    table.setAttribute("role", "table");
    table.querySelectorAll("thead, tbody").forEach((e) => e.setAttribute("role", "rowgroup"));
    table.querySelectorAll("thead tr").forEach((e) => e.setAttribute("role", "row"));
    table.querySelectorAll("thead th").forEach((e) => e.setAttribute("role", "columnheader"));
}

// Make a row. cells: [content, class] in the order of the columns; the first cell is the row's header.
export function row(table, cells) {
    const names = [...table.querySelectorAll("thead th")].map((th) => th.textContent);
    return element("tr", { role: "row" }, cells.map(([content, style], i) =>
        element(i === 0 ? "th" : "td", {
            class: style || false, scope: i === 0 ? "row" : false, role: i === 0 ? "rowheader" : "cell", "data-name": i === 0 ? false : names[i],
        }, ...[content].flat())));
}

// Show these items as rows. A row that would look the same stays as it is, so that focus and selected text stay, too.
// key(item) names the row, build(item) makes it; look(item): a text that differs if the row looks different.
export function showRows(table, items, key, look, build) {
    const body = table.tBodies[0];
    const old = new Map([...body.rows].map((tr) => [tr.dataset.key, tr]));
    const focus = document.activeElement && body.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
    const rows = items.map((item) => {
        const tr = old.get(key(item));
        if (tr !== undefined && tr.dataset.look === look(item)) {
            return tr;
        }
        const fresh = build(item);
        fresh.dataset.key = key(item);
        fresh.dataset.look = look(item);
        return fresh;
    });
    const isSame = rows.length === body.rows.length && rows.every((tr, i) => tr === body.rows[i]);
    if (isSame) {
        return;
    }
    body.replaceChildren(...rows);
    if (focus) {
        const again = [...body.querySelectorAll("[data-focus]")].find((e) => e.dataset.focus === focus);
        if (again) {
            again.focus({ preventScroll: true });
        }
    }
}

// --- forms ---

function field(prefix, [name, title, hint]) {
    const input = element("input", { name, id: `${prefix}-${name}`, type: "text", placeholder: hint, spellcheck: "false", maxlength: "500" });
    return element("label", {}, title, input);
}

// Fill a form with the conditions that splitctl knows. fields: [name, title, hint].
export function buildForm(form, prefix, fields, places) {
    form.append(element("label", {}, "Destination", element("select", { name: "destination", id: `${prefix}-destination` }, element("option", { value: "" }, "all"))));
    if (places) {
        form.append(element("fieldset", {}, element("legend", {}, "Place"), places.map((place) =>
            element("label", {}, element("input", { type: "checkbox", name: "in", value: place, checked: true }), place))));
    }
    form.append(...fields.map((f) => field(prefix, f)));
    form.append(element("label", {}, "At most", element("select", { name: "limit", id: `${prefix}-limit` },
        ["50", "100", "500"].map((n) => element("option", { value: n, selected: n === "100" }, n)))));
    form.append(element("div", { class: "buttons" }, element("button", { type: "submit" }, "Search"), element("button", { type: "reset" }, "Clear")));
}

// The conditions of a form as parameters of a document. All places together are no condition.
export function conditions(form) {
    const p = new URLSearchParams();
    const boxes = [...form.querySelectorAll("input[type=checkbox]")];
    const places = boxes.filter((b) => b.checked).map((b) => b.value);
    for (const e of form.elements) {
        if (e.name && e.type !== "checkbox" && e.value.trim() !== "") {
            p.set(e.name, e.value.trim());
        }
    }
    if (places.length > 0 && places.length < boxes.length) {
        p.set("in", places.join(","));
    }
    return p;
}

// Offer these destinations, and keep the one that is chosen.
export function offerDestinations(form, names) {
    const select = form.elements.destination;
    const present = [...select.options].slice(1).map((o) => o.value);
    if (JSON.stringify(present) === JSON.stringify(names)) {
        return;
    }
    const chosen = select.value;
    const all = chosen === "" || names.includes(chosen) ? names : [...names, chosen];
    select.replaceChildren(select.options[0], ...all.map((n) => element("option", { value: n }, n)));
    select.value = chosen;
}

// Show a message below a form. A fault that names a field marks it.
export function message(paragraph, text, isFault, form) {
    const shown = clean(text);
    if (paragraph.textContent !== shown) {
        paragraph.textContent = shown;
    }
    paragraph.classList.toggle("bad", Boolean(isFault));
    for (const e of form ? form.elements : []) {
        if (e.name && isFault && text.startsWith(`${e.name}: `)) {
            e.setAttribute("aria-invalid", "true");
        } else if (e.name) {
            e.removeAttribute("aria-invalid");
        }
    }
}
