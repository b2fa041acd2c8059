//! A new life whose maps are laid out differently: flows go on, also those that begin while it takes over.

use crate::fullnat::{backend, connect, serve, source, with_port};
use crate::packets::{ACK, OURS, Packet, tcp};
use crate::scene::{Family, SEED, Scene, Shell, families, in_a_scene_of};
use fulcrum_ebpf::plane::layout::{Class, Settings};
use fulcrum_ebpf::{Mode, Plane};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// The maps' pins, each with its version.
fn pins() -> Vec<(PathBuf, u32)> {
    let namespace = fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
    let pins = fs::read_dir(format!("/sys/fs/bpf/fulcrum/{namespace}")).unwrap();
    let pins = pins.map(|entry| entry.unwrap().path()).filter_map(|path| {
        let version = path.file_name()?.to_str()?.strip_prefix("map-")?.rsplit_once('-')?.1.parse().ok()?;
        let is_shared = ["map-vips-", "map-groups-"].iter().any(|it| path.to_str().unwrap().contains(it));
        (!is_shared).then_some((path, version))
    });
    pins.collect()
}

/// From now on what stands there is of version 2, whose entries read alike where nobody told of them.
fn make_older() {
    for (pin, _) in pins() {
        let name = pin.to_str().unwrap().rsplit_once('-').unwrap().0.to_owned();
        fs::rename(&pin, format!("{name}-2")).unwrap();
    }
    assert!(pins().iter().all(|(_, version)| *version == 2));
}

/// Both directions of a connection.
fn goes_on(scene: &mut Scene, family: &Family, client: SocketAddr, from: SocketAddr) {
    assert_eq!(source(scene, family, client, ACK), from);
    let reply = tcp(backend(family), from, ACK, b"reply").frame();
    let reply = Packet::read(&scene.inside(&reply).forwarded());
    assert_eq!((reply.from, reply.to), (family.vip, client));
}

fn taken_over(shell: Shell) {
    in_a_scene_of(shell, |scene| {
        for family in families() {
            serve(scene, &family, 2);
            scene.set_tables(|_| 1, |_| 1);
            let clients: Vec<_> = (40_000..40_030).map(|port| with_port(family.client, port)).collect();
            let mut flows: Vec<_> =
                clients.iter().map(|client| (*client, connect(scene, &family, *client))).collect();
            make_older();
            let mut next = Plane::load(Mode::Auto).unwrap();
            let known = next.flows().filter(|(flow, _)| flow.ends().1 == family.vip).count();
            assert_eq!(known, flows.len());
            assert_eq!(next.tables(0), scene.plane.tables(0));
            assert_eq!(next.backend(1), scene.plane.backend(1));
            // The earlier programs still stand there.
            let meanwhile = with_port(family.client, 41_000);
            flows.push((meanwhile, connect(scene, &family, meanwhile)));
            next.set_settings(Settings::new(SEED, true).with_returns(true).with_told(true)).unwrap();
            for class in [Class::Workload, Class::Protected] {
                next.set_room(class, 100_000).unwrap();
            }
            next.copy_older();
            next.attach("eth0", scene.outside).unwrap();
            if shell == Shell::Xdp {
                for (name, index) in [("eth0", scene.outside), ("eth1", scene.inside)] {
                    next.attach_xdp(name, index).unwrap();
                    next.open_xdp(index, OURS).unwrap();
                }
            }
            let meanwhile = with_port(family.client, 41_001);
            flows.push((meanwhile, connect(scene, &family, meanwhile)));
            next.end_older();
            assert!(pins().iter().all(|(_, version)| *version > 2), "{:?}", pins());
            std::mem::swap(&mut scene.plane, &mut next);
            drop(next);
            serve(scene, &family, 2);
            scene.set_tables(|_| 1, |_| 1);
            for (client, from) in flows {
                goes_on(scene, &family, client, from);
            }
            // And new ones come about.
            connect(scene, &family, with_port(family.client, 42_000));
        }
    });
}

#[test]
fn flows_of_an_older_layout_go_on_and_those_that_begin_meanwhile() {
    taken_over(Shell::Tcx);
}

#[test]
fn by_xdp_flows_of_an_older_layout_go_on_and_those_that_begin_meanwhile() {
    taken_over(Shell::Xdp);
}
