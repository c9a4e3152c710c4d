// One event as one sentence in the user's language; a kind that this panel does not know is told in the server's words.

import type { Event } from "./contract";
import { texts } from "./i18n";
import { bytes, duration, visible } from "./units";

const PROBLEMS = new Set(["load_failed", "corruption", "degraded", "restore_failed", "class_failed", "catalog", "alert"]);
const PROBLEM_REASONS = new Set(["execution error", "prefetch failed", "seam unfit"]);

export function isProblem(event: Event): boolean {
  return PROBLEMS.has(event.kind) || PROBLEM_REASONS.has(`${event.kind} ${event.reason}`);
}

/** Not worth a line: a transfer that ended before it began (the same bytes were here under another name, or nobody waited). */
export function isNoise(event: Event): boolean {
  return event.kind === "transfer" && event.reason === event.subject;
}

export function reasonText(reason: string): string {
  return texts.has(`reason.${reason}`) ? texts.get(`reason.${reason}`) : visible(reason);
}

export function eventText(event: Event): string {
  const key = [`event.${event.kind}_${event.reason}`, `event.${event.kind}`].find((one) => texts.has(one));
  if (key === undefined || (!event.name && texts.get(key).includes("{name}"))) return visible(event.text);
  if (event.kind === "transfer" && event.reason !== "finished") return visible(event.text);
  const tier = texts.has(`place.${event.tier}`) ? texts.get(`place.${event.tier}`) : event.tier;
  const facts: string[] = [];
  if (event.size_bytes) facts.push(bytes(texts.locale, event.size_bytes));
  if (event.seconds) facts.push(duration(texts.locale, event.seconds));
  if (event.kind === "evict" && event.reason) facts.push(reasonText(event.reason));
  const said = texts.get(key, { name: visible(event.name), tier });
  return facts.length ? `${said} (${facts.join(", ")})` : said;
}
