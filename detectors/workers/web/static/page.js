// The page of one detector: asks for the status once a second, and shows the images that its WebSocket brings.
"use strict";

const $ = (id) => document.getElementById(id);
const STATUS_MS = 1000;
const RETRY_MS = 1000;
const NUMBER = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

const MAPS = {
  viridis: ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"],
  inferno: ["#000004", "#1b0c41", "#4a0c6b", "#781c6d", "#a52c60", "#cf4446", "#ed6925", "#fb9b06", "#f7d13d", "#fcffa4"],
  ice: ["#03051a", "#14245c", "#1f4fa3", "#2f83c8", "#62b4dd", "#a9dcec", "#f2fbff"],
  grey: ["#000000", "#ffffff"],
  "grey, inverted": ["#ffffff", "#000000"],
};

// ---- small helpers

const count = (number) => NUMBER.format(number);

/** A number in few characters, with a prefix of its unit. */
function brief(number, unit = "") {
  const steps = ["", "k", "M", "G", "T", "P"];
  let step = 0;
  while (Math.abs(number) >= 1000 && step < steps.length - 1) {
    number /= 1000;
    step += 1;
  }
  const digits = step === 0 ? (Number.isInteger(number) ? 0 : 1) : number < 10 ? 2 : number < 100 ? 1 : 0;
  return `${number.toFixed(digits)} ${steps[step]}${unit}`.trim();
}

/** A pixel's value: whole numbers as they are, others in six digits. */
const valueText = (value) => (Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6))));

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setClass(element, name) {
  if (element.className !== name) element.className = name;
}

/** Bring the children of an element in line with items: made once, filled each time, so that nothing flickers. */
function each(parent, items, make, fill) {
  while (parent.children.length > items.length) parent.lastElementChild.remove();
  items.forEach((item, index) => {
    let child = parent.children[index];
    if (!child) {
      child = document.createElement(parent.tagName === "OL" ? "li" : "div");
      child.innerHTML = make;
      parent.append(child);
    }
    fill(child, item);
  });
}

// ---- the status

let status = null;

async function askStatus() {
  try {
    const answer = await fetch("api/status", { signal: AbortSignal.timeout(5 * STATUS_MS) });
    status = await answer.json();
    showStatus();
  } catch {
    showVerdict({ level: "broken", text: "the worker of this page does not answer" });
  }
  setTimeout(askStatus, STATUS_MS);
}

const WORDS = { good: "Good", idle: "Idle", off: "Off", losing: "Losing", broken: "Broken" };

function showVerdict({ level, text }) {
  setClass($("verdict"), `verdict ${level}`);
  put($("verdict").children[0], WORDS[level]);
  put($("verdict").children[1], text);
  document.title = `${WORDS[level]} · ${status?.detector ?? "pebbledaq"}`;
}

function showStatus() {
  showVerdict(status.verdict);
  put($("detector"), status.detector);
  put($("prefix"), status.prefix);
  put($("clock"), new Date(status.time_ms).toLocaleTimeString("en-GB"));
  put($("version"), `pebbledaq ${status.workers.web?.snapshot?.version ?? ""}`);
  showDetectors();
  showFigures();
  showModules();
  showCharts();
  showBalance();
  showOutputs();
  showPools();
  showEvents();
  showVeil();
}

/** Several detectors can be chosen from. */
function showDetectors() {
  const which = $("which");
  if (which.options.length === 0) which.append(...status.detectors.map((name) => new Option(name)));
  which.parentElement.hidden = status.detectors.length < 2;
}

function showFigures() {
  const working = status.sources.filter((source) => source.frames_hz > 0);
  const slowest = Math.min(...working.map((source) => source.frames_hz));
  put($("frames"), working.length ? slowest.toFixed(slowest < 100 ? 1 : 0) : "0");
  const bytes = status.sources.reduce((sum, source) => sum + source.bytes_per_s, 0);
  const [number, unit] = brief(bytes, "B/s").split(" ");
  put($("data"), number);
  put($("data-unit"), unit);
  const lost = status.sources.reduce((sum, source) => sum + source.lost_recently, 0);
  put($("lost"), count(lost));
  put($("lost-title"), `Lost, last ${status.window_s} s`);
  setClass($("lost").parentElement, lost ? "losing" : "");
  put($("receiving"), String(working.length));
  put($("of"), `of ${status.sources.length}`);
  put($("pulse"), working[0]?.pulse_id ?? "–");
}

