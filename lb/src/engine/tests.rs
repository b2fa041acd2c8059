use super::*;

#[test]
fn an_engine_whose_worker_ends_says_so_by_ending() {
    let (desired, receiver) = watch::channel(Desired::default());
    let options = Options { workers: Some(2), ..Options::default() };
    let (mut observed, shared) = begin(receiver, options).unwrap();
    // As its thread does in the end, whatever ends it.
    drop(shared.spawn("tcp-0".to_owned(), || {}));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let ended = async { while observed.changed().await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    });
    drop(desired);
}
