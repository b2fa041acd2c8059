use super::*;

const FILE: &str = "
node: lb-1
nodes:
  lb-1: {addresses: [10.0.0.11]}
  lb-2: {addresses: [10.0.0.12], foreign: true}
interfaces:
  eth0: {networks: [10.0.0.0/24]}
groups:
  web: {vrid: 51, vips: [10.0.0.100]}
pools:
  public: {addresses: [10.0.0.128/29], group: web}
services:
  shop:
    vip: 10.0.0.100
    port: 80
    backends: [{name: one, address: 10.0.0.21:80}, 10.0.0.22:80]
  more:
    vip: 10.0.0.100
    port: 81
    backends: [{name: one, address: 10.0.0.23:80}, 10.0.0.21:81]
";
const ASKER: Asker<'static> = Asker { by: "uid 0 pid 7", now: UnixTime(1000) };

fn config(overrides: Overrides) -> Config {
    let before = fulcrum_config::Before { overrides: overrides.into(), ..Default::default() };
    fulcrum_config::parse_after(FILE, "", "lb-1", &before).unwrap().config
}

fn granted(wish: &Wish) -> (Overrides, Vec<String>) {
    grant(wish, &config(Overrides::default()), ASKER).unwrap()
}

fn refused(wish: &Wish, config: &Config) -> String {
    grant(wish, config, ASKER).unwrap_err().error
}

fn backend(name: &str) -> Target {
    Target::Backend(name.to_owned())
}

#[test]
fn a_backend_is_meant_by_its_name_its_address_or_in_one_service() {
    let of = |name: &str| granted(&Wish::Drain(backend(name), None)).1;
    assert_eq!(of("shop/one"), ["backend shop/one"]);
    assert_eq!(of("one"), ["backend more/one", "backend shop/one"]);
    assert_eq!(of("10.0.0.21"), ["backend more/10.0.0.21:81", "backend shop/one"]);
    assert_eq!(of("10.0.0.21:80"), ["backend shop/one"]);
    assert_eq!(of("more/10.0.0.21"), ["backend more/10.0.0.21:81"]);
}

#[test]
fn a_wish_says_who_since_and_until_when() {
    let (overrides, _) = granted(&Wish::Drain(backend("shop/one"), Some(Duration::from_secs(60))));
    let rows = overrides.rows();
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((row.by, row.since, row.until), ("uid 0 pid 7", UnixTime(1000), Some(UnixTime(1060))));
}

#[test]
fn what_is_not_there_is_named_with_what_is() {
    let config = config(Overrides::default());
    let drain = |target| Wish::Drain(target, None);
    let none = refused(&drain(backend("nobody")), &config);
    assert!(none.contains("there is no backend nobody") && none.contains("10.0.0.22:80, one"), "{none}");
    let none = refused(&drain(backend("shopp/one")), &config);
    assert!(none.contains("there is no service shopp") && none.contains("more, shop"), "{none}");
    let none = refused(&drain(Target::Pool("private".to_owned())), &config);
    assert!(none.contains("there are: public"), "{none}");
    let none = refused(&drain(Target::Node("lb-3".to_owned())), &config);
    assert!(none.contains("there are: lb-1, lb-2"), "{none}");
    let foreign = refused(&drain(Target::Node("lb-2".to_owned())), &config);
    assert!(foreign.contains("lower its priority there"), "{foreign}");
    let deadline = Wish::Drain(Target::Pool("public".to_owned()), Some(Duration::from_secs(1)));
    assert!(refused(&deadline, &config).contains("a pool has no deadline"));
}

#[test]
fn undrain_takes_back_drain_and_disable_and_leaves_the_weight() {
    let (drained, _) = granted(&Wish::Disable("one".to_owned()));
    let (both, _) =
        grant(&Wish::Weight("shop/one".to_owned(), Weight::new(3).ok()), &config(drained), ASKER).unwrap();
    let config = config(both);
    let (left, of) = grant(&Wish::Undrain(backend("one")), &config, ASKER).unwrap();
    assert_eq!(of, ["backend more/one", "backend shop/one"]);
    assert!(left.backends.is_empty());
    assert_eq!(left.weights.len(), 1);
    let (left, _) = grant(&Wish::Weight("shop/one".to_owned(), None), &config, ASKER).unwrap();
    assert!(left.weights.is_empty() && left.backends.len() == 2);
    let not = refused(&Wish::Undrain(backend("10.0.0.22")), &config);
    assert!(not.contains("is not drained by an operator"), "{not}");
}
