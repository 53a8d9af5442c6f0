//! `cargo xtask bench NAME`: the figures of the README, each with what it is compared with.
//!
//! A new bench is one file in `bench/` and one line in [`BENCHES`].

mod actions;
mod api;
mod bad_rows;
mod bandits;
mod catalogue;
mod crm_merge;
mod customers;
mod dbt;
mod dbt_adapter;
mod demo;
mod edits;
mod figure;
mod forecasts;
pub(super) mod goal;
mod gowalla;
mod increments;
mod inventory;
mod learn;
mod limits;
mod lineage;
mod loop_closed;
mod metric_query;
mod online_retail;
mod pg_cdc;
mod pg_copy;
mod recommend_serving;
mod reconcile;
mod replay;
mod reverse_etl;
mod rules;
mod schedule;
mod seeds;
mod serve;
mod tpc;
mod tpcds;
mod tpch;

use crate::Result;
use crate::context::Context;
use crate::tally::Tally;

/// `cargo xtask bench`.
pub(crate) const COMMAND: super::Command = super::Command {
    name: "bench",
    arguments: "[NAME [--scale N]]",
    about: "run a bench; without a name: list them",
    run,
};

/// Runs a bench.
type Run = fn(&Context) -> Result<Tally>;

/// One bench.
struct Bench {
    name: &'static str,
    about: &'static str,
    run: Run,
}

/// Every bench.
const BENCHES: &[Bench] = &[
    Bench {
        name: "seeds",
        about: "the published numbers: expected, ours, difference; the mistakes that tests guard",
        run: seeds::run,
    },
    Bench {
        name: "online-retail",
        about: "recommendation quality on real history beside popularity and implicit's ALS",
        run: online_retail::run,
    },
    Bench {
        name: "gowalla",
        about: "recommendation quality and cost on the split of LightGCN, beside implicit",
        run: gowalla::run,
    },
    Bench {
        name: "rules",
        about: "10,000 queries by chance under 20 sets of rules, each as over a copy of what is seen",
        run: rules::run,
    },
    Bench {
        name: "replay",
        about: "305 days of real history turn by turn: exact counts, time per turn, memory",
        run: replay::run,
    },
    Bench {
        name: "lineage",
        about: "origins of columns over TPC-H, TPC-DS and the example projects beside sqlglot, and what tracing a thousand models costs",
        run: lineage::run,
    },
    Bench {
        name: "pg-copy",
        about: "five million rows out of PostgreSQL, beside dlt and Sling",
        run: pg_copy::run,
    },
    Bench {
        name: "pg-cdc",
        about: "a backlog of 1.3 million changes from the logs of PostgreSQL and MariaDB",
        run: pg_cdc::run,
    },
    Bench {
        name: "reconcile",
        about: "two differing rows among five million, found by checksums and repaired",
        run: reconcile::run,
    },
    Bench {
        name: "reverse-etl",
        about: "the changed hundredth of a million lake rows to PostgreSQL",
        run: reverse_etl::run,
    },
    Bench {
        name: "dbt-adapter",
        about: "dbt's own suite for adapters through ours: what passes of each group",
        run: dbt_adapter::run,
    },
    Bench {
        name: "edits",
        about: "one per cent of six million rows merged by SQL, beside DuckDB",
        run: edits::run,
    },
    Bench {
        name: "increments",
        about: "an incremental model that merges one per cent of six million rows, beside dbt-duckdb",
        run: increments::run,
    },
    Bench {
        name: "metric-query",
        about: "questions to metrics beside the same questions in SQL by hand",
        run: metric_query::run,
    },
    Bench {
        name: "tpch",
        about: "the 22 queries of TPC-H over lake tables, beside DuckDB on the same files",
        run: tpch::run,
    },
    Bench {
        name: "tpcds",
        about: "the 99 queries of TPC-DS over lake tables, beside DuckDB on the same files",
        run: tpcds::run,
    },
    Bench {
        name: "bad-rows",
        about: "a million rows of which one in a hundred is bad, and what that costs",
        run: bad_rows::run,
    },
    Bench {
        name: "crm-merge",
        about: "a CRM split in two with planted duplicates: precision, recall, conflicts by rule",
        run: crm_merge::run,
    },
    Bench {
        name: "customers",
        about: "k-means on a million rows beside scikit-learn; lifetimes of a million customers, and published ones",
        run: customers::run,
    },
    Bench {
        name: "forecasts",
        about: "the 3,003 series of the M3 competition and car parts, beside statsforecast; auto on a shop's days",
        run: forecasts::run,
    },
    Bench {
        name: "bandits",
        about: "bandits, drift, off-policy estimates, experiments and uplift, each beside its goal",
        run: bandits::run,
    },
    Bench {
        name: "catalogue",
        about: "the catalogue of a thousand models: opened, searched, asked, and its scores by one query",
        run: catalogue::run,
    },
    Bench {
        name: "loop",
        about: "the closed loop in the simulator: against a frozen policy, the oracle, bad challengers",
        run: loop_closed::run,
    },
    Bench {
        name: "inventory",
        about: "stock kept on the held-out past: fill rate, and cost beside the textbook's policy",
        run: inventory::run,
    },
    Bench {
        name: "learn",
        about: "every bench of learning and deciding in turn, and one table of figures and goals",
        run: learn::run,
    },
    Bench {
        name: "actions",
        about: "ten thousand actions against a hostile receiver and kills; a million decisions",
        run: actions::run,
    },
    Bench {
        name: "api",
        about: "twenty thousand questions at every route of the API, as its reference describes them",
        run: api::run,
    },
    Bench {
        name: "recommend-serving",
        about: "answers of a recommender in process: time, feedback, memory at ten million events",
        run: recommend_serving::run,
    },
    Bench {
        name: "serve",
        about: "a server under load: events, recommendations, decisions, and how soon an event is seen",
        run: serve::run,
    },
    Bench {
        name: "limits",
        about: "queries that would take 20 GB, ended by their limit while events are taken",
        run: limits::run,
    },
    Bench {
        name: "schedule",
        about: "what a task of a run costs beside what it does, and tasks side by side",
        run: schedule::run,
    },
    Bench {
        name: "dbt",
        about: "two dbt projects built by dbt on DuckDB and by us: nodes, rows, time",
        run: dbt::run,
    },
    Bench {
        name: "demo",
        about: "the demo twice: time, memory, equal results; how soon its pages show turns with lift",
        run: demo::run,
    },
];

