// Loader nodes: their lists show where a remote model is and how big (the values, and so saved workflows, stay as they are), and
// their context menu fetches, pins and tells where a model is.

import type { Actions } from "./actions";
import { isLoaderInput, type Catalog } from "./catalog";
import { setting, type App, type GraphNode, type Widget } from "./comfy";
import type { Row } from "./contract";
import { shortFit } from "./fit";
import { texts } from "./i18n";
import { bytes, visible } from "./units";

interface MenuItem {
  content: string;
  callback?: () => void;
  submenu?: { options: MenuItem[] };
}

const drawn = new WeakSet<App>();

/** "☁ sdxl.safetensors · 6.9 GB · SSD" */
export function labelOf(row: Row): string {
  const nearest = row.tiers[0];
  const fit = shortFit(row.fit);
  return ["☁ " + visible(row.name), bytes(texts.locale, row.size_bytes), ...(nearest ? [texts.get(`tier.${nearest}`)] : []), ...(fit ? [fit] : [])].join(" · ");
}

function listsNames(widget: Widget): boolean {
  const values = widget.options?.values;
  const some = Array.isArray(values) ? values : [];
  if (widget.type !== "combo") return false;
  return isLoaderInput(widget.name) || some.some((value) => typeof value === "string" && /\.[a-z0-9]{2,12}$/i.test(value));
}

export function labelCombos(app: App, node: object, catalog: Catalog): void {
  if (!drawn.has(app)) {
    drawn.add(app);
    catalog.onChange(() => app.graph?.setDirtyCanvas?.(true, true));
  }
  for (const widget of (node as GraphNode).widgets ?? []) {
    if (!widget.options || !listsNames(widget) || widget.options.getOptionLabel) continue;
    widget.options.getOptionLabel = (value) => {
      const name = String(value ?? "");
      const row = setting(app, "ModelStream.Labels", true) ? catalog.find(name, widget.name) : undefined;
      if (row && widget.value === value) catalog.askFit(row);
      return row ? labelOf(row) : name;
    };
  }
}

function remoteModels(node: GraphNode, catalog: Catalog): Row[] {
  const found = (node.widgets ?? []).map((widget) => (typeof widget.value === "string" ? catalog.find(widget.value, widget.name) : undefined));
  return found.filter((row): row is Row => row !== undefined);
}

function whereIs(row: Row): string {
  const places = row.tiers.map((tier) => texts.get(`tier.${tier}`));
  if (row.listed) places.push(texts.get("menu.inBucket", { origin: row.origin }));
  return `${places.join(", ")} · ${bytes(texts.locale, row.size_bytes)}`;
}

export function menuOf(_app: App, node: object, catalog: Catalog, actions: Actions): MenuItem[] {
  const rows = remoteModels(node as GraphNode, catalog);
  return rows.map((row) => ({
    content: `Model Stream: ${visible(row.name)}`,
    submenu: {
      options: [
        { content: texts.get("menu.prefetch"), callback: () => void actions.prefetch([row]) },
        { content: texts.get(row.pinned ? "menu.unpin" : "menu.pin"), callback: () => void actions.pin([row], !row.pinned) },
        { content: texts.get("menu.where"), callback: () => actions.say("info", visible(row.name), whereIs(row)) },
      ],
    },
  }));
}
