use super::*;

#[test]
fn an_engine_whose_worker_ends_says_so_by_ending() {
    let (desired, receiver) = watch::channel(Desired::default());
    let options = Options { workers: Some(2), ..Options::default() };
    let (mut observed, shared) = begin(receiver, options, None).unwrap();
    // As its thread does in the end, whatever ends it.
    drop(shared.spawn("tcp-0".to_owned(), || {}));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let ended = async { while observed.changed().await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    });
    drop(desired);
}

#[test]
fn the_revision_of_a_table_is_told_once_every_worker_has_it() {
    let (desired, seen) = watch::channel(Desired { revision: 7, ..Desired::default() });
    let mut observed = start(seen, Options::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut told = |revision| {
        let told = observed.wait_for(|observed| observed.applied == revision);
        runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(20), told).await })
            .unwrap()
            .unwrap();
    };
    told(7);
    desired.send_modify(|desired| desired.revision = 8);
    told(8);
}
