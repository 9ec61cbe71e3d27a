//! Why an operation or a message was left out: the labels of `skyweir_indexer_skipped_total`.

macro_rules! skips {
    ($($(#[$doc:meta])* $name:ident => $label:literal,)*) => {
        /// A reason for leaving something out. Upstream is never trusted: whatever is malformed ends here, counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Skip { $($(#[$doc])* $name,)* }

        impl Skip {
            /// All reasons.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The label: lowercase, bounded in number, never anything that upstream sent.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

skips! {
    /// The message is no JSON, no CBOR, no zstd, or lacks what every message has.
    Undecodable => "undecodable",
    /// Bytes after the end of a firehose frame.
    TrailingBytes => "trailing_bytes",
    /// A text message on the firehose, which is binary.
    TextMessage => "text_message",
    /// A compressed message although none was asked for.
    BinaryMessage => "binary_message",
    /// The message is larger than the configured limit, compressed or not.
    TooBig => "too_big",
    /// Nested more deeply than any honest record.
    TooDeep => "too_deep",
    /// A kind of message that we don't know.
    UnknownKind => "unknown_kind",
    /// Neither create nor update nor delete.
    UnknownOperation => "unknown_operation",
    /// The time of the event can't be read.
    BadTime => "bad_time",
    /// A stream claims a time more than five minutes ahead of our clock; the event counts, at that limit.
    FutureTime => "future_time",
    /// The repository's DID is none.
    BadDid => "bad_did",
    /// The rev is no TID: the whole event is left out.
    BadRev => "bad_rev",
    /// The rev is more than five minutes ahead of its event: the whole event is left out.
    FutureRev => "future_rev",
    /// The record key is none.
    BadRkey => "bad_rkey",
    /// The path of an operation isn't `collection/rkey`.
    BadPath => "bad_path",
    /// An operation on a path that the commit has already touched; it is applied all the same, in order.
    DuplicatePath => "duplicate_path",
    /// The CID is none of a record.
    BadCid => "bad_cid",
    /// A create or update without record or CID.
    MissingRecord => "missing_record",
    /// The archive of the commit doesn't hold the record.
    MissingBlock => "missing_block",
    /// The record's bytes have another hash than its CID says.
    HashMismatch => "hash_mismatch",
    /// The archive of the commit is damaged; what is before the damage counts.
    BadCar => "bad_car",
    /// More than 200 operations in a commit: those beyond are left out.
    TooManyOps => "too_many_ops",
    /// A commit that was too big for the firehose and comes without its records.
    TooBigCommit => "too_big_commit",
    /// The sequence number isn't above the last of this connection.
    SeqRegress => "seq_regress",
    /// The record isn't DAG-CBOR, or no JSON of the data model (numbers out of range, fractions).
    BadRecord => "bad_record",
    /// The record's `$type` isn't its collection.
    BadType => "bad_type",
    /// `createdAt` is missing or no date.
    BadCreatedAt => "bad_created_at",
    /// The subject is missing, no DID or no AT-URI.
    BadSubject => "bad_subject",
    /// The subject's authority is a handle: it can't be keyed.
    SubjectHandleAuthority => "subject_handle_authority",
    /// A repository whose host couldn't be reached, or didn't send it; a backfill lacks what is in it.
    RepoUnreachable => "repo_unreachable",
    /// A repository that its host says it hasn't got, though it lists it.
    RepoNotFound => "repo_not_found",
    /// A repository that came damaged each time; what was read of it counts.
    RepoDamaged => "repo_damaged",
    /// A repository that is longer, or more out of order, than it may be.
    RepoTooLarge => "repo_too_large",
    /// Any other offence against the lexicon.
    Lexicon => "lexicon",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_differ() {
        let mut labels: Vec<_> = Skip::ALL.iter().map(|skip| skip.as_str()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Skip::ALL.len());
    }
}
