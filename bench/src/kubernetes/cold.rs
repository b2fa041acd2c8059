//! Nodes start before a cluster with very many Services.

use super::living::{log_length, took_ms};
use super::scene::{Reached, SERVICES, SLICES, Scene, memory, metrics, service, slice};
use super::{Plan, milliseconds, table};
use fulcrum_tests::Result;
use fulcrum_tests::lab::Lab;
use fulcrum_tests::wait::{now, run_for};
use serde_json::json;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

/// Endpoints of each Service.
const PODS: u32 = 10;
/// Services that are asked first; once they answer, all are.
const ASKED: usize = 50;

/// What one start took.
struct Started {
    some: f64,
    all: f64,
    memory: Vec<(f64, f64)>,
}

pub(super) fn run(plan: &Plan) -> Result<String> {
    let lab = Lab::new()?;
    let mut scene = Scene::new(&lab, Reached::Pods, &plan.mode)?;
    eprintln!("{} Services of {PODS} endpoints each are created", plan.services);
    let (objects, targets): (Vec<_>, Vec<SocketAddr>) =
        (0..plan.services).map(|number| service(number, plan.share, Reached::Pods)).unzip();
    scene.api.create_all(SERVICES, &objects)?;
    let slices: Vec<_> = (0..plan.services).map(|number| slice(number, PODS, None)).collect();
    scene.api.create_all(SLICES, &slices)?;

    eprintln!("the nodes start for the first time");
    let begun = now();
    let first = start(&mut scene, &targets)?;
    scene.wait_told(plan.services)?;
    let told = milliseconds(begun.elapsed());
    run_for(Duration::from_secs(5));
    let (mut some, mut all) = (vec![first.some], vec![first.all]);
    let (mut again, mut again_all) = (Vec::new(), Vec::new());
    let mut most = first.memory;
    for round in 0..plan.rounds.min(3) {
        for forget in [true, false] {
            eprintln!(
                "start {}, {}",
                round + 1,
                if forget { "with empty disks" } else { "with what they had" }
            );
            scene.stop(forget)?;
            let started = start(&mut scene, &targets)?;
            let (first, whole) = if forget { (&mut some, &mut all) } else { (&mut again, &mut again_all) };
            first.push(started.some);
            whole.push(started.all);
            run_for(Duration::from_secs(8));
            most.extend(started.memory);
            most.extend(scene.nodes.iter().map(memory).collect::<Result<Vec<_>>>()?);
        }
    }
    let changes = moved(&scene, plan)?;
    most.extend(scene.nodes.iter().map(memory).collect::<Result<Vec<_>>>()?);
    let begun = now();
    let page = metrics(&scene.nodes[0])?.len();
    let scraped = (milliseconds(begun.elapsed()), page as f64 / 1e6, memory(&scene.nodes[0])?);
    let mut text = format!(
        "\n### {} Services with {} endpoints, {} Services to an address (`mode: {}`, `backends: pods`, `check: none`)\n\n",
        plan.services,
        plan.services * PODS,
        plan.share,
        plan.mode
    );
    let rows = [
        ("both nodes started with nothing on their disks, to an answer of all of 50 of them", some),
        ("the same to an answer of all (24 are asked at a time)", all),
        ("the same, addresses in the status of all (new to the cluster, two writes each)", vec![told]),
        ("both nodes started again with what they had, to an answer of all of 50", again),
        ("the same to an answer of all", again_all),
    ];
    text += &table(&[rows.to_vec(), changes].concat());
    let largest = |of: fn(&(f64, f64)) -> f64| most.iter().map(of).fold(f64::NAN, f64::max);
    let _ = writeln!(
        text,
        "\nMemory of a daemon: {:.0} MiB at most when looked at, {:.0} MiB at its peak; after its metrics were asked for ({:.0} MB of text in {:.0} ms) \
         {:.0} and {:.0} MiB.",
        largest(|it| it.0),
        largest(|it| it.1),
        scraped.1,
        scraped.0,
        scraped.2.0,
        scraped.2.1
    );
    Ok(text)
}

fn start(scene: &mut Scene, targets: &[SocketAddr]) -> Result<Started> {
    let begun = now();
    scene.start()?;
    let step = (targets.len() / ASKED).max(1);
    let few: Vec<SocketAddr> = targets.iter().step_by(step).chain(targets.last()).copied().collect();
    let some = scene.wait_answers(&few, None)?.duration_since(begun);
    let all = scene.wait_answers(targets, None)?.duration_since(begun);
    let memory = scene.nodes.iter().map(memory).collect::<Result<_>>()?;
    eprintln!("{:.0} ms, all {:.0} ms, {memory:?}", milliseconds(some), milliseconds(all));
    Ok(Started { some: milliseconds(some), all: milliseconds(all), memory })
}

/// The endpoints of one of them become others.
fn moved(scene: &Scene, plan: &Plan) -> Result<Vec<(&'static str, Vec<f64>)>> {
    let number = plan.services / 2;
    let (_, target) = service(number, plan.share, Reached::Pods);
    let (mut changed, mut took) = (Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        eprintln!("round {}/{}: endpoints of one become others", round + 1, plan.rounds);
        let to = usize::from(round % 2 == 0);
        let mark = log_length(scene);
        let endpoints = slice(number, PODS, Some(to))["endpoints"].clone();
        let begun = now();
        scene.api.patch(&format!("{SLICES}/s{number}-x"), &json!({"endpoints": endpoints}))?;
        // From both machines to one: the first answer of the other may be of before.
        let answer = scene.wait_answers(&[target], Some(["web1", "web2"][to]))?;
        if round > 0 {
            changed.push(milliseconds(answer.duration_since(begun)));
        }
        run_for(Duration::from_millis(3_000));
        took.extend(took_ms(scene, &mark).first());
    }
    Ok(vec![
        ("endpoints of one Service changed to a new connection that gets to the new ones", changed),
        ("of that: applied on both nodes", took),
    ])
}
