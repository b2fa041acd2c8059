//! The command line with wrong input, and without a daemon: exit codes, and messages that say what to do.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by it")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn fulcrum(arguments: &[&str]) -> Output {
    #[allow(clippy::disallowed_methods, reason = "the tests of a command start it")]
    let mut command = Command::new(env!("CARGO_BIN_EXE_fulcrum"));
    command.args(arguments).env_remove("FULCRUM_SOCKET").output().expect("the command starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn assert_refused(output: &Output, code: i32, words: &[&str]) {
    let text = said(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "'{word}' is not in: {text}");
    }
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples").join(name)
}

fn written(directory: &tempfile::TempDir, text: &str) -> String {
    let path = directory.path().join("fulcrum.yaml");
    std::fs::write(&path, text).expect("room on the disk");
    path.display().to_string()
}

#[test]
fn without_a_command_or_with_an_unknown_one_it_says_how() {
    assert_refused(&fulcrum(&[]), 2, &["Usage", "status", "reload"]);
    assert_refused(&fulcrum(&["statsu"]), 2, &["status"]);
    assert_refused(&fulcrum(&["handover"]), 2, &["<GROUP>"]);
}

#[test]
fn every_command_explains_itself() {
    for command in [
        "run",
        "status",
        "reload",
        "capture",
        "check",
        "schema",
        "handover",
        "peer-key",
        "init",
        "version",
        "completions",
    ] {
        let output = fulcrum(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{command}: {}", said(&output));
        let has_example = printed(&output).contains("Example") || ["init", "version"].contains(&command);
        assert!(has_example, "{command} shows no example: {}", printed(&output));
    }
    assert!(!printed(&fulcrum(&["--help"])).contains("guard"), "the guard is not for people");
}

#[test]
fn a_file_that_is_not_there_is_refused() {
    for command in ["check", "run"] {
        assert_refused(
            &fulcrum(&[command, "/nowhere/fulcrum.yaml"]),
            1,
            &["/nowhere/fulcrum.yaml", "check its path"],
        );
    }
}

#[test]
fn a_bad_file_is_refused_with_line_and_help() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = written(&directory, "groups:\n  web: [\n");
    for command in ["check", "run"] {
        assert_refused(&fulcrum(&[command, &file]), 1, &["not YAML", &format!("{file}:3:"), "help"]);
    }
    let unknown = std::fs::read_to_string(example("pair.yaml")).expect("an example") + "\nservcies: {}\n";
    let file = written(&directory, &unknown);
    assert_refused(&fulcrum(&["check", &file]), 1, &["servcies", "services", "refused"]);
}

#[test]
fn check_takes_good_files_and_speaks_json() {
    for name in
        ["pair.yaml", "cluster.yaml", "witness.yaml", "control-plane.yaml", "dual-stack.yaml", "full.yaml"]
    {
        // These are of the node lb-1 where they do not say which.
        let text = std::fs::read_to_string(example(name)).expect("an example");
        let directory = tempfile::tempdir().expect("a directory");
        let named = if text.contains("\nnode:") { text } else { format!("node: lb-1\n{text}") };
        let output = fulcrum(&["check", "--json", &written(&directory, &named)]);
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(answer["good"], true, "{name}: {answer}");
        assert_eq!(output.status.code(), Some(0));
    }
    let directory = tempfile::tempdir().expect("a directory");
    let output = fulcrum(&["check", "--json", &written(&directory, "nonsense: true\n")]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(answer["good"], false);
    assert!(answer["diagnostics"][0]["line"].is_u64(), "{answer}");
}

#[test]
fn without_a_daemon_it_says_what_to_do() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("admin.sock");
    let socket = socket.to_str().expect("a path");
    for command in [&["status"][..], &["reload"], &["handover", "web"]] {
        let output = fulcrum(&[command, &["--socket", socket]].concat());
        assert_refused(&output, 3, &[socket, "no daemon answers", "is it running?"]);
    }
}

#[test]
fn a_bad_file_still_says_where_the_daemon_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("admin.sock").display().to_string();
    let file =
        written(&directory, &format!("admin: {{websocket: /no, socket: {socket}}}\nadmin2:\n  socket: /x\n"));
    for command in ["status", "reload"] {
        assert_refused(&fulcrum(&[command, "--config", &file]), 3, &[&socket, "no daemon answers"]);
    }
    let file = written(&directory, "nonsense: [\n");
    let output = fulcrum(&["status", "--config", &file]);
    for word in ["nonsense", "names no socket", "/run/fulcrum/"] {
        assert!(said(&output).contains(word), "'{word}' is not in: {}", said(&output));
    }
}

