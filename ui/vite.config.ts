import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

/** Where `npm run dev` finds the API: a server of Flywheel. */
const api = process.env.FLYWHEEL_API ?? "http://127.0.0.1:8700";

export default defineConfig({
  plugins: [react()],
  server: { proxy: { "/v1": { target: api, changeOrigin: false } } },
  build: {
    target: "es2022",
    // The pages' security policy allows no inline script; the polyfill would be one more request for old browsers only.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 900,
    // What `scripts/size.mjs` reads to know which files the first page loads.
    manifest: true,
    // Whose work the pages contain, and under which terms; served beside them.
    license: { fileName: "licenses.txt" },
    // Parts of Ant Design whose packages do not say that they only export: of forms, the first page needs one context.
    rolldownOptions: { treeshake: { moduleSideEffects: [{ test: /node_modules\/@(rc-component|ant-design)\//, sideEffects: false }] } },
  },
});
