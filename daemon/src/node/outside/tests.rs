use super::*;
use fulcrum_config::{Allocations, Before, Fragments, UnixTime, parse_after};

const FILE: &str = "\
nodes:
  lb-1: {addresses: [10.0.0.11], keys: [\"sha256:lXmoZ1C3sy9NRGzHkvNSlTxCk9vVNZ9VTWK6a0NO9mY=\"]}
  lb-2: {addresses: [10.0.0.12], keys: [\"sha256:Wk9vCzGrVPt6j1xFCjTmkrOmx2bqVQnIwmpTQyPPOjA=\"]}
interfaces:
  eth0: {networks: [10.0.0.0/16]}
pools:
  public: {addresses: [10.0.1.0/24]}
kubernetes:
  prod: {kubeconfig: /etc/fulcrum/prod.kubeconfig}
  other: {kubeconfig: /etc/fulcrum/other.kubeconfig}
";
const SAYS: &str = "services: {prod/shop/web: {vip: auto, port: 80, backends: [10.0.9.1:80]}}";

fn config(file: &str, allocations: &Arc<Allocations>) -> Config {
    config_of(SAYS, file, allocations)
}

fn config_of(says: &str, file: &str, allocations: &Arc<Allocations>) -> Config {
    let noted = Noted { what: Arc::from(says), by: "prod".to_owned(), since: UnixTime(1) };
    let fragments = Fragments::default().with(SourceName::new("prod"), Some(noted)).unwrap();
    let before =
        Before { allocations: Arc::clone(allocations), fragments: Arc::new(fragments), ..Before::default() };
    parse_after(file, "fulcrum.yaml", "lb-1", &before).unwrap_or_else(|why| panic!("{why}")).config
}

#[test]
fn an_edit_that_takes_addresses_away_from_services_of_a_source_says_whose_and_why() {
    let old = config(FILE, &Arc::default());
    let after = |from: &str, to: &str| {
        assert_eq!(FILE.matches(from).count(), 1, "{from}");
        losses(&old, &config(&FILE.replace(from, to), &old.allocations))
    };
    assert_eq!(after("prod.kubeconfig}", "prod.kubeconfig, mode: fullnat}"), [""; 0]);
    assert_eq!(after("other.kubeconfig}", "other.kubeconfig, class: example.com/lb}"), [""; 0]);
    // What was a cluster's stays in force without it.
    assert_eq!(after("  prod: {kubeconfig: /etc/fulcrum/prod.kubeconfig}\n", ""), [""; 0]);
    let class = after("prod.kubeconfig}", "prod.kubeconfig, class: example.com/lb}");
    assert_eq!(
        class,
        [
            "service prod/shop/web has an address of a pool, and would lose it: cluster prod would serve Services of class \
             example.com/lb from then on, and of fulcrum.dev/lb no more"
        ]
    );
    let name = after("  prod: {", "  prod-1: {");
    assert!(
        name.len() == 1 && name[0].contains("cluster prod-1 would serve it in place of prod"),
        "{name:?}"
    );
    // Another cluster, which is not known to be the same.
    assert_eq!(
        after("  prod: {kubeconfig: /etc/fulcrum/prod", "  new: {kubeconfig: /etc/fulcrum/new"),
        [""; 0]
    );
    let range = after("10.0.1.0/24", "10.0.2.0/24");
    assert!(range.len() == 1 && range[0].contains("service prod/shop/web"), "{range:?}");
}

#[test]
fn a_further_address_is_no_loss() {
    let says = SAYS.replace("vip: auto", "vip: {families: [ipv4, ipv6], prefer_families: true}");
    let file = FILE.replace("10.0.0.0/16]", "10.0.0.0/16, \"2001:db8::/64\"]");
    let old = config_of(&says, &file, &Arc::default());
    let wider = file.replace("10.0.1.0/24]", "10.0.1.0/24, \"2001:db8::1:0/112\"]");
    let new = config_of(&says, &wider, &old.allocations);
    let vips = |config: &Config| config.services.values().next().unwrap().vips.len();
    assert_eq!((vips(&old), vips(&new)), (1, 2));
    assert_eq!(losses(&old, &new), [""; 0]);
    assert_eq!(losses(&new, &config_of(&says, &file, &new.allocations)).len(), 1);
}
