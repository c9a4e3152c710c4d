// What we use of ComfyUI's frontend, as types, and the few calls whose name or shape differs between its versions.
// Everything optional here is missing in some version from 1.28 on; without it the panel goes on without that nicety.

export interface SidebarTab {
  id: string;
  icon: string;
  title: string;
  tooltip: string;
  label?: string;
  type: "custom";
  iconBadge?: string | (() => string | null);
  render(container: HTMLElement): void;
  destroy?(): void;
}

export type Severity = "success" | "info" | "warn" | "error";

export interface ToastMessage {
  severity: Severity;
  summary: string;
  detail?: string;
  life?: number;
}

export interface ConfirmOptions {
  title: string;
  message?: string;
  type?: "default" | "delete" | "overwrite";
  itemList?: string[];
  hint?: string;
}

export interface ExtensionManager {
  registerSidebarTab(tab: SidebarTab): void;
  getSidebarTabs?(): SidebarTab[];
  sidebarTab?: { activeSidebarTabId?: string | null; toggleSidebarTab?(id: string): void };
  toast?: { add?(message: ToastMessage): void };
  setting?: { get?(id: string): unknown; set?(id: string, value: unknown): Promise<void> | void };
  command?: { execute?(id: string): Promise<void> | void };
  dialog?: { confirm?(options: ConfirmOptions): Promise<boolean | null> };
}

export interface Widget {
  name: string;
  value: unknown;
  type?: string;
  options?: { values?: unknown; getOptionLabel?: (value?: string | null) => string };
}

export interface GraphNode {
  id: number | string;
  comfyClass?: string;
  title?: string;
  widgets?: Widget[];
}

export interface App {
  registerExtension(extension: object): void;
  extensionManager: ExtensionManager;
  graph?: { _nodes?: GraphNode[]; setDirtyCanvas?(foreground: boolean, background: boolean): void };
  refreshComboInNodes?(): Promise<void>;
  graphToPrompt?(): Promise<{ output: Record<string, { class_type: string; inputs: Record<string, unknown> }> }>;
}

export interface Api {
  clientId?: string;
  fetchApi(route: string, options?: RequestInit): Promise<Response>;
  addEventListener(type: string, listener: (event: CustomEvent) => void): void;
  removeEventListener(type: string, listener: (event: CustomEvent) => void): void;
}

/** A setting's value, or `otherwise` where the frontend has no such setting. */
export function setting<T>(app: App, id: string, otherwise: T): T {
  try {
    const value = app.extensionManager.setting?.get?.(id);
    return value === undefined || value === null ? otherwise : (value as T);
  } catch {
    return otherwise; // older frontends throw for a setting that is not registered
  }
}

/** A toast; false where the frontend has none, so that the caller can say it in another place. */
export function toast(app: App, message: ToastMessage): boolean {
  const add = app.extensionManager.toast?.add;
  if (!add) return false;
  app.extensionManager.toast?.add?.(message);
  return true;
}

/** Asks in ComfyUI's own dialog where there is one, else in the browser's. */
export async function confirmed(app: App, options: ConfirmOptions): Promise<boolean> {
  if (app.extensionManager.dialog?.confirm) return (await app.extensionManager.dialog.confirm(options)) === true;
  return window.confirm([options.title, options.message, ...(options.itemList ?? []), options.hint].filter(Boolean).join("\n"));
}

/** Puts a text on the tab's icon.  The tabs are reactive in the frontend, so a write to the registered one shows at once. */
export function setBadge(app: App, id: string, text: string | null): void {
  const tab = app.extensionManager.getSidebarTabs?.().find((one) => one.id === id);
  if (tab && tab.iconBadge !== (text ?? "")) tab.iconBadge = text ?? "";
}

export function openTab(app: App, id: string, open?: boolean): void {
  const bar = app.extensionManager.sidebarTab;
  const isOpen = bar?.activeSidebarTabId === id;
  if (open !== undefined && open === isOpen) return;
  if (bar?.toggleSidebarTab) bar.toggleSidebarTab(id);
  else void app.extensionManager.command?.execute?.(`Workspace.ToggleSidebarTab.${id}`);
}
