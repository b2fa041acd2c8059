use super::*;

/// A directory of files that stands for `/proc/sys`, and one for the state.
struct Machine {
    directory: PathBuf,
}

impl Machine {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("settings-{name}-{}", std::process::id()));
        fs::create_dir_all(directory.join("sys/net/ipv4/conf/eth0")).unwrap();
        let machine = Self { directory };
        machine.write("arp_ignore", "0\n");
        machine.write("arp_announce", "2\n");
        machine.write("rp_filter", "0\n");
        fs::create_dir_all(machine.directory.join("sys/net/ipv4/conf/all")).unwrap();
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join("sys/net/ipv4/conf/eth0").join(name)
    }

    fn write(&self, name: &str, value: &str) {
        fs::write(self.path(name), value).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap().trim().to_owned()
    }

    fn load(&self) -> Settings {
        Settings::load_at(&self.directory.join("sys"), Some(&self.directory.join("state"))).unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn sets_what_differs_and_puts_back_only_that() {
    let machine = Machine::new("differs");
    let mut settings = machine.load();
    settings.apply(&for_interface("eth0")).unwrap();
    assert_eq!((machine.read("arp_ignore"), machine.read("arp_announce")), ("1".into(), "2".into()));
    let shown: Vec<_> = settings.shown().iter().map(|s| (s.found.clone(), s.set_by_us)).collect();
    assert_eq!(shown, [("2".to_owned(), false), ("0".to_owned(), true)]);

    machine.write("arp_announce", "1");
    settings.restore();
    assert_eq!((machine.read("arp_ignore"), machine.read("arp_announce")), ("0".into(), "1".into()));
    assert!(!machine.directory.join("state").join(FILE).exists());
}

#[test]
fn a_later_life_puts_back_what_the_first_one_found() {
    let machine = Machine::new("later");
    machine.load().apply(&for_interface("eth0")).unwrap();
    let mut second = machine.load();
    second.apply(&for_interface("eth0")).unwrap();
    assert!(second.shown().iter().any(|s| s.found == "0" && s.set_by_us));
    second.restore();
    assert_eq!(machine.read("arp_ignore"), "0");
}

#[test]
fn an_interface_that_returned_with_defaults_is_set_again() {
    let machine = Machine::new("returned");
    let mut settings = machine.load();
    settings.apply(&for_interface("eth0")).unwrap();
    machine.write("arp_ignore", "0");
    settings.apply(&for_interface("eth0")).unwrap();
    assert_eq!(machine.read("arp_ignore"), "1");
}

#[test]
fn a_damaged_file_is_put_aside() {
    for (name, damage) in [("empty", ""), ("cut", "{\"net/ipv4/conf/eth0/arp_"), ("odd", "[1]")] {
        let machine = Machine::new(name);
        let file = machine.directory.join("state").join(FILE);
        fs::create_dir_all(machine.directory.join("state")).unwrap();
        fs::write(&file, damage).unwrap();
        let mut settings = machine.load();
        assert_eq!(fs::read_to_string(file.with_extension("json.bad")).unwrap(), damage);
        settings.apply(&for_interface("eth0")).unwrap();
        assert!(file.exists(), "a new one was begun");
        machine.load().restore();
        assert_eq!(machine.read("arp_ignore"), "0");
    }
}

#[test]
fn a_setting_that_is_missing_is_named() {
    let machine = Machine::new("missing");
    let error = machine.load().apply(&for_interface("eth9")).unwrap_err();
    assert!(error.contains("/proc/sys/net/ipv4/conf/eth9/arp_ignore could not be set to 1"), "{error}");
}

#[test]
fn what_somebody_else_changes_is_set_again_and_told() {
    let machine = Machine::new("kept");
    let mut settings = machine.load();
    settings.apply(&for_interface("eth0")).unwrap();
    assert!(settings.keep().is_empty());
    machine.write("arp_ignore", "2");
    machine.write("arp_announce", "0");
    let told: Vec<_> = settings.keep().into_iter().map(|kept| (kept.found, kept.wanted)).collect();
    assert_eq!(told, [("0".to_owned(), "2"), ("2".to_owned(), "1")]);
    assert_eq!((machine.read("arp_ignore"), machine.read("arp_announce")), ("1".into(), "2".into()));
    assert!(settings.keep().is_empty());
    assert!(settings.shown().iter().all(|shown| shown.good && shown.value == shown.wanted));

    settings.restore();
    assert_eq!(machine.read("arp_ignore"), "0", "what was there before the first change");
    machine.write("arp_ignore", "0");
    assert!(settings.keep().is_empty(), "after the stop it is nobody's business");
    assert_eq!(machine.read("arp_ignore"), "0");
}

#[test]
fn settings_that_went_with_their_interface_are_forgotten() {
    let machine = Machine::new("went");
    let mut settings = machine.load();
    settings.apply(&for_interface("eth0")).unwrap();
    settings.look_at_reverse_path("eth0", true);
    assert_eq!(settings.shown().len(), 3);
    fs::remove_dir_all(machine.directory.join("sys/net/ipv4/conf/eth0")).unwrap();
    assert!(settings.keep().is_empty());
    settings.look_at_reverse_path("eth0", true);
    assert!(settings.shown().is_empty());
}

#[test]
fn a_strict_reverse_path_filter_is_told_where_there_are_several_interfaces_and_never_changed() {
    let machine = Machine::new("reverse");
    let mut settings = machine.load();
    let all = machine.directory.join("sys/net/ipv4/conf/all/rp_filter");
    for (own, of_all, several, value, good) in [
        ("0", "0", true, "0", true),
        ("1", "0", true, "1", false),
        ("1", "0", false, "1", true),
        ("0", "1", true, "1", false),
        ("2", "1", true, "2", true),
    ] {
        machine.write("rp_filter", own);
        fs::write(&all, of_all).unwrap();
        settings.look_at_reverse_path("eth0", several);
        let shown = settings.shown().pop().unwrap();
        assert_eq!((shown.value.as_str(), shown.good), (value, good), "{own}, {of_all} for all, {several}");
        assert!(shown.advice.unwrap().remedy.contains("net/ipv4/conf/eth0/rp_filter=2"));
    }
    settings.restore();
    assert_eq!(machine.read("rp_filter"), "2");
}
