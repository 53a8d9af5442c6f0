//! The server: one process that keeps a project, turns its wheel, answers programs and shows pages.
//!
//! ```text
//! wire ─► answer (id, headers) ─► gate (who, may they, audit) ─► http/* ─► runtime
//!                                                             work (threads) ─► runtime
//! ```
//! Invariants: a route names what it takes to use it, or it does not compile (`gate`); an acknowledged event,
//! decision or change is on disk; nothing changes the project beside what touches the same (`work`); a wrong request is
//! answered with a problem that says what is wrong, never with a 500.

mod alert;
mod answer;
mod app;
mod auth;
mod cors;
mod databases;
mod fault;
mod feedback;
mod follow;
mod gate;
mod guests;
mod heavy;
mod http;
mod input;
mod live;
mod page_key;
mod postgres;
mod problem;
mod quota;
mod rate;
mod reach;
mod schedule;
mod sender;
mod set_aside;
mod sign_in;
mod site;
mod telemetry;
mod ticket;
mod tls;
mod ui;
mod wire;
mod work;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::middleware;
use axum::response::IntoResponse;
use flywheel_base::{Clock, Error, ErrorKind, Result, SystemClock, suggest};
use flywheel_connect::JournalEvents;
use flywheel_project::resource::rule::Role;
use flywheel_runtime::{Workspace, events, rows};
use flywheel_state::ScheduleEvent;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::problem::Problem;

pub use crate::app::WheelClock;
#[doc(hidden)]
pub use crate::gate::Routes;
pub use crate::gate::{Access, Allows, Permission, RouteInfo};
pub use crate::guests::Guests;
pub use crate::reach::Reach;
pub use crate::tls::Tls;
pub use crate::ui::has_pages;
pub use crate::work::Rhythm;

/// Where the server listens unless something else is said.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:8700";
/// Where clients of PostgreSQL are let in unless something else is said.
pub const POSTGRES_DEFAULT: &str = "127.0.0.1:5432";

/// Connections that are open at once; more wait.
const CONNECTIONS_MAX: usize = 1_024;
/// How long requests may go on once the server is asked to stop, and work under way take until it is cut off.
const STOP_TIME: Duration = Duration::from_secs(20);
/// How soon a demo takes its next turn after the last one, and any server after a failure to accept.
const PAUSE: Duration = Duration::from_millis(100);

/// How a project is served.
#[derive(Default)]
pub struct Options {
    /// How often the wheel is turned by itself.
    pub every: Option<Duration>,
    /// What turns of a virtual clock work for; a demo's shop.
    pub rhythm: Option<Box<dyn Rhythm>>,
    /// How many things may be done to the project at once where they touch different tables; as many as its file says if
    /// absent. With a rhythm, one.
    pub workers: Option<NonZeroUsize>,
    /// Whether it is a demo.
    pub demo: bool,
    /// What makes connections secret; none, and they are not.
    pub tls: Option<Tls>,
    /// Whether requests are told to the process's OpenTelemetry providers.
    pub telemetry: bool,
    /// A folder of built web pages that is read at each request, for whoever works on them; those inside the program if
    /// absent.
    pub pages: Option<PathBuf>,
    /// Where clients of PostgreSQL are let in; nowhere if absent. Beyond this machine it takes `tls`.
    pub postgres: Option<TcpListener>,
    /// An owner who gets a link to set a new password by, for when no owner can log in.
    pub owner_link: Option<String>,
}

/// A project that is served.
pub struct Server {
    app: Arc<App>,
    router: Router,
    options: Options,
}

impl Server {
    /// Takes a workspace that was opened to be changed, with its clock.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the project's journal cannot be used, else those of the operating system.
    pub fn new(workspace: Workspace, clock: Arc<WheelClock>, options: Options) -> Result<Self> {
        fault::watch();
        let journal = events::journal(&workspace)?;
        // Where time is moved from outside, events come in that time: those of tomorrow would wait for their turn for ever.
        let arrival: Arc<dyn Clock> = match options.rhythm {
            Some(_) => Arc::<WheelClock>::clone(&clock),
            None => Arc::new(SystemClock),
        };
        let events = JournalEvents::open(&journal, workspace.dir(), arrival)?;
        let app = Arc::new(App::new(workspace, clock, events, &options)?);
        if options.telemetry {
            telemetry::counts(&app);
        }
        // Whoever wrote before is gone: what still says that it runs was cut off.
        app.workspace().store.interrupt_runs()?;
        flywheel_runtime::schedule::step(&app.workspace(), ScheduleEvent::Restarted)?;
        let mut routes = Routes::new(&app);
        http::routes(&mut routes);
        let (router, list) = routes.finish();
        if app.routes.set(list).is_err() {
            return Err(Error::internal("the routes were set twice"));
        }
        let router = router
            .fallback(ui::fallback)
            .method_not_allowed_fallback(async || {
                let status = axum::http::StatusCode::METHOD_NOT_ALLOWED;
                Problem::new(status, "invalid", "this address does not know that method")
                    .into_response()
            })
            .layer(middleware::from_fn_with_state(Arc::clone(&app), answer::layer))
            .with_state(Arc::clone(&app));
        Ok(Self { app, router, options })
    }

