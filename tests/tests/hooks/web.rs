//! Hooks that are calls by HTTP.

use crate::{LONG, wait_outcome};
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Linked, Machine};
use fulcrum_tests::wait::wait_until;
use fulcrum_tests::{LabError, Result};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

const PORT: u16 = 8099;

/// What a server was told, and what it answers.
#[derive(Default)]
struct Server {
    told: Mutex<Vec<String>>,
    answer: Mutex<String>,
}

impl Server {
    /// On a machine, for as long as the test lives.
    fn start(machine: &Machine) -> Result<Arc<Self>> {
        let listener = machine.namespace().enter(|| TcpListener::bind(("127.0.0.1", PORT)))??;
        let server = Arc::new(Self::default());
        server.answer("204 No Content", "");
        let serving = Arc::clone(&server);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serving.serve(stream).ok();
            }
        });
        Ok(server)
    }

    fn answer(&self, status: &str, body: &str) {
        let answer = format!(
            "HTTP/1.1 {status}\r\nLocation: http://127.0.0.1:{PORT}/elsewhere\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    fn serve(&self, mut stream: TcpStream) -> Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let (mut line, mut length) = (String::new(), 0);
        while reader.read_line(&mut line)? > 2 {
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().map_err(|_| LabError::new("a length"))?;
            }
            line.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let told = String::from_utf8_lossy(&body).into_owned();
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(told);
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(stream.write_all(answer.as_bytes())?)
    }

    fn told(&self, event: &str) -> usize {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter().filter(|told| told.contains(&format!("\"event\":\"{event}\""))).count()
    }
}

#[test]
fn a_call_by_http_is_told_and_asked_as_a_program_is() {
    Lab::run(|lab| {
        let url = format!("http://127.0.0.1:{PORT}/hooks/s3cret?key=s3cret");
        let hook = format!(
            "hooks:\n  chat: {{on: [before-standby, after-leading], url: '{url}', on_failure: abort, deadline: 2s}}"
        );
        let server = std::cell::RefCell::new(None);
        let scene = Linked::new(
            lab,
            |pair| pair.plan.top = vec![hook],
            |machine, file| {
                if server.borrow().is_none() {
                    server.replace(Some(Server::start(machine)?));
                }
                Fulcrum::start(machine, file)
            },
        )?;
        let server = server.into_inner().ok_or_else(|| LabError::new("no server was started"))?;
        let first = &scene.nodes[0];
        wait_until("it to be told", LONG, || server.told("after-leading") == 1)?;
        wait_outcome(first, "chat", "succeeded")?;

        server.answer("503 Busy", "not today\nand more");
        let said =
            first.command(&["handover", GROUP]).err().map(|error| error.to_string()).unwrap_or_default();
        let what = format!("hook chat http://127.0.0.1:{PORT} answered 503 Service Unavailable: not today");
        assert!(said.contains(&what), "{said}");
        assert_eq!(first.status()?.role(GROUP), Some("leader"));
        server.answer("302 Found", "");
        let said =
            first.command(&["handover", GROUP]).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains("answered 302 Found"), "{said}");
        for shown in [first.command(&["status"])?, first.command(&["status", "--json"])?, said] {
            assert!(!shown.contains("s3cret"), "{shown}");
        }
        let log = std::fs::read_to_string(first.machine.file("fulcrum.log"))?;
        assert!(log.contains("answered 302 Found") && !log.contains("s3cret"), "{log}");

        server.answer("200 OK", "fine");
        let said = first.command(&["handover", GROUP])?;
        assert!(said.contains("lb2 leads group web"), "{said}");
        assert_eq!(server.told("before-standby"), 3);
        Ok(())
    });
}
