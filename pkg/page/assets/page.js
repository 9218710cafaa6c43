// The script of the page: it sorts and filters tables, opens details, and draws the graph. It only ever sets text, never markup,
// because every text in the data may come from outside.
(function () {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const S = data.strings; // every string of the data is a number, its place in S
  const images = new Map(data.images.map((i) => [S[i.n], i]));
  const bases = new Map(data.bases.map((b) => [S[b.n], b]));

  // h returns an element with attributes and children: elements, texts, or nothing.
  function h(name, attributes, ...children) {
    const e = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (typeof value === "function") e.addEventListener(key, value);
      else if (value !== undefined && value !== "") e.setAttribute(key, value);
    }
    e.append(...children.flat().filter((c) => c !== undefined && c !== ""));
    return e;
  }

  // ---- Tables ----

  const LIMIT = 200; // rows shown at first, so that a page with thousands stays quick; until a table is filtered or sorted, page.css hides the others

  function setUpTable(tools) {
    const table = $(tools.dataset.for), body = table.tBodies[0], rows = [...body.rows];
    const input = tools.querySelector("input"), selects = [...tools.querySelectorAll("select")], said = tools.querySelector("output");
    const texts = new Map();
    const textOf = (row) => {
      if (!texts.has(row)) texts.set(row, row.textContent.toLowerCase());
      return texts.get(row);
    };
    let order = rows, all = false;
    const button = h("button", { type: "button", click: () => { all = true; apply(); } });
    const rest = h("p", { class: "rest" }, button);
    table.parentElement.after(rest);

    function apply() {
      table.classList.add("set");
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of order) {
        const match = selects.every((s) => !s.value || row.dataset[s.dataset.attribute] === s.value) && words.every((w) => textOf(row).includes(w));
        row.hidden = !match;
        if (match) shown++;
        row.classList.toggle("over", match && !all && shown > LIMIT);
      }
      said.textContent = shown === rows.length ? "" : `${shown} of ${rows.length}`;
      offer(shown);
    }

    function offer(shown) {
      rest.hidden = all || shown <= LIMIT;
      button.textContent = `Show all ${shown}`;
    }

    function sort(column, descending) {
      const keyOf = (row) => {
        const cell = row.cells[column], text = cell.dataset.sort !== undefined ? cell.dataset.sort : cell.textContent;
        return text === "" ? undefined : text !== "" && !isNaN(text) ? Number(text) : text.toLowerCase();
      };
      const keyed = rows.map((row) => [keyOf(row), row]);
      const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
      keyed.sort(([a], [b]) => a === undefined || b === undefined ? (a === undefined) - (b === undefined) : descending ? compare(b, a) : compare(a, b));
      order = keyed.map(([, row]) => row);
      body.append(...order);
      [...table.tHead.rows[0].cells].forEach((th, i) => {
        if (i === column) th.setAttribute("aria-sort", descending ? "descending" : "ascending");
        else th.removeAttribute("aria-sort");
      });
      apply();
    }

    [...table.tHead.rows[0].cells].forEach((th, i) => {
      th.replaceChildren(h("button", { type: "button", click: () => sort(i, th.getAttribute("aria-sort") === "ascending") }, th.textContent));
    });
    input.addEventListener("input", apply);
    selects.forEach((s) => s.addEventListener("change", apply));
    tools.hidden = false;
    offer(rows.length);
    return { show(value) { selects[0].value = value; input.value = ""; apply(); } };
  }

  const tables = new Map([...document.querySelectorAll(".tools[data-for]")].map((tools) => [tools.dataset.for, setUpTable(tools)]));
  document.querySelectorAll("[data-show]").forEach((a) => a.addEventListener("click", () => tables.get("t-images").show(a.dataset.show)));

  // ---- Details ----

  const panel = $("panel");
  let opener = null, title = document.title;

  const status = (s) => h("span", { class: "st s-" + s }, s === "optedOut" ? "opted out" : s === "wrongBase" ? "wrong base" : s);
  const digest = (n) => n ? h("code", { title: S[n] }, S[n].replace(/^sha256:/, "").slice(0, 12)) : "";
  const ref = (kind, name, text) => h("a", { href: `#${kind}/${encodeURIComponent(name)}` }, text || name);
  const external = (url, text) => url ? h("a", { href: S[url], rel: "noreferrer" }, text) : text;
  const facts = (pairs) => h("dl", {}, pairs.filter(([, v]) => v !== "" && v !== undefined).flatMap(([k, v]) => [h("dt", {}, k), h("dd", {}, v)]));
  const list = (names) => h("ul", { class: "chips" }, names.map((n) => h("li", {}, ref("image", S[n]))));
  const part = (heading, ...content) => [h("h3", {}, heading), ...content];

  function grid(heads, rows) {
    return h("div", { class: "scroll" }, h("table", {},
      h("thead", {}, h("tr", {}, heads.map((t) => h("th", { scope: "col" }, t)))),
      h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((c) => h("td", {}, ...[c].flat())))))));
  }

  // reasons returns the chain from facts to the decision, base by base.
  function reasons(steps) {
    const out = [];
    let ref = -1, list;
    for (const [kind, of, text, place, d] of steps.map((s) => data.steps[s])) {
      if (of !== ref) {
        ref = of;
        list = h("ol", { class: "chain" });
        out.push(S[of] ? h("h4", {}, S[of]) : h("h4", {}, "The image"), list);
      }
      list.append(h("li", { class: S[kind] }, h("span", { class: "kind" }, S[kind]), h("span", {}, S[text], d ? [" ", digest(d)] : "", place ? h("span", { class: "place" }, S[place]) : "")));
    }
    return out;
  }

  const planned = (list, named) => part("Planned", grid(named ? ["Image", "Starts", "Why"] : ["Starts", "Why"], list.map(([i, w, y]) => [...(named ? [ref("image", S[i])] : []), S[w], S[y]])));
  const problems = (list) => part("Findings", grid(["Rule", "Message"], list.map(([r, m]) => [S[r], S[m]])));
  const objects = (list) => part("Kargo", h("ul", { class: "chips" }, list.map((o) => h("li", {}, h("code", {}, S[o])))));

  function imageDetails(i) {
    const out = [
      h("p", { class: "why" }, status(S[i.s]), " ", S[i.w]),
      facts([
        ["Repository", S[i.r]],
        ["Version", S[i.v || 0]],
        ["Digest", digest(i.d)],
        ["Built", S[i.t || 0]],
        ["Source", i.u ? external(i.u, S[i.u].replace(/^https?:\/\//, "")) : ""],
        ...(i.f || []).map(([k, v]) => [S[k], S[v]]),
      ]),
    ];
    if (i.p) out.push(...planned(i.p, false));
    if (i.b) out.push(...part("Built on", ...i.b.map(use)));
    if (i.y) out.push(...vulnerabilities(i));
    if (i.e) out.push(...part("Why", h("div", {}, reasons(i.e))));
    if (i.c && i.c.length) out.push(...part("Used by", list(i.c)));
    if (i.h) out.push(...part("Rebuilds", grid(["Requested", "Status", "Ended", "Why"], i.h.map((r) =>
      [external(r.u, S[r.t]), status(S[r.s]), S[r.e || 0], S[r.w || 0] + (r.m ? `: ${S[r.m]}` : "")]))));
    if (i.x) out.push(...problems(i.x));
    if (i.o) out.push(...objects(i.o));
    return out;
  }

  const vulnerabilities = (i) => part("Vulnerabilities", h("p", {}, S[i.y]), i.z ? grid(["ID", "Severity", "Package", "From", "Remedy"],
    i.z.map((z) => data.found[z]).map(([id, severity, pkg, from, remedy]) => [S[id], status(S[severity]), S[pkg], S[from || 0], S[remedy || 0]])) : "");

  function use(b) {
    const name = b.k ? ref(S[b.k], S[b.n], S[b.r]) : S[b.r];
    return h("div", { class: "use" },
      h("p", {}, name, b.u ? ` (${S[b.u]})` : ""),
      b.d ? h("p", {}, "built on ", digest(b.d), `: ${S[b.e]}`) : "",
      b.c && b.c.length > 1 ? grid(["Digest", "First seen", "Ripe", "Status"], b.c.map((c) => data.clocks[c]).map(([d, s, r, t, y]) =>
        [digest(d), S[s], S[t] === "baseline" ? "" : S[r], [status(S[t]), y ? ` ${S[y]}` : ""]])) : "");
  }

  function baseDetails(b) {
    const out = [facts([["Digest", digest(b.d)], ["Moved", S[b.t || 0]]])];
    if (b.p) out.push(...planned(b.p, true));
    if (b.c) out.push(...part("Digests", grid(["Digest", "First seen", "Status", "Reason"], b.c.map(([d, s, t, r]) => [digest(d), S[s], S[t], S[r]]))));
    if (b.z) out.push(...part("Vulnerabilities", grid(["Digest", "Found", "Fixes", "Adds"], b.z.map(([d, n, f, a]) => [digest(d), S[n], S[f], S[a]]))));
    if (b.i) out.push(...part("Used by", list(b.i)));
    if (b.h) out.push(...part("Moves of the tag", grid(["When", "From", "To"], b.h.map(([t, f, o]) => [S[t], digest(f), digest(o)]))));
    if (b.x) out.push(...problems(b.x));
    if (b.o) out.push(...objects(b.o));
    return out;
  }

  function open(kind, name) {
    const item = (kind === "image" ? images : bases).get(name);
    if (!item) return close();
    const heading = kind === "image" ? name : S[item.r];
    if (panel.hidden) opener = document.activeElement;
    panel.replaceChildren(
      h("button", { type: "button", class: "close", click: leave }, "Close"),
      h("h2", {}, heading),
      ...(kind === "image" ? imageDetails(item) : baseDetails(item)),
      h("p", {}, h("button", { type: "button", click: () => { leave(); graph.find(kind, name); $("graph").scrollIntoView(); } }, "Show in graph")));
    panel.setAttribute("aria-label", "Details of " + heading);
    panel.hidden = false;
    panel.scrollTop = 0;
    panel.focus({ preventScroll: true });
    document.title = heading + " · " + title;
  }

  function close() {
    if (panel.hidden) return;
    panel.hidden = true;
    document.title = title;
    if (opener && opener.isConnected) opener.focus({ preventScroll: true });
  }

  function leave() {
    history.pushState(null, "", location.pathname + location.search);
    close();
  }

  function route() {
    const [, kind, name] = location.hash.match(/^#(image|base)\/(.+)$/) || [];
    if (!kind) return close();
    let decoded;
    try { decoded = decodeURIComponent(name); } catch { return close(); }
    open(kind, decoded);
  }

  document.addEventListener("click", (e) => {
    const a = e.target.closest && e.target.closest("a[href^='#image/'], a[href^='#base/']");
    if (!a || e.ctrlKey || e.metaKey || e.shiftKey) return;
    e.preventDefault(); // the page does not scroll to the row
    history.pushState(null, "", a.getAttribute("href"));
    route();
  });
  document.addEventListener("keydown", (e) => { if (e.key === "Escape" && !panel.hidden) leave(); });
  addEventListener("popstate", route);
  addEventListener("hashchange", route);

  // ---- Graph ----

  const graph = (function () {
    const canvas = $("graph-canvas"), said = $("graph-said"), search = $("graph-search"), g = data.graph;
    const ctx = canvas.getContext("2d");
    const nodes = g.n.map(([kind, name, label, state, x, y, w, h], i) => ({ i, kind: S[kind], name: S[name], label: S[label], status: S[state], x, y, w, h, up: [], down: [] }));
    const paths = g.p.map(([from, to, pinned, ...p]) => ({ from, to, pinned, p }));
    for (const { from, to } of paths) {
      nodes[to].up.push(from);
      nodes[from].down.push(to);
    }
    let width = 0, height = 0, scale = 1, left = 0, top = 0, selected = null, chain = null, colors = {}, queued = false;

    function readColors() {
      const style = getComputedStyle(canvas);
      for (const name of ["bg", "ink", "faint", "node", "base", "line", "edge", "pin", "focus", "current", "due", "running", "waiting", "held", "failed", "blocked", "unknown"]) {
        colors[name] = style.getPropertyValue("--" + name).trim();
      }
      colors.starting = colors.running;
      colors.optedOut = colors.unknown;
      colors.paused = colors.incomplete = colors.untrusted = colors.held;
    }

    function reach(from, next) {
      const seen = new Set([from]), queue = [from];
      while (queue.length) for (const k of nodes[queue.pop()][next]) if (!seen.has(k)) { seen.add(k); queue.push(k); }
      return seen;
    }

    function select(i) {
      selected = i;
      chain = i === null ? null : new Set([...reach(i, "up"), ...reach(i, "down")]);
      said.replaceChildren();
      if (i !== null) {
        const n = nodes[i], up = reach(i, "up").size - 1, down = reach(i, "down").size - 1;
        const kind = n.kind === "managed" || n.kind === "external" ? "image" : n.kind;
        said.append(kind === "image" || kind === "base" && bases.has(n.name) ? ref(kind, n.name, n.label) : n.label,
          (n.status ? `: ${n.status === "optedOut" ? "opted out" : n.status}` : "") + `; built on ${up}, used by ${down}`);
      }
      paint();
    }

    function paint() {
      if (queued) return;
      queued = true;
      requestAnimationFrame(() => { queued = false; draw(); });
    }

    function draw() {
      const ratio = devicePixelRatio || 1;
      ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
      ctx.clearRect(0, 0, width, height);
      ctx.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * left, ratio * top);
      const x0 = -left / scale, y0 = -top / scale, x1 = x0 + width / scale, y1 = y0 + height / scale;
      const visible = (n) => n.x < x1 && n.x + n.w > x0 && n.y < y1 && n.y + n.h > y0;
      for (const path of paths) drawPath(path, x0, y0, x1, y1);
      ctx.textBaseline = "middle";
      for (const n of nodes) if (visible(n)) drawNode(n);
      ctx.globalAlpha = 1;
    }

    function drawPath({ from, to, pinned, p }, x0, y0, x1, y1) {
      let minX = Infinity, maxX = -Infinity, minY = Infinity, maxY = -Infinity;
      for (let i = 0; i < p.length; i += 2) {
        minX = Math.min(minX, p[i]); maxX = Math.max(maxX, p[i]);
        minY = Math.min(minY, p[i + 1]); maxY = Math.max(maxY, p[i + 1]);
      }
      if (minX > x1 || maxX < x0 || minY > y1 || maxY < y0) return;
      const on = chain && chain.has(from) && chain.has(to);
      ctx.globalAlpha = chain && !on ? 0.08 : chain ? 1 : 0.75;
      ctx.strokeStyle = on ? colors.focus : pinned ? colors.pin : colors.edge;
      ctx.lineWidth = Math.max(on ? 1.6 : 1, 0.5 / scale);
      ctx.setLineDash(pinned ? [5, 4] : []);
      ctx.beginPath();
      ctx.moveTo(p[0], p[1]);
      for (let i = 2; i + 5 < p.length; i += 6) ctx.bezierCurveTo(p[i], p[i + 1], p[i + 2], p[i + 3], p[i + 4], p[i + 5]);
      ctx.stroke();
      ctx.setLineDash([]);
    }

    function drawNode(n) {
      ctx.globalAlpha = chain && !chain.has(n.i) ? 0.15 : 1;
      ctx.fillStyle = n.kind === "managed" ? colors.node : colors.base;
      ctx.strokeStyle = n.i === selected ? colors.focus : n.kind === "unresolved" ? colors.failed : colors.line;
      ctx.lineWidth = (n.i === selected ? 2.5 : 1) * Math.max(1, 0.6 / scale);
      ctx.beginPath();
      ctx.roundRect(n.x, n.y, n.w, n.h, 4);
      ctx.fill();
      if (n.status) {
        ctx.save();
        ctx.clip();
        ctx.fillStyle = colors[n.status] || colors.unknown;
        ctx.fillRect(n.x, n.y, scale < 0.3 ? n.w : 6, n.h);
        ctx.restore();
      }
      ctx.stroke();
      if (scale < 0.3) return;
      ctx.fillStyle = colors.ink;
      ctx.font = "12px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace";
      ctx.fillText(n.label, n.x + 14, n.y + n.h / 2, n.w - 22);
    }

    function fit() {
      scale = Math.min(width / g.w, height / g.h, 1.5);
      left = (width - g.w * scale) / 2;
      top = (height - g.h * scale) / 2;
      paint();
    }

    function zoom(factor, x = width / 2, y = height / 2) {
      const next = Math.min(Math.max(scale * factor, 0.01), 4);
      left = x - (x - left) * next / scale;
      top = y - (y - top) * next / scale;
      scale = next;
      paint();
    }

    // center moves a node into the middle, large enough to be read.
    function center(i) {
      const n = nodes[i];
      scale = Math.max(scale, 0.8);
      left = width / 2 - (n.x + n.w / 2) * scale;
      top = height / 2 - (n.y + n.h / 2) * scale;
      select(i);
    }

    function hit(x, y) {
      const gx = (x - left) / scale, gy = (y - top) / scale;
      const n = nodes.find((n) => gx >= n.x && gx <= n.x + n.w && gy >= n.y && gy <= n.y + n.h);
      return n ? n.i : null;
    }

    function resize() {
      const ratio = devicePixelRatio || 1, first = width === 0;
      width = canvas.clientWidth;
      height = canvas.clientHeight;
      canvas.width = width * ratio;
      canvas.height = height * ratio;
      if (first) fit();
      draw();
    }

    // step selects the nearest node in a direction.
    function step(dx, dy) {
      if (selected === null) return center(0);
      const from = nodes[selected], at = (n) => [n.x + n.w / 2, n.y + n.h / 2], [x, y] = at(from);
      let best = null, least = Infinity;
      for (const n of nodes) {
        const [nx, ny] = at(n), along = (nx - x) * dx + (ny - y) * dy, across = Math.abs((nx - x) * dy) + Math.abs((ny - y) * dx);
        const linked = dx && chain.has(n.i) ? 0.25 : 1; // prefer the chain when going from base to image
        const distance = (along + across * 2) * linked;
        if (n !== from && along > 1 && across <= along * 4 && distance < least) [best, least] = [n.i, distance];
      }
      if (best !== null) center(best);
    }

    const details = () => {
      const a = said.querySelector("a");
      if (a) a.click();
    };

    const pointers = new Map();
    let moved = false;
    canvas.addEventListener("pointerdown", (e) => {
      canvas.setPointerCapture(e.pointerId);
      pointers.set(e.pointerId, [e.offsetX, e.offsetY]);
      moved = false;
    });
    canvas.addEventListener("pointermove", (e) => {
      const before = pointers.get(e.pointerId);
      if (!before) {
        canvas.style.cursor = hit(e.offsetX, e.offsetY) === null ? "" : "pointer";
        return;
      }
      const x = e.offsetX, y = e.offsetY;
      if (Math.hypot(x - before[0], y - before[1]) > 3) moved = true;
      if (!moved) return;
      if (pointers.size === 2) {
        const [other] = [...pointers].filter(([id]) => id !== e.pointerId).map(([, p]) => p);
        zoom(Math.hypot(x - other[0], y - other[1]) / Math.max(Math.hypot(before[0] - other[0], before[1] - other[1]), 1), (x + other[0]) / 2, (y + other[1]) / 2);
      } else {
        left += x - before[0];
        top += y - before[1];
        paint();
      }
      pointers.set(e.pointerId, [x, y]);
    });
    const up = (e) => {
      if (pointers.delete(e.pointerId) && !moved && e.type === "pointerup") select(hit(e.offsetX, e.offsetY));
    };
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("dblclick", details);
    canvas.addEventListener("wheel", (e) => {
      e.preventDefault();
      zoom(Math.exp(-e.deltaY * (e.deltaMode ? 0.05 : 0.0015)), e.offsetX, e.offsetY);
    }, { passive: false });
    canvas.addEventListener("keydown", (e) => {
      const keys = {
        ArrowLeft: () => step(-1, 0), ArrowRight: () => step(1, 0), ArrowUp: () => step(0, -1), ArrowDown: () => step(0, 1),
        "+": () => zoom(1.3), "=": () => zoom(1.3), "-": () => zoom(1 / 1.3), 0: fit, Enter: details,
      };
      if (e.ctrlKey || e.metaKey || e.altKey || !keys[e.key]) return;
      e.preventDefault();
      keys[e.key]();
    });

    search.addEventListener("focus", () => {
      $("graph-names").append(...nodes.map((n) => h("option", { value: n.label })));
    }, { once: true });
    const found = (exact) => {
      const text = search.value.trim().toLowerCase();
      if (!text) return;
      const match = nodes.find((n) => n.label.toLowerCase() === text) || !exact && nodes.find((n) => n.label.toLowerCase().includes(text));
      if (match) center(match.i);
      else if (!exact) said.textContent = "nothing found";
    };
    search.addEventListener("input", () => found(true));
    search.addEventListener("keydown", (e) => { if (e.key === "Enter") found(false); });
    $("graph-in").addEventListener("click", () => zoom(1.4));
    $("graph-out").addEventListener("click", () => zoom(1 / 1.4));
    $("graph-fit").addEventListener("click", fit);
    $("graph-clear").addEventListener("click", () => { search.value = ""; select(null); });

    function recolor() {
      readColors();
      draw();
    }
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolor);
    addEventListener("beforeprint", () => { canvas.classList.add("paper"); readColors(); fit(); draw(); });
    addEventListener("afterprint", () => { canvas.classList.remove("paper"); recolor(); });

    if (nodes.length) {
      $("graph-box").hidden = false;
      readColors();
      new ResizeObserver(resize).observe(canvas);
    } else {
      $("graph-box").replaceWith(h("p", { class: "empty" }, "There is nothing to draw yet."));
    }
    return {
      find(kind, name) {
        const n = nodes.find((n) => n.name === name && (kind === "base") === (n.kind === "base"));
        if (n) center(n.i);
      },
    };
  })();

  route();
})();