function showModules() {
  const mosaic = $("mosaic");
  const placed = status.placed && status.modules.length > 0;
  setClass(mosaic, placed ? "placed" : status.sources.length > 24 ? "dense" : "");
  const rows = Math.max(...status.modules.map((m) => m.row + m.rows), 1);
  const cols = Math.max(...status.modules.map((m) => m.col + m.cols), 1);
  mosaic.style.aspectRatio = placed ? `${cols} / ${Math.max(rows, cols / 4)}` : "auto";
  each(mosaic, status.sources, "<b></b><span></span>", (tile, source) => {
    setClass(tile, `module ${source.level}`);
    put(tile.children[0], source.name);
    const rate = source.frames_hz ? `${source.frames_hz.toFixed(1)} Hz` : source.state;
    put(tile.children[1], source.lost_recently ? `${rate} · −${brief(source.lost_recently)}` : rate);
    tile.title = [`${source.name}: ${source.state}, run ${source.run_state || "unknown"}`, `pulse ${source.pulse_id}`,
      ...source.losses, source.message].filter(Boolean).join("\n");
    const place = status.modules.find((m) => m.name === source.name);
    if (placed && place) {
      tile.style.left = `calc(${(100 * place.col) / cols}% + 2px)`;
      tile.style.top = `calc(${(100 * place.row) / rows}% + 2px)`;
      tile.style.width = `calc(${(100 * place.cols) / cols}% - 4px)`;
      tile.style.height = `calc(${(100 * place.rows) / rows}% - 4px)`;
    }
  });
}

function showBalance() {
  const make = '<div class="top"><b></b><span></span></div><div class="stack"></div><div class="parts"></div>';
  each($("balance"), status.balance, make, (line, { title, total, parts, open }) => {
    setClass(line, "fate");
    put(line.querySelector("b"), title);
    put(line.querySelector("span"), count(total));
    each(line.querySelector(".stack"), parts, "", (piece, part) => {
      setClass(piece, part.count ? part.level : "none");
      piece.style.flex = part.count ? `${part.count} 0 3px` : "";
      piece.style.background = part.count ? "var(--tint)" : "";
      piece.style.display = part.count ? "" : "none";
    });
    const shown = parts.filter((part, index) => index === 0 || part.count);
    const texts = shown.map((part) => ({ level: part.level, text: `${part.name.replaceAll("_", " ")} ${count(part.count)}` }));
    if (open) texts.push({ level: "off", text: `on the way ${count(open)}` });
    each(line.querySelector(".parts"), texts, "", (piece, part) => {
      setClass(piece, `part ${part.level}`);
      put(piece, part.text);
    });
  });
}

function showOutputs() {
  const make = "<b></b><em></em><span></span><span class='amount'></span><span class='trouble'></span>";
  each($("outputs"), status.outputs, make, (row, output) => {
    setClass(row, `output ${output.level}`);
    const [name, state, where, amount, trouble] = row.children;
    put(name, output.title);
    put(state, output.state);
    const disk = output.name === "disk";
    const free = output.free_bytes ? `${brief(output.free_bytes, "B")} free` : "";
    const listeners = `${output.subscribers} ${output.subscribers === 1 ? "subscriber" : "subscribers"}`;
    put(where, disk || output.name === "output" ? [free, output.folder].filter(Boolean).join(" · ") : listeners);
    where.title = output.folder;
    const dropped = output.dropped ? ` · ${count(output.dropped)} dropped` : "";
    put(amount, `${count(output.written)} ${disk ? "written" : "sent"}, ${brief(output.bytes, "B")}${dropped}`);
    put(trouble, output.message);
  });
}

