// A sign on each of our nodes that says what it does: drawn by the frontend as a badge above the title, from the icon font that
// it brings.  Frontends without such badges show the node without it.

import type { GraphNode } from "./comfy";

/** PrimeIcons' code points: cloud-download, cloud-upload, bolt, hourglass, thumbtack, trash, folder-open, chart-bar, list, image, images, calculator */
const SIGNS: Record<string, string> = {
  ModelStreamLoadCheckpoint: "\ue943",
  ModelStreamLoadCheckpointFit: "\ue943",
  ModelStreamLoadDiffusionFit: "\ue943",
  ModelStreamSaveCheckpoint: "\ue944",
  ModelStreamSaveLora: "\ue944",
  ModelStreamSaveImages: "\ue973",
  ModelStreamLoadImage: "\ue972",
  ModelStreamPrefetch: "\ue9db",
  ModelStreamWait: "\ue9fe",
  ModelStreamPin: "\uea25",
  ModelStreamEvict: "\ue93d",
  ModelStreamBrowser: "\ue964",
  ModelStreamStatus: "\ue96d",
  ModelStreamWarmSet: "\ue967",
  ModelStreamMemoryEstimate: "\ue9ef",
};

type Badge = new (options: object) => object;

export function sign(node: object): void {
  const { comfyClass = "", badges } = node as GraphNode & { badges?: unknown[] };
  const unicode = SIGNS[comfyClass];
  const LGraphBadge = (window as { LGraphBadge?: Badge }).LGraphBadge;
  if (unicode === undefined || !LGraphBadge || !Array.isArray(badges)) return;
  badges.push(new LGraphBadge({ text: "", bgColor: "#1769d2", iconOptions: { unicode, fontFamily: "PrimeIcons", color: "#fff", fontSize: 12 } }));
}
