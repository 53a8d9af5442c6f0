//! Errors of librdkafka as errors that tell the caller what to do.

use flywheel_base::{Error, ErrorKind};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

/// What is known of a failure besides the code.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// The code of the last event about the connection.
    pub(super) code: Option<Code>,
    /// What it said.
    pub(super) reason: Option<String>,
}

/// The code of an error, wherever the library keeps it.
pub(crate) fn code(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// The error that tells the caller what to do about it; `doing` names the object.
pub(super) fn fail(brokers: &str, doing: &str, error: &KafkaError, heard: &Heard) -> Error {
    let said = heard.reason.clone();
    let made = match (code(error), heard.code) {
        // The library reports a refused login as a lost connection.
        (_, Some(Code::Authentication | Code::SaslAuthenticationFailed))
        | (Some(Code::Authentication | Code::SaslAuthenticationFailed), _) => Error::new(
            ErrorKind::Denied,
            format!("{doing}: the brokers {brokers} refuse the login"),
        )
        .hint(
            "Check the connection's `sasl`, and that the listener asks for SASL PLAIN without TLS.",
        ),
        (Some(code), _) => of_code(brokers, doing, code),
        (None, _) => match error {
            KafkaError::ClientConfig(_, _, key, _) => Error::invalid(format!(
                "{doing}: librdkafka does not take the property \"{key}\""
            ))
            .hint("Check the connection's `properties` against librdkafka's CONFIGURATION.md."),
            KafkaError::ClientCreation(why) => {
                Error::invalid(format!("{doing}: the client cannot be made")).caused_by(why.clone())
            }
            other => {
                Error::internal(format!("{doing}: librdkafka failed")).caused_by(other.to_string())
            }
        },
    };
    match said {
        Some(said) => made.caused_by(said),
        None => made,
    }
}

/// The error of a code.
pub(super) fn of_code(brokers: &str, doing: &str, code: Code) -> Error {
    let cause = code.to_string();
    let made = match code {
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::OperationTimedOut
        | Code::MessageTimedOut
        | Code::TimedOutQueue
        | Code::RequestTimedOut
        | Code::NetworkException
        | Code::Resolve
        | Code::BrokerNotAvailable => {
            Error::unavailable(format!("{doing}: the brokers {brokers} do not answer in time"))
                .hint("Check the connection's `brokers` and that they are reachable from here; `timeout` says how long to wait.")
        }
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => {
            Error::new(ErrorKind::Denied, format!("{doing}: the brokers do not allow it"))
                .hint("Grant the user the right that the cause names; groups and transactions begin with the connection's `prefix`.")
        }
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
            Error::not_found(format!("{doing}: the topic is not there"))
                .hint("See `flywheel topic list`.")
        }
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch | Code::Fatal => {
            Error::new(ErrorKind::Conflict, format!("{doing}: another writer has taken over"))
                .hint("Two runs write the same sync into the same topic; the newer one goes on.")
        }
        Code::InvalidTransactionTimeout => {
            Error::invalid(format!("{doing}: the brokers do not allow so long a transaction"))
                .hint("Lower the connection's `transaction_timeout` to the brokers' transaction.max.timeout.ms.")
        }
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => {
            Error::invalid(format!("{doing}: a message is larger than the topic takes"))
                .hint("Raise the topic's max.message.bytes: flywheel topic alter --config max.message.bytes=…")
        }
        Code::InvalidReplicationFactor => {
            Error::invalid(format!("{doing}: there are not that many brokers to hold copies"))
                .hint("Lower `replication` to the number of brokers.")
        }
        Code::InvalidConfig | Code::InvalidPartitions | Code::PolicyViolation | Code::InvalidTopic => {
            Error::invalid(format!("{doing}: the brokers refuse the settings"))
                .hint("Check the names and values of the topic's settings.")
        }
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => {
            Error::unavailable(format!("{doing}: too few copies of the topic are in step"))
                .hint("Look after the brokers that are behind or down, or lower min.insync.replicas.")
        }
        _ => Error::unavailable(format!("{doing}: the brokers {brokers} refuse it for now")),
    };
    made.caused_by(cause)
}