function showPools() {
  const pools = status.sources.flatMap((source) => source.pools.map((pool) => ({ ...pool, source: source.name })));
  const make = '<div class="top"><b></b><em></em><span></span></div><div class="gauge"><i></i><u></u></div>';
  each($("pools"), pools, make, (row, pool) => {
    setClass(row, pool.in_use > 0.8 * pool.count ? "pool losing" : "pool");
    put(row.querySelector("b"), `${pool.source} ${pool.name}`);
    put(row.querySelector("em"), pool.failures ? `${count(pool.failures)} overruns` : "");
    put(row.querySelector("span"), `${pool.in_use} / ${pool.count}`);
    row.title = `${brief(pool.bytes, "B")}, high water ${pool.high_water}`;
    row.querySelector("i").style.width = `${Math.min(100, (100 * pool.in_use) / pool.count)}%`;
    row.querySelector("u").style.left = `${Math.min(100, (100 * pool.high_water) / pool.count)}%`;
    row.querySelector("u").hidden = !pool.high_water;
  });
}

function showEvents() {
  each($("events"), status.events, "<time></time><u></u><b></b><span></span>", (row, event) => {
    setClass(row, event.level);
    put(row.children[0], new Date(event.time_ms).toLocaleTimeString("en-GB"));
    put(row.children[2], event.source);
    put(row.children[3], event.text);
  });
}

// ---- a minute of rates

function showCharts() {
  const lost = status.history.map((point) => point[4]);
  drawChart($("chart-frames"), "frames/s", "Hz", status.history.map((p) => [p[1], p[2]]), lost);
  drawChart($("chart-data"), "data", "B/s", status.history.map((p) => [0, p[3]]), lost);
}

/** The next number of the kind 1, 2, 5. */
function roundUp(number) {
  const power = 10 ** Math.floor(Math.log10(number || 1));
  return power * [1, 2, 5, 10].find((step) => step * power >= number);
}

/** Draw the band between two series, the upper one as a line, with what was lost as bars below. */
function drawChart(canvas, name, unit, points, lost) {
  const [pen, width, height] = sharp(canvas);
  const style = getComputedStyle(document.documentElement);
  const colour = (what) => style.getPropertyValue(`--${what}`).trim();
  const bottom = height - 16, top = 16;
  const most = roundUp(Math.max(...points.map((p) => p[1]), 1e-9) * 1.05);
  const x = (index) => width - ((points.length - 1 - index) * width) / 59;
  const y = (value) => bottom - ((bottom - top) * value) / most;
  pen.strokeStyle = colour("line");
  pen.beginPath();
  for (const part of [0, 0.5, 1]) {
    pen.moveTo(0, y(most * part) + 0.5);
    pen.lineTo(width, y(most * part) + 0.5);
  }
  pen.stroke();
  pen.fillStyle = colour("wash");
  pen.beginPath();
  points.forEach((p, i) => pen.lineTo(x(i), y(p[1])));
  [...points].reverse().forEach((p, i) => pen.lineTo(x(points.length - 1 - i), y(p[0])));
  pen.fill();
  pen.strokeStyle = colour("accent");
  pen.lineWidth = 1.75;
  pen.lineJoin = "round";
  pen.beginPath();
  points.forEach((p, i) => pen.lineTo(x(i), y(p[1])));
  pen.stroke();
  pen.fillStyle = colour("losing");
  lost.forEach((n, i) => n && pen.fillRect(x(i) - 2, bottom - 10, 4, 10));
  pen.fillStyle = colour("soft");
  pen.font = "11px system-ui, sans-serif";
  pen.fillText(`${name}, up to ${brief(most, unit)}`, 0, 11);
  pen.fillText("60 s ago", 0, height - 3);
  pen.textAlign = "right";
  pen.fillText("now", width, height - 3);
  if (points.length) pen.fillText(brief(points.at(-1)[1], unit), width, 11);
  pen.textAlign = "left";
}

/** A cleared canvas in the pixels of the screen; returns its pen, and width and height in those of the page. */
function sharp(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const factor = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * factor) || canvas.height !== Math.round(height * factor)) {
    canvas.width = Math.round(width * factor);
    canvas.height = Math.round(height * factor);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(factor, 0, 0, factor, 0, 0);
  pen.clearRect(0, 0, width, height);
  return [pen, width, height];
}

