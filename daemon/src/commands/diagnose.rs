//! `fulcrum diagnose`.
#![allow(clippy::disallowed_methods, reason = "names of files show the time; nothing is decided by it")]

use crate::cli::Connect;
use crate::cli::config::CONFIG_FILE;
use crate::cli::inspect::DiagnoseOptions;
use crate::client::Client;
use crate::commands::{ask, print};
use crate::diagnose::archive::Archive;
use crate::diagnose::collect;
use crate::diagnose::findings::{Finding, findings, without_daemon};
use crate::diagnose::redact::Redactor;
use crate::error::Failure;
use crate::explain::explain;
use crate::last_good;
use crate::node::{host_name, read};
use crate::preflight;
use fulcrum_config::{Config, Diagnostic};
use fulcrum_lifecycle::{Severity, Status};
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Far more than a secret needs.
const SECRET: u64 = 64 << 10;
/// Services whose chain is told.
const EXPLAINED: usize = 500;

pub(crate) fn diagnose(options: &DiagnoseOptions) -> Result<ExitCode, Failure> {
    let file = options.connect.config.clone().unwrap_or_else(|| PathBuf::from(CONFIG_FILE));
    let mut redactor = Redactor::default();
    let scene = Scene::new(&file, &options.connect, &mut redactor);
    let mut found: Vec<Finding> = match &scene.status {
        Ok(status) => findings(status),
        Err(why) => vec![without_daemon(why)],
    };
    found.iter_mut().for_each(|finding| finding.text = redactor.text(&finding.text));
    let page = page(&scene.node, &found);
    if options.no_archive {
        return show(options.json, &found, &page, None);
    }
    let at = SystemTime::now();
    let time = humantime::format_rfc3339_seconds(at).to_string();
    let compact: String = time.chars().filter(|it| !matches!(it, ':' | '-')).collect();
    let directory = format!("fulcrum-{}-{compact}", scene.node);
    let path = options.to.clone().unwrap_or_else(|| PathBuf::from(format!("{directory}.tar.gz")));
    let mut archive = Archive::default();
    archive.add("diagnosis.txt", format!("{page}\nmade {time}, fulcrum {}\n", env!("CARGO_PKG_VERSION")));
    archive.add_document("findings.json", json!(found));
    scene.fill(&mut archive);
    archive.redact(&redactor);
    let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
    archive.write(&path, &directory, seconds).map_err(Failure::Refused)?;
    show(options.json, &found, &page, Some(&path))
}

fn show(as_json: bool, found: &[Finding], page: &str, path: Option<&Path>) -> Result<ExitCode, Failure> {
    if as_json {
        return print(&format!("{:#}\n", json!({ "findings": found, "archive": path })));
    }
    let written = path.map(|path| {
        format!(
            "\n{} has all that shows it, without secrets; look into it before you send it\n",
            path.display()
        )
    });
    print(&format!("{page}{}", written.unwrap_or_default()))
}

fn page(node: &str, found: &[Finding]) -> String {
    if found.is_empty() {
        return format!(
            "diagnosis of {node}: nothing is broken, as far as this node knows; say it on the others, too\n"
        );
    }
    let mut page = format!("diagnosis of {node}:\n");
    for finding in found {
        let severity = match finding.severity {
            Severity::Critical => "BROKEN",
            Severity::Warning => "weak",
        };
        let (link, text, remedy) = (finding.link.word(), &finding.text, &finding.remedy);
        page.push_str(&format!("{severity:7} {link:14} {text}\n{:23}do: {remedy}\n", ""));
    }
    page
}

/// What is known of the node.
struct Scene {
    node: String,
    /// The file as a document, without what is secret, or why it is none.
    config: Result<(Arc<Config>, Value), String>,
    status: Result<Status, String>,
    raw: Option<Value>,
    client: Client,
    socket: PathBuf,
}

