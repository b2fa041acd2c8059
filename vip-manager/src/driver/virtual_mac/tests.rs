use super::*;

/// A group of this name with the VRID 51.
#[allow(clippy::disallowed_methods, reason = "a moment to count from")]
fn group(name: &str) -> GroupDriver {
    let text = format!(
        "
node: lb-1
nodes:
  lb-1: {{addresses: [10.0.0.11], priority: 150}}
  lb-2: {{addresses: [10.0.0.12]}}
interfaces: {{eth0: {{networks: [10.0.0.0/24]}}}}
groups: {{{name}: {{vrid: 51, vips: [10.0.0.100]}}}}
"
    );
    let config = fulcrum_config::parse(&text, "fulcrum.yaml", "lb-1").unwrap().config;
    let group = config.groups.values().next().unwrap();
    GroupDriver::new(&config, std::sync::Arc::clone(group), Instant::now())
}

#[test]
fn the_device_of_a_group_that_was_renamed_is_the_new_ones() {
    let (mut devices, mut next) = (Devices::default(), 1);
    let (former, renamed) = (group("web"), group("shop"));
    let link = former.first_link().unwrap().clone();
    let number = devices.number_of(&link, 2, &former, &mut next);
    devices.devices.get_mut(&number).unwrap().index = Some(7);
    assert_eq!(devices.of_group(&former.group.name), [7]);
    assert_eq!(devices.number_of(&link, 2, &renamed, &mut next), number);
    assert_eq!(devices.of_group(&renamed.group.name), [7]);
    assert!(devices.of_group(&former.group.name).is_empty());
}
