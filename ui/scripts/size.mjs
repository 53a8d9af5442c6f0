// Fails when the pages are heavier than promised: 250 kB for the first page, 1.2 MB in all, both packed with gzip.
import { readFileSync, readdirSync } from "node:fs";
import { gzipSync } from "node:zlib";

const dist = new URL("../dist/", import.meta.url);
const packed = (file) => gzipSync(readFileSync(new URL(file, dist)), { level: 9 }).length;
const manifest = JSON.parse(readFileSync(new URL(".vite/manifest.json", dist), "utf8"));
/** Everything that is loaded for a part of the source: its own chunk and what that imports at once. */
const needs = (part, files = new Set(["index.html"]), seen = new Set()) => {
  const visit = (key) => {
    if (seen.has(key)) return;
    seen.add(key);
    const chunk = manifest[key];
    files.add(chunk.file);
    for (const css of chunk.css ?? []) files.add(css);
    for (const next of chunk.imports ?? []) visit(next);
  };
  for (const key of ["index.html", part]) visit(key);
  return files;
};
const all = readdirSync(new URL("assets/", dist)).filter((f) => /\.(js|css)$/.test(f)).map((f) => `assets/${f}`);
const sum = (files) => [...files].reduce((total, file) => total + packed(file), 0);
const report = [
  ["Home, signed in", sum(needs("src/pages/home/Home.tsx")), 250_000],
  ["signing in", sum(needs("src/shell/Gate.tsx")), 250_000],
  ["all", sum(all), 1_200_000],
];
for (const [what, size, limit] of report) console.log(`${what}: ${(size / 1000).toFixed(1)} kB gzip (limit ${limit / 1000} kB)`);
if (report.some(([, size, limit]) => size > limit)) {
  console.error("The pages are too heavy: load a part later, or leave a package out.");
  process.exit(1);
}