/// A bench over tables of so many gigabytes.
type Scaled = fn(&Context, u32) -> Result<Tally>;

/// The benches of [`BENCHES`] whose tables may be larger.
const SCALED: &[(&str, Scaled)] = &[("tpch", tpch::at_scale), ("tpcds", tpcds::at_scale)];

fn run(context: &Context, arguments: &[String]) -> Result<bool> {
    match arguments {
        [] => {
            for Bench { name, about, .. } in BENCHES {
                println!("{name:<16} {about}");
            }
            Ok(true)
        }
        [name] => run_one(context, name),
        [name, option, scale] if option == "--scale" => {
            let Some((_, run)) = SCALED.iter().find(|(scaled, _)| scaled == name) else {
                return Err(format!("the bench \"{name}\" has no scale").into());
            };
            let scale = scale.parse().ok().filter(|scale| *scale > 0);
            let scale = scale.ok_or("a scale is a whole number from 1 on, such as 10")?;
            Ok(run(context, scale)?.close())
        }
        _ => Err("bench takes one name, and --scale with a number".into()),
    }
}

/// Runs one bench and closes its tally.
pub(crate) fn run_one(context: &Context, name: &str) -> Result<bool> {
    let bench = BENCHES.iter().find(|bench| bench.name == name);
    let bench = bench
        .ok_or_else(|| format!("there is no bench \"{name}\"; `cargo xtask bench` lists them"))?;
    Ok((bench.run)(context)?.close())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_for_benches_that_have_one_and_a_whole_number() {
        let context = Context::discover().unwrap();
        let refused = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
            run(&context, &arguments).unwrap_err().to_string()
        };
        assert_eq!(refused(&["seeds", "--scale", "10"]), "the bench \"seeds\" has no scale");
        for scale in ["0", "-1", "ten"] {
            assert!(refused(&["tpch", "--scale", scale]).contains("from 1 on"), "{scale}");
        }
        assert!(refused(&["tpch", "--size", "10"]).contains("--scale"));
        for (name, _) in SCALED {
            assert!(BENCHES.iter().any(|bench| bench.name == *name), "{name}");
        }
    }
}
