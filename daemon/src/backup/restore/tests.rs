use super::super::gather::gather;
use super::super::gather::tests::{occasion, source};
use super::*;
use std::fs::{read_to_string, remove_dir_all, remove_file};
use std::os::unix::fs::{PermissionsExt, symlink};

struct Scene {
    directory: tempfile::TempDir,
    source: gather::Source,
    backup: Backup,
    passphrase: Passphrase,
    restored: Restored,
}

/// A node whose backup was made.
fn scene() -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let source = source(directory.path());
    let file = directory.path().join("passphrase");
    std::fs::write(&file, "correct horse").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let passphrase = Passphrase::read(&file).unwrap();
    let backup = gather(&source, occasion(), Some(&passphrase)).unwrap();
    let restored = read(&backup, Some(&passphrase), false, false).unwrap();
    Scene { directory, source, backup, passphrase, restored }
}

impl Scene {
    fn plan(&self) -> Result<Vec<Step>, String> {
        plan(&self.backup, &self.restored, &self.source.config_file, false)
    }

    fn how(&self) -> Vec<How> {
        self.plan().unwrap().iter().map(|step| step.how).collect()
    }

    fn destroy(&self) {
        remove_dir_all(&self.source.state_dir).unwrap();
        remove_file(&self.source.config_file).unwrap();
        remove_file(&self.source.key).unwrap();
    }

    fn shared(&self) -> PathBuf {
        kept_as(&self.source.state_dir, &self.source.config_file, SHARED)
    }
}

#[test]
fn a_bare_node_has_again_what_it_had() {
    let scene = scene();
    let text = |path: &Path| read_to_string(path).unwrap();
    let all = [&scene.source.config_file, &scene.source.key, &scene.shared()].map(|path| text(path));
    assert_eq!(scene.how(), [How::Same; 4]);
    scene.destroy();
    assert_eq!(scene.how(), [How::Make; 4]);
    write(&scene.plan().unwrap()).unwrap();
    assert_eq!([&scene.source.config_file, &scene.source.key, &scene.shared()].map(|path| text(path)), all);
    assert_eq!(scene.source.key.metadata().unwrap().mode() & 0o777, 0o600);
    assert_eq!(scene.how(), [How::Same; 4]);
}

/// The configuration is the last: what broke off is no node.
#[test]
fn a_restore_that_breaks_off_leaves_no_configuration() {
    let scene = scene();
    scene.destroy();
    let steps = scene.plan().unwrap();
    assert_eq!(steps.last().unwrap().path, scene.source.config_file);
    // The directory of the key can't be made.
    let mut steps = steps;
    std::fs::write(scene.directory.path().join("file"), "").unwrap();
    for step in steps.iter_mut().filter(|step| step.what == KEY) {
        step.path = scene.directory.path().join("file/peer.key");
    }
    assert!(write(&steps).expect_err("it can't").contains("--replace"));
    assert!(scene.shared().exists() && !scene.source.config_file.exists());
}

