//! How operators reach the daemon.

use crate::file::File;
use crate::model::{Admin, TcpAdmin};
use crate::reader::Field;

pub(super) fn resolve(file: &File) -> Admin {
    let mut admin = Admin::default();
    let Some(section) = file.admin.get() else { return admin };
    if let Some(socket) = section.socket.get() {
        admin.socket.clone_from(&socket.0);
    }
    admin.viewer_group = section.viewer_group.get().map(|group| group.0.clone());
    admin.tcp = section.tcp.get().and_then(|tcp| {
        Some(TcpAdmin {
            listen: *tcp.listen.get()?,
            certificate: tcp.certificate.get()?.0.clone(),
            key: tcp.key.get()?.0.clone(),
            viewer_ca: tcp.viewer_ca.get()?.0.clone(),
            operator_ca: tcp.operator_ca.get()?.0.clone(),
        })
    });
    admin.metrics = section.metrics.get().copied();
    if let Some(state_dir) = section.state_dir.get() {
        admin.state_dir.clone_from(&state_dir.0);
    }
    if let Some(backups) = section.backups.get() {
        admin.backups.keep = backups.keep.get().map_or(admin.backups.keep, |keep| keep.0);
        admin.backups.passphrase_file = backups.passphrase_file.get().map(|path| path.0.clone());
    }
    if let Some(crashes) = section.held_after_crashes.get() {
        admin.held_after_crashes = crashes.0;
    }
    if let Some(log) = section.log.get() {
        admin.log_format = *log;
    }
    admin
}
