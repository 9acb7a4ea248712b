// SPDX-License-Identifier: ISC
// The page: it shows the documents below api/, for which ask.js asks again and again.
import { Part, ask } from "./ask.js";
import { age, buildForm, conditions, count, element, graph, lastMinute, message, offerDestinations, row, showRows, size, tableRoles, time } from "./parts.js";

const OLD_S = 30; // a part of the page that is so much older than the destinations says so

const $ = (id) => document.getElementById(id);

const CONDITIONS = [
    ["from", "Sender", "anna@example.com, @example.com"],
    ["to", "Recipient", "anna@example.com, *@example.*"],
    ["reason", "Reason", "a part of it"],
    ["older", "Older than", "90s, 5m, 2h, 7d"],
    ["newer", "Newer than", "90s, 5m, 2h, 7d"],
    ["larger", "Larger than", "500k, 10M"],
    ["mta-id", "Queue id of the MTA", "4d2F0s1xYz"],
    ["message-id", "Message-ID", "<...@...>"],
];

let period = 10; // seconds of a period in the graphs
let lastAnswer = null; // when splitrelay answered last
let openCopy = null;
let shownCopy = "";
let after = null; // where the shown part of the queue begins: the parameter after
let before = null; // where the shown part of the history begins: the parameter before

// --- whether splitrelay answers ---

// splitrelay has answered.
function heard() {
    lastAnswer = Date.now();
    $("alarm").hidden = true;
    document.body.classList.remove("stale");
}

// Say of what time the shown parts are: the first, and those that are much older.
function showTimes() {
    const parts = [statusPart, queuePart, historyPart].filter((p) => p.shownOf !== null);
    const [first, ...others] = parts;
    const old = others.filter((p) => first.shownOf - p.shownOf > OLD_S).map((p) => `, ${p.name} as of ${time(p.shownOf)}`);
    $("updated").textContent = first ? `as of ${time(first.shownOf)}${old.join("")}` : "";
}

// splitrelay has not answered: say so, and that all that is shown is old.
function notHeard() {
    const since = lastAnswer === null ? "" : ` since ${time(lastAnswer / 1000)}; the page shows the state of that time`;
    const text = `splitrelay does not answer${since}.`;
    if ($("alarm").hidden || $("alarm").textContent !== text) {
        $("alarm").textContent = text;
    }
    $("alarm").hidden = false;
    document.body.classList.add("stale");
    $("state").textContent = "unknown";
    $("state").className = "mark warn";
}

const PAGE = { heard, notHeard, showTimes };

// --- destinations ---

function stateOf(d) {
    const lines = [];
    const reason = (text) => text && element("span", { class: "reason" }, text);
    if (d.suspended_by_administrator) {
        const s = d.suspended_by_administrator;
        lines.push(element("span", { class: "mark warn" }, s.until ? `suspended until ${time(s.until)}` : "suspended until it is resumed"), reason(s.reason || "by an administrator"));
    }
    if (d.suspended) {
        lines.push(element("span", { class: "mark bad" }, `does not answer since ${time(d.suspended.since)}`), reason(`next attempt ${time(d.suspended.until)}`), reason(d.suspended.reason));
    } else if (d.last_error) {
        lines.push(reason(d.last_error));
    }
    if (!d.configured) {
        lines.unshift(element("span", { class: "mark warn" }, "not configured"));
    } else if (!d.suspended && !d.suspended_by_administrator) {
        lines.unshift(element("span", { class: "mark good" }, "works"));
    }
    return lines.filter(Boolean);
}

function showCopiesOf(name) {
    const form = $("queue-form");
    form.reset();
    offerDestinations(form, [...new Set([...[...form.elements.destination.options].slice(1).map((o) => o.value), name])]);
    form.elements.destination.value = name;
    search();
    $("queue").scrollIntoView();
}

function destinationRow(d, now) {
    const number = (n) => [count(n), n > 0 ? "number" : "number none"];
    return row($("destination-table"), [
        [element("button", { type: "button", class: "link", "data-focus": `destination ${d.name}`, onclick: () => showCopiesOf(d.name) }, d.name)],
        [stateOf(d), "wide"],
        number(d.active), number(d.waiting), number(d.deferred), number(d.held), number(d.dead),
        [size(d.bytes), "number"],
        [d.oldest ? [age(now - d.oldest)] : "", "nowrap"],
        [[graph(d.arrived, d.sent, period), element("span", { class: "rate" }, `${count(lastMinute(d.arrived, period))} in, ${count(lastMinute(d.sent, period))} out a minute`)]],
    ]);
}

