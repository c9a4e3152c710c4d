// Builds web/modelstream.js, the one file that ComfyUI loads (it loads every *.js under web/, so nothing else there ends in .js).
//   node web/src/build.mjs [OUTPUT]
// Not minified: what is shipped can be read, and reviewed.  The same sources give the same bytes on every platform.
import { build } from "esbuild";
import { fileURLToPath } from "node:url";
import { dirname, join } from "node:path";

const here = dirname(fileURLToPath(import.meta.url));
const root = dirname(dirname(here));

await build({
  absWorkingDir: root,
  entryPoints: ["web/src/main.ts"],
  outfile: process.argv[2] ?? join(root, "web", "modelstream.js"),
  bundle: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "inline",
  external: ["../../scripts/app.js", "../../scripts/api.js"],
  loader: { ".css": "text" },
  banner: { js: "// Built from web/src by web/src/build.mjs: change it there." },
  logLevel: "warning",
});
