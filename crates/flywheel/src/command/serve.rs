//! `flywheel serve`.

use std::future::{self, Future};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use flywheel_base::{Clock, Error, Result, quantity};
use flywheel_runtime::{Access, Workspace};
use flywheel_server::{
    Guests, LISTEN_DEFAULT, Options, POSTGRES_DEFAULT, Server, Tls, WheelClock, bind,
    bind_postgres, is_private,
};

use super::Runs;
use super::status::stopped;
use crate::app::{App, Exit};

/// Options of `flywheel serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The address to listen at; only this machine can reach 127.0.0.1
    #[arg(long, value_name = "ADDRESS", default_value = LISTEN_DEFAULT)]
    listen: SocketAddr,
    /// Turns the wheel by itself, every 1h
    #[arg(long, value_name = "DURATION")]
    every: Option<String>,
    /// How many things are done to the project at once; `workers` of flywheel.yaml if absent
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
    /// The PEM file of a certificate, with those that vouch for it: connections are then secret
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The PEM file of the certificate's private key
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Lets clients of PostgreSQL in, such as BI tools, at this address; `postgres` of flywheel.yaml if absent
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = POSTGRES_DEFAULT)]
    postgres: Option<SocketAddr>,
    /// Reads the web pages from a folder at each request, ui/dist if none is named: for whoever changes the pages
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, default_missing_value = "ui/dist")]
    dev: Option<PathBuf>,
    /// Prints a link by which this owner sets a new password: for when no owner can log in
    #[arg(long, value_name = "USER")]
    owner_link: Option<String>,
}

/// The shortest time between turns.
const EVERY_MIN: Duration = Duration::from_secs(1);

/// The time between turns.
pub(crate) fn between(option: &str, text: &str) -> Result<Duration> {
    let micros = quantity::duration_us(text).map_err(|error| error.context(option))?;
    let every = Duration::from_micros(micros.unsigned_abs());
    if micros < 0 || every < EVERY_MIN {
        return Err(Error::invalid(format!("{option} {text} is too short"))
            .hint("Give at least a second, such as 5s, 15m, 1h or 1d."));
    }
    Ok(every)
}

/// What must hold for pages that are read from a folder.
fn worked_on(folder: &Path, listen: SocketAddr) -> Result<()> {
    if !is_private(listen.ip()) {
        return Err(Error::invalid(format!(
            "--dev is for this machine only, and others can reach {listen}"
        ))
        .hint("Leave out --listen, or give --listen 127.0.0.1:8700."));
    }
    if !folder.join("index.html").is_file() {
        return Err(Error::invalid(format!("--dev: {} has no index.html", folder.display())).hint(
            "Build the pages first with `npm run build` in ui/, or name the folder they are built into.",
        ));
    }
    Ok(())
}

impl Runs for Serve {
    const ABOUT: &'static str = "Serves the project: web pages, API, events, and turns by itself";

