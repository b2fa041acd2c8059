//! Another version on a node, while the other leads.
#![allow(clippy::indexing_slicing, reason = "there are two nodes, 0 and 1")]
#![allow(
    clippy::disallowed_methods,
    reason = "starts the daemon of another binary, and the command under test"
)]

use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Linked, Machine, fulcrum_binary, output, run};
use fulcrum_tests::probe::{Options, Probe, Session};
use fulcrum_tests::wait::wait_until;
use fulcrum_tests::{LabError, Result};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// What stands for a service manager: a restart is asked for by one file, and done when another is there.
struct Manager {
    asked: PathBuf,
    done: PathBuf,
}

impl Manager {
    fn of(machine: &Machine) -> Self {
        Self { asked: machine.file("restart.asked"), done: machine.file("restart.done") }
    }

    fn command(&self) -> String {
        let (asked, done) = (self.asked.display(), self.done.display());
        format!("touch {asked}; until [ -e {done} ]; do sleep 0.05; done; rm {done}")
    }

    /// Restarts the daemon of `installed`, once it is asked for that.
    fn serve(&self, node: &mut Fulcrum, installed: &Path) -> Result<()> {
        wait_until("a restart to be asked for", LONG, || self.asked.exists())?;
        let _ = std::fs::remove_file(&self.asked);
        let file = std::fs::read_to_string(node.config())?;
        node.process().terminate(LONG)?;
        *node = start(&node.machine.clone(), &file, installed)?;
        std::fs::write(&self.done, "")?;
        Ok(())
    }
}

fn start(machine: &Machine, file: &str, installed: &Path) -> Result<Fulcrum> {
    Fulcrum::start_with(machine, file, |command| {
        let mut other = Command::new(installed);
        other.args(command.get_args());
        *command = other;
    })
}

fn install(machine: &Machine) -> Result<PathBuf> {
    let installed = machine.file("fulcrum-installed");
    copy(&fulcrum_binary()?, &installed)?;
    Ok(installed)
}

/// By another process: a child of another test's that is just being started would hold a file that this one writes, and what
/// is held so can't be run.
fn copy(from: &Path, to: &Path) -> Result<()> {
    output("cp", &[&from.display().to_string(), &to.display().to_string()]).map(drop)
}

struct Scene {
    linked: Linked,
    installed: PathBuf,
    manager: Manager,
}

impl Scene {
    /// A pair of which the first node runs a binary of its own.
    fn new(lab: &Lab) -> Result<Self> {
        let place = std::cell::RefCell::new(None);
        let linked = Linked::new(
            lab,
            |pair| pair.plan.group.push("drain: 5m".to_owned()),
            |machine, file| {
                if place.borrow().is_some() {
                    return Fulcrum::start(machine, file);
                }
                let installed = install(machine)?;
                place.replace(Some(installed.clone()));
                start(machine, file, &installed)
            },
        )?;
        let manager = Manager::of(&linked.pair.lb1);
        let installed = place.into_inner().ok_or_else(|| LabError::new("nothing was installed"))?;
        Ok(Self { linked, installed, manager })
    }

    /// Asks for an upgrade to `new`, with a service manager that does as many restarts. Gives what was said.
    fn upgrade(&mut self, new: &Path, restarts: usize) -> Result<std::result::Result<String, String>> {
        let (installed, restart) = (self.installed.display().to_string(), self.manager.command());
        let new = new.display().to_string();
        let machine = self.linked.nodes[0].machine.clone();
        let socket = Fulcrum::socket_of(&machine);
        let asked = thread::spawn(move || {
            let mut command = Command::new(fulcrum_binary()?);
            command.args(["upgrade-binary", &new, "--installed", &installed, "--restart", &restart]);
            command.args(["--ready", "10s", "--deadline", "20s"]).env("FULCRUM_SOCKET", &socket);
            machine.namespace().enter(move || run(command))?
        });
        for _ in 0..restarts {
            self.manager.serve(&mut self.linked.nodes[0], &self.installed)?;
        }
        let said = asked.join().map_err(|_| LabError::new("the upgrade panicked"))?;
        Ok(said.map_err(|error| error.to_string()))
    }