// ---- the image

const stage = $("image");
const sheet = document.createElement("canvas");
const view = { zoom: 1, x: 0.5, y: 0.5 }; // centre, as a part of the image
const auto = { low: NaN, high: NaN };
let head = null;
let pixels = null;
let pointer = null;
let socket = null;
let newest = null;
let arrivals = [];
let lastImage = -Infinity;
let table = { key: "", colours: null };

/** The detector whose images are shown. */
const shown = () => $("which").value || status?.detectors[0];

function listen() {
  socket?.close();
  const asked = new URLSearchParams({ bits: $("bits").value, detector: $("which").value });
  const own = new WebSocket(`${location.href.replace(/^http/, "ws").replace(/[^/]*$/, "")}images?${asked}`);
  socket = own;
  own.binaryType = "arraybuffer";
  own.onmessage = ({ data }) => {
    if (!newest) requestAnimationFrame(takeImage);
    newest = data;
  };
  own.onclose = () => own === socket && setTimeout(listen, RETRY_MS);
}

function takeImage() {
  const data = newest;
  newest = null;
  if (!data || $("pause").classList.contains("on")) return;
  const length = new DataView(data).getUint32(0, true);
  head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  pixels = head.bits === 8 ? new Uint8Array(data, 4 + length) : new Uint16Array(data, 4 + length);
  lastImage = performance.now();
  arrivals = [...arrivals.filter((t) => lastImage - t < 2000), lastImage];
  const seconds = (lastImage - arrivals[0]) / 1000;
  const rate = seconds > 0.2 ? `${((arrivals.length - 1) / seconds).toFixed(1)} images/s` : "";
  put($("image-rate"), rate);
  const faults = [head.modules_missing && `${head.modules_missing} modules missing`,
    head.packets_missing && `${count(head.packets_missing)} packets missing`].filter(Boolean).join(", ");
  const sizes = `${head.full[1]} × ${head.full[0]} ${head.dtype}`;
  const thinning = head.factor > 1 ? `, every ${head.factor}${head.factor === 2 ? "nd" : head.factor === 3 ? "rd" : "th"} pixel` : "";
  put($("image-note"), `pulse ${head.pulse_id} · ${sizes}${thinning}${faults && ` · ${faults}`}`);
  render();
  showVeil();
}

const toValue = (pixel) => head.offset + head.scale * pixel;

/** Limits of the range shown, in values. */
function limits() {
  const kind = $("range").value;
  if (kind === "manual") return [Number($("from").value), Number($("to").value)];
  const most = head.bits === 8 ? 255 : 65535;
  const histogram = new Uint32Array(most + 1);
  const step = Math.max(1, Math.floor(pixels.length / 40000)) | 1;
  let total = 0;
  for (let i = 0; i < pixels.length; i += step, total += 1) histogram[pixels[i]] += 1;
  const cut = kind === "full" ? 0 : total * 0.003;
  let low = 0, high = most;
  for (let sum = histogram[0]; sum <= cut && low < most; sum += histogram[++low]);
  for (let sum = histogram[most]; sum <= cut && high > low; sum += histogram[--high]);
  const wanted = [toValue(low), toValue(high)];
  const span = auto.high - auto.low;
  const far = Math.max(Math.abs(wanted[0] - auto.low), Math.abs(wanted[1] - auto.high));
  if (!(far < 0.08 * span)) [auto.low, auto.high] = wanted; // small changes would only make it flicker
  return [auto.low, auto.high];
}

function ramp(name, size) {
  const stops = MAPS[name].map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  return Array.from({ length: size }, (_, i) => {
    const at = (i / (size - 1)) * (stops.length - 1);
    const left = Math.min(Math.floor(at), stops.length - 2);
    return [0, 1, 2].map((c) => Math.round(stops[left][c] + (at - left) * (stops[left + 1][c] - stops[left][c])));
  });
}

