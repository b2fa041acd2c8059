//! A Service is created, and endpoints of one change, while hundreds of others live; then nothing happens.

use super::scene::{Reached, SERVICES, SLICES, Scene, USER, service, slice};
use super::{Plan, milliseconds, table};
use crate::cluster::cpu_seconds;
use fulcrum_tests::lab::{Fulcrum, Lab};
use fulcrum_tests::wait::{now, run_for, wait_until};
use fulcrum_tests::{LabError, Result};
use serde_json::json;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

/// How long it is looked at whether anything is written.
const REST: Duration = Duration::from_secs(65);
/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(1_500);

pub(super) fn run(plan: &Plan) -> Result<String> {
    let lab = Lab::new()?;
    let scene = begin(&lab, plan)?;
    let rows = [created(&scene, plan)?, moved(&scene, plan)?].concat();
    let mut text = format!("\n### Changes beside {} other Services (`mode: {}`)\n\n", plan.living, plan.mode);
    text += &table(&rows);
    text += &rest(&scene, plan)?;
    Ok(text)
}

/// The scene with the Services that live.
pub(super) fn begin(lab: &Lab, plan: &Plan) -> Result<Scene> {
    eprintln!("{} Services are created", plan.living);
    let mut scene = Scene::new(lab, Reached::NodePorts, &plan.mode)?;
    let living = (0..plan.living).map(|number| service(number, 1, Reached::NodePorts));
    let (objects, targets): (Vec<_>, Vec<SocketAddr>) = living.unzip();
    scene.api.create_all(SERVICES, &objects)?;
    scene.start()?;
    scene.wait_settled()?;
    scene.wait_answers(&targets, None)?;
    scene.wait_told(plan.living)?;
    run_for(Duration::from_secs(3));
    Ok(scene)
}

/// New Services: until they answer, and until their status says the address.
fn created(scene: &Scene, plan: &Plan) -> Result<Vec<(&'static str, Vec<f64>)>> {
    let (mut answered, mut told, mut took) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        eprintln!("round {}/{}: a Service is created", round + 1, plan.rounds);
        let (object, target) = service(plan.living + round, 1, Reached::NodePorts);
        let mark = log_length(scene);
        let begun = now();
        scene.api.post(SERVICES, &object)?;
        let (answer, status) = std::thread::scope(|scope| {
            let path = format!("{SERVICES}/s{}", plan.living + round);
            let status = scope.spawn(move || {
                wait_until("its address in its status", Duration::from_secs(30), || {
                    let said = scene.api.get(&path).unwrap_or_default();
                    let told = said["status"]["loadBalancer"]["ingress"].is_array();
                    run_for(Duration::from_millis(if told { 0 } else { 10 }));
                    told
                })
                .map(|()| now())
            });
            let answer = scene.wait_answers(&[target], None);
            (answer, status.join())
        });
        answered.push(milliseconds(answer?.duration_since(begun)));
        let status = status.map_err(|_| LabError::new("it panicked"))??;
        told.push(milliseconds(status.duration_since(begun)));
        run_for(PAUSE);
        took.extend(took_ms(scene, &mark).first());
    }
    Ok(vec![
        ("Service created (the request sent) to the first answer through its VIP", answered),
        ("the same to its address in its status", told),
        ("of that: applied on both nodes, as the writer's log has it", took),
    ])
}

/// One endpoint becomes another: until a new connection gets there.
fn moved(scene: &Scene, plan: &Plan) -> Result<Vec<(&'static str, Vec<f64>)>> {
    let number = plan.living + plan.rounds;
    let (mut object, target) = service(number, 1, Reached::NodePorts);
    object["spec"]["externalTrafficPolicy"] = json!("Local");
    scene.api.post(SLICES, &slice(number, 1, Some(0)))?;
    scene.api.post(SERVICES, &object)?;
    scene.wait_answers(&[target], Some("web1"))?;
    run_for(PAUSE);
    let (mut changed, mut took) = (Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        eprintln!("round {}/{}: an endpoint becomes another", round + 1, plan.rounds);
        let to = usize::from(round % 2 == 0);
        let mark = log_length(scene);
        let endpoints = slice(number, 1, Some(to))["endpoints"].clone();
        let begun = now();
        scene.api.patch(&format!("{SLICES}/s{number}-x"), &json!({"endpoints": endpoints}))?;
        let answer = scene.wait_answers(&[target], Some(["web1", "web2"][to]))?;
        changed.push(milliseconds(answer.duration_since(begun)));
        run_for(PAUSE);
        took.extend(took_ms(scene, &mark).first());
    }
    Ok(vec![
        ("endpoint changed (the request sent) to a new connection that gets to the new one", changed),
        ("of that: applied on both nodes", took),
    ])
}

/// Nothing happens.
fn rest(scene: &Scene, plan: &Plan) -> Result<String> {
    eprintln!("nothing happens for {} s", REST.as_secs());
    // Events of what was just done.
    run_for(Duration::from_secs(3));
    let count = || (scene.kube.written_by(USER).len(), scene.kube.asked_by(USER).len());
    let used = || -> f64 { scene.nodes.iter().map(|node| cpu_seconds(node.process())).sum() };
    let ((written, asked), before, begun) = (count(), used(), now());
    run_for(REST);
    let cpu = (used() - before) / begun.elapsed().as_secs_f64() / 2.0 * 100.0;
    let after = count();
    let mut text = format!(
        "\n### At rest with {} Services, {} s, both nodes\n\n",
        plan.living + plan.rounds + 1,
        REST.as_secs()
    );
    text.push_str("| writes to the API server | other requests | CPU of a node, % of a core | memory of a node, MiB | at most |\n");
    text.push_str("|---:|---:|---:|---:|---:|\n");
    let memory = super::scene::memory(&scene.nodes[0])?;
    let (written, asked) = (after.0 - written, after.1 - asked);
    let _ =
        writeln!(text, "| {written} | {} | {cpu:.1} | {:.0} | {:.0} |", asked - written, memory.0, memory.1);
    Ok(text)
}

/// How long the logs are.
pub(super) fn log_length(scene: &Scene) -> Vec<usize> {
    scene.nodes.iter().map(|node| node.process().log().len()).collect()
}

/// What the logs since then say of how long sources' changes took.
pub(super) fn took_ms(scene: &Scene, since: &[usize]) -> Vec<f64> {
    let of = |(node, since): (&Fulcrum, &usize)| {
        let log = node.process().log();
        let new = log.get(*since..).unwrap_or_default();
        let lines = new.lines().filter(|line| line.contains("a source says something else"));
        let value = |line: &str| {
            let after = line.split_once("took_ms")?.1;
            let digits = after.trim_start_matches(|it: char| !it.is_ascii_digit());
            digits.split(|it: char| !it.is_ascii_digit()).next()?.parse().ok()
        };
        lines.filter_map(value).collect::<Vec<f64>>()
    };
    scene.nodes.iter().zip(since).flat_map(of).collect()
}
