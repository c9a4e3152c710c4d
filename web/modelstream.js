// Built from web/src by web/src/build.mjs: change it there.

// web/src/main.ts
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

// web/src/client.ts
var Refused = class extends Error {
  constructor(status, code, message, answer = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.answer = answer;
  }
};
var Away = class extends Error {
};
var PREFIX = "/modelstream";
var ADMIN_KEY = "modelstream.admin";
var Client = class {
  constructor(api2) {
    this.api = api2;
    this.token = "";
    this.status = () => this.get("/status");
    this.models = (query2, signal) => this.get("/models", query2, signal);
    this.series = (span, names) => this.get("/series", { span, names });
    this.events = (since) => this.get("/events", { since, limit: 200 });
    this.cost = () => this.get("/cost");
    this.executions = () => this.get("/executions", { limit: 1 });
    this.estimate = (digest) => this.get("/estimate", { digest });
    this.plan = (tier, digest) => this.get("/plan", { tier, digest });
    this.refresh = () => this.post("/refresh", {});
    this.evict = (digests2, tier) => this.post("/evict", tier ? { digests: digests2, tier } : { digests: digests2 });
    this.pin = (digests2, on2) => this.post(on2 ? "/pin" : "/unpin", { digests: digests2 });
    this.prefetch = (digests2, tier = "ssd") => this.post("/prefetch", { digests: digests2, tier });
    this.cancel = (transfer) => this.post("/cancel", { transfer });
    this.verify = (digests2) => this.post("/verify", { digests: digests2 });
    this.budget = (tier, sizeBytes) => this.post("/budgets", { tier, size_bytes: sizeBytes });
    this.graph = (prompt) => this.post("/graph", { client_id: this.api.clientId ?? "", prompt });
    this.prefetching = (paused) => this.post("/prefetching", { paused });
    this.panel = (open) => this.post("/panel", { client_id: this.api.clientId ?? "", open });
    this.clear = (tier, confirm) => this.post("/clear", { tier, confirm });
  }
  /** The owner's admin token, for a ComfyUI that listens on the network: kept for this browser tab only; "" for none. */
  set adminToken(token) {
    if (token) sessionStorage.setItem(ADMIN_KEY, token);
    else sessionStorage.removeItem(ADMIN_KEY);
  }
  get adminToken() {
    return sessionStorage.getItem(ADMIN_KEY) ?? "";
  }
  headers() {
    const admin = this.adminToken;
    return admin ? { Authorization: `Bearer ${admin}` } : {};
  }
  async ask(route, options) {
    let response;
    try {
      response = await this.api.fetchApi(PREFIX + route, { cache: "no-store", ...options });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw new Away(String(error));
    }
    if ([502, 503, 504].includes(response.status) && !response.headers.get("content-type")?.includes("json")) {
      throw new Away(`HTTP ${response.status}`);
    }
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return answer;
    throw new Refused(response.status, String(answer["error"] ?? `http_${response.status}`), String(answer["message"] ?? ""), answer);
  }
  get(route, query2 = {}, signal) {
    const given = Object.entries(query2).filter(([, value]) => value !== void 0 && value !== "");
    const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
    return this.ask(route + (text ? `?${text}` : ""), { headers: this.headers(), signal: signal ?? null });
  }
  async post(route, body) {
    if (!this.token) await this.renewToken();
    try {
      return await this.postOnce(route, body);
    } catch (error) {
      if (!(error instanceof Refused) || error.code !== "token") throw error;
      await this.renewToken();
      return this.postOnce(route, body);
    }
  }
  postOnce(route, body) {
    const headers = { ...this.headers(), "Content-Type": "application/json", "X-Model-Stream-Token": this.token };
    return this.ask(route, { method: "POST", headers, body: JSON.stringify(body) });
  }
  async renewToken() {
    this.token = (await this.get("/token")).token;
  }
  /** What a clear would remove; hand its `confirm` to `clear` to do it. */
  async askClear(tier) {
    try {
      await this.post("/clear", { tier });
    } catch (error) {
      if (error instanceof Refused && error.code === "confirm") return error.answer;
      throw error;
    }
    throw new Error("the server cleared without asking");
  }
};

// web/src/comfy.ts
function setting(app2, id, otherwise) {
  try {
    const value = app2.extensionManager.setting?.get?.(id);
    return value === void 0 || value === null ? otherwise : value;
  } catch {
    return otherwise;
  }
}
function toast(app2, message) {
  const add = app2.extensionManager.toast?.add;
  if (!add) return false;
  app2.extensionManager.toast?.add?.(message);
  return true;
}
async function confirmed(app2, options) {
  if (app2.extensionManager.dialog?.confirm) return await app2.extensionManager.dialog.confirm(options) === true;
  return window.confirm([options.title, options.message, ...options.itemList ?? [], options.hint].filter(Boolean).join("\n"));
}
function setBadge(app2, id, text) {
  const tab = app2.extensionManager.getSidebarTabs?.().find((one) => one.id === id);
  if (tab && tab.iconBadge !== (text ?? "")) tab.iconBadge = text ?? "";
}
function openTab(app2, id, open) {
  const bar = app2.extensionManager.sidebarTab;
  const isOpen = bar?.activeSidebarTabId === id;
  if (open !== void 0 && open === isOpen) return;
  if (bar?.toggleSidebarTab) bar.toggleSidebarTab(id);
  else void app2.extensionManager.command?.execute?.(`Workspace.ToggleSidebarTab.${id}`);
}

// locales/en/main.json
var main_default = {
  modelStream: {
    tier: { vram: "VRAM", ram: "RAM", ssd: "SSD", bucket: "Bucket" },
    place: { vram: "VRAM", ram: "RAM", ssd: "the SSD", bucket: "the bucket", warm: "the loaded models" },
    letter: { vram: "V", ram: "R", ssd: "S", bucket: "B" },
    component: { diffusion_model: "diffusion model", text_encoder: "text encoder", vae: "VAE", other: "other" },
    fit: {
      whole: "Fits whole on {device}: needs {needed}, {left} are left.",
      evict: "Fits on {device} once these have left: {models} ({freed}).",
      offload: "Fits on {device} with {offload} in host memory.",
      no: "Does not fit on {device}: {missing} are missing.",
      unknown: "Nobody can say whether it fits.",
      step: "That costs {seconds} s a step.",
      noArchitecture: "unknown architecture",
      loaded: "{size} of weights once loaded",
      short: { whole: "fits", evict: "fits", offload: "{size} offloaded", no: "too large" }
    },
    legend: { leased: "in use", used: "kept", pinned: "pinned", reserved: "arriving" },
    phase: {
      connecting: "Asking ComfyUI…",
      away: "ComfyUI does not answer. The figures below are the last ones; this goes on by itself when it is back.",
      missing: "This ComfyUI runs without the server part of Model Stream. Its log says why it was not loaded.",
      locked: "This ComfyUI listens on the network. Enter the admin token of its owner:",
      unlock: "Unlock",
      wrongToken: "ComfyUI did not accept this token.",
      noToken: "This ComfyUI listens on the network and has no admin token, so nothing can be seen or changed from here. Set the environment variable MODELSTREAM_ADMIN_TOKEN (32 characters or more) and restart ComfyUI."
    },
    health: {
      not_configured: "Not set up yet.",
      disabled: "Switched off in the configuration.",
      opening: "Opening the caches…",
      listing: "Listing the buckets…",
      origin_down: "The bucket “{origin}” does not answer. Models that are on this machine still load.",
      streaming: {
        one: "Streaming 1 model at {rate}.",
        other: "Streaming {n} models at {rate}."
      },
      ok: "All well: {ram} models in RAM, {ssd} on the SSD."
    },
    setup: {
      intro: "Model Stream loads models from your bucket as if they were on this machine. It needs to know where the bucket is:",
      disabled: "Model Stream is switched off: its configuration says enabled = false.",
      create: "On the machine that runs ComfyUI, make this file in ComfyUI’s folder:",
      edit: "On the machine that runs ComfyUI, open this file in ComfyUI’s folder:",
      write: "Write this into it, with your own names:",
      copy: "Copy",
      copied: "Copied.",
      selected: "The browser does not allow copying: the lines are selected, press Ctrl+C.",
      restart: "Restart ComfyUI. This panel goes on by itself.",
      credentials: "Credentials come from where the AWS tools keep them: environment, ~/.aws, or the role of the machine. Nothing secret belongs in a workflow."
    },
    origin: {
      listed: "listed {time}",
      listing: "listing…",
      waiting: "not listed yet",
      cut: "too many objects, some are not shown",
      skipped: {
        one: "1 name skipped",
        other: "{n} names skipped"
      }
    },
    tiers: {
      heading: "Where the models are",
      of: "{used} of {budget}",
      models: { one: "1 model", other: "{n} models" },
      leased: "{size} in use",
      pinned: "{size} pinned",
      reserved: "{size} arriving",
      readOnly: "cannot be written",
      noVram: "no graphics card",
      noCard: "no graphics card: they live in RAM",
      off: "switched off",
      opening: "The caches are being opened…",
      here: "{share} of it is kept on this machine",
      bucketEmpty: "no models for ComfyUI’s folders",
      edit: "Budget and clearing of {tier}",
      budget: "Budget",
      apply: "Apply",
      clear: "Clear…",
      budgetNote: "Holds until ComfyUI restarts; config.toml keeps it for good.",
      clearTitle: "Clear the {tier} cache?",
      clearMessage: {
        one: "1 model ({size}) leaves {tier}. It stays in the bucket; what is pinned or in use stays here too.",
        other: "{n} models ({size}) leave {tier}. They stay in the bucket; what is pinned or in use stays here too."
      }
    },
    now: {
      heading: "Now",
      nothing: "Nothing is on its way.",
      amount: "{done} of {size}",
      starting: "starting…",
      left: "{time} left",
      waits: "{nodes} waits",
      prefetch: "fetched ahead",
      background: "in the background",
      nobody: "nobody waits",
      cancel: "Cancel {name}",
      cancelTitle: "Cancel this transfer?",
      cancelWaiting: "A workflow waits for {name} and will fail.",
      fromDisk: "from the SSD",
      restoring: "being restored from its archive",
      restoringLeft: "being restored, {time} left at most",
      node: "node {id}",
      running: "{node} is running.",
      runningAny: "A workflow is running.",
      pending: { one: "1 more is waiting.", other: "{n} more are waiting." },
      more: { one: "and 1 more", other: "and {n} more" }
    },
    models: {
      heading: "Models",
      filter: "Filter by name",
      where: "Where",
      anywhere: "Everywhere",
      folder: "Folder",
      allFolders: "All folders",
      sort: "Sort by",
      ascending: "Ascending",
      descending: "Descending",
      never: "never used",
      uses: { one: "1×", other: "{n}×" },
      inUse: "in use",
      unlisted: "no longer in the bucket",
      none: "The bucket holds nothing for ComfyUI’s folders yet. Put files below checkpoints/, loras/, vae/ and so on, then list it again.",
      noMatch: "No model fits."
    },
    where: {
      cached: "On this machine",
      vram: "In VRAM",
      ram: "In RAM",
      ssd: "On the SSD",
      bucket: "Only in the bucket",
      pinned: "Pinned",
      loading: "On its way"
    },
    column: {
      name: "Name",
      tier: "Where",
      size_bytes: "Size",
      last_used_s: "Last used",
      uses: "Uses",
      saved_s: "Time saved",
      folder: "Folder",
      origin: "Bucket",
      actions: "Actions"
    },
    act: {
      fit: "Will it fit?",
      prefetch: "Fetch {name} to the SSD",
      pin: "Pin {name}",
      unpin: "Unpin {name}",
      evict: "Evict {name} from this machine",
      evictFrom: "Evict from {tier}",
      toRam: "Load into RAM",
      verify: "Verify",
      plan: "What would have to go?",
      refresh: "List the buckets again",
      close: "Close"
    },
    did: {
      pinned: { one: "Pinned {name}.", other: "Pinned {n} models." },
      unpinned: { one: "Unpinned {name}.", other: "Unpinned {n} models." },
      prefetching: { one: "Fetching {name} ({size}).", other: "Fetching {n} models ({size})." },
      evicted: { one: "Evicted {name}.", other: "Evicted {n} models." },
      notEvicted: { one: "{name} was not evicted.", other: "{n} models were not evicted." },
      freed: "{size} freed.",
      verifying: { one: "Verifying {name}.", other: "Verifying {n} models." },
      cancelled: "Cancelled {name}.",
      budget: "{tier} may now use {size}.",
      prefetchPaused: "Prefetching is paused.",
      prefetchOn: "Prefetching goes on.",
      refreshing: "The buckets are being listed again.",
      failed: "That did not work."
    },
    refused: { leased: "in use", pinned: "pinned", absent: "not there", busy: "busy just now" },
    plan: {
      fits: "It fits: {free} of {tier} are free.",
      goes: "To make room on {tier} these would go:",
      noRoom: "{tier} cannot hold it, whatever went."
    },
    gpu: {
      onDevice: "Models on {device}: {size}",
      offloaded: "Offloaded",
      saved: "Saved by precision",
      largest_free: "Largest free block",
      heading: "Graphics card",
      title: "{index}: {name}",
      memory: "Memory",
      busy: "Busy",
      heat: "Temperature",
      power: "Power",
      unknown: "not available",
      looking: "Looking for graphics cards…",
      none: "No graphics card: ComfyUI computes on the processor.",
      lost: "The card does not answer any more.",
      unavailable: "The driver tells nothing about this card."
    },
    timeline: {
      heading: "Time line",
      span: "Time shown",
      "10m": "10 min",
      "6h": "6 h",
      "30d": "30 d",
      rate: "from the bucket",
      eviction: "eviction",
      tiers: "How full VRAM, RAM and SSD were",
      spoken: "Transfer rate over time: highest {peak}; {evictions} evictions since the start.",
      events: "What happened",
      kinds: "Kind of event",
      kind: { all: "All", load: "Loads", evict: "Evictions", problem: "Problems" },
      quiet: "Nothing yet."
    },
    event: {
      load: "Loaded {name} from {tier}",
      load_failed: "Could not load {name}",
      transfer: "Fetched {name}",
      evict: "Evicted {name} from {tier}",
      store: "Kept {name} in {tier}",
      pin: "Pinned {name}",
      unpin: "Unpinned {name}",
      verify: "Verified {name}",
      restore: "Restoring {name} from its archive",
      restored: "{name} is back from its archive",
      restore_failed: "Could not restore {name}",
      class: "Moved {name} to another storage class",
      class_failed: "Could not move {name} to another storage class",
      prefetch_fetch: "Fetching {name} ahead",
      prefetch_skip: "{name} is not fetched ahead",
      prefetch_cancel: "Stopped fetching {name} ahead",
      prefetch_failed: "Could not fetch {name} ahead",
      prefetch_useful: "{name} was fetched ahead and there in time",
      prefetch_late: "{name} was fetched ahead and still on its way",
      prefetch_wasted: "{name} was fetched ahead and not used",
      prefetch_started: "Fetching ahead into {tier}",
      prefetch_finished: "Fetched ahead into {tier}",
      prefetch_cancelled: "Fetching ahead into {tier} was cancelled",
      execution_success: "A run ended",
      execution_error: "A run failed",
      execution_interrupted: "A run was interrupted",
      seam_on: "Connection “{name}”: on",
      seam_off: "Connection “{name}”: off",
      seam_unfit: "Connection “{name}” does not fit this ComfyUI",
      catalog: "The bucket {name} could not be listed",
      corruption: "Damaged bytes of {name} were found"
    },
    reason: {
      asked: "asked for",
      budget: "to make room",
      room: "to make room",
      cleared: "cleared",
      pressure: "memory ran short",
      keep_alive: "kept long enough",
      free: "ComfyUI asked for memory",
      replaced: "replaced by a newer version",
      stale: "left over",
      off: "switched off",
      no_room: "no room",
      damaged: "damaged"
    },
    savings: {
      heading: "Hit rate and savings",
      hitRate: "of loads came from a cache",
      noLoads: "No model was loaded yet.",
      missed: "from the bucket",
      saved: "Saved",
      waiting: "Waiting",
      traffic: "Traffic",
      money: "Money",
      today: "Today",
      week: "7 days",
      total: "In all",
      costToday: "Cost today {money}",
      costMonth: "{money} a month at this pace",
      costRun: "{money} a run",
      runs: {
        one: "1 run: median {p50}",
        other: "{n} runs: half within {p50}, 95 % within {p95}, 99 % within {p99}"
      }
    },
    prefetch: {
      heading: "Prefetch",
      off: "Prefetching is switched off.",
      empty: "Nothing is planned: no model is expected soon that is not here.",
      accuracy: "{share} of what was fetched ahead was there in time.",
      counts: "{useful} in time, {late} late, {wasted} unused",
      unmeasured: "Nothing was fetched ahead yet, so there is no accuracy to tell.",
      pause: "Pause",
      resume: "Go on",
      paused: "Paused: nothing is fetched ahead.",
      likely: "{share} likely",
      reason: {
        queue: "a queued workflow needs it",
        graph: "the open workflow uses it",
        history: "often used after what is running",
        pinned: "pinned"
      }
    },
    alerts: {
      heading: "Alerts",
      none: "No alerts.",
      critical: "Critical",
      warning: "Warning",
      since: "since {time}"
    },
    alert: {
      queue_depth: {
        message: "{value} prompts wait in the queue.",
        advice: "Add a worker, or let the models of the next prompts be fetched ahead."
      },
      gpu_temperature: {
        message: "GPU {subject} is at {value} °C.",
        advice: "Check the cooling: the card slows itself down or stops."
      },
      vram_warning: {
        message: "{value} of GPU {subject}’s memory is used.",
        advice: "Evict models that are not needed, or lower vram.device_budget_gb."
      },
      vram_critical: {
        message: "{value} of GPU {subject}’s memory is used: the next model may not fit.",
        advice: "Evict models, or raise vram.working_memory_gb so that more stays free."
      },
      gpu_lost: {
        message: "GPU {subject} does not answer any more.",
        advice: "See the system’s log: a driver reset or a restart may be needed."
      },
      error_rate: {
        message: "{value} of the last ten minutes’ prompts failed.",
        advice: "Look at the problems in the time line and at ComfyUI’s log."
      },
      disk_floor: {
        message: "The SSD has {value} left above its floor.",
        advice: "Free disk space, or lower ssd.budget_gb."
      },
      ram_pressure: {
        message: "{value} of the memory is used.",
        advice: "Evict models from RAM, or lower ram.budget_gb."
      },
      origin_down: {
        message: "The bucket “{subject}” could not be listed for {value}; what is cached still works.",
        advice: "Check the network and the endpoint in the configuration."
      },
      credentials: {
        message: "The bucket “{subject}” refuses the credentials.",
        advice: "Renew them, and see what they may do."
      },
      corruption: {
        message: "Damaged bytes were found {value} times in ten minutes, and kept from every loader.",
        advice: "Check the disk and the network, and verify the models in the table."
      },
      hit_rate: {
        message: "Caches answered only {value} of the last hour’s loads.",
        advice: "Raise ram.budget_gb or ssd.budget_gb, or pin what is used most."
      },
      daily_cost: {
        message: "Today’s estimated cost is {value}.",
        advice: "See under savings what grows."
      }
    },
    seams: {
      heading: "Connection to ComfyUI",
      on: "on",
      off: "off",
      unfit: "does not fit",
      none: "Model Stream holds on to nothing in this ComfyUI.",
      onCount: "{on} of {all} on",
      unfitCount: { one: "1 does not fit", other: "{n} do not fit" }
    },
    menu: {
      prefetch: "Fetch to the SSD",
      pin: "Pin",
      unpin: "Unpin",
      where: "Where is it?",
      inBucket: "bucket “{origin}”"
    },
    error: {
      away: "ComfyUI does not answer.",
      not_ready: "The caches are still being opened.",
      unknown_digest: "That model is no longer listed.",
      unknown_transfer: "That transfer has already ended.",
      admin_token: "This ComfyUI listens on the network: the admin token is needed.",
      no_admin_token: "No admin token is set on this server.",
      busy: "Too much at once: try again in a moment.",
      unreachable: "does not answer"
    }
  }
};

// web/src/i18n.ts
function lookUp(tree, path) {
  let at = tree;
  for (const key of path.split(".")) at = typeof at === "object" ? at[key] : void 0;
  return typeof at === "string" ? at : void 0;
}
var Texts = class {
  constructor() {
    this.locale = "en";
  }
  async load(app2, api2) {
    const wanted = setting(app2, "Comfy.Locale", "en");
    if (wanted.split("-")[0] === "en") return;
    try {
      const all = await (await api2.fetchApi("/i18n")).json();
      const found = all[wanted] ?? all[wanted.split("-")[0] ?? ""];
      if (typeof found?.["modelStream"] === "object") {
        this.chosen = found["modelStream"];
        this.locale = wanted;
      }
    } catch {
    }
  }
  /** The text of a dotted key; `{name}` in it is replaced.  A key that no language has is returned as it is. */
  get(key, values = {}) {
    const text = lookUp(this.chosen, key) ?? lookUp(main_default.modelStream, key) ?? key;
    return text.replace(/\{(\w+)\}/g, (whole, name) => name in values ? String(values[name]) : whole);
  }
  /** Whether there is such a text: codes from the server (alerts, reasons) have one where they are known. */
  has(key) {
    return (lookUp(this.chosen, key) ?? lookUp(main_default.modelStream, key)) !== void 0;
  }
  /** `key.one`, `key.few`, `key.many` or `key.other`, whichever the language wants for this count. */
  count(key, count, values = {}) {
    const form = new Intl.PluralRules(this.locale).select(count);
    const shown = { n: new Intl.NumberFormat(this.locale).format(count), ...values };
    return this.has(`${key}.${form}`) ? this.get(`${key}.${form}`, shown) : this.get(`${key}.other`, shown);
  }
};
var texts = new Texts();

// web/src/units.ts
var BYTE_UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];
function digits(value) {
  return value >= 100 || Number.isInteger(value) ? 0 : value >= 10 ? 1 : 2;
}
function number(locale, value, fraction = 0) {
  return new Intl.NumberFormat(locale, { maximumFractionDigits: fraction, minimumFractionDigits: 0 }).format(value);
}
function bytes(locale, value) {
  let scaled = Math.max(0, value);
  let unit = 0;
  while (scaled >= 999.5 && unit < BYTE_UNITS.length - 1) {
    scaled /= 1e3;
    unit += 1;
  }
  return `${number(locale, scaled, unit === 0 ? 0 : digits(scaled))} ${BYTE_UNITS[unit]}`;
}
function bytesPair(locale, part, whole) {
  let unit = 0;
  let scaled = Math.max(part, whole, 0);
  while (scaled >= 999.5 && unit < BYTE_UNITS.length - 1) {
    scaled /= 1e3;
    unit += 1;
  }
  const divisor = 1e3 ** unit;
  const fraction = unit === 0 ? 0 : scaled >= 100 ? 0 : 1;
  return [number(locale, part / divisor, fraction), `${number(locale, whole / divisor, fraction)} ${BYTE_UNITS[unit]}`];
}
function rate(locale, bytesPerSecond) {
  return `${bytes(locale, bytesPerSecond)}/s`;
}
function duration(locale, seconds) {
  const unit = (value, name, fraction = 0) => new Intl.NumberFormat(locale, { style: "unit", unit: name, unitDisplay: "short", maximumFractionDigits: fraction }).format(value);
  if (seconds > 0 && seconds < 5e-4) return `< ${unit(1, "millisecond")}`;
  if (seconds < 0.9995) return unit(Math.round(seconds * 1e3), "millisecond");
  if (seconds < 10) return unit(seconds, "second", 1);
  if (seconds < 99.5) return unit(Math.round(seconds), "second");
  if (seconds < 99.5 * 60) return unit(Math.round(seconds / 60), "minute");
  if (seconds < 47.5 * 3600) return unit(Math.round(seconds / 3600), "hour");
  return unit(Math.round(seconds / 86400), "day");
}
var AGO = [
  ["year", 31557600],
  ["month", 2629800],
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60]
];
function ago(locale, then, now) {
  const past = Math.max(0, now - then);
  const format = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "narrow" });
  for (const [unit, size] of AGO) if (past >= size) return format.format(-Math.floor(past / size), unit);
  return format.format(past < 5 ? 0 : -Math.floor(past), "second");
}
function clock(locale, then) {
  return new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" }).format(then * 1e3);
}
function percent(locale, share) {
  return new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: share > 0 && share < 0.1 ? 1 : 0 }).format(share);
}
function money(locale, value, currency) {
  try {
    const precise = value !== 0 && Math.abs(value) < 0.1 ? { maximumSignificantDigits: 2 } : { maximumFractionDigits: value >= 100 ? 0 : 2 };
    return new Intl.NumberFormat(locale, { style: "currency", currency, ...precise }).format(value);
  } catch {
    return `${number(locale, value, 2)} ${currency}`;
  }
}
function visible(name) {
  return name.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g, (one) => {
    if (one === "\n") return "⏎";
    return `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

// web/src/actions.ts
var Actions = class {
  constructor(app2, client2) {
    this.app = app2;
    this.client = client2;
    /** called with every outcome; the panel's live region reads it out */
    this.announce = () => void 0;
    /** called after every change, so that tables show it without waiting for a tick */
    this.changed = () => void 0;
  }
  /** What a node is called in the open workflow; its number where it is in none. */
  nodeTitle(id) {
    const node = this.app.graph?._nodes?.find((one) => String(one.id) === id.split(":").at(-1));
    return visible(node?.title || node?.comfyClass || texts.get("now.node", { id }));
  }
  say(severity, text, detail) {
    this.announce(detail ? `${text} ${detail}` : text);
    toast(this.app, { severity, summary: text, ...detail ? { detail } : {}, life: severity === "error" ? 8e3 : 4e3 });
  }
  async pin(targets, on2) {
    await this.tried(async () => {
      await this.client.pin(digests(targets), on2);
      this.say("success", texts.count(on2 ? "did.pinned" : "did.unpinned", targets.length, named(targets)));
    });
  }
  async prefetch(targets, tier = "ssd") {
    await this.tried(async () => {
      const answer = await this.client.prefetch(digests(targets), tier);
      const size = bytes(texts.locale, answer.size_bytes);
      this.say("info", texts.count("did.prefetching", targets.length, { ...named(targets), size }));
    });
  }
  async evict(targets, tier) {
    await this.tried(async () => {
      const answer = await this.client.evict(digests(targets), tier);
      const refused = refusals(answer);
      const freed = texts.get("did.freed", { size: bytes(texts.locale, answer.freed_bytes) });
      if (refused && !answer.freed_bytes) this.say("warn", texts.count("did.notEvicted", targets.length, named(targets)), refused);
      else this.say("success", texts.count("did.evicted", targets.length, named(targets)), [freed, refused].filter(Boolean).join(" "));
    });
  }
  async verify(targets) {
    await this.tried(async () => {
      await this.client.verify(digests(targets));
      this.say("info", texts.count("did.verifying", targets.length, named(targets)));
    });
  }
  async cancel(transfer, name, waiting) {
    const sure = waiting === 0 || await confirmed(this.app, { title: texts.get("now.cancelTitle"), message: texts.get("now.cancelWaiting", { name: visible(name) }) });
    if (!sure) return;
    await this.tried(async () => {
      await this.client.cancel(transfer);
      this.say("info", texts.get("did.cancelled", { name: visible(name) }));
    });
  }
  async clear(tier) {
    await this.tried(async () => {
      const asked = await this.client.askClear(tier);
      const where = texts.get(`tier.${tier}`);
      const size = bytes(texts.locale, asked.size_bytes);
      const message = texts.count("tiers.clearMessage", asked.entries, { tier: where, size });
      if (!await confirmed(this.app, { title: texts.get("tiers.clearTitle", { tier: where }), message, type: "default" })) return;
      const done = await this.client.clear(tier, asked.confirm);
      this.say("success", texts.get("did.freed", { size: bytes(texts.locale, done.freed_bytes) }));
    });
  }
  async budget(tier, sizeBytes) {
    return this.tried(async () => {
      const done = await this.client.budget(tier, sizeBytes);
      const size = bytes(texts.locale, done.budget_bytes);
      this.say("success", texts.get("did.budget", { tier: texts.get(`tier.${tier}`), size }));
    });
  }
  async pausePrefetch(paused) {
    await this.tried(async () => {
      await this.client.prefetching(paused);
      this.say("info", texts.get(paused ? "did.prefetchPaused" : "did.prefetchOn"));
    });
  }
  async refresh() {
    await this.tried(async () => {
      await this.client.refresh();
      this.say("info", texts.get("did.refreshing"));
    });
  }
  /** Runs it; what the server refuses is said, everything else is a defect and thrown. */
  async tried(action) {
    try {
      await action();
      this.changed();
      return true;
    } catch (error) {
      if (!(error instanceof Refused || error instanceof Away)) throw error;
      this.say("error", texts.get("did.failed"), reasonOf(error));
      return false;
    }
  }
};
function reasonOf(error) {
  if (error instanceof Away) return texts.get("error.away");
  return texts.has(`error.${error.code}`) ? texts.get(`error.${error.code}`) : error.message || error.code;
}
var digests = (targets) => targets.map((one) => one.digest);
var named = (targets) => ({ name: visible(targets[0]?.name ?? "") });
function refusals(answer) {
  const seen = /* @__PURE__ */ new Map();
  for (const result of answer.results) for (const [tier, reason] of Object.entries(result.refused)) seen.set(tier, reason);
  const say = (reason) => texts.has(`refused.${reason}`) ? texts.get(`refused.${reason}`) : reason;
  return [...seen].map(([tier, reason]) => `${texts.get(`tier.${tier}`)}: ${say(reason)}.`).join(" ");
}

// node_modules/@lit/reactive-element/css-tag.js
/**
 * @license
 * Copyright 2019 Google LLC
 * SPDX-License-Identifier: BSD-3-Clause
 */
var t = globalThis;
var e = t.ShadowRoot && (void 0 === t.ShadyCSS || t.ShadyCSS.nativeShadow) && "adoptedStyleSheets" in Document.prototype && "replace" in CSSStyleSheet.prototype;
var s = /* @__PURE__ */ Symbol();
var o = /* @__PURE__ */ new WeakMap();
var n = class {
  constructor(t5, e5, o5) {
    if (this._$cssResult$ = true, o5 !== s) throw Error("CSSResult is not constructable. Use `unsafeCSS` or `css` instead.");
    this.cssText = t5, this.t = e5;
  }
  get styleSheet() {
    let t5 = this.o;
    const s5 = this.t;
    if (e && void 0 === t5) {
      const e5 = void 0 !== s5 && 1 === s5.length;
      e5 && (t5 = o.get(s5)), void 0 === t5 && ((this.o = t5 = new CSSStyleSheet()).replaceSync(this.cssText), e5 && o.set(s5, t5));
    }
    return t5;
  }
  toString() {
    return this.cssText;
  }
};
var r = (t5) => new n("string" == typeof t5 ? t5 : t5 + "", void 0, s);
var i = (t5, ...e5) => {
  const o5 = 1 === t5.length ? t5[0] : e5.reduce((e6, s5, o6) => e6 + ((t6) => {
    if (true === t6._$cssResult$) return t6.cssText;
    if ("number" == typeof t6) return t6;
    throw Error("Value passed to 'css' function must be a 'css' function result: " + t6 + ". Use 'unsafeCSS' to pass non-literal values, but take care to ensure page security.");
  })(s5) + t5[o6 + 1], t5[0]);
  return new n(o5, t5, s);
};
var S = (s5, o5) => {
  if (e) s5.adoptedStyleSheets = o5.map((t5) => t5 instanceof CSSStyleSheet ? t5 : t5.styleSheet);
  else for (const e5 of o5) {
    const o6 = document.createElement("style"), n4 = t.litNonce;
    void 0 !== n4 && o6.setAttribute("nonce", n4), o6.textContent = e5.cssText, s5.appendChild(o6);
  }
};
var c = e ? (t5) => t5 : (t5) => t5 instanceof CSSStyleSheet ? ((t6) => {
  let e5 = "";
  for (const s5 of t6.cssRules) e5 += s5.cssText;
  return r(e5);
})(t5) : t5;

// node_modules/@lit/reactive-element/reactive-element.js
/**
 * @license
 * Copyright 2017 Google LLC
 * SPDX-License-Identifier: BSD-3-Clause
 */
var { is: i2, defineProperty: e2, getOwnPropertyDescriptor: h, getOwnPropertyNames: r2, getOwnPropertySymbols: o2, getPrototypeOf: n2 } = Object;
var a = globalThis;
var c2 = a.trustedTypes;
var l = c2 ? c2.emptyScript : "";
var p = a.reactiveElementPolyfillSupport;
var d = (t5, s5) => t5;
var u = { toAttribute(t5, s5) {
  switch (s5) {
    case Boolean:
      t5 = t5 ? l : null;
      break;
    case Object:
    case Array:
      t5 = null == t5 ? t5 : JSON.stringify(t5);
  }
  return t5;
}, fromAttribute(t5, s5) {
  let i7 = t5;
  switch (s5) {
    case Boolean:
      i7 = null !== t5;
      break;
    case Number:
      i7 = null === t5 ? null : Number(t5);
      break;
    case Object:
    case Array:
      try {
        i7 = JSON.parse(t5);
      } catch (t6) {
        i7 = null;
      }
  }
  return i7;
} };
var f = (t5, s5) => !i2(t5, s5);
var b = { attribute: true, type: String, converter: u, reflect: false, useDefault: false, hasChanged: f };
Symbol.metadata ??= /* @__PURE__ */ Symbol("metadata"), a.litPropertyMetadata ??= /* @__PURE__ */ new WeakMap();
var y = class extends HTMLElement {
  static addInitializer(t5) {
    this._$Ei(), (this.l ??= []).push(t5);
  }
  static get observedAttributes() {
    return this.finalize(), this._$Eh && [...this._$Eh.keys()];
  }
  static createProperty(t5, s5 = b) {
    if (s5.state && (s5.attribute = false), this._$Ei(), this.prototype.hasOwnProperty(t5) && ((s5 = Object.create(s5)).wrapped = true), this.elementProperties.set(t5, s5), !s5.noAccessor) {
      const i7 = /* @__PURE__ */ Symbol(), h4 = this.getPropertyDescriptor(t5, i7, s5);
      void 0 !== h4 && e2(this.prototype, t5, h4);
    }
  }
  static getPropertyDescriptor(t5, s5, i7) {
    const { get: e5, set: r4 } = h(this.prototype, t5) ?? { get() {
      return this[s5];
    }, set(t6) {
      this[s5] = t6;
    } };
    return { get: e5, set(s6) {
      const h4 = e5?.call(this);
      r4?.call(this, s6), this.requestUpdate(t5, h4, i7);
    }, configurable: true, enumerable: true };
  }
  static getPropertyOptions(t5) {
    return this.elementProperties.get(t5) ?? b;
  }
  static _$Ei() {
    if (this.hasOwnProperty(d("elementProperties"))) return;
    const t5 = n2(this);
    t5.finalize(), void 0 !== t5.l && (this.l = [...t5.l]), this.elementProperties = new Map(t5.elementProperties);
  }
  static finalize() {
    if (this.hasOwnProperty(d("finalized"))) return;
    if (this.finalized = true, this._$Ei(), this.hasOwnProperty(d("properties"))) {
      const t6 = this.properties, s5 = [...r2(t6), ...o2(t6)];
      for (const i7 of s5) this.createProperty(i7, t6[i7]);
    }
    const t5 = this[Symbol.metadata];
    if (null !== t5) {
      const s5 = litPropertyMetadata.get(t5);
      if (void 0 !== s5) for (const [t6, i7] of s5) this.elementProperties.set(t6, i7);
    }
    this._$Eh = /* @__PURE__ */ new Map();
    for (const [t6, s5] of this.elementProperties) {
      const i7 = this._$Eu(t6, s5);
      void 0 !== i7 && this._$Eh.set(i7, t6);
    }
    this.elementStyles = this.finalizeStyles(this.styles);
  }
  static finalizeStyles(s5) {
    const i7 = [];
    if (Array.isArray(s5)) {
      const e5 = new Set(s5.flat(1 / 0).reverse());
      for (const s6 of e5) i7.unshift(c(s6));
    } else void 0 !== s5 && i7.push(c(s5));
    return i7;
  }
  static _$Eu(t5, s5) {
    const i7 = s5.attribute;
    return false === i7 ? void 0 : "string" == typeof i7 ? i7 : "string" == typeof t5 ? t5.toLowerCase() : void 0;
  }
  constructor() {
    super(), this._$Ep = void 0, this.isUpdatePending = false, this.hasUpdated = false, this._$Em = null, this._$Ev();
  }
  _$Ev() {
    this._$ES = new Promise((t5) => this.enableUpdating = t5), this._$AL = /* @__PURE__ */ new Map(), this._$E_(), this.requestUpdate(), this.constructor.l?.forEach((t5) => t5(this));
  }
  addController(t5) {
    (this._$EO ??= /* @__PURE__ */ new Set()).add(t5), void 0 !== this.renderRoot && this.isConnected && t5.hostConnected?.();
  }
  removeController(t5) {
    this._$EO?.delete(t5);
  }
  _$E_() {
    const t5 = /* @__PURE__ */ new Map(), s5 = this.constructor.elementProperties;
    for (const i7 of s5.keys()) this.hasOwnProperty(i7) && (t5.set(i7, this[i7]), delete this[i7]);
    t5.size > 0 && (this._$Ep = t5);
  }
  createRenderRoot() {
    const t5 = this.shadowRoot ?? this.attachShadow(this.constructor.shadowRootOptions);
    return S(t5, this.constructor.elementStyles), t5;
  }
  connectedCallback() {
    this.renderRoot ??= this.createRenderRoot(), this.enableUpdating(true), this._$EO?.forEach((t5) => t5.hostConnected?.());
  }
  enableUpdating(t5) {
  }
  disconnectedCallback() {
    this._$EO?.forEach((t5) => t5.hostDisconnected?.());
  }
  attributeChangedCallback(t5, s5, i7) {
    this._$AK(t5, i7);
  }
  _$ET(t5, s5) {
    const i7 = this.constructor.elementProperties.get(t5), e5 = this.constructor._$Eu(t5, i7);
    if (void 0 !== e5 && true === i7.reflect) {
      const h4 = (void 0 !== i7.converter?.toAttribute ? i7.converter : u).toAttribute(s5, i7.type);
      this._$Em = t5, null == h4 ? this.removeAttribute(e5) : this.setAttribute(e5, h4), this._$Em = null;
    }
  }
  _$AK(t5, s5) {
    const i7 = this.constructor, e5 = i7._$Eh.get(t5);
    if (void 0 !== e5 && this._$Em !== e5) {
      const t6 = i7.getPropertyOptions(e5), h4 = "function" == typeof t6.converter ? { fromAttribute: t6.converter } : void 0 !== t6.converter?.fromAttribute ? t6.converter : u;
      this._$Em = e5;
      const r4 = h4.fromAttribute(s5, t6.type);
      this[e5] = r4 ?? this._$Ej?.get(e5) ?? r4, this._$Em = null;
    }
  }
  requestUpdate(t5, s5, i7, e5 = false, h4) {
    if (void 0 !== t5) {
      const r4 = this.constructor;
      if (false === e5 && (h4 = this[t5]), i7 ??= r4.getPropertyOptions(t5), !((i7.hasChanged ?? f)(h4, s5) || i7.useDefault && i7.reflect && h4 === this._$Ej?.get(t5) && !this.hasAttribute(r4._$Eu(t5, i7)))) return;
      this.C(t5, s5, i7);
    }
    false === this.isUpdatePending && (this._$ES = this._$EP());
  }
  C(t5, s5, { useDefault: i7, reflect: e5, wrapped: h4 }, r4) {
    i7 && !(this._$Ej ??= /* @__PURE__ */ new Map()).has(t5) && (this._$Ej.set(t5, r4 ?? s5 ?? this[t5]), true !== h4 || void 0 !== r4) || (this._$AL.has(t5) || (this.hasUpdated || i7 || (s5 = void 0), this._$AL.set(t5, s5)), true === e5 && this._$Em !== t5 && (this._$Eq ??= /* @__PURE__ */ new Set()).add(t5));
  }
  async _$EP() {
    this.isUpdatePending = true;
    try {
      await this._$ES;
    } catch (t6) {
      Promise.reject(t6);
    }
    const t5 = this.scheduleUpdate();
    return null != t5 && await t5, !this.isUpdatePending;
  }
  scheduleUpdate() {
    return this.performUpdate();
  }
  performUpdate() {
    if (!this.isUpdatePending) return;
    if (!this.hasUpdated) {
      if (this.renderRoot ??= this.createRenderRoot(), this._$Ep) {
        for (const [t7, s6] of this._$Ep) this[t7] = s6;
        this._$Ep = void 0;
      }
      const t6 = this.constructor.elementProperties;
      if (t6.size > 0) for (const [s6, i7] of t6) {
        const { wrapped: t7 } = i7, e5 = this[s6];
        true !== t7 || this._$AL.has(s6) || void 0 === e5 || this.C(s6, void 0, i7, e5);
      }
    }
    let t5 = false;
    const s5 = this._$AL;
    try {
      t5 = this.shouldUpdate(s5), t5 ? (this.willUpdate(s5), this._$EO?.forEach((t6) => t6.hostUpdate?.()), this.update(s5)) : this._$EM();
    } catch (s6) {
      throw t5 = false, this._$EM(), s6;
    }
    t5 && this._$AE(s5);
  }
  willUpdate(t5) {
  }
  _$AE(t5) {
    this._$EO?.forEach((t6) => t6.hostUpdated?.()), this.hasUpdated || (this.hasUpdated = true, this.firstUpdated(t5)), this.updated(t5);
  }
  _$EM() {
    this._$AL = /* @__PURE__ */ new Map(), this.isUpdatePending = false;
  }
  get updateComplete() {
    return this.getUpdateComplete();
  }
  getUpdateComplete() {
    return this._$ES;
  }
  shouldUpdate(t5) {
    return true;
  }
  update(t5) {
    this._$Eq &&= this._$Eq.forEach((t6) => this._$ET(t6, this[t6])), this._$EM();
  }
  updated(t5) {
  }
  firstUpdated(t5) {
  }
};
y.elementStyles = [], y.shadowRootOptions = { mode: "open" }, y[d("elementProperties")] = /* @__PURE__ */ new Map(), y[d("finalized")] = /* @__PURE__ */ new Map(), p?.({ ReactiveElement: y }), (a.reactiveElementVersions ??= []).push("2.1.2");

// node_modules/lit-html/lit-html.js
/**
 * @license
 * Copyright 2017 Google LLC
 * SPDX-License-Identifier: BSD-3-Clause
 */
var t2 = globalThis;
var i3 = (t5) => t5;
var s2 = t2.trustedTypes;
var e3 = s2 ? s2.createPolicy("lit-html", { createHTML: (t5) => t5 }) : void 0;
var h2 = "$lit$";
var o3 = `lit$${Math.random().toFixed(9).slice(2)}$`;
var n3 = "?" + o3;
var r3 = `<${n3}>`;
var l2 = document;
var c3 = () => l2.createComment("");
var a2 = (t5) => null === t5 || "object" != typeof t5 && "function" != typeof t5;
var u2 = Array.isArray;
var d2 = (t5) => u2(t5) || "function" == typeof t5?.[Symbol.iterator];
var f2 = "[ 	\n\f\r]";
var v = /<(?:(!--|\/[^a-zA-Z])|(\/?[a-zA-Z][^>\s]*)|(\/?$))/g;
var _ = /-->/g;
var m = />/g;
var p2 = RegExp(`>|${f2}(?:([^\\s"'>=/]+)(${f2}*=${f2}*(?:[^ 	
\f\r"'\`<>=]|("|')|))|$)`, "g");
var g = /'/g;
var $ = /"/g;
var y2 = /^(?:script|style|textarea|title)$/i;
var x = (t5) => (i7, ...s5) => ({ _$litType$: t5, strings: i7, values: s5 });
var b2 = x(1);
var w = x(2);
var T = x(3);
var E = /* @__PURE__ */ Symbol.for("lit-noChange");
var A = /* @__PURE__ */ Symbol.for("lit-nothing");
var C = /* @__PURE__ */ new WeakMap();
var P = l2.createTreeWalker(l2, 129);
function V(t5, i7) {
  if (!u2(t5) || !t5.hasOwnProperty("raw")) throw Error("invalid template strings array");
  return void 0 !== e3 ? e3.createHTML(i7) : i7;
}
var N = (t5, i7) => {
  const s5 = t5.length - 1, e5 = [];
  let n4, l3 = 2 === i7 ? "<svg>" : 3 === i7 ? "<math>" : "", c5 = v;
  for (let i8 = 0; i8 < s5; i8++) {
    const s6 = t5[i8];
    let a3, u5, d3 = -1, f3 = 0;
    for (; f3 < s6.length && (c5.lastIndex = f3, u5 = c5.exec(s6), null !== u5); ) f3 = c5.lastIndex, c5 === v ? "!--" === u5[1] ? c5 = _ : void 0 !== u5[1] ? c5 = m : void 0 !== u5[2] ? (y2.test(u5[2]) && (n4 = RegExp("</" + u5[2], "g")), c5 = p2) : void 0 !== u5[3] && (c5 = p2) : c5 === p2 ? ">" === u5[0] ? (c5 = n4 ?? v, d3 = -1) : void 0 === u5[1] ? d3 = -2 : (d3 = c5.lastIndex - u5[2].length, a3 = u5[1], c5 = void 0 === u5[3] ? p2 : '"' === u5[3] ? $ : g) : c5 === $ || c5 === g ? c5 = p2 : c5 === _ || c5 === m ? c5 = v : (c5 = p2, n4 = void 0);
    const x2 = c5 === p2 && t5[i8 + 1].startsWith("/>") ? " " : "";
    l3 += c5 === v ? s6 + r3 : d3 >= 0 ? (e5.push(a3), s6.slice(0, d3) + h2 + s6.slice(d3) + o3 + x2) : s6 + o3 + (-2 === d3 ? i8 : x2);
  }
  return [V(t5, l3 + (t5[s5] || "<?>") + (2 === i7 ? "</svg>" : 3 === i7 ? "</math>" : "")), e5];
};
var S2 = class _S {
  constructor({ strings: t5, _$litType$: i7 }, e5) {
    let r4;
    this.parts = [];
    let l3 = 0, a3 = 0;
    const u5 = t5.length - 1, d3 = this.parts, [f3, v3] = N(t5, i7);
    if (this.el = _S.createElement(f3, e5), P.currentNode = this.el.content, 2 === i7 || 3 === i7) {
      const t6 = this.el.content.firstChild;
      t6.replaceWith(...t6.childNodes);
    }
    for (; null !== (r4 = P.nextNode()) && d3.length < u5; ) {
      if (1 === r4.nodeType) {
        if (r4.hasAttributes()) for (const t6 of r4.getAttributeNames()) if (t6.endsWith(h2)) {
          const i8 = v3[a3++], s5 = r4.getAttribute(t6).split(o3), e6 = /([.?@])?(.*)/.exec(i8);
          d3.push({ type: 1, index: l3, name: e6[2], strings: s5, ctor: "." === e6[1] ? I : "?" === e6[1] ? L : "@" === e6[1] ? z : H }), r4.removeAttribute(t6);
        } else t6.startsWith(o3) && (d3.push({ type: 6, index: l3 }), r4.removeAttribute(t6));
        if (y2.test(r4.tagName)) {
          const t6 = r4.textContent.split(o3), i8 = t6.length - 1;
          if (i8 > 0) {
            r4.textContent = s2 ? s2.emptyScript : "";
            for (let s5 = 0; s5 < i8; s5++) r4.append(t6[s5], c3()), P.nextNode(), d3.push({ type: 2, index: ++l3 });
            r4.append(t6[i8], c3());
          }
        }
      } else if (8 === r4.nodeType) if (r4.data === n3) d3.push({ type: 2, index: l3 });
      else {
        let t6 = -1;
        for (; -1 !== (t6 = r4.data.indexOf(o3, t6 + 1)); ) d3.push({ type: 7, index: l3 }), t6 += o3.length - 1;
      }
      l3++;
    }
  }
  static createElement(t5, i7) {
    const s5 = l2.createElement("template");
    return s5.innerHTML = t5, s5;
  }
};
function M(t5, i7, s5 = t5, e5) {
  if (i7 === E) return i7;
  let h4 = void 0 !== e5 ? s5._$Co?.[e5] : s5._$Cl;
  const o5 = a2(i7) ? void 0 : i7._$litDirective$;
  return h4?.constructor !== o5 && (h4?._$AO?.(false), void 0 === o5 ? h4 = void 0 : (h4 = new o5(t5), h4._$AT(t5, s5, e5)), void 0 !== e5 ? (s5._$Co ??= [])[e5] = h4 : s5._$Cl = h4), void 0 !== h4 && (i7 = M(t5, h4._$AS(t5, i7.values), h4, e5)), i7;
}
var R = class {
  constructor(t5, i7) {
    this._$AV = [], this._$AN = void 0, this._$AD = t5, this._$AM = i7;
  }
  get parentNode() {
    return this._$AM.parentNode;
  }
  get _$AU() {
    return this._$AM._$AU;
  }
  u(t5) {
    const { el: { content: i7 }, parts: s5 } = this._$AD, e5 = (t5?.creationScope ?? l2).importNode(i7, true);
    P.currentNode = e5;
    let h4 = P.nextNode(), o5 = 0, n4 = 0, r4 = s5[0];
    for (; void 0 !== r4; ) {
      if (o5 === r4.index) {
        let i8;
        2 === r4.type ? i8 = new k(h4, h4.nextSibling, this, t5) : 1 === r4.type ? i8 = new r4.ctor(h4, r4.name, r4.strings, this, t5) : 6 === r4.type && (i8 = new Z(h4, this, t5)), this._$AV.push(i8), r4 = s5[++n4];
      }
      o5 !== r4?.index && (h4 = P.nextNode(), o5++);
    }
    return P.currentNode = l2, e5;
  }
  p(t5) {
    let i7 = 0;
    for (const s5 of this._$AV) void 0 !== s5 && (void 0 !== s5.strings ? (s5._$AI(t5, s5, i7), i7 += s5.strings.length - 2) : s5._$AI(t5[i7])), i7++;
  }
};
var k = class _k {
  get _$AU() {
    return this._$AM?._$AU ?? this._$Cv;
  }
  constructor(t5, i7, s5, e5) {
    this.type = 2, this._$AH = A, this._$AN = void 0, this._$AA = t5, this._$AB = i7, this._$AM = s5, this.options = e5, this._$Cv = e5?.isConnected ?? true;
  }
  get parentNode() {
    let t5 = this._$AA.parentNode;
    const i7 = this._$AM;
    return void 0 !== i7 && 11 === t5?.nodeType && (t5 = i7.parentNode), t5;
  }
  get startNode() {
    return this._$AA;
  }
  get endNode() {
    return this._$AB;
  }
  _$AI(t5, i7 = this) {
    t5 = M(this, t5, i7), a2(t5) ? t5 === A || null == t5 || "" === t5 ? (this._$AH !== A && this._$AR(), this._$AH = A) : t5 !== this._$AH && t5 !== E && this._(t5) : void 0 !== t5._$litType$ ? this.$(t5) : void 0 !== t5.nodeType ? this.T(t5) : d2(t5) ? this.k(t5) : this._(t5);
  }
  O(t5) {
    return this._$AA.parentNode.insertBefore(t5, this._$AB);
  }
  T(t5) {
    this._$AH !== t5 && (this._$AR(), this._$AH = this.O(t5));
  }
  _(t5) {
    this._$AH !== A && a2(this._$AH) ? this._$AA.nextSibling.data = t5 : this.T(l2.createTextNode(t5)), this._$AH = t5;
  }
  $(t5) {
    const { values: i7, _$litType$: s5 } = t5, e5 = "number" == typeof s5 ? this._$AC(t5) : (void 0 === s5.el && (s5.el = S2.createElement(V(s5.h, s5.h[0]), this.options)), s5);
    if (this._$AH?._$AD === e5) this._$AH.p(i7);
    else {
      const t6 = new R(e5, this), s6 = t6.u(this.options);
      t6.p(i7), this.T(s6), this._$AH = t6;
    }
  }
  _$AC(t5) {
    let i7 = C.get(t5.strings);
    return void 0 === i7 && C.set(t5.strings, i7 = new S2(t5)), i7;
  }
  k(t5) {
    u2(this._$AH) || (this._$AH = [], this._$AR());
    const i7 = this._$AH;
    let s5, e5 = 0;
    for (const h4 of t5) e5 === i7.length ? i7.push(s5 = new _k(this.O(c3()), this.O(c3()), this, this.options)) : s5 = i7[e5], s5._$AI(h4), e5++;
    e5 < i7.length && (this._$AR(s5 && s5._$AB.nextSibling, e5), i7.length = e5);
  }
  _$AR(t5 = this._$AA.nextSibling, s5) {
    for (this._$AP?.(false, true, s5); t5 !== this._$AB; ) {
      const s6 = i3(t5).nextSibling;
      i3(t5).remove(), t5 = s6;
    }
  }
  setConnected(t5) {
    void 0 === this._$AM && (this._$Cv = t5, this._$AP?.(t5));
  }
};
var H = class {
  get tagName() {
    return this.element.tagName;
  }
  get _$AU() {
    return this._$AM._$AU;
  }
  constructor(t5, i7, s5, e5, h4) {
    this.type = 1, this._$AH = A, this._$AN = void 0, this.element = t5, this.name = i7, this._$AM = e5, this.options = h4, s5.length > 2 || "" !== s5[0] || "" !== s5[1] ? (this._$AH = Array(s5.length - 1).fill(new String()), this.strings = s5) : this._$AH = A;
  }
  _$AI(t5, i7 = this, s5, e5) {
    const h4 = this.strings;
    let o5 = false;
    if (void 0 === h4) t5 = M(this, t5, i7, 0), o5 = !a2(t5) || t5 !== this._$AH && t5 !== E, o5 && (this._$AH = t5);
    else {
      const e6 = t5;
      let n4, r4;
      for (t5 = h4[0], n4 = 0; n4 < h4.length - 1; n4++) r4 = M(this, e6[s5 + n4], i7, n4), r4 === E && (r4 = this._$AH[n4]), o5 ||= !a2(r4) || r4 !== this._$AH[n4], r4 === A ? t5 = A : t5 !== A && (t5 += (r4 ?? "") + h4[n4 + 1]), this._$AH[n4] = r4;
    }
    o5 && !e5 && this.j(t5);
  }
  j(t5) {
    t5 === A ? this.element.removeAttribute(this.name) : this.element.setAttribute(this.name, t5 ?? "");
  }
};
var I = class extends H {
  constructor() {
    super(...arguments), this.type = 3;
  }
  j(t5) {
    this.element[this.name] = t5 === A ? void 0 : t5;
  }
};
var L = class extends H {
  constructor() {
    super(...arguments), this.type = 4;
  }
  j(t5) {
    this.element.toggleAttribute(this.name, !!t5 && t5 !== A);
  }
};
var z = class extends H {
  constructor(t5, i7, s5, e5, h4) {
    super(t5, i7, s5, e5, h4), this.type = 5;
  }
  _$AI(t5, i7 = this) {
    if ((t5 = M(this, t5, i7, 0) ?? A) === E) return;
    const s5 = this._$AH, e5 = t5 === A && s5 !== A || t5.capture !== s5.capture || t5.once !== s5.once || t5.passive !== s5.passive, h4 = t5 !== A && (s5 === A || e5);
    e5 && this.element.removeEventListener(this.name, this, s5), h4 && this.element.addEventListener(this.name, this, t5), this._$AH = t5;
  }
  handleEvent(t5) {
    "function" == typeof this._$AH ? this._$AH.call(this.options?.host ?? this.element, t5) : this._$AH.handleEvent(t5);
  }
};
var Z = class {
  constructor(t5, i7, s5) {
    this.element = t5, this.type = 6, this._$AN = void 0, this._$AM = i7, this.options = s5;
  }
  get _$AU() {
    return this._$AM._$AU;
  }
  _$AI(t5) {
    M(this, t5);
  }
};
var j = { M: h2, P: o3, A: n3, C: 1, L: N, R, D: d2, V: M, I: k, H, N: L, U: z, B: I, F: Z };
var B = t2.litHtmlPolyfillSupport;
B?.(S2, k), (t2.litHtmlVersions ??= []).push("3.3.3");
var D = (t5, i7, s5) => {
  const e5 = s5?.renderBefore ?? i7;
  let h4 = e5._$litPart$;
  if (void 0 === h4) {
    const t6 = s5?.renderBefore ?? null;
    e5._$litPart$ = h4 = new k(i7.insertBefore(c3(), t6), t6, void 0, s5 ?? {});
  }
  return h4._$AI(t5), h4;
};

// node_modules/lit-element/lit-element.js
/**
 * @license
 * Copyright 2017 Google LLC
 * SPDX-License-Identifier: BSD-3-Clause
 */
var s3 = globalThis;
var i4 = class extends y {
  constructor() {
    super(...arguments), this.renderOptions = { host: this }, this._$Do = void 0;
  }
  createRenderRoot() {
    const t5 = super.createRenderRoot();
    return this.renderOptions.renderBefore ??= t5.firstChild, t5;
  }
  update(t5) {
    const r4 = this.render();
    this.hasUpdated || (this.renderOptions.isConnected = this.isConnected), super.update(t5), this._$Do = D(r4, this.renderRoot, this.renderOptions);
  }
  connectedCallback() {
    super.connectedCallback(), this._$Do?.setConnected(true);
  }
  disconnectedCallback() {
    super.disconnectedCallback(), this._$Do?.setConnected(false);
  }
  render() {
    return E;
  }
};
i4._$litElement$ = true, i4["finalized"] = true, s3.litElementHydrateSupport?.({ LitElement: i4 });
var o4 = s3.litElementPolyfillSupport;
o4?.({ LitElement: i4 });
(s3.litElementVersions ??= []).push("4.2.2");

// node_modules/lit-html/is-server.js
/**
 * @license
 * Copyright 2022 Google LLC
 * SPDX-License-Identifier: BSD-3-Clause
 */

// web/src/feed.ts
var STATUS_EVERY_S = 10;
var STATUS_AFTER_EVENT_S = 2;
var RETRY_S = [0.5, 1, 2, 4, 5];
var EVENTS_KEPT = 300;
var Feed = class {
  constructor(client2, api2) {
    this.client = client2;
    this.phase = "closed";
    this.status = null;
    this.events = [];
    this.moreTransfers = 0;
    /** of "refused": what the server said */
    this.failure = null;
    /** of "locked": why the form is there (again) */
    this.lock = "asked";
    this.listeners = /* @__PURE__ */ new Set();
    this.alertListeners = /* @__PURE__ */ new Set();
    this.panels = 0;
    this.statusAt = 0;
    this.statusWanted = false;
    this.attempts = 0;
    this.lastEvent = 0;
    this.generation = 0;
    this.skew = 0;
    api2.addEventListener("modelstream", (event) => this.message(event.detail));
    api2.addEventListener("reconnecting", () => this.lost());
    api2.addEventListener("reconnected", () => void this.follow());
    document.addEventListener("visibilitychange", () => this.visibility());
  }
  /** Called for every change; the returned function ends that. */
  subscribe(listener) {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }
  onAlert(listener) {
    this.alertListeners.add(listener);
  }
  open() {
    this.panels += 1;
    if (this.panels === 1) void this.follow();
  }
  close() {
    this.panels -= 1;
    if (this.panels === 0) this.rest();
  }
  /** Seconds since 1970 on the server's clock. */
  now() {
    return Date.now() / 1e3 + this.skew;
  }
  async refreshStatus() {
    this.statusWanted = false;
    this.statusAt = performance.now();
    const status = await this.client.status();
    this.skew = status.now_s - Date.now() / 1e3;
    this.status = status;
    this.changed();
  }
  get wanted() {
    return this.panels > 0 && document.visibilityState !== "hidden";
  }
  changed() {
    for (const listener of this.listeners) listener();
  }
  enter(phase, failure = null) {
    this.phase = phase;
    this.failure = failure;
    this.changed();
  }
  later(seconds) {
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.follow(), seconds * 1e3);
  }
  /** Starts the ticks, or keeps them going; asks again by itself for as long as a panel is open. */
  async follow() {
    window.clearTimeout(this.timer);
    if (!this.wanted) return;
    if (this.phase === "closed") this.enter("connecting");
    try {
      const answer = await this.ticks();
      if (this.phase !== "live" || this.statusStale()) await this.refreshStatus();
      if (this.phase !== "live") await this.catchUp();
      if (answer.tick) this.tick(answer.tick);
      this.attempts = 0;
      if (this.wanted && this.phase !== "live") this.enter("live");
      this.later(Math.max(1, Math.min(answer.expires_s / 2, STATUS_EVERY_S)));
    } catch (error) {
      this.failed(error);
    }
  }
  /** Asks for ticks.  Where nothing is measured (no configuration, metrics switched off) there are none: the status is asked again. */
  async ticks() {
    try {
      return await this.client.panel(true);
    } catch (error) {
      if (error instanceof Refused && error.code === "not_configured") return { expires_s: 2 * STATUS_EVERY_S };
      throw error;
    }
  }
  failed(error) {
    const wait = RETRY_S[Math.min(this.attempts, RETRY_S.length - 1)] ?? 5;
    this.attempts += 1;
    if (error instanceof Away) this.enter("away");
    else if (!(error instanceof Refused)) throw error;
    else if (["admin_token", "no_admin_token"].includes(error.code)) this.locked(error.code);
    else if (error.status === 404) this.enter("missing");
    else this.enter("refused", error);
    if (this.phase !== "locked") this.later(wait);
  }
  /** No figure of before stays: who may not read now must not go on seeing them.  A token that was refused is forgotten. */
  locked(code) {
    this.lock = code === "no_admin_token" ? "none" : this.client.adminToken ? "wrong" : "asked";
    this.client.adminToken = "";
    this.status = null;
    this.events = [];
    this.enter("locked");
  }
  lost() {
    if (["live", "connecting", "locked"].includes(this.phase)) this.enter("away");
    if (this.wanted) this.later(RETRY_S[0]);
  }
  rest() {
    window.clearTimeout(this.timer);
    const wasLive = this.phase === "live";
    this.phase = "closed";
    if (wasLive) this.client.panel(false).catch(() => void 0);
  }
  visibility() {
    if (this.panels === 0) return;
    if (document.visibilityState === "hidden") this.rest();
    else void this.follow();
  }
  unlock(token) {
    this.client.adminToken = token;
    this.attempts = 0;
    void this.follow();
  }
  statusStale() {
    const age = (performance.now() - this.statusAt) / 1e3;
    return age >= STATUS_EVERY_S || this.statusWanted && age >= STATUS_AFTER_EVENT_S;
  }
  message(message) {
    if (message.kind === "alert") {
      for (const listener of this.alertListeners) listener(message.alert);
      this.statusWanted = true;
      if (this.wanted) void this.refreshIfStale();
    } else if (message.kind === "tick" && this.wanted) {
      this.tick(message);
      if (this.phase !== "live" && this.status) this.enter("live");
      else this.changed();
    }
  }
  tick(tick) {
    if (!this.status) return;
    const { health, tiers, transfers, gpus, on_devices, queue, totals, generation } = tick;
    const moved = tick.last_event !== this.lastEvent || health.code !== this.status.health.code || generation !== this.generation;
    this.generation = generation;
    const savings = { ...this.status.savings, hit_rate: tick.hit_rate };
    this.status = { ...this.status, now_s: tick.now_s, health, tiers, transfers, gpus, on_devices, queue, totals, generation, savings };
    this.moreTransfers = tick.more_transfers;
    this.skew = tick.now_s - Date.now() / 1e3;
    this.take(tick.events);
    if (tick.last_event > this.lastEvent) void this.catchUp();
    if (moved) this.statusWanted = true;
    void this.refreshIfStale();
  }
  async refreshIfStale() {
    if (!this.statusStale()) return;
    await this.refreshStatus().catch((error) => this.failed(error));
  }
  take(events) {
    const fresh = events.filter((event) => event.seq > this.lastEvent);
    if (!fresh.length) return;
    this.lastEvent = Math.max(...fresh.map((event) => event.seq));
    this.events = [...this.events, ...fresh].slice(-EVENTS_KEPT);
  }
  /** The events that ticks left out.  A server that starts counting anew was restarted. */
  async catchUp() {
    try {
      const answer = await this.client.events(this.lastEvent);
      if (answer.last < this.lastEvent) {
        this.lastEvent = 0;
        this.take((await this.client.events(0)).events);
      } else {
        this.take(answer.events);
        this.lastEvent = Math.max(this.lastEvent, answer.last);
      }
      this.changed();
    } catch (error) {
      if (!(error instanceof Away || error instanceof Refused)) throw error;
    }
  }
};
var Follows = class {
  constructor(host) {
    this.host = host;
    host.addController(this);
  }
  hostConnected() {
    this.end = this.host.feed?.subscribe(() => this.host.requestUpdate());
  }
  hostUpdate() {
    this.end ??= this.host.feed?.subscribe(() => this.host.requestUpdate());
  }
  hostDisconnected() {
    this.end?.();
    this.end = void 0;
  }
};

// web/src/styles.ts
var tokens = i`
  :host {
    --ms-fg: var(--base-foreground, var(--fg-color, #222));
    --ms-muted: color-mix(in srgb, var(--muted-foreground, var(--descrip-text, #666)) 78%, var(--ms-fg));
    --ms-bg: var(--interface-panel-surface, var(--comfy-menu-bg, #fff));
    --ms-raised: color-mix(in srgb, var(--ms-fg) 6%, transparent);
    --ms-hover: color-mix(in srgb, var(--ms-fg) 12%, transparent);
    --ms-line: color-mix(in srgb, var(--ms-fg) 16%, transparent);
    --ms-track: color-mix(in srgb, var(--ms-fg) 11%, transparent);
    --ms-accent: #1769d2;
    --ms-on-accent: #fff;
    --ms-good: #1a7f37;
    --ms-warn: #9a6700;
    --ms-bad: #c9252d;
    --ms-vram: #8250df;
    --ms-ram: #1769d2;
    --ms-ssd: #0e7f86;
    --ms-bucket: #a45a08;
    color: var(--ms-fg);
    font: 400 13px/1.4 Inter, system-ui, sans-serif;
    font-variant-numeric: tabular-nums;
  }
  :host([theme="dark"]) {
    --ms-accent: #5ba4f5;
    --ms-on-accent: #08182b;
    --ms-good: #56c271;
    --ms-warn: #e0b040;
    --ms-bad: #ff7b72;
    --ms-vram: #b392f0;
    --ms-ram: #5ba4f5;
    --ms-ssd: #4fc4c4;
    --ms-bucket: #f0a45d;
  }
`;
var base = i`
  :host {
    box-sizing: border-box;
  }
  [hidden] {
    display: none !important;
  }
  *,
  *::before,
  *::after {
    box-sizing: border-box;
  }
  .muted {
    color: var(--ms-muted);
  }
  .name {
    unicode-bidi: isolate;
    overflow: hidden;
    text-overflow: ellipsis;
    white-space: nowrap;
  }
  .hidden {
    position: absolute;
    width: 1px;
    height: 1px;
    overflow: hidden;
    clip-path: inset(50%);
    white-space: nowrap;
  }
  h2,
  h3,
  p,
  ul,
  ol,
  dl,
  dd {
    margin: 0;
    padding: 0;
    font: inherit;
  }
  ul,
  ol {
    list-style: none;
  }
  a {
    color: var(--ms-accent);
  }
  button,
  input,
  select {
    font: inherit;
    color: inherit;
  }
  button {
    display: inline-flex;
    align-items: center;
    justify-content: center;
    gap: 6px;
    min-height: 26px;
    padding: 2px 10px;
    border: 1px solid var(--ms-line);
    border-radius: 6px;
    background: var(--ms-raised);
    cursor: pointer;
  }
  button:hover:not(:disabled) {
    background: var(--ms-hover);
  }
  button:disabled {
    cursor: default;
    opacity: 0.45;
  }
  button.icon {
    width: 26px;
    padding: 0;
    border-color: transparent;
    background: transparent;
    flex: none;
  }
  button.icon:hover:not(:disabled) {
    background: var(--ms-hover);
  }
  button[aria-pressed="true"] {
    color: var(--ms-accent);
  }
  input,
  select {
    min-height: 28px;
    padding: 2px 8px;
    border: 1px solid var(--ms-line);
    border-radius: 6px;
    background: var(--ms-raised);
    min-width: 0;
  }
  select option {
    color: var(--fg-color, #222);
    background: var(--comfy-menu-bg, #fff);
  }
  :focus-visible {
    outline: 2px solid var(--ms-accent);
    outline-offset: 1px;
  }
  svg.glyph {
    width: 16px;
    height: 16px;
    flex: none;
    fill: none;
    stroke: currentColor;
    stroke-width: 1.6;
    stroke-linecap: round;
    stroke-linejoin: round;
  }
  .pill {
    display: inline-flex;
    align-items: center;
    gap: 4px;
    padding: 0 6px;
    border-radius: 9px;
    font-size: 11px;
    line-height: 18px;
    background: var(--ms-raised);
    white-space: nowrap;
  }
  .good {
    color: var(--ms-good);
  }
  .warn {
    color: var(--ms-warn);
  }
  .bad {
    color: var(--ms-bad);
  }
  @media (prefers-reduced-motion: reduce) {
    *,
    *::before,
    *::after {
      animation: none !important;
      transition: none !important;
    }
  }
`;

// web/src/element.ts
var Part = class extends i4 {
  constructor() {
    super();
    this.t = (key, values) => texts.get(key, values);
    this.n = (key, count, values) => texts.count(key, count, values);
    this.bytes = (value) => bytes(texts.locale, value);
    this.duration = (seconds) => duration(texts.locale, seconds);
    this.number = (value, fraction = 0) => number(texts.locale, value, fraction);
    this.percent = (share) => percent(texts.locale, share);
    this.ago = (then) => ago(texts.locale, then, this.feed.now());
    new Follows(this);
  }
  static {
    this.properties = { feed: { attribute: false }, actions: { attribute: false } };
  }
  static {
    this.styles = base;
  }
};
function define(name, element) {
  if (!customElements.get(name)) customElements.define(name, element);
}
function remembered(key, otherwise) {
  try {
    const text = localStorage.getItem(`modelstream.${key}`);
    return text === null ? otherwise : JSON.parse(text);
  } catch {
    return otherwise;
  }
}
function remember(key, value) {
  try {
    localStorage.setItem(`modelstream.${key}`, JSON.stringify(value));
  } catch {
  }
}

// web/src/glyphs.ts
var PATHS = {
  bucket: w`<path d="M5 6h14l-1.6 13a1.5 1.5 0 0 1-1.5 1.3H8.1A1.5 1.5 0 0 1 6.6 19zM4 6a8 2.6 0 0 1 16 0"/>`,
  download: w`<path d="M12 4v11m-4.5-4.5L12 15l4.5-4.5M5 20h14"/>`,
  pin: w`<path d="M9 4h6l-1 6 3.5 3.5h-11L10 10zM12 13.5V21"/>`,
  evict: w`<path d="M5 7h14M10 7V4.5h4V7m-7 0 1 13h8l1-13M10 11v5.5m4-5.5v5.5"/>`,
  check: w`<path d="m5 12.5 4.5 4.5L19 7.5"/>`,
  cross: w`<path d="m6 6 12 12M18 6 6 18"/>`,
  warning: w`<path d="M12 4 2.8 19.5h18.4zM12 10v4.5m0 2.6v.2"/>`,
  info: w`<circle cx="12" cy="12" r="8.5"/><path d="M12 11v5.5m0-9.2v.2"/>`,
  refresh: w`<path d="M19.5 12a7.5 7.5 0 1 1-2.2-5.3L19.5 9m0-4.5V9H15"/>`,
  pause: w`<path d="M8.5 5v14m7-14v14"/>`,
  play: w`<path d="M8 5.5v13l10.5-6.5z"/>`,
  search: w`<circle cx="10.5" cy="10.5" r="6"/><path d="m15 15 5 5"/>`,
  copy: w`<rect x="9" y="9" width="11" height="11" rx="2"/><path d="M15 9V6a2 2 0 0 0-2-2H6a2 2 0 0 0-2 2v7a2 2 0 0 0 2 2h3"/>`,
  chevron: w`<path d="m9 6 6 6-6 6"/>`,
  edit: w`<path d="M4 20l1-4L16 5l3 3L8 19zM14 7l3 3"/>`,
  shield: w`<path d="M12 3.5 5 6v6c0 4.3 3 7.2 7 8.5 4-1.3 7-4.2 7-8.5V6zM9 12l2.2 2.2L15.2 10"/>`,
  up: w`<path d="m6 15 6-6 6 6"/>`,
  down: w`<path d="m6 9 6 6 6-6"/>`
};
function glyph(name) {
  return b2`<svg class="glyph" viewBox="0 0 24 24" aria-hidden="true">${PATHS[name]}</svg>`;
}

// web/src/alerts.ts
function valueText(alert) {
  const value = alert.value ?? 0;
  if (alert.unit === "ratio") return percent(texts.locale, value);
  if (alert.unit === "bytes") return bytes(texts.locale, value);
  if (alert.unit === "seconds") return duration(texts.locale, value);
  return number(texts.locale, value, alert.unit === "money" ? 2 : 0);
}
function alertText(alert) {
  const key = `alert.${alert.rule}.message`;
  return texts.has(key) ? texts.get(key, { subject: visible(alert.subject), value: valueText(alert) }) : visible(alert.message);
}
function alertAdvice(alert) {
  const key = `alert.${alert.rule}.advice`;
  return texts.has(key) ? texts.get(key, { subject: visible(alert.subject) }) : visible(alert.recommendation);
}
var Alerts = class extends Part {
  static {
    this.styles = [
      Part.styles,
      i`
      :host {
        display: block;
      }
      li {
        display: grid;
        grid-template-columns: 20px minmax(0, 1fr);
        gap: 0 8px;
        padding: 8px 10px;
        border-radius: 6px;
        background: var(--ms-raised);
        border-inline-start: 3px solid currentColor;
        overflow-wrap: anywhere;
      }
      li + li {
        margin-top: 6px;
      }
      li > div {
        color: var(--ms-fg);
      }
      li svg {
        margin-top: 1px;
      }
      strong {
        font-weight: 600;
      }
      .small {
        font-size: 12px;
      }
    `
    ];
  }
  alert(alert) {
    const critical = alert.severity === "critical";
    return b2`<li class=${critical ? "bad" : "warn"} data-rule=${alert.rule}>
      ${glyph("warning")}
      <div>
        <p><strong>${this.t(critical ? "alerts.critical" : "alerts.warning")}:</strong> ${alertText(alert)}</p>
        <p class="muted">${alertAdvice(alert)}</p>
        <p class="muted small">${this.t("alerts.since", { time: this.ago(alert.since_s) })}</p>
      </div>
    </li>`;
  }
  render() {
    const alerts2 = this.feed.status?.alerts.active ?? [];
    if (!alerts2.length) return b2`<p class="muted">${this.t("alerts.none")}</p>`;
    const worstFirst = [...alerts2].sort((one, two) => Number(two.severity === "critical") - Number(one.severity === "critical"));
    return b2`<ul>${worstFirst.map((one) => this.alert(one))}</ul>${A}`;
  }
};
define("modelstream-alerts", Alerts);

// web/src/fit.ts
var FOLDERS = /* @__PURE__ */ new Set(["checkpoints", "diffusion_models", "text_encoders", "vae"]);
function canAsk(row) {
  return row.listed && FOLDERS.has(row.folder) && /\.(safetensors|sft)$/i.test(row.name);
}
function shortFit(verdict) {
  if (!verdict || verdict.kind === "unknown") return "";
  return texts.get(`fit.short.${verdict.kind}`, { size: bytes(texts.locale, verdict.offload_bytes) });
}
function fitText(verdict) {
  const size = (value) => bytes(texts.locale, value);
  const said = texts.get(`fit.${verdict.kind}`, {
    device: verdict.device,
    needed: size(verdict.needed_bytes),
    left: size(verdict.left_bytes),
    freed: size(verdict.freed_bytes),
    models: verdict.going.map((one) => one.slice(one.lastIndexOf("/") + 1)).join(", "),
    offload: size(verdict.offload_bytes),
    missing: size(verdict.missing_bytes)
  });
  return verdict.step_seconds === null ? said : `${said} ${texts.get("fit.step", { seconds: number(texts.locale, verdict.step_seconds, 2) })}`;
}
var FitQuestions = class {
  constructor(client2, answered) {
    this.client = client2;
    this.answered = answered;
    this.asked = /* @__PURE__ */ new Set();
    this.last = Promise.resolve();
  }
  ask(row) {
    if (row.fit || !canAsk(row) || this.asked.has(row.digest)) return;
    this.asked.add(row.digest);
    this.last = this.last.then(() => this.one(row.digest));
  }
  async one(digest) {
    try {
      this.answered(digest, (await this.client.estimate(digest)).verdict);
    } catch (error) {
      if (!(error instanceof Away || error instanceof Refused)) throw error;
    }
  }
};

// web/src/catalog.ts
var LIMIT = 1e3;
var NAMES_MAX = 2e4;
var FOLDERS2 = {
  ckpt_name: "checkpoints",
  lora_name: "loras",
  vae_name: "vae",
  unet_name: "diffusion_models",
  clip_name: "text_encoders",
  clip_name1: "text_encoders",
  clip_name2: "text_encoders",
  clip_name3: "text_encoders",
  control_net_name: "controlnet",
  style_model_name: "style_models",
  gligen_name: "gligen",
  model_name: "upscale_models",
  hypernetwork_name: "hypernetworks"
};
function isLoaderInput(name) {
  return name in FOLDERS2;
}
var Catalog = class {
  constructor(client2, api2) {
    this.client = client2;
    this.rows = /* @__PURE__ */ new Map();
    this.state = "empty";
    this.listeners = /* @__PURE__ */ new Set();
    this.fits = new FitQuestions(client2, (digest, verdict) => {
      for (const rows of this.rows.values()) for (const row of rows) if (row.digest === digest) row.fit = verdict;
      for (const listener of this.listeners) listener();
    });
    for (const type of ["execution_success", "execution_error", "execution_interrupted", "reconnected"]) {
      api2.addEventListener(type, () => this.outdated());
    }
  }
  /** The panel's feed saw this generation of the models table. */
  follow(generation) {
    if (generation !== void 0 && generation !== this.generation) {
      this.generation = generation;
      this.outdated();
    }
  }
  onChange(listener) {
    this.listeners.add(listener);
  }
  /** The remote model of that name, from memory; undefined for a local one, and until the answer is here. */
  find(name, input) {
    if (this.state === "empty" || this.state === "stale") void this.fetch();
    const found = this.rows.get(name.replaceAll("\\", "/"));
    return found?.find((row) => row.folder === FOLDERS2[input]) ?? (FOLDERS2[input] && found && found.length > 1 ? void 0 : found?.[0]);
  }
  /** Whether it fits is asked for, and told to the listeners. */
  askFit(row) {
    this.fits.ask(row);
  }
  outdated() {
    if (this.state === "fresh") this.state = "stale";
  }
  async fetch() {
    this.state = "asking";
    try {
      const rows = /* @__PURE__ */ new Map();
      for (let offset = 0; offset < NAMES_MAX; offset += LIMIT) {
        const page = await this.client.models({ offset, limit: LIMIT });
        for (const row of page.rows) rows.set(row.name, [...rows.get(row.name) ?? [], row]);
        if (offset + LIMIT >= page.total) break;
      }
      this.rows = rows;
    } catch (error) {
      if (!(error instanceof Away || error instanceof Refused)) throw error;
    }
    this.state = "fresh";
    for (const listener of this.listeners) listener();
  }
};

// web/src/loaders.ts
var drawn = /* @__PURE__ */ new WeakSet();
function labelOf(row) {
  const nearest = row.tiers[0];
  const fit = shortFit(row.fit);
  return ["☁ " + visible(row.name), bytes(texts.locale, row.size_bytes), ...nearest ? [texts.get(`tier.${nearest}`)] : [], ...fit ? [fit] : []].join(" · ");
}
function listsNames(widget) {
  const values = widget.options?.values;
  const some = Array.isArray(values) ? values : [];
  if (widget.type !== "combo") return false;
  return isLoaderInput(widget.name) || some.some((value) => typeof value === "string" && /\.[a-z0-9]{2,12}$/i.test(value));
}
function labelCombos(app2, node, catalog2) {
  if (!drawn.has(app2)) {
    drawn.add(app2);
    catalog2.onChange(() => app2.graph?.setDirtyCanvas?.(true, true));
  }
  for (const widget of node.widgets ?? []) {
    if (!widget.options || !listsNames(widget) || widget.options.getOptionLabel) continue;
    widget.options.getOptionLabel = (value) => {
      const name = String(value ?? "");
      const row = setting(app2, "ModelStream.Labels", true) ? catalog2.find(name, widget.name) : void 0;
      if (row && widget.value === value) catalog2.askFit(row);
      return row ? labelOf(row) : name;
    };
  }
}
function remoteModels(node, catalog2) {
  const found = (node.widgets ?? []).map((widget) => typeof widget.value === "string" ? catalog2.find(widget.value, widget.name) : void 0);
  return found.filter((row) => row !== void 0);
}
function whereIs(row) {
  const places = row.tiers.map((tier) => texts.get(`tier.${tier}`));
  if (row.listed) places.push(texts.get("menu.inBucket", { origin: row.origin }));
  return `${places.join(", ")} · ${bytes(texts.locale, row.size_bytes)}`;
}
function menuOf(_app, node, catalog2, actions2) {
  const rows = remoteModels(node, catalog2);
  return rows.map((row) => ({
    content: `Model Stream: ${visible(row.name)}`,
    submenu: {
      options: [
        { content: texts.get("menu.prefetch"), callback: () => void actions2.prefetch([row]) },
        { content: texts.get(row.pinned ? "menu.unpin" : "menu.pin"), callback: () => void actions2.pin([row], !row.pinned) },
        { content: texts.get("menu.where"), callback: () => actions2.say("info", visible(row.name), whereIs(row)) }
      ]
    }
  }));
}

// web/src/node-icons.ts
var SIGNS = {
  ModelStreamLoadCheckpoint: "",
  ModelStreamLoadCheckpointFit: "",
  ModelStreamLoadDiffusionFit: "",
  ModelStreamSaveCheckpoint: "",
  ModelStreamSaveLora: "",
  ModelStreamSaveImages: "",
  ModelStreamLoadImage: "",
  ModelStreamPrefetch: "",
  ModelStreamWait: "",
  ModelStreamPin: "",
  ModelStreamEvict: "",
  ModelStreamBrowser: "",
  ModelStreamStatus: "",
  ModelStreamWarmSet: "",
  ModelStreamMemoryEstimate: ""
};
function sign(node) {
  const { comfyClass = "", badges } = node;
  const unicode = SIGNS[comfyClass];
  const LGraphBadge = window.LGraphBadge;
  if (unicode === void 0 || !LGraphBadge || !Array.isArray(badges)) return;
  badges.push(new LGraphBadge({ text: "", bgColor: "#1769d2", iconOptions: { unicode, fontFamily: "PrimeIcons", color: "#fff", fontSize: 12 } }));
}

// web/src/open-graph.ts
var STILL_MS = 2e3;
var BYTES_MAX = 256 << 10;
var MODEL = /\.(safetensors|sft|gguf|ckpt|pt|pt2|pth|bin|pkl|onnx)$|embedding:/i;
var OpenGraph = class {
  constructor(app2, api2, client2) {
    this.app = app2;
    this.api = api2;
    this.client = client2;
    this.on = false;
    /** the model names that the server knows of; null: none yet */
    this.told = null;
    this.changed = () => this.later();
    api2.addEventListener("reconnected", () => void this.start());
  }
  /** Asks whether the server wants graphs; again after every reconnect, for it may have been restarted. */
  async start() {
    this.told = null;
    try {
      this.turn((await this.client.status()).prefetch?.open_graph === true);
    } catch (error) {
      if (!(error instanceof Away || error instanceof Refused)) throw error;
      this.turn(false);
    }
  }
  /** Another workflow was opened. */
  opened() {
    if (this.on) this.later();
  }
  turn(on2) {
    if (on2 && !this.on) this.api.addEventListener("graphChanged", this.changed);
    if (!on2 && this.on) this.api.removeEventListener("graphChanged", this.changed);
    this.on = on2;
    window.clearTimeout(this.timer);
    if (on2) this.later();
  }
  later() {
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.tell(), STILL_MS);
  }
  async tell() {
    const prompt = await this.prompt();
    if (!this.on || !prompt) return;
    const names = modelNames(prompt);
    if (names === (this.told ?? "")) return;
    if (new TextEncoder().encode(JSON.stringify(prompt)).length > BYTES_MAX - 1024) return;
    this.told = names;
    try {
      await this.client.graph(names ? prompt : {});
    } catch (error) {
      if (!(error instanceof Away || error instanceof Refused)) throw error;
      this.told = null;
    }
  }
  /** As queueing would send it, without what is only for people; null while the graph cannot be queued. */
  async prompt() {
    try {
      const { output } = await this.app.graphToPrompt?.() ?? { output: null };
      if (!output) return null;
      return Object.fromEntries(Object.entries(output).map(([id, { class_type, inputs }]) => [id, { class_type, inputs }]));
    } catch {
      return null;
    }
  }
};
function modelNames(prompt) {
  const found = /* @__PURE__ */ new Set();
  const look = (value, deep) => {
    if (typeof value === "string") {
      if (MODEL.test(value)) found.add(value);
    } else if (deep && value && typeof value === "object") {
      for (const one of Object.values(value)) look(one, deep - 1);
    }
  };
  for (const node of Object.values(prompt)) look(node.inputs, 6);
  return [...found].sort().join("\n");
}

// web/src/meter.ts
var percentOf = (share) => `${Math.max(0, Math.min(1, share)) * 100}%`;
function meter(label, text, colour, shares, pinned = 0) {
  const value = shares.reduce((sum, one) => sum + (one.kind === "reserved" ? 0 : one.share), 0);
  return b2`<div
    class="meter"
    role="meter"
    aria-label=${label}
    aria-valuemin="0"
    aria-valuemax="100"
    aria-valuenow=${Math.round(Math.max(0, Math.min(1, value)) * 100)}
    aria-valuetext=${text}
    style="--colour: ${colour}"
  >
    <div class="row">${shares.map((one) => b2`<div class=${one.kind} style="width: ${percentOf(one.share)}"></div>`)}</div>
    <div class="pinned" style="width: ${percentOf(pinned)}"></div>
  </div>`;
}
function progress(label, text, share) {
  return b2`<div
    class="meter progress ${share === null ? "unknown" : ""}"
    role="progressbar"
    aria-label=${label}
    aria-valuemin="0"
    aria-valuemax="100"
    aria-valuenow=${share === null ? 0 : Math.round(share * 100)}
    aria-valuetext=${text}
    style="--colour: var(--ms-accent)"
  >
    <div class="row"><div class="leased" style="width: ${percentOf(share ?? 1)}"></div></div>
  </div>`;
}
var meterStyles = i`
  .meter {
    position: relative;
    height: 12px;
    border-radius: 4px;
    overflow: hidden;
    background: var(--ms-track);
  }
  .meter .row {
    display: flex;
    height: 100%;
  }
  .meter .row > * {
    flex: none;
    min-width: 0;
    transition: width 300ms;
  }
  .leased,
  .swatch.leased {
    background: var(--colour);
  }
  .used,
  .swatch.used {
    background: color-mix(in srgb, var(--colour) 45%, transparent);
  }
  .reserved,
  .swatch.reserved {
    background: repeating-linear-gradient(
      -45deg,
      color-mix(in srgb, var(--colour) 60%, transparent) 0 3px,
      transparent 3px 6px
    );
  }
  .meter .pinned {
    position: absolute;
    bottom: 0;
    height: 4px;
    background: var(--ms-fg);
    transition: width 300ms;
  }
  .progress {
    height: 6px;
    border-radius: 3px;
  }
  .progress.unknown .row {
    opacity: 0.5;
  }
`;

// web/src/gpus.ts
var HOT_C = 85;
var Gpus = class extends Part {
  static {
    this.styles = [
      Part.styles,
      meterStyles,
      i`
      :host {
        display: block;
      }
      .card + .card {
        margin-top: 12px;
        padding-top: 10px;
        border-top: 1px solid var(--ms-line);
      }
      .title {
        font-weight: 500;
        margin-bottom: 4px;
      }
      .line {
        display: grid;
        grid-template-columns: 84px minmax(0, 1fr) max-content;
        gap: 8px;
        align-items: center;
        min-height: 22px;
        font-size: 12px;
      }
      .line .meter {
        height: 8px;
      }
      .plain {
        display: flex;
        flex-wrap: wrap;
        gap: 2px 14px;
        font-size: 12px;
        margin-top: 2px;
      }
    `
    ];
  }
  bar(label, share, figure) {
    return b2`<div class="line">
      <span class="muted">${label}</span>
      ${share === null ? b2`<span></span>` : meter(label, figure, "var(--ms-vram)", [{ kind: "leased", share }])}
      <span class=${share === null ? "muted" : ""}>${figure}</span>
    </div>`;
  }
  figure(key, value, text, tone = "") {
    return b2`<span><span class="muted">${this.t(key)}</span> <span class=${value === null ? "muted" : tone}>${value === null ? this.t("gpu.unknown") : text(value)}</span></span>`;
  }
  card(gpu) {
    const unknown = this.t("gpu.unknown");
    const { memory_used_bytes: used, memory_total_bytes: total, utilization_percent: busy, temperature_c: heat } = gpu;
    const memory = used !== null && total ? bytesPair(texts.locale, used, total) : null;
    return b2`<div class="card" data-gpu=${gpu.index}>
      <p class="title">${this.t("gpu.title", { index: gpu.index, name: gpu.name })}</p>
      ${gpu.state === "ok" ? b2`${this.bar(
      this.t("gpu.memory"),
      memory ? (used ?? 0) / (total ?? 1) : null,
      memory ? this.t("tiers.of", { used: memory[0], budget: memory[1] }) : unknown
    )}
          ${this.bar(this.t("gpu.busy"), busy === null ? null : busy / 100, busy === null ? unknown : this.percent(busy / 100))}
            <p class="plain">
              ${this.figure("gpu.heat", heat, (value) => `${this.number(value)} °C`, (heat ?? 0) >= HOT_C ? "bad" : "")}
              ${this.figure(
      "gpu.power",
      gpu.power_w,
      (value) => gpu.power_limit_w ? this.t("tiers.of", { used: this.number(value), budget: `${this.number(gpu.power_limit_w)} W` }) : `${this.number(value)} W`
    )}
            </p>` : b2`<p class=${gpu.state === "lost" ? "bad" : "muted"}>${this.t(`gpu.${gpu.state}`)}</p>`}
    </div>`;
  }
  /** What lies on a device: "diffusion model 5.1 GB float16", what is offloaded, what precision saves. */
  models(one) {
    const parts = Object.entries(one.bytes).flatMap(
      ([kind, dtypes]) => Object.entries(dtypes).map(([dtype, size]) => ({ kind: this.t(`component.${kind}`), size: this.bytes(size), dtype }))
    );
    const more = ["offloaded", "saved", "largest_free"].flatMap((name) => {
      const value = one[`${name}_bytes`];
      return value ? [[this.t(`gpu.${name}`), this.bytes(value)]] : [];
    });
    return b2`<div class="card" data-device=${one.device}>
      <p class="title">${this.t("gpu.onDevice", { device: one.device, size: this.bytes(one.models_bytes) })}</p>
      <p class="plain">
        ${parts.map(({ kind, size, dtype }) => b2`<span><span class="muted">${kind}</span> ${size} <span class="muted">${dtype}</span></span>`)}
        ${more.map(([name, size]) => b2`<span><span class="muted">${name}</span> ${size}</span>`)}
      </p>
    </div>`;
  }
  render() {
    const models = (this.feed.status?.on_devices ?? []).filter((one) => one.models_bytes || one.offloaded_bytes);
    return b2`${this.cards()}${models.map((one) => this.models(one))}`;
  }
  cards() {
    const gpus = this.feed.status?.gpus;
    if (gpus === null || gpus === void 0) return b2`<p class="muted">${this.t("gpu.looking")}</p>`;
    if (!gpus.length) return b2`<p class="muted">${this.t("gpu.none")}</p>`;
    return b2`${gpus.map((one) => this.card(one))}${A}`;
  }
};
define("modelstream-gpus", Gpus);

// node_modules/lit-html/directive.js
/**
 * @license
 * Copyright 2017 Google LLC
 * SPDX-License-Identifier: BSD-3-Clause
 */
var t3 = { ATTRIBUTE: 1, CHILD: 2, PROPERTY: 3, BOOLEAN_ATTRIBUTE: 4, EVENT: 5, ELEMENT: 6 };
var e4 = (t5) => (...e5) => ({ _$litDirective$: t5, values: e5 });
var i5 = class {
  constructor(t5) {
  }
  get _$AU() {
    return this._$AM._$AU;
  }
  _$AT(t5, e5, i7) {
    this._$Ct = t5, this._$AM = e5, this._$Ci = i7;
  }
  _$AS(t5, e5) {
    return this.update(t5, e5);
  }
  update(t5, e5) {
    return this.render(...e5);
  }
};

// node_modules/lit-html/directive-helpers.js
/**
 * @license
 * Copyright 2020 Google LLC
 * SPDX-License-Identifier: BSD-3-Clause
 */
var { I: t4 } = j;
var i6 = (o5) => o5;
var s4 = () => document.createComment("");
var v2 = (o5, n4, e5) => {
  const l3 = o5._$AA.parentNode, d3 = void 0 === n4 ? o5._$AB : n4._$AA;
  if (void 0 === e5) {
    const i7 = l3.insertBefore(s4(), d3), n5 = l3.insertBefore(s4(), d3);
    e5 = new t4(i7, n5, o5, o5.options);
  } else {
    const t5 = e5._$AB.nextSibling, n5 = e5._$AM, c5 = n5 !== o5;
    if (c5) {
      let t6;
      e5._$AQ?.(o5), e5._$AM = o5, void 0 !== e5._$AP && (t6 = o5._$AU) !== n5._$AU && e5._$AP(t6);
    }
    if (t5 !== d3 || c5) {
      let o6 = e5._$AA;
      for (; o6 !== t5; ) {
        const t6 = i6(o6).nextSibling;
        i6(l3).insertBefore(o6, d3), o6 = t6;
      }
    }
  }
  return e5;
};
var u3 = (o5, t5, i7 = o5) => (o5._$AI(t5, i7), o5);
var m2 = {};
var p3 = (o5, t5 = m2) => o5._$AH = t5;
var M2 = (o5) => o5._$AH;
var h3 = (o5) => {
  o5._$AR(), o5._$AA.remove();
};

// node_modules/lit-html/directives/repeat.js
/**
 * @license
 * Copyright 2017 Google LLC
 * SPDX-License-Identifier: BSD-3-Clause
 */
var u4 = (e5, s5, t5) => {
  const r4 = /* @__PURE__ */ new Map();
  for (let l3 = s5; l3 <= t5; l3++) r4.set(e5[l3], l3);
  return r4;
};
var c4 = e4(class extends i5 {
  constructor(e5) {
    if (super(e5), e5.type !== t3.CHILD) throw Error("repeat() can only be used in text expressions");
  }
  dt(e5, s5, t5) {
    let r4;
    void 0 === t5 ? t5 = s5 : void 0 !== s5 && (r4 = s5);
    const l3 = [], o5 = [];
    let i7 = 0;
    for (const s6 of e5) l3[i7] = r4 ? r4(s6, i7) : i7, o5[i7] = t5(s6, i7), i7++;
    return { values: o5, keys: l3 };
  }
  render(e5, s5, t5) {
    return this.dt(e5, s5, t5).values;
  }
  update(s5, [t5, r4, c5]) {
    const d3 = M2(s5), { values: p4, keys: a3 } = this.dt(t5, r4, c5);
    if (!Array.isArray(d3)) return this.ut = a3, p4;
    const h4 = this.ut ??= [], v3 = [];
    let m3, y3, x2 = 0, j2 = d3.length - 1, k2 = 0, w2 = p4.length - 1;
    for (; x2 <= j2 && k2 <= w2; ) if (null === d3[x2]) x2++;
    else if (null === d3[j2]) j2--;
    else if (h4[x2] === a3[k2]) v3[k2] = u3(d3[x2], p4[k2]), x2++, k2++;
    else if (h4[j2] === a3[w2]) v3[w2] = u3(d3[j2], p4[w2]), j2--, w2--;
    else if (h4[x2] === a3[w2]) v3[w2] = u3(d3[x2], p4[w2]), v2(s5, v3[w2 + 1], d3[x2]), x2++, w2--;
    else if (h4[j2] === a3[k2]) v3[k2] = u3(d3[j2], p4[k2]), v2(s5, d3[x2], d3[j2]), j2--, k2++;
    else if (void 0 === m3 && (m3 = u4(a3, k2, w2), y3 = u4(h4, x2, j2)), m3.has(h4[x2])) if (m3.has(h4[j2])) {
      const e5 = y3.get(a3[k2]), t6 = void 0 !== e5 ? d3[e5] : null;
      if (null === t6) {
        const e6 = v2(s5, d3[x2]);
        u3(e6, p4[k2]), v3[k2] = e6;
      } else v3[k2] = u3(t6, p4[k2]), v2(s5, d3[x2], t6), d3[e5] = null;
      k2++;
    } else h3(d3[j2]), j2--;
    else h3(d3[x2]), x2++;
    for (; k2 <= w2; ) {
      const e5 = v2(s5, v3[w2 + 1]);
      u3(e5, p4[k2]), v3[k2++] = e5;
    }
    for (; x2 <= j2; ) {
      const e5 = d3[x2++];
      null !== e5 && h3(e5);
    }
    return this.ut = a3, p3(s5, v3), E;
  }
});

// web/src/model-styles.ts
var modelStyles = i`
  :host {
    display: block;
    container-type: inline-size;
  }
  .toolbar {
    display: flex;
    flex-wrap: wrap;
    gap: 6px;
    align-items: center;
    margin-bottom: 8px;
  }
  .filter {
    position: relative;
    flex: 1 1 100%;
    display: flex;
  }
  @container (min-width: 620px) {
    .filter {
      flex: 1 1 240px;
    }
  }
  .filter svg {
    position: absolute;
    inset-inline-start: 8px;
    top: 7px;
    width: 14px;
    height: 14px;
    opacity: 0.6;
    pointer-events: none;
  }
  .filter input {
    flex: 1;
    padding-inline-start: 28px;
  }
  .toolbar > select {
    flex: 1 1 110px;
  }
  .sorting {
    flex: 1 1 110px;
    display: flex;
    gap: 2px;
  }
  .sorting select {
    flex: 1;
  }
  .count {
    margin-inline-start: auto;
    font-size: 12px;
  }
  .scroll {
    overflow-y: auto;
    overflow-x: hidden;
    contain: strict;
    border-top: 1px solid var(--ms-line);
    border-bottom: 1px solid var(--ms-line);
  }
  [role="rowgroup"] {
    position: relative;
  }
  .columns {
    display: grid;
    align-items: center;
    column-gap: 8px;
  }
  .row {
    position: absolute;
    inset-inline: 0;
    top: 0;
    padding: 0 2px;
    border-bottom: 1px solid color-mix(in srgb, var(--ms-line) 50%, transparent);
    contain: layout style;
  }
  .row:hover,
  .row.chosen {
    background: var(--ms-raised);
  }
  .narrow .columns {
    grid-template: "name name name acts acts" 26px "where size used used uses" 20px / auto auto minmax(0, 1fr) 36px 36px;
    align-content: center;
  }
  @container (min-width: 330px) {
    .narrow .columns {
      grid-template-columns: 72px 58px minmax(0, 1fr) 36px 36px;
    }
    .narrow .size {
      text-align: end;
    }
  }
  .wide .columns {
    grid-template: "name where size used uses acts" / minmax(0, 1fr) 150px 68px 92px 44px 84px;
    column-gap: 16px;
  }
  .wide .head .columns {
    height: 30px;
    font-size: 12px;
    padding: 0 2px;
  }
  /* the same room for a scroll bar, so that columns meet */
  .head,
  .scroll {
    scrollbar-gutter: stable;
  }
  .head {
    overflow: hidden;
  }
  .head button {
    border: 0;
    background: none;
    padding: 0;
    color: var(--ms-muted);
    gap: 2px;
  }
  .head svg {
    width: 12px;
    height: 12px;
  }
  .name {
    grid-area: name;
    display: flex;
    align-items: center;
    gap: 6px;
    min-width: 0;
  }
  .name button {
    min-width: 0;
    min-height: 22px;
    padding: 0;
    border: 0;
    background: none;
    justify-content: flex-start;
  }
  .row .name button {
    font-weight: 500;
  }
  .name bdi {
    overflow: hidden;
    text-overflow: ellipsis;
    white-space: nowrap;
  }
  .folder {
    flex: none;
    font-size: 12px;
  }
  .narrow .folder {
    display: none;
  }
  .name button:hover bdi {
    text-decoration: underline;
  }
  .where {
    grid-area: where;
  }
  .size {
    grid-area: size;
    white-space: nowrap;
  }
  .used {
    grid-area: used;
    white-space: nowrap;
    overflow: hidden;
    text-overflow: ellipsis;
  }
  .uses {
    grid-area: uses;
    white-space: nowrap;
    overflow: hidden;
    text-overflow: ellipsis;
  }
  .narrow .row .size,
  .narrow .row .used,
  .narrow .row .uses {
    font-size: 12px;
  }
  .wide .size,
  .wide .uses {
    text-align: end;
  }
  .wide .head .size,
  .wide .head .uses {
    justify-self: end;
  }
  .acts {
    grid-area: acts;
    display: flex;
    justify-content: flex-end;
  }
  .chips {
    display: inline-flex;
    gap: 2px;
  }
  .chip {
    min-width: 16px;
    padding: 0 4px;
    border-radius: 3px;
    font-size: 10px;
    font-weight: 600;
    line-height: 16px;
    text-align: center;
    color: color-mix(in srgb, var(--hue) 76%, var(--ms-fg)); /* on the tint of a chosen row too */
    background: color-mix(in srgb, var(--hue) 16%, transparent);
  }
  .chip.vram {
    --hue: var(--ms-vram);
  }
  .chip.ram {
    --hue: var(--ms-ram);
  }
  .chip.ssd {
    --hue: var(--ms-ssd);
  }
  .chip.bucket {
    --hue: var(--ms-bucket);
  }
  .chips svg {
    width: 14px;
    height: 14px;
  }
  .moving {
    position: absolute;
    inset-inline-start: 0;
    bottom: 0;
    height: 2px;
    background: var(--ms-accent);
  }
  .empty {
    padding: 12px 2px;
  }
  .hidden {
    position: absolute;
  }
`;

// web/src/pages.ts
var PAGE_ROWS = 100;
var PAGES_KEPT = 12;
var Pages = class {
  constructor(client2, query2, changed) {
    this.client = client2;
    this.query = query2;
    this.changed = changed;
    this.total = null;
    this.all = 0;
    this.folders = [];
    this.failure = null;
    this.pages = /* @__PURE__ */ new Map();
    this.asked = /* @__PURE__ */ new Set();
    this.stale = /* @__PURE__ */ new Set();
    this.aborter = new AbortController();
  }
  /** Another question: what was known answers the old one, but stays on the page until the new answer is here. */
  ask(query2) {
    this.query = query2;
    this.refetch();
  }
  /** The same question again, because something changed. */
  refetch() {
    this.aborter.abort();
    this.aborter = new AbortController();
    this.asked.clear();
    this.stale = new Set(this.pages.keys());
  }
  row(index) {
    return this.pages.get(Math.floor(index / PAGE_ROWS))?.[index % PAGE_ROWS];
  }
  find(digest) {
    for (const rows of this.pages.values()) for (const row of rows) if (row.digest === digest) return row;
    return void 0;
  }
  /** Fetches what of these rows is not there. */
  show(first, last) {
    for (let page = Math.floor(first / PAGE_ROWS); page <= Math.floor(Math.max(first, last) / PAGE_ROWS); page += 1) {
      if (this.asked.has(page) || this.pages.has(page) && !this.stale.has(page)) continue;
      this.asked.add(page);
      void this.fetch(page, this.aborter.signal);
    }
  }
  async fetch(page, signal) {
    try {
      const answer = await this.client.models({ ...this.query, offset: page * PAGE_ROWS, limit: PAGE_ROWS }, signal);
      if (signal.aborted) return;
      if (answer.total !== this.total) {
        for (const old of this.stale) if (old !== page) this.pages.delete(old);
      }
      this.pages.delete(page);
      this.pages.set(page, answer.rows);
      this.stale.delete(page);
      this.asked.delete(page);
      for (const old of [...this.pages.keys()].slice(0, Math.max(0, this.pages.size - PAGES_KEPT))) this.pages.delete(old);
      this.total = answer.total;
      this.all = answer.all;
      this.folders = answer.folders;
      this.failure = null;
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Away || error instanceof Refused)) throw error;
      this.failure = error;
    }
    this.changed();
  }
};

// web/src/model-details.ts
var Details = class extends Part {
  static {
    this.properties = { ...Part.properties, row: { attribute: false }, plan: { state: true }, fit: { state: true }, problem: { state: true } };
  }
  static {
    this.styles = [
      Part.styles,
      i`
      :host {
        display: block;
        margin-top: 10px;
        padding: 10px;
        border: 1px solid var(--ms-line);
        border-radius: 6px;
      }
      .title {
        display: flex;
        align-items: flex-start;
        gap: 6px;
      }
      .title bdi {
        flex: 1;
        font-weight: 600;
        overflow-wrap: anywhere;
      }
      dl {
        display: grid;
        grid-template-columns: max-content minmax(0, 1fr);
        gap: 2px 12px;
        margin: 6px 0 10px;
        font-size: 12px;
      }
      dt {
        color: var(--ms-muted);
      }
      dd {
        overflow-wrap: anywhere;
      }
      .buttons {
        display: flex;
        flex-wrap: wrap;
        gap: 6px;
      }
      .plan {
        margin-top: 10px;
        font-size: 12px;
      }
      .plan li {
        display: flex;
        gap: 8px;
      }
      .plan li span:last-child {
        margin-inline-start: auto;
        white-space: nowrap;
      }
    `
    ];
  }
  willUpdate(changes) {
    super.willUpdate(changes);
    const before = changes.get("row");
    if (before && before.digest !== this.row.digest) this.plan = this.fit = this.problem = void 0;
  }
  async askFit() {
    const asked = this.row.digest;
    try {
      const answer = await this.feed.client.estimate(asked);
      if (asked !== this.row.digest) return;
      this.fit = answer;
      this.problem = void 0;
    } catch (error) {
      if (!(error instanceof Away || error instanceof Refused)) throw error;
      this.problem = reasonOf(error);
    }
  }
  fitting(answer) {
    const { verdict, estimate } = answer;
    const tone = verdict.kind === "no" ? "bad" : verdict.kind === "offload" || verdict.kind === "unknown" ? "warn" : "";
    const facts = [estimate.architecture ?? this.t("fit.noArchitecture"), ...estimate.loaded_bytes ? [this.t("fit.loaded", { size: this.bytes(estimate.loaded_bytes) })] : []];
    return b2`<p class="plan ${tone}" data-fit=${verdict.kind}>${fitText(verdict)}<br /><span class="muted">${facts.join(" · ")}</span></p>`;
  }
  async askPlan(tier) {
    try {
      this.plan = await this.feed.client.plan(tier, this.row.digest);
      this.problem = void 0;
    } catch (error) {
      if (!(error instanceof Away || error instanceof Refused)) throw error;
      this.problem = reasonOf(error);
    }
  }
  room(plan) {
    const tier = this.t(`tier.${plan.tier}`);
    if (!plan.enough) return b2`<p class="plan warn">${this.t("plan.noRoom", { tier })}</p>`;
    if (!plan.going.length) return b2`<p class="plan muted">${this.t("plan.fits", { tier, free: this.bytes(plan.free_bytes) })}</p>`;
    return b2`<div class="plan">
      <p>${this.t("plan.goes", { tier })}</p>
      <ul>
        ${plan.going.map((one) => b2`<li><bdi class="name">${visible(one.name)}</bdi><span class="muted">${this.bytes(one.size_bytes)}</span></li>`)}
      </ul>
    </div>`;
  }
  facts() {
    const row = this.row;
    const never = this.t("models.never");
    const tiers = row.tiers.map((one) => this.t(`tier.${one}`)).join(", ");
    return [
      [this.t("column.tier"), tiers || this.t("where.bucket")],
      [this.t("column.size_bytes"), `${this.bytes(row.size_bytes)} (${this.number(row.size_bytes)} B)`],
      [this.t("column.folder"), row.folder],
      [this.t("column.origin"), `${row.origin}${row.storage_class ? ` · ${row.storage_class}` : ""}`],
      [this.t("column.last_used_s"), row.last_used_s === null ? never : `${this.ago(row.last_used_s)} · ${this.n("models.uses", row.uses)}`],
      [this.t("column.saved_s"), row.saved_s ? this.duration(row.saved_s) : "–"]
    ];
  }
  evictButton(tier) {
    const label = this.t("act.evictFrom", { tier: this.t(`tier.${tier}`) });
    return b2`<button type="button" @click=${() => this.actions.evict([this.row], tier)}>${glyph("evict")}${label}</button>`;
  }
  render() {
    const row = this.row;
    const target = [row];
    return b2`<div class="title">
        <bdi>${visible(row.name)}</bdi>
        <button
          class="icon"
          type="button"
          aria-label=${this.t("act.close")}
          title=${this.t("act.close")}
          @click=${() => this.dispatchEvent(new CustomEvent("shut"))}
        >
          ${glyph("cross")}
        </button>
      </div>
      <dl>${this.facts().map(([name, value]) => b2`<dt>${name}</dt><dd>${value}</dd>`)}</dl>
      <div class="buttons">
        ${row.tiers.includes("ram") || !row.listed ? A : b2`<button type="button" ?disabled=${row.loading} @click=${() => this.actions.prefetch(target, "ram")}>
              ${glyph("download")}${this.t("act.toRam")}
            </button>`}
        ${row.tiers.includes("ssd") ? b2`<button type="button" @click=${() => this.actions.verify(target)}>${glyph("shield")}${this.t("act.verify")}</button>` : b2`<button type="button" @click=${() => this.askPlan("ssd")}>${glyph("info")}${this.t("act.plan")}</button>`}
        ${canAsk(row) ? b2`<button type="button" @click=${() => this.askFit()}>${glyph("info")}${this.t("act.fit")}</button>` : A}
        ${row.tiers.map((tier) => this.evictButton(tier))}
      </div>
      ${this.problem ? b2`<p class="plan bad">${this.problem}</p>` : A}${this.plan ? this.room(this.plan) : A}${this.fit ? this.fitting(this.fit) : A}`;
  }
};
define("modelstream-details", Details);

// web/src/models.ts
var WIDE_PX = 620;
var ROW_PX = { wide: 36, narrow: 50 };
var ROWS_SHOWN = { wide: 12, narrow: 8 };
var OVERSCAN = 4;
var SORTS = ["name", "size_bytes", "last_used_s", "uses", "tier", "saved_s", "folder"];
var DESCENDING_FIRST = /* @__PURE__ */ new Set(["size_bytes", "last_used_s", "uses", "saved_s"]);
var WHERE = ["cached", "vram", "ram", "ssd", "bucket", "pinned", "loading"];
var FIRST = { filter: "", folder: "", tier: "", sort: "name", order: "asc" };
var Models = class extends Part {
  constructor() {
    super();
    this.generation = -1;
    this.top = 0;
    this.seen = new IntersectionObserver((entries) => this.onSeen(entries.at(-1)?.isIntersecting ?? false));
    this.sized = new ResizeObserver(() => this.wide = this.clientWidth >= WIDE_PX);
    this.isSeen = false;
    this.wide = false;
    this.query = { ...FIRST, ...remembered("models", {}), filter: "" };
  }
  static {
    this.properties = { ...Part.properties, wide: { state: true }, chosen: { state: true }, query: { state: true } };
  }
  static {
    this.styles = [Part.styles, modelStyles];
  }
  connectedCallback() {
    super.connectedCallback();
    this.seen.observe(this);
    this.sized.observe(this);
  }
  disconnectedCallback() {
    super.disconnectedCallback();
    this.seen.disconnect();
    this.sized.disconnect();
  }
  /** After an action: what is on the page is asked for again. */
  refetch() {
    this.pages?.refetch();
    this.requestUpdate();
  }
  onSeen(seen) {
    this.isSeen = seen;
    if (seen) this.requestUpdate();
  }
  get rowPx() {
    return this.wide ? ROW_PX.wide : ROW_PX.narrow;
  }
  willUpdate(changes) {
    super.willUpdate(changes);
    this.pages ??= new Pages(this.feed.client, this.query, () => this.requestUpdate());
    const generation = this.feed.status?.generation ?? -1;
    if (this.feed.phase === "live" && generation !== this.generation) {
      this.generation = generation;
      this.pages.refetch();
    }
  }
  updated() {
    if (!this.isSeen || this.feed.phase !== "live") return;
    const [first, last] = this.range();
    this.pages?.show(first, last);
  }
  range() {
    const total = this.pages?.total ?? 0;
    const shown = this.wide ? ROWS_SHOWN.wide : ROWS_SHOWN.narrow;
    const first = Math.max(0, Math.floor(this.top / this.rowPx) - OVERSCAN);
    return [Math.min(first, Math.max(0, total - shown - OVERSCAN)), Math.max(0, Math.min(total - 1, first + shown + 2 * OVERSCAN))];
  }
  ask(change2) {
    this.query = { ...this.query, ...change2 };
    remember("models", { sort: this.query.sort, order: this.query.order });
    this.pages?.ask(this.query);
    this.top = 0;
    this.renderRoot.querySelector(".scroll")?.scrollTo(0, 0);
  }
  sortBy(sort) {
    const first = DESCENDING_FIRST.has(sort) ? "desc" : "asc";
    const order = sort !== this.query.sort ? first : this.query.order === "asc" ? "desc" : "asc";
    this.ask({ sort, order });
  }
  typed(event) {
    const filter = event.target.value.slice(0, 200);
    window.clearTimeout(this.typing);
    this.typing = window.setTimeout(() => this.ask({ filter }), 150);
  }
  /** Up and down in the table: the same button of the row above or below. */
  moved(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const from = event.target;
    const at = from.closest("[data-index]");
    if (!step || !at || !from.dataset["control"]) return;
    const next = this.renderRoot.querySelector(
      `[data-index="${Number(at.dataset["index"]) + step}"] [data-control="${from.dataset["control"]}"]`
    );
    if (!next) return;
    event.preventDefault();
    next.focus();
  }
  // ---- what is drawn ------------------------------------------------------------------------------------------------
  toolbar() {
    const chosen = (name) => (event) => this.ask({ [name]: event.target.value });
    const { folder, tier, sort, order } = this.query;
    const total = this.pages?.total;
    const direction = this.t(order === "asc" ? "models.ascending" : "models.descending");
    return b2`<div class="toolbar">
      <span class="filter"
        >${glyph("search")}<input
          type="search"
          maxlength="200"
          placeholder=${this.t("models.filter")}
          aria-label=${this.t("models.filter")}
          @input=${this.typed}
      /></span>
      <select aria-label=${this.t("models.where")} @change=${chosen("tier")}>
        <option value="" ?selected=${!tier}>${this.t("models.anywhere")}</option>
        ${WHERE.map((one) => b2`<option value=${one} ?selected=${tier === one}>${this.t(`where.${one}`)}</option>`)}
      </select>
      <select aria-label=${this.t("models.folder")} @change=${chosen("folder")}>
        <option value="" ?selected=${!folder}>${this.t("models.allFolders")}</option>
        ${(this.pages?.folders ?? []).map(
      (one) => b2`<option value=${one.folder} ?selected=${folder === one.folder}>${one.folder} (${this.number(one.count)})</option>`
    )}
      </select>
      <span class="sorting" ?hidden=${this.wide}>
        <select aria-label=${this.t("models.sort")} @change=${(event) => this.sortBy(event.target.value)}>
          ${SORTS.map((one) => b2`<option value=${one} ?selected=${sort === one}>${this.t(`column.${one}`)}</option>`)}
        </select>
        <button class="icon" type="button" aria-label=${direction} title=${direction} @click=${() => this.sortBy(sort)}>
          ${glyph(order === "asc" ? "up" : "down")}
        </button>
      </span>
      <span class="count muted" role="status">${total === null || total === void 0 ? "" : this.n("tiers.models", total)}</span>
    </div>`;
  }
  header() {
    const column = (sort, name = sort) => {
      const sorted = this.query.sort === sort;
      const value = sorted ? this.query.order === "asc" ? "ascending" : "descending" : "none";
      return b2`<div role="columnheader" class=${name} aria-sort=${value}>
        <button type="button" tabindex=${this.wide ? 0 : -1} @click=${() => this.sortBy(sort)}>
          ${this.t(`column.${sort}`)}${sorted ? glyph(this.query.order === "asc" ? "up" : "down") : A}
        </button>
      </div>`;
    };
    return b2`<div role="rowgroup" class=${this.wide ? "head" : "hidden"}>
      <div role="row" class="columns" aria-rowindex="1">
        ${column("name")}${column("tier", "where")}${column("size_bytes", "size")}${column("last_used_s", "used")}${column("uses")}
        <div role="columnheader" class="acts"><span class="hidden">${this.t("column.actions")}</span></div>
      </div>
    </div>`;
  }
  chips(row) {
    const places = [...["vram", "ram", "ssd"].filter((one) => row.tiers.includes(one)), ...row.listed ? ["bucket"] : []];
    const said = places.map((one) => this.t(`tier.${one}`));
    if (!row.listed) said.push(this.t("models.unlisted"));
    return b2`<span class="hidden">${said.join(", ")}</span
      ><span class="chips" aria-hidden="true"
        >${places.map((one) => {
      const name = this.t(`tier.${one}`);
      return b2`<span class="chip ${one}" title=${name}>${this.wide ? name : this.t(`letter.${one}`)}</span>`;
    })}${row.listed ? A : b2`<span class="warn" title=${this.t("models.unlisted")}>${glyph("warning")}</span>`}</span
      >`;
  }
  act(control, icon, label, click, state = {}) {
    return b2`<button
      class="icon"
      type="button"
      data-control=${control}
      ?disabled=${state.off ?? false}
      aria-pressed=${state.pressed === void 0 ? A : String(state.pressed)}
      aria-label=${label}
      title=${label}
      @click=${click}
    >
      ${glyph(icon)}
    </button>`;
  }
  row(index) {
    const row = this.pages?.row(index);
    const place = `height: ${this.rowPx}px; transform: translateY(${index * this.rowPx}px)`;
    if (!row) return b2`<div role="row" class="columns row" aria-rowindex=${index + 2} data-index=${index} style=${place}><div role="cell" class="name muted">…</div></div>`;
    const name = visible(row.name);
    const cached = row.tiers.some((one) => one !== "vram");
    const moving = this.feed.status?.transfers.find((one) => one.digest === row.digest);
    const chosen = this.chosen === row.digest;
    return b2`<div
      role="row"
      class="columns row ${chosen ? "chosen" : ""}"
      aria-rowindex=${index + 2}
      data-index=${index}
      data-digest=${row.digest}
      style=${place}
    >
      <div role="cell" class="name">
        <button
          type="button"
          data-control="name"
          aria-expanded=${chosen}
          title=${`${row.folder}/${name}`}
          @click=${() => this.chosen = chosen ? void 0 : row.digest}
        >
          <bdi>${name}</bdi>
        </button>
        <span class="folder muted">${row.folder}</span>
        ${row.leased ? b2`<span class="pill">${this.t("models.inUse")}</span>` : A}
      </div>
      <div role="cell" class="where">${this.chips(row)}</div>
      <div role="cell" class="size ${row.fit?.kind === "no" ? "bad" : row.fit?.kind === "offload" ? "warn" : ""}" title=${row.fit ? fitText(row.fit) : A}>
        ${this.bytes(row.size_bytes)}
      </div>
      <div role="cell" class="used muted">${row.last_used_s === null ? this.t("models.never") : this.ago(row.last_used_s)}</div>
      <div role="cell" class="uses muted">${this.n("models.uses", row.uses)}</div>
      <div role="cell" class="acts">
        ${this.act("prefetch", "download", this.t("act.prefetch", { name }), () => void this.actions.prefetch([row]), {
      off: row.loading || row.tiers.includes("ssd") || !row.listed
    })}
        ${this.act("pin", "pin", this.t(row.pinned ? "act.unpin" : "act.pin", { name }), () => void this.actions.pin([row], !row.pinned), {
      pressed: row.pinned
    })}
        ${this.act("evict", "evict", this.t("act.evict", { name }), () => void this.actions.evict([row]), { off: !cached && !row.tiers.length })}
      </div>
      ${moving && moving.size_bytes ? b2`<div class="moving" style="width: ${moving.done_bytes / moving.size_bytes * 100}%"></div>` : A}
    </div>`;
  }
  empty() {
    if (this.pages?.failure) return b2`<p class="empty bad">${reasonOf(this.pages.failure)}</p>`;
    if (this.pages?.total !== 0) return A;
    return b2`<p class="empty muted">${this.t(this.pages.all ? "models.noMatch" : "models.none")}</p>`;
  }
  render() {
    const total = this.pages?.total ?? 0;
    const [first, last] = this.range();
    const indices = total ? Array.from({ length: last - first + 1 }, (_3, at) => first + at) : [];
    const height = Math.min(total, this.wide ? ROWS_SHOWN.wide : ROWS_SHOWN.narrow) * this.rowPx;
    const chosen = this.chosen ? this.pages?.find(this.chosen) : void 0;
    return b2`${this.toolbar()}
      <div role="table" aria-label=${this.t("models.heading")} aria-rowcount=${total + 1} class=${this.wide ? "wide" : "narrow"}>
        ${this.header()}
        <div
          class="scroll"
          style="height: ${height}px"
          @scroll=${(event) => {
      this.top = event.target.scrollTop;
      this.requestUpdate();
    }}
          @keydown=${this.moved}
        >
          <div role="rowgroup" style="height: ${total * this.rowPx}px">
            ${c4(
      indices,
      (index) => index,
      (index) => this.row(index)
    )}
          </div>
        </div>
      </div>
      ${this.empty()}
      ${chosen ? b2`<modelstream-details .feed=${this.feed} .actions=${this.actions} .row=${chosen} @shut=${() => this.chosen = void 0}></modelstream-details>` : A}`;
  }
};
define("modelstream-models", Models);

// web/src/now.ts
var Now = class extends Part {
  static {
    this.styles = [
      Part.styles,
      meterStyles,
      i`
      :host {
        display: block;
      }
      li {
        padding: 6px 0;
      }
      li + li {
        border-top: 1px solid var(--ms-line);
      }
      .line {
        display: flex;
        align-items: center;
        gap: 6px;
      }
      .line .name {
        font-weight: 500;
        flex: 1;
      }
      .facts {
        display: flex;
        flex-wrap: wrap;
        gap: 0 10px;
        font-size: 12px;
        margin-top: 3px;
      }
      .facts .end {
        margin-inline-start: auto;
      }
      .queue {
        margin-top: 6px;
        font-size: 12px;
      }
    `
    ];
  }
  facts(one) {
    const [done, size] = bytesPair(texts.locale, one.done_bytes, one.size_bytes);
    const moving = one.rate_bytes_per_s > 0;
    return {
      amount: this.t("now.amount", { done, size }),
      speed: moving ? rate(texts.locale, one.rate_bytes_per_s) : this.t("now.starting"),
      left: one.eta_s !== null && moving ? this.t("now.left", { time: this.duration(Math.max(1, Math.round(one.eta_s))) }) : ""
    };
  }
  waits(one) {
    if (one.waiting_nodes.length) {
      const titles = one.waiting_nodes.map(({ node }) => this.actions.nodeTitle(node));
      return this.t("now.waits", { nodes: [...new Set(titles)].join(", ") });
    }
    return this.t(one.reason === "prefetch" ? "now.prefetch" : one.priority === "background" ? "now.background" : "now.nobody");
  }
  transfer(one) {
    const { amount, speed, left } = this.facts(one);
    const name = visible(one.name);
    const cancel = this.t("now.cancel", { name });
    return b2`<li data-transfer=${one.id}>
      <div class="line">
        <bdi class="name" title=${visible(one.subject)}>${name}</bdi>
        <button
          class="icon"
          type="button"
          aria-label=${cancel}
          title=${cancel}
          @click=${() => this.actions.cancel(one.id, one.name, one.waiting_nodes.length)}
        >
          ${glyph("cross")}
        </button>
      </div>
      ${progress(name, [amount, speed, left].filter(Boolean).join(", "), one.size_bytes ? one.done_bytes / one.size_bytes : null)}
      <div class="facts muted">
        <span>${amount}</span><span>${speed}</span>${left ? b2`<span>${left}</span>` : A}<span class="end">${this.waits(one)}</span>
      </div>
    </li>`;
  }
  /** Objects that come from the SSD have no transfer; they are told of by name. */
  reading() {
    const status = this.feed.status;
    const moving = new Set(status?.transfers.map((one) => one.subject));
    return (status?.tiers.loading ?? []).filter((subject) => !moving.has(subject));
  }
  /** From the SSD, or from an archive that gives its objects back after hours. */
  source(subject) {
    const restoring = this.feed.status?.tiers.restoring?.find((one) => one.subject === subject);
    if (!restoring) return this.t("now.fromDisk");
    if (restoring.left_s === null) return this.t("now.restoring");
    return this.t("now.restoringLeft", { time: this.duration(Math.max(60, Math.round(restoring.left_s))) });
  }
  queue() {
    const queue = this.feed.status?.queue;
    if (!queue || queue.running === null || queue.pending === null) return A;
    if (!queue.running && !queue.pending) return A;
    const node = queue.execution?.node;
    const doing = node ? this.t("now.running", { node: this.actions.nodeTitle(node) }) : this.t("now.runningAny");
    return b2`<p class="queue muted">${queue.running ? doing : ""} ${queue.pending ? this.n("now.pending", queue.pending) : ""}</p>`;
  }
  render() {
    const transfers = this.feed.status?.transfers ?? [];
    const reading = this.reading();
    const more = this.feed.moreTransfers;
    return b2`${transfers.length || reading.length ? b2`<ul>
            ${c4(
      transfers,
      (one) => one.id,
      (one) => this.transfer(one)
    )}${reading.map((subject) => {
      const name = visible(subject.split("/").at(-1) ?? subject);
      return b2`<li>
                <div class="line"><bdi class="name" title=${visible(subject)}>${name}</bdi><span class="muted">${this.source(subject)}</span></div>
              </li>`;
    })}
          </ul>` : b2`<p class="muted">${this.t("now.nothing")}</p>`}
      ${more ? b2`<p class="queue muted">${this.n("now.more", more)}</p>` : A}${this.queue()}`;
  }
};
define("modelstream-now", Now);

// web/src/prefetch.ts
var PrefetchPlan = class extends Part {
  static {
    this.styles = [
      Part.styles,
      i`
      :host {
        display: block;
      }
      .accuracy {
        display: flex;
        align-items: center;
        gap: 8px;
      }
      .accuracy p {
        flex: 1;
      }
      ol {
        margin-top: 8px;
      }
      li {
        padding: 5px 0;
        border-top: 1px solid var(--ms-line);
      }
      .line {
        display: flex;
        gap: 8px;
      }
      .line .name {
        flex: 1;
        font-weight: 500;
      }
      .small,
      .why {
        font-size: 12px;
      }
      .none {
        margin-top: 6px;
      }
    `
    ];
  }
  reason(reason) {
    return this.t(`prefetch.reason.${reason}`) === `prefetch.reason.${reason}` ? visible(reason) : this.t(`prefetch.reason.${reason}`);
  }
  plan(prefetch) {
    if (!prefetch.plan.length) return b2`<p class="none muted">${this.t("prefetch.empty")}</p>`;
    return b2`<ol>
      ${prefetch.plan.map(
      (one) => b2`<li>
          <div class="line">
            <bdi class="name" title=${`${one.folder}/${visible(one.name)}`}>${visible(one.name)}</bdi><span class="muted">${this.bytes(one.size_bytes)}</span>
          </div>
          <p class="why muted">
            ${this.reason(one.reason)}${one.probability === null ? A : ` · ${this.t("prefetch.likely", { share: this.percent(one.probability) })}`}
          </p>
        </li>`
    )}
    </ol>`;
  }
  render() {
    const prefetch = this.feed.status?.prefetch;
    if (!prefetch) return b2`<p class="muted">${this.t("prefetch.off")}</p>`;
    const done = prefetch.useful + prefetch.late + prefetch.wasted;
    const counts = { useful: this.number(prefetch.useful), late: this.number(prefetch.late), wasted: this.number(prefetch.wasted) };
    return b2`<div class="accuracy">
        <p>
          ${prefetch.accuracy === null || !done ? b2`<span class="muted">${this.t("prefetch.unmeasured")}</span>` : b2`${this.t("prefetch.accuracy", { share: this.percent(prefetch.accuracy) })}<br /><span class="muted small">${this.t("prefetch.counts", counts)}</span>`}
        </p>
        <button type="button" aria-pressed=${prefetch.paused} @click=${() => this.actions.pausePrefetch(!prefetch.paused)}>
          ${glyph(prefetch.paused ? "play" : "pause")}${this.t(prefetch.paused ? "prefetch.resume" : "prefetch.pause")}
        </button>
      </div>
      ${prefetch.paused ? b2`<p class="none warn">${this.t("prefetch.paused")}</p>` : this.plan(prefetch)}`;
  }
};
define("modelstream-prefetch", PrefetchPlan);

// web/src/savings.ts
var TIERS = ["vram", "ram", "ssd"];
var EVERY_MS = 15e3;
var Savings = class extends Part {
  static {
    this.properties = { ...Part.properties, cost: { state: true }, runs: { state: true } };
  }
  static {
    this.styles = [
      Part.styles,
      meterStyles,
      i`
      :host {
        display: block;
      }
      .rate {
        display: flex;
        align-items: baseline;
        gap: 8px;
      }
      .rate strong {
        font-size: 20px;
        font-weight: 600;
      }
      .hits {
        display: flex;
        height: 12px;
        margin: 4px 0 6px;
        border-radius: 4px;
        overflow: hidden;
        background: var(--ms-track);
      }
      .hits > div {
        background: var(--colour);
      }
      .legend {
        display: flex;
        flex-wrap: wrap;
        gap: 2px 12px;
        font-size: 12px;
      }
      .legend li {
        display: flex;
        align-items: center;
        gap: 5px;
      }
      .dot {
        width: 8px;
        height: 8px;
        border-radius: 50%;
        background: var(--colour);
      }
      table {
        width: 100%;
        margin-top: 10px;
        border-collapse: collapse;
      }
      th {
        font-weight: 400;
        text-align: start;
        color: var(--ms-muted);
      }
      th,
      td {
        padding: 3px 0;
        border-top: 1px solid var(--ms-line);
      }
      thead th {
        border-top: 0;
        font-size: 12px;
      }
      td,
      thead th + th {
        text-align: end;
      }
      .cost {
        margin-top: 10px;
        font-size: 12px;
      }
    `
    ];
  }
  connectedCallback() {
    super.connectedCallback();
    this.timer = window.setInterval(() => void this.ask(), EVERY_MS);
    void Promise.resolve().then(() => this.ask());
  }
  disconnectedCallback() {
    super.disconnectedCallback();
    window.clearInterval(this.timer);
  }
  async ask() {
    if (this.feed.phase === "closed" || this.feed.phase === "away" || !this.checkVisibility()) return;
    try {
      [this.cost, this.runs] = await Promise.all([this.feed.client.cost(), this.feed.client.executions()]);
    } catch (error) {
      if (!(error instanceof Away || error instanceof Refused)) throw error;
    }
  }
  hits(savings) {
    const parts = [...TIERS.map((tier) => [tier, savings.hits[tier] ?? 0]), ["missed", savings.misses]];
    const all = parts.reduce((sum, [, count]) => sum + count, 0);
    if (!all || savings.hit_rate === null) return b2`<p class="muted">${this.t("savings.noLoads")}</p>`;
    const colour = (tier) => tier === "missed" ? "var(--ms-bucket)" : `var(--ms-${tier})`;
    const label = (tier) => tier === "missed" ? this.t("savings.missed") : this.t(`tier.${tier}`);
    return b2`<p class="rate"><strong>${this.percent(savings.hit_rate)}</strong><span class="muted">${this.t("savings.hitRate")}</span></p>
      <div class="hits" aria-hidden="true">
        ${parts.map(([tier, count]) => b2`<div style="--colour: ${colour(tier)}; width: ${100 * count / all}%"></div>`)}
      </div>
      <ul class="legend">
        ${parts.filter(([, count]) => count).map(([tier, count]) => b2`<li><span class="dot" style="--colour: ${colour(tier)}"></span>${label(tier)} ${this.number(count)}</li>`)}
      </ul>`;
  }
  saved(savings) {
    if (!savings.total.bytes && !savings.total.seconds) return A;
    const priced = [savings.today, savings.week, savings.total].some((sum) => sum.money !== null);
    const cash = (sum) => sum.money === null ? "–" : money(texts.locale, sum.money, savings.currency);
    const row = (key, sum) => b2`<tr>
        <th scope="row">${this.t(`savings.${key}`)}</th>
        <td>${this.duration(sum.seconds)}</td>
        <td>${this.bytes(sum.bytes)}</td>
        ${priced ? b2`<td>${cash(sum)}</td>` : A}
      </tr>`;
    return b2`<table>
      <thead>
        <tr>
          <th scope="col">${this.t("savings.saved")}</th>
          <th scope="col">${this.t("savings.waiting")}</th>
          <th scope="col">${this.t("savings.traffic")}</th>
          ${priced ? b2`<th scope="col">${this.t("savings.money")}</th>` : A}
        </tr>
      </thead>
      <tbody>${row("today", savings.today)}${row("week", savings.week)}${row("total", savings.total)}</tbody>
    </table>`;
  }
  spent(cost) {
    if (!cost || cost.today === null) return A;
    const cash = (value) => money(texts.locale, value, cost.currency);
    const said = [this.t("savings.costToday", { money: cash(cost.today) })];
    if (cost.projected_month !== null) said.push(this.t("savings.costMonth", { money: cash(cost.projected_month) }));
    if (cost.per_execution !== null) said.push(this.t("savings.costRun", { money: cash(cost.per_execution) }));
    return b2`<p class="cost muted">${said.join(" · ")}</p>`;
  }
  timings(runs) {
    if (!runs?.percentiles) return A;
    const { p50_s, p95_s, p99_s } = runs.percentiles;
    const said = { p50: this.duration(p50_s), p95: this.duration(p95_s), p99: this.duration(p99_s) };
    return b2`<p class="cost muted">${this.n("savings.runs", runs.count, said)}</p>`;
  }
  render() {
    const savings = this.feed.status?.savings;
    if (!savings) return A;
    return b2`${this.hits(savings)}${this.saved(savings)}${this.spent(this.cost)}${this.timings(this.runs)}`;
  }
};
define("modelstream-savings", Savings);

// web/src/seams.ts
var Seams = class extends Part {
  static {
    this.styles = [
      Part.styles,
      i`
      :host {
        display: block;
      }
      li {
        display: grid;
        grid-template-columns: 16px minmax(0, 1fr) max-content;
        gap: 0 8px;
        padding: 4px 0;
        align-items: center;
      }
      li + li {
        border-top: 1px solid var(--ms-line);
      }
      .why {
        grid-column: 2 / -1;
        font-size: 12px;
        overflow-wrap: anywhere;
      }
    `
    ];
  }
  seam(seam) {
    const tone = { on: "good", off: "muted", unfit: "warn" }[seam.state];
    return b2`<li data-seam=${seam.name}>
      <span class=${tone}>${glyph(seam.state === "on" ? "check" : seam.state === "unfit" ? "warning" : "pause")}</span>
      <span>${this.t(`seam.${seam.name}`) === `seam.${seam.name}` ? seam.name.replaceAll("_", " ") : this.t(`seam.${seam.name}`)}</span>
      <span class=${tone}>${this.t(`seams.${seam.state}`)}</span>
      ${seam.reason ? b2`<span class="why muted">${seam.reason}</span>` : A}
    </li>`;
  }
  render() {
    const order = { unfit: 0, off: 1, on: 2 };
    const seams = [...this.feed.status?.seams ?? []].sort((one, two) => order[one.state] - order[two.state]);
    if (!seams.length) return b2`<p class="muted">${this.t("seams.none")}</p>`;
    return b2`<ul>${seams.map((one) => this.seam(one))}</ul>`;
  }
};
define("modelstream-seams", Seams);

// web/src/section.ts
var Section = class extends i4 {
  static {
    this.properties = { heading: {}, key: {}, note: {}, shut: { type: Boolean }, open: { state: true } };
  }
  static {
    this.styles = [
      base,
      i`
      :host {
        display: block;
        border-top: 1px solid var(--ms-line);
      }
      h3 button {
        width: 100%;
        justify-content: flex-start;
        border: 0;
        border-radius: 0;
        background: none;
        padding: 8px 12px;
        font-weight: 600;
        min-height: 34px;
      }
      h3 svg {
        width: 14px;
        height: 14px;
        opacity: 0.7;
        transition: transform 120ms;
      }
      [aria-expanded="true"] svg {
        transform: rotate(90deg);
      }
      .note {
        margin-inline-start: auto;
        font-weight: 400;
        color: var(--ms-muted);
        overflow: hidden;
        text-overflow: ellipsis;
        white-space: nowrap;
      }
      .body {
        padding: 2px 12px 12px;
      }
    `
    ];
  }
  get isOpen() {
    return this.open ?? remembered(`open.${this.key}`, !this.shut);
  }
  toggle() {
    this.open = !this.isOpen;
    remember(`open.${this.key}`, this.open);
    this.dispatchEvent(new CustomEvent("opened", { detail: this.open }));
  }
  render() {
    return b2`<h3>
        <button type="button" aria-expanded=${this.isOpen} aria-controls="body" @click=${this.toggle}>
          ${glyph("chevron")}<span>${this.heading}</span>${this.note ? b2`<span class="note">${this.note}</span>` : A}
        </button>
      </h3>
      <div class="body" id="body" ?hidden=${!this.isOpen}>${this.isOpen ? b2`<slot></slot>` : A}</div>`;
  }
};
define("modelstream-section", Section);

// web/src/setup.ts
var Setup = class extends Part {
  static {
    this.styles = [
      Part.styles,
      i`
      :host {
        display: block;
        padding: 4px 12px 16px;
      }
      ol {
        counter-reset: step;
      }
      li {
        counter-increment: step;
        margin-top: 14px;
        padding-inline-start: 28px;
        position: relative;
      }
      li::before {
        content: counter(step);
        position: absolute;
        inset-inline-start: 0;
        width: 20px;
        height: 20px;
        border-radius: 50%;
        background: var(--ms-hover);
        text-align: center;
        font-size: 12px;
        line-height: 20px;
      }
      code,
      pre {
        font-family: ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace;
        font-size: 12px;
      }
      code {
        overflow-wrap: anywhere;
        user-select: all;
      }
      pre {
        margin: 6px 0;
        padding: 8px 10px;
        border: 1px solid var(--ms-line);
        border-radius: 6px;
        background: var(--ms-raised);
        overflow-x: auto;
      }
      .problem {
        margin-top: 10px;
        padding: 8px 10px;
        border-inline-start: 3px solid var(--ms-bad);
        background: var(--ms-raised);
        overflow-wrap: anywhere;
      }
      .note {
        margin-top: 14px;
      }
    `
    ];
  }
  async copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      this.actions.say("success", this.t("setup.copied"));
    } catch {
      const lines = this.renderRoot.querySelector("pre");
      if (lines) window.getSelection()?.selectAllChildren(lines);
      this.actions.say("info", this.t("setup.selected"));
    }
  }
  render() {
    const status = this.feed.status;
    if (!status) return A;
    const { setup, problem } = status;
    if (status.configured && !status.enabled) return b2`<p>${this.t("setup.disabled")}</p>`;
    const broken = problem !== "" && status.health.code !== "not_configured";
    const told = status.health.text.includes(problem);
    return b2`
      ${!broken ? b2`<p>${this.t("setup.intro")}</p>` : told ? A : b2`<p class="problem" role="alert">${problem}</p>`}
      ${setup ? b2`<ol>
              <li>
                <p>${this.t(setup.found ? "setup.edit" : "setup.create")}</p>
                <code>${setup.file}</code>
              </li>
              <li>
                <p>${this.t("setup.write")}</p>
                <pre tabindex="0" aria-label=${this.t("setup.write")}>${setup.lines}</pre>
                <button type="button" @click=${() => this.copy(setup.lines)}>${glyph("copy")}${this.t("setup.copy")}</button>
              </li>
              <li><p>${this.t("setup.restart")}</p></li>
            </ol>
            <p class="note muted">${this.t("setup.credentials")}</p>` : A}
    `;
  }
};
define("modelstream-setup", Setup);

// web/src/tiers.ts
var NAMES = ["vram", "ram", "ssd"];
var TierMap = class extends Part {
  static {
    this.properties = { ...Part.properties, editing: { state: true } };
  }
  static {
    this.styles = [
      Part.styles,
      meterStyles,
      i`
      :host {
        display: block;
      }
      .tier {
        margin-top: 10px;
      }
      .tier:first-child {
        margin-top: 0;
      }
      .line {
        display: flex;
        align-items: center;
        gap: 8px;
        min-height: 26px;
        margin-bottom: 2px;
      }
      .line strong {
        font-weight: 600;
      }
      .line .figures {
        margin-inline-start: auto;
        text-align: end;
      }
      .line button {
        align-self: center;
      }
      .detail {
        font-size: 12px;
        margin-top: 3px;
        min-height: 17px;
      }
      form {
        display: flex;
        flex-wrap: wrap;
        gap: 6px;
        align-items: center;
        margin-top: 6px;
        padding: 8px;
        border: 1px solid var(--ms-line);
        border-radius: 6px;
      }
      form input {
        width: 84px;
      }
      form p {
        flex-basis: 100%;
        font-size: 12px;
      }
      .legend {
        display: flex;
        flex-wrap: wrap;
        gap: 2px 12px;
        margin-top: 10px;
        font-size: 12px;
      }
      .legend li {
        display: flex;
        align-items: center;
        gap: 5px;
      }
      .swatch {
        --colour: var(--ms-ram);
        width: 14px;
        height: 10px;
        border-radius: 2px;
        background-color: var(--ms-track);
      }
      .swatch.leased {
        background-color: var(--colour);
      }
      .swatch.pinned {
        background: linear-gradient(to top, var(--ms-fg) 0 4px, var(--ms-track) 4px);
      }
    `
    ];
  }
  figures(tier) {
    if (tier.budget_bytes === null) return this.bytes(tier.used_bytes);
    const [used, budget] = bytesPair(texts.locale, tier.used_bytes, tier.budget_bytes);
    return this.t("tiers.of", { used, budget });
  }
  detail(name, tier) {
    const said = [this.n("tiers.models", tier.entries)];
    if (tier.leased_bytes) said.push(this.t("tiers.leased", { size: this.bytes(tier.leased_bytes) }));
    if (tier.pinned_bytes) said.push(this.t("tiers.pinned", { size: this.bytes(tier.pinned_bytes) }));
    if (tier.reserved_bytes) said.push(this.t("tiers.reserved", { size: this.bytes(tier.reserved_bytes) }));
    if (name === "vram" && this.feed.status?.gpus?.length === 0) said.push(this.t("tiers.noCard"));
    if (name !== "vram" && !tier.writable) said.push(this.t("tiers.readOnly"));
    return said.join(" · ");
  }
  /** What a full bar stands for: the budget; without one, for VRAM all memory of the cards, else all that the buckets hold. */
  scale(name, tier) {
    const cards = this.feed.status?.gpus?.reduce((sum, one) => sum + (one.memory_total_bytes ?? 0), 0) ?? 0;
    const whole = tier.budget_bytes ?? (name === "vram" && cards || (this.feed.status?.tiers.bucket?.used_bytes ?? 0));
    return Math.max(whole, tier.used_bytes + tier.reserved_bytes, 1);
  }
  tier(name, tier) {
    const label = this.t(`tier.${name}`);
    if (!tier) {
      return b2`<div class="tier">
        <div class="line"><strong>${label}</strong><span class="figures muted">${this.t(name === "vram" ? "tiers.noVram" : "tiers.off")}</span></div>
        <div class="meter"></div>
      </div>`;
    }
    const whole = this.scale(name, tier);
    const shares = [
      { kind: "leased", share: tier.leased_bytes / whole },
      { kind: "used", share: Math.max(0, tier.used_bytes - tier.leased_bytes) / whole },
      { kind: "reserved", share: tier.reserved_bytes / whole }
    ];
    const figures = this.figures(tier);
    const detail = this.detail(name, tier);
    return b2`<div class="tier" data-tier=${name}>
      <div class="line">
        <strong>${label}</strong><span class="figures">${figures}</span>
        ${tier.adjustable || tier.entries ? b2`<button
              class="icon"
              type="button"
              aria-expanded=${this.editing === name}
              aria-label=${this.t("tiers.edit", { tier: label })}
              title=${this.t("tiers.edit", { tier: label })}
              @click=${() => this.editing = this.editing === name ? void 0 : name}
            >
              ${glyph("edit")}
            </button>` : A}
      </div>
      ${meter(label, `${figures}. ${detail}`, `var(--ms-${name})`, shares, tier.pinned_bytes / whole)}
      <div class="detail muted">${detail}</div>
      ${this.editing === name ? this.form(name, tier) : A}
    </div>`;
  }
  form(name, tier) {
    const apply = async (event) => {
      event.preventDefault();
      const gigabytes = Number(new FormData(event.target).get("size"));
      if (Number.isFinite(gigabytes) && await this.actions.budget(name, Math.round(gigabytes * 1e9))) this.editing = void 0;
    };
    return b2`<form @submit=${apply}>
      ${tier.adjustable ? b2`<label for="size">${this.t("tiers.budget")}</label>
            <input id="size" name="size" type="number" min="0" step="any" required .value=${String(Math.round((tier.budget_bytes ?? 0) / 1e7) / 100)} />
            <span>GB</span><button type="submit">${this.t("tiers.apply")}</button>` : A}
      <button type="button" ?disabled=${!tier.entries} @click=${() => this.actions.clear(name)}>${glyph("evict")}${this.t("tiers.clear")}</button>
      ${tier.adjustable ? b2`<p class="muted">${this.t("tiers.budgetNote")}</p>` : A}
    </form>`;
  }
  bucket(tiers) {
    const label = this.t("tier.bucket");
    const { entries, used_bytes: size } = tiers.bucket ?? { entries: 0, used_bytes: 0 };
    const here = Math.max(tiers.ssd?.used_bytes ?? 0, tiers.ram?.used_bytes ?? 0);
    const share = size ? Math.min(1, here / size) : 0;
    const detail = size ? this.t("tiers.here", { share: this.percent(share) }) : this.t("tiers.bucketEmpty");
    const figures = `${this.n("tiers.models", entries)}${size ? ` · ${this.bytes(size)}` : ""}`;
    return b2`<div class="tier" data-tier="bucket">
      <div class="line"><strong>${label}</strong><span class="figures">${figures}</span></div>
      ${meter(label, `${figures}. ${detail}`, "var(--ms-bucket)", [{ kind: "used", share }])}
      <div class="detail muted">${detail}</div>
    </div>`;
  }
  legend() {
    const kinds = ["leased", "used", "pinned", "reserved"];
    return b2`<ul class="legend muted" aria-hidden="true">
      ${kinds.map((kind) => b2`<li><span class="swatch ${kind}"></span>${this.t(`legend.${kind}`)}</li>`)}
    </ul>`;
  }
  render() {
    const tiers = this.feed.status?.tiers;
    if (!tiers || !("bucket" in tiers)) return b2`<p class="muted">${this.t("tiers.opening")}</p>`;
    return b2`${NAMES.map((name) => this.tier(name, tiers[name]))}${this.bucket(tiers)}${this.legend()}`;
  }
};
define("modelstream-tiers", TierMap);

// node_modules/uplot/dist/uPlot.esm.js
var FEAT_TIME = true;
var pre = "u-";
var UPLOT = "uplot";
var ORI_HZ = pre + "hz";
var ORI_VT = pre + "vt";
var TITLE = pre + "title";
var WRAP = pre + "wrap";
var UNDER = pre + "under";
var OVER = pre + "over";
var AXIS = pre + "axis";
var OFF = pre + "off";
var SELECT = pre + "select";
var CURSOR_X = pre + "cursor-x";
var CURSOR_Y = pre + "cursor-y";
var CURSOR_PT = pre + "cursor-pt";
var LEGEND = pre + "legend";
var LEGEND_LIVE = pre + "live";
var LEGEND_INLINE = pre + "inline";
var LEGEND_SERIES = pre + "series";
var LEGEND_MARKER = pre + "marker";
var LEGEND_LABEL = pre + "label";
var LEGEND_VALUE = pre + "value";
var WIDTH = "width";
var HEIGHT = "height";
var TOP = "top";
var BOTTOM = "bottom";
var LEFT = "left";
var RIGHT = "right";
var hexBlack = "#000";
var transparent = hexBlack + "0";
var mousemove = "mousemove";
var mousedown = "mousedown";
var mouseup = "mouseup";
var mouseenter = "mouseenter";
var mouseleave = "mouseleave";
var dblclick = "dblclick";
var resize = "resize";
var scroll = "scroll";
var change = "change";
var dppxchange = "dppxchange";
var LEGEND_DISP = "--";
var domEnv = typeof window != "undefined";
var doc = domEnv ? document : null;
var win = domEnv ? window : null;
var nav = domEnv ? navigator : null;
var pxRatio;
var query;
function setPxRatio() {
  let _pxRatio = devicePixelRatio;
  if (pxRatio != _pxRatio) {
    pxRatio = _pxRatio;
    query && off(change, query, setPxRatio);
    query = matchMedia(`(min-resolution: ${pxRatio - 1e-3}dppx) and (max-resolution: ${pxRatio + 1e-3}dppx)`);
    on(change, query, setPxRatio);
    win.dispatchEvent(new CustomEvent(dppxchange));
  }
}
function addClass(el, c5) {
  if (c5 != null) {
    let cl = el.classList;
    !cl.contains(c5) && cl.add(c5);
  }
}
function remClass(el, c5) {
  let cl = el.classList;
  cl.contains(c5) && cl.remove(c5);
}
function setStylePx(el, name, value) {
  el.style[name] = value + "px";
}
function placeTag(tag, cls, targ, refEl) {
  let el = doc.createElement(tag);
  if (cls != null)
    addClass(el, cls);
  if (targ != null)
    targ.insertBefore(el, refEl);
  return el;
}
function placeDiv(cls, targ) {
  return placeTag("div", cls, targ);
}
var xformCache = /* @__PURE__ */ new WeakMap();
function elTrans(el, xPos, yPos, xMax, yMax) {
  let xform = "translate(" + xPos + "px," + yPos + "px)";
  let xformOld = xformCache.get(el);
  if (xform != xformOld) {
    el.style.transform = xform;
    xformCache.set(el, xform);
    if (xPos < 0 || yPos < 0 || xPos > xMax || yPos > yMax)
      addClass(el, OFF);
    else
      remClass(el, OFF);
  }
}
var colorCache = /* @__PURE__ */ new WeakMap();
function elColor(el, background, borderColor) {
  let newColor = background + borderColor;
  let oldColor = colorCache.get(el);
  if (newColor != oldColor) {
    colorCache.set(el, newColor);
    el.style.background = background;
    el.style.borderColor = borderColor;
  }
}
var sizeCache = /* @__PURE__ */ new WeakMap();
function elSize(el, newWid, newHgt, centered) {
  let newSize = newWid + "" + newHgt;
  let oldSize = sizeCache.get(el);
  if (newSize != oldSize) {
    sizeCache.set(el, newSize);
    el.style.height = newHgt + "px";
    el.style.width = newWid + "px";
    el.style.marginLeft = centered ? -newWid / 2 + "px" : 0;
    el.style.marginTop = centered ? -newHgt / 2 + "px" : 0;
  }
}
var evOpts = { passive: true };
var evOpts2 = { ...evOpts, capture: true };
function on(ev, el, cb, capt) {
  el.addEventListener(ev, cb, capt ? evOpts2 : evOpts);
}
function off(ev, el, cb, capt) {
  el.removeEventListener(ev, cb, evOpts);
}
domEnv && setPxRatio();
function closestIdx(num, arr, lo, hi) {
  let mid;
  lo = lo || 0;
  hi = hi || arr.length - 1;
  let bitwise = hi <= 2147483647;
  while (hi - lo > 1) {
    mid = bitwise ? lo + hi >> 1 : floor((lo + hi) / 2);
    if (arr[mid] < num)
      lo = mid;
    else
      hi = mid;
  }
  if (num - arr[lo] <= arr[hi] - num)
    return lo;
  return hi;
}
function makeIndexOfs(predicate) {
  let indexOfs = (data, _i0, _i1) => {
    let i0 = -1;
    let i1 = -1;
    for (let i7 = _i0; i7 <= _i1; i7++) {
      if (predicate(data[i7])) {
        i0 = i7;
        break;
      }
    }
    for (let i7 = _i1; i7 >= _i0; i7--) {
      if (predicate(data[i7])) {
        i1 = i7;
        break;
      }
    }
    return [i0, i1];
  };
  return indexOfs;
}
var notNullish = (v3) => v3 != null;
var isPositive = (v3) => v3 != null && v3 > 0;
var nonNullIdxs = makeIndexOfs(notNullish);
var positiveIdxs = makeIndexOfs(isPositive);
function getMinMax(data, _i0, _i1, sorted = 0, log = false) {
  let getEdgeIdxs = log ? positiveIdxs : nonNullIdxs;
  let predicate = log ? isPositive : notNullish;
  [_i0, _i1] = getEdgeIdxs(data, _i0, _i1);
  let _min = data[_i0];
  let _max = data[_i0];
  if (_i0 > -1) {
    if (sorted == 1) {
      _min = data[_i0];
      _max = data[_i1];
    } else if (sorted == -1) {
      _min = data[_i1];
      _max = data[_i0];
    } else {
      for (let i7 = _i0; i7 <= _i1; i7++) {
        let v3 = data[i7];
        if (predicate(v3)) {
          if (v3 < _min)
            _min = v3;
          else if (v3 > _max)
            _max = v3;
        }
      }
    }
  }
  return [_min ?? inf, _max ?? -inf];
}
function rangeLog(min2, max2, base2, fullMags) {
  let minSign = sign2(min2);
  let maxSign = sign2(max2);
  if (min2 == max2) {
    if (minSign == -1) {
      min2 *= base2;
      max2 /= base2;
    } else {
      min2 /= base2;
      max2 *= base2;
    }
  }
  let logFn = base2 == 10 ? log10 : log2;
  let growMinAbs = minSign == 1 ? floor : ceil;
  let growMaxAbs = maxSign == 1 ? ceil : floor;
  let minExp = growMinAbs(logFn(abs(min2)));
  let maxExp = growMaxAbs(logFn(abs(max2)));
  let minIncr = pow(base2, minExp);
  let maxIncr = pow(base2, maxExp);
  if (base2 == 10) {
    if (minExp < 0)
      minIncr = roundDec(minIncr, -minExp);
    if (maxExp < 0)
      maxIncr = roundDec(maxIncr, -maxExp);
  }
  if (fullMags || base2 == 2) {
    min2 = minIncr * minSign;
    max2 = maxIncr * maxSign;
  } else {
    min2 = incrRoundDn(min2, minIncr);
    max2 = incrRoundUp(max2, maxIncr);
  }
  return [min2, max2];
}
function rangeAsinh(min2, max2, base2, fullMags) {
  let minMax = rangeLog(min2, max2, base2, fullMags);
  if (min2 == 0)
    minMax[0] = 0;
  if (max2 == 0)
    minMax[1] = 0;
  return minMax;
}
var rangePad = 0.1;
var autoRangePart = {
  mode: 3,
  pad: rangePad
};
var _eqRangePart = {
  pad: 0,
  soft: null,
  mode: 0
};
var _eqRange = {
  min: _eqRangePart,
  max: _eqRangePart
};
function rangeNum(_min, _max, mult, extra) {
  if (isObj(mult))
    return _rangeNum(_min, _max, mult);
  _eqRangePart.pad = mult;
  _eqRangePart.soft = extra ? 0 : null;
  _eqRangePart.mode = extra ? 3 : 0;
  return _rangeNum(_min, _max, _eqRange);
}
function ifNull(lh, rh) {
  return lh == null ? rh : lh;
}
function hasData(data, idx0, idx1) {
  idx0 = ifNull(idx0, 0);
  idx1 = ifNull(idx1, data.length - 1);
  while (idx0 <= idx1) {
    if (data[idx0] != null)
      return true;
    idx0++;
  }
  return false;
}
function _rangeNum(_min, _max, cfg) {
  let cmin = cfg.min;
  let cmax = cfg.max;
  let padMin = ifNull(cmin.pad, 0);
  let padMax = ifNull(cmax.pad, 0);
  let hardMin = ifNull(cmin.hard, -inf);
  let hardMax = ifNull(cmax.hard, inf);
  let softMin = ifNull(cmin.soft, inf);
  let softMax = ifNull(cmax.soft, -inf);
  let softMinMode = ifNull(cmin.mode, 0);
  let softMaxMode = ifNull(cmax.mode, 0);
  let delta = _max - _min;
  let deltaMag = log10(delta);
  let scalarMax = max(abs(_min), abs(_max));
  let scalarMag = log10(scalarMax);
  let scalarMagDelta = abs(scalarMag - deltaMag);
  if (delta < 1e-24 || scalarMagDelta > 10) {
    delta = 0;
    if (_min == 0 || _max == 0) {
      delta = 1e-24;
      if (softMinMode == 2 && softMin != inf)
        padMin = 0;
      if (softMaxMode == 2 && softMax != -inf)
        padMax = 0;
    }
  }
  let nonZeroDelta = delta || scalarMax || 1e3;
  let mag = log10(nonZeroDelta);
  let base2 = pow(10, floor(mag));
  let _padMin = nonZeroDelta * (delta == 0 ? _min == 0 ? 0.1 : 1 : padMin);
  let _newMin = roundDec(incrRoundDn(_min - _padMin, base2 / 10), 24);
  let _softMin = _min >= softMin && (softMinMode == 1 || softMinMode == 3 && _newMin <= softMin || softMinMode == 2 && _newMin >= softMin) ? softMin : inf;
  let minLim = max(hardMin, _newMin < _softMin && _min >= _softMin ? _softMin : min(_softMin, _newMin));
  let _padMax = nonZeroDelta * (delta == 0 ? _max == 0 ? 0.1 : 1 : padMax);
  let _newMax = roundDec(incrRoundUp(_max + _padMax, base2 / 10), 24);
  let _softMax = _max <= softMax && (softMaxMode == 1 || softMaxMode == 3 && _newMax >= softMax || softMaxMode == 2 && _newMax <= softMax) ? softMax : -inf;
  let maxLim = min(hardMax, _newMax > _softMax && _max <= _softMax ? _softMax : max(_softMax, _newMax));
  if (minLim == maxLim && minLim == 0)
    maxLim = 100;
  return [minLim, maxLim];
}
var numFormatter = new Intl.NumberFormat(domEnv ? nav.language : "en-US");
var fmtNum = (val) => numFormatter.format(val);
var M3 = Math;
var PI = M3.PI;
var abs = M3.abs;
var floor = M3.floor;
var round = M3.round;
var ceil = M3.ceil;
var min = M3.min;
var max = M3.max;
var pow = M3.pow;
var sign2 = M3.sign;
var log10 = M3.log10;
var log2 = M3.log2;
var sinh = (v3, linthresh = 1) => M3.sinh(v3) * linthresh;
var asinh = (v3, linthresh = 1) => M3.asinh(v3 / linthresh);
var inf = Infinity;
function numIntDigits(x2) {
  return (log10((x2 ^ x2 >> 31) - (x2 >> 31)) | 0) + 1;
}
function clamp(num, _min, _max) {
  return min(max(num, _min), _max);
}
function isFn(v3) {
  return typeof v3 == "function";
}
function fnOrSelf(v3) {
  return isFn(v3) ? v3 : () => v3;
}
var noop = () => {
};
var retArg0 = (_0) => _0;
var retArg1 = (_0, _1) => _1;
var retNull = (_3) => null;
var retTrue = (_3) => true;
var retEq = (a3, b3) => a3 == b3;
var regex6 = /\.\d*?(?=9{6,}|0{6,})/gm;
var fixFloat = (val) => {
  if (isInt(val) || fixedDec.has(val))
    return val;
  const str = `${val}`;
  const match = str.match(regex6);
  if (match == null)
    return val;
  let len = match[0].length - 1;
  if (str.indexOf("e-") != -1) {
    let [num, exp] = str.split("e");
    return +`${fixFloat(num)}e${exp}`;
  }
  return roundDec(val, len);
};
function incrRound(num, incr) {
  return fixFloat(roundDec(fixFloat(num / incr)) * incr);
}
function incrRoundUp(num, incr) {
  return fixFloat(ceil(fixFloat(num / incr)) * incr);
}
function incrRoundDn(num, incr) {
  return fixFloat(floor(fixFloat(num / incr)) * incr);
}
function roundDec(val, dec = 0) {
  if (isInt(val))
    return val;
  let p4 = 10 ** dec;
  let n4 = val * p4 * (1 + Number.EPSILON);
  return round(n4) / p4;
}
var fixedDec = /* @__PURE__ */ new Map();
function guessDec(num) {
  return (("" + num).split(".")[1] || "").length;
}
function genIncrs(base2, minExp, maxExp, mults) {
  let incrs = [];
  let multDec = mults.map(guessDec);
  for (let exp = minExp; exp < maxExp; exp++) {
    let expa = abs(exp);
    let mag = roundDec(pow(base2, exp), expa);
    for (let i7 = 0; i7 < mults.length; i7++) {
      let _incr = base2 == 10 ? +`${mults[i7]}e${exp}` : mults[i7] * mag;
      let dec = (exp >= 0 ? 0 : expa) + (exp >= multDec[i7] ? 0 : multDec[i7]);
      let incr = base2 == 10 ? _incr : roundDec(_incr, dec);
      incrs.push(incr);
      fixedDec.set(incr, dec);
    }
  }
  return incrs;
}
var EMPTY_OBJ = {};
var EMPTY_ARR = [];
var nullNullTuple = [null, null];
var isArr = Array.isArray;
var isInt = Number.isInteger;
var isUndef = (v3) => v3 === void 0;
function isStr(v3) {
  return typeof v3 == "string";
}
function isObj(v3) {
  let is = false;
  if (v3 != null) {
    let c5 = v3.constructor;
    is = c5 == null || c5 == Object;
  }
  return is;
}
function fastIsObj(v3) {
  return v3 != null && typeof v3 == "object";
}
var TypedArray = Object.getPrototypeOf(Uint8Array);
var __proto__ = "__proto__";
function copy(o5, _isObj = isObj) {
  let out;
  if (isArr(o5)) {
    let val = o5.find((v3) => v3 != null);
    if (isArr(val) || _isObj(val)) {
      out = Array(o5.length);
      for (let i7 = 0; i7 < o5.length; i7++)
        out[i7] = copy(o5[i7], _isObj);
    } else
      out = o5.slice();
  } else if (o5 instanceof TypedArray)
    out = o5.slice();
  else if (_isObj(o5)) {
    out = {};
    for (let k2 in o5) {
      if (k2 != __proto__)
        out[k2] = copy(o5[k2], _isObj);
    }
  } else
    out = o5;
  return out;
}
function assign(targ) {
  let args = arguments;
  for (let i7 = 1; i7 < args.length; i7++) {
    let src = args[i7];
    for (let key in src) {
      if (key != __proto__) {
        if (isObj(targ[key]))
          assign(targ[key], copy(src[key]));
        else
          targ[key] = copy(src[key]);
      }
    }
  }
  return targ;
}
var NULL_REMOVE = 0;
var NULL_RETAIN = 1;
var NULL_EXPAND = 2;
function nullExpand(yVals, nullIdxs, alignedLen) {
  for (let i7 = 0, xi, lastNullIdx = -1; i7 < nullIdxs.length; i7++) {
    let nullIdx = nullIdxs[i7];
    if (nullIdx > lastNullIdx) {
      xi = nullIdx - 1;
      while (xi >= 0 && yVals[xi] == null)
        yVals[xi--] = null;
      xi = nullIdx + 1;
      while (xi < alignedLen && yVals[xi] == null)
        yVals[lastNullIdx = xi++] = null;
    }
  }
}
function join(tables, nullModes) {
  if (allHeadersSame(tables)) {
    let table = tables[0].slice();
    for (let i7 = 1; i7 < tables.length; i7++)
      table.push(...tables[i7].slice(1));
    if (!isAsc(table[0]))
      table = sortCols(table);
    return table;
  }
  let xVals = /* @__PURE__ */ new Set();
  for (let ti = 0; ti < tables.length; ti++) {
    let t5 = tables[ti];
    let xs = t5[0];
    let len = xs.length;
    for (let i7 = 0; i7 < len; i7++)
      xVals.add(xs[i7]);
  }
  let data = [Array.from(xVals).sort((a3, b3) => a3 - b3)];
  let alignedLen = data[0].length;
  let xIdxs = /* @__PURE__ */ new Map();
  for (let i7 = 0; i7 < alignedLen; i7++)
    xIdxs.set(data[0][i7], i7);
  for (let ti = 0; ti < tables.length; ti++) {
    let t5 = tables[ti];
    let xs = t5[0];
    for (let si = 1; si < t5.length; si++) {
      let ys = t5[si];
      let yVals = Array(alignedLen).fill(void 0);
      let nullMode = nullModes ? nullModes[ti][si] : NULL_RETAIN;
      let nullIdxs = [];
      for (let i7 = 0; i7 < ys.length; i7++) {
        let yVal = ys[i7];
        let alignedIdx = xIdxs.get(xs[i7]);
        if (yVal === null) {
          if (nullMode != NULL_REMOVE) {
            yVals[alignedIdx] = yVal;
            if (nullMode == NULL_EXPAND)
              nullIdxs.push(alignedIdx);
          }
        } else
          yVals[alignedIdx] = yVal;
      }
      nullExpand(yVals, nullIdxs, alignedLen);
      data.push(yVals);
    }
  }
  return data;
}
var microTask = typeof queueMicrotask == "undefined" ? (fn) => Promise.resolve().then(fn) : queueMicrotask;
function sortCols(table) {
  let head = table[0];
  let rlen = head.length;
  let idxs = Array(rlen);
  for (let i7 = 0; i7 < idxs.length; i7++)
    idxs[i7] = i7;
  idxs.sort((i0, i1) => head[i0] - head[i1]);
  let table2 = [];
  for (let i7 = 0; i7 < table.length; i7++) {
    let row = table[i7];
    let row2 = Array(rlen);
    for (let j2 = 0; j2 < rlen; j2++)
      row2[j2] = row[idxs[j2]];
    table2.push(row2);
  }
  return table2;
}
function allHeadersSame(tables) {
  let vals0 = tables[0][0];
  let len0 = vals0.length;
  for (let i7 = 1; i7 < tables.length; i7++) {
    let vals1 = tables[i7][0];
    if (vals1.length != len0)
      return false;
    if (vals1 != vals0) {
      for (let j2 = 0; j2 < len0; j2++) {
        if (vals1[j2] != vals0[j2])
          return false;
      }
    }
  }
  return true;
}
function isAsc(vals, samples = 100) {
  const len = vals.length;
  if (len <= 1)
    return true;
  let firstIdx = 0;
  let lastIdx = len - 1;
  while (firstIdx <= lastIdx && vals[firstIdx] == null)
    firstIdx++;
  while (lastIdx >= firstIdx && vals[lastIdx] == null)
    lastIdx--;
  if (lastIdx <= firstIdx)
    return true;
  const stride = max(1, floor((lastIdx - firstIdx + 1) / samples));
  for (let prevVal = vals[firstIdx], i7 = firstIdx + stride; i7 <= lastIdx; i7 += stride) {
    const v3 = vals[i7];
    if (v3 != null) {
      if (v3 <= prevVal)
        return false;
      prevVal = v3;
    }
  }
  return true;
}
var months = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December"
];
var days = [
  "Sunday",
  "Monday",
  "Tuesday",
  "Wednesday",
  "Thursday",
  "Friday",
  "Saturday"
];
function slice3(str) {
  return str.slice(0, 3);
}
var days3 = days.map(slice3);
var months3 = months.map(slice3);
var engNames = {
  MMMM: months,
  MMM: months3,
  WWWW: days,
  WWW: days3
};
function zeroPad2(int) {
  return (int < 10 ? "0" : "") + int;
}
function zeroPad3(int) {
  return (int < 10 ? "00" : int < 100 ? "0" : "") + int;
}
var subs = {
  // 2019
  YYYY: (d3) => d3.getFullYear(),
  // 19
  YY: (d3) => (d3.getFullYear() + "").slice(2),
  // July
  MMMM: (d3, names) => names.MMMM[d3.getMonth()],
  // Jul
  MMM: (d3, names) => names.MMM[d3.getMonth()],
  // 07
  MM: (d3) => zeroPad2(d3.getMonth() + 1),
  // 7
  M: (d3) => d3.getMonth() + 1,
  // 09
  DD: (d3) => zeroPad2(d3.getDate()),
  // 9
  D: (d3) => d3.getDate(),
  // Monday
  WWWW: (d3, names) => names.WWWW[d3.getDay()],
  // Mon
  WWW: (d3, names) => names.WWW[d3.getDay()],
  // 03
  HH: (d3) => zeroPad2(d3.getHours()),
  // 3
  H: (d3) => d3.getHours(),
  // 9 (12hr, unpadded)
  h: (d3) => {
    let h4 = d3.getHours();
    return h4 == 0 ? 12 : h4 > 12 ? h4 - 12 : h4;
  },
  // AM
  AA: (d3) => d3.getHours() >= 12 ? "PM" : "AM",
  // am
  aa: (d3) => d3.getHours() >= 12 ? "pm" : "am",
  // a
  a: (d3) => d3.getHours() >= 12 ? "p" : "a",
  // 09
  mm: (d3) => zeroPad2(d3.getMinutes()),
  // 9
  m: (d3) => d3.getMinutes(),
  // 09
  ss: (d3) => zeroPad2(d3.getSeconds()),
  // 9
  s: (d3) => d3.getSeconds(),
  // 374
  fff: (d3) => zeroPad3(d3.getMilliseconds())
};
function fmtDate(tpl, names) {
  names = names || engNames;
  let parts = [];
  let R2 = /\{([a-z]+)\}|[^{]+/gi, m3;
  while (m3 = R2.exec(tpl))
    parts.push(m3[0][0] == "{" ? subs[m3[1]] : m3[0]);
  return (d3) => {
    let out = "";
    for (let i7 = 0; i7 < parts.length; i7++)
      out += typeof parts[i7] == "string" ? parts[i7] : parts[i7](d3, names);
    return out;
  };
}
var localTz = new Intl.DateTimeFormat().resolvedOptions().timeZone;
function tzDate(date, tz) {
  let date2;
  if (tz == "UTC" || tz == "Etc/UTC")
    date2 = new Date(+date + date.getTimezoneOffset() * 6e4);
  else if (tz == localTz)
    date2 = date;
  else {
    date2 = new Date(date.toLocaleString("en-US", { timeZone: tz }));
    date2.setMilliseconds(date.getMilliseconds());
  }
  return date2;
}
var onlyWhole = (v3) => v3 % 1 == 0;
var allMults = [1, 2, 2.5, 5];
var decIncrs = genIncrs(10, -32, 0, allMults);
var oneIncrs = genIncrs(10, 0, 32, allMults);
var wholeIncrs = oneIncrs.filter(onlyWhole);
var numIncrs = decIncrs.concat(oneIncrs);
var NL = "\n";
var yyyy = "{YYYY}";
var NLyyyy = NL + yyyy;
var md = "{M}/{D}";
var NLmd = NL + md;
var NLmdyy = NLmd + "/{YY}";
var aa = "{aa}";
var hmm = "{h}:{mm}";
var hmmaa = hmm + aa;
var NLhmmaa = NL + hmmaa;
var ss = ":{ss}";
var _2 = null;
function genTimeStuffs(ms) {
  let s5 = ms * 1e3, m3 = s5 * 60, h4 = m3 * 60, d3 = h4 * 24, mo = d3 * 30, y3 = d3 * 365;
  let subSecIncrs = ms == 1 ? genIncrs(10, 0, 3, allMults).filter(onlyWhole) : genIncrs(10, -3, 0, allMults);
  let timeIncrs = subSecIncrs.concat([
    // minute divisors (# of secs)
    s5,
    s5 * 5,
    s5 * 10,
    s5 * 15,
    s5 * 30,
    // hour divisors (# of mins)
    m3,
    m3 * 5,
    m3 * 10,
    m3 * 15,
    m3 * 30,
    // day divisors (# of hrs)
    h4,
    h4 * 2,
    h4 * 3,
    h4 * 4,
    h4 * 6,
    h4 * 8,
    h4 * 12,
    // month divisors TODO: need more?
    d3,
    d3 * 2,
    d3 * 3,
    d3 * 4,
    d3 * 5,
    d3 * 6,
    d3 * 7,
    d3 * 8,
    d3 * 9,
    d3 * 10,
    d3 * 15,
    // year divisors (# months, approx)
    mo,
    mo * 2,
    mo * 3,
    mo * 4,
    mo * 6,
    // century divisors
    y3,
    y3 * 2,
    y3 * 5,
    y3 * 10,
    y3 * 25,
    y3 * 50,
    y3 * 100
  ]);
  const _timeAxisStamps = [
    //   tick incr    default          year                    month   day                   hour    min       sec   mode
    [y3, yyyy, _2, _2, _2, _2, _2, _2, 1],
    [d3 * 28, "{MMM}", NLyyyy, _2, _2, _2, _2, _2, 1],
    [d3, md, NLyyyy, _2, _2, _2, _2, _2, 1],
    [h4, "{h}" + aa, NLmdyy, _2, NLmd, _2, _2, _2, 1],
    [m3, hmmaa, NLmdyy, _2, NLmd, _2, _2, _2, 1],
    [s5, ss, NLmdyy + " " + hmmaa, _2, NLmd + " " + hmmaa, _2, NLhmmaa, _2, 1],
    [ms, ss + ".{fff}", NLmdyy + " " + hmmaa, _2, NLmd + " " + hmmaa, _2, NLhmmaa, _2, 1]
  ];
  function timeAxisSplits(tzDate2) {
    return (self, axisIdx, scaleMin, scaleMax, foundIncr, foundSpace) => {
      let splits = [];
      let isYr = foundIncr >= y3;
      let isMo = foundIncr >= mo && foundIncr < y3;
      let minDate = tzDate2(scaleMin);
      let minDateTs = roundDec(minDate * ms, 3);
      let minMin = mkDate(minDate.getFullYear(), isYr ? 0 : minDate.getMonth(), isMo || isYr ? 1 : minDate.getDate());
      let minMinTs = roundDec(minMin * ms, 3);
      if (isMo || isYr) {
        let moIncr = isMo ? foundIncr / mo : 0;
        let yrIncr = isYr ? foundIncr / y3 : 0;
        let split = minDateTs == minMinTs ? minDateTs : roundDec(mkDate(minMin.getFullYear() + yrIncr, minMin.getMonth() + moIncr, 1) * ms, 3);
        let splitDate = new Date(round(split / ms));
        let baseYear = splitDate.getFullYear();
        let baseMonth = splitDate.getMonth();
        for (let i7 = 0; split <= scaleMax; i7++) {
          let next = mkDate(baseYear + yrIncr * i7, baseMonth + moIncr * i7, 1);
          let offs = next - tzDate2(roundDec(next * ms, 3));
          split = roundDec((+next + offs) * ms, 3);
          if (split <= scaleMax)
            splits.push(split);
        }
      } else {
        let incr0 = foundIncr >= d3 ? d3 : foundIncr;
        let tzOffset = floor(scaleMin) - floor(minDateTs);
        let split = minMinTs + tzOffset + incrRoundUp(minDateTs - minMinTs, incr0);
        splits.push(split);
        let date0 = tzDate2(split);
        let prevHour = date0.getHours() + date0.getMinutes() / m3 + date0.getSeconds() / h4;
        let incrHours = foundIncr / h4;
        let minSpace = self.axes[axisIdx]._space;
        let pctSpace = foundSpace / minSpace;
        while (1) {
          split = roundDec(split + foundIncr, ms == 1 ? 0 : 3);
          if (split > scaleMax)
            break;
          if (incrHours > 1) {
            let expectedHour = floor(roundDec(prevHour + incrHours, 6)) % 24;
            let splitDate = tzDate2(split);
            let actualHour = splitDate.getHours();
            let dstShift = actualHour - expectedHour;
            if (dstShift > 1)
              dstShift = -1;
            split -= dstShift * h4;
            prevHour = (prevHour + incrHours) % 24;
            let prevSplit = splits[splits.length - 1];
            let pctIncr = roundDec((split - prevSplit) / foundIncr, 3);
            if (pctIncr * pctSpace >= 0.7)
              splits.push(split);
          } else
            splits.push(split);
        }
      }
      return splits;
    };
  }
  return [
    timeIncrs,
    _timeAxisStamps,
    timeAxisSplits
  ];
}
var [timeIncrsMs, _timeAxisStampsMs, timeAxisSplitsMs] = genTimeStuffs(1);
var [timeIncrsS, _timeAxisStampsS, timeAxisSplitsS] = genTimeStuffs(1e-3);
genIncrs(2, -53, 53, [1]);
function timeAxisStamps(stampCfg, fmtDate2) {
  return stampCfg.map((s5) => s5.map(
    (v3, i7) => i7 == 0 || i7 == 8 || v3 == null ? v3 : fmtDate2(i7 == 1 || s5[8] == 0 ? v3 : s5[1] + v3)
  ));
}
function timeAxisVals(tzDate2, stamps) {
  return (self, splits, axisIdx, foundSpace, foundIncr) => {
    let s5 = stamps.find((s6) => foundIncr >= s6[0]) || stamps[stamps.length - 1];
    let prevYear;
    let prevMnth;
    let prevDate;
    let prevHour;
    let prevMins;
    let prevSecs;
    return splits.map((split) => {
      let date = tzDate2(split);
      let newYear = date.getFullYear();
      let newMnth = date.getMonth();
      let newDate = date.getDate();
      let newHour = date.getHours();
      let newMins = date.getMinutes();
      let newSecs = date.getSeconds();
      let stamp = newYear != prevYear && s5[2] || newMnth != prevMnth && s5[3] || newDate != prevDate && s5[4] || newHour != prevHour && s5[5] || newMins != prevMins && s5[6] || newSecs != prevSecs && s5[7] || s5[1];
      prevYear = newYear;
      prevMnth = newMnth;
      prevDate = newDate;
      prevHour = newHour;
      prevMins = newMins;
      prevSecs = newSecs;
      return stamp(date);
    });
  };
}
function timeAxisVal(tzDate2, dateTpl) {
  let stamp = fmtDate(dateTpl);
  return (self, splits, axisIdx, foundSpace, foundIncr) => splits.map((split) => stamp(tzDate2(split)));
}
function mkDate(y3, m3, d3) {
  return new Date(y3, m3, d3);
}
function timeSeriesStamp(stampCfg, fmtDate2) {
  return fmtDate2(stampCfg);
}
var _timeSeriesStamp = "{YYYY}-{MM}-{DD} {h}:{mm}{aa}";
function timeSeriesVal(tzDate2, stamp) {
  return (self, val, seriesIdx, dataIdx) => dataIdx == null ? LEGEND_DISP : stamp(tzDate2(val));
}
function legendStroke(self, seriesIdx) {
  let s5 = self.series[seriesIdx];
  return s5.width ? s5.stroke(self, seriesIdx) : s5.points.width ? s5.points.stroke(self, seriesIdx) : null;
}
function legendFill(self, seriesIdx) {
  return self.series[seriesIdx].fill(self, seriesIdx);
}
var legendOpts = {
  show: true,
  live: true,
  isolate: false,
  mount: noop,
  markers: {
    show: true,
    width: 2,
    stroke: legendStroke,
    fill: legendFill,
    dash: "solid"
  },
  idx: null,
  idxs: null,
  values: []
};
function cursorPointShow(self, si) {
  let o5 = self.cursor.points;
  let pt = placeDiv();
  let size = o5.size(self, si);
  setStylePx(pt, WIDTH, size);
  setStylePx(pt, HEIGHT, size);
  let mar = size / -2;
  setStylePx(pt, "marginLeft", mar);
  setStylePx(pt, "marginTop", mar);
  let width = o5.width(self, si, size);
  width && setStylePx(pt, "borderWidth", width);
  return pt;
}
function cursorPointFill(self, si) {
  let sp = self.series[si].points;
  return sp._fill || sp._stroke;
}
function cursorPointStroke(self, si) {
  let sp = self.series[si].points;
  return sp._stroke || sp._fill;
}
function cursorPointSize(self, si) {
  let sp = self.series[si].points;
  return sp.size;
}
var moveTuple = [0, 0];
function cursorMove(self, mouseLeft1, mouseTop1) {
  moveTuple[0] = mouseLeft1;
  moveTuple[1] = mouseTop1;
  return moveTuple;
}
function filtBtn0(self, targ, handle, onlyTarg = true) {
  return (e5) => {
    e5.button == 0 && (!onlyTarg || e5.target == targ) && handle(e5);
  };
}
function filtTarg(self, targ, handle, onlyTarg = true) {
  return (e5) => {
    (!onlyTarg || e5.target == targ) && handle(e5);
  };
}
var cursorOpts = {
  show: true,
  x: true,
  y: true,
  lock: false,
  move: cursorMove,
  points: {
    one: false,
    show: cursorPointShow,
    size: cursorPointSize,
    width: 0,
    stroke: cursorPointStroke,
    fill: cursorPointFill
  },
  bind: {
    mousedown: filtBtn0,
    mouseup: filtBtn0,
    click: filtBtn0,
    // legend clicks, not .u-over clicks
    dblclick: filtBtn0,
    mousemove: filtTarg,
    mouseleave: filtTarg,
    mouseenter: filtTarg
  },
  drag: {
    setScale: true,
    x: true,
    y: false,
    dist: 0,
    uni: null,
    click: (self, e5) => {
      e5.stopPropagation();
      e5.stopImmediatePropagation();
    },
    _x: false,
    _y: false
  },
  focus: {
    dist: (self, seriesIdx, dataIdx, valPos, curPos) => valPos - curPos,
    prox: -1,
    bias: 0
  },
  hover: {
    skip: [void 0],
    prox: null,
    bias: 0
  },
  left: -10,
  top: -10,
  idx: null,
  dataIdx: null,
  idxs: null,
  event: null
};
var axisLines = {
  show: true,
  stroke: "rgba(0,0,0,0.07)",
  width: 2
  //	dash: [],
};
var grid = assign({}, axisLines, {
  filter: retArg1
});
var ticks = assign({}, grid, {
  size: 10
});
var border = assign({}, axisLines, {
  show: false
});
var font = '12px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "Noto Sans", sans-serif, "Apple Color Emoji", "Segoe UI Emoji", "Segoe UI Symbol", "Noto Color Emoji"';
var labelFont = "bold " + font;
var lineGap = 1.5;
var xAxisOpts = {
  show: true,
  scale: "x",
  stroke: hexBlack,
  space: 50,
  gap: 5,
  alignTo: 1,
  size: 50,
  labelGap: 0,
  labelSize: 30,
  labelFont,
  side: 2,
  //	class: "x-vals",
  //	incrs: timeIncrs,
  //	values: timeVals,
  //	filter: retArg1,
  grid,
  ticks,
  border,
  font,
  lineGap,
  rotate: 0
};
var numSeriesLabel = "Value";
var timeSeriesLabel = "Time";
var xSeriesOpts = {
  show: true,
  scale: "x",
  auto: false,
  sorted: 1,
  //	label: "Time",
  //	value: v => stamp(new Date(v * 1e3)),
  // internal caches
  min: inf,
  max: -inf,
  idxs: []
};
function numAxisVals(self, splits, axisIdx, foundSpace, foundIncr) {
  return splits.map((v3) => v3 == null ? "" : fmtNum(v3));
}
function numAxisSplits(self, axisIdx, scaleMin, scaleMax, foundIncr, foundSpace, forceMin) {
  let splits = [];
  let numDec = fixedDec.get(foundIncr) || 0;
  scaleMin = forceMin ? scaleMin : roundDec(incrRoundUp(scaleMin, foundIncr), numDec);
  for (let val = scaleMin; val <= scaleMax; val = roundDec(val + foundIncr, numDec))
    splits.push(Object.is(val, -0) ? 0 : val);
  return splits;
}
function logAxisSplits(self, axisIdx, scaleMin, scaleMax, foundIncr, foundSpace, forceMin) {
  const splits = [];
  const logBase = self.scales[self.axes[axisIdx].scale].log;
  const logFn = logBase == 10 ? log10 : log2;
  const exp = floor(logFn(scaleMin));
  foundIncr = pow(logBase, exp);
  if (logBase == 10)
    foundIncr = numIncrs[closestIdx(foundIncr, numIncrs)];
  let split = scaleMin;
  let nextMagIncr = foundIncr * logBase;
  if (logBase == 10)
    nextMagIncr = numIncrs[closestIdx(nextMagIncr, numIncrs)];
  do {
    splits.push(split);
    split = split + foundIncr;
    if (logBase == 10 && !fixedDec.has(split))
      split = roundDec(split, fixedDec.get(foundIncr));
    if (split >= nextMagIncr) {
      foundIncr = split;
      nextMagIncr = foundIncr * logBase;
      if (logBase == 10)
        nextMagIncr = numIncrs[closestIdx(nextMagIncr, numIncrs)];
    }
  } while (split <= scaleMax);
  return splits;
}
function asinhAxisSplits(self, axisIdx, scaleMin, scaleMax, foundIncr, foundSpace, forceMin) {
  let sc = self.scales[self.axes[axisIdx].scale];
  let linthresh = sc.asinh;
  let posSplits = scaleMax > linthresh ? logAxisSplits(self, axisIdx, max(linthresh, scaleMin), scaleMax, foundIncr) : [linthresh];
  let zero = scaleMax >= 0 && scaleMin <= 0 ? [0] : [];
  let negSplits = scaleMin < -linthresh ? logAxisSplits(self, axisIdx, max(linthresh, -scaleMax), -scaleMin, foundIncr) : [linthresh];
  return negSplits.reverse().map((v3) => -v3).concat(zero, posSplits);
}
var RE_ALL = /./;
var RE_12357 = /[12357]/;
var RE_125 = /[125]/;
var RE_1 = /1/;
var _filt = (splits, distr, re, keepMod) => splits.map((v3, i7) => distr == 4 && v3 == 0 || i7 % keepMod == 0 && re.test(v3.toExponential()[v3 < 0 ? 1 : 0]) ? v3 : null);
function log10AxisValsFilt(self, splits, axisIdx, foundSpace, foundIncr) {
  let axis = self.axes[axisIdx];
  let scaleKey = axis.scale;
  let sc = self.scales[scaleKey];
  let valToPos = self.valToPos;
  let minSpace = axis._space;
  let _10 = valToPos(10, scaleKey);
  let re = valToPos(9, scaleKey) - _10 >= minSpace ? RE_ALL : valToPos(7, scaleKey) - _10 >= minSpace ? RE_12357 : valToPos(5, scaleKey) - _10 >= minSpace ? RE_125 : RE_1;
  if (re == RE_1) {
    let magSpace = abs(valToPos(1, scaleKey) - _10);
    if (magSpace < minSpace)
      return _filt(splits.slice().reverse(), sc.distr, re, ceil(minSpace / magSpace)).reverse();
  }
  return _filt(splits, sc.distr, re, 1);
}
function log2AxisValsFilt(self, splits, axisIdx, foundSpace, foundIncr) {
  let axis = self.axes[axisIdx];
  let scaleKey = axis.scale;
  let minSpace = axis._space;
  let valToPos = self.valToPos;
  let magSpace = abs(valToPos(1, scaleKey) - valToPos(2, scaleKey));
  if (magSpace < minSpace)
    return _filt(splits.slice().reverse(), 3, RE_ALL, ceil(minSpace / magSpace)).reverse();
  return splits;
}
function numSeriesVal(self, val, seriesIdx, dataIdx) {
  return dataIdx == null ? LEGEND_DISP : val == null ? "" : fmtNum(val);
}
var yAxisOpts = {
  show: true,
  scale: "y",
  stroke: hexBlack,
  space: 30,
  gap: 5,
  alignTo: 1,
  size: 50,
  labelGap: 0,
  labelSize: 30,
  labelFont,
  side: 3,
  //	class: "y-vals",
  //	incrs: numIncrs,
  //	values: (vals, space) => vals,
  //	filter: retArg1,
  grid,
  ticks,
  border,
  font,
  lineGap,
  rotate: 0
};
function ptDia(width, mult) {
  let dia = 3 + (width || 1) * 2;
  return roundDec(dia * mult, 3);
}
function seriesPointsShow(self, si) {
  let { scale, idxs } = self.series[0];
  let xData = self._data[0];
  let p0 = self.valToPos(xData[idxs[0]], scale, true);
  let p1 = self.valToPos(xData[idxs[1]], scale, true);
  let dim = abs(p1 - p0);
  let s5 = self.series[si];
  let maxPts = dim / (s5.points.space * pxRatio);
  return idxs[1] - idxs[0] <= maxPts;
}
var facet = {
  scale: null,
  auto: true,
  sorted: 0,
  // internal caches
  min: inf,
  max: -inf
};
var gaps = (self, seriesIdx, idx0, idx1, nullGaps) => nullGaps;
var xySeriesOpts = {
  show: true,
  auto: true,
  sorted: 0,
  gaps,
  alpha: 1,
  facets: [
    assign({}, facet, { scale: "x" }),
    assign({}, facet, { scale: "y" })
  ]
};
var ySeriesOpts = {
  scale: "y",
  auto: true,
  sorted: 0,
  show: true,
  spanGaps: false,
  gaps,
  alpha: 1,
  points: {
    show: seriesPointsShow,
    filter: null
    //  paths:
    //	stroke: "#000",
    //	fill: "#fff",
    //	width: 1,
    //	size: 10,
  },
  //	label: "Value",
  //	value: v => v,
  values: null,
  // internal caches
  min: inf,
  max: -inf,
  idxs: [],
  path: null,
  clip: null
};
function clampScale(self, val, scaleMin, scaleMax, scaleKey) {
  return scaleMin / 10;
}
var xScaleOpts = {
  time: FEAT_TIME,
  auto: true,
  distr: 1,
  log: 10,
  asinh: 1,
  min: null,
  max: null,
  dir: 1,
  ori: 0
};
var yScaleOpts = assign({}, xScaleOpts, {
  time: false,
  ori: 1
});
var syncs = {};
function _sync(key, opts) {
  let s5 = syncs[key];
  if (!s5) {
    s5 = {
      key,
      plots: [],
      sub(plot) {
        s5.plots.push(plot);
      },
      unsub(plot) {
        s5.plots = s5.plots.filter((c5) => c5 != plot);
      },
      pub(type, self, x2, y3, w2, h4, i7) {
        for (let j2 = 0; j2 < s5.plots.length; j2++)
          s5.plots[j2] != self && s5.plots[j2].pub(type, self, x2, y3, w2, h4, i7);
      }
    };
    if (key != null)
      syncs[key] = s5;
  }
  return s5;
}
var BAND_CLIP_FILL = 1 << 0;
var BAND_CLIP_STROKE = 1 << 1;
function orient(u5, seriesIdx, cb) {
  const mode = u5.mode;
  const series = u5.series[seriesIdx];
  const data = mode == 2 ? u5._data[seriesIdx] : u5._data;
  const scales = u5.scales;
  const bbox = u5.bbox;
  let dx = data[0], dy = mode == 2 ? data[1] : data[seriesIdx], sx = mode == 2 ? scales[series.facets[0].scale] : scales[u5.series[0].scale], sy = mode == 2 ? scales[series.facets[1].scale] : scales[series.scale], l3 = bbox.left, t5 = bbox.top, w2 = bbox.width, h4 = bbox.height, H2 = u5.valToPosH, V2 = u5.valToPosV;
  return sx.ori == 0 ? cb(
    series,
    dx,
    dy,
    sx,
    sy,
    H2,
    V2,
    l3,
    t5,
    w2,
    h4,
    moveToH,
    lineToH,
    rectH,
    arcH,
    bezierCurveToH
  ) : cb(
    series,
    dx,
    dy,
    sx,
    sy,
    V2,
    H2,
    t5,
    l3,
    h4,
    w2,
    moveToV,
    lineToV,
    rectV,
    arcV,
    bezierCurveToV
  );
}
function bandFillClipDirs(self, seriesIdx) {
  let fillDir = 0;
  let clipDirs = 0;
  let bands = ifNull(self.bands, EMPTY_ARR);
  for (let i7 = 0; i7 < bands.length; i7++) {
    let b3 = bands[i7];
    if (b3.series[0] == seriesIdx)
      fillDir = b3.dir;
    else if (b3.series[1] == seriesIdx) {
      if (b3.dir == 1)
        clipDirs |= 1;
      else
        clipDirs |= 2;
    }
  }
  return [
    fillDir,
    clipDirs == 1 ? -1 : (
      // neg only
      clipDirs == 2 ? 1 : (
        // pos only
        clipDirs == 3 ? 2 : (
          // both
          0
        )
      )
    )
  ];
}
function seriesFillTo(self, seriesIdx, dataMin, dataMax, bandFillDir) {
  let mode = self.mode;
  let series = self.series[seriesIdx];
  let scaleKey = mode == 2 ? series.facets[1].scale : series.scale;
  let scale = self.scales[scaleKey];
  return bandFillDir == -1 ? scale.min : bandFillDir == 1 ? scale.max : scale.distr == 3 ? scale.dir == 1 ? scale.min : scale.max : 0;
}
function clipBandLine(self, seriesIdx, idx0, idx1, strokePath, clipDir) {
  return orient(self, seriesIdx, (series, dataX, dataY, scaleX, scaleY, valToPosX, valToPosY, xOff, yOff, xDim, yDim) => {
    let pxRound = series.pxRound;
    const dir = scaleX.dir * (scaleX.ori == 0 ? 1 : -1);
    const lineTo = scaleX.ori == 0 ? lineToH : lineToV;
    let frIdx, toIdx;
    if (dir == 1) {
      frIdx = idx0;
      toIdx = idx1;
    } else {
      frIdx = idx1;
      toIdx = idx0;
    }
    let x0 = pxRound(valToPosX(dataX[frIdx], scaleX, xDim, xOff));
    let y0 = pxRound(valToPosY(dataY[frIdx], scaleY, yDim, yOff));
    let x1 = pxRound(valToPosX(dataX[toIdx], scaleX, xDim, xOff));
    let yLimit = pxRound(valToPosY(clipDir == 1 ? scaleY.max : scaleY.min, scaleY, yDim, yOff));
    let clip = new Path2D(strokePath);
    lineTo(clip, x1, yLimit);
    lineTo(clip, x0, yLimit);
    lineTo(clip, x0, y0);
    return clip;
  });
}
function clipGaps(gaps2, ori, plotLft, plotTop, plotWid, plotHgt) {
  let clip = null;
  if (gaps2.length > 0) {
    clip = new Path2D();
    const rect2 = ori == 0 ? rectH : rectV;
    let prevGapEnd = plotLft;
    for (let i7 = 0; i7 < gaps2.length; i7++) {
      let g2 = gaps2[i7];
      if (g2[1] > g2[0]) {
        let w3 = g2[0] - prevGapEnd;
        w3 > 0 && rect2(clip, prevGapEnd, plotTop, w3, plotTop + plotHgt);
        prevGapEnd = g2[1];
      }
    }
    let w2 = plotLft + plotWid - prevGapEnd;
    let maxStrokeWidth = 10;
    w2 > 0 && rect2(clip, prevGapEnd, plotTop - maxStrokeWidth / 2, w2, plotTop + plotHgt + maxStrokeWidth);
  }
  return clip;
}
function addGap(gaps2, fromX, toX) {
  let prevGap = gaps2[gaps2.length - 1];
  if (prevGap && prevGap[0] == fromX)
    prevGap[1] = toX;
  else
    gaps2.push([fromX, toX]);
}
function findGaps(xs, ys, idx0, idx1, dir, pixelForX, align) {
  let gaps2 = [];
  let len = xs.length;
  for (let i7 = dir == 1 ? idx0 : idx1; i7 >= idx0 && i7 <= idx1; i7 += dir) {
    let yVal = ys[i7];
    if (yVal === null) {
      let fr = i7, to = i7;
      if (dir == 1) {
        while (++i7 <= idx1 && ys[i7] === null)
          to = i7;
      } else {
        while (--i7 >= idx0 && ys[i7] === null)
          to = i7;
      }
      let frPx = pixelForX(xs[fr]);
      let toPx = to == fr ? frPx : pixelForX(xs[to]);
      let fri2 = fr - dir;
      let frPx2 = align <= 0 && fri2 >= 0 && fri2 < len ? pixelForX(xs[fri2]) : frPx;
      frPx = frPx2;
      let toi2 = to + dir;
      let toPx2 = align >= 0 && toi2 >= 0 && toi2 < len ? pixelForX(xs[toi2]) : toPx;
      toPx = toPx2;
      if (toPx >= frPx)
        gaps2.push([frPx, toPx]);
    }
  }
  return gaps2;
}
function pxRoundGen(pxAlign) {
  return pxAlign == 0 ? retArg0 : pxAlign == 1 ? round : (v3) => incrRound(v3, pxAlign);
}
function rect(ori) {
  let moveTo = ori == 0 ? moveToH : moveToV;
  let arcTo = ori == 0 ? (p4, x1, y1, x2, y22, r4) => {
    p4.arcTo(x1, y1, x2, y22, r4);
  } : (p4, y1, x1, y22, x2, r4) => {
    p4.arcTo(x1, y1, x2, y22, r4);
  };
  let rect2 = ori == 0 ? (p4, x2, y3, w2, h4) => {
    p4.rect(x2, y3, w2, h4);
  } : (p4, y3, x2, h4, w2) => {
    p4.rect(x2, y3, w2, h4);
  };
  return (p4, x2, y3, w2, h4, endRad = 0, baseRad = 0) => {
    if (endRad == 0 && baseRad == 0)
      rect2(p4, x2, y3, w2, h4);
    else {
      endRad = min(endRad, w2 / 2, h4 / 2);
      baseRad = min(baseRad, w2 / 2, h4 / 2);
      moveTo(p4, x2 + endRad, y3);
      arcTo(p4, x2 + w2, y3, x2 + w2, y3 + h4, endRad);
      arcTo(p4, x2 + w2, y3 + h4, x2, y3 + h4, baseRad);
      arcTo(p4, x2, y3 + h4, x2, y3, baseRad);
      arcTo(p4, x2, y3, x2 + w2, y3, endRad);
      p4.closePath();
    }
  };
}
var moveToH = (p4, x2, y3) => {
  p4.moveTo(x2, y3);
};
var moveToV = (p4, y3, x2) => {
  p4.moveTo(x2, y3);
};
var lineToH = (p4, x2, y3) => {
  p4.lineTo(x2, y3);
};
var lineToV = (p4, y3, x2) => {
  p4.lineTo(x2, y3);
};
var rectH = rect(0);
var rectV = rect(1);
var arcH = (p4, x2, y3, r4, startAngle, endAngle) => {
  p4.arc(x2, y3, r4, startAngle, endAngle);
};
var arcV = (p4, y3, x2, r4, startAngle, endAngle) => {
  p4.arc(x2, y3, r4, startAngle, endAngle);
};
var bezierCurveToH = (p4, bp1x, bp1y, bp2x, bp2y, p2x, p2y) => {
  p4.bezierCurveTo(bp1x, bp1y, bp2x, bp2y, p2x, p2y);
};
var bezierCurveToV = (p4, bp1y, bp1x, bp2y, bp2x, p2y, p2x) => {
  p4.bezierCurveTo(bp1x, bp1y, bp2x, bp2y, p2x, p2y);
};
function points(opts) {
  return (u5, seriesIdx, idx0, idx1, filtIdxs) => {
    return orient(u5, seriesIdx, (series, dataX, dataY, scaleX, scaleY, valToPosX, valToPosY, xOff, yOff, xDim, yDim) => {
      let { pxRound, points: points2 } = series;
      let moveTo, arc;
      if (scaleX.ori == 0) {
        moveTo = moveToH;
        arc = arcH;
      } else {
        moveTo = moveToV;
        arc = arcV;
      }
      const width = roundDec(points2.width * pxRatio, 3);
      let rad = (points2.size - points2.width) / 2 * pxRatio;
      let dia = roundDec(rad * 2, 3);
      let fill = new Path2D();
      let clip = new Path2D();
      let { left: lft, top, width: wid, height: hgt } = u5.bbox;
      rectH(
        clip,
        lft - dia,
        top - dia,
        wid + dia * 2,
        hgt + dia * 2
      );
      const drawPoint = (pi) => {
        if (dataY[pi] != null) {
          let x2 = pxRound(valToPosX(dataX[pi], scaleX, xDim, xOff));
          let y3 = pxRound(valToPosY(dataY[pi], scaleY, yDim, yOff));
          moveTo(fill, x2 + rad, y3);
          arc(fill, x2, y3, rad, 0, PI * 2);
        }
      };
      if (filtIdxs)
        filtIdxs.forEach(drawPoint);
      else {
        for (let pi = idx0; pi <= idx1; pi++)
          drawPoint(pi);
      }
      return {
        stroke: width > 0 ? fill : null,
        fill,
        clip,
        flags: BAND_CLIP_FILL | BAND_CLIP_STROKE
      };
    });
  };
}
function _drawAcc(lineTo) {
  return (stroke, accX, minY, maxY, inY, outY) => {
    if (minY != maxY) {
      if (inY != minY && outY != minY)
        lineTo(stroke, accX, minY);
      if (inY != maxY && outY != maxY)
        lineTo(stroke, accX, maxY);
      lineTo(stroke, accX, outY);
    }
  };
}
var drawAccH = _drawAcc(lineToH);
var drawAccV = _drawAcc(lineToV);
function linear(opts) {
  const alignGaps = ifNull(opts?.alignGaps, 0);
  return (u5, seriesIdx, idx0, idx1) => {
    return orient(u5, seriesIdx, (series, dataX, dataY, scaleX, scaleY, valToPosX, valToPosY, xOff, yOff, xDim, yDim) => {
      [idx0, idx1] = nonNullIdxs(dataY, idx0, idx1);
      let pxRound = series.pxRound;
      let pixelForX = (val) => pxRound(valToPosX(val, scaleX, xDim, xOff));
      let pixelForY = (val) => pxRound(valToPosY(val, scaleY, yDim, yOff));
      let lineTo, drawAcc;
      if (scaleX.ori == 0) {
        lineTo = lineToH;
        drawAcc = drawAccH;
      } else {
        lineTo = lineToV;
        drawAcc = drawAccV;
      }
      const dir = scaleX.dir * (scaleX.ori == 0 ? 1 : -1);
      const _paths = { stroke: new Path2D(), fill: null, clip: null, band: null, gaps: null, flags: BAND_CLIP_FILL };
      const stroke = _paths.stroke;
      let hasGap = false;
      const decimate = idx1 - idx0 >= xDim * 4;
      if (decimate) {
        let xForPixel = (pos) => u5.posToVal(pos, scaleX.key, true);
        let minY = null, maxY = null, inY, outY, drawnAtX;
        let accX = pixelForX(dataX[dir == 1 ? idx0 : idx1]);
        let idx0px = pixelForX(dataX[idx0]);
        let idx1px = pixelForX(dataX[idx1]);
        let nextAccXVal = xForPixel(dir == 1 ? idx0px + 1 : idx1px - 1);
        for (let i7 = dir == 1 ? idx0 : idx1; i7 >= idx0 && i7 <= idx1; i7 += dir) {
          let xVal = dataX[i7];
          let reuseAccX = dir == 1 ? xVal < nextAccXVal : xVal > nextAccXVal;
          let x2 = reuseAccX ? accX : pixelForX(xVal);
          let yVal = dataY[i7];
          if (x2 == accX) {
            if (yVal != null) {
              outY = yVal;
              if (minY == null) {
                lineTo(stroke, x2, pixelForY(outY));
                inY = minY = maxY = outY;
              } else {
                if (outY < minY)
                  minY = outY;
                else if (outY > maxY)
                  maxY = outY;
              }
            } else {
              if (yVal === null)
                hasGap = true;
            }
          } else {
            if (minY != null)
              drawAcc(stroke, accX, pixelForY(minY), pixelForY(maxY), pixelForY(inY), pixelForY(outY));
            if (yVal != null) {
              outY = yVal;
              lineTo(stroke, x2, pixelForY(outY));
              minY = maxY = inY = outY;
            } else {
              minY = maxY = null;
              if (yVal === null)
                hasGap = true;
            }
            accX = x2;
            nextAccXVal = xForPixel(accX + dir);
          }
        }
        if (minY != null && minY != maxY && drawnAtX != accX)
          drawAcc(stroke, accX, pixelForY(minY), pixelForY(maxY), pixelForY(inY), pixelForY(outY));
      } else {
        for (let i7 = dir == 1 ? idx0 : idx1; i7 >= idx0 && i7 <= idx1; i7 += dir) {
          let yVal = dataY[i7];
          if (yVal === null)
            hasGap = true;
          else if (yVal != null)
            lineTo(stroke, pixelForX(dataX[i7]), pixelForY(yVal));
        }
      }
      let [bandFillDir, bandClipDir] = bandFillClipDirs(u5, seriesIdx);
      if (series.fill != null || bandFillDir != 0) {
        let fill = _paths.fill = new Path2D(stroke);
        let fillToVal = series.fillTo(u5, seriesIdx, series.min, series.max, bandFillDir);
        let fillToY = pixelForY(fillToVal);
        let frX = pixelForX(dataX[idx0]);
        let toX = pixelForX(dataX[idx1]);
        if (dir == -1)
          [toX, frX] = [frX, toX];
        lineTo(fill, toX, fillToY);
        lineTo(fill, frX, fillToY);
      }
      if (!series.spanGaps) {
        let gaps2 = [];
        hasGap && gaps2.push(...findGaps(dataX, dataY, idx0, idx1, dir, pixelForX, alignGaps));
        _paths.gaps = gaps2 = series.gaps(u5, seriesIdx, idx0, idx1, gaps2);
        _paths.clip = clipGaps(gaps2, scaleX.ori, xOff, yOff, xDim, yDim);
      }
      if (bandClipDir != 0) {
        _paths.band = bandClipDir == 2 ? [
          clipBandLine(u5, seriesIdx, idx0, idx1, stroke, -1),
          clipBandLine(u5, seriesIdx, idx0, idx1, stroke, 1)
        ] : clipBandLine(u5, seriesIdx, idx0, idx1, stroke, bandClipDir);
      }
      return _paths;
    });
  };
}
function stepped(opts) {
  const align = ifNull(opts.align, 1);
  const ascDesc = ifNull(opts.ascDesc, false);
  const alignGaps = ifNull(opts.alignGaps, 0);
  const extend = ifNull(opts.extend, false);
  return (u5, seriesIdx, idx0, idx1) => {
    return orient(u5, seriesIdx, (series, dataX, dataY, scaleX, scaleY, valToPosX, valToPosY, xOff, yOff, xDim, yDim) => {
      [idx0, idx1] = nonNullIdxs(dataY, idx0, idx1);
      let pxRound = series.pxRound;
      let { left, width } = u5.bbox;
      let pixelForX = (val) => pxRound(valToPosX(val, scaleX, xDim, xOff));
      let pixelForY = (val) => pxRound(valToPosY(val, scaleY, yDim, yOff));
      let lineTo = scaleX.ori == 0 ? lineToH : lineToV;
      const _paths = { stroke: new Path2D(), fill: null, clip: null, band: null, gaps: null, flags: BAND_CLIP_FILL };
      const stroke = _paths.stroke;
      const dir = scaleX.dir * (scaleX.ori == 0 ? 1 : -1);
      let prevYPos = pixelForY(dataY[dir == 1 ? idx0 : idx1]);
      let firstXPos = pixelForX(dataX[dir == 1 ? idx0 : idx1]);
      let prevXPos = firstXPos;
      let firstXPosExt = firstXPos;
      if (extend && align == -1) {
        firstXPosExt = left;
        lineTo(stroke, firstXPosExt, prevYPos);
      }
      lineTo(stroke, firstXPos, prevYPos);
      for (let i7 = dir == 1 ? idx0 : idx1; i7 >= idx0 && i7 <= idx1; i7 += dir) {
        let yVal1 = dataY[i7];
        if (yVal1 == null)
          continue;
        let x1 = pixelForX(dataX[i7]);
        let y1 = pixelForY(yVal1);
        if (align == 1)
          lineTo(stroke, x1, prevYPos);
        else
          lineTo(stroke, prevXPos, y1);
        lineTo(stroke, x1, y1);
        prevYPos = y1;
        prevXPos = x1;
      }
      let prevXPosExt = prevXPos;
      if (extend && align == 1) {
        prevXPosExt = left + width;
        lineTo(stroke, prevXPosExt, prevYPos);
      }
      let [bandFillDir, bandClipDir] = bandFillClipDirs(u5, seriesIdx);
      if (series.fill != null || bandFillDir != 0) {
        let fill = _paths.fill = new Path2D(stroke);
        let fillTo = series.fillTo(u5, seriesIdx, series.min, series.max, bandFillDir);
        let fillToY = pixelForY(fillTo);
        lineTo(fill, prevXPosExt, fillToY);
        lineTo(fill, firstXPosExt, fillToY);
      }
      if (!series.spanGaps) {
        let gaps2 = [];
        gaps2.push(...findGaps(dataX, dataY, idx0, idx1, dir, pixelForX, alignGaps));
        let halfStroke = series.width * pxRatio / 2;
        let startsOffset = ascDesc || align == 1 ? halfStroke : -halfStroke;
        let endsOffset = ascDesc || align == -1 ? -halfStroke : halfStroke;
        gaps2.forEach((g2) => {
          g2[0] += startsOffset;
          g2[1] += endsOffset;
        });
        _paths.gaps = gaps2 = series.gaps(u5, seriesIdx, idx0, idx1, gaps2);
        _paths.clip = clipGaps(gaps2, scaleX.ori, xOff, yOff, xDim, yDim);
      }
      if (bandClipDir != 0) {
        _paths.band = bandClipDir == 2 ? [
          clipBandLine(u5, seriesIdx, idx0, idx1, stroke, -1),
          clipBandLine(u5, seriesIdx, idx0, idx1, stroke, 1)
        ] : clipBandLine(u5, seriesIdx, idx0, idx1, stroke, bandClipDir);
      }
      return _paths;
    });
  };
}
function findColWidth(dataX, dataY, valToPosX, scaleX, xDim, xOff, colWid = inf) {
  if (dataX.length > 1) {
    let prevIdx = null;
    for (let i7 = 0, minDelta = Infinity; i7 < dataX.length; i7++) {
      if (dataY[i7] !== void 0) {
        if (prevIdx != null) {
          let delta = abs(dataX[i7] - dataX[prevIdx]);
          if (delta < minDelta) {
            minDelta = delta;
            colWid = abs(valToPosX(dataX[i7], scaleX, xDim, xOff) - valToPosX(dataX[prevIdx], scaleX, xDim, xOff));
          }
        }
        prevIdx = i7;
      }
    }
  }
  return colWid;
}
function bars(opts) {
  opts = opts || EMPTY_OBJ;
  const size = ifNull(opts.size, [0.6, inf, 1]);
  const align = opts.align || 0;
  const _extraGap = opts.gap || 0;
  let ro = opts.radius;
  ro = // [valueRadius, baselineRadius]
  ro == null ? [0, 0] : typeof ro == "number" ? [ro, 0] : ro;
  const radiusFn = fnOrSelf(ro);
  const gapFactor = 1 - size[0];
  const _maxWidth = ifNull(size[1], inf);
  const _minWidth = ifNull(size[2], 1);
  const disp = ifNull(opts.disp, EMPTY_OBJ);
  const _each = ifNull(opts.each, (_3) => {
  });
  const { fill: dispFills, stroke: dispStrokes } = disp;
  return (u5, seriesIdx, idx0, idx1) => {
    return orient(u5, seriesIdx, (series, dataX, dataY, scaleX, scaleY, valToPosX, valToPosY, xOff, yOff, xDim, yDim) => {
      let pxRound = series.pxRound;
      let _align = align;
      let extraGap = _extraGap * pxRatio;
      let maxWidth = _maxWidth * pxRatio;
      let minWidth = _minWidth * pxRatio;
      let valRadius, baseRadius;
      if (scaleX.ori == 0)
        [valRadius, baseRadius] = radiusFn(u5, seriesIdx);
      else
        [baseRadius, valRadius] = radiusFn(u5, seriesIdx);
      const _dirX = scaleX.dir * (scaleX.ori == 0 ? 1 : -1);
      let rect2 = scaleX.ori == 0 ? rectH : rectV;
      let each = scaleX.ori == 0 ? _each : (u6, seriesIdx2, i7, top, lft, hgt, wid) => {
        _each(u6, seriesIdx2, i7, lft, top, wid, hgt);
      };
      let band = ifNull(u5.bands, EMPTY_ARR).find((b3) => b3.series[0] == seriesIdx);
      let fillDir = band != null ? band.dir : 0;
      let fillTo = series.fillTo(u5, seriesIdx, series.min, series.max, fillDir);
      let fillToY = pxRound(valToPosY(fillTo, scaleY, yDim, yOff));
      let xShift, barWid, fullGap, colWid = xDim;
      let strokeWidth = pxRound(series.width * pxRatio);
      let multiPath = false;
      let fillColors = null;
      let fillPaths = null;
      let strokeColors = null;
      let strokePaths = null;
      if (dispFills != null && (strokeWidth == 0 || dispStrokes != null)) {
        multiPath = true;
        fillColors = dispFills.values(u5, seriesIdx, idx0, idx1);
        fillPaths = /* @__PURE__ */ new Map();
        new Set(fillColors).forEach((color) => {
          if (color != null)
            fillPaths.set(color, new Path2D());
        });
        if (strokeWidth > 0) {
          strokeColors = dispStrokes.values(u5, seriesIdx, idx0, idx1);
          strokePaths = /* @__PURE__ */ new Map();
          new Set(strokeColors).forEach((color) => {
            if (color != null)
              strokePaths.set(color, new Path2D());
          });
        }
      }
      let { x0, size: size2 } = disp;
      if (x0 != null && size2 != null) {
        _align = 1;
        dataX = x0.values(u5, seriesIdx, idx0, idx1);
        if (x0.unit == 2)
          dataX = dataX.map((pct) => u5.posToVal(xOff + pct * xDim, scaleX.key, true));
        let sizes = size2.values(u5, seriesIdx, idx0, idx1);
        if (size2.unit == 2)
          barWid = sizes[0] * xDim;
        else
          barWid = valToPosX(sizes[0], scaleX, xDim, xOff) - valToPosX(0, scaleX, xDim, xOff);
        colWid = findColWidth(dataX, dataY, valToPosX, scaleX, xDim, xOff, colWid);
        let gapWid = colWid - barWid;
        fullGap = gapWid + extraGap;
      } else {
        colWid = findColWidth(dataX, dataY, valToPosX, scaleX, xDim, xOff, colWid);
        let gapWid = colWid * gapFactor;
        fullGap = gapWid + extraGap;
        barWid = colWid - fullGap;
      }
      if (fullGap < 1)
        fullGap = 0;
      if (strokeWidth >= barWid / 2)
        strokeWidth = 0;
      if (fullGap < 5)
        pxRound = retArg0;
      let insetStroke = fullGap > 0;
      let rawBarWid = colWid - fullGap - (insetStroke ? strokeWidth : 0);
      barWid = pxRound(clamp(rawBarWid, minWidth, maxWidth));
      xShift = (_align == 0 ? barWid / 2 : _align == _dirX ? 0 : barWid) - _align * _dirX * ((_align == 0 ? extraGap / 2 : 0) + (insetStroke ? strokeWidth / 2 : 0));
      const _paths = { stroke: null, fill: null, clip: null, band: null, gaps: null, flags: 0 };
      const stroke = multiPath ? null : new Path2D();
      let dataY0 = null;
      if (band != null)
        dataY0 = u5.data[band.series[1]];
      else {
        let { y0, y1 } = disp;
        if (y0 != null && y1 != null) {
          dataY = y1.values(u5, seriesIdx, idx0, idx1);
          dataY0 = y0.values(u5, seriesIdx, idx0, idx1);
        }
      }
      let radVal = valRadius * barWid;
      let radBase = baseRadius * barWid;
      for (let i7 = _dirX == 1 ? idx0 : idx1; i7 >= idx0 && i7 <= idx1; i7 += _dirX) {
        let yVal = dataY[i7];
        if (yVal == null)
          continue;
        if (dataY0 != null) {
          let yVal0 = dataY0[i7] ?? 0;
          if (yVal - yVal0 == 0)
            continue;
          fillToY = valToPosY(yVal0, scaleY, yDim, yOff);
        }
        let xVal = scaleX.distr != 2 || disp != null ? dataX[i7] : i7;
        let xPos = valToPosX(xVal, scaleX, xDim, xOff);
        let yPos = valToPosY(ifNull(yVal, fillTo), scaleY, yDim, yOff);
        let lft = pxRound(xPos - xShift);
        let btm = pxRound(max(yPos, fillToY));
        let top = pxRound(min(yPos, fillToY));
        let barHgt = btm - top;
        if (yVal != null) {
          let rv = yVal < 0 ? radBase : radVal;
          let rb = yVal < 0 ? radVal : radBase;
          if (multiPath) {
            if (strokeWidth > 0 && strokeColors[i7] != null)
              rect2(strokePaths.get(strokeColors[i7]), lft, top + floor(strokeWidth / 2), barWid, max(0, barHgt - strokeWidth), rv, rb);
            if (fillColors[i7] != null)
              rect2(fillPaths.get(fillColors[i7]), lft, top + floor(strokeWidth / 2), barWid, max(0, barHgt - strokeWidth), rv, rb);
          } else
            rect2(stroke, lft, top + floor(strokeWidth / 2), barWid, max(0, barHgt - strokeWidth), rv, rb);
          each(
            u5,
            seriesIdx,
            i7,
            lft - strokeWidth / 2,
            top,
            barWid + strokeWidth,
            barHgt
          );
        }
      }
      if (strokeWidth > 0)
        _paths.stroke = multiPath ? strokePaths : stroke;
      else if (!multiPath) {
        _paths._fill = series.width == 0 ? series._fill : series._stroke ?? series._fill;
        _paths.width = 0;
      }
      _paths.fill = multiPath ? fillPaths : stroke;
      return _paths;
    });
  };
}
function splineInterp(interp, opts) {
  const alignGaps = ifNull(opts?.alignGaps, 0);
  return (u5, seriesIdx, idx0, idx1) => {
    return orient(u5, seriesIdx, (series, dataX, dataY, scaleX, scaleY, valToPosX, valToPosY, xOff, yOff, xDim, yDim) => {
      [idx0, idx1] = nonNullIdxs(dataY, idx0, idx1);
      let pxRound = series.pxRound;
      let pixelForX = (val) => pxRound(valToPosX(val, scaleX, xDim, xOff));
      let pixelForY = (val) => pxRound(valToPosY(val, scaleY, yDim, yOff));
      let moveTo, bezierCurveTo, lineTo;
      if (scaleX.ori == 0) {
        moveTo = moveToH;
        lineTo = lineToH;
        bezierCurveTo = bezierCurveToH;
      } else {
        moveTo = moveToV;
        lineTo = lineToV;
        bezierCurveTo = bezierCurveToV;
      }
      const dir = scaleX.dir * (scaleX.ori == 0 ? 1 : -1);
      let firstXPos = pixelForX(dataX[dir == 1 ? idx0 : idx1]);
      let prevXPos = firstXPos;
      let xCoords = [];
      let yCoords = [];
      for (let i7 = dir == 1 ? idx0 : idx1; i7 >= idx0 && i7 <= idx1; i7 += dir) {
        let yVal = dataY[i7];
        if (yVal != null) {
          let xVal = dataX[i7];
          let xPos = pixelForX(xVal);
          xCoords.push(prevXPos = xPos);
          yCoords.push(pixelForY(dataY[i7]));
        }
      }
      const _paths = { stroke: interp(xCoords, yCoords, moveTo, lineTo, bezierCurveTo, pxRound), fill: null, clip: null, band: null, gaps: null, flags: BAND_CLIP_FILL };
      const stroke = _paths.stroke;
      let [bandFillDir, bandClipDir] = bandFillClipDirs(u5, seriesIdx);
      if (series.fill != null || bandFillDir != 0) {
        let fill = _paths.fill = new Path2D(stroke);
        let fillTo = series.fillTo(u5, seriesIdx, series.min, series.max, bandFillDir);
        let fillToY = pixelForY(fillTo);
        lineTo(fill, prevXPos, fillToY);
        lineTo(fill, firstXPos, fillToY);
      }
      if (!series.spanGaps) {
        let gaps2 = [];
        gaps2.push(...findGaps(dataX, dataY, idx0, idx1, dir, pixelForX, alignGaps));
        _paths.gaps = gaps2 = series.gaps(u5, seriesIdx, idx0, idx1, gaps2);
        _paths.clip = clipGaps(gaps2, scaleX.ori, xOff, yOff, xDim, yDim);
      }
      if (bandClipDir != 0) {
        _paths.band = bandClipDir == 2 ? [
          clipBandLine(u5, seriesIdx, idx0, idx1, stroke, -1),
          clipBandLine(u5, seriesIdx, idx0, idx1, stroke, 1)
        ] : clipBandLine(u5, seriesIdx, idx0, idx1, stroke, bandClipDir);
      }
      return _paths;
    });
  };
}
function monotoneCubic(opts) {
  return splineInterp(_monotoneCubic, opts);
}
function _monotoneCubic(xs, ys, moveTo, lineTo, bezierCurveTo, pxRound) {
  const n4 = xs.length;
  if (n4 < 2)
    return null;
  const path = new Path2D();
  moveTo(path, xs[0], ys[0]);
  if (n4 == 2)
    lineTo(path, xs[1], ys[1]);
  else {
    let ms = Array(n4), ds = Array(n4 - 1), dys = Array(n4 - 1), dxs = Array(n4 - 1);
    for (let i7 = 0; i7 < n4 - 1; i7++) {
      dys[i7] = ys[i7 + 1] - ys[i7];
      dxs[i7] = xs[i7 + 1] - xs[i7];
      ds[i7] = dys[i7] / dxs[i7];
    }
    ms[0] = ds[0];
    for (let i7 = 1; i7 < n4 - 1; i7++) {
      if (ds[i7] === 0 || ds[i7 - 1] === 0 || ds[i7 - 1] > 0 !== ds[i7] > 0)
        ms[i7] = 0;
      else {
        ms[i7] = 3 * (dxs[i7 - 1] + dxs[i7]) / ((2 * dxs[i7] + dxs[i7 - 1]) / ds[i7 - 1] + (dxs[i7] + 2 * dxs[i7 - 1]) / ds[i7]);
        if (!isFinite(ms[i7]))
          ms[i7] = 0;
      }
    }
    ms[n4 - 1] = ds[n4 - 2];
    for (let i7 = 0; i7 < n4 - 1; i7++) {
      bezierCurveTo(
        path,
        xs[i7] + dxs[i7] / 3,
        ys[i7] + ms[i7] * dxs[i7] / 3,
        xs[i7 + 1] - dxs[i7] / 3,
        ys[i7 + 1] - ms[i7 + 1] * dxs[i7] / 3,
        xs[i7 + 1],
        ys[i7 + 1]
      );
    }
  }
  return path;
}
var cursorPlots = /* @__PURE__ */ new Set();
function invalidateRects() {
  for (let u5 of cursorPlots)
    u5.syncRect(true);
}
if (domEnv) {
  on(resize, win, invalidateRects);
  on(scroll, win, invalidateRects, true);
  on(dppxchange, win, () => {
    uPlot.pxRatio = pxRatio;
  });
}
var linearPath = linear();
var pointsPath = points();
function setDefaults(d3, xo, yo, initY) {
  let d22 = initY ? [d3[0], d3[1]].concat(d3.slice(2)) : [d3[0]].concat(d3.slice(1));
  return d22.map((o5, i7) => setDefault(o5, i7, xo, yo));
}
function setDefaults2(d3, xyo) {
  return d3.map((o5, i7) => i7 == 0 ? {} : assign({}, xyo, o5));
}
function setDefault(o5, i7, xo, yo) {
  return assign({}, i7 == 0 ? xo : yo, o5);
}
function snapNumX(self, dataMin, dataMax) {
  return dataMin == null ? nullNullTuple : [dataMin, dataMax];
}
var snapTimeX = snapNumX;
function snapNumY(self, dataMin, dataMax) {
  return dataMin == null ? nullNullTuple : rangeNum(dataMin, dataMax, rangePad, true);
}
function snapLogY(self, dataMin, dataMax, scale) {
  return dataMin == null ? nullNullTuple : rangeLog(dataMin, dataMax, self.scales[scale].log, false);
}
var snapLogX = snapLogY;
function snapAsinhY(self, dataMin, dataMax, scale) {
  return dataMin == null ? nullNullTuple : rangeAsinh(dataMin, dataMax, self.scales[scale].log, false);
}
var snapAsinhX = snapAsinhY;
function findIncr(minVal, maxVal, incrs, dim, minSpace) {
  let intDigits = max(numIntDigits(minVal), numIntDigits(maxVal));
  let delta = maxVal - minVal;
  let incrIdx = closestIdx(minSpace / dim * delta, incrs);
  do {
    let foundIncr = incrs[incrIdx];
    let foundSpace = dim * foundIncr / delta;
    if (foundSpace >= minSpace && intDigits + (foundIncr < 5 ? fixedDec.get(foundIncr) : 0) <= 17)
      return [foundIncr, foundSpace];
  } while (++incrIdx < incrs.length);
  return [0, 0];
}
function pxRatioFont(font2) {
  let fontSize, fontSizeCss;
  font2 = font2.replace(/(\d+)px/, (m3, p1) => (fontSize = round((fontSizeCss = +p1) * pxRatio)) + "px");
  return [font2, fontSize, fontSizeCss];
}
function syncFontSize(axis) {
  if (axis.show) {
    [axis.font, axis.labelFont].forEach((f3) => {
      let size = roundDec(f3[2] * pxRatio, 1);
      f3[0] = f3[0].replace(/[0-9.]+px/, size + "px");
      f3[1] = size;
    });
  }
}
function uPlot(opts, data, then) {
  const self = {
    mode: ifNull(opts.mode, 1)
  };
  const mode = self.mode;
  function getHPos(val, scale, dim, off2) {
    let pct = scale.valToPct(val);
    return off2 + dim * (scale.dir == -1 ? 1 - pct : pct);
  }
  function getVPos(val, scale, dim, off2) {
    let pct = scale.valToPct(val);
    return off2 + dim * (scale.dir == -1 ? pct : 1 - pct);
  }
  function getPos(val, scale, dim, off2) {
    return scale.ori == 0 ? getHPos(val, scale, dim, off2) : getVPos(val, scale, dim, off2);
  }
  self.valToPosH = getHPos;
  self.valToPosV = getVPos;
  let ready = false;
  self.status = 0;
  const root = self.root = placeDiv(UPLOT);
  if (opts.id != null)
    root.id = opts.id;
  addClass(root, opts.class);
  if (opts.title) {
    let title = placeDiv(TITLE, root);
    title.textContent = opts.title;
  }
  const can = placeTag("canvas");
  const ctx = self.ctx = can.getContext("2d");
  const wrap = placeDiv(WRAP, root);
  on("click", wrap, (e5) => {
    if (e5.target === over) {
      let didDrag = mouseLeft1 != mouseLeft0 || mouseTop1 != mouseTop0;
      didDrag && drag.click(self, e5);
    }
  }, true);
  const under = self.under = placeDiv(UNDER, wrap);
  wrap.appendChild(can);
  const over = self.over = placeDiv(OVER, wrap);
  opts = copy(opts);
  const pxAlign = +ifNull(opts.pxAlign, 1);
  const pxRound = pxRoundGen(pxAlign);
  (opts.plugins || []).forEach((p4) => {
    if (p4.opts)
      opts = p4.opts(self, opts) || opts;
  });
  const ms = opts.ms || 1e-3;
  const series = self.series = mode == 1 ? setDefaults(opts.series || [], xSeriesOpts, ySeriesOpts, false) : setDefaults2(opts.series || [null], xySeriesOpts);
  const axes = self.axes = setDefaults(opts.axes || [], xAxisOpts, yAxisOpts, true);
  const scales = self.scales = {};
  const bands = self.bands = opts.bands || [];
  bands.forEach((b3) => {
    b3.fill = fnOrSelf(b3.fill || null);
    b3.dir = ifNull(b3.dir, -1);
  });
  const xScaleKey = mode == 2 ? series[1].facets[0].scale : series[0].scale;
  const drawOrderMap = {
    axes: drawAxesGrid,
    series: drawSeries
  };
  const drawOrder = (opts.drawOrder || ["axes", "series"]).map((key2) => drawOrderMap[key2]);
  function initValToPct(sc) {
    const getVal = sc.distr == 3 ? (val) => log10(val > 0 ? val : sc.clamp(self, val, sc.min, sc.max, sc.key)) : sc.distr == 4 ? (val) => asinh(val, sc.asinh) : sc.distr == 100 ? (val) => sc.fwd(val) : (val) => val;
    return (val) => {
      let _val = getVal(val);
      let { _min, _max } = sc;
      let delta = _max - _min;
      return (_val - _min) / delta;
    };
  }
  function initScale(scaleKey) {
    let sc = scales[scaleKey];
    if (sc == null) {
      let scaleOpts = (opts.scales || EMPTY_OBJ)[scaleKey] || EMPTY_OBJ;
      if (scaleOpts.from != null) {
        initScale(scaleOpts.from);
        let sc2 = assign({}, scales[scaleOpts.from], scaleOpts, { key: scaleKey });
        sc2.valToPct = initValToPct(sc2);
        scales[scaleKey] = sc2;
      } else {
        sc = scales[scaleKey] = assign({}, scaleKey == xScaleKey ? xScaleOpts : yScaleOpts, scaleOpts);
        sc.key = scaleKey;
        let isTime = sc.time;
        let rn = sc.range;
        let rangeIsArr = isArr(rn);
        if (scaleKey != xScaleKey || mode == 2 && !isTime) {
          if (rangeIsArr && (rn[0] == null || rn[1] == null)) {
            rn = {
              min: rn[0] == null ? autoRangePart : {
                mode: 1,
                hard: rn[0],
                soft: rn[0]
              },
              max: rn[1] == null ? autoRangePart : {
                mode: 1,
                hard: rn[1],
                soft: rn[1]
              }
            };
            rangeIsArr = false;
          }
          if (!rangeIsArr && isObj(rn)) {
            let cfg = rn;
            rn = (self2, dataMin, dataMax) => dataMin == null ? nullNullTuple : rangeNum(dataMin, dataMax, cfg);
          }
        }
        sc.range = fnOrSelf(rn || (isTime ? snapTimeX : scaleKey == xScaleKey ? sc.distr == 3 ? snapLogX : sc.distr == 4 ? snapAsinhX : snapNumX : sc.distr == 3 ? snapLogY : sc.distr == 4 ? snapAsinhY : snapNumY));
        sc.auto = fnOrSelf(rangeIsArr ? false : sc.auto);
        sc.clamp = fnOrSelf(sc.clamp || clampScale);
        sc._min = sc._max = null;
        sc.valToPct = initValToPct(sc);
      }
    }
  }
  initScale("x");
  initScale("y");
  if (mode == 1) {
    series.forEach((s5) => {
      initScale(s5.scale);
    });
  }
  axes.forEach((a3) => {
    initScale(a3.scale);
  });
  for (let k2 in opts.scales)
    initScale(k2);
  const scaleX = scales[xScaleKey];
  const xScaleDistr = scaleX.distr;
  let valToPosX, valToPosY;
  if (scaleX.ori == 0) {
    addClass(root, ORI_HZ);
    valToPosX = getHPos;
    valToPosY = getVPos;
  } else {
    addClass(root, ORI_VT);
    valToPosX = getVPos;
    valToPosY = getHPos;
  }
  const pendScales = {};
  for (let k2 in scales) {
    let sc = scales[k2];
    if (sc.min != null || sc.max != null) {
      pendScales[k2] = { min: sc.min, max: sc.max };
      sc.min = sc.max = null;
    }
  }
  const _tzDate = opts.tzDate || ((ts) => new Date(round(ts / ms)));
  const _fmtDate = opts.fmtDate || fmtDate;
  const _timeAxisSplits = ms == 1 ? timeAxisSplitsMs(_tzDate) : timeAxisSplitsS(_tzDate);
  const _timeAxisVals = timeAxisVals(_tzDate, timeAxisStamps(ms == 1 ? _timeAxisStampsMs : _timeAxisStampsS, _fmtDate));
  const _timeSeriesVal = timeSeriesVal(_tzDate, timeSeriesStamp(_timeSeriesStamp, _fmtDate));
  const activeIdxs = [];
  const legend = self.legend = assign({}, legendOpts, opts.legend);
  const cursor = self.cursor = assign({}, cursorOpts, { drag: { y: mode == 2 } }, opts.cursor);
  const showLegend = legend.show;
  const showCursor = cursor.show;
  const markers = legend.markers;
  {
    legend.idxs = activeIdxs;
    markers.width = fnOrSelf(markers.width);
    markers.dash = fnOrSelf(markers.dash);
    markers.stroke = fnOrSelf(markers.stroke);
    markers.fill = fnOrSelf(markers.fill);
  }
  let legendTable;
  let legendHead;
  let legendBody;
  let legendRows = [];
  let legendCells = [];
  let legendCols;
  let multiValLegend = false;
  let NULL_LEGEND_VALUES = {};
  if (legend.live) {
    const getMultiVals = series[1] ? series[1].values : null;
    multiValLegend = getMultiVals != null;
    legendCols = multiValLegend ? getMultiVals(self, 1, 0) : { _: 0 };
    for (let k2 in legendCols)
      NULL_LEGEND_VALUES[k2] = LEGEND_DISP;
  }
  if (showLegend) {
    legendTable = placeTag("table", LEGEND, root);
    legendBody = placeTag("tbody", null, legendTable);
    legend.mount(self, legendTable);
    if (multiValLegend) {
      legendHead = placeTag("thead", null, legendTable, legendBody);
      let head = placeTag("tr", null, legendHead);
      placeTag("th", null, head);
      for (var key in legendCols)
        placeTag("th", LEGEND_LABEL, head).textContent = key;
    } else {
      addClass(legendTable, LEGEND_INLINE);
      legend.live && addClass(legendTable, LEGEND_LIVE);
    }
  }
  const son = { show: true };
  const soff = { show: false };
  function initLegendRow(s5, i7) {
    if (i7 == 0 && (multiValLegend || !legend.live || mode == 2))
      return nullNullTuple;
    let cells = [];
    let row = placeTag("tr", LEGEND_SERIES, legendBody, legendBody.childNodes[i7]);
    addClass(row, s5.class);
    if (!s5.show)
      addClass(row, OFF);
    let label = placeTag("th", null, row);
    if (markers.show) {
      let indic = placeDiv(LEGEND_MARKER, label);
      if (i7 > 0) {
        let width = markers.width(self, i7);
        if (width)
          indic.style.border = width + "px " + markers.dash(self, i7) + " " + markers.stroke(self, i7);
        indic.style.background = markers.fill(self, i7);
      }
    }
    let text = placeDiv(LEGEND_LABEL, label);
    if (s5.label instanceof HTMLElement)
      text.appendChild(s5.label);
    else
      text.textContent = s5.label;
    if (i7 > 0) {
      if (!markers.show)
        text.style.color = s5.width > 0 ? markers.stroke(self, i7) : markers.fill(self, i7);
      onMouse("click", label, (e5) => {
        if (cursor._lock)
          return;
        setCursorEvent(e5);
        let seriesIdx = series.indexOf(s5);
        if ((e5.ctrlKey || e5.metaKey) != legend.isolate) {
          let isolate = series.some((s6, i8) => i8 > 0 && i8 != seriesIdx && s6.show);
          series.forEach((s6, i8) => {
            i8 > 0 && setSeries(i8, isolate ? i8 == seriesIdx ? son : soff : son, true, syncOpts.setSeries);
          });
        } else
          setSeries(seriesIdx, { show: !s5.show }, true, syncOpts.setSeries);
      }, false);
      if (cursorFocus) {
        onMouse(mouseenter, label, (e5) => {
          if (cursor._lock)
            return;
          setCursorEvent(e5);
          setSeries(series.indexOf(s5), FOCUS_TRUE, true, syncOpts.setSeries);
        }, false);
      }
    }
    for (var key2 in legendCols) {
      let v3 = placeTag("td", LEGEND_VALUE, row);
      v3.textContent = "--";
      cells.push(v3);
    }
    return [row, cells];
  }
  const mouseListeners = /* @__PURE__ */ new Map();
  function onMouse(ev, targ, fn, onlyTarg = true) {
    const targListeners = mouseListeners.get(targ) || {};
    const listener = cursor.bind[ev](self, targ, fn, onlyTarg);
    if (listener) {
      on(ev, targ, targListeners[ev] = listener);
      mouseListeners.set(targ, targListeners);
    }
  }
  function offMouse(ev, targ, fn) {
    const targListeners = mouseListeners.get(targ) || {};
    for (let k2 in targListeners) {
      if (ev == null || k2 == ev) {
        off(k2, targ, targListeners[k2]);
        delete targListeners[k2];
      }
    }
    if (ev == null)
      mouseListeners.delete(targ);
  }
  let fullWidCss = 0;
  let fullHgtCss = 0;
  let plotWidCss = 0;
  let plotHgtCss = 0;
  let plotLftCss = 0;
  let plotTopCss = 0;
  let _plotLftCss = plotLftCss;
  let _plotTopCss = plotTopCss;
  let _plotWidCss = plotWidCss;
  let _plotHgtCss = plotHgtCss;
  let plotLft = 0;
  let plotTop = 0;
  let plotWid = 0;
  let plotHgt = 0;
  self.bbox = {};
  let shouldSetScales = false;
  let shouldSetSize = false;
  let shouldConvergeSize = false;
  let shouldSetCursor = false;
  let shouldSetSelect = false;
  let shouldSetLegend = false;
  function _setSize(width, height, force) {
    if (force || (width != self.width || height != self.height))
      calcSize(width, height);
    resetYSeries(false);
    shouldConvergeSize = true;
    shouldSetSize = true;
    commit();
  }
  function calcSize(width, height) {
    self.width = fullWidCss = plotWidCss = width;
    self.height = fullHgtCss = plotHgtCss = height;
    plotLftCss = plotTopCss = 0;
    calcPlotRect();
    calcAxesRects();
    let bb = self.bbox;
    plotLft = bb.left = incrRound(plotLftCss * pxRatio, 0.5);
    plotTop = bb.top = incrRound(plotTopCss * pxRatio, 0.5);
    plotWid = bb.width = incrRound(plotWidCss * pxRatio, 0.5);
    plotHgt = bb.height = incrRound(plotHgtCss * pxRatio, 0.5);
  }
  const CYCLE_LIMIT = 3;
  function convergeSize() {
    let converged = false;
    let cycleNum = 0;
    while (!converged) {
      cycleNum++;
      let axesConverged = axesCalc(cycleNum);
      let paddingConverged = paddingCalc(cycleNum);
      converged = cycleNum == CYCLE_LIMIT || axesConverged && paddingConverged;
      if (!converged) {
        calcSize(self.width, self.height);
        shouldSetSize = true;
      }
    }
  }
  function setSize({ width, height }) {
    _setSize(width, height);
  }
  self.setSize = setSize;
  function calcPlotRect() {
    let hasTopAxis = false;
    let hasBtmAxis = false;
    let hasRgtAxis = false;
    let hasLftAxis = false;
    axes.forEach((axis, i7) => {
      if (axis.show && axis._show) {
        let { side, _size } = axis;
        let isVt = side % 2;
        let labelSize = axis.label != null ? axis.labelSize : 0;
        let fullSize = _size + labelSize;
        if (fullSize > 0) {
          if (isVt) {
            plotWidCss -= fullSize;
            if (side == 3) {
              plotLftCss += fullSize;
              hasLftAxis = true;
            } else
              hasRgtAxis = true;
          } else {
            plotHgtCss -= fullSize;
            if (side == 0) {
              plotTopCss += fullSize;
              hasTopAxis = true;
            } else
              hasBtmAxis = true;
          }
        }
      }
    });
    sidesWithAxes[0] = hasTopAxis;
    sidesWithAxes[1] = hasRgtAxis;
    sidesWithAxes[2] = hasBtmAxis;
    sidesWithAxes[3] = hasLftAxis;
    plotWidCss -= _padding[1] + _padding[3];
    plotLftCss += _padding[3];
    plotHgtCss -= _padding[2] + _padding[0];
    plotTopCss += _padding[0];
  }
  function calcAxesRects() {
    let off1 = plotLftCss + plotWidCss;
    let off2 = plotTopCss + plotHgtCss;
    let off3 = plotLftCss;
    let off0 = plotTopCss;
    function incrOffset(side, size) {
      switch (side) {
        case 1:
          off1 += size;
          return off1 - size;
        case 2:
          off2 += size;
          return off2 - size;
        case 3:
          off3 -= size;
          return off3 + size;
        case 0:
          off0 -= size;
          return off0 + size;
      }
    }
    axes.forEach((axis, i7) => {
      if (axis.show && axis._show) {
        let side = axis.side;
        axis._pos = incrOffset(side, axis._size);
        if (axis.label != null)
          axis._lpos = incrOffset(side, axis.labelSize);
      }
    });
  }
  if (cursor.dataIdx == null) {
    let hov = cursor.hover;
    let skip = hov.skip = new Set(hov.skip ?? []);
    skip.add(void 0);
    let prox = hov.prox = fnOrSelf(hov.prox);
    let bias = hov.bias ??= 0;
    cursor.dataIdx = (self2, seriesIdx, cursorIdx, valAtPosX) => {
      if (seriesIdx == 0)
        return cursorIdx;
      let idx2 = cursorIdx;
      let _prox = prox(self2, seriesIdx, cursorIdx, valAtPosX) ?? inf;
      let withProx = _prox >= 0 && _prox < inf;
      let xDim = scaleX.ori == 0 ? plotWidCss : plotHgtCss;
      let cursorLft = cursor.left;
      let xValues = data[0];
      let yValues = data[seriesIdx];
      if (skip.has(yValues[cursorIdx])) {
        idx2 = null;
        let nonNullLft = null, nonNullRgt = null, j2;
        if (bias == 0 || bias == -1) {
          j2 = cursorIdx;
          while (nonNullLft == null && j2-- > 0) {
            if (!skip.has(yValues[j2]))
              nonNullLft = j2;
          }
        }
        if (bias == 0 || bias == 1) {
          j2 = cursorIdx;
          while (nonNullRgt == null && j2++ < yValues.length) {
            if (!skip.has(yValues[j2]))
              nonNullRgt = j2;
          }
        }
        if (nonNullLft != null || nonNullRgt != null) {
          if (withProx) {
            let lftPos = nonNullLft == null ? -Infinity : valToPosX(xValues[nonNullLft], scaleX, xDim, 0);
            let rgtPos = nonNullRgt == null ? Infinity : valToPosX(xValues[nonNullRgt], scaleX, xDim, 0);
            let lftDelta = cursorLft - lftPos;
            let rgtDelta = rgtPos - cursorLft;
            if (lftDelta <= rgtDelta) {
              if (lftDelta <= _prox)
                idx2 = nonNullLft;
            } else {
              if (rgtDelta <= _prox)
                idx2 = nonNullRgt;
            }
          } else {
            idx2 = nonNullRgt == null ? nonNullLft : nonNullLft == null ? nonNullRgt : cursorIdx - nonNullLft <= nonNullRgt - cursorIdx ? nonNullLft : nonNullRgt;
          }
        }
      } else if (withProx) {
        let dist = abs(cursorLft - valToPosX(xValues[cursorIdx], scaleX, xDim, 0));
        if (dist > _prox)
          idx2 = null;
      }
      return idx2;
    };
  }
  const setCursorEvent = (e5) => {
    cursor.event = e5;
  };
  cursor.idxs = activeIdxs;
  cursor._lock = false;
  let points2 = cursor.points;
  points2.show = fnOrSelf(points2.show);
  points2.size = fnOrSelf(points2.size);
  points2.stroke = fnOrSelf(points2.stroke);
  points2.width = fnOrSelf(points2.width);
  points2.fill = fnOrSelf(points2.fill);
  const focus = self.focus = assign({}, opts.focus || { alpha: 0.3 }, cursor.focus);
  const cursorFocus = focus.prox >= 0;
  const cursorOnePt = cursorFocus && points2.one;
  let cursorPts = [];
  let cursorPtsLft = [];
  let cursorPtsTop = [];
  function initCursorPt(s5, si) {
    let pt = points2.show(self, si);
    if (pt instanceof HTMLElement) {
      addClass(pt, CURSOR_PT);
      addClass(pt, s5.class);
      elTrans(pt, -10, -10, plotWidCss, plotHgtCss);
      over.insertBefore(pt, cursorPts[si]);
      return pt;
    }
  }
  function initSeries(s5, i7) {
    if (mode == 1 || i7 > 0) {
      let isTime = mode == 1 && scales[s5.scale].time;
      let sv = s5.value;
      s5.value = isTime ? isStr(sv) ? timeSeriesVal(_tzDate, timeSeriesStamp(sv, _fmtDate)) : sv || _timeSeriesVal : sv || numSeriesVal;
      s5.label = s5.label || (isTime ? timeSeriesLabel : numSeriesLabel);
    }
    if (cursorOnePt || i7 > 0) {
      s5.width = s5.width == null ? 1 : s5.width;
      s5.paths = s5.paths || linearPath || retNull;
      s5.fillTo = fnOrSelf(s5.fillTo || seriesFillTo);
      s5.pxAlign = +ifNull(s5.pxAlign, pxAlign);
      s5.pxRound = pxRoundGen(s5.pxAlign);
      s5.stroke = fnOrSelf(s5.stroke || null);
      s5.fill = fnOrSelf(s5.fill || null);
      s5._stroke = s5._fill = s5._paths = s5._focus = null;
      let _ptDia = ptDia(max(1, s5.width), 1);
      let points3 = s5.points = assign({}, {
        size: _ptDia,
        width: max(1, _ptDia * 0.2),
        stroke: s5.stroke,
        space: _ptDia * 2,
        paths: pointsPath,
        _stroke: null,
        _fill: null
      }, s5.points);
      points3.show = fnOrSelf(points3.show);
      points3.filter = fnOrSelf(points3.filter);
      points3.fill = fnOrSelf(points3.fill);
      points3.stroke = fnOrSelf(points3.stroke);
      points3.paths = fnOrSelf(points3.paths);
      points3.pxAlign = s5.pxAlign;
    }
    if (showLegend) {
      let rowCells = initLegendRow(s5, i7);
      legendRows.splice(i7, 0, rowCells[0]);
      legendCells.splice(i7, 0, rowCells[1]);
      legend.values.push(null);
    }
    if (showCursor) {
      activeIdxs.splice(i7, 0, null);
      let pt = null;
      if (cursorOnePt) {
        if (i7 == 0)
          pt = initCursorPt(s5, i7);
      } else if (i7 > 0)
        pt = initCursorPt(s5, i7);
      cursorPts.splice(i7, 0, pt);
      cursorPtsLft.splice(i7, 0, 0);
      cursorPtsTop.splice(i7, 0, 0);
    }
    fire("addSeries", i7);
  }
  function addSeries(opts2, si) {
    si = si == null ? series.length : si;
    opts2 = mode == 1 ? setDefault(opts2, si, xSeriesOpts, ySeriesOpts) : setDefault(opts2, si, {}, xySeriesOpts);
    series.splice(si, 0, opts2);
    initSeries(series[si], si);
  }
  self.addSeries = addSeries;
  function delSeries(i7) {
    series.splice(i7, 1);
    if (showLegend) {
      legend.values.splice(i7, 1);
      legendCells.splice(i7, 1);
      let tr = legendRows.splice(i7, 1)[0];
      offMouse(null, tr.firstChild);
      tr.remove();
    }
    if (showCursor) {
      activeIdxs.splice(i7, 1);
      cursorPts.splice(i7, 1)[0].remove();
      cursorPtsLft.splice(i7, 1);
      cursorPtsTop.splice(i7, 1);
    }
    fire("delSeries", i7);
  }
  self.delSeries = delSeries;
  const sidesWithAxes = [false, false, false, false];
  function initAxis(axis, i7) {
    axis._show = axis.show;
    if (axis.show) {
      let isVt = axis.side % 2;
      let sc = scales[axis.scale];
      if (sc == null) {
        axis.scale = isVt ? series[1].scale : xScaleKey;
        sc = scales[axis.scale];
      }
      let isTime = sc.time;
      axis.size = fnOrSelf(axis.size);
      axis.space = fnOrSelf(axis.space);
      axis.rotate = fnOrSelf(axis.rotate);
      if (isArr(axis.incrs)) {
        axis.incrs.forEach((incr) => {
          !fixedDec.has(incr) && fixedDec.set(incr, guessDec(incr));
        });
      }
      axis.incrs = fnOrSelf(axis.incrs || (sc.distr == 2 ? wholeIncrs : isTime ? ms == 1 ? timeIncrsMs : timeIncrsS : numIncrs));
      axis.splits = fnOrSelf(axis.splits || (isTime && sc.distr == 1 ? _timeAxisSplits : sc.distr == 3 ? logAxisSplits : sc.distr == 4 ? asinhAxisSplits : numAxisSplits));
      axis.stroke = fnOrSelf(axis.stroke);
      axis.grid.stroke = fnOrSelf(axis.grid.stroke);
      axis.ticks.stroke = fnOrSelf(axis.ticks.stroke);
      axis.border.stroke = fnOrSelf(axis.border.stroke);
      let av = axis.values;
      axis.values = // static array of tick values
      isArr(av) && !isArr(av[0]) ? fnOrSelf(av) : (
        // temporal
        isTime ? (
          // config array of fmtDate string tpls
          isArr(av) ? timeAxisVals(_tzDate, timeAxisStamps(av, _fmtDate)) : (
            // fmtDate string tpl
            isStr(av) ? timeAxisVal(_tzDate, av) : av || _timeAxisVals
          )
        ) : av || numAxisVals
      );
      axis.filter = fnOrSelf(axis.filter || (sc.distr >= 3 && sc.log == 10 ? log10AxisValsFilt : sc.distr == 3 && sc.log == 2 ? log2AxisValsFilt : retArg1));
      axis.font = pxRatioFont(axis.font);
      axis.labelFont = pxRatioFont(axis.labelFont);
      axis._size = axis.size(self, null, i7, 0);
      axis._space = axis._rotate = axis._incrs = axis._found = // foundIncrSpace
      axis._splits = axis._values = null;
      if (axis._size > 0) {
        sidesWithAxes[i7] = true;
        axis._el = placeDiv(AXIS, wrap);
      }
    }
  }
  function autoPadSide(self2, side, sidesWithAxes2, cycleNum) {
    let [hasTopAxis, hasRgtAxis, hasBtmAxis, hasLftAxis] = sidesWithAxes2;
    let ori = side % 2;
    let size = 0;
    if (ori == 0 && (hasLftAxis || hasRgtAxis))
      size = side == 0 && !hasTopAxis || side == 2 && !hasBtmAxis ? round(xAxisOpts.size / 3) : 0;
    if (ori == 1 && (hasTopAxis || hasBtmAxis))
      size = side == 1 && !hasRgtAxis || side == 3 && !hasLftAxis ? round(yAxisOpts.size / 2) : 0;
    return size;
  }
  const padding = self.padding = (opts.padding || [autoPadSide, autoPadSide, autoPadSide, autoPadSide]).map((p4) => fnOrSelf(ifNull(p4, autoPadSide)));
  const _padding = self._padding = padding.map((p4, i7) => p4(self, i7, sidesWithAxes, 0));
  let dataLen;
  let i0 = null;
  let i1 = null;
  const idxs = mode == 1 ? series[0].idxs : null;
  let data0 = null;
  let viaAutoScaleX = false;
  function setData(_data, _resetScales) {
    data = _data == null ? [] : _data;
    self.data = self._data = data;
    if (mode == 2) {
      dataLen = 0;
      for (let i7 = 1; i7 < series.length; i7++)
        dataLen += data[i7][0].length;
    } else {
      if (data.length == 0)
        self.data = self._data = data = [[]];
      data0 = data[0];
      dataLen = data0.length;
      let scaleData = data;
      if (xScaleDistr == 2) {
        scaleData = data.slice();
        let _data0 = scaleData[0] = Array(dataLen);
        for (let i7 = 0; i7 < dataLen; i7++)
          _data0[i7] = i7;
      }
      self._data = data = scaleData;
    }
    resetYSeries(true);
    fire("setData");
    if (xScaleDistr == 2) {
      shouldConvergeSize = true;
    }
    if (_resetScales !== false) {
      let xsc = scaleX;
      if (xsc.auto(self, viaAutoScaleX))
        autoScaleX();
      else
        _setScale(xScaleKey, xsc.min, xsc.max);
      shouldSetCursor = shouldSetCursor || cursor.left >= 0;
      shouldSetLegend = true;
      commit();
    }
  }
  self.setData = setData;
  function autoScaleX() {
    viaAutoScaleX = true;
    let _min, _max;
    if (mode == 1) {
      if (dataLen > 0) {
        i0 = idxs[0] = 0;
        i1 = idxs[1] = dataLen - 1;
        _min = data[0][i0];
        _max = data[0][i1];
        if (xScaleDistr == 2) {
          _min = i0;
          _max = i1;
        } else if (_min == _max) {
          if (xScaleDistr == 3)
            [_min, _max] = rangeLog(_min, _min, scaleX.log, false);
          else if (xScaleDistr == 4)
            [_min, _max] = rangeAsinh(_min, _min, scaleX.log, false);
          else if (scaleX.time)
            _max = _min + round(86400 / ms);
          else
            [_min, _max] = rangeNum(_min, _max, rangePad, true);
        }
      } else {
        i0 = idxs[0] = _min = null;
        i1 = idxs[1] = _max = null;
      }
    }
    _setScale(xScaleKey, _min, _max);
  }
  let ctxStroke, ctxFill, ctxWidth, ctxDash, ctxJoin, ctxCap, ctxFont, ctxAlign, ctxBaseline;
  let ctxAlpha;
  function setCtxStyle(stroke, width, dash, cap, fill, join2) {
    stroke ??= transparent;
    dash ??= EMPTY_ARR;
    cap ??= "butt";
    fill ??= transparent;
    join2 ??= "round";
    if (stroke != ctxStroke)
      ctx.strokeStyle = ctxStroke = stroke;
    if (fill != ctxFill)
      ctx.fillStyle = ctxFill = fill;
    if (width != ctxWidth)
      ctx.lineWidth = ctxWidth = width;
    if (join2 != ctxJoin)
      ctx.lineJoin = ctxJoin = join2;
    if (cap != ctxCap)
      ctx.lineCap = ctxCap = cap;
    if (dash != ctxDash)
      ctx.setLineDash(ctxDash = dash);
  }
  function setFontStyle(font2, fill, align, baseline) {
    if (fill != ctxFill)
      ctx.fillStyle = ctxFill = fill;
    if (font2 != ctxFont)
      ctx.font = ctxFont = font2;
    if (align != ctxAlign)
      ctx.textAlign = ctxAlign = align;
    if (baseline != ctxBaseline)
      ctx.textBaseline = ctxBaseline = baseline;
  }
  function accScale(wsc, psc, facet2, data2, sorted = 0) {
    if (data2.length > 0 && wsc.auto(self, viaAutoScaleX) && (psc == null || psc.min == null)) {
      let _i0 = ifNull(i0, 0);
      let _i1 = ifNull(i1, data2.length - 1);
      let minMax = facet2.min == null ? getMinMax(data2, _i0, _i1, sorted, wsc.distr == 3) : [facet2.min, facet2.max];
      wsc.min = min(wsc.min, facet2.min = minMax[0]);
      wsc.max = max(wsc.max, facet2.max = minMax[1]);
    }
  }
  const AUTOSCALE = { min: null, max: null };
  function setScales() {
    for (let k2 in scales) {
      let sc = scales[k2];
      if (pendScales[k2] == null && // scales that have never been set (on init)
      (sc.min == null || // or auto scales when the x scale was explicitly set
      pendScales[xScaleKey] != null && sc.auto(self, viaAutoScaleX))) {
        pendScales[k2] = AUTOSCALE;
      }
    }
    for (let k2 in scales) {
      let sc = scales[k2];
      if (pendScales[k2] == null && sc.from != null && pendScales[sc.from] != null)
        pendScales[k2] = AUTOSCALE;
    }
    if (pendScales[xScaleKey] != null)
      resetYSeries(true);
    let wipScales = {};
    for (let k2 in pendScales) {
      let psc = pendScales[k2];
      if (psc != null) {
        let wsc = wipScales[k2] = copy(scales[k2], fastIsObj);
        if (psc.min != null)
          assign(wsc, psc);
        else if (k2 != xScaleKey || mode == 2) {
          if (dataLen == 0 && wsc.from == null) {
            let minMax = wsc.range(self, null, null, k2);
            wsc.min = minMax[0];
            wsc.max = minMax[1];
          } else {
            wsc.min = inf;
            wsc.max = -inf;
          }
        }
      }
    }
    if (dataLen > 0) {
      series.forEach((s5, i7) => {
        if (mode == 1) {
          let k2 = s5.scale;
          let psc = pendScales[k2];
          if (psc == null)
            return;
          let wsc = wipScales[k2];
          if (i7 == 0) {
            let minMax = wsc.range(self, wsc.min, wsc.max, k2);
            wsc.min = minMax[0];
            wsc.max = minMax[1];
            i0 = closestIdx(wsc.min, data[0]);
            i1 = closestIdx(wsc.max, data[0]);
            if (i1 - i0 > 1) {
              if (data[0][i0] < wsc.min)
                i0++;
              if (data[0][i1] > wsc.max)
                i1--;
            }
            s5.min = data0[i0];
            s5.max = data0[i1];
          } else if (s5.show && s5.auto)
            accScale(wsc, psc, s5, data[i7], s5.sorted);
          s5.idxs[0] = i0;
          s5.idxs[1] = i1;
        } else {
          if (i7 > 0) {
            if (s5.show && s5.auto) {
              let [xFacet, yFacet] = s5.facets;
              let xScaleKey2 = xFacet.scale;
              let yScaleKey = yFacet.scale;
              let [xData, yData] = data[i7];
              let wscx = wipScales[xScaleKey2];
              let wscy = wipScales[yScaleKey];
              wscx != null && accScale(wscx, pendScales[xScaleKey2], xFacet, xData, xFacet.sorted);
              wscy != null && accScale(wscy, pendScales[yScaleKey], yFacet, yData, yFacet.sorted);
              s5.min = yFacet.min;
              s5.max = yFacet.max;
            }
          }
        }
      });
      for (let k2 in wipScales) {
        let wsc = wipScales[k2];
        let psc = pendScales[k2];
        if (wsc.from == null && (psc == null || psc.min == null)) {
          let minMax = wsc.range(
            self,
            wsc.min == inf ? null : wsc.min,
            wsc.max == -inf ? null : wsc.max,
            k2
          );
          wsc.min = minMax[0];
          wsc.max = minMax[1];
        }
      }
    }
    for (let k2 in wipScales) {
      let wsc = wipScales[k2];
      if (wsc.from != null) {
        let base2 = wipScales[wsc.from];
        if (base2.min == null)
          wsc.min = wsc.max = null;
        else {
          let minMax = wsc.range(self, base2.min, base2.max, k2);
          wsc.min = minMax[0];
          wsc.max = minMax[1];
        }
      }
    }
    let changed = {};
    let anyChanged = false;
    for (let k2 in wipScales) {
      let wsc = wipScales[k2];
      let sc = scales[k2];
      if (sc.min != wsc.min || sc.max != wsc.max) {
        sc.min = wsc.min;
        sc.max = wsc.max;
        let distr = sc.distr;
        sc._min = distr == 3 ? log10(sc.min) : distr == 4 ? asinh(sc.min, sc.asinh) : distr == 100 ? sc.fwd(sc.min) : sc.min;
        sc._max = distr == 3 ? log10(sc.max) : distr == 4 ? asinh(sc.max, sc.asinh) : distr == 100 ? sc.fwd(sc.max) : sc.max;
        changed[k2] = anyChanged = true;
      }
    }
    if (anyChanged) {
      series.forEach((s5, i7) => {
        if (mode == 2) {
          if (i7 > 0 && changed.y)
            s5._paths = null;
        } else {
          if (changed[s5.scale])
            s5._paths = null;
        }
      });
      for (let k2 in changed) {
        shouldConvergeSize = true;
        fire("setScale", k2);
      }
      if (showCursor && cursor.left >= 0)
        shouldSetCursor = shouldSetLegend = true;
    }
    for (let k2 in pendScales)
      pendScales[k2] = null;
  }
  function getOuterIdxs(ydata) {
    let _i0 = clamp(i0 - 1, 0, dataLen - 1);
    let _i1 = clamp(i1 + 1, 0, dataLen - 1);
    while (ydata[_i0] == null && _i0 > 0)
      _i0--;
    while (ydata[_i1] == null && _i1 < dataLen - 1)
      _i1++;
    return [_i0, _i1];
  }
  function drawSeries() {
    if (dataLen > 0) {
      let shouldAlpha = series.some((s5) => s5._focus) && ctxAlpha != focus.alpha;
      if (shouldAlpha)
        ctx.globalAlpha = ctxAlpha = focus.alpha;
      series.forEach((s5, i7) => {
        if (i7 > 0 && s5.show) {
          cacheStrokeFill(i7, false);
          cacheStrokeFill(i7, true);
          if (s5._paths == null) {
            let _ctxAlpha = ctxAlpha;
            if (ctxAlpha != s5.alpha)
              ctx.globalAlpha = ctxAlpha = s5.alpha;
            let _idxs = mode == 2 ? [0, data[i7][0].length - 1] : getOuterIdxs(data[i7]);
            s5._paths = s5.paths(self, i7, _idxs[0], _idxs[1]);
            if (ctxAlpha != _ctxAlpha)
              ctx.globalAlpha = ctxAlpha = _ctxAlpha;
          }
        }
      });
      series.forEach((s5, i7) => {
        if (i7 > 0 && s5.show) {
          let _ctxAlpha = ctxAlpha;
          if (ctxAlpha != s5.alpha)
            ctx.globalAlpha = ctxAlpha = s5.alpha;
          s5._paths != null && drawPath(i7, false);
          {
            let _gaps = s5._paths != null ? s5._paths.gaps : null;
            let show = s5.points.show(self, i7, i0, i1, _gaps);
            let idxs2 = s5.points.filter(self, i7, show, _gaps);
            if (show || idxs2) {
              s5.points._paths = s5.points.paths(self, i7, i0, i1, idxs2);
              drawPath(i7, true);
            }
          }
          if (ctxAlpha != _ctxAlpha)
            ctx.globalAlpha = ctxAlpha = _ctxAlpha;
          fire("drawSeries", i7);
        }
      });
      if (shouldAlpha)
        ctx.globalAlpha = ctxAlpha = 1;
    }
  }
  function cacheStrokeFill(si, _points) {
    let s5 = _points ? series[si].points : series[si];
    s5._stroke = s5.stroke(self, si);
    s5._fill = s5.fill(self, si);
  }
  function drawPath(si, _points) {
    let s5 = _points ? series[si].points : series[si];
    let {
      stroke,
      fill,
      clip: gapsClip,
      flags,
      _stroke: strokeStyle = s5._stroke,
      _fill: fillStyle = s5._fill,
      _width: width = s5.width
    } = s5._paths;
    width = roundDec(width * pxRatio, 3);
    let boundsClip = null;
    let offset = width % 2 / 2;
    if (_points && fillStyle == null)
      fillStyle = width > 0 ? "#fff" : strokeStyle;
    let _pxAlign = s5.pxAlign == 1 && offset > 0;
    _pxAlign && ctx.translate(offset, offset);
    if (!_points) {
      let lft = plotLft - width / 2, top = plotTop - width / 2, wid = plotWid + width, hgt = plotHgt + width;
      boundsClip = new Path2D();
      boundsClip.rect(lft, top, wid, hgt);
    }
    if (_points)
      strokeFill(strokeStyle, width, s5.dash, s5.cap, fillStyle, stroke, fill, flags, gapsClip);
    else
      fillStroke(si, strokeStyle, width, s5.dash, s5.cap, fillStyle, stroke, fill, flags, boundsClip, gapsClip);
    _pxAlign && ctx.translate(-offset, -offset);
  }
  function fillStroke(si, strokeStyle, lineWidth, lineDash, lineCap, fillStyle, strokePath, fillPath, flags, boundsClip, gapsClip) {
    let didStrokeFill = false;
    flags != 0 && bands.forEach((b3, bi) => {
      if (b3.series[0] == si) {
        let lowerEdge = series[b3.series[1]];
        let lowerData = data[b3.series[1]];
        let bandClip = (lowerEdge._paths || EMPTY_OBJ).band;
        if (isArr(bandClip))
          bandClip = b3.dir == 1 ? bandClip[0] : bandClip[1];
        let gapsClip2;
        let _fillStyle = null;
        if (lowerEdge.show && bandClip && hasData(lowerData, i0, i1)) {
          _fillStyle = b3.fill(self, bi) || fillStyle;
          gapsClip2 = lowerEdge._paths.clip;
        } else
          bandClip = null;
        strokeFill(strokeStyle, lineWidth, lineDash, lineCap, _fillStyle, strokePath, fillPath, flags, boundsClip, gapsClip, gapsClip2, bandClip);
        didStrokeFill = true;
      }
    });
    if (!didStrokeFill)
      strokeFill(strokeStyle, lineWidth, lineDash, lineCap, fillStyle, strokePath, fillPath, flags, boundsClip, gapsClip);
  }
  const CLIP_FILL_STROKE = BAND_CLIP_FILL | BAND_CLIP_STROKE;
  function strokeFill(strokeStyle, lineWidth, lineDash, lineCap, fillStyle, strokePath, fillPath, flags, boundsClip, gapsClip, gapsClip2, bandClip) {
    setCtxStyle(strokeStyle, lineWidth, lineDash, lineCap, fillStyle);
    if (boundsClip || gapsClip || bandClip) {
      ctx.save();
      boundsClip && ctx.clip(boundsClip);
      gapsClip && ctx.clip(gapsClip);
    }
    if (bandClip) {
      if ((flags & CLIP_FILL_STROKE) == CLIP_FILL_STROKE) {
        ctx.clip(bandClip);
        gapsClip2 && ctx.clip(gapsClip2);
        doFill(fillStyle, fillPath);
        doStroke(strokeStyle, strokePath, lineWidth);
      } else if (flags & BAND_CLIP_STROKE) {
        doFill(fillStyle, fillPath);
        ctx.clip(bandClip);
        doStroke(strokeStyle, strokePath, lineWidth);
      } else if (flags & BAND_CLIP_FILL) {
        ctx.save();
        ctx.clip(bandClip);
        gapsClip2 && ctx.clip(gapsClip2);
        doFill(fillStyle, fillPath);
        ctx.restore();
        doStroke(strokeStyle, strokePath, lineWidth);
      }
    } else {
      doFill(fillStyle, fillPath);
      doStroke(strokeStyle, strokePath, lineWidth);
    }
    if (boundsClip || gapsClip || bandClip)
      ctx.restore();
  }
  function doStroke(strokeStyle, strokePath, lineWidth) {
    if (lineWidth > 0) {
      if (strokePath instanceof Map) {
        strokePath.forEach((strokePath2, strokeStyle2) => {
          ctx.strokeStyle = ctxStroke = strokeStyle2;
          ctx.stroke(strokePath2);
        });
      } else
        strokePath != null && strokeStyle && ctx.stroke(strokePath);
    }
  }
  function doFill(fillStyle, fillPath) {
    if (fillPath instanceof Map) {
      fillPath.forEach((fillPath2, fillStyle2) => {
        ctx.fillStyle = ctxFill = fillStyle2;
        ctx.fill(fillPath2);
      });
    } else
      fillPath != null && fillStyle && ctx.fill(fillPath);
  }
  function getIncrSpace(axisIdx, min2, max2, fullDim) {
    let axis = axes[axisIdx];
    let incrSpace;
    if (fullDim <= 0)
      incrSpace = [0, 0];
    else {
      let minSpace = axis._space = axis.space(self, axisIdx, min2, max2, fullDim);
      let incrs = axis._incrs = axis.incrs(self, axisIdx, min2, max2, fullDim, minSpace);
      incrSpace = findIncr(min2, max2, incrs, fullDim, minSpace);
    }
    return axis._found = incrSpace;
  }
  function drawOrthoLines(offs, filts, ori, side, pos0, len, width, stroke, dash, cap) {
    let offset = width % 2 / 2;
    pxAlign == 1 && ctx.translate(offset, offset);
    setCtxStyle(stroke, width, dash, cap, stroke);
    ctx.beginPath();
    let x0, y0, x1, y1, pos1 = pos0 + (side == 0 || side == 3 ? -len : len);
    if (ori == 0) {
      y0 = pos0;
      y1 = pos1;
    } else {
      x0 = pos0;
      x1 = pos1;
    }
    for (let i7 = 0; i7 < offs.length; i7++) {
      if (filts[i7] != null) {
        if (ori == 0)
          x0 = x1 = offs[i7];
        else
          y0 = y1 = offs[i7];
        ctx.moveTo(x0, y0);
        ctx.lineTo(x1, y1);
      }
    }
    ctx.stroke();
    pxAlign == 1 && ctx.translate(-offset, -offset);
  }
  function axesCalc(cycleNum) {
    let converged = true;
    axes.forEach((axis, i7) => {
      if (!axis.show)
        return;
      let scale = scales[axis.scale];
      if (scale.min == null) {
        if (axis._show) {
          converged = false;
          axis._show = false;
          resetYSeries(false);
        }
        return;
      } else {
        if (!axis._show) {
          converged = false;
          axis._show = true;
          resetYSeries(false);
        }
      }
      let side = axis.side;
      let ori = side % 2;
      let { min: min2, max: max2 } = scale;
      let [_incr, _space] = getIncrSpace(i7, min2, max2, ori == 0 ? plotWidCss : plotHgtCss);
      if (_space == 0)
        return;
      let forceMin = scale.distr == 2;
      let _splits = axis._splits = axis.splits(self, i7, min2, max2, _incr, _space, forceMin);
      let splits = scale.distr == 2 ? _splits.map((i8) => data0[i8]) : _splits;
      let incr = scale.distr == 2 ? data0[_splits[1]] - data0[_splits[0]] : _incr;
      let values = axis._values = axis.values(self, axis.filter(self, splits, i7, _space, incr), i7, _space, incr);
      axis._rotate = side == 2 ? axis.rotate(self, values, i7, _space) : 0;
      let oldSize = axis._size;
      axis._size = ceil(axis.size(self, values, i7, cycleNum));
      if (oldSize != null && axis._size != oldSize)
        converged = false;
    });
    return converged;
  }
  function paddingCalc(cycleNum) {
    let converged = true;
    padding.forEach((p4, i7) => {
      let _p = p4(self, i7, sidesWithAxes, cycleNum);
      if (_p != _padding[i7])
        converged = false;
      _padding[i7] = _p;
    });
    return converged;
  }
  function drawAxesGrid() {
    for (let i7 = 0; i7 < axes.length; i7++) {
      let axis = axes[i7];
      if (!axis.show || !axis._show)
        continue;
      let side = axis.side;
      let ori = side % 2;
      let x2, y3;
      let fillStyle = axis.stroke(self, i7);
      let shiftDir = side == 0 || side == 3 ? -1 : 1;
      let [_incr, _space] = axis._found;
      if (axis.label != null) {
        let shiftAmt2 = axis.labelGap * shiftDir;
        let baseLpos = round((axis._lpos + shiftAmt2) * pxRatio);
        setFontStyle(axis.labelFont[0], fillStyle, "center", side == 2 ? TOP : BOTTOM);
        ctx.save();
        if (ori == 1) {
          x2 = y3 = 0;
          ctx.translate(
            baseLpos,
            round(plotTop + plotHgt / 2)
          );
          ctx.rotate((side == 3 ? -PI : PI) / 2);
        } else {
          x2 = round(plotLft + plotWid / 2);
          y3 = baseLpos;
        }
        let _label = isFn(axis.label) ? axis.label(self, i7, _incr, _space) : axis.label;
        ctx.fillText(_label, x2, y3);
        ctx.restore();
      }
      if (_space == 0)
        continue;
      let scale = scales[axis.scale];
      let plotDim = ori == 0 ? plotWid : plotHgt;
      let plotOff = ori == 0 ? plotLft : plotTop;
      let _splits = axis._splits;
      let splits = scale.distr == 2 ? _splits.map((i8) => data0[i8]) : _splits;
      let incr = scale.distr == 2 ? data0[_splits[1]] - data0[_splits[0]] : _incr;
      let ticks2 = axis.ticks;
      let border2 = axis.border;
      let _tickSize = ticks2.show ? ticks2.size : 0;
      let tickSize = round(_tickSize * pxRatio);
      let axisGap = round((axis.alignTo == 2 ? axis._size - _tickSize - axis.gap : axis.gap) * pxRatio);
      let angle = axis._rotate * -PI / 180;
      let basePos = pxRound(axis._pos * pxRatio);
      let shiftAmt = (tickSize + axisGap) * shiftDir;
      let finalPos = basePos + shiftAmt;
      y3 = ori == 0 ? finalPos : 0;
      x2 = ori == 1 ? finalPos : 0;
      let font2 = axis.font[0];
      let textAlign = axis.align == 1 ? LEFT : axis.align == 2 ? RIGHT : angle > 0 ? LEFT : angle < 0 ? RIGHT : ori == 0 ? "center" : side == 3 ? RIGHT : LEFT;
      let textBaseline = angle || ori == 1 ? "middle" : side == 2 ? TOP : BOTTOM;
      setFontStyle(font2, fillStyle, textAlign, textBaseline);
      let lineHeight = axis.font[1] * axis.lineGap;
      let canOffs = _splits.map((val) => pxRound(getPos(val, scale, plotDim, plotOff)));
      let _values = axis._values;
      for (let i8 = 0; i8 < _values.length; i8++) {
        let val = _values[i8];
        if (val != null) {
          if (ori == 0)
            x2 = canOffs[i8];
          else
            y3 = canOffs[i8];
          val = "" + val;
          let _parts = val.indexOf("\n") == -1 ? [val] : val.split(/\n/gm);
          for (let j2 = 0; j2 < _parts.length; j2++) {
            let text = _parts[j2];
            if (angle) {
              ctx.save();
              ctx.translate(x2, y3 + j2 * lineHeight);
              ctx.rotate(angle);
              ctx.fillText(text, 0, 0);
              ctx.restore();
            } else
              ctx.fillText(text, x2, y3 + j2 * lineHeight);
          }
        }
      }
      if (ticks2.show) {
        drawOrthoLines(
          canOffs,
          ticks2.filter(self, splits, i7, _space, incr),
          ori,
          side,
          basePos,
          tickSize,
          roundDec(ticks2.width * pxRatio, 3),
          ticks2.stroke(self, i7),
          ticks2.dash,
          ticks2.cap
        );
      }
      let grid2 = axis.grid;
      if (grid2.show) {
        drawOrthoLines(
          canOffs,
          grid2.filter(self, splits, i7, _space, incr),
          ori,
          ori == 0 ? 2 : 1,
          ori == 0 ? plotTop : plotLft,
          ori == 0 ? plotHgt : plotWid,
          roundDec(grid2.width * pxRatio, 3),
          grid2.stroke(self, i7),
          grid2.dash,
          grid2.cap
        );
      }
      if (border2.show) {
        drawOrthoLines(
          [basePos],
          [1],
          ori == 0 ? 1 : 0,
          ori == 0 ? 1 : 2,
          ori == 1 ? plotTop : plotLft,
          ori == 1 ? plotHgt : plotWid,
          roundDec(border2.width * pxRatio, 3),
          border2.stroke(self, i7),
          border2.dash,
          border2.cap
        );
      }
    }
    fire("drawAxes");
  }
  function resetYSeries(minMax) {
    series.forEach((s5, i7) => {
      if (i7 > 0) {
        s5._paths = null;
        if (minMax) {
          if (mode == 1) {
            s5.min = null;
            s5.max = null;
          } else {
            s5.facets.forEach((f3) => {
              f3.min = null;
              f3.max = null;
            });
          }
        }
      }
    });
  }
  let queuedCommit = false;
  let deferHooks = false;
  let hooksQueue = [];
  function flushHooks() {
    deferHooks = false;
    for (let i7 = 0; i7 < hooksQueue.length; i7++)
      fire(...hooksQueue[i7]);
    hooksQueue.length = 0;
  }
  function commit() {
    if (!queuedCommit) {
      microTask(_commit);
      queuedCommit = true;
    }
  }
  function batch(fn, _deferHooks = false) {
    queuedCommit = true;
    deferHooks = _deferHooks;
    fn(self);
    _commit();
    if (_deferHooks && hooksQueue.length > 0)
      queueMicrotask(flushHooks);
  }
  self.batch = batch;
  function _commit() {
    if (shouldSetScales) {
      setScales();
      shouldSetScales = false;
    }
    if (shouldConvergeSize) {
      convergeSize();
      shouldConvergeSize = false;
    }
    if (shouldSetSize) {
      setStylePx(under, LEFT, plotLftCss);
      setStylePx(under, TOP, plotTopCss);
      setStylePx(under, WIDTH, plotWidCss);
      setStylePx(under, HEIGHT, plotHgtCss);
      setStylePx(over, LEFT, plotLftCss);
      setStylePx(over, TOP, plotTopCss);
      setStylePx(over, WIDTH, plotWidCss);
      setStylePx(over, HEIGHT, plotHgtCss);
      setStylePx(wrap, WIDTH, fullWidCss);
      setStylePx(wrap, HEIGHT, fullHgtCss);
      can.width = round(fullWidCss * pxRatio);
      can.height = round(fullHgtCss * pxRatio);
      axes.forEach(({ _el, _show, _size, _pos, side }) => {
        if (_el != null) {
          if (_show) {
            let posOffset = side === 3 || side === 0 ? _size : 0;
            let isVt = side % 2 == 1;
            setStylePx(_el, isVt ? "left" : "top", _pos - posOffset);
            setStylePx(_el, isVt ? "width" : "height", _size);
            setStylePx(_el, isVt ? "top" : "left", isVt ? plotTopCss : plotLftCss);
            setStylePx(_el, isVt ? "height" : "width", isVt ? plotHgtCss : plotWidCss);
            remClass(_el, OFF);
          } else
            addClass(_el, OFF);
        }
      });
      ctxStroke = ctxFill = ctxWidth = ctxJoin = ctxCap = ctxFont = ctxAlign = ctxBaseline = ctxDash = null;
      ctxAlpha = 1;
      syncRect(true);
      if (plotLftCss != _plotLftCss || plotTopCss != _plotTopCss || plotWidCss != _plotWidCss || plotHgtCss != _plotHgtCss) {
        resetYSeries(false);
        let pctWid = plotWidCss / _plotWidCss;
        let pctHgt = plotHgtCss / _plotHgtCss;
        if (showCursor && !shouldSetCursor && cursor.left >= 0) {
          cursor.left *= pctWid;
          cursor.top *= pctHgt;
          vCursor && elTrans(vCursor, round(cursor.left), 0, plotWidCss, plotHgtCss);
          hCursor && elTrans(hCursor, 0, round(cursor.top), plotWidCss, plotHgtCss);
          for (let i7 = 0; i7 < cursorPts.length; i7++) {
            let pt = cursorPts[i7];
            if (pt != null) {
              cursorPtsLft[i7] *= pctWid;
              cursorPtsTop[i7] *= pctHgt;
              elTrans(pt, ceil(cursorPtsLft[i7]), ceil(cursorPtsTop[i7]), plotWidCss, plotHgtCss);
            }
          }
        }
        if (select.show && !shouldSetSelect && select.left >= 0 && select.width > 0) {
          select.left *= pctWid;
          select.width *= pctWid;
          select.top *= pctHgt;
          select.height *= pctHgt;
          for (let prop in _hideProps)
            setStylePx(selectDiv, prop, select[prop]);
        }
        _plotLftCss = plotLftCss;
        _plotTopCss = plotTopCss;
        _plotWidCss = plotWidCss;
        _plotHgtCss = plotHgtCss;
      }
      fire("setSize");
      shouldSetSize = false;
    }
    if (fullWidCss > 0 && fullHgtCss > 0) {
      ctx.clearRect(0, 0, can.width, can.height);
      fire("drawClear");
      drawOrder.forEach((fn) => fn());
      fire("draw");
    }
    if (select.show && shouldSetSelect) {
      setSelect(select);
      shouldSetSelect = false;
    }
    if (showCursor && shouldSetCursor) {
      updateCursor(null, true, false);
      shouldSetCursor = false;
    }
    if (legend.show && legend.live && shouldSetLegend) {
      setLegend();
      shouldSetLegend = false;
    }
    if (!ready) {
      ready = true;
      self.status = 1;
      fire("ready");
    }
    viaAutoScaleX = false;
    queuedCommit = false;
  }
  self.redraw = (rebuildPaths, recalcAxes) => {
    shouldConvergeSize = recalcAxes || false;
    if (rebuildPaths !== false)
      _setScale(xScaleKey, scaleX.min, scaleX.max);
    else
      commit();
  };
  function setScale(key2, opts2) {
    let sc = scales[key2];
    if (sc.from == null) {
      if (dataLen == 0) {
        let minMax = sc.range(self, opts2.min, opts2.max, key2);
        opts2.min = minMax[0];
        opts2.max = minMax[1];
      }
      if (opts2.min > opts2.max) {
        let _min = opts2.min;
        opts2.min = opts2.max;
        opts2.max = _min;
      }
      if (dataLen > 1 && opts2.min != null && opts2.max != null && opts2.max - opts2.min < 1e-16)
        return;
      if (key2 == xScaleKey) {
        if (sc.distr == 2 && dataLen > 0) {
          opts2.min = closestIdx(opts2.min, data[0]);
          opts2.max = closestIdx(opts2.max, data[0]);
          if (opts2.min == opts2.max)
            opts2.max++;
        }
      }
      pendScales[key2] = opts2;
      shouldSetScales = true;
      commit();
    }
  }
  self.setScale = setScale;
  let xCursor;
  let yCursor;
  let vCursor;
  let hCursor;
  let rawMouseLeft0;
  let rawMouseTop0;
  let mouseLeft0;
  let mouseTop0;
  let rawMouseLeft1;
  let rawMouseTop1;
  let mouseLeft1;
  let mouseTop1;
  let dragging = false;
  const drag = cursor.drag;
  let dragX = drag.x;
  let dragY = drag.y;
  if (showCursor) {
    if (cursor.x)
      xCursor = placeDiv(CURSOR_X, over);
    if (cursor.y)
      yCursor = placeDiv(CURSOR_Y, over);
    if (scaleX.ori == 0) {
      vCursor = xCursor;
      hCursor = yCursor;
    } else {
      vCursor = yCursor;
      hCursor = xCursor;
    }
    mouseLeft1 = cursor.left;
    mouseTop1 = cursor.top;
  }
  const select = self.select = assign({
    show: true,
    over: true,
    left: 0,
    width: 0,
    top: 0,
    height: 0
  }, opts.select);
  const selectDiv = select.show ? placeDiv(SELECT, select.over ? over : under) : null;
  function setSelect(opts2, _fire) {
    if (select.show) {
      for (let prop in opts2) {
        select[prop] = opts2[prop];
        if (prop in _hideProps)
          setStylePx(selectDiv, prop, opts2[prop]);
      }
      _fire !== false && fire("setSelect");
    }
  }
  self.setSelect = setSelect;
  function toggleDOM(i7) {
    let s5 = series[i7];
    if (s5.show)
      showLegend && remClass(legendRows[i7], OFF);
    else {
      showLegend && addClass(legendRows[i7], OFF);
      if (showCursor) {
        let pt = cursorOnePt ? cursorPts[0] : cursorPts[i7];
        pt != null && elTrans(pt, -10, -10, plotWidCss, plotHgtCss);
      }
    }
  }
  function _setScale(key2, min2, max2) {
    setScale(key2, { min: min2, max: max2 });
  }
  function setSeries(i7, opts2, _fire, _pub) {
    if (opts2.focus != null)
      setFocus(i7);
    if (opts2.show != null) {
      series.forEach((s5, si) => {
        if (si > 0 && (i7 == si || i7 == null)) {
          s5.show = opts2.show;
          toggleDOM(si);
          if (mode == 2) {
            _setScale(s5.facets[0].scale, null, null);
            _setScale(s5.facets[1].scale, null, null);
          } else
            _setScale(s5.scale, null, null);
          commit();
        }
      });
    }
    _fire !== false && fire("setSeries", i7, opts2);
    _pub && pubSync("setSeries", self, i7, opts2);
  }
  self.setSeries = setSeries;
  function setBand(bi, opts2) {
    assign(bands[bi], opts2);
  }
  function addBand(opts2, bi) {
    opts2.fill = fnOrSelf(opts2.fill || null);
    opts2.dir = ifNull(opts2.dir, -1);
    bi = bi == null ? bands.length : bi;
    bands.splice(bi, 0, opts2);
  }
  function delBand(bi) {
    if (bi == null)
      bands.length = 0;
    else
      bands.splice(bi, 1);
  }
  self.addBand = addBand;
  self.setBand = setBand;
  self.delBand = delBand;
  function setAlpha(i7, value) {
    series[i7].alpha = value;
    if (showCursor && cursorPts[i7] != null)
      cursorPts[i7].style.opacity = value;
    if (showLegend && legendRows[i7])
      legendRows[i7].style.opacity = value;
  }
  let closestDist;
  let closestSeries;
  let focusedSeries;
  const FOCUS_TRUE = { focus: true };
  function setFocus(i7) {
    if (i7 != focusedSeries) {
      let allFocused = i7 == null;
      let _setAlpha = focus.alpha != 1;
      series.forEach((s5, i22) => {
        if (mode == 1 || i22 > 0) {
          let isFocused = allFocused || i22 == 0 || i22 == i7;
          s5._focus = allFocused ? null : isFocused;
          _setAlpha && setAlpha(i22, isFocused ? 1 : focus.alpha);
        }
      });
      focusedSeries = i7;
      _setAlpha && commit();
    }
  }
  if (showLegend && cursorFocus) {
    onMouse(mouseleave, legendTable, (e5) => {
      if (cursor._lock)
        return;
      setCursorEvent(e5);
      if (focusedSeries != null)
        setSeries(null, FOCUS_TRUE, true, syncOpts.setSeries);
    });
  }
  function posToVal(pos, scale, can2) {
    let sc = scales[scale];
    if (can2)
      pos = pos / pxRatio - (sc.ori == 1 ? plotTopCss : plotLftCss);
    let dim = plotWidCss;
    if (sc.ori == 1) {
      dim = plotHgtCss;
      pos = dim - pos;
    }
    if (sc.dir == -1)
      pos = dim - pos;
    let _min = sc._min, _max = sc._max, pct = pos / dim;
    let sv = _min + (_max - _min) * pct;
    let distr = sc.distr;
    return distr == 3 ? pow(10, sv) : distr == 4 ? sinh(sv, sc.asinh) : distr == 100 ? sc.bwd(sv) : sv;
  }
  function closestIdxFromXpos(pos, can2) {
    let v3 = posToVal(pos, xScaleKey, can2);
    return closestIdx(v3, data[0], i0, i1);
  }
  self.valToIdx = (val) => closestIdx(val, data[0]);
  self.posToIdx = closestIdxFromXpos;
  self.posToVal = posToVal;
  self.valToPos = (val, scale, can2) => scales[scale].ori == 0 ? getHPos(
    val,
    scales[scale],
    can2 ? plotWid : plotWidCss,
    can2 ? plotLft : 0
  ) : getVPos(
    val,
    scales[scale],
    can2 ? plotHgt : plotHgtCss,
    can2 ? plotTop : 0
  );
  self.setCursor = (opts2, _fire, _pub) => {
    mouseLeft1 = opts2.left;
    mouseTop1 = opts2.top;
    updateCursor(null, _fire, _pub);
  };
  function setSelH(off2, dim) {
    setStylePx(selectDiv, LEFT, select.left = off2);
    setStylePx(selectDiv, WIDTH, select.width = dim);
  }
  function setSelV(off2, dim) {
    setStylePx(selectDiv, TOP, select.top = off2);
    setStylePx(selectDiv, HEIGHT, select.height = dim);
  }
  let setSelX = scaleX.ori == 0 ? setSelH : setSelV;
  let setSelY = scaleX.ori == 1 ? setSelH : setSelV;
  function syncLegend() {
    if (showLegend && legend.live) {
      for (let i7 = mode == 2 ? 1 : 0; i7 < series.length; i7++) {
        if (i7 == 0 && multiValLegend)
          continue;
        let vals = legend.values[i7];
        let j2 = 0;
        for (let k2 in vals)
          legendCells[i7][j2++].firstChild.nodeValue = vals[k2];
      }
    }
  }
  function setLegend(opts2, _fire) {
    if (opts2 != null) {
      if (opts2.idxs) {
        opts2.idxs.forEach((didx, sidx) => {
          activeIdxs[sidx] = didx;
        });
      } else if (!isUndef(opts2.idx))
        activeIdxs.fill(opts2.idx);
      legend.idx = activeIdxs[0];
    }
    if (showLegend && legend.live) {
      for (let sidx = 0; sidx < series.length; sidx++) {
        if (sidx > 0 || mode == 1 && !multiValLegend)
          setLegendValues(sidx, activeIdxs[sidx]);
      }
      syncLegend();
    }
    shouldSetLegend = false;
    _fire !== false && fire("setLegend");
  }
  self.setLegend = setLegend;
  function setLegendValues(sidx, idx) {
    let s5 = series[sidx];
    let src = sidx == 0 && xScaleDistr == 2 ? data0 : data[sidx];
    let val;
    if (multiValLegend)
      val = s5.values(self, sidx, idx) ?? NULL_LEGEND_VALUES;
    else {
      val = s5.value(self, idx == null ? null : src[idx], sidx, idx);
      val = val == null ? NULL_LEGEND_VALUES : { _: val };
    }
    legend.values[sidx] = val;
  }
  function updateCursor(src, _fire, _pub) {
    rawMouseLeft1 = mouseLeft1;
    rawMouseTop1 = mouseTop1;
    [mouseLeft1, mouseTop1] = cursor.move(self, mouseLeft1, mouseTop1);
    cursor.left = mouseLeft1;
    cursor.top = mouseTop1;
    if (showCursor) {
      vCursor && elTrans(vCursor, round(mouseLeft1), 0, plotWidCss, plotHgtCss);
      hCursor && elTrans(hCursor, 0, round(mouseTop1), plotWidCss, plotHgtCss);
    }
    let idx;
    let noDataInRange = i0 > i1;
    closestDist = inf;
    closestSeries = null;
    let xDim = scaleX.ori == 0 ? plotWidCss : plotHgtCss;
    let yDim = scaleX.ori == 1 ? plotWidCss : plotHgtCss;
    if (mouseLeft1 < 0 || dataLen == 0 || noDataInRange) {
      idx = cursor.idx = null;
      for (let i7 = 0; i7 < series.length; i7++) {
        let pt = cursorPts[i7];
        pt != null && elTrans(pt, -10, -10, plotWidCss, plotHgtCss);
      }
      if (cursorFocus)
        setSeries(null, FOCUS_TRUE, true, src == null && syncOpts.setSeries);
      if (legend.live) {
        activeIdxs.fill(idx);
        shouldSetLegend = true;
      }
    } else {
      let mouseXPos, valAtPosX, xPos;
      if (mode == 1) {
        mouseXPos = scaleX.ori == 0 ? mouseLeft1 : mouseTop1;
        valAtPosX = posToVal(mouseXPos, xScaleKey);
        idx = cursor.idx = closestIdx(valAtPosX, data[0], i0, i1);
        xPos = valToPosX(data[0][idx], scaleX, xDim, 0);
      }
      let _ptLft = -10;
      let _ptTop = -10;
      let _ptWid = 0;
      let _ptHgt = 0;
      let _centered = true;
      let _ptFill = "";
      let _ptStroke = "";
      for (let i7 = mode == 2 ? 1 : 0; i7 < series.length; i7++) {
        let s5 = series[i7];
        let idx1 = activeIdxs[i7];
        let yVal1 = idx1 == null ? null : mode == 1 ? data[i7][idx1] : data[i7][1][idx1];
        let idx2 = cursor.dataIdx(self, i7, idx, valAtPosX);
        let yVal2 = idx2 == null ? null : mode == 1 ? data[i7][idx2] : data[i7][1][idx2];
        shouldSetLegend = shouldSetLegend || yVal2 != yVal1 || idx2 != idx1;
        activeIdxs[i7] = idx2;
        if (i7 > 0 && s5.show) {
          let xPos2 = idx2 == null ? -10 : idx2 == idx ? xPos : valToPosX(mode == 1 ? data[0][idx2] : data[i7][0][idx2], scaleX, xDim, 0);
          let yPos = yVal2 == null ? -10 : valToPosY(yVal2, mode == 1 ? scales[s5.scale] : scales[s5.facets[1].scale], yDim, 0);
          if (cursorFocus && yVal2 != null) {
            let mouseYPos = scaleX.ori == 1 ? mouseLeft1 : mouseTop1;
            let dist = abs(focus.dist(self, i7, idx2, yPos, mouseYPos));
            if (dist < closestDist) {
              let bias = focus.bias;
              if (bias != 0) {
                let mouseYVal = posToVal(mouseYPos, s5.scale);
                let seriesYValSign = yVal2 >= 0 ? 1 : -1;
                let mouseYValSign = mouseYVal >= 0 ? 1 : -1;
                if (mouseYValSign == seriesYValSign && (mouseYValSign == 1 ? bias == 1 ? yVal2 >= mouseYVal : yVal2 <= mouseYVal : (
                  // >= 0
                  bias == 1 ? yVal2 <= mouseYVal : yVal2 >= mouseYVal
                ))) {
                  closestDist = dist;
                  closestSeries = i7;
                }
              } else {
                closestDist = dist;
                closestSeries = i7;
              }
            }
          }
          if (shouldSetLegend || cursorOnePt) {
            let hPos, vPos;
            if (scaleX.ori == 0) {
              hPos = xPos2;
              vPos = yPos;
            } else {
              hPos = yPos;
              vPos = xPos2;
            }
            let ptWid, ptHgt, ptLft, ptTop, ptStroke, ptFill, centered = true, getBBox = points2.bbox;
            if (getBBox != null) {
              centered = false;
              let bbox = getBBox(self, i7);
              ptLft = bbox.left;
              ptTop = bbox.top;
              ptWid = bbox.width;
              ptHgt = bbox.height;
            } else {
              ptLft = hPos;
              ptTop = vPos;
              ptWid = ptHgt = points2.size(self, i7);
            }
            ptFill = points2.fill(self, i7);
            ptStroke = points2.stroke(self, i7);
            if (cursorOnePt) {
              if (i7 == closestSeries && closestDist <= focus.prox) {
                _ptLft = ptLft;
                _ptTop = ptTop;
                _ptWid = ptWid;
                _ptHgt = ptHgt;
                _centered = centered;
                _ptFill = ptFill;
                _ptStroke = ptStroke;
              }
            } else {
              let pt = cursorPts[i7];
              if (pt != null) {
                cursorPtsLft[i7] = ptLft;
                cursorPtsTop[i7] = ptTop;
                elSize(pt, ptWid, ptHgt, centered);
                elColor(pt, ptFill, ptStroke);
                elTrans(pt, ceil(ptLft), ceil(ptTop), plotWidCss, plotHgtCss);
              }
            }
          }
        }
      }
      if (cursorOnePt) {
        let p4 = focus.prox;
        let focusChanged = focusedSeries == null ? closestDist <= p4 : closestDist > p4 || closestSeries != focusedSeries;
        if (shouldSetLegend || focusChanged) {
          let pt = cursorPts[0];
          if (pt != null) {
            cursorPtsLft[0] = _ptLft;
            cursorPtsTop[0] = _ptTop;
            elSize(pt, _ptWid, _ptHgt, _centered);
            elColor(pt, _ptFill, _ptStroke);
            elTrans(pt, ceil(_ptLft), ceil(_ptTop), plotWidCss, plotHgtCss);
          }
        }
      }
    }
    if (select.show && dragging) {
      if (src != null) {
        let [xKey, yKey] = syncOpts.scales;
        let [matchXKeys, matchYKeys] = syncOpts.match;
        let [xKeySrc, yKeySrc] = src.cursor.sync.scales;
        let sdrag = src.cursor.drag;
        dragX = sdrag._x;
        dragY = sdrag._y;
        if (dragX || dragY) {
          let { left, top, width, height } = src.select;
          let sori = src.scales[xKeySrc].ori;
          let sPosToVal = src.posToVal;
          let sOff, sDim, sc, a3, b3;
          let matchingX = xKey != null && matchXKeys(xKey, xKeySrc);
          let matchingY = yKey != null && matchYKeys(yKey, yKeySrc);
          if (matchingX && dragX) {
            if (sori == 0) {
              sOff = left;
              sDim = width;
            } else {
              sOff = top;
              sDim = height;
            }
            sc = scales[xKey];
            a3 = valToPosX(sPosToVal(sOff, xKeySrc), sc, xDim, 0);
            b3 = valToPosX(sPosToVal(sOff + sDim, xKeySrc), sc, xDim, 0);
            setSelX(min(a3, b3), abs(b3 - a3));
          } else
            setSelX(0, xDim);
          if (matchingY && dragY) {
            if (sori == 1) {
              sOff = left;
              sDim = width;
            } else {
              sOff = top;
              sDim = height;
            }
            sc = scales[yKey];
            a3 = valToPosY(sPosToVal(sOff, yKeySrc), sc, yDim, 0);
            b3 = valToPosY(sPosToVal(sOff + sDim, yKeySrc), sc, yDim, 0);
            setSelY(min(a3, b3), abs(b3 - a3));
          } else
            setSelY(0, yDim);
        } else
          hideSelect();
      } else {
        let rawDX = abs(rawMouseLeft1 - rawMouseLeft0);
        let rawDY = abs(rawMouseTop1 - rawMouseTop0);
        if (scaleX.ori == 1) {
          let _rawDX = rawDX;
          rawDX = rawDY;
          rawDY = _rawDX;
        }
        dragX = drag.x && rawDX >= drag.dist;
        dragY = drag.y && rawDY >= drag.dist;
        let uni = drag.uni;
        if (uni != null) {
          if (dragX && dragY) {
            dragX = rawDX >= uni;
            dragY = rawDY >= uni;
            if (!dragX && !dragY) {
              if (rawDY > rawDX)
                dragY = true;
              else
                dragX = true;
            }
          }
        } else if (drag.x && drag.y && (dragX || dragY))
          dragX = dragY = true;
        let p0, p1;
        if (dragX) {
          if (scaleX.ori == 0) {
            p0 = mouseLeft0;
            p1 = mouseLeft1;
          } else {
            p0 = mouseTop0;
            p1 = mouseTop1;
          }
          setSelX(min(p0, p1), abs(p1 - p0));
          if (!dragY)
            setSelY(0, yDim);
        }
        if (dragY) {
          if (scaleX.ori == 1) {
            p0 = mouseLeft0;
            p1 = mouseLeft1;
          } else {
            p0 = mouseTop0;
            p1 = mouseTop1;
          }
          setSelY(min(p0, p1), abs(p1 - p0));
          if (!dragX)
            setSelX(0, xDim);
        }
        if (!dragX && !dragY) {
          setSelX(0, 0);
          setSelY(0, 0);
        }
      }
    }
    drag._x = dragX;
    drag._y = dragY;
    if (src == null) {
      if (_pub) {
        if (syncKey != null) {
          let [xSyncKey, ySyncKey] = syncOpts.scales;
          syncOpts.values[0] = xSyncKey != null ? posToVal(scaleX.ori == 0 ? mouseLeft1 : mouseTop1, xSyncKey) : null;
          syncOpts.values[1] = ySyncKey != null ? posToVal(scaleX.ori == 1 ? mouseLeft1 : mouseTop1, ySyncKey) : null;
        }
        pubSync(mousemove, self, mouseLeft1, mouseTop1, plotWidCss, plotHgtCss, idx);
      }
      if (cursorFocus) {
        let shouldPub = _pub && syncOpts.setSeries;
        let p4 = focus.prox;
        if (focusedSeries == null) {
          if (closestDist <= p4)
            setSeries(closestSeries, FOCUS_TRUE, true, shouldPub);
        } else {
          if (closestDist > p4)
            setSeries(null, FOCUS_TRUE, true, shouldPub);
          else if (closestSeries != focusedSeries)
            setSeries(closestSeries, FOCUS_TRUE, true, shouldPub);
        }
      }
    }
    if (shouldSetLegend) {
      legend.idx = idx;
      setLegend();
    }
    _fire !== false && fire("setCursor");
  }
  let rect2 = null;
  Object.defineProperty(self, "rect", {
    get() {
      if (rect2 == null)
        syncRect(false);
      return rect2;
    }
  });
  function syncRect(defer = false) {
    if (defer)
      rect2 = null;
    else {
      rect2 = over.getBoundingClientRect();
      fire("syncRect", rect2);
    }
  }
  function mouseMove(e5, src, _l, _t, _w, _h, _i) {
    if (cursor._lock)
      return;
    if (dragging && e5 != null && e5.movementX == 0 && e5.movementY == 0)
      return;
    cacheMouse(e5, src, _l, _t, _w, _h, _i, false, e5 != null);
    if (e5 != null)
      updateCursor(null, true, true);
    else
      updateCursor(src, true, false);
  }
  function cacheMouse(e5, src, _l, _t, _w, _h, _i, initial, snap) {
    if (rect2 == null)
      syncRect(false);
    setCursorEvent(e5);
    if (e5 != null) {
      _l = e5.clientX - rect2.left;
      _t = e5.clientY - rect2.top;
    } else {
      if (_l < 0 || _t < 0) {
        mouseLeft1 = -10;
        mouseTop1 = -10;
        return;
      }
      let [xKey, yKey] = syncOpts.scales;
      let syncOptsSrc = src.cursor.sync;
      let [xValSrc, yValSrc] = syncOptsSrc.values;
      let [xKeySrc, yKeySrc] = syncOptsSrc.scales;
      let [matchXKeys, matchYKeys] = syncOpts.match;
      let rotSrc = src.axes[0].side % 2 == 1;
      let xDim = scaleX.ori == 0 ? plotWidCss : plotHgtCss, yDim = scaleX.ori == 1 ? plotWidCss : plotHgtCss, _xDim = rotSrc ? _h : _w, _yDim = rotSrc ? _w : _h, _xPos = rotSrc ? _t : _l, _yPos = rotSrc ? _l : _t;
      if (xKeySrc != null)
        _l = matchXKeys(xKey, xKeySrc) ? getPos(xValSrc, scales[xKey], xDim, 0) : -10;
      else
        _l = xDim * (_xPos / _xDim);
      if (yKeySrc != null)
        _t = matchYKeys(yKey, yKeySrc) ? getPos(yValSrc, scales[yKey], yDim, 0) : -10;
      else
        _t = yDim * (_yPos / _yDim);
      if (scaleX.ori == 1) {
        let __l = _l;
        _l = _t;
        _t = __l;
      }
    }
    if (snap && (src == null || src.cursor.event.type == mousemove)) {
      if (_l <= 1 || _l >= plotWidCss - 1)
        _l = incrRound(_l, plotWidCss);
      if (_t <= 1 || _t >= plotHgtCss - 1)
        _t = incrRound(_t, plotHgtCss);
    }
    if (initial) {
      rawMouseLeft0 = _l;
      rawMouseTop0 = _t;
      [mouseLeft0, mouseTop0] = cursor.move(self, _l, _t);
    } else {
      mouseLeft1 = _l;
      mouseTop1 = _t;
    }
  }
  const _hideProps = {
    width: 0,
    height: 0,
    left: 0,
    top: 0
  };
  function hideSelect() {
    setSelect(_hideProps, false);
  }
  let downSelectLeft;
  let downSelectTop;
  let downSelectWidth;
  let downSelectHeight;
  function mouseDown(e5, src, _l, _t, _w, _h, _i) {
    dragging = true;
    dragX = dragY = drag._x = drag._y = false;
    cacheMouse(e5, src, _l, _t, _w, _h, _i, true, false);
    if (e5 != null) {
      onMouse(mouseup, doc, mouseUp, false);
      pubSync(mousedown, self, mouseLeft0, mouseTop0, plotWidCss, plotHgtCss, null);
    }
    let { left, top, width, height } = select;
    downSelectLeft = left;
    downSelectTop = top;
    downSelectWidth = width;
    downSelectHeight = height;
  }
  function mouseUp(e5, src, _l, _t, _w, _h, _i) {
    dragging = drag._x = drag._y = false;
    cacheMouse(e5, src, _l, _t, _w, _h, _i, false, true);
    let { left, top, width, height } = select;
    let hasSelect = width > 0 || height > 0;
    let chgSelect = downSelectLeft != left || downSelectTop != top || downSelectWidth != width || downSelectHeight != height;
    hasSelect && chgSelect && setSelect(select);
    if (drag.setScale && hasSelect && chgSelect) {
      let xOff = left, xDim = width, yOff = top, yDim = height;
      if (scaleX.ori == 1) {
        xOff = top, xDim = height, yOff = left, yDim = width;
      }
      if (dragX) {
        _setScale(
          xScaleKey,
          posToVal(xOff, xScaleKey),
          posToVal(xOff + xDim, xScaleKey)
        );
      }
      if (dragY) {
        for (let k2 in scales) {
          let sc = scales[k2];
          if (k2 != xScaleKey && sc.from == null && sc.min != inf) {
            _setScale(
              k2,
              posToVal(yOff + yDim, k2),
              posToVal(yOff, k2)
            );
          }
        }
      }
      hideSelect();
    } else if (cursor.lock) {
      cursor._lock = !cursor._lock;
      updateCursor(src, true, e5 != null);
    }
    if (e5 != null) {
      offMouse(mouseup, doc);
      pubSync(mouseup, self, mouseLeft1, mouseTop1, plotWidCss, plotHgtCss, null);
    }
  }
  function mouseLeave(e5, src, _l, _t, _w, _h, _i) {
    if (cursor._lock)
      return;
    setCursorEvent(e5);
    let _dragging = dragging;
    if (dragging) {
      let snapH = true;
      let snapV = true;
      let snapProx = 10;
      let dragH, dragV;
      if (scaleX.ori == 0) {
        dragH = dragX;
        dragV = dragY;
      } else {
        dragH = dragY;
        dragV = dragX;
      }
      if (dragH && dragV) {
        snapH = mouseLeft1 <= snapProx || mouseLeft1 >= plotWidCss - snapProx;
        snapV = mouseTop1 <= snapProx || mouseTop1 >= plotHgtCss - snapProx;
      }
      if (dragH && snapH)
        mouseLeft1 = mouseLeft1 < mouseLeft0 ? 0 : plotWidCss;
      if (dragV && snapV)
        mouseTop1 = mouseTop1 < mouseTop0 ? 0 : plotHgtCss;
      updateCursor(null, true, true);
      dragging = false;
    }
    mouseLeft1 = -10;
    mouseTop1 = -10;
    activeIdxs.fill(null);
    updateCursor(null, true, true);
    if (_dragging)
      dragging = _dragging;
  }
  function dblClick(e5, src, _l, _t, _w, _h, _i) {
    if (cursor._lock)
      return;
    setCursorEvent(e5);
    autoScaleX();
    hideSelect();
    if (e5 != null)
      pubSync(dblclick, self, mouseLeft1, mouseTop1, plotWidCss, plotHgtCss, null);
  }
  function syncPxRatio() {
    axes.forEach(syncFontSize);
    _setSize(self.width, self.height, true);
  }
  on(dppxchange, win, syncPxRatio);
  const events = {};
  events.mousedown = mouseDown;
  events.mousemove = mouseMove;
  events.mouseup = mouseUp;
  events.dblclick = dblClick;
  events["setSeries"] = (e5, src, idx, opts2) => {
    let seriesIdxMatcher2 = syncOpts.match[2];
    idx = seriesIdxMatcher2(self, src, idx);
    idx != -1 && setSeries(idx, opts2, true, false);
  };
  if (showCursor) {
    onMouse(mousedown, over, mouseDown);
    onMouse(mousemove, over, mouseMove);
    onMouse(mouseenter, over, (e5) => {
      setCursorEvent(e5);
      syncRect(false);
    });
    onMouse(mouseleave, over, mouseLeave);
    onMouse(dblclick, over, dblClick);
    cursorPlots.add(self);
    self.syncRect = syncRect;
  }
  const hooks = self.hooks = opts.hooks || {};
  function fire(evName, a1, a22) {
    if (deferHooks)
      hooksQueue.push([evName, a1, a22]);
    else {
      if (evName in hooks) {
        hooks[evName].forEach((fn) => {
          fn.call(null, self, a1, a22);
        });
      }
    }
  }
  (opts.plugins || []).forEach((p4) => {
    for (let evName in p4.hooks)
      hooks[evName] = (hooks[evName] || []).concat(p4.hooks[evName]);
  });
  const seriesIdxMatcher = (self2, src, srcSeriesIdx) => srcSeriesIdx;
  const syncOpts = assign({
    key: null,
    setSeries: false,
    filters: {
      pub: retTrue,
      sub: retTrue
    },
    scales: [xScaleKey, series[1] ? series[1].scale : null],
    match: [retEq, retEq, seriesIdxMatcher],
    values: [null, null]
  }, cursor.sync);
  if (syncOpts.match.length == 2)
    syncOpts.match.push(seriesIdxMatcher);
  cursor.sync = syncOpts;
  const syncKey = syncOpts.key;
  const sync = _sync(syncKey);
  function pubSync(type, src, x2, y3, w2, h4, i7) {
    if (syncOpts.filters.pub(type, src, x2, y3, w2, h4, i7))
      sync.pub(type, src, x2, y3, w2, h4, i7);
  }
  sync.sub(self);
  function pub(type, src, x2, y3, w2, h4, i7) {
    if (syncOpts.filters.sub(type, src, x2, y3, w2, h4, i7))
      events[type](null, src, x2, y3, w2, h4, i7);
  }
  self.pub = pub;
  function destroy() {
    sync.unsub(self);
    cursorPlots.delete(self);
    mouseListeners.clear();
    off(dppxchange, win, syncPxRatio);
    root.remove();
    legendTable?.remove();
    fire("destroy");
  }
  self.destroy = destroy;
  function _init() {
    fire("init", opts, data);
    setData(data || opts.data, false);
    if (pendScales[xScaleKey])
      setScale(xScaleKey, pendScales[xScaleKey]);
    else
      autoScaleX();
    shouldSetSelect = select.show && (select.width > 0 || select.height > 0);
    shouldSetCursor = shouldSetLegend = true;
    _setSize(opts.width, opts.height);
  }
  series.forEach(initSeries);
  axes.forEach(initAxis);
  if (then) {
    if (then instanceof HTMLElement) {
      then.appendChild(root);
      _init();
    } else
      then(self, _init);
  } else
    _init();
  return self;
}
uPlot.assign = assign;
uPlot.fmtNum = fmtNum;
uPlot.rangeNum = rangeNum;
uPlot.rangeLog = rangeLog;
uPlot.rangeAsinh = rangeAsinh;
uPlot.orient = orient;
uPlot.pxRatio = pxRatio;
{
  uPlot.join = join;
}
{
  uPlot.fmtDate = fmtDate;
  uPlot.tzDate = tzDate;
}
uPlot.sync = _sync;
{
  uPlot.addGap = addGap;
  uPlot.clipGaps = clipGaps;
  let paths = uPlot.paths = {
    points
  };
  paths.linear = linear;
  paths.stepped = stepped;
  paths.bars = bars;
  paths.spline = monotoneCubic;
}

// node_modules/uplot/dist/uPlot.min.css
var uPlot_min_default = '.uplot, .uplot *, .uplot *::before, .uplot *::after {box-sizing: border-box;}.uplot {font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "Noto Sans", sans-serif, "Apple Color Emoji", "Segoe UI Emoji", "Segoe UI Symbol", "Noto Color Emoji";line-height: 1.5;width: min-content;}.u-title {text-align: center;font-size: 18px;font-weight: bold;}.u-wrap {position: relative;user-select: none;}.u-over, .u-under {position: absolute;}.u-under {overflow: hidden;}.uplot canvas {display: block;position: relative;width: 100%;height: 100%;}.u-axis {position: absolute;}.u-legend {font-size: 14px;margin: auto;text-align: center;}.u-inline {display: block;}.u-inline * {display: inline-block;}.u-inline tr {margin-right: 16px;}.u-legend th {font-weight: 600;}.u-legend th > * {vertical-align: middle;display: inline-block;}.u-legend .u-marker {width: 1em;height: 1em;margin-right: 4px;background-clip: padding-box !important;}.u-inline.u-live th::after {content: ":";vertical-align: middle;}.u-inline:not(.u-live) .u-value {display: none;}.u-series > * {padding: 4px;}.u-series th {cursor: pointer;}.u-legend .u-off > * {opacity: 0.3;}.u-select {background: rgba(0,0,0,0.07);position: absolute;pointer-events: none;}.u-cursor-x, .u-cursor-y {position: absolute;left: 0;top: 0;pointer-events: none;will-change: transform;}.u-hz .u-cursor-x, .u-vt .u-cursor-y {height: 100%;border-right: 1px dashed #607D8B;}.u-hz .u-cursor-y, .u-vt .u-cursor-x {width: 100%;border-bottom: 1px dashed #607D8B;}.u-cursor-pt {position: absolute;top: 0;left: 0;border-radius: 50%;border: 0 solid;pointer-events: none;will-change: transform;/*this has to be !important since we set inline "background" shorthand */background-clip: padding-box !important;}.u-axis.u-off, .u-select.u-off, .u-cursor-x.u-off, .u-cursor-y.u-off, .u-cursor-pt.u-off {display: none;}';

// web/src/chart.ts
var HEIGHT_PX = 104;
var chartStyles = [
  r(uPlot_min_default),
  i`
    .chart {
      height: ${HEIGHT_PX}px;
      overflow: hidden;
    }
  `
];
function colours(element) {
  const probe = document.createElement("span");
  probe.hidden = true;
  element.append(probe);
  return (property, alpha = 1) => {
    probe.style.color = alpha === 1 ? `var(${property})` : `color-mix(in srgb, var(${property}) ${alpha * 100}%, transparent)`;
    return getComputedStyle(probe).color;
  };
}
var Chart = class {
  constructor(place, lines, unit, read) {
    this.marks = [];
    const colour = colours(place);
    const value = (amount) => bytes(texts.locale, amount) + (unit === "rate" ? "/s" : "");
    const axis = { stroke: () => colour("--ms-muted"), font: "11px Inter, system-ui, sans-serif", ticks: { show: false } };
    const grid2 = { stroke: () => colour("--ms-line"), width: 1 };
    this.plot = new uPlot(
      {
        width: Math.max(120, place.clientWidth),
        height: HEIGHT_PX,
        padding: [8, 18, 0, 0],
        legend: { show: false },
        cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
        scales: { y: { range: (_plot, _low, high) => [0, Math.max(high, 1) * 1.05] } },
        axes: [
          { ...axis, grid: { show: false }, size: 22, space: 70, values: (_plot, ticks2) => ticks2.map((tick) => this.tick(tick)) },
          { ...axis, grid: grid2, size: 62, space: 28, values: (_plot, ticks2) => ticks2.map((tick) => tick ? value(tick) : "0") }
        ],
        series: [
          {},
          ...lines.map((line) => ({
            label: line.label,
            stroke: () => colour(line.colour),
            width: 1.5,
            points: { show: false },
            ...line.filled ? { fill: () => colour(line.colour, 0.2) } : {}
          }))
        ],
        hooks: {
          draw: [(plot) => this.drawMarks(plot, colour("--ms-bad"))],
          setCursor: [
            (plot) => {
              const at = plot.cursor.idx;
              if (at === null || at === void 0) read(null, []);
              else read(plot.data[0][at] ?? null, plot.data.slice(1).map((values) => values[at] ?? null));
            }
          ]
        }
      },
      [[], ...lines.map(() => [])],
      place
    );
    this.resized = new ResizeObserver(() => this.plot.setSize({ width: Math.max(120, place.clientWidth), height: HEIGHT_PX }));
    this.resized.observe(place);
  }
  show(drawing) {
    this.marks = drawing.marks;
    this.plot.setData([drawing.times, ...drawing.lines]);
  }
  redraw() {
    this.plot.redraw();
  }
  destroy() {
    this.resized.disconnect();
    this.plot.destroy();
  }
  tick(time) {
    const times = this.plot.data[0];
    const span = (times.at(-1) ?? 0) - (times[0] ?? 0);
    if (span > 2 * 86400) return new Intl.DateTimeFormat(texts.locale, { day: "numeric", month: "short" }).format(time * 1e3);
    return clock(texts.locale, time).replace(/(\d+:\d+):\d+/, "$1");
  }
  /** A small triangle on the x axis for each eviction. */
  drawMarks(plot, colour) {
    const { ctx: context, bbox } = plot;
    const size = 4 * devicePixelRatio;
    const bottom = bbox.top + bbox.height;
    context.save();
    context.fillStyle = colour;
    for (const time of this.marks) {
      const x2 = plot.valToPos(time, "x", true);
      context.beginPath();
      context.moveTo(x2, bottom - 2 * size);
      context.lineTo(x2 + size, bottom);
      context.lineTo(x2 - size, bottom);
      context.fill();
    }
    context.restore();
  }
};

// web/src/event-text.ts
var PROBLEMS = /* @__PURE__ */ new Set(["load_failed", "corruption", "degraded", "restore_failed", "class_failed", "catalog", "alert"]);
var PROBLEM_REASONS = /* @__PURE__ */ new Set(["execution error", "prefetch failed", "seam unfit"]);
function isProblem(event) {
  return PROBLEMS.has(event.kind) || PROBLEM_REASONS.has(`${event.kind} ${event.reason}`);
}
function isNoise(event) {
  return event.kind === "transfer" && event.reason === event.subject;
}
function reasonText(reason) {
  return texts.has(`reason.${reason}`) ? texts.get(`reason.${reason}`) : visible(reason);
}
function eventText(event) {
  const key = [`event.${event.kind}_${event.reason}`, `event.${event.kind}`].find((one) => texts.has(one));
  if (key === void 0 || !event.name && texts.get(key).includes("{name}")) return visible(event.text);
  if (event.kind === "transfer" && event.reason !== "finished") return visible(event.text);
  const tier = texts.has(`place.${event.tier}`) ? texts.get(`place.${event.tier}`) : event.tier;
  const facts = [];
  if (event.size_bytes) facts.push(bytes(texts.locale, event.size_bytes));
  if (event.seconds) facts.push(duration(texts.locale, event.seconds));
  if (event.kind === "evict" && event.reason) facts.push(reasonText(event.reason));
  const said = texts.get(key, { name: visible(event.name), tier });
  return facts.length ? `${said} (${facts.join(", ")})` : said;
}

// web/src/timeline.ts
var SPANS = ["10m", "6h", "30d"];
var EVERY_MS2 = { "10m": 2e3, "6h": 1e4, "30d": 6e4 };
var TIERS2 = ["vram", "ram", "ssd"];
var NAMES2 = ["wire_bytes", "rate_bytes_per_s", ...TIERS2.map((tier) => `${tier}_used_bytes`), ...TIERS2.map((tier) => `evictions_${tier}`)].join(",");
var SHOWN = 40;
function drawn2(answer) {
  const { from_s: from, step_s: step } = answer;
  const count = Math.max(2, Math.floor((answer.to_s - from) / step) + 1);
  const times = Array.from({ length: count }, (_3, at) => from + at * step);
  const place = (time) => Math.min(count - 1, Math.max(0, Math.round((time - from) / step)));
  const rate2 = held(count, answer.series["rate_bytes_per_s"]?.points ?? [], place).map((value) => value ?? 0);
  const measured = rate2.map((value, at) => value > 0 || (rate2[at - 1] ?? 0) > 0);
  for (const [time, sum] of answer.series["wire_bytes"]?.points ?? []) if (!measured[place(time)]) rate2[place(time)] = sum / step;
  const used = TIERS2.map((tier) => held(count, answer.series[`${tier}_used_bytes`]?.points ?? [], place));
  const marks = TIERS2.flatMap((tier) => (answer.series[`evictions_${tier}`]?.points ?? []).filter(([, n4]) => n4 > 0).map(([time]) => time));
  return { times, rate: rate2, used, marks };
}
function held(count, points2, place) {
  const line = new Array(count).fill(null);
  for (const [time, value] of points2) line[place(time)] = value;
  for (let at = 1; at < count; at += 1) line[at] ??= line[at - 1] ?? null;
  return line;
}
var Timeline = class extends Part {
  constructor() {
    super();
    this.charts = [];
    this.isSeen = false;
    this.seen = new IntersectionObserver((entries) => {
      this.isSeen = entries.at(-1)?.isIntersecting ?? false;
      if (this.isSeen) void this.ask();
    });
    this.span = remembered("span", "10m");
    this.kinds = "all";
    this.readout = "";
    this.peak = 0;
  }
  static {
    this.properties = {
      ...Part.properties,
      theme: {},
      span: { state: true },
      kinds: { state: true },
      readout: { state: true },
      peak: { state: true }
    };
  }
  static {
    this.styles = [
      Part.styles,
      ...chartStyles,
      i`
      :host {
        display: block;
      }
      .bar {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 6px;
        margin-bottom: 6px;
      }
      .spans {
        display: flex;
      }
      .spans button {
        border-radius: 0;
        border-inline-start-width: 0;
      }
      .spans button:first-child {
        border-start-start-radius: 6px;
        border-end-start-radius: 6px;
        border-inline-start-width: 1px;
      }
      .spans button:last-child {
        border-start-end-radius: 6px;
        border-end-end-radius: 6px;
      }
      .spans button[aria-pressed="true"] {
        background: var(--ms-hover);
        color: var(--ms-fg);
        font-weight: 600;
      }
      .readout {
        min-height: 17px;
        font-size: 12px;
      }
      .legend {
        display: flex;
        flex-wrap: wrap;
        gap: 0 10px;
        margin: 8px 0 2px;
        font-size: 12px;
        font-weight: 400;
        color: var(--ms-muted);
      }
      .legend .key {
        display: inline-flex;
        align-items: center;
        gap: 4px;
      }
      .legend i {
        width: 10px;
        height: 3px;
        border-radius: 2px;
        background: var(--colour);
      }
      .legend i.mark {
        width: 0;
        height: 0;
        border-radius: 0;
        background: none;
        border: 4px solid transparent;
        border-top: 0;
        border-bottom: 7px solid var(--ms-bad);
      }
      ol {
        max-height: 260px;
        overflow-y: auto;
        border-top: 1px solid var(--ms-line);
      }
      li {
        display: grid;
        grid-template-columns: max-content minmax(0, 1fr);
        gap: 0 8px;
        padding: 3px 0;
        font-size: 12px;
        overflow-wrap: anywhere;
      }
      .events {
        display: flex;
        align-items: center;
        margin: 10px 0 4px;
      }
      .events select {
        margin-inline-start: auto;
      }
      @container (min-width: 900px) {
        .halves {
          display: grid;
          grid-template-columns: minmax(0, 1fr) minmax(0, 1fr);
          gap: 24px;
        }
        .events {
          margin-top: 0;
        }
      }
    `
    ];
  }
  connectedCallback() {
    super.connectedCallback();
    this.seen.observe(this);
    this.repeat();
  }
  disconnectedCallback() {
    super.disconnectedCallback();
    this.seen.disconnect();
    window.clearInterval(this.timer);
    for (const chart of this.charts) chart.destroy();
    this.charts = [];
  }
  lines() {
    const tiers = TIERS2.map((tier) => ({ label: this.t(`tier.${tier}`), colour: `--ms-${tier}` }));
    return [[{ label: this.t("timeline.rate"), colour: "--ms-bucket", filled: true }], tiers];
  }
  updated(changes) {
    if (!this.charts.length) {
      const places = [...this.renderRoot.querySelectorAll(".chart")];
      const lines = this.lines();
      this.charts = places.map((place, at) => new Chart(place, lines[at] ?? [], at ? "bytes" : "rate", (time, values) => this.read(at, time, values)));
      void this.ask();
    }
    if (changes.has("theme")) for (const chart of this.charts) chart.redraw();
  }
  repeat() {
    window.clearInterval(this.timer);
    this.timer = window.setInterval(() => void this.ask(), EVERY_MS2[this.span]);
  }
  choose(span) {
    this.span = span;
    remember("span", span);
    this.repeat();
    void this.ask();
  }
  async ask() {
    if (!this.isSeen || this.feed.phase !== "live") return;
    try {
      const answer = await this.feed.client.series(this.span, NAMES2);
      if (answer.span !== this.span) return;
      const { times, rate: rate2, used, marks } = drawn2(answer);
      this.peak = Math.max(...rate2);
      const drawings = [
        { times, lines: [rate2], marks },
        { times, lines: used, marks }
      ];
      this.charts.forEach((chart, at) => chart.show(drawings[at]));
    } catch (error) {
      if (!(error instanceof Away || error instanceof Refused)) throw error;
    }
  }
  read(chart, time, values) {
    if (time === null) {
      this.readout = "";
      return;
    }
    const at = this.span === "30d" ? new Intl.DateTimeFormat(texts.locale, { dateStyle: "short", timeStyle: "short" }).format(time * 1e3) : clock(texts.locale, time);
    const said = values.map((value, index) => {
      if (value === null) return "";
      const amount = bytes(texts.locale, value) + (chart ? "" : "/s");
      return chart ? `${this.t(`tier.${TIERS2[index] ?? ""}`)} ${amount}` : amount;
    });
    this.readout = [at, ...said.filter(Boolean)].join(" · ");
  }
  events() {
    const wanted = (event) => this.kinds === "all" ? true : this.kinds === "problem" ? isProblem(event) : this.kinds === "evict" ? event.kind === "evict" : ["load", "transfer"].includes(event.kind);
    const shown = this.feed.events.filter((event) => wanted(event) && !isNoise(event)).slice(-SHOWN).reverse();
    return b2`<div class="events">
        <span class="muted">${this.t("timeline.events")}</span>
        <select aria-label=${this.t("timeline.kinds")} @change=${(event) => this.kinds = event.target.value}>
          ${["all", "load", "evict", "problem"].map((kind) => b2`<option value=${kind}>${this.t(`timeline.kind.${kind}`)}</option>`)}
        </select>
      </div>
      ${shown.length ? b2`<ol tabindex="0" aria-label=${this.t("timeline.events")}>
            ${shown.map(
      (event) => b2`<li data-kind=${event.kind}>
                <time class="muted">${clock(texts.locale, event.at_s)}</time><span class=${isProblem(event) ? "bad" : ""}>${eventText(event)}</span>
              </li>`
    )}
          </ol>` : b2`<p class="muted">${this.t("timeline.quiet")}</p>`}`;
  }
  render() {
    const evictions = this.feed.status?.totals["evictions"] ?? 0;
    const spoken = this.t("timeline.spoken", { peak: `${this.bytes(this.peak)}/s`, evictions: this.number(evictions) });
    const key = (line) => b2`<span class="key"><i style="--colour: var(${line.colour})"></i>${line.label}</span>`;
    const [rate2, tiers] = this.lines();
    return b2`<div class="bar">
        <span class="spans" role="group" aria-label=${this.t("timeline.span")}>
          ${SPANS.map((span) => b2`<button type="button" aria-pressed=${span === this.span} @click=${() => this.choose(span)}>${this.t(`timeline.${span}`)}</button>`)}
        </span>
        <span class="readout muted">${this.readout}</span>
      </div>
      <div class="halves">
      <div><p class="legend">${(rate2 ?? []).map(key)}<span class="key"><i class="mark"></i>${this.t("timeline.eviction")}</span></p>
      <div class="chart" role="img" aria-label=${spoken}></div>
      <p class="legend">${(tiers ?? []).map(key)}</p>
      <div class="chart" role="img" aria-label=${this.t("timeline.tiers")}></div></div>
      <div>${this.events()}</div></div>${A}`;
  }
};
define("modelstream-timeline", Timeline);

// web/src/panel.ts
var ICONS = {
  ok: ["check", "good"],
  warning: ["warning", "warn"],
  critical: ["warning", "bad"],
  off: ["info", "muted"]
};
function isDark(colour) {
  const [red = 255, green = 255, blue = 255] = (colour.match(/[\d.]+/g) ?? []).map((part) => Number(part) * (colour.startsWith("color(") ? 255 : 1));
  return 0.299 * red + 0.587 * green + 0.114 * blue < 128;
}
var Panel = class extends Part {
  constructor() {
    super();
    this.watch = new MutationObserver(() => this.readTheme());
    this.said = "";
  }
  static {
    this.properties = { ...Part.properties, theme: { reflect: true }, said: { state: true } };
  }
  static {
    this.styles = [
      tokens,
      Part.styles,
      i`
      :host {
        display: flex;
        flex-direction: column;
        height: 100%;
        min-width: 0;
        overflow-y: auto;
        background: var(--ms-bg);
        container-type: inline-size;
      }
      header {
        position: sticky;
        top: 0;
        z-index: 2;
        background: var(--ms-bg);
      }
      .bar {
        display: flex;
        align-items: center;
        gap: 2px;
        padding: 8px 8px 0 12px;
      }
      h2 {
        flex: 1;
        font-size: 15px;
        font-weight: 600;
      }
      .health {
        display: grid;
        grid-template-columns: 18px minmax(0, 1fr);
        gap: 6px;
        padding: 4px 12px 10px;
        overflow-wrap: anywhere;
      }
      .health svg {
        margin-top: 1px;
      }
      .banner {
        display: flex;
        align-items: center;
        gap: 8px;
        padding: 8px 12px;
        background: color-mix(in srgb, var(--ms-warn) 16%, var(--ms-bg));
      }
      .stale {
        filter: grayscale(1);
      }
      .origins {
        margin-top: 10px;
        font-size: 12px;
      }
      .origins li {
        display: grid;
        grid-template-columns: max-content minmax(0, 1fr);
        gap: 0 8px;
      }
      .origins li > :last-child {
        text-align: end;
        overflow-wrap: anywhere;
      }
      .locked {
        display: flex;
        flex-wrap: wrap;
        gap: 8px;
        padding: 12px;
      }
      .locked label,
      .locked p {
        flex-basis: 100%;
      }
      .locked input {
        flex: 1;
      }
      .pad {
        padding: 12px;
      }
      footer {
        margin-top: auto;
        padding: 10px 12px;
        border-top: 1px solid var(--ms-line);
        font-size: 12px;
      }
      @container (min-width: 900px) {
        .columns {
          display: grid;
          grid-template-columns: minmax(0, 1fr) minmax(0, 1fr);
        }
        .columns > .across {
          grid-column: 1 / -1;
        }
      }
    `
    ];
  }
  connectedCallback() {
    super.connectedCallback();
    for (const element of [document.documentElement, document.body]) this.watch.observe(element, { attributeFilter: ["class", "style"] });
    this.readTheme();
    this.actions.announce = (text) => this.said = text;
    this.actions.changed = () => this.renderRoot.querySelector("modelstream-models")?.refetch();
    this.feed.open();
  }
  disconnectedCallback() {
    super.disconnectedCallback();
    this.watch.disconnect();
    this.actions.changed = () => void 0;
    this.feed.close();
  }
  willUpdate(changes) {
    super.willUpdate(changes);
    this.lang = texts.locale;
  }
  /** Dark is what looks dark: not every frontend says it in a class, and palettes can be anything. */
  readTheme() {
    this.theme = isDark(getComputedStyle(this).backgroundColor) ? "dark" : "light";
  }
  sentence(health) {
    const values = { ...health.values };
    if (typeof values["rate_bytes_per_s"] === "number") values["rate"] = rate(texts.locale, values["rate_bytes_per_s"]);
    const alert = health.code === "alert" && this.feed.status?.alerts.active.find((one) => one.rule === values["rule"]);
    if (alert) return alertText(alert);
    if (typeof values["count"] === "number" && texts.has(`health.${health.code}.other`)) return this.n(`health.${health.code}`, values["count"], values);
    return texts.has(`health.${health.code}`) ? this.t(`health.${health.code}`, values) : health.text;
  }
  header() {
    const health = this.feed.status?.health;
    const [icon, tone] = ICONS[health?.level ?? "off"];
    return b2`<header>
      <div class="bar">
        <h2>Model Stream</h2>
        ${this.feed.status?.configured ? b2`<button class="icon" type="button" aria-label=${this.t("act.refresh")} title=${this.t("act.refresh")} @click=${() => this.actions.refresh()}>
              ${glyph("refresh")}
            </button>` : A}
      </div>
      ${health && !["away", "locked", "refused"].includes(this.feed.phase) ? b2`<p class="health"><span class=${tone}>${glyph(icon)}</span><span data-health=${health.code}>${this.sentence(health)}</span></p>` : A}
      ${this.feed.phase === "away" ? this.banner(this.t("phase.away")) : A}${this.feed.failure ? this.banner(reasonOf(this.feed.failure)) : A}
    </header>`;
  }
  banner(said) {
    return b2`<p class="banner" role="status" data-phase=${this.feed.phase}>${glyph("warning")}<span>${said}</span></p>`;
  }
  locked() {
    const unlock = (event) => {
      event.preventDefault();
      const form = event.target;
      this.feed.unlock(String(new FormData(form).get("token") ?? "").trim());
      form.reset();
    };
    if (this.feed.lock === "none") return b2`<p class="pad" data-lock="none">${this.t("phase.noToken")}</p>`;
    const wrong = this.feed.lock === "wrong";
    return b2`<form class="locked" data-lock=${this.feed.lock} @submit=${unlock}>
      <label for="token">${this.t("phase.locked")}</label>
      <input id="token" name="token" type="password" autocomplete="off" required minlength="32" aria-invalid=${wrong} aria-describedby="wrong" />
      <button type="submit">${this.t("phase.unlock")}</button>
      <p id="wrong" class="bad" role="alert">${wrong ? this.t("phase.wrongToken") : A}</p>
    </form>`;
  }
  origins() {
    const origins = this.feed.status?.origins ?? [];
    if (!origins.length) return A;
    return b2`<ul class="origins">
      ${origins.map((one) => {
      const said = one.error ? b2`<span class="bad">${texts.has(`error.${one.error.code}`) ? this.t(`error.${one.error.code}`) : one.error.message}</span>` : b2`<span class="muted"
              >${one.refreshing && !one.listed_s ? this.t("origin.listing") : one.listed_s ? this.t("origin.listed", { time: this.ago(one.listed_s) }) : this.t("origin.waiting")}${one.cut ? ` · ${this.t("origin.cut")}` : ""}${one.skipped ? ` · ${this.n("origin.skipped", one.skipped)}` : ""}</span
            >`;
      return b2`<li data-origin=${one.name}><span>${one.name}</span>${said}</li>`;
    })}
    </ul>`;
  }
  sections() {
    const status = this.feed.status;
    const part = { feed: this.feed, actions: this.actions };
    const count = (value) => value ? this.number(value) : "";
    const unfit = status.seams.filter((one) => one.state === "unfit").length;
    const on2 = status.seams.filter((one) => one.state === "on").length;
    const seams = unfit ? this.n("seams.unfitCount", unfit) : this.t("seams.onCount", { on: this.number(on2), all: this.number(status.seams.length) });
    const hitRate = status.savings?.hit_rate;
    return b2`<div class="columns ${this.feed.phase === "away" ? "stale" : ""}">
      ${status.alerts.active.length ? b2`<modelstream-section class="across" key="alerts" .heading=${this.t("alerts.heading")} .note=${count(status.alerts.active.length)}>
            <modelstream-alerts .feed=${part.feed} .actions=${part.actions}></modelstream-alerts>
          </modelstream-section>` : A}
      <modelstream-section key="tiers" .heading=${this.t("tiers.heading")}>
        <modelstream-tiers .feed=${part.feed} .actions=${part.actions}></modelstream-tiers>${this.origins()}
      </modelstream-section>
      <modelstream-section key="now" .heading=${this.t("now.heading")} .note=${count(status.transfers.length + this.feed.moreTransfers)}>
        <modelstream-now .feed=${part.feed} .actions=${part.actions}></modelstream-now>
      </modelstream-section>
      <modelstream-section class="across" key="models" .heading=${this.t("models.heading")}>
        <modelstream-models .feed=${part.feed} .actions=${part.actions}></modelstream-models>
      </modelstream-section>
      <modelstream-section key="gpu" .heading=${this.t("gpu.heading")}>
        <modelstream-gpus .feed=${part.feed} .actions=${part.actions}></modelstream-gpus>
      </modelstream-section>
      <modelstream-section key="savings" .heading=${this.t("savings.heading")} .note=${hitRate === null || hitRate === void 0 ? "" : this.percent(hitRate)}>
        <modelstream-savings .feed=${part.feed} .actions=${part.actions}></modelstream-savings>
      </modelstream-section>
      <modelstream-section class="across" key="timeline" .heading=${this.t("timeline.heading")}>
        <modelstream-timeline .feed=${part.feed} .actions=${part.actions} .theme=${this.theme}></modelstream-timeline>
      </modelstream-section>
      <modelstream-section key="prefetch" .heading=${this.t("prefetch.heading")}>
        <modelstream-prefetch .feed=${part.feed} .actions=${part.actions}></modelstream-prefetch>
      </modelstream-section>
      ${status.alerts.active.length ? A : b2`<modelstream-section key="alerts" .heading=${this.t("alerts.heading")}>
            <modelstream-alerts .feed=${part.feed} .actions=${part.actions}></modelstream-alerts>
          </modelstream-section>`}
      <modelstream-section key="seams" shut .heading=${this.t("seams.heading")} .note=${seams}>
        <modelstream-seams .feed=${part.feed} .actions=${part.actions}></modelstream-seams>
      </modelstream-section>
    </div>`;
  }
  body() {
    if (this.feed.phase === "locked") return this.locked();
    if (this.feed.phase === "missing") return b2`<p class="pad bad">${this.t("phase.missing")}</p>`;
    const status = this.feed.status;
    if (!status) return b2`<p class="pad muted">${this.feed.phase === "connecting" ? this.t("phase.connecting") : ""}</p>`;
    const working = status.configured && status.enabled && !(status.problem && !status.origins.length);
    if (!working) return b2`<modelstream-setup .feed=${this.feed} .actions=${this.actions}></modelstream-setup>`;
    return this.sections();
  }
  render() {
    return b2`${this.header()}${this.body()}
      <div class="hidden" aria-live="polite" aria-atomic="true">${this.said}</div>
      ${this.feed.status ? b2`<footer class="muted">Model Stream ${this.feed.status.version}</footer>` : A}`;
  }
};
define("modelstream-panel", Panel);

// web/src/main.ts
var TAB = "model-stream";
var NAME = "ModelStream";
var PROJECT_URL = "https://registry.comfy.org/nodes/model-stream";
var ADDRESS_OPENS = new URLSearchParams(location.search).get("model-stream") === "open";
var client = new Client(api);
var feed = new Feed(client, api);
var actions = new Actions(app, client);
var catalog = new Catalog(client, api);
var openGraph = new OpenGraph(app, api, client);
var SETTINGS = [
  {
    id: "ModelStream.Toasts",
    name: "Show a message when something critical happens",
    category: ["Model Stream", "Alerts", "Toasts"],
    type: "boolean",
    defaultValue: true
  },
  {
    id: "ModelStream.Badge",
    name: "Show running transfers and critical alerts on the sidebar icon",
    category: ["Model Stream", "Panel", "Badge"],
    type: "boolean",
    defaultValue: true
  },
  {
    id: "ModelStream.Labels",
    name: "Show where a model is and how big, in the lists of loader nodes",
    category: ["Model Stream", "Loaders", "Labels"],
    type: "boolean",
    defaultValue: true
  }
];
var COMMANDS = [
  { id: "ModelStream.TogglePanel", icon: "pi pi-cloud-download", label: "Toggle the Model Stream panel", function: () => openTab(app, TAB) },
  { id: "ModelStream.Refresh", icon: "pi pi-refresh", label: "Model Stream: list the buckets again", function: () => actions.refresh() },
  {
    id: "ModelStream.PausePrefetch",
    icon: "pi pi-pause",
    label: "Model Stream: pause or resume prefetching",
    function: async () => {
      await feed.refreshStatus();
      await actions.pausePrefetch(!(feed.status?.prefetch?.paused ?? false));
    }
  }
];
function badge() {
  if (!setting(app, "ModelStream.Badge", true)) return null;
  if (alerts.size || feed.phase === "live" && feed.status?.alerts.critical) return "!";
  const moving = feed.phase === "live" ? (feed.status?.transfers.length ?? 0) + feed.moreTransfers : 0;
  return moving ? String(moving) : null;
}
var alerts = /* @__PURE__ */ new Map();
function onAlert(alert) {
  const key = `${alert.rule} ${alert.subject}`;
  const known = alerts.has(key);
  if (alert.active) alerts.set(key, alert);
  else alerts.delete(key);
  setBadge(app, TAB, badge());
  if (!alert.active || known || !setting(app, "ModelStream.Toasts", true)) return;
  actions.announce(`${alertText(alert)} ${alertAdvice(alert)}`);
  toast(app, { severity: "error", summary: alertText(alert), detail: alertAdvice(alert), life: 15e3 });
}
function registerTab() {
  let panel;
  app.extensionManager.registerSidebarTab({
    id: TAB,
    icon: "pi pi-cloud-download",
    title: "Model Stream",
    tooltip: "Model Stream",
    label: "Stream",
    type: "custom",
    iconBadge: badge,
    render(container) {
      container.style.height = "100%";
      panel = document.createElement("modelstream-panel");
      panel.feed = feed;
      panel.actions = actions;
      container.replaceChildren(panel);
    },
    destroy() {
      panel?.remove();
      panel = void 0;
    }
  });
}
app.registerExtension({
  name: NAME,
  settings: SETTINGS,
  commands: COMMANDS,
  keybindings: [{ combo: { key: "b", alt: true, shift: true }, commandId: "ModelStream.TogglePanel" }],
  menuCommands: [{ path: ["Extensions", "Model Stream"], commands: COMMANDS.map((one) => one.id) }],
  aboutPageBadges: [{ label: "Model Stream", url: PROJECT_URL, icon: "pi pi-cloud-download" }],
  async setup() {
    await texts.load(app, api);
    registerTab();
    feed.subscribe(() => {
      setBadge(app, TAB, badge());
      catalog.follow(feed.status?.generation);
    });
    feed.onAlert(onAlert);
    if (ADDRESS_OPENS) openTab(app, TAB, true);
    void openGraph.start();
  },
  afterConfigureGraph() {
    openGraph.opened();
  },
  nodeCreated(node) {
    labelCombos(app, node, catalog);
    sign(node);
  },
  getNodeMenuItems(node) {
    return menuOf(app, node, catalog, actions);
  }
});
