//! Real backends.

use super::{Machine, Process};
use crate::error::Result;
use crate::wait::wait_until;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// An nginx on port 80 of a machine, both families. It answers each request with its machine's name and the
/// address that the request came from, so that a client sees which backend served it and through which node.
#[derive(Debug)]
pub struct Nginx {
    /// Where it runs.
    pub machine: Machine,
    process: Process,
}

impl Nginx {
    /// Starts it and waits until it accepts.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(machine: &Machine) -> Result<Self> {
        let directory = machine.file("nginx");
        std::fs::create_dir_all(&directory)?;
        let path = machine.write("nginx.conf", &Self::config(machine, &directory.display().to_string()))?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&directory).arg("-e").arg(directory.join("error.log")).arg("-c").arg(path);
        let process = machine.spawn("nginx", command)?;
        let address = SocketAddr::new(machine.ipv4(), 80);
        wait_until(&format!("nginx on {}", machine.name()), Duration::from_secs(10), || {
            machine.namespace().enter(|| TcpStream::connect(address).is_ok()).unwrap_or(false)
        })?;
        Ok(Self { machine: machine.clone(), process })
    }

    /// One process, so that it also runs where only one user exists (a user namespace).
    fn config(machine: &Machine, directory: &str) -> String {
        let name = machine.name();
        format!(
            "daemon off;\nmaster_process off;\nuser root root;\npid {directory}/pid;\nworker_rlimit_nofile 20000;\n\
             events {{ worker_connections 10000; multi_accept on; }}\n\
             http {{\n  access_log off;\n  default_type text/plain;\n  keepalive_timeout 3600;\n\
             \x20 keepalive_requests 1000000;\n\
             \x20 client_body_temp_path {directory}/body;\n  proxy_temp_path {directory}/proxy;\n\
             \x20 fastcgi_temp_path {directory}/fastcgi;\n  uwsgi_temp_path {directory}/uwsgi;\n\
             \x20 scgi_temp_path {directory}/scgi;\n\
             \x20 server {{\n    listen 80 backlog=4096;\n    listen [::]:80 backlog=4096;\n\
             \x20   location / {{ return 200 \"{name} $remote_addr\\n\"; }}\n\
             \x20   location /files/ {{ root {directory}; limit_rate 8m; }}\n  }}\n}}\n"
        )
    }

    /// From now on it also has a file, `/files/<name>`, and sends 8 MiB of it a second.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path_of(name);
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        Ok(std::fs::write(path, bytes)?)
    }

    /// Where that file is.
    #[must_use]
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.machine.file("nginx").join("files").join(name)
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }
}
