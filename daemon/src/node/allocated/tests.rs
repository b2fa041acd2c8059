use super::*;
use fulcrum_config::{PoolName, ServiceName};

fn allocations(services: &[(&str, &str)]) -> Allocations {
    let mut allocations = Allocations::default();
    for (service, address) in services {
        allocations.insert(ServiceName::new(service), address.parse().unwrap(), PoolName::new("public"));
    }
    allocations
}

#[test]
fn what_is_kept_is_recalled_and_each_file_has_its_own() {
    let state = tempfile::tempdir().unwrap();
    let directories = [state.path().join("none"), state.path().to_owned()];
    let (one, other) = (Path::new("/etc/one.yaml"), Path::new("/etc/other.yaml"));
    assert_eq!(Recalled::of(&directories, one), Recalled::default());
    store(&Allocations::default(), state.path(), one).unwrap();
    assert_eq!(
        std::fs::read_dir(state.path()).unwrap().count(),
        0,
        "nothing is written where there are no pools"
    );
    let kept = allocations(&[("web", "10.0.0.1"), ("web", "2001:db8::1")]);
    store(&kept, state.path(), one).unwrap();
    let recalled = Recalled::of(&directories, one);
    assert_eq!((&*recalled.allocations, &recalled.damage), (&kept, &None));
    assert_eq!(Recalled::of(&directories, other), Recalled::default());
    // The last service that had one is gone.
    store(&Allocations::default(), state.path(), one).unwrap();
    assert_eq!(Recalled::of(&directories, one), Recalled::default());
}

#[test]
fn of_a_damaged_file_the_copy_before_is_taken_and_it_is_said() {
    let state = tempfile::tempdir().unwrap();
    let file = Path::new("/etc/fulcrum.yaml");
    let (first, second) =
        (allocations(&[("a", "10.0.0.1")]), allocations(&[("a", "10.0.0.1"), ("b", "10.0.0.2")]));
    store(&first, state.path(), file).unwrap();
    store(&second, state.path(), file).unwrap();
    let path = path(state.path(), file);
    let good = std::fs::read(&path).unwrap();
    let directories = [state.path().to_owned()];
    for (bytes, what) in [
        (good[..good.len() - 3].to_vec(), "is damaged (its length is wrong)"),
        (
            String::from_utf8(good.clone()).unwrap().replace("10.0.0.2", "10.0.0.3").into_bytes(),
            "is damaged (its checksum is wrong)",
        ),
        (Vec::new(), "is damaged (it has no header)"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let recalled = Recalled::of(&directories, file);
        assert_eq!(*recalled.allocations, first);
        let damage = recalled.damage.unwrap();
        assert!(damage.contains(what) && damage.contains("is known, and kept"), "{damage}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(Recalled::of(&directories, file).damage.is_some_and(|damage| damage.contains("is gone")));
    // Kept anew, it is whole again.
    store(&second, state.path(), file).unwrap();
    assert_eq!(Recalled::of(&directories, file).damage, None);
}

#[test]
fn what_can_t_be_written_leaves_what_was_kept() {
    let state = tempfile::tempdir().unwrap();
    let file = Path::new("/etc/fulcrum.yaml");
    let kept = allocations(&[("a", "10.0.0.1")]);
    let directory = state.path().join("blocked");
    std::fs::write(&directory, "a file where a directory should be").unwrap();
    let error = store(&kept, &directory, file).unwrap_err();
    assert!(error.contains("can't be written"), "{error}");
    assert!(try_out(&kept, &directory, file).is_err());
    try_out(&kept, state.path(), file).unwrap();
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 1, "a trial leaves nothing behind");
}
