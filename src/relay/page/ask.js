// SPDX-License-Identifier: ISC
// How the page asks splitrelay for documents.

const REFRESH_MS = 5000;
const COST_SHARE = 50; // a document that took t to make is asked for again after 50 t at the earliest
const TIMEOUT_MS = 20000;

class Refused extends Error { // splitrelay answered that it does not, perhaps for some seconds
    constructor(text, seconds = 0) {
        super(text);
        this.seconds = seconds;
    }
}
class Silent extends Error {} // splitrelay did not answer

// A name and password in the address of the page must not be in that of a document: fetch() refuses it.
const BASE = window.location.origin + window.location.pathname.replace(/[^/]*$/, "");

async function fetchText(path) {
    try {
        const response = await fetch(BASE + path, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
        return [response, await response.text()];
    } catch (e) {
        throw new Silent(e.message);
    }
}

// Return the document api/PATH. Throws Refused or Silent.
export async function ask(path, parameters) {
    const query = parameters ? parameters.toString() : "";
    const [response, text] = await fetchText(`api/${path}${query ? `?${query}` : ""}`);
    let answer;
    try {
        answer = JSON.parse(text);
    } catch {
        throw new Refused(`${response.status}: the answer is not that of splitrelay`);
    }
    if (!response.ok) {
        throw new Refused(answer.error || String(response.status), answer.retry_after || 0);
    }
    return answer;
}

// A part of the page that is asked for again and again: get() returns a document, show() shows it, fault() shows why
// splitrelay has none. page: { heard(), notHeard(), showTimes() } are called after an answer, without one, and when the
// time of the document that is shown has changed.
export class Part {
    constructor(page, name, get, show, fault) {
        this.page = page;
        this.name = name;
        this.get = get;
        this.show = show;
        this.fault = fault;
        this.dueAt = 0;
        this.turn = 0;
        this.shownOf = null; // the time of the document that is shown
    }

    // Ask now. An answer to an older question is dropped.
    async refresh() {
        const turn = ++this.turn;
        this.dueAt = Date.now() + TIMEOUT_MS;
        try {
            const answer = await this.get();
            this.page.heard();
            if (turn === this.turn) {
                this.dueAt = Date.now() + Math.max(REFRESH_MS, (answer.took || 0) * 1000 * COST_SHARE);
                this.show(answer);
                this.shownOf = answer.time;
                this.page.showTimes();
            }
        } catch (e) {
            if (turn === this.turn) {
                this.dueAt = Date.now() + Math.max(REFRESH_MS, (e.seconds || 0) * 1000);
            }
            if (e instanceof Refused) {
                this.page.heard();
                this.fault(e.message);
            } else if (e instanceof Silent) {
                this.page.notHeard();
            } else {
                throw e;
            }
        }
    }
}