    /// The routes, without a socket: what tests ask.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Every route with what it takes to use it.
    #[must_use]
    pub fn routes(&self) -> &[RouteInfo] {
        self.app.routes.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// What stops the server when it is cancelled.
    #[must_use]
    pub fn stopper(&self) -> CancellationToken {
        self.app.stop.clone()
    }

    /// What lets programs of this process in, such as the customers of a demo.
    #[must_use]
    pub fn guests(&self) -> Guests {
        Guests::new(&self.app)
    }

    /// A link to make the first owner, or for the owner of `owner_link` to set a new password, which the audit log then has; none if
    /// there are users and nobody is named.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if who is named is no owner that may log in, else those of the metadata.
    pub async fn setup_link(&self) -> Result<Option<String>> {
        let users = self.app.workspace().store.users()?;
        let Some(name) = self.options.owner_link.as_deref() else {
            return match users.is_empty() {
                true => auth::invite(&self.app, None).await.map(Some),
                false => Ok(None),
            };
        };
        let owners = users.iter().filter(|user| user.role == Role::Owner.word() && !user.disabled);
        let owners: Vec<&str> = owners.map(|user| user.name.as_str()).collect();
        if !owners.contains(&name) {
            return Err(Error::not_found(format!("\"{name}\" is no owner"))
                .hint(suggest::hint(name, owners)));
        }
        let link = auth::invite(&self.app, Some(name.to_owned())).await?;
        let (who, what) = ("serve --owner-link".to_owned(), "setup link".to_owned());
        self.app.audit(who, what, name.to_owned(), serde_json::Value::Null).await?;
        Ok(Some(link))
    }

    /// Serves until it is stopped; returns when requests have ended and work under way is cut off.
    ///
    /// # Errors
    /// Those of the operating system.
    pub async fn serve(self, listener: TcpListener) -> Result<()> {
        let Self { app, router, options } = self;
        let address =
            listener.local_addr().map_err(|e| Error::internal("no address").caused_by(e))?;
        let scheme = if app.secure { "https" } else { "http" };
        app.workspace().serves_at(&format!("{scheme}://{address}"))?;
        let (working, handle) = (Arc::clone(&app), app.heavy.handle()?);
        // Where time is moved from outside, deliveries belong to its turns.
        let sends = options.rhythm.is_none();
        let (rhythm, tls) = (options.rhythm, options.tls.map(|tls| tls.0));
        let postgres = options.postgres;
        let mut rhythm = rhythm;
        let mut workers = Vec::new();
        for _ in 0..app.queue.workers().get() {
            let (working, handle, rhythm) = (Arc::clone(&working), handle.clone(), rhythm.take());
            let worker = thread::Builder::new()
                .name("flywheel-work".to_owned())
                .stack_size(WORK_STACK_BYTES)
                .spawn(move || {
                    heavy::stand_behind();
                    work::work(&working, &handle, rhythm);
                })
                .map_err(|e| Error::exhausted("no thread for work").caused_by(e))?;
            workers.push(worker);
        }
        if sends {
            let (working, handle) = (Arc::clone(&working), handle.clone());
            let keeper = thread::Builder::new()
                .name("flywheel-follows".to_owned())
                .spawn(move || follow::keep(&working, &handle))
                .map_err(|e| Error::exhausted("no thread to follow syncs").caused_by(e))?;
            workers.push(keeper);
        }
        let accepted = tokio::join!(
            accept(&app, &listener, &router, tls.clone()),
            Box::pin(postgres::accept(&app, postgres, tls)),
            every(&app, options.every),
            schedule::keep(&app),
            schedule::watch(&app),
            schedule::tell(&app),
            alert::look(&app),
            databases::watch(&app),
            quota::keep(&app),
            async {
                if sends {
                    sender::keep(&app).await;
                }
            }
        );
        drop(listener);
        let ended = flywheel_base::task::compute(move || {
            let ended: Vec<_> = workers.into_iter().map(thread::JoinHandle::join).collect();
            match ended.iter().all(std::result::Result::is_ok) {
                true => Ok(()),
                false => Err(Error::internal("a thread that does the work stopped unexpectedly")),
            }
        });
        // What cannot be cut off so soon is as safe as if the machine had stopped: nothing acknowledged is lost.
        match tokio::time::timeout(STOP_TIME, ended).await {
            Ok(ended) => ended?,
            Err(_) => tracing::warn!("work under way is left; the next turn completes it"),
        }
        // Whoever copies the file of the metadata alone then has all of it.
        if let Err(error) = app.blocking(|app| app.workspace().store.write_out()).await {
            tracing::warn!(error = %error.report(), "what was committed last stays beside the metadata");
        }
        accepted.0.and(accepted.1)
    }
}

/// Deeply nested SQL is planned recursively.
const WORK_STACK_BYTES: usize = 8 << 20;

/// Opens the address at which clients of PostgreSQL are let in; `tls` says whether connections are secret.
///
/// # Errors
/// [`ErrorKind::Invalid`] if others can reach the address and passwords would be sent in clear,
/// [`ErrorKind::Conflict`] if something else listens there, [`ErrorKind::Denied`] if it may not be used.
pub async fn bind_postgres(address: SocketAddr, tls: bool) -> Result<TcpListener> {
    if !tls && !is_private(address.ip()) {
        return Err(Error::invalid(format!(
            "others can reach {address}, and clients of PostgreSQL would send their passwords in clear"
        ))
        .hint("Give --tls-certificate and --tls-key, or listen at 127.0.0.1 only."));
    }
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            let message = format!("something else listens at {address} already");
            Error::new(ErrorKind::Conflict, message).hint(format!(
                "Is it a PostgreSQL? Choose another port: --postgres {}:{}",
                address.ip(),
                address.port().wrapping_add(1).max(1_024)
            ))
        }
        std::io::ErrorKind::PermissionDenied => {
            Error::new(ErrorKind::Denied, format!("this user may not listen at {address}"))
                .hint("Choose a port from 1024 on: --postgres 127.0.0.1:5432")
        }
        _ => Error::invalid(format!("cannot listen at {address}"))
            .hint("Give an address of this machine, such as 127.0.0.1:5432.")
            .caused_by(error),
    })
}

