// What every part of the panel is made from: it knows the feed and the actions, follows the feed, and speaks the user's language.

import { LitElement, type CSSResultGroup } from "lit";
import type { Actions } from "./actions";
import { Follows, type Feed } from "./feed";
import { texts } from "./i18n";
import { base } from "./styles";
import * as units from "./units";

export class Part extends LitElement {
  static override properties: Record<string, object> = { feed: { attribute: false }, actions: { attribute: false } };
  static override styles: CSSResultGroup = base;
  declare feed: Feed;
  declare actions: Actions;

  constructor() {
    super();
    new Follows(this);
  }

  protected t = (key: string, values?: Record<string, string | number>) => texts.get(key, values);
  protected n = (key: string, count: number, values?: Record<string, string | number>) => texts.count(key, count, values);
  protected bytes = (value: number) => units.bytes(texts.locale, value);
  protected duration = (seconds: number) => units.duration(texts.locale, seconds);
  protected number = (value: number, fraction = 0) => units.number(texts.locale, value, fraction);
  protected percent = (share: number) => units.percent(texts.locale, share);
  protected ago = (then: number) => units.ago(texts.locale, then, this.feed.now());
}

/** Defines an element once: a second copy of the extension (a renamed folder left behind) must not throw. */
export function define(name: string, element: CustomElementConstructor): void {
  if (!customElements.get(name)) customElements.define(name, element);
}

/** What the panel remembers in this browser: which sections are open, how the table is sorted. */
export function remembered<T>(key: string, otherwise: T): T {
  try {
    const text = localStorage.getItem(`modelstream.${key}`);
    return text === null ? otherwise : (JSON.parse(text) as T);
  } catch {
    return otherwise;
  }
}

export function remember(key: string, value: unknown): void {
  try {
    localStorage.setItem(`modelstream.${key}`, JSON.stringify(value));
  } catch {
    // a browser that keeps nothing: the panel works, with its defaults
  }
}
