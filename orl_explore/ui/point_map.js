// One or two maps of the same points on plain canvases: no WebGL, so nothing to lose. See point_map.py for what is sent.
//
// Pictures and what was clicked go through another component, which is small and can answer without this one being sent
// again; the two meet at `window.orlMap`.

const FEW = 60, TILE = 46;  // points in view below which crops stand in their places; side of those, pixels
const CLICK = 4, REACH = 12;  // pixels: a press that moved less is a click; how near a point has to be to be meant
const OUTSIDE = 0xFFFF, BACK = [128, 136, 144], FAR = 0.22;  // group, color and opacity of points that stay far back
const LASSO = '#D55E00';

const meet = () => window.orlMap ??= Object.assign(new EventTarget(), { crops: new Map(), chosen: null, selected: null });
const tell = (kind, detail) => meet().dispatchEvent(new CustomEvent(kind, { detail }));
const unpack = (text, Type) => {
    const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
    return new Type(bytes.buffer);
};

export default function ({ parentElement, data }) {
    const map = parentElement.orl ??= create(parentElement);
    map.update(data);
    return () => { if (map.data() === data) { map.stop(); delete parentElement.orl; } };
}

function create(root) {
    const board = root.querySelector('.board'), legend = root.querySelector('.legend');
    const card = root.querySelector('.card'), slider = root.querySelector('.slider'), bar = root.querySelector('.bar');
    const hub = meet();
    let data, ids, groups, labels, colors, views = [], maps = [], row = new Map(), hidden = new Set();
    let under = null, pointer = null, share = 0, asked = new Set(), frame = 0;

    // ---- what is sent ---------------------------------------------------------------------------------------------

    const update = sent => {
        const first = !data || data.key !== sent.key;
        data = sent;
        heed();
        maps.forEach(map => { map.order = null; });
        ids = unpack(sent.ids, Int32Array);
        groups = unpack(sent.groups, Uint16Array);
        labels = sent.label_of ? unpack(sent.label_of, Uint16Array) : null;
        colors = sent.colors.map(rgb);
        row = new Map(Array.from(ids, (id, place) => [id, place]));
        views = sent.views.map(view => ({ ...view, x: unpack(view.x, Float32Array), y: unpack(view.y, Float32Array) }));
        const count = sent.mode === 'beside' ? 2 : 1;
        if (first || maps.length !== count) {
            maps.forEach(map => map.remove());
            board.replaceChildren();
            maps = Array.from({ length: count }, (_, place) => canvas(place));
            asked.clear();
        }
        bar.hidden = sent.mode !== 'slide';
        if (!bar.hidden) {
            bar.querySelector('.from').textContent = views[0].name;
            bar.querySelector('.to').textContent = views[1].name;
        } else share = slider.value = 0;
        drawLegend();
        measure();
    };

    const place = (map, point) => {  // in the map's own units
        if (data.mode !== 'slide') return [views[map.number].x[point], views[map.number].y[point]];
        const [a, b] = views;
        return [a.x[point] * (1 - share) + b.x[point] * share, a.y[point] * (1 - share) + b.y[point] * share];
    };
    const shown = point => groups[point] !== OUTSIDE && !hidden.has(groups[point]);
    const heed = () => {  // what the server knows of the legend
        const { legend: of, entries } = hub.hidden ?? {};
        hidden = new Set(of === data.legend_key ? entries : []);
    };
    const sizeOf = count => Math.min(9, Math.max(3, 9 - 3 * Math.log10(Math.max(count, 1) / 400)));
    const countShown = () => data.counts.reduce((sum, count, group) => hidden.has(group) ? sum : sum + count, 0);

    // ---- one canvas -----------------------------------------------------------------------------------------------

    function canvas(number) {
        const box = document.createElement('div'), picture = document.createElement('canvas');
        const over = document.createElement('canvas'), title = document.createElement('div');
        const hint = document.createElement('div');
        box.className = 'map';
        over.className = 'over';
        over.tabIndex = 0;
        title.className = 'title';
        hint.className = 'hint';
        hint.hidden = true;
        box.append(picture, over, title, hint);
        board.append(box);
        const map = { number, box, picture, over, title, hint, zoom: 1, center: null, width: 0, height: 0 };
        map.remove = listen(map);
        return map;
    }

    const extent = map => {  // of all points, so that hiding some leaves the map where it is
        let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
        const of = data.mode === 'slide' ? views : [views[map.number]];
        for (const { x, y } of of) {
            for (let point = 0; point < x.length; point++) {
                if (x[point] < left) left = x[point];
                if (x[point] > right) right = x[point];
                if (y[point] < low) low = y[point];
                if (y[point] > high) high = y[point];
            }
        }
        return { left, right, low, high };
    };
    const measure = () => {
        for (const map of maps) {
            const { left, right, low, high } = map.extent = extent(map);
            map.center ??= [(left + right) / 2, (low + high) / 2];
            map.width = map.box.clientWidth;
            map.height = map.box.clientHeight;
            const span = Math.max((right - left) / (map.width - 24), (high - low) / (map.height - 24), 1e-9);
            map.unit = 1 / span;  // pixels a unit: one for both axes
            for (const made of [map.picture, map.over]) {
                made.width = map.width * devicePixelRatio;
                made.height = map.height * devicePixelRatio;
            }
            map.over.setAttribute('role', 'img');
            map.over.setAttribute('aria-label', `${data.alt}, ${data.mode === 'slide' ? 'sliding' : views[map.number].name}.`
                + ' Click a point to choose it, draw around points to select them, arrow keys move, plus and minus zoom,'
                + ' Enter chooses the point in the middle.');
            map.title.textContent = data.mode === 'beside' ? views[map.number].name : '';
        }
        draw();
    };
    const toScreen = (map, x, y) => {
        const scale = map.unit * map.zoom;
        return [map.width / 2 + (x - map.center[0]) * scale, map.height / 2 - (y - map.center[1]) * scale];
    };
    const toMap = (map, x, y) => {
        const scale = map.unit * map.zoom;
        return [map.center[0] + (x - map.width / 2) / scale, map.center[1] - (y - map.height / 2) / scale];
    };

    // ---- drawing --------------------------------------------------------------------------------------------------

    const draw = () => { frame ||= requestAnimationFrame(() => { frame = 0; maps.forEach(paint); }); };

    const paint = map => {
        const { picture } = map, wide = picture.width, tall = picture.height;
        if (!wide || !tall) return;
        const pen = picture.getContext('2d');
        const image = pen.createImageData(wide, tall), pixels = image.data;
        const dpr = devicePixelRatio, grown = Math.min(2, Math.sqrt(map.zoom)) / 2 * dpr;
        const stamp = disc(sizeOf(countShown()) * grown), chosen = hub.selected && new Set(hub.selected);
        map.inView = [];
        map.at = new Map();  // cells of 16 pixels: which points are in them
        const spot = point => {
            const [sx, sy] = toScreen(map, ...place(map, point));
            return sx > -9 && sy > -9 && sx < map.width + 9 && sy < map.height + 9 ? [sx, sy] : null;
        };
        const putBack = (point, dots) => {  // one flat ground, however many lie on each other
            const at = spot(point);
            if (!at) return;
            const left = Math.round(at[0] * dpr), top = Math.round(at[1] * dpr);
            for (const [dx, dy, cover] of dots) {
                const px = left + dx, py = top + dy;
                if (px < 0 || py < 0 || px >= wide || py >= tall) continue;
                const first = (py * wide + px) * 4;
                pixels[first] = BACK[0];
                pixels[first + 1] = BACK[1];
                pixels[first + 2] = BACK[2];
                pixels[first + 3] = Math.max(pixels[first + 3], 255 * cover * FAR);
            }
        };
        const put = point => {
            const at = spot(point);
            if (!at) return;
            const [sx, sy] = at;
            map.inView.push(point);
            const cell = (sx >> 4) + ',' + (sy >> 4);
            map.at.has(cell) ? map.at.get(cell).push(point) : map.at.set(cell, [point]);
            const [red, green, blue] = colors[groups[point]], faint = chosen && !chosen.has(ids[point]) ? 0.15 : 0.85;
            const left = Math.round(sx * dpr), top = Math.round(sy * dpr);
            for (const [dx, dy, cover] of stamp) {
                const px = left + dx, py = top + dy;
                if (px < 0 || py < 0 || px >= wide || py >= tall) continue;
                const on = (py * wide + px) * 4, alpha = cover * faint, before = pixels[on + 3] / 255 * (1 - alpha);
                const after = alpha + before;
                pixels[on] = (red * alpha + pixels[on] * before) / after;
                pixels[on + 1] = (green * alpha + pixels[on + 1] * before) / after;
                pixels[on + 2] = (blue * alpha + pixels[on + 2] * before) / after;
                pixels[on + 3] = 255 * after;
            }
        };
        if (data.outside) {
            const dots = disc(sizeOf(data.outside) * grown);
            for (let point = 0; point < ids.length; point++) if (groups[point] === OUTSIDE) putBack(point, dots);
        }
        for (const point of map.order ??= unpack(data.order, Int32Array))
            if (shown(point) && !chosen?.has(ids[point])) put(point);
        if (chosen) for (const id of chosen) if (row.has(id) && shown(row.get(id))) put(row.get(id));  // on top
        pen.putImageData(image, 0, 0);
        map.tiles = map.inView.length <= FEW && map.zoom > 1;
        if (map.tiles) tiles(map, pen, dpr);
        map.over.dataset.inView = map.inView.length;
        const lost = !map.inView.length && countShown() > 0 && (map.zoom !== 1 || map.center !== null);
        if (lost || map.lost) {
            clearTimeout(map.hinting);
            map.hint.textContent = 'No point is here: 0, or \u2922, shows all';
            map.hint.hidden = !lost;
        }
        map.lost = lost;
        overlay(map);
    };
    const disc = radius => {  // pixels around a point, and how much of each it covers
        const found = [], reach = Math.ceil(radius);
        for (let dy = -reach; dy <= reach; dy++)
            for (let dx = -reach; dx <= reach; dx++) {
                const cover = Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(dx, dy)));
                if (cover > 0) found.push([dx, dy, cover]);
            }
        return found;
    };
    const tiles = (map, pen, dpr) => {
        want(map.inView.map(point => ids[point]));
        map.crops = [];
        for (const point of map.inView) {
            const crop = hub.crops.get(ids[point]);
            if (!crop?.complete || !crop.naturalWidth) continue;
            const scale = TILE / Math.max(crop.naturalWidth, crop.naturalHeight);
            const [w, h] = [crop.naturalWidth * scale, crop.naturalHeight * scale];
            const [x, y] = toScreen(map, ...place(map, point));
            pen.fillStyle = data.colors[groups[point]];
            pen.fillRect((x - w / 2 - 2) * dpr, (y - h / 2 - 2) * dpr, (w + 4) * dpr, (h + 4) * dpr);
            pen.drawImage(crop, (x - w / 2) * dpr, (y - h / 2) * dpr, w * dpr, h * dpr);
            map.crops.push({ point, x, y, w, h });
        }
    };
    const overlay = map => {  // rings and the lasso, over the points
        const pen = map.over.getContext('2d');
        pen.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
        pen.clearRect(0, 0, map.width, map.height);
        const ring = (id, radius) => {
            const point = row.get(id);
            if (point === undefined) return null;
            const [x, y] = toScreen(map, ...place(map, point));
            for (const [width, color] of [[6, '#fff'], [2.5, '#000']]) {  // seen on any ground
                pen.beginPath();
                pen.arc(x, y, radius, 0, 7);
                pen.lineWidth = width;
                pen.strokeStyle = color;
                pen.stroke();
            }
            return [x, y];
        };
        const at = hub.chosen === null ? null : ring(hub.chosen, 9);
        map.over.dataset.ring = at ? at.map(value => value.toFixed(1)).join(' ') : '';
        if (under !== null) ring(under, 6);
        if (pointer?.lasso && pointer.map === map) {
            pen.beginPath();
            pointer.lasso.forEach(([x, y]) => pen.lineTo(x, y));
            pen.closePath();
            pen.fillStyle = LASSO + '22';
            pen.fill();
            pen.lineWidth = 2;
            pen.strokeStyle = LASSO;
            pen.stroke();
        }
    };

    // ---- pictures -------------------------------------------------------------------------------------------------

    const want = wanted => {
        const missing = wanted.filter(id => !hub.crops.has(id) && !asked.has(id));
        if (!missing.length) return;
        missing.forEach(id => asked.add(id));
        tell('want', missing);
    };
    const arrived = () => { if (under !== null) showCard(); draw(); };
    const showCard = () => {
        const crop = hub.crops.get(under), point = row.get(under);
        card.hidden = under === null;
        if (card.hidden) return;
        card.dataset.region = under;
        const image = card.querySelector('img');
        image.hidden = !crop;
        if (crop && image.src !== crop.src) image.src = crop.src;
        const named = labels ? ` · ${data.labels[labels[point]]}` : '';
        const group = data.groups_named && groups[point] !== OUTSIDE ? ` · ${data.names[groups[point]]}` : '';
        card.querySelector('span').textContent = `region ${under}${named}${group}`;
        const { width, height } = card.getBoundingClientRect();
        card.style.left = Math.max(4, Math.min(pointer?.x - width / 2, innerWidth - width - 4)) + 'px';
        card.style.top = (pointer?.y + 24 + height < innerHeight ? pointer?.y + 24 : pointer?.y - 24 - height) + 'px';
    };

    // ---- mouse and keys -------------------------------------------------------------------------------------------

    const nearest = (map, x, y) => {
        const on = map.tiles && map.crops.findLast(crop => 2 * Math.abs(x - crop.x) <= crop.w + 4
            && 2 * Math.abs(y - crop.y) <= crop.h + 4);
        if (on) return ids[on.point];  // the one on top
        let best = null, reach = REACH;
        for (let column = (x - 24) >> 4; column <= (x + 24) >> 4; column++)
            for (let line = (y - 24) >> 4; line <= (y + 24) >> 4; line++)
                for (const point of map.at?.get(column + ',' + line) ?? []) {
                    const [px, py] = toScreen(map, ...place(map, point)), far = Math.hypot(px - x, py - y);
                    if (far <= reach) [best, reach] = [point, far];
                }
        return best === null ? null : ids[best];
    };
    const central = map => {  // for the keyboard, which moves the map and not a pointer
        let best = null, least = Infinity;
        for (let point = 0; point < ids.length; point++) {
            if (!shown(point)) continue;
            const [x, y] = toScreen(map, ...place(map, point)), far = Math.hypot(x - map.width / 2, y - map.height / 2);
            if (far < least) [best, least] = [point, far];
        }
        return best === null ? null : ids[best];
    };
    const choose = id => { if (id !== null) { hub.chosen = id; tell('clicked', id); } };
    const inside = (polygon, x, y) => {
        let odd = false;
        for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
            const [ax, ay] = polygon[i], [bx, by] = polygon[j];
            if (ay > y !== by > y && x < (bx - ax) * (y - ay) / (by - ay) + ax) odd = !odd;
        }
        return odd;
    };
    const zoomAt = (map, factor, x = map.width / 2, y = map.height / 2) => {
        const [mx, my] = toMap(map, x, y), before = map.zoom;
        map.zoom = Math.min(400, Math.max(0.5, map.zoom * factor));
        const kept = before / map.zoom;
        map.center = [mx + (map.center[0] - mx) * kept, my + (map.center[1] - my) * kept];
        draw();
    };
    const pan = (map, dx, dy) => {
        const scale = map.unit * map.zoom;
        map.center = [map.center[0] - dx / scale, map.center[1] + dy / scale];
        draw();
    };
    const reset = map => { map.zoom = 1; map.center = null; measure(); };

    function listen(map) {
        const { over, hint } = map, stop = new AbortController(), options = { signal: stop.signal };
        const on = (name, handler, more = {}) => over.addEventListener(name, handler, { ...options, ...more });
        const local = event => {
            const { left, top } = over.getBoundingClientRect();
            return [event.clientX - left, event.clientY - top];
        };
        on('pointerdown', event => {
            if (event.button > 2) return;
            over.setPointerCapture(event.pointerId);
            over.dataset.pressed = '';  // a key after that calls for no frame, though browsers think so
            const [x, y] = local(event), moves = event.button !== 0 || event.shiftKey;
            pointer = { map, from: [x, y], last: [x, y], moves, pressed: true, x: event.clientX, y: event.clientY };
        });
        on('pointermove', event => {
            const [x, y] = local(event);
            pointer = { ...pointer, x: event.clientX, y: event.clientY };
            if (!pointer.pressed) {
                const id = nearest(map, x, y);
                if (id !== under) { under = id; if (id !== null) want([id]); maps.forEach(overlay); }
                over.style.cursor = id === null ? 'crosshair' : 'pointer';
                return showCard();
            }
            if (Math.hypot(x - pointer.from[0], y - pointer.from[1]) > CLICK) pointer.dragged = true;
            if (!pointer.dragged) return;
            under = null;
            card.hidden = true;
            if (pointer.moves) pan(map, x - pointer.last[0], y - pointer.last[1]);
            else (pointer.lasso ??= [pointer.from]).push([x, y]);
            pointer.last = [x, y];
            overlay(map);
        });
        on('pointerup', event => {
            const done = pointer;
            pointer = { x: event.clientX, y: event.clientY };
            if (!done?.pressed) return;
            if (!done.dragged) {
                over.focus({ preventScroll: true });
                choose(done.moves ? null : nearest(map, ...local(event)));
            } else if (done.lasso) {
                const polygon = done.lasso.map(([x, y]) => toMap(map, x, y));
                const found = [];
                for (let point = 0; point < ids.length; point++)
                    if (shown(point) && inside(polygon, ...place(map, point))) found.push(ids[point]);
                hub.selected = found.length ? found : null;
                tell('selected', found);
                draw();
            }
            maps.forEach(overlay);
        });
        on('pointerleave', () => { under = null; card.hidden = true; maps.forEach(overlay); });
        on('blur', () => { delete over.dataset.pressed; });
        on('pointercancel', () => { pointer = null; overlay(map); });
        on('contextmenu', event => event.preventDefault());
        on('dblclick', event => event.preventDefault());
        on('wheel', event => {
            const held = event.ctrlKey || event.metaKey || over.getRootNode().activeElement === over;
            if (!held) {  // the page scrolls
                hint.textContent = 'Hold Ctrl, or click the map first, to zoom with the wheel';
                hint.hidden = false;
                clearTimeout(map.hinting);
                map.hinting = setTimeout(() => { hint.hidden = true; }, 1500);
                return;
            }
            event.preventDefault();
            zoomAt(map, Math.exp(-event.deltaY * 0.0015), ...local(event));
        }, { passive: false });
        on('keydown', event => {
            const step = 60, keys = {
                ArrowLeft: () => pan(map, step, 0), ArrowRight: () => pan(map, -step, 0),
                ArrowUp: () => pan(map, 0, step), ArrowDown: () => pan(map, 0, -step),
                '+': () => zoomAt(map, 1.5), '=': () => zoomAt(map, 1.5), '-': () => zoomAt(map, 1 / 1.5),
                0: () => reset(map), Enter: () => { choose(central(map)); maps.forEach(overlay); },
                Escape: () => { hub.selected = null; tell('selected', []); draw(); },
            };
            if (!keys[event.key] || event.ctrlKey || event.metaKey) return;
            event.preventDefault();
            under = null;  // the map moves, the mouse does not
            card.hidden = true;
            keys[event.key]();
        });
        return () => { stop.abort(); map.box.remove(); };
    }

    // ---- legend, buttons and slider -------------------------------------------------------------------------------

    const drawLegend = () => {
        if (data.scale) {
            const [low, high] = data.scale;
            const steps = data.colors.slice(0, data.colors.length - data.names.length);
            const stops = steps.map((color, at) => `${color} ${(100 * at / (steps.length - 1)).toFixed(1)}%`);
            const ramp = document.createElement('span');
            ramp.className = 'ramp';
            ramp.style.background = `linear-gradient(to right, ${stops.join(',')})`;
            const text = value => Object.assign(document.createElement('span'), { textContent: value });
            const without = data.names.map((name, at) => {
                const entry = text(''), dot = document.createElement('i'), group = steps.length + at;
                entry.className = 'entry';
                dot.style.background = data.colors[group];
                entry.append(dot, `${name} (${data.counts[group].toLocaleString('en')})`);
                return entry;
            });
            legend.replaceChildren(text(data.title), text(low), ramp, text(high), ...without);
            return;
        }
        const entries = data.names.map((name, group) => {
            const entry = document.createElement('button');
            entry.type = 'button';
            entry.className = 'entry';
            entry.setAttribute('aria-pressed', String(!hidden.has(group)));
            entry.title = `${name}\nClick: hide or show. Double click, or click with Shift: show this one alone, or all again.`;
            const dot = document.createElement('i');
            dot.style.background = data.colors[group];
            const words = document.createElement('span');
            words.textContent = name;
            entry.append(dot, words, `(${data.counts[group].toLocaleString('en')})`);
            const toggle = () => hidden.has(group) ? hidden.delete(group) : hidden.add(group);
            const isolate = () => {
                const alone = hidden.size === data.names.length - 1 && !hidden.has(group);
                hidden = new Set(alone ? [] : data.names.keys());
                hidden.delete(group);
            };
            entry.onclick = event => {  // the second click of two comes here, too, with detail 2
                if (event.detail === 2) { toggle(); isolate(); } else event.shiftKey ? isolate() : toggle();
                redraw();
            };
            return entry;
        });
        const redraw = () => {
            tell('hidden', { legend: data.legend_key, entries: [...hidden] });
            press();
        };
        legend.replaceChildren(...entries);
    };
    const press = () => {
        if (!data.scale) [...legend.children].forEach((entry, group) =>
            entry.setAttribute('aria-pressed', !hidden.has(group)));
        draw();
    };
    const buttons = { in: map => zoomAt(map, 1.5), out: map => zoomAt(map, 1 / 1.5), all: reset };
    for (const [name, act] of Object.entries(buttons)) root.querySelector('.' + name).onclick = () => maps.forEach(act);
    let slides = 0;
    slider.oninput = () => { slides += 1; share = Number(slider.value); draw(); };
    root.querySelector('.play').onclick = () => {
        const from = share, to = share < 0.5 ? 1 : 0, began = performance.now(), own = slides += 1;
        const step = now => {
            if (own !== slides) return; // a hand has taken the slider, or another click the button
            const done = Math.min(1, (now - began) / 1200);
            share = slider.value = from + (to - from) * (done * done * (3 - 2 * done));
            maps.forEach(paint);
            if (done < 1 && data.mode === 'slide') requestAnimationFrame(step);
        };
        requestAnimationFrame(step);
    };

    const resized = new ResizeObserver(() => data && measure());
    resized.observe(board);
    const again = () => { if (data) { heed(); press(); } };
    hub.addEventListener('crops', arrived);
    hub.addEventListener('state', again);
    const screen = (number, id) => {
        const map = maps[number], { left, top } = map.over.getBoundingClientRect();
        const [x, y] = toScreen(map, ...place(map, row.get(id)));
        return [left + x, top + y];
    };
    const visible = number => {  // the place of a point that is neither below the window nor the chosen one
        for (let turn = 0; ; turn++) {
            const id = ids[(number + turn) % ids.length], found = screen(0, id);
            if (id !== hub.chosen && found[1] < innerHeight - 10 || turn > ids.length) return found;
        }
    };
    root.orlMap = { screen, visible };  // for tests and benchmarks: where regions are in the window
    const stop = () => {
        resized.disconnect();
        cancelAnimationFrame(frame);
        hub.removeEventListener('crops', arrived);
        hub.removeEventListener('state', again);
        maps.forEach(map => map.remove());
    };
    return { update, stop, data: () => data };
}

function rgb(color) {
    return [1, 3, 5].map(at => parseInt(color.slice(at, at + 2), 16));
}
