// Numbers as people read them.  Decimal units (1 GB = 1,000,000,000 bytes), as on the box of a disk; pure functions.

const BYTE_UNITS = ["B", "kB", "MB", "GB", "TB", "PB"] as const;

function digits(value: number): number {
  return value >= 100 || Number.isInteger(value) ? 0 : value >= 10 ? 1 : 2;
}

export function number(locale: string, value: number, fraction = 0): string {
  return new Intl.NumberFormat(locale, { maximumFractionDigits: fraction, minimumFractionDigits: 0 }).format(value);
}

/** "6.94 GB"; three significant digits, never "1000 MB". */
export function bytes(locale: string, value: number): string {
  let scaled = Math.max(0, value);
  let unit = 0;
  while (scaled >= 999.5 && unit < BYTE_UNITS.length - 1) {
    scaled /= 1000;
    unit += 1;
  }
  return `${number(locale, scaled, unit === 0 ? 0 : digits(scaled))}\u00a0${BYTE_UNITS[unit]}`;
}

/** "3.1 of 6.9 GB" wants both numbers in the unit of the larger. */
export function bytesPair(locale: string, part: number, whole: number): [string, string] {
  let unit = 0;
  let scaled = Math.max(part, whole, 0);
  while (scaled >= 999.5 && unit < BYTE_UNITS.length - 1) {
    scaled /= 1000;
    unit += 1;
  }
  const divisor = 1000 ** unit;
  const fraction = unit === 0 ? 0 : scaled >= 100 ? 0 : 1;
  return [number(locale, part / divisor, fraction), `${number(locale, whole / divisor, fraction)}\u00a0${BYTE_UNITS[unit]}`];
}

export function rate(locale: string, bytesPerSecond: number): string {
  return `${bytes(locale, bytesPerSecond)}/s`;
}

/** "4 s", "3 min", "2 h", "5 d": one unit, rounded. */
export function duration(locale: string, seconds: number): string {
  const unit = (value: number, name: string, fraction = 0) =>
    new Intl.NumberFormat(locale, { style: "unit", unit: name, unitDisplay: "short", maximumFractionDigits: fraction }).format(value);
  if (seconds > 0 && seconds < 0.0005) return `<\u00a0${unit(1, "millisecond")}`;
  if (seconds < 0.9995) return unit(Math.round(seconds * 1000), "millisecond");
  if (seconds < 10) return unit(seconds, "second", 1);
  if (seconds < 99.5) return unit(Math.round(seconds), "second");
  if (seconds < 99.5 * 60) return unit(Math.round(seconds / 60), "minute");
  if (seconds < 47.5 * 3600) return unit(Math.round(seconds / 3600), "hour");
  return unit(Math.round(seconds / 86400), "day");
}

const AGO: readonly [Intl.RelativeTimeFormatUnit, number][] = [
  ["year", 31557600],
  ["month", 2629800],
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
];

/** "3 hours ago"; `now` and `then` in seconds since 1970. */
export function ago(locale: string, then: number, now: number): string {
  const past = Math.max(0, now - then);
  const format = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "narrow" });
  for (const [unit, size] of AGO) if (past >= size) return format.format(-Math.floor(past / size), unit);
  return format.format(past < 5 ? 0 : -Math.floor(past), "second");
}

export function clock(locale: string, then: number): string {
  return new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" }).format(then * 1000);
}

export function percent(locale: string, share: number): string {
  return new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: share > 0 && share < 0.1 ? 1 : 0 }).format(share);
}

export function money(locale: string, value: number, currency: string): string {
  try {
    const precise = value !== 0 && Math.abs(value) < 0.1 ? { maximumSignificantDigits: 2 } : { maximumFractionDigits: value >= 100 ? 0 : 2 };
    return new Intl.NumberFormat(locale, { style: "currency", currency, ...precise }).format(value);
  } catch {
    return `${number(locale, value, 2)} ${currency}`; // not a currency code that the browser knows
  }
}

/** Names come from a bucket, written by anybody: what turns text around or hides in it is shown as a visible escape. */
export function visible(name: string): string {
  return name.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g, (one) => {
    if (one === "\n") return "⏎";
    return `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}