function nodeRow(n) {
    return row($("node-table"), [[n.name], [n.alive ? "alive" : n.until === null ? "stopped" : "silent"], [count(n.copies), "number"], [n.version]]);
}

function showStatus(s) {
    period = s.period;
    const names = s.destinations.map((d) => d.name);
    $("host").textContent = s.hostname;
    document.title = `splitrelay ${s.hostname}`;
    $("state").textContent = s.ready ? "takes copies" : "takes no copies";
    $("state").className = `mark ${s.ready ? "good" : "bad"}`;
    const refusal = [s.refusal, s.problem].filter(Boolean).join("; ");
    $("refusal").hidden = refusal === "";
    if ($("refusal").textContent !== refusal) {
        $("refusal").textContent = refusal;
    }
    showRows($("destination-table"), s.destinations, (d) => d.name, (d) => JSON.stringify([d, d.oldest ? age(s.time - d.oldest) : ""]), (d) => destinationRow(d, s.time));
    $("nodes").hidden = s.nodes.length === 0;
    showRows($("node-table"), s.nodes, (n) => n.name, (n) => JSON.stringify([n.alive, n.until === null, n.copies, n.version]), nodeRow);
    offerDestinations($("queue-form"), names);
    offerDestinations($("history-form"), names);
}

const statusPart = new Part(PAGE, "destinations", () => ask("status"), showStatus, (text) => {
    $("refusal").hidden = false;
    $("refusal").textContent = text;
});

// --- copies ---

const copyLink = (id, table) =>
    element("button", { type: "button", class: "link", "data-focus": `${table} ${id}`, onclick: () => showCopy(id) }, id);

const sender = (address) => (address === "" ? "<>" : address);

const RECIPIENTS_SHOWN = 5; // in a row of the table

// The recipients. A reason is shown once for the successive recipients that share it.
function recipientList(c) {
    const lines = [];
    const shown = c.recipients.slice(0, RECIPIENTS_SHOWN);
    shown.forEach((r, i) => {
        const next = shown[i + 1];
        lines.push(element("span", { class: "address" }, r.status === "queued" ? r.address : `${r.address} (${r.status})`));
        if (r.delay_reason && (next === undefined || next.delay_reason !== r.delay_reason)) {
            lines.push(element("span", { class: "reason" }, r.delay_reason));
        }
    });
    if (c.recipient_count > shown.length) {
        lines.push(element("span", { class: "reason" }, `and ${count(c.recipient_count - shown.length)} more`));
    }
    if (c.problem) {
        lines.push(element("span", { class: "reason bad" }, c.problem));
    }
    return lines;
}

function nextAttempt(c) {
    if (c.queue_name === "active") {
        return "now";
    }
    if (c.next_attempt) {
        return time(c.next_attempt);
    }
    return c.queue_name === "deferred" ? "when it is resumed" : "none";
}

function copyRow(c) {
    return row($("queue-table"), [
        [copyLink(c.queue_id, "queue"), "nowrap"],
        [c.queue_name, c.queue_name === "dead" ? "mark bad nowrap" : c.queue_name === "hold" ? "mark warn nowrap" : "nowrap"],
        [c.destination, "word"],
        [time(c.arrival_time), "nowrap"],
        [size(c.message_size), "number"],
        [sender(c.sender), "word"],
        [recipientList(c), "wide"],
        [count(c.attempts), "number"],
        [nextAttempt(c), "nowrap"],
    ]);
}

// An active copy has the present time as its next attempt, which is not shown.
const lookOfCopy = (c) => JSON.stringify(c.queue_name === "active" ? { ...c, next_attempt: null } : c);

// Show the buttons below a list, and say how much was found. begin: where the shown part begins, or null.
function showEnd(name, answer, begin, found, form) {
    $(`${name}-next`).hidden = answer.next === null;
    $(`${name}-next`).textContent = answer.incomplete ? "Search on" : $(`${name}-next`).dataset.text;
    $(`${name}-first`).hidden = begin === null;
    const n = answer.copies ? answer.copies.length : answer.events.length;
    const rest = answer.next === null ? `A narrower selection, or splitctl ${name}, finds the others.` : "\u201cSearch on\u201d goes on from there.";
    message($(`${name}-message`), answer.incomplete ? `${count(n)} found so far; the search took long and was stopped. ${rest}` : found, answer.incomplete, form);
}