impl Scene {
    fn new(file: &Path, connect: &Connect, redactor: &mut Redactor) -> Self {
        let config = match read(file) {
            Ok((text, parsed)) => {
                learn_last_good(file, &parsed.config, redactor);
                document(&text, redactor).map(|value| (Arc::new(parsed.config), value))
            }
            Err(mistakes) => {
                redactor.learn_lines(&fulcrum_config::read(file).unwrap_or_default());
                // Without the lines that they are about.
                let line =
                    |it: &Diagnostic| format!("{}:{}: {} {}", it.file, it.place.line, it.path, it.message);
                Err(mistakes.iter().map(line).collect::<Vec<_>>().join("\n"))
            }
        };
        if let Ok((config, value)) = &config {
            learn_files(config, value, redactor);
        }
        let own = config.as_ref().ok().map(|(config, _)| config.admin.socket.clone());
        let socket =
            connect.socket.clone().or(own).unwrap_or_else(|| fulcrum_config::Admin::default().socket);
        let client = Client::new(&Connect { socket: Some(socket.clone()), config: None });
        let mut raw = ask::<Value>(&client);
        if let Ok(raw) = &mut raw {
            redactor.value(raw);
        }
        let status = raw.as_ref().map_err(ToString::to_string).and_then(|raw| {
            serde_json::from_value::<Status>(raw.clone())
                .map_err(|error| format!("it is of another version: {error}"))
        });
        let of_config = config.as_ref().ok().map(|(config, _)| config.node.to_string());
        let node = status.as_ref().ok().map(|it| it.node.clone()).or(of_config).unwrap_or_else(host_name);
        Self { node, config, status, raw: raw.ok(), client, socket }
    }

    fn fill(&self, archive: &mut Archive) {
        let mut missing = Vec::new();
        match &self.config {
            Ok((config, value)) => {
                archive.add_document("config.json", value.clone());
                let lines = preflight::run(config, self.socket.clone());
                archive.add_document("preflight.json", json!(lines));
            }
            Err(mistakes) => {
                missing.push(format!("config.json, preflight.json: the file is refused:\n{mistakes}"))
            }
        }
        if let Some(raw) = &self.raw {
            archive.add_document("status.json", raw.clone());
        }
        match &self.status {
            Ok(status) => explain_all(status, archive),
            Err(why) => {
                missing.push(format!("status.json, metrics.txt, explain: the daemon can't be asked: {why}"))
            }
        }
        match self.client.text("/metrics") {
            Ok(metrics) => archive.add("metrics.txt", metrics),
            Err(failure) => missing.push(format!("metrics.txt: {failure}")),
        }
        collect::machine(archive, &mut missing);
        if !missing.is_empty() {
            archive.add("missing.txt", format!("{}\n", missing.join("\n")));
        }
    }
}

fn explain_all(status: &Status, archive: &mut Archive) {
    for service in status.services.iter().take(EXPLAINED) {
        if let Ok(explained) = explain(status, &service.name) {
            let lines = explained.chain.iter().map(|step| format!("{:8} {}\n", step.about, step.text));
            archive.add(format!("explain/{}.txt", service.name), lines.collect::<String>());
        }
    }
}

/// A file as JSON, which has no comments, without secrets.
fn document(text: &str, redactor: &mut Redactor) -> Result<Value, String> {
    let json = fulcrum_config::adopt(text, text)?;
    let mut value = serde_json::from_str(&json).map_err(|error| error.to_string())?;
    redactor.value(&mut value);
    Ok(value)
}

/// What ran before may still be told of.
fn learn_last_good(file: &Path, config: &Config, redactor: &mut Redactor) {
    let path = last_good::path(&config.admin.state_dir, file);
    if let Ok(Some(text)) = fulcrum_config::last_good::recall(&path) {
        let _ = document(&text, redactor);
    }
}

/// What stands in the files that the configuration names as secret is taken out wherever it appears.
fn learn_files(config: &Config, value: &Value, redactor: &mut Redactor) {
    let mut files = vec![config.peer.key.clone()];
    files.extend(config.admin.tcp.as_ref().map(|tcp| tcp.key.clone()));
    named(value, &mut files);
    for file in files {
        let mut text = String::new();
        let is_file = std::fs::metadata(&file).is_ok_and(|found| found.is_file());
        let read =
            is_file.then(|| std::fs::File::open(&file).map(|it| it.take(SECRET).read_to_string(&mut text)));
        if matches!(read, Some(Ok(Ok(_)))) {
            redactor.learn(&text);
        }
    }
}

/// Files whose names say that they hold a key or a password.
fn named(value: &Value, files: &mut Vec<PathBuf>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let is_secret =
                    ["password_file", "passphrase_file", "client_key", "key"].contains(&name.as_str());
                match value.as_str() {
                    Some(path) if is_secret && path.starts_with('/') => files.push(PathBuf::from(path)),
                    _ => named(value, files),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| named(item, files)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
