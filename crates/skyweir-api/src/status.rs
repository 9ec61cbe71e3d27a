//! The one map from our errors to gRPC. An AppView tries again on `UNAVAILABLE` only (contract), so all that may pass
//! by itself is that.

use tonic::Status;

use crate::Error;
use crate::upstream::UpstreamError;

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Cursor(_) | Error::GraphCursor | Error::Limit | Error::Actor(_) | Error::Uri => {
                Self::invalid_argument(message)
            }
            Error::NoItem | Error::NoDelivery => Self::not_found(message),
            Error::Overloaded(_) | Error::TimedOut(_) => Self::unavailable(message),
            Error::Store(store) => match store {
                skyweir_store::Error::Corrupt(_) => {
                    tracing::error!(error = %message, "read met corrupt data");
                    Self::internal("corrupt data, see the service's log")
                }
                skyweir_store::Error::Unavailable(_) => {
                    tracing::debug!(error = %message, "read failed");
                    Self::unavailable("storage is unavailable")
                }
                skyweir_store::Error::Limit(_) => Self::unavailable(message),
            },
        }
    }
}

impl From<UpstreamError> for Status {
    fn from(error: UpstreamError) -> Self {
        let message = error.to_string();
        match error {
            UpstreamError::TooLarge(_) => Self::resource_exhausted(message),
            UpstreamError::Overloaded(_)
            | UpstreamError::Unreachable { .. }
            | UpstreamError::Mute { .. }
            | UpstreamError::Broken(_)
            | UpstreamError::TimedOut(_) => Self::unavailable(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn what_may_pass_is_unavailable() {
        let store = |error| Status::from(Error::Store(error)).code();
        assert_eq!(store(skyweir_store::Error::Unavailable("x".into())), Code::Unavailable);
        assert_eq!(store(skyweir_store::Error::Limit("x".into())), Code::Unavailable);
        assert_eq!(store(skyweir_store::Error::Corrupt("x".into())), Code::Internal);
        assert_eq!(Status::from(Error::Overloaded(1)).code(), Code::Unavailable);
        assert_eq!(Status::from(Error::TimedOut(1)).code(), Code::Unavailable);
        let url = || "http://h:1".parse().unwrap();
        for error in [
            UpstreamError::Overloaded(1),
            UpstreamError::Unreachable { url: url(), why: "x".into() },
            UpstreamError::Mute { why: "x".into(), other: "2" },
            UpstreamError::Broken("x".into()),
            UpstreamError::TimedOut(1),
        ] {
            assert_eq!(Status::from(error).code(), Code::Unavailable);
        }
        assert_eq!(Status::from(UpstreamError::TooLarge(1)).code(), Code::ResourceExhausted);
        assert_eq!(Status::from(Error::Limit).code(), Code::InvalidArgument);
    }
}