/// Opens the address to listen at.
///
/// # Errors
/// [`ErrorKind::Conflict`] if something else listens there, [`ErrorKind::Denied`] if it may not be used.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            Error::new(ErrorKind::Conflict, format!("something else listens at {address} already")).hint(format!(
                "Is it a flywheel? Open http://{address}. Otherwise choose another port: --listen {}:{}",
                address.ip(),
                address.port().wrapping_add(1).max(1_024)
            ))
        }
        std::io::ErrorKind::PermissionDenied => {
            Error::new(ErrorKind::Denied, format!("this user may not listen at {address}"))
                .hint("Choose a port from 1024 on: --listen 127.0.0.1:8700")
        }
        _ => Error::invalid(format!("cannot listen at {address}"))
            .hint("Give an address of this machine, such as 127.0.0.1:8700.")
            .caused_by(error),
    })
}

/// Whether only this machine can reach the address.
#[must_use]
pub fn is_private(address: IpAddr) -> bool {
    address.is_loopback()
}

async fn accept(
    app: &Arc<App>,
    listener: &TcpListener,
    router: &Router,
    tls: Option<TlsAcceptor>,
) -> Result<()> {
    let open = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let place = tokio::select! {
            () = app.stop.cancelled() => break,
            place = Arc::clone(&open).acquire_owned() => place.map_err(|_| app::ended("listening"))?,
        };
        let accepted = tokio::select! {
            () = app.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (app, router, tls) = (Arc::clone(app), router.clone(), tls.clone());
                connections.spawn(async move {
                    app.stats.connections.fetch_add(1, Ordering::Relaxed);
                    wire::connection(stream, peer, tls, router, app.stop.clone()).await;
                    app.stats.connections.fetch_sub(1, Ordering::Relaxed);
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_TIME, all).await.is_err() {
        tracing::warn!("requests under way are left");
    }
    Ok(())
}

/// Asks for a turn every so often.
async fn every(app: &Arc<App>, every: Option<Duration>) {
    let Some(every) = every else { return };
    loop {
        let micros = i64::try_from(every.as_micros()).unwrap_or(i64::MAX);
        let next = SystemClock.now().plus_micros(micros);
        *app.next_turn_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(next);
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = tokio::time::sleep(every) => app.queue.ask_for_turn(app, "schedule"),
        }
    }
}
