//! The checks: which fields each type has, and timings that can work.

use crate::file::{CheckReference, CheckSection, ExpectSection, File, TlsSection, Wire};
use crate::model::{Check, CheckKind, ExpectStatus, HttpCheck, TlsOptions};
use crate::reader::{At, Field, Reader};
use crate::scalar::{CheckType, show_duration};
use crate::table::{List, Or};
use CheckType::{Dns, Grpc, Http, Https, Icmp, Script, Tcp, Tls, Udp};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The checks by name; one that was refused has no value.
pub(super) type Checks = HashMap<String, Option<Arc<Check>>>;

/// The name that stands for no check.
const NONE: &str = "none";

/// The types that have each field. A field that is not here, all types have.
const ONLY: &[(&str, &[CheckType])] = &[
    ("port", &[Tcp, Tls, Http, Https, Grpc, Udp, Dns, Script]),
    ("method", &[Http, Https]),
    ("path", &[Http, Https]),
    ("host", &[Http, Https]),
    ("headers", &[Http, Https]),
    ("expect", &[Http, Https, Udp]),
    ("tls", &[Tls, Https, Grpc]),
    ("service", &[Grpc]),
    ("send", &[Udp]),
    ("name", &[Dns]),
    ("record", &[Dns]),
    ("command", &[Script]),
];

pub(super) fn resolve(reader: &mut Reader<'_>, file: &File) -> Checks {
    let mut checks = Checks::new();
    for (name, section) in file.checks.get().map(|named| named.0.as_slice()).unwrap_or_default() {
        if name.value.0 == NONE {
            reader.error_at_key(name.node, "`none` means no check", "call this one something else");
        }
        let check = section.as_ref().and_then(|section| check(reader, section));
        checks.insert(name.value.0.clone(), check.map(Arc::new));
    }
    checks
}

/// The check that a reference means; `None` if it was refused, `Some(None)` for no check.
pub(super) fn referred(
    reader: &mut Reader<'_>,
    reference: &At<CheckReference>,
    checks: &Checks,
) -> Option<Option<Arc<Check>>> {
    match &reference.value {
        Or::Short(name) if name.0 == NONE => Some(None),
        Or::Short(name) => match checks.get(&name.0) {
            Some(check) => check.clone().map(Some),
            None => {
                reader.dangling(reference.node, "check", &name.0, checks.keys().map(String::as_str));
                None
            }
        },
        Or::Long(section) => check(reader, section).map(|check| Some(Arc::new(check))),
    }
}

fn check(reader: &mut Reader<'_>, section: &CheckSection) -> Option<Check> {
    let At { value: kind, node } = section.r#type?;
    for (key, types) in ONLY {
        if let Some(field) = reader.child(section.at, key)
            && !types.contains(&kind)
        {
            let message = format!("`{key}` is not for a check of type {}", reader.text(node));
            reader.error_at_key(field, message, "delete it");
        }
    }
    let interval = section.interval.get().map_or(Duration::from_secs(2), |time| time.0);
    let timeout = section.timeout.get().map_or(Duration::from_secs(1).min(interval), |time| time.0);
    let fast_interval =
        section.fast_interval.get().map_or(Duration::from_millis(500).min(interval), |time| time.0);
    let at_most = |reader: &mut Reader<'_>, node, what: &str, time: Duration| {
        if time > interval {
            let (time, interval) = (show_duration(time), show_duration(interval));
            let message = format!("`{what}` ({time}) is longer than `interval` ({interval})");
            reader.error(node, message, format!("write at most {interval}, or a longer `interval`"));
        }
    };
    if let Some(field) = &section.timeout {
        at_most(reader, field.node, "timeout", timeout);
    }
    if let Some(field) = &section.fast_interval {
        at_most(reader, field.node, "fast_interval", fast_interval);
    }
    Some(Check {
        kind: check_kind(reader, section, kind)?,
        port: section.port.get().and_then(|port| u16::try_from(port.0).ok()),
        interval,
        fast_interval,
        timeout,
        rise: section.rise.get().map_or(2, |number| number.0),
        fall: section.fall.get().map_or(3, |number| number.0),
        jitter_percent: section.jitter.get().and_then(|number| u8::try_from(number.0).ok()).unwrap_or(10),
    })
}

fn check_kind(reader: &mut Reader<'_>, section: &CheckSection, kind: CheckType) -> Option<CheckKind> {
    let tls_section = section.tls.get();
    Some(match kind {
        Tcp => CheckKind::Tcp,
        Tls => CheckKind::Tls(tls(reader, tls_section)),
        Http => CheckKind::Http(http(reader, section)),
        Https => CheckKind::Https(http(reader, section), tls(reader, tls_section)),
        Grpc => CheckKind::Grpc {
            service: section.service.get().map(|name| name.0.clone()).unwrap_or_default(),
            tls: tls_section.map(|section| tls(reader, Some(section))),
        },
        Udp => CheckKind::Udp {
            send: section.send.get().map(bytes).unwrap_or_default(),
            expect: udp_expect(reader, section),
        },
        Dns => CheckKind::Dns {
            name: dns_name(reader, section)?,
            record: section.record.get().map_or("A", |record| record.0).to_owned(),
        },
        Icmp => CheckKind::Icmp,
        Script => CheckKind::Script { command: command(reader, section)? },
    })
}

