use super::*;
use fulcrum_config::preflight::State;
use serde_json::json;

fn node(name: &str, version: &str) -> Node {
    let value = json!({
        "metadata": {"name": name},
        "status": {"nodeInfo": {
            "kubeletVersion": version, "architecture": "", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "",
            "kubeProxyVersion": "", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": "",
        }},
    });
    serde_json::from_value(value).unwrap_or_default()
}

#[test]
fn workers_that_are_upgraded_before_the_control_plane_or_left_behind_are_named() {
    let cases = [
        ("v1.33.1", "v1.33.9", State::Ok, "none is newer"),
        ("v1.33.1", "v1.30.0", State::Ok, "none is newer"),
        (
            "v1.33.1-gke.100",
            "v1.34.0",
            State::Warning,
            "newer than the API server (v1.33.1-gke.100): w1 (v1.34.0)",
        ),
        ("v1.33.1", "v2.0.0", State::Warning, "newer"),
        (
            "v1.33.1",
            "v1.29.12",
            State::Warning,
            "3 minor versions behind the API server (v1.33.1): w1 (v1.29.12)",
        ),
        ("v1.9.0", "v1.10.0", State::Warning, "newer"),
        ("v1.33+", "v1.33.0", State::Ok, "none"),
        ("what", "v1.33.0", State::NotApplicable, "'what'"),
        // The lab's nodes say nothing.
        ("v1.33.1", "", State::NotApplicable, "no node"),
    ];
    for (server, kubelet, state, words) in cases {
        let lines = lines("cluster prod", server, &[node("w1", kubelet)]);
        let told: Vec<_> = lines.iter().map(|line| (line.state, line.found.as_str())).collect();
        assert!(
            matches!(told[..], [(is, found)] if is == state && found.contains(words)),
            "{server} {kubelet}: {told:?}"
        );
    }
}

#[test]
fn both_at_once_are_two_lines() {
    let nodes = [node("w1", "v1.34.0"), node("w2", "v1.28.0"), node("w3", "v1.33.0")];
    let lines = lines("cluster prod", "v1.33.0", &nodes);
    assert_eq!(lines.iter().map(|line| line.state).collect::<Vec<_>>(), [State::Warning, State::Warning]);
    assert!(lines.iter().all(|line| !line.found.contains("w3") && line.remedy.is_some()), "{lines:?}");
}
