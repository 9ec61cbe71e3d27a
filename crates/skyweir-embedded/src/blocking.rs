//! Work that waits for the disk, on a thread that may block.

use skyweir_store::{Error, Result};

/// Does the work to its end, even when nobody waits for it any more. A panic of it goes on where it is waited for: it
/// is a bug, and nothing that may pass by itself.
///
/// # Errors
/// The work's own; `Unavailable` when the runtime ends before it has begun. `what` names it.
pub(crate) async fn blocking<T, F>(what: &str, work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        Err(_) => Err(Error::Unavailable(format!("the {what} was cut off by the end of the process"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn errors_and_panics_are_what_they_are() {
        assert_eq!(blocking("test", || Ok(7)).await.unwrap(), 7);
        let refused = blocking::<(), _>("test", || Err(Error::Limit("x".into()))).await;
        assert!(matches!(refused, Err(Error::Limit(_))));
        let mut panicking = tokio::task::JoinSet::new();
        panicking.spawn(blocking::<(), _>("test", || panic!("a bug")));
        assert!(panicking.join_next().await.unwrap().unwrap_err().is_panic());
    }
}