fn http(reader: &mut Reader<'_>, section: &CheckSection) -> HttpCheck {
    let expect = match section.expect.as_ref().map(|field| (field.node, &field.value)) {
        None => None,
        Some((_, Or::Long(expect))) => Some(expect),
        Some((node, Or::Short(_))) => {
            reader.error(node, "text stands here", "write {status: [200], body: text}");
            None
        }
    };
    if let Some(hex) = expect.and_then(|expect| expect.hex.as_ref()) {
        reader.error_at_key(hex.node, "`hex` is for checks of type udp", "write `body`");
    }
    let statuses = expect.and_then(|expect| expect.status.get()).map(|list| list.0.as_slice());
    let statuses: Vec<ExpectStatus> = statuses.unwrap_or_default().iter().map(|at| at.value).collect();
    let usual = vec![ExpectStatus { first: 200, last: 399 }];
    let headers = section.headers.get().map(|named| named.0.as_slice()).unwrap_or_default();
    HttpCheck {
        method: section.method.get().map_or_else(|| "GET".to_owned(), |method| method.0.clone()),
        path: section.path.get().map_or_else(|| "/".to_owned(), |path| path.0.clone()),
        host: section.host.get().map(|host| host.0.clone()),
        headers: headers
            .iter()
            .filter_map(|(name, value)| Some((name.value.0.clone(), value.as_ref()?.0.clone())))
            .collect(),
        status: if statuses.is_empty() { usual } else { statuses },
        body: expect.and_then(|expect| expect.body.get().cloned()),
    }
}

fn tls(reader: &mut Reader<'_>, section: Option<&TlsSection>) -> TlsOptions {
    let Some(section) = section else { return TlsOptions::default() };
    let verify = section.verify.get().copied().unwrap_or(false);
    if let Some(field) = &section.verify
        && verify
        && section.ca.is_none()
        && !reader.refused_within(section.at)
    {
        reader.error(
            field.node,
            "nothing says which authorities are trusted",
            "add `ca:` with the PEM file of the authority that signed the servers' certificates",
        );
    }
    if let Some(field) = &section.ca
        && !verify
    {
        reader.warn(
            field.node,
            "`ca` without `verify: true` does nothing",
            "add `verify: true`, or delete it",
        );
    }
    let client = match (&section.client_certificate, &section.client_key) {
        (Some(certificate), Some(key)) => Some((certificate.value.0.clone(), key.value.0.clone())),
        (Some(lonely), None) | (None, Some(lonely)) => {
            if !reader.refused_within(section.at) {
                let help = "write both `client_certificate` and `client_key`, or none";
                reader.error(lonely.node, "a certificate and its key go together", help);
            }
            None
        }
        (None, None) => None,
    };
    TlsOptions {
        ca: section.ca.get().map(|path| path.0.clone()),
        verify,
        client,
        server_name: section.server_name.get().map(|name| name.0.clone()),
    }
}

fn bytes(wire: &Wire) -> Vec<u8> {
    match wire {
        Or::Short(text) => text.as_bytes().to_vec(),
        Or::Long(section) => section.hex.get().map(|hex| hex.0.clone()).unwrap_or_default(),
    }
}

fn udp_expect(reader: &mut Reader<'_>, section: &CheckSection) -> Vec<u8> {
    match section.expect.get() {
        None => Vec::new(),
        Some(Or::Short(text)) => text.as_bytes().to_vec(),
        Some(Or::Long(ExpectSection { status, body, hex, .. })) => {
            let http = [status.as_ref().map(|field| field.node), body.as_ref().map(|field| field.node)];
            for node in http.into_iter().flatten() {
                reader.error_at_key(
                    node,
                    "this is for checks of type http and https",
                    "write `hex`, or text",
                );
            }
            hex.get().map(|hex| hex.0.clone()).unwrap_or_default()
        }
    }
}

fn dns_name(reader: &mut Reader<'_>, section: &CheckSection) -> Option<String> {
    let Some(name) = &section.name else {
        if reader.child(section.at, "name").is_none() {
            reader.error(section.at, "a dns check needs a name", "add `name:`, the name to ask for");
        }
        return None;
    };
    let label =
        |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_graphic());
    let labels = name.value.strip_suffix('.').unwrap_or(&name.value);
    if name.value != "." && !(name.value.len() <= 253 && labels.split('.').all(label)) {
        let help = "write a name such as `example.org`: labels of 1 to 63 characters, at most 253 in all";
        reader.error(name.node, "this is not a DNS name", help);
        return None;
    }
    Some(name.value.clone())
}

fn command(reader: &mut Reader<'_>, section: &CheckSection) -> Option<Vec<String>> {
    const HELP: &str = "write a list, such as [/usr/local/bin/check-mysql, --quick]: the program by its whole path, no shell";
    let Some(command) = &section.command else {
        if reader.child(section.at, "command").is_none() {
            reader.error(section.at, "a script check needs a command", format!("add `command:`; {HELP}"));
        }
        return None;
    };
    command_words(reader, command, HELP)
}

/// A program and its arguments.
pub(super) fn command_words(
    reader: &mut Reader<'_>,
    command: &At<List<String>>,
    help: &str,
) -> Option<Vec<String>> {
    match command.value.0.as_slice() {
        [] => {
            if !reader.refused_within(command.node) {
                reader.error(command.node, "the command is empty", help);
            }
            return None;
        }
        [program, ..] if !program.value.starts_with('/') => {
            reader.error(program.node, format!("`{}` is not an absolute path", program.value), help);
        }
        _ => {}
    }
    for argument in &command.value.0 {
        if argument.value.contains('\0') {
            reader.error(argument.node, "an argument can't contain a zero byte", "delete it");
        }
    }
    Some(command.value.0.iter().map(|argument| argument.value.clone()).collect())
}