let nextCopies = null;

function askQueue() {
    const parameters = conditions($("queue-form"));
    if (after !== null) {
        parameters.set("after", after);
    }
    return ask("queue", parameters);
}

function showQueue(answer) {
    const n = answer.copies.length;
    showRows($("queue-table"), answer.copies, (c) => c.queue_id, lookOfCopy, copyRow);
    nextCopies = answer.next;
    const more = answer.next !== null ? ", and there are more" : "";
    showEnd("queue", answer, after, n === 0 ? "No such copy" : `${count(n)} cop${n === 1 ? "y" : "ies"}${more}`, $("queue-form"));
}

const queuePart = new Part(PAGE, "queue", askQueue, showQueue, (text) => message($("queue-message"), text, true, $("queue-form")));

// --- history ---

function eventRow(e) {
    return row($("history-table"), [
        [time(e.time), "nowrap"],
        [copyLink(e.queue_id, `history ${e.time} ${e.result}`), "nowrap"],
        [e.destination, "word"],
        [e.result, e.result === "sent" ? "mark good nowrap" : "mark warn nowrap"],
        [sender(e.sender), "word"],
        [e.recipients, "wide"],
        [[e.relay && element("span", { class: "address" }, e.relay), e.reply && element("span", { class: "reason" }, e.reply)], "wide"],
        [count(e.attempts), "number"],
    ]);
}

let nextEvents = null;

function askHistory() {
    const parameters = conditions($("history-form"));
    if (before !== null) {
        parameters.set("before", before);
    }
    return ask("history", parameters);
}

function showHistory(answer) {
    const n = answer.events.length;
    showRows($("history-table"), answer.events, (e) => JSON.stringify(e), () => "", eventRow);
    nextEvents = answer.next;
    const more = answer.next !== null ? ", and there are older ones" : "";
    showEnd("history", answer, before, n === 0 ? "Nothing in the history" : `${count(n)} event${n === 1 ? "" : "s"}${more}`, $("history-form"));
}

const historyPart = new Part(PAGE, "history", askHistory, showHistory, (text) => message($("history-message"), text, true, $("history-form")));

// --- one copy ---

