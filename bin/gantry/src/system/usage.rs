//! `system df`.

use anyhow::{Result, ensure};
use clap::Args;
use gantry_docker_api::container::ContainerSummary;
use gantry_docker_api::image::ImageSummary;
use gantry_docker_api::system::{BuildCacheItem, DiskUsage, Usage};
use gantry_docker_api::volume::Volume;
use gantry_docker_api::{Timestamp, size};
use serde::de::DeserializeOwned;

use crate::client::Call;
use crate::command::Verb;
use crate::container::list as containers;
use crate::container::list::Length;
use crate::format::words::{ago, short_id, size as size_three, size_fine};
use crate::format::{Listing, Row};
use crate::image::list as images;
use crate::output;
use crate::session::Session;
use crate::volume as volumes;

/// Show docker disk usage
#[derive(Debug, Args)]
pub(crate) struct DiskFree {
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json', 'TEMPLATE'
    #[arg(long, value_name = "STRING")]
    format: Option<String>,
    /// Show detailed information on space usage
    #[arg(short, long)]
    verbose: bool,
}

/// All that there is, whatever the version of the answer.
#[derive(Default)]
struct Found {
    images: Vec<ImageSummary>,
    containers: Vec<ContainerSummary>,
    volumes: Vec<Volume>,
    cache: Vec<BuildCacheItem>,
    /// Of kinds whose totals came, too: since 1.52.
    totals: [Option<Usage>; 4],
    layers_size: i64,
}

impl Verb for DiskFree {
    async fn run(self, session: &Session) -> Result<u8> {
        ensure!(!(self.verbose && self.format.is_some()), "the verbose and the format options conflict");
        let call = Call::get("/system/df").query_flag("verbose", self.verbose);
        let found = Found::of(session.client()?.json(call).await?);
        output::print(&if self.verbose {
            found.in_detail()?
        } else {
            found.summary(self.format.as_deref())?
        });
        Ok(0)
    }
}

impl Found {
    fn of(usage: DiskUsage) -> Self {
        fn items<T: DeserializeOwned>(usage: Option<&Usage>) -> Vec<T> {
            let items = usage.and_then(|usage| usage.items.clone());
            items.and_then(|items| serde_json::from_value(items).ok()).unwrap_or_default()
        }
        fn list<T: DeserializeOwned>(old: Option<gantry_docker_api::List<T>>, new: Option<&Usage>) -> Vec<T> {
            old.map_or_else(|| items(new), gantry_docker_api::List::into_vec)
        }
        Self {
            images: list(usage.images, usage.image_usage.as_ref()),
            containers: list(usage.containers, usage.container_usage.as_ref()),
            volumes: list(usage.volumes, usage.volume_usage.as_ref()),
            cache: list(usage.build_cache, usage.build_cache_usage.as_ref()),
            layers_size: usage
                .layers_size
                .unwrap_or_else(|| usage.image_usage.as_ref().map_or(0, |it| it.total_size)),
            totals: [usage.image_usage, usage.container_usage, usage.volume_usage, usage.build_cache_usage],
        }
    }

    fn summary(&self, format: Option<&str>) -> Result<String> {
        let kinds = ["Images", "Containers", "Local Volumes", "Build Cache"];
        let counted =
            [self.image_totals(), self.container_totals(), self.volume_totals(), self.cache_totals()];
        let rows: Vec<Row> = kinds
            .into_iter()
            .zip(counted)
            .zip(&self.totals)
            .map(|((kind, counted), told)| {
                let totals = told.as_ref().map_or(counted, |told| Totals {
                    count: told.total_count,
                    active: told.active_count,
                    size: told.total_size,
                    reclaimable: told.reclaimable,
                });
                totals.row(kind)
            })
            .collect();
        let header = [
            ("Type", "TYPE"),
            ("TotalCount", "TOTAL"),
            ("Active", "ACTIVE"),
            ("Size", "SIZE"),
            ("Reclaimable", "RECLAIMABLE"),
        ];
        let default = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
        Listing { format, default, header: &header }.render(&rows)
    }

    fn image_totals(&self) -> Totals {
        let mut used = 0;
        for image in self.images.iter().filter(|image| image.containers != 0) {
            if image.size > 0 && image.shared_size >= 0 {
                used += image.size - image.shared_size;
            }
        }
        Totals {
            count: count(self.images.len()),
            active: count(self.images.iter().filter(|image| image.containers > 0).count()),
            size: self.layers_size,
            reclaimable: self.layers_size - used,
        }
    }

