//! Whole builds over a temporary lake: what readers see before, during and after.

mod asking;
mod bakery;
mod changes;
mod columns;
mod dbt;
mod environments;
mod increments;
mod intervals;
mod measured;
mod precision;
mod shop;
mod trials;
