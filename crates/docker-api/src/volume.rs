//! Volumes.

use serde_json::Value;

use crate::wire::{List, Map, wire};

wire! {
    /// A volume.
    pub struct Volume {
        omit "CreatedAt" created_at: String,
        put "Driver" driver: String,
        put "Labels" labels: Map<String>,
        put "Mountpoint" mountpoint: String,
        put "Name" name: String,
        put "Options" options: Map<String>,
        put "Scope" scope: String,
        omit "Status" status: Map<Value>,
        /// In `/system/df` alone.
        omit "UsageData" usage_data: Option<VolumeUsage>,
    }
}

wire! {
    /// How a volume is used; -1 is unknown.
    pub struct VolumeUsage {
        put "RefCount" ref_count: i64,
        put "Size" size: i64,
    }
}

wire! {
    /// The answer to `GET /volumes`.
    pub struct VolumeList {
        put "Volumes" volumes: List<Volume>,
        put "Warnings" warnings: List<String>,
    }
}

wire! {
    /// The body of `POST /volumes/create`.
    pub struct VolumeCreateRequest {
        omit "Name" name: String,
        omit "Driver" driver: String,
        omit "DriverOpts" driver_opts: Map<String>,
        omit "Labels" labels: Map<String>,
        /// Of swarm's volumes: refused where there is no swarm.
        omit "ClusterVolumeSpec" cluster_volume_spec: Option<Value>,
    }
}

wire! {
    /// The answer to `POST /volumes/prune`.
    pub struct VolumePruneResponse {
        put "VolumesDeleted" volumes_deleted: List<String>,
        put "SpaceReclaimed" space_reclaimed: u64,
    }
}