/** The colour of every pixel value, as it lies in memory. */
function colours(low, high) {
  const most = head.bits === 8 ? 255 : 65535;
  const key = [$("map").value, low, high, head.bits, head.offset, head.scale].join();
  if (table.key !== key) {
    const steps = ramp($("map").value, 256).map(([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r);
    const found = new Int32Array(most + 1);
    const span = high - low || 1;
    for (let p = 0; p <= most; p += 1) {
      found[p] = steps[Math.max(0, Math.min(255, Math.round((255 * (toValue(p) - low)) / span)))];
    }
    table = { key, colours: found };
  }
  return table.colours;
}

function render() {
  const [rows, cols, channels] = head.shape;
  sheet.width = cols;
  sheet.height = rows;
  const pen = sheet.getContext("2d");
  const image = pen.createImageData(cols, rows);
  if (channels) {
    for (let i = 0, o = 0; i < pixels.length; i += 3, o += 4) {
      image.data.set([pixels[i], pixels[i + 1], pixels[i + 2], 255], o);
    }
  } else {
    const [low, high] = limits();
    const known = colours(low, high);
    const out = new Int32Array(image.data.buffer);
    for (let i = 0; i < out.length; i += 1) out[i] = known[pixels[i]];
    put($("low"), valueText(low));
    put($("high"), valueText(high));
    if ($("range").value !== "manual") {
      $("from").value = valueText(low);
      $("to").value = valueText(high);
    }
  }
  pen.putImageData(image, 0, 0);
  draw();
}

/** Where the image lies on the stage: left, top, and points of the page for each pixel. */
function placement(width, height) {
  const [rows, cols] = head.shape;
  const size = Math.min(width / cols, height / rows) * view.zoom;
  return { left: width / 2 - view.x * cols * size, top: height / 2 - view.y * rows * size, size };
}

function draw() {
  if (!head) return;
  const [pen, width, height] = sharp(stage);
  const { left, top, size } = placement(width, height);
  pen.imageSmoothingEnabled = size < 1;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(sheet, left, top, head.shape[1] * size, head.shape[0] * size);
  if ($("outlines").checked) drawOutlines(pen, left, top, size / head.factor);
  drawCrosshair(pen, width, height, left, top, size);
}

/** The modules of the image: only the first detector has some, cameras have none. */
const modules = () => (status && shown() === status.detectors[0] ? status.modules : []);

function drawOutlines(pen, left, top, size) {
  pen.strokeStyle = "rgb(255 255 255 / 35%)";
  pen.fillStyle = "rgb(255 255 255 / 80%)";
  pen.font = "600 12px system-ui, sans-serif";
  pen.shadowColor = "rgb(0 0 0 / 90%)";
  for (const module of modules()) {
    pen.shadowBlur = 0;
    pen.strokeRect(left + module.col * size, top + module.row * size, module.cols * size, module.rows * size);
    pen.shadowBlur = 4;
    if (module.rows * size > 22) pen.fillText(module.name, left + module.col * size + 7, top + module.row * size + 17);
  }
  pen.shadowBlur = 0;
}

function drawCrosshair(pen, width, height, left, top, size) {
  const [rows, cols, channels] = head.shape;
  const col = pointer ? Math.floor((pointer.x - left) / size) : -1;
  const row = pointer ? Math.floor((pointer.y - top) / size) : -1;
  if (col < 0 || row < 0 || col >= cols || row >= rows) {
    put($("readout"), "");
    return;
  }
  pen.strokeStyle = "rgb(255 255 255 / 55%)";
  pen.beginPath();
  pen.moveTo(0, Math.round(pointer.y) + 0.5);
  pen.lineTo(width, Math.round(pointer.y) + 0.5);
  pen.moveTo(Math.round(pointer.x) + 0.5, 0);
  pen.lineTo(Math.round(pointer.x) + 0.5, height);
  pen.stroke();
  const full = (at, limit) => at * head.factor + Math.min(Math.floor(head.factor / 2), Math.floor((limit - 1) / 2));
  const [y, x] = [full(row, head.full[0]), full(col, head.full[1])];
  const at = row * cols + col;
  const value = channels ? [...pixels.slice(3 * at, 3 * at + 3)].join(" ") : `${head.exact ? "" : "≈ "}${valueText(toValue(pixels[at]))}`;
  const module = modules().find((m) => y >= m.row && y < m.row + m.rows && x >= m.col && x < m.col + m.cols);
  put($("readout"), `x ${x}  y ${y}  ${module ? `${module.name}  ` : ""}value ${value}`);
}

function showVeil() {
  const old = performance.now() - lastImage > 3000;
  const paused = $("pause").classList.contains("on");
  setClass($("veil"), old && !paused ? "" : "clear");
  if (old) put($("veil").firstElementChild, status?.waiting[shown()]?.split("; ")[0] || "waiting for an image");
  if (old) put($("image-rate"), "");
}

// ---- mouse, touch and keys

function zoomAt(factor, x, y) {
  if (!head) return;
  const { clientWidth: width, clientHeight: height } = stage;
  const before = placement(width, height);
  const [rows, cols] = head.shape;
  const at = [(x - before.left) / before.size / cols, (y - before.top) / before.size / rows];
  view.zoom = Math.max(1, Math.min(64, view.zoom * factor));
  const after = placement(width, height);
  view.x = at[0] - (x - width / 2) / (after.size * cols);
  view.y = at[1] - (y - height / 2) / (after.size * rows);
  if (view.zoom === 1) showAll();
  draw();
}

function showAll() {
  Object.assign(view, { zoom: 1, x: 0.5, y: 0.5 });
  draw();
}

stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoomAt(Math.exp(-event.deltaY / 300), event.offsetX, event.offsetY);
}, { passive: false });
stage.addEventListener("pointermove", (event) => {
  if (stage.classList.contains("moving") && head) {
    const { size } = placement(stage.clientWidth, stage.clientHeight);
    view.x -= event.movementX / (size * head.shape[1]);
    view.y -= event.movementY / (size * head.shape[0]);
  }
  pointer = { x: event.offsetX, y: event.offsetY };
  draw();
});
stage.addEventListener("pointerdown", (event) => {
  stage.setPointerCapture(event.pointerId);
  stage.classList.add("moving");
});
stage.addEventListener("pointerup", () => stage.classList.remove("moving"));
stage.addEventListener("pointerleave", () => {
  pointer = null;
  draw();
});
stage.addEventListener("dblclick", showAll);
stage.addEventListener("keydown", ({ key }) => {
  const factor = { "+": 1.25, "=": 1.25, "-": 0.8 }[key];
  if (factor) zoomAt(factor, stage.clientWidth / 2, stage.clientHeight / 2);
  if (key === "0") showAll();
});
window.addEventListener("resize", () => {
  draw();
  if (status) showCharts();
});

