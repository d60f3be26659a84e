//! What `cargo xtask protos` wrote, in modules as its packages are nested: it refers to siblings by `super`.
#![allow(missing_docs, reason = "a field's name is the protocol's; the .proto files say what it is for")]
#![allow(clippy::all, clippy::pedantic, unreachable_pub, reason = "generated")]

pub mod containerd {
    pub mod events {
        include!("generated/containerd.events.rs");
    }
    pub mod types {
        include!("generated/containerd.types.rs");
        pub mod transfer {
            include!("generated/containerd.types.transfer.rs");
        }
    }
    pub mod v1 {
        pub mod types {
            include!("generated/containerd.v1.types.rs");
        }
    }
    pub mod services {
        pub mod containers {
            pub mod v1 {
                include!("generated/containerd.services.containers.v1.rs");
            }
        }
        pub mod content {
            pub mod v1 {
                include!("generated/containerd.services.content.v1.rs");
            }
        }
        pub mod diff {
            pub mod v1 {
                include!("generated/containerd.services.diff.v1.rs");
            }
        }
        pub mod events {
            pub mod v1 {
                include!("generated/containerd.services.events.v1.rs");
            }
        }
        pub mod images {
            pub mod v1 {
                include!("generated/containerd.services.images.v1.rs");
            }
        }
        pub mod introspection {
            pub mod v1 {
                include!("generated/containerd.services.introspection.v1.rs");
            }
        }
        pub mod leases {
            pub mod v1 {
                include!("generated/containerd.services.leases.v1.rs");
            }
        }
        pub mod mounts {
            pub mod v1 {
                include!("generated/containerd.services.mounts.v1.rs");
            }
        }
        pub mod namespaces {
            pub mod v1 {
                include!("generated/containerd.services.namespaces.v1.rs");
            }
        }
        pub mod sandbox {
            pub mod v1 {
                include!("generated/containerd.services.sandbox.v1.rs");
            }
        }
        pub mod snapshots {
            pub mod v1 {
                include!("generated/containerd.services.snapshots.v1.rs");
            }
        }
        pub mod streaming {
            pub mod v1 {
                include!("generated/containerd.services.streaming.v1.rs");
            }
        }
        pub mod tasks {
            pub mod v1 {
                include!("generated/containerd.services.tasks.v1.rs");
            }
        }
        pub mod transfer {
            pub mod v1 {
                include!("generated/containerd.services.transfer.v1.rs");
            }
        }
        pub mod version {
            pub mod v1 {
                include!("generated/containerd.services.version.v1.rs");
            }
        }
    }
}
pub mod google {
    pub mod rpc {
        include!("generated/google.rpc.rs");
    }
}
pub mod grpc {
    pub mod health {
        pub mod v1 {
            include!("generated/grpc.health.v1.rs");
        }
    }
}
