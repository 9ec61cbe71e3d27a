//! What the process takes of its machine: memory, and the disk below its data.

use std::path::Path;

use metrics::{Unit, describe_gauge, gauge};

const RESIDENT: &str = "skyweir_process_resident_bytes";
const DISK_FREE: &str = "skyweir_disk_free_bytes";
const DISK_SIZE: &str = "skyweir_disk_size_bytes";

/// Where Linux tells a process about itself.
const STATUS: &str = "/proc/self/status";

pub(super) fn describe() {
    describe_gauge!(RESIDENT, Unit::Bytes, "Memory that the process takes; only where the system is Linux");
    describe_gauge!(
        DISK_FREE,
        Unit::Bytes,
        "What the process may still write to the disk that its data is on"
    );
    describe_gauge!(DISK_SIZE, Unit::Bytes, "Size of that disk");
}

/// Sets the gauges. What the system doesn't tell stays as it was.
pub(crate) fn record(data_dir: &Path) {
    if let Some(bytes) = std::fs::read_to_string(STATUS).ok().as_deref().and_then(resident) {
        gauge!(RESIDENT).set(bytes as f64);
    }
    if let Ok(disk) = rustix::fs::statvfs(data_dir) {
        gauge!(DISK_FREE).set((disk.f_bavail * disk.f_frsize) as f64);
        gauge!(DISK_SIZE).set((disk.f_blocks * disk.f_frsize) as f64);
    }
}

/// Resident bytes, from the text of `/proc/self/status`.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn gauges_are_set() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || record(Path::new(".")));
        let text = recorder.handle().render();
        let value = |name| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.parse::<f64>().ok())
        };
        let (free, size) = (value(DISK_FREE), value(DISK_SIZE));
        assert!(free > Some(0.0) && free < size, "{text}");
        assert_eq!(value(RESIDENT) > Some(0.0), cfg!(target_os = "linux"), "{text}");
    }

    #[test]
    fn memory_is_read() {
        let text = "VmHWM:\t  131072 kB\nVmRSS:\t   65536 kB\nRssAnon:\t 1 kB\n";
        assert_eq!(resident(text), Some(64 << 20));
        assert_eq!(resident("VmHWM:\t  131072 kB\n"), None);
    }
}