function fields(c) {
    const pairs = [
        ["Place", c.queue_name], ["Destination", c.destination], ["Node", c.node], ["Ordered", c.ordered], ["Problem", c.problem],
        ["Sender", sender(c.sender)], ["Message-ID", c.message_id], ["Queue id of the MTA", c.mta_queue_id],
        ["Size", size(c.message_size)], ["Client", `${c.client_name}[${c.client_address}]`], ["HELO", c.helo], ["Protocol", c.protocol],
        ["Needs", [c.is_8bit && "8BITMIME", c.is_utf8 && "SMTPUTF8", c.needs_requiretls && "REQUIRETLS"].filter(Boolean).join(", ")],
    ];
    return element("dl", {}, pairs.filter(([, value]) => value).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

function life(answer) {
    const c = answer.copy;
    const steps = [];
    if (c) {
        steps.push([c.arrival_time, `arrived, ${count(c.recipient_count)} recipient${c.recipient_count === 1 ? "" : "s"}`]);
        if (c.attempts > 0) {
            steps.push([null, `${count(c.attempts)} failed attempt${c.attempts === 1 ? "" : "s"}`]);
        }
    }
    for (const e of [...answer.events].reverse()) {
        steps.push([e.time, `${e.result}: ${e.recipients}${e.relay ? `, ${e.relay}` : ""}${e.reply ? ` (${e.reply})` : ""}`]);
    }
    if (c && c.queue_name !== "dead" && c.queue_name !== "hold") {
        steps.push([null, `next attempt: ${nextAttempt(c)}`]);
    }
    return element("ol", { class: "life" }, steps.map(([t, text]) => element("li", {}, t ? `${time(t)} ` : "", text)));
}

function recipientDetails(c) {
    const items = c.recipients.map((r) => element("li", {}, `${r.address}: ${r.status}`, r.delay_reason ? element("span", { class: "reason" }, r.delay_reason) : "",
        r.orcpt ? element("span", { class: "reason" }, `ORCPT ${r.orcpt}`) : ""));
    if (c.recipients_left_out > 0) {
        items.push(element("li", {}, `and ${count(c.recipients_left_out)} more, which splitctl show has`));
    }
    return [element("h3", {}, "Recipients"), element("ul", {}, items)];
}

function showLife(answer) {
    const look = JSON.stringify([answer.copy && lookOfCopy(answer.copy), answer.events]);
    if (openCopy === null || look === shownCopy) {
        return;
    }
    shownCopy = look;
    const parts = [];
    if (answer.copy) {
        parts.push(fields(answer.copy));
    }
    parts.push(element("h3", {}, "Life"), life(answer));
    if (answer.copy) {
        parts.push(...recipientDetails(answer.copy));
    }
    $("copy-content").replaceChildren(...parts);
    message($("copy-message"), answer.copy ? "" : "This copy is no longer in the queue.", false);
}

const copyPart = new Part(PAGE, "copy", () => ask(`copy/${openCopy}`), showLife, (text) => message($("copy-message"), text, true));

function showCopy(id) {
    openCopy = id;
    shownCopy = "";
    $("copy-title").textContent = `Copy ${id}`;
    $("copy-content").replaceChildren();
    message($("copy-message"), "Reading", false);
    $("copy").showModal();
    $("copy-title").focus();
    copyPart.refresh();
}

// --- running ---

// Keep the conditions in the address of the page, so that a reload keeps them.
function remember() {
    const all = new URLSearchParams();
    for (const prefix of ["queue", "history"]) {
        for (const [name, value] of conditions($(`${prefix}-form`))) {
            if (!(name === "limit" && value === "100")) {
                all.set(`${prefix}.${name}`, value);
            }
        }
    }
    const query = all.toString();
    window.history.replaceState(null, "", `${window.location.pathname}${query ? `?${query}` : ""}${window.location.hash}`);
}

function recall() {
    for (const [name, value] of new URLSearchParams(window.location.search)) {
        const [prefix, word] = name.split(".");
        const form = prefix === "queue" || prefix === "history" ? $(`${prefix}-form`) : null;
        if (form === null || word === undefined) {
            continue;
        }
        if (word === "in") {
            form.querySelectorAll("input[type=checkbox]").forEach((box) => { box.checked = value.split(",").includes(box.value); });
        } else if (word === "destination") {
            offerDestinations(form, [value]);
            form.elements.destination.value = value;
        } else if (form.elements[word] instanceof HTMLElement) {
            form.elements[word].value = value;
        }
    }
}

function search() {
    after = null;
    remember();
    queuePart.refresh();
}

function searchHistory() {
    before = null;
    remember();
    historyPart.refresh();
}

function refreshAll() {
    statusPart.refresh();
    queuePart.refresh();
    historyPart.refresh();
    if (openCopy !== null) {
        copyPart.refresh();
    }
}

function tick() {
    if (document.hidden || $("pause").checked) {
        return;
    }
    const parts = openCopy === null ? [statusPart, queuePart, historyPart] : [statusPart, copyPart];
    parts.filter((p) => Date.now() >= p.dueAt).forEach((p) => p.refresh());
}

function start() {
    document.querySelectorAll("table").forEach(tableRoles);
    buildForm($("queue-form"), "queue", CONDITIONS, ["queue", "hold", "dead"]);
    buildForm($("history-form"), "history", CONDITIONS, null);
    recall();
    for (const [id, run] of [["queue-form", search], ["history-form", searchHistory]]) {
        $(id).addEventListener("submit", (event) => {
            event.preventDefault();
            run();
        });
        $(id).addEventListener("reset", () => window.setTimeout(run)); // the fields are empty after this event
    }
    $("queue-next").addEventListener("click", () => {
        after = nextCopies;
        queuePart.refresh();
    });
    $("queue-first").addEventListener("click", search);
    $("history-next").addEventListener("click", () => {
        before = nextEvents;
        historyPart.refresh();
    });
    $("history-first").addEventListener("click", searchHistory);
    $("now").addEventListener("click", refreshAll);
    $("copy-close").addEventListener("click", () => $("copy").close());
    $("copy").addEventListener("close", () => { openCopy = null; });
    document.addEventListener("visibilitychange", tick);
    refreshAll();
    window.setInterval(tick, 1000);
}

start();
