// What ComfyUI serves beside us, and files that the build takes in as text.
declare module "*/scripts/app.js" {
  export const app: import("./comfy").App;
}
declare module "*/scripts/api.js" {
  export const api: import("./comfy").Api;
}
declare module "*.css" {
  const text: string;
  export default text;
}