    async fn run(self, app: App) -> Result<Exit> {
        let every = self.every.as_deref().map(|text| between("--every", text)).transpose()?;
        let tls = match self.tls_certificate.as_deref().zip(self.tls_key.as_deref()) {
            Some((certificate, key)) => {
                Some(Tls::read(&app.start.join(certificate), &app.start.join(key))?)
            }
            None => None,
        };
        if let Some(folder) = &self.dev {
            worked_on(folder, self.listen)?;
        }
        // A port that is taken is told before anything else is done.
        let listener = bind(self.listen).await?;
        let mut postgres = match self.postgres {
            Some(address) => Some(bind_postgres(address, tls.is_some()).await?),
            None => None,
        };
        let clock = Arc::new(WheelClock::real());
        let shared: Arc<dyn Clock> = Arc::<WheelClock>::clone(&clock);
        let workspace = app.open_with(Access::Write, shared).await?;
        if let Some(every) = &self.every {
            app.output.message(&format!("The wheel turns every {every}."));
        }
        match workspace.project.schedules.len() {
            0 => {}
            1 => app.output.message("It keeps a schedule: `flywheel schedule list` shows it."),
            count => app.output.message(&format!(
                "It keeps {count} schedules: `flywheel schedule list` shows them."
            )),
        }
        if postgres.is_none()
            && let Some(address) = workspace.project.file.postgres
        {
            postgres = Some(bind_postgres(address, tls.is_some()).await?);
        }
        if let Some(listener) = &postgres {
            let at = listener
                .local_addr()
                .map_err(|error| Error::internal("no address").caused_by(error))?;
            let name = &workspace.project.file.name;
            app.output.message(&format!(
                "Clients of PostgreSQL connect to postgresql://{at}/{name} with a user's name and a token."
            ));
        }
        if let Some(halt) = workspace.store.halt()? {
            app.output.message(&stopped(&halt.into()));
        }
        let telemetry = app.telemetry;
        let options = Options {
            every,
            tls,
            workers: self.workers,
            telemetry,
            pages: self.dev,
            postgres,
            owner_link: self.owner_link,
            ..Options::default()
        };
        serve(&app, workspace, clock, options, listener, None).await
    }
}

/// What acts through the server's API from within this process, such as the customers of a demo. It is begun with the
/// server, and ends with it at the latest.
pub(crate) type Company =
    Box<dyn FnOnce(Guests) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Serves until somebody stops it.
pub(crate) async fn serve(
    app: &App,
    workspace: Workspace,
    clock: Arc<WheelClock>,
    options: Options,
    listener: tokio::net::TcpListener,
    company: Option<Company>,
) -> Result<Exit> {
    let at = listener.local_addr().map_err(|e| Error::internal("no address").caused_by(e))?;
    let secure = options.tls.is_some();
    let has_pages = options.pages.is_some() || flywheel_server::has_pages();
    let named = options.owner_link.clone();
    let server = Server::new(workspace, clock, options)?;
    let stopper = server.stopper();
    if !secure && !is_private(at.ip()) {
        app.output.message(
            "warning: others on the network can reach this address, and what they send is not encrypted; give \
             --tls-certificate and --tls-key, or put a server that speaks TLS in front of it",
        );
    }
    let scheme = if secure { "https" } else { "http" };
    let base = format!("{scheme}://{at}");
    match server.setup_link().await? {
        Some(link) => {
            app.output.line(&format!("{base}{link}"))?;
            let use_of_it = match named {
                Some(name) => format!("to set a new password for \"{name}\""),
                None => "to make the first user, the owner".to_owned(),
            };
            app.output
                .message(&format!("Open this link {use_of_it}. It works once, for three days."));
        }
        None => app.output.line(&base)?,
    }
    if !has_pages {
        app.output.message("This program was built without web pages; the API is under /v1.");
    }
    app.output.message("Stop it with Ctrl-C.");
    let guests = server.guests();
    let serving = async {
        let served = Box::pin(server.serve(listener));
        let Some(company) = company else { return served.await };
        let beside = async {
            company(guests).await;
            // Without company it goes on.
            future::pending::<Result<()>>().await
        };
        tokio::select! {
            served = served => served,
            never = beside => never,
        }
    };
    tokio::pin!(serving);
    tokio::select! {
        served = &mut serving => { served?; return Ok(Exit::Done) }
        () = asked_to_stop() => {}
    }
    app.output.message("Stopping: requests under way are answered first; work is cut off, and the next turn or run goes on with it. Ctrl-C once more stops at once; nothing acknowledged is lost.");
    stopper.cancel();
    tokio::select! {
        served = serving => served?,
        () = asked_to_stop() => {}
    }
    Ok(Exit::Done)
}

/// Waits for Ctrl-C, or for what a service manager sends.
async fn asked_to_stop() {
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without signals it runs until it is killed.
            future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => tokio::select! {
                () = interrupted => {}
                _ = terminate.recv() => {}
            },
            Err(_) => interrupted.await,
        }
    }
    #[cfg(not(unix))]
    interrupted.await;
}