    fn overrides(&self, side: usize) -> Result<usize> {
        Ok(self.linked.nodes[side].status()?.0["overrides"].as_array().map_or(0, Vec::len))
    }
}

fn script(machine: &Machine, name: &str, text: &str) -> Result<PathBuf> {
    let written = machine.write(&format!("{name}.text"), text)?;
    let path = machine.file(name);
    copy(&written, &path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

#[test]
fn an_upgrade_fails_no_request_and_breaks_no_connection() {
    Lab::run(|lab| {
        let mut scene = Scene::new(lab)?;
        let options =
            Options { timeout: Duration::from_secs(3), interval: Duration::from_millis(2), at_once: 1 };
        let probe = Probe::start(&scene.linked.pair.client, scene.linked.pair.service(), options)?;
        let mut session =
            Session::open(&scene.linked.pair.client, scene.linked.pair.service(), Duration::from_secs(3))?;
        let backend = session.ask()?;
        // It goes on for some seconds after the handover, and then ends by itself.
        let holds = thread::spawn(move || {
            for _ in 0..30 {
                if session.ask().is_ok_and(|it| it == backend) {
                    thread::sleep(Duration::from_millis(100));
                } else {
                    return false;
                }
            }
            true
        });
        let new = install(&scene.linked.pair.lb2)?;
        let said = scene.upgrade(&new, 1)?;
        let said = said.unwrap_or_else(|error| panic!("{error}"));
        assert!(holds.join().is_ok_and(|held| held), "the connection broke: {said}");
        assert!(said.contains("every connection that it proxied has ended"), "{said}");
        assert!(said.contains("runs 0.1.0 and is ready"), "{said}");
        let timeline = probe.finish();
        assert_eq!(timeline.failed(), 0, "{:?}", timeline.outcomes());
        scene.linked.wait_agreement()?;
        assert_eq!((scene.overrides(0)?, scene.overrides(1)?), (0, 0));
        assert!(!scene.installed.with_extension("before").exists());
        Ok(())
    });
}

#[test]
fn a_binary_that_does_not_become_ready_is_taken_back() {
    Lab::run(|lab| {
        let mut scene = Scene::new(lab)?;
        let binary = fulcrum_binary()?.display().to_string();
        let broken = format!("#!/bin/sh\n[ \"$1\" = run ] && exit 1\nexec {binary} \"$@\"\n");
        let broken = script(&scene.linked.pair.lb2, "broken", &broken)?;
        let said = scene.upgrade(&broken, 2)?.expect_err("it does not run");
        assert!(
            said.contains("the new binary was abandoned") && said.contains("0.1.0 runs again and is ready"),
            "{said}"
        );
        scene.linked.wait_agreement()?;
        assert_eq!(scene.overrides(0)?, 0);
        assert_eq!(std::fs::read(&scene.installed)?, std::fs::read(fulcrum_binary()?)?);
        Ok(())
    });
}

#[test]
fn what_can_not_be_is_refused_before_anything_is_changed() {
    Lab::run(|lab| {
        let mut scene = Scene::new(lab)?;
        let stranger = script(&scene.linked.pair.lb2, "stranger", "#!/bin/sh\necho nginx 1.22\n")?;
        let picky = script(
            &scene.linked.pair.lb2,
            "picky",
            "#!/bin/sh\n[ \"$1\" = version ] && echo fulcrum 9.0.0 && exit\necho 'unknown key `vrid`' >&2; exit 1\n",
        )?;
        let cases = [
            (scene.linked.pair.lb2.file("nothing"), "there is no such file"),
            (stranger, "not which fulcrum it is"),
            (picky, "unknown key `vrid`"),
        ];
        for (new, word) in cases {
            let said = scene.upgrade(&new, 0)?.expect_err("it is refused");
            assert!(said.contains(word) && said.contains("nothing was changed"), "{said}");
        }
        // Nobody else could lead.
        scene.linked.nodes[1].process().terminate(LONG)?;
        scene.linked.wait_down(0)?;
        let said = scene.upgrade(&fulcrum_binary()?, 0)?.expect_err("it is refused");
        assert!(
            said.contains("no other node could lead web") && said.contains("nothing was changed"),
            "{said}"
        );
        assert_eq!(scene.linked.nodes[0].status()?.role(GROUP), Some("leader"));
        Ok(())
    });
}
