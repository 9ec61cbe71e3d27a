//! Generated code of the gRPC interfaces: what `proto/` says, and nothing else.

/// The data plane of Bluesky's official AppView, as far as Skyweir serves it.
pub mod bsky {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::needless_pass_by_value)]
    tonic::include_proto!("bsky");
}

/// Skyweir's own interface.
pub mod skyweir {
    /// Its first version.
    pub mod v1 {
        #![allow(missing_docs, unreachable_pub, clippy::all, clippy::needless_pass_by_value)]
        tonic::include_proto!("skyweir.v1");
    }

    /// The follower graph, between Skyweir's own processes.
    pub mod graph {
        /// Its first version.
        pub mod v1 {
            #![allow(missing_docs, unreachable_pub, clippy::all, clippy::needless_pass_by_value)]
            tonic::include_proto!("skyweir.graph.v1");
        }
    }
}

/// The interfaces for clients as an encoded `google.protobuf.FileDescriptorSet`, comments included, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
