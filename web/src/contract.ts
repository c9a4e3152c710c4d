// What the server says, word for word as docs/routes.md has it.  null: not known, or not available on this device.

export type TierName = "vram" | "ram" | "ssd";
export type Where = TierName | "bucket";

export interface Health {
  level: "ok" | "warning" | "critical" | "off";
  code: string;
  text: string;
  values?: Record<string, string | number>;
}

export interface Tier {
  budget_bytes: number | null;
  used_bytes: number;
  leased_bytes: number;
  pinned_bytes: number;
  reserved_bytes: number;
  entries: number;
  writable: boolean;
  adjustable: boolean;
}

export interface Tiers {
  vram?: Tier | null;
  ram?: Tier | null;
  ssd?: Tier | null;
  bucket?: { entries: number; used_bytes: number };
  loading?: string[];
  restoring?: { subject: string; left_s: number | null }[];
}

export interface Transfer {
  id: number;
  digest: string;
  subject: string;
  name: string;
  folder: string;
  origin: string;
  size_bytes: number;
  done_bytes: number;
  rate_bytes_per_s: number;
  eta_s: number | null;
  connections: number;
  state: string;
  source: string;
  priority: "foreground" | "queued" | "background";
  reason: string;
  waiting_nodes: { prompt: string; node: string }[];
}

export interface Gpu {
  index: number;
  name: string;
  vendor: string;
  state: "ok" | "lost" | "unavailable";
  memory_used_bytes: number | null;
  memory_total_bytes: number | null;
  utilization_percent: number | null;
  temperature_c: number | null;
  power_w: number | null;
  power_limit_w: number | null;
  processes: number | null;
}

export interface Queue {
  pending: number | null;
  running: number | null;
  execution: null | { prompt: string; node: string | null; since_s: number };
}

export type Totals = Record<string, number>;

export interface Sum {
  seconds: number;
  bytes: number;
  money: number | null;
}

export interface Savings {
  currency: string;
  today: Sum;
  week: Sum;
  total: Sum;
  hit_rate: number | null;
  hits: Partial<Record<TierName, number>>;
  misses: number;
}

export interface Alert {
  rule: string;
  severity: "warning" | "critical";
  component: string;
  subject: string;
  since_s: number;
  cleared_s?: number;
  value: number | null;
  threshold: number | null;
  unit: string;
  message: string;
  recommendation: string;
  active: boolean;
}

export interface Prefetch {
  accuracy: number | null;
  useful: number;
  late: number;
  wasted: number;
  plan: { digest: string; name: string; folder: string; size_bytes: number; reason: string; probability: number | null }[];
  paused: boolean;
  open_graph?: boolean;
}

export interface OriginState {
  name: string;
  objects: number;
  skipped: number;
  cut: boolean;
  listed_s: number | null;
  refreshing: boolean;
  error: null | { code: string; message: string };
}

export interface Seam {
  name: string;
  state: "on" | "off" | "unfit";
  reason: string;
}

export interface Event {
  seq: number;
  at_s: number;
  kind: string;
  name: string;
  subject: string;
  tier: string;
  size_bytes: number | null;
  seconds: number | null;
  reason: string;
  text: string;
}

export interface Status {
  version: string;
  now_s: number;
  configured: boolean;
  enabled: boolean;
  problem: string;
  setup?: { file: string; found: boolean; lines: string };
  health: Health;
  tiers: Tiers;
  transfers: Transfer[];
  gpus: Gpu[] | null;
  on_devices: DeviceModels[];
  queue: Queue;
  totals: Totals;
  savings: Savings;
  alerts: { active: Alert[]; critical: number };
  generation: number;
  origins: OriginState[];
  seams: Seam[];
  prefetch: Prefetch | null;
}

export interface Tick {
  kind: "tick";
  seq: number;
  now_s: number;
  health: Health;
  tiers: Tiers;
  transfers: Transfer[];
  more_transfers: number;
  gpus: Gpu[] | null;
  on_devices: DeviceModels[];
  queue: Queue;
  totals: Totals;
  hit_rate: number | null;
  alerts: { active: number; critical: number };
  generation: number;
  last_event: number;
  events: Event[];
}

export interface AlertMessage {
  kind: "alert";
  alert: Alert;
}

export interface Row {
  digest: string;
  name: string;
  folder: string;
  origin: string;
  size_bytes: number;
  modified_s: number | null;
  tiers: TierName[];
  uses: number;
  last_used_s: number | null;
  saved_s: number | null;
  pinned: boolean;
  leased: boolean;
  loading: boolean;
  storage_class: string;
  listed: boolean;
  /** whether it fits, where that was asked before; null: not asked yet, or no folder of which anybody could say */
  fit: Verdict | null;
}

export interface Verdict {
  kind: "whole" | "evict" | "offload" | "no" | "unknown";
  device: string;
  needed_bytes: number;
  left_bytes: number;
  going: string[];
  freed_bytes: number;
  offload_bytes: number;
  step_seconds: number | null;
  missing_bytes: number;
  reason: string;
}

export interface FitAnswer {
  estimate: { architecture: string | null; problem: string; loaded_bytes: number; peak_bytes: number | null };
  verdict: Verdict;
}

export interface DeviceModels {
  device: string;
  bytes: Record<string, Record<string, number>>;
  models_bytes: number;
  offloaded_bytes: number;
  saved_bytes: number;
  largest_free_bytes: number | null;
}

export interface ModelsPage {
  total: number;
  all: number;
  generation: number;
  folders: { folder: string; count: number }[];
  rows: Row[];
}

export interface Series {
  span: string;
  step_s: number;
  from_s: number;
  to_s: number;
  series: Record<string, { kind: "gauge" | "sum"; unit: string; points: [number, number][] }>;
}

export interface Cost {
  currency: string;
  gpu_price_per_hour: number | null;
  today: number | null;
  projected_month: number | null;
  per_execution: number | null;
}

export interface Executions {
  count: number;
  percentiles: { p50_s: number; p95_s: number; p99_s: number } | null;
}

export interface EvictAnswer {
  freed_bytes: number;
  results: { digest: string; freed: Partial<Record<TierName, number>>; refused: Partial<Record<TierName, string>> }[];
}

export interface RoomPlan {
  tier: string;
  needed_bytes: number;
  free_bytes: number;
  enough: boolean;
  going: { digest: string; name: string; size_bytes: number; reason: string; last_used_s: number | null }[];
  freed_bytes: number;
}

export interface ClearQuestion {
  confirm: string;
  entries: number;
  size_bytes: number;
}
