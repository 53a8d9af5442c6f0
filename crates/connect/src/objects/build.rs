//! A client of a store, made from an address and a connection's settings.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use flywheel_base::{Error, Result};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use super::Objects;
use super::access::{Credentials, FilePlace};
use super::address::{Address, Protocol};
use super::fail::Failing;

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a request is sent again.
const RETRIES_MAX: usize = 5;

/// How long the first wait before another try is; tests do not wait.
const BACKOFF_FIRST: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 100 });

/// How long a wait before another try is at most.
const BACKOFF_MAX: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 10_000 });

impl Objects {
    /// Makes the client; does no I/O.
    pub(crate) fn open(address: &Address, place: &FilePlace) -> Result<Arc<Self>> {
        let web = address.protocol == Protocol::Web;
        let plain = |url: &str| url.to_ascii_lowercase().starts_with("http://");
        let endpoint = place.endpoint.as_deref();
        if !place.allow_http && (plain(&address.base) || endpoint.is_some_and(plain)) {
            return Err(Error::invalid(format!("the store {} is not encrypted", address.base))
                .hint("Use https://, or set `allow_http: true` if the network is your own."));
        }
        let patience = place.patience()?;
        let options = ClientOptions::new()
            .with_allow_http(place.allow_http)
            .with_timeout(patience)
            .with_connect_timeout(patience.min(CONNECT_TIMEOUT));
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: BACKOFF_FIRST,
                max_backoff: BACKOFF_MAX,
                base: 2.0,
            },
            max_retries: RETRIES_MAX,
            retry_timeout: patience,
        };
        let store = match address.protocol {
            Protocol::S3 => s3(address, place, options, retry)?,
            Protocol::Google => google(address, place, options, retry)?,
            Protocol::Azure => azure(address, place, options, retry)?,
            Protocol::Web => {
                if place.credentials.is_some_and(|right| right != Credentials::Anonymous)
                    || !place.secrets().is_empty()
                {
                    return Err(Error::invalid(format!(
                        "the connection has credentials for {}, which is read without",
                        address.base
                    ))
                    .hint("Read what needs a login with the `rest` source."));
                }
                let builder = HttpBuilder::new()
                    .with_url(&address.base)
                    .with_client_options(options)
                    .with_retry(retry);
                Arc::new(builder.build().map_err(|_| unusable(address))?)
            }
        };
        Ok(Arc::new(Self {
            store,
            base: address.base.clone(),
            prefix: address.path.clone(),
            web,
            failing: Failing::new(address, place),
            copied: Mutex::default(),
        }))
    }
}

/// The builder's own error is left out: it can repeat a key.
fn unusable(address: &Address) -> Error {
    Error::invalid(format!("the settings of the connection to {} are wrong", address.base))
        .hint("Check `endpoint`, `region`, `account` and the form of the keys.")
}

fn s3(
    address: &Address,
    place: &FilePlace,
    options: ClientOptions,
    retry: RetryConfig,
) -> Result<Arc<dyn ObjectStore>> {
    let right = place.right(&address.base)?;
    let mut builder = match right {
        Credentials::Environment => AmazonS3Builder::from_env(),
        Credentials::Anonymous => AmazonS3Builder::new().with_skip_signature(true),
        Credentials::Keys => {
            let (Some(id), Some(key)) = (&place.access_key, &place.secret_key) else {
                return Err(Error::invalid(format!(
                    "the connection has only one half of the key for {}",
                    address.base
                ))
                .hint("Set both `access_key` and `secret_key`."));
            };
            AmazonS3Builder::new()
                .with_access_key_id(id.expose())
                .with_secret_access_key(key.expose())
        }
    };
    if let Some(token) = &place.session_token {
        builder = builder.with_token(token.expose());
    }
    if let Some(region) = &place.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &place.endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
    }
    let builder =
        builder.with_bucket_name(&address.bucket).with_client_options(options).with_retry(retry);
    Ok(Arc::new(builder.build().map_err(|_| unusable(address))?))
}

fn google(
    address: &Address,
    place: &FilePlace,
    options: ClientOptions,
    retry: RetryConfig,
) -> Result<Arc<dyn ObjectStore>> {
    let mut builder = match place.right(&address.base)? {
        Credentials::Environment => GoogleCloudStorageBuilder::from_env(),
        Credentials::Anonymous => GoogleCloudStorageBuilder::new().with_skip_signature(true),
        Credentials::Keys => {
            let Some(key) = &place.secret_key else {
                return Err(Error::invalid(format!(
                    "the connection has no key for {}",
                    address.base
                ))
                .hint("Set `secret_key` to the JSON of the service account's key."));
            };
            GoogleCloudStorageBuilder::new().with_service_account_key(key.expose())
        }
    };
    if place.endpoint.is_some() {
        return Err(Error::invalid(format!("`endpoint` is not used for {}", address.base))
            .hint("Leave it out; Google has one address."));
    }
    builder =
        builder.with_bucket_name(&address.bucket).with_client_options(options).with_retry(retry);
    Ok(Arc::new(builder.build().map_err(|_| unusable(address))?))
}

fn azure(
    address: &Address,
    place: &FilePlace,
    options: ClientOptions,
    retry: RetryConfig,
) -> Result<Arc<dyn ObjectStore>> {
    let mut builder = match place.right(&address.base)? {
        Credentials::Environment => MicrosoftAzureBuilder::from_env(),
        Credentials::Anonymous => MicrosoftAzureBuilder::new().with_skip_signature(true),
        Credentials::Keys => {
            let Some(key) = &place.secret_key else {
                return Err(Error::invalid(format!(
                    "the connection has no key for {}",
                    address.base
                ))
                .hint("Set `secret_key` to the account's key."));
            };
            MicrosoftAzureBuilder::new().with_access_key(key.expose())
        }
    };
    if let Some(account) = address.account.as_ref().or(place.account.as_ref()) {
        builder = builder.with_account(account);
    } else if place.credentials != Some(Credentials::Environment) {
        return Err(Error::invalid(format!("the connection to {} names no account", address.base))
            .hint("Set `account`, or write abfss://container@account.dfs.core.windows.net/…"));
    }
    if let Some(endpoint) = &place.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    let builder =
        builder.with_container_name(&address.bucket).with_client_options(options).with_retry(retry);
    Ok(Arc::new(builder.build().map_err(|_| unusable(address))?))
}