// ---- tools

function drawBar() {
  const pen = $("bar").getContext("2d");
  ramp($("map").value, 256).forEach(([r, g, b], x) => {
    pen.fillStyle = `rgb(${r} ${g} ${b})`;
    pen.fillRect(x, 0, 1, 1);
  });
}

/** What a person chose is kept by the browser. */
function keep(id, act) {
  const element = $(id);
  const kept = localStorage.getItem(`pebbledaq.${id}`);
  if (kept !== null) element.value = kept;
  element.addEventListener("change", () => {
    localStorage.setItem(`pebbledaq.${id}`, element.value);
    act();
  });
}

const again = () => head && render();
$("map").append(...Object.keys(MAPS).map((name) => new Option(name)));
keep("map", () => {
  drawBar();
  again();
});
const byHand = () => $("range").closest(".tools").classList.toggle("by-hand", $("range").value === "manual");
keep("range", () => {
  auto.low = NaN;
  byHand();
  again();
});
for (const id of ["from", "to"]) $(id).addEventListener("change", again);
keep("bits", () => {
  auto.low = NaN;
  listen();
});
$("which").addEventListener("change", () => {
  auto.low = NaN;
  lastImage = -Infinity;
  showAll();
  listen();
});
$("outlines").addEventListener("change", draw);
$("fit").addEventListener("click", showAll);
$("pause").addEventListener("click", () => {
  put($("pause"), $("pause").classList.toggle("on") ? "Go on" : "Pause");
});

byHand();
drawBar();
listen();
askStatus();