    fn container_totals(&self) -> Totals {
        let is_active =
            |it: &&ContainerSummary| matches!(it.state.as_str(), "running" | "paused" | "restarting");
        let size: i64 = self.containers.iter().map(|it| it.size_rw).sum();
        let active: i64 = self.containers.iter().filter(is_active).map(|it| it.size_rw).sum();
        Totals {
            count: count(self.containers.len()),
            active: count(self.containers.iter().filter(is_active).count()),
            size,
            reclaimable: size - active,
        }
    }

    fn volume_totals(&self) -> Totals {
        let usage = |it: &Volume| it.usage_data.clone().unwrap_or_default();
        let known = || self.volumes.iter().map(usage).filter(|usage| usage.size != -1);
        Totals {
            count: count(self.volumes.len()),
            active: count(self.volumes.iter().filter(|it| usage(it).ref_count > 0).count()),
            size: known().map(|usage| usage.size).sum(),
            reclaimable: known().filter(|usage| usage.ref_count == 0).map(|usage| usage.size).sum(),
        }
    }

    fn cache_totals(&self) -> Totals {
        let size: i64 = self.cache.iter().filter(|it| !it.shared).map(|it| it.size).sum();
        let used: i64 = self.cache.iter().filter(|it| it.in_use && !it.shared).map(|it| it.size).sum();
        Totals {
            count: count(self.cache.len()),
            active: count(self.cache.iter().filter(|it| it.in_use).count()),
            size,
            reclaimable: size - used,
        }
    }

    fn in_detail(&self) -> Result<String> {
        let image_rows: Vec<Row> =
            self.images.iter().flat_map(|image| images::rows(image, Length::Short, false)).collect();
        let container_rows: Vec<Row> = self
            .containers
            .iter()
            .map(|it| containers::row(it, Length::Short).with("Size", size_three(it.size_rw)))
            .collect();
        let volume_rows: Vec<Row> = self.volumes.iter().map(volumes::row).collect();
        let cache_rows: Vec<Row> = self.cache.iter().map(cache_row).collect();
        let table = |default: &str, header: &[(&str, &str)], rows: &[Row]| {
            Listing { format: None, default, header }.render(rows)
        };
        Ok(format!(
            "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}\nBuild cache usage: {}\n\n{}",
            table(
                "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}",
                images::HEADER,
                &image_rows
            )?,
            table(
                "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}",
                containers::HEADER,
                &container_rows
            )?,
            table("{{.Name}}\t{{.Links}}\t{{.Size}}", volumes::HEADER, &volume_rows)?,
            size_fine(self.cache_totals().size),
            table(
                "{{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}",
                CACHE_HEADER,
                &cache_rows
            )?,
        ))
    }
}

const CACHE_HEADER: &[(&str, &str)] = &[
    ("ID", "CACHE ID"),
    ("CacheType", "CACHE TYPE"),
    ("Size", "SIZE"),
    ("CreatedSince", "CREATED"),
    ("LastUsedSince", "LAST USED"),
    ("UsageCount", "USAGE"),
    ("Shared", "SHARED"),
];

fn cache_row(item: &BuildCacheItem) -> Row {
    let since =
        |text: &str| Timestamp::parse_rfc3339(text).map_or_else(String::new, |time| ago(time.seconds()));
    Row::new()
        .with("ID", format!("{}{}", short_id(&item.id), if item.in_use { "*" } else { "" }))
        .with("CacheType", item.kind.as_str())
        .with("Size", size_three(item.size))
        .with("CreatedSince", since(&item.created_at))
        .with("LastUsedSince", item.last_used_at.as_deref().map_or_else(String::new, since))
        .with("UsageCount", item.usage_count.to_string())
        .with("Shared", item.shared.to_string())
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// A line of the summary.
#[derive(Debug, Clone, Copy)]
struct Totals {
    count: i64,
    active: i64,
    size: i64,
    reclaimable: i64,
}

impl Totals {
    #[allow(clippy::cast_precision_loss)] // four digits are shown
    fn row(self, kind: &str) -> Row {
        let mut reclaimable = size::human(self.reclaimable.max(0) as f64);
        // Docker shows no share of what is not kept by layers.
        if self.size > 0 && kind != "Build Cache" {
            reclaimable = format!("{reclaimable} ({}%)", self.reclaimable.max(0) * 100 / self.size);
        } else if kind == "Images" && self.size == 0 && self.count > 0 {
            reclaimable = format!("{reclaimable} (0%)");
        }
        Row::new()
            .with("Type", kind)
            .with("TotalCount", self.count.to_string())
            .with("Active", self.active.to_string())
            .with("Size", size::human(self.size as f64))
            .with("Reclaimable", reclaimable)
    }
}
