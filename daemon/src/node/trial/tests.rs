use super::*;
use fulcrum_lb::ServiceObserved;

fn observed(errors: &[&str]) -> Observed {
    let errors = errors.iter().map(|error| (*error).to_owned()).collect();
    let service = ServiceObserved { errors, ..ServiceObserved::default() };
    Observed { services: [(ServiceName::new("web"), service)].into(), ..Observed::default() }
}

#[tokio::test(start_paused = true)]
async fn silence_is_consent() {
    let (_lb, seen) = watch::channel(observed(&[]));
    let web = BTreeSet::from([ServiceName::new("web")]);
    assert_eq!(listens(seen, &web).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn an_error_of_a_changed_service_counts() {
    let (lb, seen) = watch::channel(observed(&[]));
    let web = BTreeSet::from([ServiceName::new("web")]);
    let trial = listens(seen, &web);
    lb.send_replace(observed(&["address in use"]));
    assert_eq!(trial.await, Err(vec!["service web: address in use".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn an_error_of_another_service_does_not() {
    let (_lb, seen) = watch::channel(observed(&["address in use"]));
    let other = BTreeSet::from([ServiceName::new("other")]);
    assert_eq!(listens(seen, &other).await, Ok(()));
}
