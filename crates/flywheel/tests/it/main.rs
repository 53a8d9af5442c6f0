//! What a user does with a project, through the binary: the one integration target.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may panic, and one that cannot run says so loudly"
)]

mod alerts;
mod api;
mod attribution;
mod backup;
mod bad_input;
mod bandits;
mod brought_models;
mod catalogue;
mod changes;
mod chinook;
mod dashboards_sent;
mod dbt;
mod decided_again;
mod deliver;
mod demo;
mod disks;
mod drift;
mod edits;
mod environments;
mod erasure;
mod follows;
mod house;
mod large;
mod limits;
mod lineage;
mod link_crms;
mod links;
mod loop_closed;
mod made;
mod merges;
mod metadata;
mod metrics;
mod migrate;
mod models;
mod operations;
mod packaging;
mod postgres_wire;
mod predictions;
mod programs;
mod project;
mod quality;
mod quarantine;
mod queues;
mod real_data;
mod rivals;
mod rules;
mod schedules;
mod secrets;
mod sending;
mod serve;
mod served;
mod servers;
mod shop_learners;
mod split;
mod statements;
mod stopped_tables;
mod suggest;
mod telemetry;
mod upkeep;
mod vault;
mod workload;
