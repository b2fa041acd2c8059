use super::*;
use fulcrum_lb::ServiceObserved;

const BEFORE: u64 = 6;
const TRIAL: u64 = 7;

fn observed(errors: &[&str]) -> Observed {
    let errors = errors.iter().map(|error| (*error).to_owned()).collect();
    let service = ServiceObserved { errors, ..ServiceObserved::default() };
    let services = [(ServiceName::new("web"), service)].into();
    Observed { services, applied: BEFORE, ..Observed::default() }
}

#[tokio::test(start_paused = true)]
async fn silence_is_consent() {
    let (_lb, seen) = watch::channel(observed(&[]));
    let web = BTreeSet::from([ServiceName::new("web")]);
    assert_eq!(listens(seen, TRIAL, &web).await, Ok(()));
}

#[tokio::test(start_paused = true)]
#[allow(clippy::disallowed_methods, reason = "the clock of the test, which stands still")]
async fn it_ends_when_the_data_plane_says_that_all_stand() {
    let (lb, seen) = watch::channel(observed(&[]));
    let web = BTreeSet::from([ServiceName::new("web")]);
    let begun = tokio::time::Instant::now();
    let trial = tokio::spawn(async move { listens(seen, TRIAL, &web).await });
    tokio::task::yield_now().await;
    assert!(!trial.is_finished(), "what was applied before says nothing");
    lb.send_modify(|observed| observed.applied = TRIAL);
    assert_eq!(trial.await.unwrap(), Ok(()));
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_a_changed_service_counts() {
    let (lb, seen) = watch::channel(observed(&[]));
    let web = BTreeSet::from([ServiceName::new("web")]);
    let trial = listens(seen, TRIAL, &web);
    lb.send_replace(observed(&["address in use"]));
    assert_eq!(trial.await, Err(vec!["service web: address in use".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn an_error_of_another_service_does_not() {
    let (_lb, seen) = watch::channel(observed(&["address in use"]));
    let other = BTreeSet::from([ServiceName::new("other")]);
    assert_eq!(listens(seen, TRIAL, &other).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn of_ten_thousand_errors_some_are_told_and_how_many_there_are() {
    let (lb, seen) = watch::channel(observed(&[]));
    let web = BTreeSet::from([ServiceName::new("web")]);
    let trial = listens(seen, TRIAL, &web);
    lb.send_replace(observed(&["too many open files"; 10_000]));
    let told = trial.await.unwrap_err();
    assert_eq!(told.len(), TOLD + 1);
    assert_eq!(told.last().map(String::as_str), Some("... and 9980 more"));
}

#[test]
fn a_rehearsal_touches_nothing_that_runs() {
    let config = |services: &str| {
        let text = format!(
            "node: lb1\nnodes: {{lb1: {{addresses: [10.0.0.11]}}}}\ninterfaces: {{eth0: {{networks: [10.0.0.0/24]}}}}\n\
             groups: {{web: {{vrid: 51, vips: [10.0.0.100]}}}}\nservices:\n{services}"
        );
        fulcrum_config::parse(&text, "test", "lb1").unwrap().config
    };
    let service = |name: &str, port: u16, backend: &str| {
        format!("  {name}: {{vip: 10.0.0.100, port: {port}, backends: ['{backend}:80'], check: none}}\n")
    };
    let old = config(&[service("same", 80, "10.0.0.21"), service("gone", 81, "10.0.0.21")].concat());
    let new = [
        service("same", 80, "10.0.0.22"),
        service("in-the-way", 81, "10.0.0.21"),
        service("more", 82, "10.0.0.21"),
    ];
    let (table, added) = additions(&old, &config(&new.concat()));
    assert_eq!(added, BTreeSet::from([ServiceName::new("more")]));
    let names: Vec<&str> = table.services.keys().map(ServiceName::as_str).collect();
    assert_eq!(names, ["gone", "more", "same"]);
    assert!(old.services.iter().all(|(name, service)| table.services[name] == *service));
}
