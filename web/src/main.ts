// What ComfyUI loads: registers the sidebar tab, commands, settings and the rest, each only where the frontend has a place for it.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { Actions } from "./actions";
import { alertAdvice, alertText } from "./alerts";
import { Client } from "./client";
import { openTab, setBadge, setting, toast } from "./comfy";
import type { Alert } from "./contract";
import { Feed } from "./feed";
import { texts } from "./i18n";
import { labelCombos, menuOf } from "./loaders";
import { Catalog } from "./catalog";
import { sign } from "./node-icons";
import { OpenGraph } from "./open-graph";
import type { Panel } from "./panel";
import "./panel";

const TAB = "model-stream";
const NAME = "ModelStream";
const PROJECT_URL = "https://registry.comfy.org/nodes/model-stream";

/** An address that ends in ?model-stream=open shows the panel at once: read before the frontend's router tidies it away. */
const ADDRESS_OPENS = new URLSearchParams(location.search).get("model-stream") === "open";

const client = new Client(api);
const feed = new Feed(client, api);
const actions = new Actions(app, client);
const catalog = new Catalog(client, api);
const openGraph = new OpenGraph(app, api, client);

const SETTINGS = [
  {
    id: "ModelStream.Toasts",
    name: "Show a message when something critical happens",
    category: ["Model Stream", "Alerts", "Toasts"],
    type: "boolean",
    defaultValue: true,
  },
  {
    id: "ModelStream.Badge",
    name: "Show running transfers and critical alerts on the sidebar icon",
    category: ["Model Stream", "Panel", "Badge"],
    type: "boolean",
    defaultValue: true,
  },
  {
    id: "ModelStream.Labels",
    name: "Show where a model is and how big, in the lists of loader nodes",
    category: ["Model Stream", "Loaders", "Labels"],
    type: "boolean",
    defaultValue: true,
  },
];

const COMMANDS = [
  { id: "ModelStream.TogglePanel", icon: "pi pi-cloud-download", label: "Toggle the Model Stream panel", function: () => openTab(app, TAB) },
  { id: "ModelStream.Refresh", icon: "pi pi-refresh", label: "Model Stream: list the buckets again", function: () => actions.refresh() },
  {
    id: "ModelStream.PausePrefetch",
    icon: "pi pi-pause",
    label: "Model Stream: pause or resume prefetching",
    function: async () => {
      await feed.refreshStatus();
      await actions.pausePrefetch(!(feed.status?.prefetch?.paused ?? false));
    },
  },
];

/** Transfers and critical alerts as a number; nothing to count, no badge. */
function badge(): string | null {
  if (!setting(app, "ModelStream.Badge", true)) return null;
  if (alerts.size || (feed.phase === "live" && feed.status?.alerts.critical)) return "!";
  const moving = feed.phase === "live" ? (feed.status?.transfers.length ?? 0) + feed.moreTransfers : 0;
  return moving ? String(moving) : null;
}

const alerts = new Map<string, Alert>();

function onAlert(alert: Alert): void {
  const key = `${alert.rule} ${alert.subject}`;
  const known = alerts.has(key);
  if (alert.active) alerts.set(key, alert);
  else alerts.delete(key);
  setBadge(app, TAB, badge());
  if (!alert.active || known || !setting(app, "ModelStream.Toasts", true)) return;
  actions.announce(`${alertText(alert)} ${alertAdvice(alert)}`);
  toast(app, { severity: "error", summary: alertText(alert), detail: alertAdvice(alert), life: 15_000 });
}

function registerTab(): void {
  let panel: Panel | undefined;
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
      panel = document.createElement("modelstream-panel") as Panel;
      panel.feed = feed;
      panel.actions = actions;
      container.replaceChildren(panel);
    },
    destroy() {
      panel?.remove();
      panel = undefined;
    },
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
  nodeCreated(node: object) {
    labelCombos(app, node, catalog);
    sign(node);
  },
  getNodeMenuItems(node: object) {
    return menuOf(app, node, catalog, actions);
  },
});