#[test]
fn neither_links_nor_foreign_files_are_touched() {
    let scene = scene();
    let foreign = scene.directory.path().join("foreign");
    std::fs::write(&foreign, "somebody else's").unwrap();
    let refused = |mentions: &str| {
        let why = scene.plan().expect_err("something is in the way");
        assert!(why.contains(mentions) && why.contains("nothing was written"), "{why}");
        assert_eq!(read_to_string(&foreign).unwrap(), "somebody else's");
    };
    for path in [&scene.source.config_file, &scene.source.key, &scene.shared()] {
        let text = read_to_string(path).unwrap();
        let put = |text: &str| std::fs::write(path, text).unwrap();
        remove_file(path).unwrap();
        symlink(&foreign, path).unwrap();
        refused("symbolic link");
        remove_file(path).unwrap();
        std::fs::hard_link(&foreign, path).unwrap();
        refused("other names");
        remove_file(path).unwrap();
        std::fs::create_dir(path).unwrap();
        refused("not a regular file");
        std::fs::remove_dir(path).unwrap();
        put("of another program");
        if path == &scene.source.config_file {
            assert!(scene.how().contains(&How::Replace), "whoever names it may have spoilt it");
        } else {
            refused("not of fulcrum");
        }
        put(&text);
        // As `put` makes it: others may read it.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert_eq!(scene.how(), [How::Same; 4]);
}

#[test]
fn another_key_that_is_replaced_is_kept_beside() {
    let scene = scene();
    remove_file(&scene.source.key).unwrap();
    fulcrum_peer::key::create_or_pin(&scene.source.key).unwrap();
    let other = read_to_string(&scene.source.key).unwrap();
    write(&scene.plan().unwrap()).unwrap();
    assert_ne!(read_to_string(&scene.source.key).unwrap(), other);
    assert_eq!(read_to_string(scene.directory.path().join("peer.key.before-restore")).unwrap(), other);
}

#[test]
fn a_second_node_of_one_name_is_not_made() {
    let scene = scene();
    let config = Arc::clone(&scene.restored.config);
    assert!(is_of_this_machine(&config, "lb-1", "lb-1", false).is_ok());
    assert!(is_of_this_machine(&config, "lb-1", "anything", false).is_ok());
    let why = is_of_this_machine(&config, "lb-1", "lb-2", false).expect_err("this is lb-2");
    assert!(why.contains("another node of the same configuration"));
    assert!(is_of_this_machine(&config, "lb-1", "lb-2", true).is_ok());
    // A file without `node` is of whatever machine it is on.
    let why = is_of_this_machine(&config, "lb-2", "lb-1", true).expect_err("it is of lb-2");
    assert!(why.contains("another's key"));
}

#[test]
fn who_lives_elsewhere_is_not_restored_and_what_peers_have_is_newer() {
    let (lb1, lb2) = (NodeName::new("lb-1"), NodeName::new("lb-2"));
    let judge = |known: Known, force| judge(&lb1, 5, &[(lb2.clone(), known)], force);
    let why = judge(Known::Alive, false).expect_err("it lives");
    assert!(why.contains("lb-2 has a link with lb-1") && why.contains("--force"), "{why}");
    assert!(judge(Known::Alive, true).is_ok());
    for (serial, says) in [(7, "catches up"), (5, "stays in force"), (2, "stays in force")] {
        let verdict = judge(Known::Gone { serial }, false).unwrap();
        assert!(verdict.forget_serial && verdict.notes[0].contains(says), "{verdict:?}");
    }
    let verdict = judge(Known::Unreached { why: "no answer".into() }, false).unwrap();
    assert!(!verdict.forget_serial && verdict.notes[0].contains("make sure"), "{verdict:?}");

    let doubles = ["02:00:00:00:00:02 answers for 10.0.0.11".to_owned()];
    assert!(judge_links(&lb1, &doubles, false).expect_err("it lives").contains("answers for 10.0.0.11"));
    assert_eq!(judge_links(&lb1, &doubles, true).unwrap().len(), 1);
    assert!(judge_links(&lb1, &[], false).unwrap().is_empty());
}

/// Else a node that comes back with old state would bring it to one whose serial number is lower by then.
#[test]
fn a_serial_number_that_is_forgotten_wins_over_none() {
    let scene = scene();
    let steps = plan(&scene.backup, &scene.restored, &scene.source.config_file, true).unwrap();
    let shared = steps.iter().find(|step| step.path == scene.shared()).unwrap();
    let shared: serde_json::Value = serde_json::from_str(&shared.text).unwrap();
    assert_eq!((&shared["serial"], &shared["own"]), (&1.into(), &"x".into()));
}

#[test]
fn without_the_passphrase_or_the_key_it_is_said_what_to_do() {
    let mut scene = scene();
    let why = read(&scene.backup, None, false, false).expect_err("it is encrypted");
    assert!(why.contains("--passphrase-file") && why.contains("--without-key"));
    assert!(read(&scene.backup, None, true, false).unwrap().key.is_none());
    scene.backup.texts.remove(CONFIG);
    assert!(read(&scene.backup, None, true, false).expect_err("nothing").contains("no configuration"));

    let (text, pin) = fulcrum_peer::key::export(&scene.source.key).unwrap();
    let config = super::super::gather::tests::FILE
        .replace("priority: 150", &format!("priority: 150, keys: [\"{pin}\"]"));
    let gone = scene.directory.path().join("gone.key");
    scene.backup.texts.insert(CONFIG.into(), format!("{config}peer: {{key: {}}}\n", gone.display()));
    scene.backup.key = SealedKey::LeftOut { pin: pin.to_string() };
    let notes = read(&scene.backup, None, false, false).unwrap().notes;
    assert!(notes[0].contains("fulcrum peer-key") && notes[0].contains("`keys` of lb-1"), "{notes:?}");

    // One whose key was put in by somebody else.
    let age = seal::seal(&text.replace("PRIVATE", "PUBLIC"), &scene.passphrase).unwrap();
    scene.backup.key = SealedKey::Encrypted { pin: pin.to_string(), age };
    assert!(read(&scene.backup, Some(&scene.passphrase), false, false).is_err());
}
