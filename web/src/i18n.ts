// Texts.  English is part of the bundle; the other languages come from locales/ through ComfyUI's own /i18n, in the language
// that the user chose in ComfyUI.  A text that a language lacks is shown in English.

import english from "../../locales/en/main.json";
import type { Api, App } from "./comfy";
import { setting } from "./comfy";

type Tree = { [key: string]: string | Tree };

function lookUp(tree: Tree | undefined, path: string): string | undefined {
  let at: string | Tree | undefined = tree;
  for (const key of path.split(".")) at = typeof at === "object" ? at[key] : undefined;
  return typeof at === "string" ? at : undefined;
}

export class Texts {
  locale = "en";
  private chosen: Tree | undefined;

  async load(app: App, api: Api): Promise<void> {
    const wanted = setting<string>(app, "Comfy.Locale", "en");
    if (wanted.split("-")[0] === "en") return;
    try {
      const all = (await (await api.fetchApi("/i18n")).json()) as Record<string, Tree>;
      const found = all[wanted] ?? all[wanted.split("-")[0] ?? ""];
      if (typeof found?.["modelStream"] === "object") {
        this.chosen = found["modelStream"];
        this.locale = wanted;
      }
    } catch {
      // a server without /i18n (or that is away just now): English
    }
  }

  /** The text of a dotted key; `{name}` in it is replaced.  A key that no language has is returned as it is. */
  get(key: string, values: Record<string, string | number> = {}): string {
    const text = lookUp(this.chosen, key) ?? lookUp(english.modelStream, key) ?? key;
    return text.replace(/\{(\w+)\}/g, (whole, name: string) => (name in values ? String(values[name]) : whole));
  }

  /** Whether there is such a text: codes from the server (alerts, reasons) have one where they are known. */
  has(key: string): boolean {
    return (lookUp(this.chosen, key) ?? lookUp(english.modelStream, key)) !== undefined;
  }

  /** `key.one`, `key.few`, `key.many` or `key.other`, whichever the language wants for this count. */
  count(key: string, count: number, values: Record<string, string | number> = {}): string {
    const form = new Intl.PluralRules(this.locale).select(count);
    const shown = { n: new Intl.NumberFormat(this.locale).format(count), ...values };
    return this.has(`${key}.${form}`) ? this.get(`${key}.${form}`, shown) : this.get(`${key}.other`, shown);
  }
}

export const texts = new Texts();