#[test]
fn the_schema_is_json() {
    let output = fulcrum(&["schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(schema["$schema"].is_string());
}

#[test]
fn init_writes_files_that_check_and_never_replaces_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let to = directory.path().to_str().expect("a path");
    let site = [
        "--node",
        "lb-1=10.0.0.11",
        "--node",
        "lb-2=10.0.0.12",
        "--vip",
        "10.0.0.100",
        "--interface",
        "eth0",
    ];
    let pair = [&["init", "pair", "--directory", to, "--backend", "10.0.0.21:80"], &site[..]].concat();
    let kubernetes =
        [&["init", "control-plane", "--directory", to, "--apiserver", "10.0.0.21"], &site[..]].concat();
    let output = fulcrum(&pair);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let file = directory.path().join("lb-2.yaml");
    let text = std::fs::read_to_string(&file).expect("the second node's file");
    // Each node has a private key of its own, and both files list both.
    let keys = ["lb-1", "lb-2"].map(|node| directory.path().join(format!("{node}.key")));
    let secrets = keys.each_ref().map(|key| std::fs::read_to_string(key).expect("a key"));
    for key in &keys {
        let mode = std::fs::metadata(key).expect("a key").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{key:?}");
        let output = fulcrum(&["peer-key", key.to_str().expect("a path")]);
        assert!(text.contains(&format!("keys: [\"{}\"]", printed(&output).trim())), "{text}");
    }
    assert_ne!(secrets[0], secrets[1]);
    assert!(printed(&output).contains("UDP port 4747"), "{}", printed(&output));
    assert_refused(&fulcrum(&kubernetes), 1, &["already there", "lb-2.yaml", "--force"]);
    assert_eq!(std::fs::read_to_string(&file).expect("still there"), text);
    let output = fulcrum(&[&kubernetes[..], &["--force"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let output = fulcrum(&["check", file.to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(printed(&output).contains("node lb-2"));
    // A private key is never replaced.
    assert_eq!(keys.map(|key| std::fs::read_to_string(key).expect("a key")), secrets);
}

#[test]
fn peer_key_makes_a_key_once_and_prints_its_pin() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("peer.key");
    let path = path.to_str().expect("a path");
    let (made, again) = (fulcrum(&["peer-key", path]), fulcrum(&["peer-key", path]));
    assert_eq!(made.status.code(), Some(0), "{}", said(&made));
    assert!(said(&made).contains("made ") && !said(&again).contains("made "));
    assert_eq!(printed(&made), printed(&again));
    assert!(printed(&made).starts_with("sha256:"), "{}", printed(&made));
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).expect("our own");
    assert_refused(&fulcrum(&["peer-key", path]), 1, &["0644", "chmod 600"]);
    assert_refused(&fulcrum(&["peer-key", "/nowhere/peer.key"]), 1, &["/nowhere/peer.key"]);
}

#[test]
fn a_pair_of_one_node_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let to = directory.path().to_str().expect("a path");
    let site = ["--node", "lb-1=10.0.0.11", "--vip", "10.0.0.100", "--interface", "eth0"];
    let pair = [&["init", "pair", "--directory", to, "--backend", "10.0.0.21:80"], &site[..]].concat();
    assert_refused(&fulcrum(&pair), 1, &["--node", "at least twice"]);
    assert!(!directory.path().join("lb-1.yaml").exists());
}

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let pipe = directory.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .expect("a pipe");
    for path in [&*pipe, directory.path()] {
        assert_refused(
            &fulcrum(&["check", &path.display().to_string()]),
            1,
            &["not a regular file", "name a file"],
        );
    }
}

#[test]
fn a_viewer_group_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().display();
    let text = std::fs::read_to_string(example("pair.yaml")).expect("an example");
    assert!(!text.contains("\nadmin:"), "the test brings its own");
    let admin = format!(
        "\nadmin: {{socket: {path}/admin.sock, state_dir: {path}, viewer_group: no-such-group}}\nnode: lb-1\n"
    );
    let file = written(&directory, &(text + &admin));
    assert_refused(
        &fulcrum(&["run", &file]),
        1,
        &["no-such-group", "create it, or correct admin.viewer_group"],
    );
}

#[test]
fn an_option_of_init_that_makes_no_sense_is_answered_with_what_to_write() {
    let pair = |more: [&str; 2], vip: &str| {
        let site = ["init", "pair", "--node", "a=10.0.0.1", "--node", "b=10.0.0.2", "--interface", "eth0"];
        let directory = tempfile::tempdir().expect("a directory");
        let options = ["--vip", vip, "--directory", directory.path().to_str().expect("a path")];
        let output = fulcrum(&[&site[..], &options, &more].concat());
        assert_eq!(std::fs::read_dir(directory.path()).expect("our own").count(), 0, "nothing is written");
        output
    };
    assert_refused(&pair(["--backend", "10.0.0.21"], "10.0.0.100"), 2, &["address:port, such as"]);
    assert_refused(&pair(["--backend", "10.0.0.21:80"], "10.0.0.300"), 2, &["an address, such as"]);
    assert_refused(&pair(["--network", "10.0.0.7"], "10.0.0.100"), 2, &["network and its length"]);
    assert_refused(&pair(["--port", "0"], "10.0.0.100"), 2, &["1..=65535"]);
    assert_refused(
        &pair(["--backend", "10.0.0.21:80"], "10.1.0.100"),
        1,
        &["no IPv4 address in the networks of eth0", "nothing was written"],
    );
}
