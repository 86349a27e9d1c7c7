"""A deck of pairs in the browser: looked at in a grid, judged one by one or two dozen at a time, without waiting.

On the page of pairs (mode `page`) it has the two crops and the buttons, and the page follows with the large pictures.

The browser holds the queue and what was said; an answer is shown at once, and saved behind it. All verdicts that the
server has not confirmed are sent again with the next ones, each with its number, so that none is lost or counted twice,
however fast the keys are. Streamlit's own buttons run the page for each press, and drop those that come meanwhile.

Streamlit may take a component away and put it up again, and a reader goes to another page and comes back: what a deck
has come to, and what undo takes back, is the window's, by the name of the queue; so is what was not saved, which the
next page sends (`pair_outbox`).
"""

from __future__ import annotations

from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

HTML = '<div class="live" role="status" aria-live="polite"></div><div class="deck" tabindex="-1"></div>'
CSS = """
.deck { font: 14px var(--st-font); color: var(--st-text-color); outline: none; user-select: none; position: relative; }
.live { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.bar { display: flex; gap: 8px; align-items: center; flex-wrap: wrap; margin-bottom: 8px; }
.bar .said { flex: 1; min-width: 200px; }
button { font: inherit; color: inherit; background: var(--st-secondary-background-color); cursor: pointer;
         border: 1px solid var(--st-border-color); border-radius: 8px; padding: 4px 12px; }
button:hover, button:focus-visible { border-color: var(--st-primary-color); }
button.on { background: var(--st-primary-color); color: #fff; }
.one { display: grid; grid-template-columns: 1fr 1fr; gap: 12px; }
.one figure { margin: 0; display: grid; grid-template-columns: 5fr 2fr; gap: 6px; align-items: start; }
.one img { width: 100%; object-fit: contain; display: block; border-radius: 6px; }
.one .whole { height: min(400px, 42vh); background: var(--st-secondary-background-color); }
.one .crop { height: min(200px, 21vh); background: var(--st-secondary-background-color); }
.one figcaption { grid-column: 1 / 3; }
.sides { display: grid; grid-template-columns: 1fr 1fr; gap: 8px; max-width: 520px; }
.sides figure { margin: 0; min-width: 0; }
.sides img { width: 100%; height: 100px; object-fit: contain; display: block;
             background: var(--st-secondary-background-color); }
.one figcaption, .sides figcaption { border-left: 4px solid; padding-left: 6px; }
.page .bar { gap: 6px; margin-bottom: 6px; }
.page .bar .said { order: 1; flex: 1 0 100%; }
.page .waiting { min-height: 150px; }
.grid { display: grid; gap: 8px; grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); }
.card { border: 3px solid var(--st-border-color); border-radius: 8px; padding: 3px; cursor: pointer; overflow: hidden; }
.card img { width: calc(50% - 2px); aspect-ratio: 1; object-fit: contain; vertical-align: top;
            background: var(--st-secondary-background-color); }
.card img + img { margin-left: 4px; }
.card:focus-visible { outline: 3px solid var(--st-primary-color); }
.text { font-size: 12px; line-height: 1.3; padding: 2px 2px 0; overflow-wrap: anywhere; }
.one .text { font-size: 14px; }
@media (max-width: 700px) {
  .bar .said { flex: 1 0 100%; }
  button { padding: 4px 8px; }
  .one { grid-template-columns: 1fr; }
  .one .whole { height: 30vh; } .one .crop { height: 15vh; }
}
.accepted { border-color: #009E73; } .rejected, .marked { border-color: #D55E00; }
.marked img { opacity: 0.45; }
.verdict { font-weight: 600; } .verdict.accepted { color: #009E73; } .verdict.rejected { color: #D55E00; }
.frame { position: fixed; border: 2px dashed var(--st-primary-color); pointer-events: none; z-index: 1000; }
.waiting { min-height: 300px; opacity: 0.7; }
"""
SCRIPT = """
const SIGN = { accepted: '✓ accepted', rejected: '✗ rejected', '': '' };
const SEND = 250;  // milliseconds in which verdicts are gathered while others are on their way
const AHEAD = 8;  // pairs that are fetched before they are looked at
const QUIET = 500;  // milliseconds after which those are fetched that nobody waits for yet
const FOLLOW = 150;  // milliseconds of quiet after which the page follows to the pair that is looked at
const KEPT = 4;  // queues that a window knows
const kept = window.orlDecks ??= new Map();

export default function (sent) {
    const host = sent.parentElement, id = sent.data.session + sent.data.queue + sent.data.mode;
    if (host.deck?.id !== id) {  // another queue
        takeDown(host);
        host.deck = make(host, id, sent, kept.get(id) ?? {});
        kept.delete(id);
    }
    const deck = host.deck;
    deck.update(sent);
    return () => { if (deck.last() === sent) takeDown(host); };
}

function takeDown(host) {
    if (!host.deck) return;
    const { id, stop, last } = host.deck, state = stop();
    delete host.deck;
    if (last().data.mode === 'look') return;  // nothing is said there, and paging through it forgets no queue
    kept.set(id, state);  // as the newest one
    const done = [...kept].filter(([, one]) => !one.waiting.length);  // for the others see `pair_outbox`
    done.slice(0, Math.max(0, kept.size - KEPT)).forEach(([name]) => kept.delete(name));
}

function make(host, id, first, held) {
    const root = host.querySelector('.deck'), live = host.querySelector('.live'), mode = first.data.mode;
    const single = mode === 'one' || mode === 'page', step = single ? 1 : first.data.count;
    const { client = crypto.randomUUID?.() ?? String(Math.random()), past = [] } = held;
    const { cards = new Map(), verdicts = new Map(), marked = new Set() } = held;
    let { at = first.data.start ?? 0, number = 0, waiting = [] } = held, last = first, timer = 0, asked = '';
    let total = first.data.total, ended = true, following = 0, told = first.data.at, later = 0, wanted = [];
    let { asks = 0 } = held, sent = 0, dragged = null, clean = true, pressed = false, stale = false;
    const at_once = () => Array.from({ length: step }, (_, n) => at + n).filter(n => n < total);

    const element = (name, options = {}, ...inside) => {
        const made = Object.assign(document.createElement(name), options);
        made.append(...inside);
        return made;
    };

    // ---- the server ----
    const ask = patient => {
        if (mode === 'look') return;
        clearTimeout(later);
        const from = at, to = Math.min(total, at + step + (single ? AHEAD : step)), missing = [];
        for (let n = from; n < to; n += 1) if (!cards.has(n)) missing.push(n);
        if (mode === 'page' && !patient && cards.has(at) && cards.has(at + 1)) {
            later = setTimeout(() => ask(true), QUIET);
            return;
        }
        if (mode === 'page' && !missing.length && to < total) return;  // all is here, and there is more behind it
        const want = JSON.stringify([missing.slice(0, 24), from, to, total]);
        if (want === asked) return;
        [asked, wanted] = [want, missing.slice(0, 24)];
        asks += 1;  // so that the same question, asked again, is another one
        last.setStateValue('want', { queue: last.data.queue, client, asks, missing: wanted, from, to });
    };
    const send = () => {
        clearTimeout(timer);
        timer = 0;
        // A trigger: Streamlit forgets a state that waits for its turn while the reader goes to another page.
        if (waiting.length) last.setTriggerValue('said', { client, verdicts: [...waiting] });
        sent = number;
    };
    const follow = () => {  // the page shows what the deck has come to
        const pair = cards.get(at)?.pair;
        clearTimeout(following);
        if (mode !== 'page' || pair === undefined || pair === told) return;
        following = setTimeout(() => { told = pair; send(); last.setStateValue('at', pair); }, FOLLOW);
    };
    const say = (n, verdict) => {
        const pair = cards.get(n)?.pair;
        if (pair === undefined) return false;
        number += 1;
        waiting.push({ number, pair, verdict });
        verdicts.set(n, verdict);
        if (single) live.textContent = `${cards.get(n).name ?? 'Pair ' + (n + 1)}: ${verdict || 'verdict taken back'}.`;
        timer ||= setTimeout(send, waiting[0].number > sent ? 0 : SEND);  // the first ones at once
        return true;
    };

    // ---- what a person does ----
    // Presses wait for the picture that they are about, in their order: none is lost while the server is slow.
    const presses = [], there = () => at < total ? at_once().every(n => cards.has(n)) : ended;
    const drain = () => { while (presses.length && (!presses[0].needs || there())) presses.shift().action(); };
    const act = (action, needs = false) => { presses.push({ action, needs }); drain(); };
    const go = where => {
        at = Math.max(0, Math.min(where, total));
        if (mode === 'many') at = Math.min(at, Math.ceil(total / step) * step);
        marked.clear();
        ask();
        draw();
        follow();
    };
    const after = () => {  // on the page of pairs: the next one that nobody has judged
        let n = at + 1;
        while (mode === 'page' && n < total && verdicts.get(n)) n += 1;
        return n;
    };
    const judge = verdict => {
        if (at >= total) return;
        const before = verdicts.get(at) ?? '';
        if (say(at, verdict)) { past.push([at, [[at, before]]]); go(after()); }
    };
    const judgeAll = () => {
        const all = at_once();
        if (!all.length) return;
        past.push([at, all.map(n => [n, verdicts.get(n) ?? '']), [...marked]]);
        all.forEach(n => say(n, marked.has(n) ? 'rejected' : 'accepted'));
        live.textContent = `${marked.size} rejected, ${all.length - marked.size} accepted.`;
        go(at + step);
    };
    const undo = () => {
        const done = past.pop();
        if (!done && single && verdicts.get(at)) { say(at, ''); draw(); }  // from before this deck was opened
        if (!done) return;
        done[1].forEach(([n, verdict]) => say(n, verdict));
        go(done[0]);
        (done[2] ?? []).forEach(n => marked.add(n));
        draw();
    };
    const mark = n => { marked.has(n) ? marked.delete(n) : marked.add(n); draw(); };
    const accept = () => act(() => judge('accepted'), true), reject = () => act(() => judge('rejected'), true);
    const all = () => act(judgeAll, true), back = () => act(undo, true);
    const next = () => act(() => go(single ? after() : at + step), true), previous = () => act(() => go(at - step));
    const onward = () => act(() => go(at + step), true);
    const moves = { n: next, u: back, Backspace: back, ArrowLeft: previous, ArrowRight: onward };
    const each = { a: accept, x: reject, ...moves };
    const KEYS = { one: each, page: each, many: { a: all, Enter: all, ...moves } };

    // A select box is no text field unless it is open, nor are switches and sliders.
    const typing = target => {
        if (!target?.matches) return false;
        if (target.isContentEditable || target.matches('textarea')) return true;
        if (target.getAttribute('role') === 'combobox') return target.getAttribute('aria-expanded') === 'true';
        return target.matches('input:not([type=checkbox]):not([type=radio]):not([type=range]):not([type=button])');
    };
    const ARROWS = '[role=slider], [role=radio], [role=tab], [role=application], canvas, input';  // have their own use
    const press = event => {
        if (event.ctrlKey || event.metaKey || event.altKey || typing(event.composedPath()[0])) return;
        if (document.querySelector('[role=dialog]')) return;  // which lies over the deck
        if (event.shiftKey && event.key.length === 1) return;  // Shift+N and Shift+P choose the image
        const key = event.key.length === 1 ? event.key.toLowerCase() : event.key, action = KEYS[mode]?.[key];
        const target = event.composedPath()[0];
        if (!action || (key === 'Enter' && target.closest?.('button, a, [role=button], [role=tab]'))) return;
        if (key.startsWith('Arrow') && target.matches?.(ARROWS)) return;
        event.preventDefault();
        event.stopImmediatePropagation();
        if (!(event.repeat && !key.startsWith('Arrow'))) action();
    };
    const flush = () => { if (timer) send(); };  // whatever it is that the reader does next
    const leave = event => { if (waiting.length) { send(); event.preventDefault(); } };

    // ---- what is seen ----
    const picture = (source, alt, name = '') => element('img', { src: source, alt, className: name, draggable: false });
    const badge = n => {
        const verdict = verdicts.get(n) ?? '';
        return element('span', { className: 'verdict ' + verdict, textContent: SIGN[verdict] });
    };
    const card = n => {
        const one = cards.get(n), verdict = verdicts.get(n) ?? '';
        if (!one) return element('div', { className: 'card waiting', textContent: '...' });
        const look = { className: `card ${marked.has(n) ? 'marked' : verdict}`, tabIndex: 0, title: one.title };
        const made = element('div', look,
            picture(one.query, `box in the image: ${one.query_name}`),
            picture(one.key, `box in the neighbor: ${one.key_name}`),
            element('div', { className: 'text' }, one.caption + ' ', badge(n)));
        made.setAttribute('role', 'button');
        made.dataset.pair = one.pair;
        made.setAttribute('aria-pressed', marked.has(n));
        const choose = () => mode === 'many' ? mark(n) : last.setTriggerValue('opened', one.pair);
        made.onclick = () => { if (clean) choose(); };
        made.onkeydown = event => {
            if (event.key !== ' ' && (event.key !== 'Enter' || mode === 'many')) return;
            event.preventDefault();
            choose();
        };
        return made;
    };
    const button = (text, action, title) => {
        const made = element('button', { textContent: text, onclick: action, title });
        made.dataset.does = text;
        return made;
    };
    const bar = () => {
        const end = at >= total, done = ended ? 'That was the last one.' : 'Looking for the next pair ...';
        const text = number => number.toLocaleString('en-US');
        const named = cards.get(at)?.name ?? 'Fetching the pair';
        const one = mode === 'page' ? named : `Pair ${text(at + 1)} of ${text(total)}`;
        const several = `Pairs ${text(at + 1)} to ${text(Math.min(at + step, total))} of ${text(total)}`;
        const shown = end ? done : single ? one : several;
        const count = kind => [...verdicts.values()].filter(verdict => verdict === kind).length;
        const said = element('span', { className: 'said' });
        said.append(`${shown} · ${count('accepted')} accepted, ${count('rejected')} rejected here`
            + (waiting.length ? ` · saving ${waiting.length} ...` : ' · saved'));
        const keys = single
            ? [button('✓ Accept (A)', accept, 'key A'), button('✗ Reject (X)', reject, 'key X')]
            : [button('Judge all (A)', all, 'key A: the marked ones are rejected, all others accepted')];
        keys.push(button('Pass (N)', next, 'key N'), button('↶ Undo (U)', back, 'key U'));
        if (mode === 'page') said.append(' ', badge(at));
        return element('div', { className: 'bar' }, said, ...keys);
    };
    const draw = () => {
        stale = false;
        const { pair, does } = (host.activeElement ?? document.activeElement)?.dataset ?? {};
        if (mode === 'look') {
            root.replaceChildren(element('div', { className: 'grid' }, ...at_once().map(card)));
        } else if (at >= total) {
            root.replaceChildren(bar());
        } else if (mode === 'many') {
            const note = element('div', { className: 'text', textContent:
                'Click the wrong pairs, or draw a frame around them; then A rejects these and accepts all others.' });
            root.replaceChildren(bar(), element('div', { className: 'grid' }, ...at_once().map(card)), note);
        } else {
            const one = cards.get(at);
            const sides = one ? ['query', 'key'] : [];
            const whose = { query: 'the image', key: 'the neighbor' };
            const inside = sides.map(side => {
                const caption = element('figcaption', { className: 'text', textContent: one[side + '_text'] });
                caption.style.borderColor = one[side + '_color'];
                const whole = picture(one[side + '_whole'] ?? '', `${whose[side]}, its box framed`, 'whole');
                const crop = picture(one[side], `crop of ${whose[side]}: ${one[side + '_name']}`, 'crop');
                return element('figure', {}, ...(mode === 'page' ? [crop] : [whole, crop]), caption);
            });
            const text = element('div', { className: 'text' }, one ? one.caption + ' ' : '', badge(at));
            const made = element('div', { className: !one ? 'waiting' : mode === 'page' ? 'sides' : 'one' });
            if (!one) made.textContent = 'Fetching the pictures ...';
            made.append(...inside);
            if (one) root.dataset.pair = one.pair;
            root.replaceChildren(bar(), ...(mode === 'page' ? [] : [text]), made);
        }
        if (pair || does)  // what is drawn anew keeps the focus
            root.querySelector(does ? `button[data-does="${does}"]` : `.card[data-pair="${pair}"]`)?.focus();
    };

    // ---- the mouse, and a frame drawn with it ----
    // What is under a mouse that is down stays: a click is lost where its button or card was drawn anew meanwhile.
    const frame = element('div', { className: 'frame', hidden: true });
    const area = ({ x, y }) =>
        [Math.min(dragged.x, x), Math.min(dragged.y, y), Math.max(dragged.x, x), Math.max(dragged.y, y)];
    const down = event => {
        clean = pressed = true;
        if (mode !== 'many' || event.button !== 0 || event.target.closest('button')) return;
        dragged = { x: event.clientX, y: event.clientY };
    };
    const release = () => {
        pressed = false;
        if (stale) draw();
    };
    const move = event => {
        if (pressed && !event.buttons) release();  // let go where nothing told it
        if (!dragged) return;
        const [x0, y0, x1, y1] = area({ x: event.clientX, y: event.clientY });
        if (frame.hidden && x1 - x0 + y1 - y0 < 12) return;
        clean = false;
        frame.hidden = false;
        Object.assign(frame.style, { left: x0 + 'px', top: y0 + 'px', width: x1 - x0 + 'px', height: y1 - y0 + 'px' });
        if (!frame.isConnected) root.append(frame);
    };
    const up = event => {
        setTimeout(() => { clean = true; release(); });  // after the click that ends it
        if (!dragged) return;
        const [x0, y0, x1, y1] = area({ x: event.clientX, y: event.clientY }), drawn = !frame.hidden;
        dragged = null;
        frame.hidden = true;
        frame.remove();
        if (!drawn) return;
        root.querySelectorAll('.grid .card').forEach((made, place) => {
            const box = made.getBoundingClientRect();
            if (box.left < x1 && box.right > x0 && box.top < y1 && box.bottom > y0) marked.add(at_once()[place]);
        });
        draw();
    };
    root.addEventListener('pointerdown', down);
    addEventListener('pointermove', move);
    addEventListener('pointerup', up);
    addEventListener('pointercancel', release);
    addEventListener('keydown', press, true);
    addEventListener('keydown', flush, true);
    addEventListener('pointerdown', flush, true);
    addEventListener('beforeunload', leave);

    let seen = '';
    root.classList.toggle('page', mode === 'page');
    const update = sent => {
        last = sent;
        const { data } = sent;
        [total, ended] = [data.total, data.ended ?? true];
        for (const one of data.cards) cards.set(one.place, one);
        // Answered, and not arrived: Streamlit drops what one run of a fragment sent when the next one begins too soon.
        const answered = data.answered?.[0] === client && data.answered[1] === asks;
        if (answered && wanted.some(n => n < total && !cards.has(n))) asked = '';
        if (data.confirmed?.client === client) waiting = waiting.filter(one => one.number > data.confirmed.number);
        const open = new Set(waiting.map(one => one.pair));
        for (const [place, verdict] of data.verdicts) {  // of others, too; not over what is on its way
            const pair = cards.get(place)?.pair;
            if (!open.has(pair)) verdicts.set(place, verdict);
        }
        if (waiting.length && !timer) timer = setTimeout(send, SEND);
        drain();
        ask();
        follow();
        const shown = at_once().map(n => cards.get(n)?.pair);
        const now = JSON.stringify([shown, data.verdicts, waiting.length, total, ended]);
        if (now !== seen) stale = true;
        if (stale && !pressed) draw();
        seen = now;
    };
    const stop = () => {
        clearTimeout(following);
        clearTimeout(later);
        send();
        removeEventListener('pointermove', move);
        removeEventListener('pointerup', up);
        removeEventListener('pointercancel', release);
        removeEventListener('keydown', press, true);
        removeEventListener('keydown', flush, true);
        removeEventListener('pointerdown', flush, true);
        removeEventListener('beforeunload', leave);
        root.removeEventListener('pointerdown', down);
        root.replaceChildren();
        return { queue: first.data.queue, client, past, cards, verdicts, marked, at, number, waiting, asks };
    };
    return { id, update, stop, last: () => last };
}
"""

_deck = st.components.v2.component("orl_pair_deck", html=HTML, css=CSS, js=SCRIPT)


def show(key: str, data: dict[str, Any], **callbacks: Any) -> Any:
    """Show a deck.

    Args:
        key: of the component.
        data: `queue` (what identifies it), `mode` (look, one, many, page), `total`, `count` (cards at once), `start`,
            `cards`, `verdicts` ([place, verdict]), `confirmed` (the last verdict that was saved: client, number);
            `answered` (client and number of the question that was answered last);
            of a page also `ended` (no further pairs come) and `at` (the pair that the page shows).
        callbacks: `on_said_change`, `on_want_change`, `on_opened_change`, `on_at_change`.

    Returns:
        Its state: `said`, `want`, `opened`, `at`.
    """
    context = get_script_run_ctx()
    return _deck(key=key, data={"session": context.session_id if context else "", **data}, **callbacks)
