//! Whole builds over a temporary lake: what readers see before, during and after.

mod changes;
mod columns;
mod increments;
mod shop;
mod trials;
